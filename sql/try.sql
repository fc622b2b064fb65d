--
-- try, catch, finally; raise.
--
CREATE SCHEMA try_test;
SET search_path = try_test;
CREATE TABLE item (id int PRIMARY KEY);
INSERT INTO item VALUES (1);
\pset null '-'
\set QUIET on
\pset format unaligned
\pset footer off

-- No error: no catch, but the finally.  ok tells.
CALL test.both($${
  "t": {"type": "try", "body": {"nodes": {"a": {"type": "sql", "sql": "SELECT 1 AS x"}}},
        "catch": [{"body": {"nodes": {"c": {"type": "transform", "value": {"v": "error.code"}}}}}],
        "finally": {"nodes": {"f": {"type": "transform", "value": {"v": "'tidied'"}}}}},
  "fin": {"type": "transform", "after": "t", "value": {"ok": "t.ok", "none": "t.error IS NULL"}}}$$);
TABLE test.journal;
-- Caught: what failed is undone, what came before it stays; error.* says what it was.
CALL test.both($${
  "t": {"type": "try", "body": {"nodes": {
          "a": {"type": "sql", "sql": "INSERT INTO item VALUES (2) RETURNING id"},
          "b": {"type": "sql", "after": "a", "sql": "WITH x AS (INSERT INTO item VALUES (3)) INSERT INTO item VALUES (1)"},
          "never": {"type": "sql", "after": "b", "sql": "INSERT INTO item VALUES (4)"}}},
        "catch": [{"on": "unique_violation", "body": {"nodes": {
          "c": {"type": "transform", "value": {"code": "error.code", "message": "error.message", "detail": "error.detail", "hint": "error.hint", "node": "error.node", "attempt": "error.attempt"}}}}}],
        "finally": {"nodes": {"f": {"type": "sql", "sql": "SELECT array_agg(id ORDER BY id) AS ids FROM item"}}}},
  "fin": {"type": "transform", "after": "t", "value": {"ok": "t.ok", "code": "t.error ->> 'code'"}}}$$,
  reset => 'DELETE FROM try_test.item WHERE id > 1');
TABLE test.journal;
SELECT * FROM item ORDER BY id;

-- Which catch: the first that fits, by code, class, name, or any.
CREATE FUNCTION catching(raised text, codes jsonb) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('l', jsonb_build_object('type', 'try',
    'body', jsonb_build_object('nodes', jsonb_build_object('r', jsonb_build_object('type', 'raise', 'code', raised, 'message', '''no'''))),
    'catch', (SELECT jsonb_agg(CASE WHEN c = 'null' THEN '{}' ELSE jsonb_build_object('on', c) END ||
                jsonb_build_object('body', jsonb_build_object('nodes', jsonb_build_object('c', '{"type": "transform", "value": {"v": "error.message"}}'::jsonb))) ORDER BY n)
                FROM jsonb_array_elements(codes) WITH ORDINALITY AS _(c, n))))
$$;
CREATE PROCEDURE catch_all() LANGUAGE plpgsql AS $$
DECLARE c record; r text;
BEGIN
	FOR c IN VALUES ('23505', '["23503", "23505", null]'), ('23505', '["23", "23505"]'), ('23505', '["22", "integrity_constraint_violation"]'),
	                ('23505', '[["22012", "unique_violation"], null]'), ('P0001', '["raise_exception"]'), ('UX001', '["23", "UX"]'), ('UX001', '["23", null]'),
	                ('22012', '["23", "40"]'), ('57014', '["query_canceled"]') LOOP
		CALL test.both(catching(c.column1, c.column2::jsonb));
		SELECT string_agg(node || ' ' || j.state || coalesce(' in ' || only_by, ''), ', ') INTO r FROM test.journal j;
		RAISE NOTICE '% %: %', c.column1, c.column2, r;
	END LOOP;
END $$;
CALL catch_all();

-- raise: code, message, detail; without any of them, again what was caught.
CALL test.both($${
  "t": {"type": "try", "body": {"nodes": {"r": {"type": "raise", "code": "UX007", "message": "'number ' || input.n", "detail": "'because ' || input.n"}}},
        "catch": [{"body": {"nodes": {"again": {"type": "raise"}}}}]}}$$, '{"input": {"n": "int = 5"}}');
TABLE test.journal;
SELECT by, error->>'detail' AS detail, error->>'node' AS node FROM test.runs ORDER BY by;
-- Through several catches and a loop; a message alone is P0001; NULLs.
CALL test.both($${
  "t": {"type": "try", "body": {"nodes": {"u": {"type": "try",
            "body": {"nodes": {"r": {"type": "raise", "message": "'inner'"}}},
            "catch": [{"on": "raise_exception", "body": {"nodes": {"l": {"type": "loop", "repeat": 3, "body": {"nodes": {"again": {"type": "raise"}}}}}}}],
            "finally": {"nodes": {"f1": {"type": "transform", "value": {"v": "1"}}}}}}},
        "catch": [{"body": {"nodes": {"c": {"type": "transform", "value": {"v": "error.message", "n": "error.node"}}}}}],
        "finally": {"nodes": {"f2": {"type": "transform", "value": {"v": "2"}}}}},
  "n": {"type": "raise", "after": "t", "message": "NULL::text", "detail": "NULL::text", "on_error": "continue"}}$$);
