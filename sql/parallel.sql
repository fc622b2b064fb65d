--
-- parallel: branches side by side.
--
CREATE SCHEMA parallel_test;
SET search_path = parallel_test;
\pset null '-'
\set QUIET on
\pset format unaligned
\pset footer off

-- All branches; results is an object of their outputs, by name.
CALL test.both($${
  "p": {"type": "parallel", "branches": {
     "left":  {"nodes": {"a": {"type": "sql", "sql": "SELECT input.n + 1 AS x"}, "b": {"type": "transform", "after": "a", "value": {"y": "a.x * 10"}}}, "output": {"y": "b.y"}},
     "right": {"variables": {"v": "text = 'r'"}, "nodes": {"a": {"type": "transform", "value": {"z": "vars.v || 1"}}}, "output": {"z": "a.z"}},
     "mute":  {"nodes": {"c": {"type": "transform", "value": {"z": "1"}}}}}},
  "fin": {"type": "transform", "after": "p", "value": {"y": "p.results -> 'left' -> 'y'", "all": "p.results"}}}$$, '{"input": {"n": "int = 1"}}');
TABLE test.journal ORDER BY node;
-- aggregate
CREATE FUNCTION pair(more jsonb) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('p', more || '{"type": "parallel", "branches": {
     "a": {"nodes": {"x": {"type": "transform", "value": {"v": "1"}}}, "output": {"n": "x.v", "a": "true"}},
     "b": {"nodes": {"x": {"type": "delay", "for": "''0''"}, "y": {"type": "transform", "after": "x", "value": {"v": "2"}}, "z": {"type": "transform", "after": "y", "value": {"v": "3"}}}, "output": {"n": "z.v"}}}}')
$$;
CREATE PROCEDURE show_pair(more jsonb) LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
	CALL test.both(pair(more));
	SELECT string_agg(by || ': ' || n.state || ' ' || coalesce(n.output->>'results', n.error->>'message'), ', ' ORDER BY by) INTO r FROM test.runs, goflow.nodes(execution) n WHERE node = 'p';
	RAISE NOTICE '%: %', more, r;
END $$;
CALL show_pair('{"aggregate": "merge"}');
CALL show_pair('{"aggregate": "array"}');
CALL show_pair('{"aggregate": "first"}');
CALL show_pair('{"aggregate": "last"}');
CALL show_pair('{"join": "any", "cancel_rest": true}');
CALL show_pair('{"join": "any", "cancel_rest": true, "aggregate": "first"}');

-- A branch fails: so does the whole, and the others are cancelled.
CALL test.start($${
  "p": {"type": "parallel", "on_error": "continue", "branches": {
     "bad":  {"nodes": {"d": {"type": "sql", "sql": "SELECT 1 / 0 AS v"}, "e": {"type": "transform", "after": "d", "value": {"v": "1"}}}},
     "slow": {"nodes": {"s": {"type": "sql", "sql": "SELECT 1 AS v FROM pg_sleep(60)"}, "e": {"type": "transform", "after": "s", "value": {"v": "1"}}}}}},
  "fin": {"type": "transform", "after": "p", "value": {"n": "p.results IS NULL"}}}$$);
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal ORDER BY node;
DO $$ BEGIN FOR i IN 1 .. 20000 LOOP EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type = 'goflow worker'); PERFORM pg_sleep(0.01), pg_stat_clear_snapshot(); END LOOP; END $$;
SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%of workflow "test"%';
-- Any, or n of m: failed branches do not matter as long as enough are left.
CALL test.both($${
  "p": {"type": "parallel", "join": 2, "branches": {
     "a": {"nodes": {"d": {"type": "sql", "sql": "SELECT 1 / 0 AS v"}}},
     "b": {"nodes": {"d": {"type": "sql", "sql": "SELECT 2 AS v"}}, "output": {"v": "d.v"}},
     "c": {"nodes": {"d": {"type": "sql", "sql": "SELECT 3 AS v"}}, "output": {"v": "d.v"}}}}}$$);
TABLE test.journal ORDER BY node;
CALL test.both($${
  "p": {"type": "parallel", "join": "any", "branches": {
     "a": {"nodes": {"d": {"type": "raise", "message": "'a'"}}},
     "b": {"nodes": {"d": {"type": "raise", "message": "'b'"}}}}}}$$);
SELECT node, state, only_by FROM test.journal ORDER BY node;
-- cancel_rest: SQL that runs in other workers is cancelled at once; a "finally" runs.
CALL test.start($${
  "p": {"type": "parallel", "join": "any", "cancel_rest": true, "branches": {
     "quick": {"nodes": {"s": {"type": "sql", "sql": "SELECT 1 AS v FROM pg_sleep(0.3)"}}, "output": {"v": "s.v"}},
     "slow":  {"nodes": {"s": {"type": "sql", "sql": "SELECT 2 AS v FROM pg_sleep(60)"}}, "output": {"v": "s.v"}},
     "deep":  {"nodes": {"t": {"type": "try", "body": {"nodes": {"l": {"type": "loop", "repeat": 2, "body": {"nodes": {"s": {"type": "sql", "sql": "SELECT 3 AS v FROM pg_sleep(60)"}}}}}},
                        "finally": {"nodes": {"f": {"type": "sql", "sql": "SELECT 'tidied' AS v"}}}}}},
     "wait":  {"nodes": {"d": {"type": "delay", "for": "'1 hour'"}}}}},
  "fin": {"type": "transform", "after": "p", "value": {"r": "p.results"}}}$$);
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal ORDER BY node COLLATE "C";
SELECT finished_at - started_at < '60 s' AS at_once FROM goflow.executions WHERE execution = (SELECT execution FROM test.runs);
DO $$ BEGIN FOR i IN 1 .. 20000 LOOP EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type = 'goflow worker'); PERFORM pg_sleep(0.01), pg_stat_clear_snapshot(); END LOOP; END $$;
SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type = 'goflow worker';
-- Without cancel_rest the others end, too; only then what comes after.
CALL test.start($${
  "p": {"type": "parallel", "join": "any", "branches": {
     "quick": {"nodes": {"s": {"type": "transform", "value": {"v": "1"}}}, "output": {"v": "s.v"}},
     "slow":  {"nodes": {"s": {"type": "sql", "sql": "SELECT 2 AS v FROM pg_sleep(0.2)"}}, "output": {"v": "s.v"}}}},
  "fin": {"type": "transform", "after": "p", "value": {"r": "p.results"}}}$$);
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal ORDER BY node COLLATE "C";
-- Branches run side by side: each waits until it sees the other.
CREATE SEQUENCE arrived;
CREATE FUNCTION meet() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval('parallel_test.arrived');
	FOR i IN 1 .. 20000 LOOP
		IF (SELECT last_value FROM parallel_test.arrived) > 1 THEN RETURN 'met'; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN 'alone';
END $$;
CALL test.start($${
  "p": {"type": "parallel", "branches": {
     "a": {"nodes": {"s": {"type": "sql", "sql": "SELECT parallel_test.meet() AS v"}}, "output": {"v": "s.v"}},
     "b": {"nodes": {"s": {"type": "sql", "sql": "SELECT parallel_test.meet() AS v"}}, "output": {"v": "s.v"}}}}}$$);
CALL test.wait();
SELECT result FROM test.journal WHERE node = 'p';

SET client_min_messages = warning;
DROP SCHEMA parallel_test CASCADE;
