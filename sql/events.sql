--
-- events(): the history of an execution, derived from the journal.
--
CREATE SCHEMA events_test;
SET search_path = events_test;
SET client_min_messages = error;
\pset null '-'
\a
\t
-- What is the same in each run: durations are told to be there.
CREATE FUNCTION show(e uuid, types text[] DEFAULT NULL, nodes text[] DEFAULT NULL, after bigint DEFAULT NULL, variables boolean DEFAULT false)
RETURNS TABLE (seq bigint, event text, node text, frame int, state text, data jsonb) LANGUAGE sql AS $$
	SELECT seq, event, node, frame, state,
		CASE WHEN data ? 'duration' THEN data || jsonb_build_object('duration', (data->>'duration')::numeric >= 0) ELSE data END
			#- '{error,context}'
	FROM goflow.events(e, types, nodes, after, variables) WITH ORDINALITY ORDER BY ordinality $$;
CREATE FUNCTION gate() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		EXIT WHEN to_regclass('events_test.open') IS NOT NULL;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN 1;
END $$;
CREATE FUNCTION noted(e uuid, wanted text, what text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		IF EXISTS (SELECT FROM goflow.events(e, ARRAY[wanted], ARRAY[what])) THEN RETURN true; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END $$;

-- All 14 types, but for a failed and a cancelled execution, in one.
SELECT goflow.define('ev_all', $${
  "input":     {"n": "int"},
  "variables": {"best": "int = 0", "note": "text"},
  "nodes": {
    "look": {"type": "sql", "sql": "SELECT input.n * 2 AS v"},
    "big":  {"type": "condition", "after": "look", "if": "look.v > 10"},
    "keep": {"type": "set", "after": "big:true", "set": {"best": "look.v", "note": "'big'"}},
    "drop": {"type": "transform", "after": "big:false", "value": {"x": "1"}},
    "kind": {"type": "switch", "after": "keep", "on": "vars.note", "cases": [{"port": "big", "when": "'big'"}, {"port": "odd", "when": "'odd'"}]},
    "each": {"type": "loop", "after": "kind:big", "for": "ARRAY[3, 4]", "as": "i", "body": {"nodes": {
               "add": {"type": "set", "set": {"best": "vars.best + i.value"}}}}},
    "none": {"type": "loop", "after": "each", "for": "SELECT 1 AS x WHERE false", "as": "r", "body": {"nodes": {
               "x": {"type": "transform", "value": {"y": "1"}}}}},
    "try":  {"type": "try", "after": "none", "body": {"nodes": {
               "bad": {"type": "sql", "sql": "SELECT 1 / (input.n - 7) AS y", "retry": {"attempts": 2, "backoff": "0 s"}}}},
             "catch": [{"body": {"nodes": {"mend": {"type": "set", "set": {"note": "error.code"}}}}}]},
    "many": {"type": "sql", "after": "try", "rows": "many", "sql": "SELECT g AS a, 'row ' || g AS b FROM generate_series(1, 2) g"},
    "rows": {"type": "loop", "after": "many", "for": "many", "as": "m", "body": {"nodes": {
               "stop": {"type": "break", "if": "m.a = 2"}}}}},
  "output": {"best": "vars.best"}}$$);
SELECT goflow.start('ev_all', '{"n": 7}') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM show(:'e');
-- Of run(), which has no workers, the same.
SELECT goflow.run('ev_all', '{"n": 7}');
SELECT execution AS r FROM goflow.executions WHERE workflow = 'ev_all' AND execution <> :'e' \gset
SELECT count(*) AS differences FROM (SELECT * FROM show(:'e') EXCEPT SELECT * FROM show(:'r')) x;
SELECT count(*) = count(DISTINCT e.seq) AS one_number_each, bool_and(e.at >= x.started_at AND e.at <= x.finished_at) AS within, bool_and(e.execution = x.execution) AS of_this
  FROM goflow.executions x, goflow.events(x.execution) e WHERE x.execution = :'e';
SELECT string_agg(DISTINCT event, ' ' ORDER BY event) FROM goflow.events(:'e');
-- The percentage only grows.
SELECT string_agg(data->>'percent', ' ' ORDER BY seq) FROM goflow.events(:'e', '{progress_update}');

-- Filters, and what comes after a number.
SELECT * FROM show(:'e', '{variable_changed,condition_evaluated}', NULL, 20);
SELECT seq, event, node FROM show(:'e', NULL, '{each,each/add}');
SELECT count(*) FROM show(:'e', '{}') a, show(:'e', NULL, '{}') b;
SELECT max(seq) AS last FROM goflow.events(:'e') \gset
SELECT seq = :last, event FROM goflow.events(:'e', after => :last - 1);
SELECT * FROM goflow.events(:'e', after => :last);
SELECT count(*) = (SELECT count(*) FROM goflow.events(:'e')) AS same FROM generate_series(0, :last) n, LATERAL (SELECT * FROM goflow.events(:'e', after => n) LIMIT 1) x WHERE x.seq = n + 1;
-- The variables as they were.
SELECT seq, data->'variables' FROM show(:'e', '{variable_changed,execution_completed}', variables => true);

-- One that fails, and then goes on.
CREATE TABLE mended ();
SELECT goflow.define('ev_fail', $${"nodes": {"a": {"type": "transform", "value": {"x": "1"}},
  "b": {"type": "sql", "after": "a", "check": "late", "columns": {"n": "bigint"}, "sql": "SELECT count(*) AS n FROM events_test.here"},
  "c": {"type": "transform", "after": "b", "value": {"x": "b.n"}}}}$$);
SELECT goflow.start('ev_fail') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT seq, event, node, state, data - 'error', data->'error'->>'code' FROM show(:'e', '{execution_started,execution_failed,node_failed,node_skipped}');
ALTER TABLE mended RENAME TO here;
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT seq, event, node, state, data #- '{error,message}' FROM show(:'e');

-- One that is cancelled: what runs can be seen, and what ended beside it.
SELECT goflow.define('ev_cancel', $${"variables": {"v": "int = 1"}, "nodes": {
  "slow": {"type": "sql", "sql": "SELECT events_test.gate() AS x"},
  "nap":  {"type": "delay", "for": "'1 hour'"},
  "z":    {"type": "transform", "after": ["slow", "nap"], "value": {"x": "1"}}}}$$);
SELECT goflow.start('ev_cancel') AS e \gset
SELECT noted(:'e', 'node_started', 'slow'), noted(:'e', 'node_started', 'nap');
SELECT event, node, state, data FROM show(:'e') ORDER BY event, node;
SELECT goflow.cancel(:'e', 'enough');
SELECT goflow.wait(:'e', '90 s');
SELECT event, node, state, data - 'duration' FROM show(:'e') WHERE event <> 'progress_update' ORDER BY event, node;

-- A set in node mode: its assignments come in the order of what its driver saw.
SELECT goflow.define('ev_set', $${"variables": {"a": "int = 1", "b": "int"}, "nodes": {
  "s": {"type": "set", "set": {"b": "(SELECT count(*)::int FROM pg_class WHERE relname = 'nothing') + vars.a", "a": "events_test.gate() + 6"}},
  "t": {"type": "set", "after": "s", "set": {"a": "vars.a + vars.b"}}}, "output": {"a": "vars.a"}}$$);
CREATE TABLE open ();
SELECT goflow.start('ev_set') AS e \gset
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT seq, event, node, data FROM show(:'e', '{variable_changed,node_started,node_completed}');
SELECT count(*) AS not_seen FROM goflow.variable WHERE execution_id = :'e' AND seq < 0;
SELECT count(*) AS not_seen FROM goflow.journal WHERE execution_id = :'e' AND end_seq = 0;
SELECT count(*) AS offered FROM goflow.offered WHERE execution_id = :'e';

-- What comes after any number is what is there of the whole, of each of these executions.
SELECT x.workflow, x.state, count(*) > 5 AS numbers, count(*) FILTER (WHERE
	(SELECT array_agg(v::text ORDER BY v.seq) FROM goflow.events(x.execution, after => n, variables => true) v) IS DISTINCT FROM
	(SELECT array_agg(v::text ORDER BY v.seq) FROM goflow.events(x.execution, variables => true) v WHERE v.seq > n)) AS differences
  FROM goflow.executions x, generate_series(-1, (SELECT max(seq) + 1 FROM goflow.events(x.execution))) n WHERE x.workflow LIKE 'ev\_%'
  GROUP BY x.execution, 1, 2 ORDER BY x.execution;

-- One that has not begun, none, and who may ask.
BEGIN;
SELECT goflow.start('ev_fail') AS n \gset
SELECT * FROM goflow.events(:'n');
ROLLBACK;
SELECT * FROM goflow.events(NULL);
\set VERBOSITY terse
SELECT * FROM goflow.events('00000000-0000-7000-8000-000000000000');
SELECT * FROM goflow.events(:'e', '{node_started,nothing}');
SELECT * FROM goflow.events(:'e', ARRAY[NULL]);
CREATE ROLE events_stranger;
SELECT goflow.grant_usage('events_stranger');
SET ROLE events_stranger;
\set VERBOSITY sqlstate
SELECT * FROM goflow.events(:'e');
RESET ROLE;
SELECT goflow.revoke_usage('events_stranger');
DROP ROLE events_stranger;
SELECT goflow.drop(w) FROM unnest('{ev_all,ev_fail,ev_cancel,ev_set}'::text[]) w;
DROP SCHEMA events_test CASCADE;