TABLE test.journal;

-- An error in a catch is not caught by its neighbours; the finally runs, and the error goes on.
CALL test.both($${
  "t": {"type": "try", "body": {"nodes": {"r": {"type": "raise", "message": "'first'"}}},
        "catch": [{"on": "P0001", "body": {"nodes": {"c": {"type": "sql", "sql": "SELECT 1 / 0 AS v"}, "d": {"type": "transform", "after": "c", "value": {"v": "1"}}}}},
                  {"body": {"nodes": {"never": {"type": "transform", "value": {"v": "1"}}}}}],
        "finally": {"nodes": {"f": {"type": "transform", "value": {"v": "1"}}}}}}$$);
TABLE test.journal;
-- An error in a finally: it is the try's, unless an error is on its way already.
CALL test.both($${
  "a": {"type": "try", "on_error": "continue", "body": {"nodes": {"x": {"type": "transform", "value": {"v": "1"}}}},
        "finally": {"nodes": {"f": {"type": "sql", "sql": "SELECT 1 / 0 AS v"}}}},
  "b": {"type": "try", "after": "a", "on_error": "continue", "body": {"nodes": {"r": {"type": "raise", "message": "'first'"}}},
        "finally": {"nodes": {"f": {"type": "sql", "sql": "SELECT 1 / 0 AS v"}}}},
  "c": {"type": "try", "after": "b", "on_error": "continue", "body": {"nodes": {"r": {"type": "raise", "message": "'caught'"}}},
        "catch": [{"body": {"nodes": {"h": {"type": "transform", "value": {"v": "1"}}}}}],
        "finally": {"nodes": {"f": {"type": "sql", "sql": "SELECT 1 / 0 AS v"}}}},
  "d": {"type": "loop", "after": "c", "repeat": 2, "body": {"nodes": {
        "u": {"type": "try", "body": {"nodes": {"s": {"type": "break"}}}, "finally": {"nodes": {"f": {"type": "sql", "sql": "SELECT 1 / 0 AS v"}}}}}}}}$$);
TABLE test.journal;
-- The first values of a body's variables belong to the body.
CALL test.both($${
  "t": {"type": "try", "body": {"variables": {"v": "int = 1 / input.n"}, "nodes": {"x": {"type": "transform", "value": {"v": "vars.v"}}}},
        "catch": [{"body": {"variables": {"c": "text = error.code"}, "nodes": {"h": {"type": "transform", "value": {"v": "vars.c"}}}}}],
        "finally": {"nodes": {"f": {"type": "transform", "value": {"v": "1"}}}}}}$$, '{"input": {"n": "int = 0"}}');
TABLE test.journal;

-- Cancelled while it runs: the finally runs, catches do not.
CALL test.start($${
  "t": {"type": "try", "body": {"nodes": {"s": {"type": "sql", "sql": "SELECT 1 AS v FROM pg_sleep(60)"}, "b": {"type": "transform", "after": "s", "value": {"v": "1"}}}},
        "catch": [{"body": {"nodes": {"h": {"type": "transform", "value": {"v": "1"}}}}}],
        "finally": {"nodes": {"f": {"type": "sql", "sql": "INSERT INTO item VALUES (100) RETURNING id"}, "g": {"type": "try", "after": "f", "body": {"nodes": {"i": {"type": "sql", "sql": "SELECT f.id"}}},
            "finally": {"nodes": {"j": {"type": "transform", "value": {"v": "2"}}}}}}}},
  "never": {"type": "transform", "after": "t", "value": {"v": "1"}}}$$);
DO $$ BEGIN FOR i IN 1 .. 20000 LOOP EXIT WHEN EXISTS (SELECT FROM test.runs r, goflow.nodes(r.execution) n WHERE n.node = 't/s' AND n.state = 'running'); COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT goflow.cancel(execution) FROM test.runs;
CALL test.wait();
SELECT node, state, result FROM test.journal;
SELECT * FROM item WHERE id = 100;
-- The try's own time is over: an error that it does not catch itself.  One around it does.
CALL test.start($${
  "o": {"type": "try", "body": {"nodes": {
    "t": {"type": "try", "timeout": "200 ms", "body": {"nodes": {"s": {"type": "sql", "sql": "SELECT 1 AS v FROM pg_sleep(60)"}}},
        "catch": [{"body": {"nodes": {"h": {"type": "transform", "value": {"v": "1"}}}}}],
        "finally": {"nodes": {"f": {"type": "sql", "sql": "SELECT 'tidied' AS v"}}}}}},
    "catch": [{"on": "execution_timeout", "body": {"nodes": {"late": {"type": "transform", "value": {"v": "error.message"}}}}}]}}$$);
CALL test.wait();
SELECT node, state, result FROM test.journal;

SET client_min_messages = warning;
DROP SCHEMA try_test CASCADE;
