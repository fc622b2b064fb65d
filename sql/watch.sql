--
-- Watching and steering an execution: wait, result, cancel, status, progress,
-- nodes, variables, follow, and the views.
--
CREATE SCHEMA watch_test;
SET search_path = watch_test;
SET client_min_messages = error;
\pset null '-'
CREATE TABLE gate (open boolean);
INSERT INTO gate VALUES (false);
-- a node that runs until the gate is open
CREATE FUNCTION pass() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		IF (SELECT open FROM gate) THEN RETURN 'passed'; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN 'gave up';
END $$;
-- waits until a node of an execution is in a state
CREATE PROCEDURE reach(e uuid, n text, s text) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		EXIT WHEN EXISTS (SELECT FROM goflow.nodes(e) WHERE node = n AND state = s);
		PERFORM pg_sleep(0.01);
		COMMIT;
	END LOOP;
END $$;
SELECT goflow.define('tour', $${
  "title": "A tour", "description": "Something to look at.",
  "input":     {"n": "int"},
  "variables": {"seen": "int = 0", "note": "text"},
  "nodes": {
    "a":    {"type": "transform", "value": {"x": "input.n * 2"}},
    "odd":  {"type": "condition", "after": "a", "if": "input.n % 2 = 1"},
    "skip": {"type": "transform", "after": "odd:false", "value": {"x": "1"}},
    "mem":  {"type": "set", "after": "odd:true", "set": {"seen": "a.x", "note": "'found'"}},
    "gate": {"type": "sql", "after": "mem", "sql": "SELECT pass() AS said"},
    "nap":  {"type": "delay", "after": "mem", "for": "'1 hour'"},
    "z":    {"type": "transform", "after": ["gate", "nap"], "join": "any", "cancel_rest": true, "value": {"y": "gate.said"}}},
  "output": {"y": "z.y"}}$$);

-- While it runs.
SELECT goflow.start('tour', '{"n": 7}') AS e \gset
CALL reach(:'e', 'gate', 'running');
CALL reach(:'e', 'nap', 'waiting');
SELECT workflow, version, state, priority, created_at <= started_at AS started, finished_at, parent, run_as = current_user::regrole AS mine, started_by, output, error
  FROM goflow.status(:'e');
SELECT total, completed, failed, skipped, percent FROM goflow.progress(:'e');
SELECT node, type, frame, attempt, state, output, started_at IS NOT NULL AS started, finished_at IS NOT NULL AS finished, duration IS NOT NULL AS duration, seq < 100 AS seq
  FROM goflow.nodes(:'e') ORDER BY node;
SELECT variable, type, value, node, assigned_at IS NOT NULL AS at, seq FROM goflow.variables(:'e');
SELECT goflow.wait(:'e', '0'), goflow.wait(:'e', '1 ms'), goflow.wait(:'e', '-1 s');
SELECT goflow.follow(:'e', '0');
DO $$ BEGIN PERFORM goflow.result(execution) FROM goflow.executions WHERE workflow = 'tour'; EXCEPTION WHEN SQLSTATE 'WF105' THEN RAISE INFO 'not finished'; END $$;

-- When it is done.
UPDATE gate SET open = true;
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');
SELECT state, finished_at >= started_at AS finished, output, error FROM goflow.status(:'e');
SELECT * FROM goflow.progress(:'e');
SELECT node, type, state, attempt, output, error, finished_at >= started_at AS finished, duration >= '0' AS duration FROM goflow.nodes(:'e') ORDER BY node;
SELECT count(*), count(DISTINCT seq), min(seq) > 0 AS from_one FROM goflow.nodes(:'e');
SELECT goflow.wait(:'e'), goflow.wait(:'e', NULL), goflow.follow(:'e');
SELECT goflow.cancel(:'e');
SELECT goflow.result(:'e');

-- follow() draws a bar whenever something has moved; here at its end.
SET client_min_messages = notice;
SELECT goflow.follow(:'e', '90 s');
SET client_min_messages = error;

