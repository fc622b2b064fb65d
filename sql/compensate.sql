--
-- compensate: what completed is undone when the execution fails or is cancelled.
--
CREATE SCHEMA compensate_test;
SET search_path = compensate_test;
CREATE TABLE done (id serial, what text);
CREATE FUNCTION undo(what text) RETURNS void LANGUAGE sql AS $$ INSERT INTO compensate_test.done (what) VALUES (what) $$;
\set reset 'TRUNCATE compensate_test.done'
\pset null '-'
\set QUIET on
\pset format unaligned
\pset footer off

-- In reverse order of completion, with the values of that time; not the one that failed, nor those without.
CALL test.both($${
  "a": {"type": "sql", "sql": "SELECT 7 AS id", "compensate": "SELECT undo(format('a %s %s %s', a.id, input.n, vars.v))"},
  "b": {"type": "set", "after": "a", "set": {"v": "'later'"}, "compensate": "SELECT undo('b ' || vars.v)"},
  "c": {"type": "sql", "after": "b", "sql": "SELECT 1 AS x"},
  "d": {"type": "sql", "after": "c", "sql": "SELECT 9 AS id", "compensate": "SELECT undo(format('d %s %s', d.id, a.id))"},
  "e": {"type": "sql", "after": "d", "sql": "SELECT 1 / 0 AS x", "compensate": "SELECT undo('never')"}}$$,
  '{"input": {"n": "int = 3"}, "variables": {"v": "text = ''early''"}}', reset => :'reset');
SELECT what FROM done ORDER BY id;
TRUNCATE done;
-- In workers the same, once each.
CALL test.start($${
  "a": {"type": "sql", "sql": "SELECT 7 AS id", "compensate": "SELECT undo('a ' || a.id)"},
  "b": {"type": "sql", "after": "a", "sql": "SELECT 8 AS id", "compensate": "SELECT undo('b ' || b.id)"},
  "e": {"type": "raise", "after": "b", "message": "'no'"}}$$);
CALL test.wait();
SELECT what FROM done ORDER BY id;
TRUNCATE done;
-- Nothing is undone of what completes, or goes on after an error.
CALL test.both($${
  "a": {"type": "sql", "sql": "SELECT 7 AS id", "compensate": "SELECT undo('never')"},
  "t": {"type": "try", "after": "a", "body": {"nodes": {"r": {"type": "raise", "message": "'no'"}}}, "catch": [{"body": {"nodes": {"k": {"type": "transform", "value": {"v": "1"}}}}}]},
  "c": {"type": "raise", "after": "t", "on_error": "continue", "message": "'no'"}}$$);
SELECT by, state FROM test.runs ORDER BY by;
SELECT what FROM done ORDER BY id;
-- Each iteration by itself; a node with bodies, too; what was done in a body that failed and was caught.
CALL test.both($${
  "l": {"type": "loop", "repeat": 3, "compensate": "SELECT undo('loop of ' || l.iterations)",
        "body": {"variables": {"v": "int = loop.index * 10"}, "nodes": {"x": {"type": "sql", "sql": "SELECT loop.index + 100 AS id", "compensate": "SELECT undo(format('%s %s %s', x.id, loop.index, vars.v))"}}}},
  "t": {"type": "try", "after": "l", "body": {"nodes": {
          "y": {"type": "sql", "sql": "SELECT 5 AS id", "compensate": "SELECT undo('y ' || y.id)"}, "r": {"type": "raise", "after": "y", "message": "'no'"}}},
        "catch": [{"body": {"nodes": {"z": {"type": "transform", "value": {"v": "1"}, "compensate": "SELECT undo('z ' || error.message)"}}}}]},
  "p": {"type": "parallel", "after": "t", "branches": {"b": {"nodes": {"w": {"type": "transform", "value": {"v": "1"}, "compensate": "SELECT undo('w')"}}}}},
  "e": {"type": "raise", "after": "p", "message": "'the end'"}}$$, reset => :'reset');
TABLE test.journal;
SELECT what FROM done ORDER BY id;
TRUNCATE done;
-- One that fails itself: its error is kept, the others go on, and the first error stays the execution's.
CALL test.both($${
  "a": {"type": "sql", "sql": "SELECT 1 AS id", "compensate": "SELECT undo('a')"},
  "b": {"type": "sql", "after": "a", "sql": "SELECT 0 AS id", "compensate": "SELECT undo('b ' || 1 / b.id)"},
  "c": {"type": "sql", "after": "b", "sql": "SELECT 1 AS id", "compensate": "SELECT undo('c')"},
  "d": {"type": "sql", "after": "c", "sql": "SELECT 1 AS id", "compensate": "SELECT undo('d')"},
  "e": {"type": "raise", "after": "d", "message": "'first'"}}$$, reset => :'reset');