-- cancel(): running nodes are interrupted and rolled back, the rest does not run.
UPDATE gate SET open = false;
SELECT goflow.start('tour', '{"n": 9}') AS e \gset
CALL reach(:'e', 'gate', 'running');
BEGIN;
SELECT goflow.cancel(:'e', 'changed my mind');
ROLLBACK;
SELECT goflow.wait(:'e', '50 ms');
SELECT goflow.cancel(:'e', 'changed my mind');
SELECT goflow.wait(:'e', '90 s');
SELECT state, output, error FROM goflow.status(:'e');
SELECT node, state FROM goflow.nodes(:'e') ORDER BY node;
SELECT * FROM goflow.progress(:'e');
SELECT goflow.cancel(:'e', 'again');
SELECT goflow.result(:'e');
SELECT error->>'detail' AS reason FROM goflow.status(:'e');
-- one that only waits
SELECT goflow.define('sleeper', '{"nodes": {"nap": {"type": "delay", "for": "''1 hour''"}, "z": {"type": "notify", "channel": "c", "after": "nap"}}}');
SELECT goflow.start('sleeper') AS e \gset
CALL reach(:'e', 'nap', 'waiting');
SELECT state FROM goflow.status(:'e');
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT error FROM goflow.status(:'e');
SELECT count(*) AS timers FROM goflow.pending WHERE execution_id = :'e';
-- one that has just been started
SELECT goflow.start('sleeper') AS e \gset
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '90 s');
-- asked twice: the first reason counts
SELECT goflow.start('sleeper') AS e \gset
CALL reach(:'e', 'nap', 'waiting');
BEGIN;
SELECT goflow.cancel(:'e', 'one'), goflow.cancel(:'e', 'two');
COMMIT;
SELECT goflow.wait(:'e', '90 s');
SELECT error->>'detail' AS reason FROM goflow.status(:'e');
-- a node that cancels its own execution, and one that will not be interrupted
CREATE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		BEGIN
			PERFORM pg_sleep(CASE i WHEN 1 THEN 60 ELSE 0.1 END);
		EXCEPTION WHEN query_canceled THEN NULL;
		END;
	END LOOP;
	RETURN 1;
END $$;
SELECT goflow.define('stubborn', $${"nodes": {"a": {"type": "sql", "sql": "SELECT stubborn() AS x"}, "b": {"type": "sql", "after": "a", "sql": "SELECT 1 AS x"}}}$$);
SELECT goflow.start('stubborn') AS e \gset
CALL reach(:'e', 'a', 'running');
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT node, state FROM goflow.nodes(:'e') ORDER BY node;
SELECT goflow.define('suicide', $${"nodes": {
  "a": {"type": "sql", "sql": "SELECT goflow.cancel(execution.id, 'myself') AS asked"},
  "b": {"type": "delay", "after": "a", "for": "'1 hour'"}}}$$);
SELECT goflow.start('suicide') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT error->>'detail' AS reason FROM goflow.status(:'e');
SELECT node, state FROM goflow.nodes(:'e') ORDER BY node;

-- Unknown ids have a code of their own; NULL gives NULL.
\set VERBOSITY sqlstate
SELECT goflow.wait('00000000-0000-7000-8000-000000000000');
SELECT goflow.result('00000000-0000-7000-8000-000000000000');
SELECT goflow.cancel('00000000-0000-7000-8000-000000000000');
SELECT goflow.status('00000000-0000-7000-8000-000000000000');
SELECT goflow.progress('00000000-0000-7000-8000-000000000000');
SELECT goflow.nodes('00000000-0000-7000-8000-000000000000');
SELECT goflow.variables('00000000-0000-7000-8000-000000000000');
SELECT goflow.follow('00000000-0000-7000-8000-000000000000');
SELECT goflow.follow('not an id');
\set VERBOSITY default
SELECT goflow.result('00000000-0000-7000-8000-000000000000');
SELECT goflow.wait(NULL), goflow.result(NULL), goflow.cancel(NULL), goflow.follow(NULL), goflow.status(NULL), goflow.progress(NULL);
SELECT * FROM goflow.nodes(NULL);

-- Where nothing has begun yet: rows of NULLs, told apart from unknown.
BEGIN;
SELECT goflow.start('tour', '{"n": 1}') AS e \gset
SELECT * FROM goflow.progress(:'e');
SELECT node, type, state, attempt, output, started_at, finished_at, seq FROM goflow.nodes(:'e');
SELECT * FROM goflow.variables(:'e');
SAVEPOINT s;
SELECT goflow.wait(:'e', '1 s');
ROLLBACK TO s;
SELECT goflow.follow(:'e', '1 s');
ROLLBACK TO s;
DO $$ BEGIN PERFORM goflow.result(execution) FROM goflow.executions WHERE workflow = 'tour' AND state = 'queued'; EXCEPTION WHEN SQLSTATE 'WF105' THEN RAISE INFO 'not finished'; END $$;
ROLLBACK;

-- wait() sees the end also in a transaction that keeps its snapshot.
UPDATE gate SET open = true;
SELECT goflow.start('tour', '{"n": 11}') AS e \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM gate;
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');
COMMIT;

-- The views.
SELECT workflow, version, owner = current_user::regrole AS mine, title, description, created_at IS NOT NULL AS created FROM goflow.workflows WHERE workflow IN ('tour', 'sleeper') ORDER BY workflow;
SELECT workflow, state, count(*) FROM goflow.executions WHERE workflow IN ('tour', 'sleeper', 'stubborn', 'suicide') GROUP BY 1, 2 ORDER BY 1, 2;
UPDATE goflow.executions SET state = 'completed';
DELETE FROM goflow.executions;
\d goflow.executions
\d goflow.workflows

SELECT goflow.drop(w) FROM unnest('{tour,sleeper,stubborn,suicide}'::text[]) w;
-- a dropped workflow's executions stay to be looked at
SELECT workflow, version, state FROM goflow.status(:'e');
SELECT goflow.result(:'e');
SELECT count(*) FROM goflow.nodes(:'e');
DROP SCHEMA watch_test CASCADE;