SELECT by, state, test.error(error), jsonb_array_length(error -> 'undo_errors') AS undo_errors,
       test.error(error -> 'undo_errors' -> 0) AS undo_error, error -> 'undo_errors' -> 0 ->> 'node' AS node FROM test.runs ORDER BY by;
SELECT what FROM done ORDER BY id;
TRUNCATE done;
SELECT by, rank() OVER (PARTITION BY by ORDER BY c.seq), c.done_at IS NOT NULL AS done, test.error(c.error) FROM test.runs, goflow.compensation c WHERE execution_id = execution ORDER BY 1, 2;
-- On cancel, after the finally.
CALL test.start($${
  "a": {"type": "sql", "sql": "SELECT 1 AS id", "compensate": "SELECT undo('a')"},
  "t": {"type": "try", "after": "a", "body": {"nodes": {"s": {"type": "sql", "sql": "SELECT 1 AS v FROM pg_sleep(60)", "compensate": "SELECT undo('never')"}}},
        "finally": {"nodes": {"f": {"type": "sql", "sql": "INSERT INTO done (what) VALUES ('finally')", "compensate": "SELECT undo('f')"}}}}}$$);
DO $$ BEGIN FOR i IN 1 .. 20000 LOOP EXIT WHEN EXISTS (SELECT FROM test.runs r, goflow.nodes(r.execution) n WHERE n.node = 't/s' AND n.state = 'running'); COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT goflow.cancel(execution) FROM test.runs;
CALL test.wait();
SELECT node, state, result FROM test.journal;
SELECT what FROM done ORDER BY id;
TRUNCATE done;
-- A cancel while the execution fails: what it has to finish goes on, then it ends as cancelled.
CREATE TABLE flag (name text PRIMARY KEY);
CREATE FUNCTION raise_flag(name text) RETURNS text LANGUAGE sql AS $$ INSERT INTO compensate_test.flag VALUES (name) RETURNING name $$;
CREATE FUNCTION until_flag(text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN FOR i IN 1 .. 20000 LOOP EXIT WHEN EXISTS (SELECT FROM compensate_test.flag WHERE name = $1); PERFORM pg_sleep(0.01); END LOOP; RETURN $1; END $$;
CALL test.start($${
  "a": {"type": "sql", "sql": "SELECT 1 AS id", "compensate": "SELECT undo('a')"},
  "t": {"type": "try", "after": "a", "body": {"nodes": {"s": {"type": "delay", "for": "'1 hour'"}}},
        "finally": {"nodes": {"f1": {"type": "sql", "sql": "SELECT raise_flag('finally') AS v"},
                              "f2": {"type": "sql", "after": "f1", "sql": "SELECT until_flag('cancelled') AS v"},
                              "f3": {"type": "sql", "after": "f2", "sql": "INSERT INTO done (what) VALUES ('finally')"}}}},
  "r": {"type": "sql", "after": "a", "sql": "SELECT 1 / (length(raise_flag('r')) - 1) AS x"}}$$);
SELECT until_flag('finally');
SELECT goflow.cancel(execution, 'enough') FROM test.runs;
SELECT raise_flag('cancelled');
CALL test.wait();
SELECT node, state, result FROM test.journal ORDER BY node COLLATE "C";
SELECT error ->> 'detail' AS detail, test.error(error -> 'cause') AS cause, error -> 'cause' ->> 'node' AS node FROM test.runs;
SELECT what FROM done ORDER BY id;
TRUNCATE done;
-- Side by side: what completed last is undone first, whatever began first.
CALL test.start($${
  "slow": {"type": "sql", "sql": "SELECT until_flag('next') AS v", "compensate": "SELECT undo('slow')"},
  "quick": {"type": "sql", "sql": "SELECT 1 AS v", "compensate": "SELECT undo('quick')"},
  "next": {"type": "sql", "after": "quick", "sql": "SELECT raise_flag('next') AS v", "compensate": "SELECT undo('next')"},
  "e": {"type": "raise", "after": ["slow", "next"], "message": "'no'"}}$$);
CALL test.wait();
SELECT what FROM done ORDER BY id;
TRUNCATE done;
-- Many: each is undone once, however many batches it takes.
CALL test.start($${
  "l": {"type": "loop", "repeat": 300, "body": {"nodes": {"x": {"type": "transform", "value": {"i": "loop.index"}, "compensate": "SELECT undo(x.i::text), pg_sleep(CASE WHEN x.i % 50 = 0 THEN 0.02 END)"}}}},
  "e": {"type": "raise", "after": "l", "message": "'no'"}}$$);
CALL test.wait();
SELECT count(*), count(DISTINCT what), bool_and(what::int = 301 - n) AS reversed FROM (SELECT what, row_number() OVER (ORDER BY id) AS n FROM done) d;
SELECT state, test.error(error) FROM test.runs;

SET client_min_messages = warning;
DROP SCHEMA compensate_test CASCADE;
