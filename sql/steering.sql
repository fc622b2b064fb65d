-- retry(), set_priority(), and all of them on what fits.
CREATE SCHEMA steering_test;
SET search_path = steering_test;
\pset null '-'
CREATE TABLE switch_on (what text PRIMARY KEY);       -- what works by now
CREATE TABLE effect (n int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION work(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM switch_on s WHERE s.what = work.what) THEN
		RAISE EXCEPTION '% does not work', what;
	END IF;
	INSERT INTO effect (what) VALUES (what);
	RETURN what;
END $$;
CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS $$
DECLARE met boolean; n int := 0;
BEGIN
	LOOP
		EXECUTE 'SELECT ' || condition INTO met;
		EXIT WHEN met;
		n := n + 1;
		IF n > 20000 THEN RAISE EXCEPTION 'not met: %', condition; END IF;
		PERFORM pg_sleep(0.01);
		COMMIT;
	END LOOP;
END $$;
-- what the journal has, and what was done
CREATE VIEW effects AS SELECT string_agg(what, ' ' ORDER BY n) AS effects FROM effect;
CREATE FUNCTION journal(e uuid) RETURNS TABLE (node text, attempts text) LANGUAGE sql AS $$
	SELECT node, string_agg(attempt || ' ' || state, ', ' ORDER BY attempt) FROM goflow.nodes(e)
	WHERE frame = 0 GROUP BY node ORDER BY min(seq) $$;

-- the error of a statement, without ids
CREATE FUNCTION refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN regexp_replace(concat_ws(E'\n', SQLSTATE || ': ' || SQLERRM, nullif(detail, ''), nullif(hint, '')),
		'"[0-9a-f-]{36}"', '…', 'g');
END $$;

-- A failed one: what completed is kept, attempts go on counting.
SELECT goflow.define('steer_chain', $${
  "nodes": {
    "a": {"type": "sql", "sql": "SELECT work('a') AS x"},
    "b": {"type": "sql", "after": "a", "sql": "SELECT work('b') AS x"},
    "c": {"type": "sql", "after": "b", "sql": "SELECT work('c') || a.x AS x"}},
  "output": {"x": "c.x"}}$$);
INSERT INTO switch_on VALUES ('a'), ('c');
SELECT goflow.start('steer_chain', key => 'one') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM goflow.progress(:'e');
SELECT goflow.retry(:'e');            -- in vain: it fails again
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM journal(:'e');
INSERT INTO switch_on VALUES ('b');
BEGIN;
SELECT goflow.retry(:'e'), goflow.retry(:'e');
SELECT refused(format('SELECT goflow.wait(%L)', :'e'));    -- over no more
SELECT refused(format('SELECT goflow.result(%L)', :'e'));
ROLLBACK;
SELECT goflow.wait(:'e', '90 s');     -- still
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT * FROM journal(:'e');
SELECT * FROM effects;
SELECT * FROM goflow.progress(:'e');
SELECT state, started_at < finished_at AS finished, output, error FROM goflow.status(:'e');

-- What makes no sense has a code, and says the state.
SELECT refused(format('SELECT goflow.retry(%L)', :'e'));
SELECT refused($$SELECT goflow.retry('00000000-0000-7000-8000-000000000000')$$);
SELECT goflow.retry(NULL);
SELECT goflow.define('steer_nap', $${"nodes": {"nap": {"type": "delay", "for": "'1 hour'"}, "z": {"type": "transform", "after": "nap", "value": {"x": "1"}}}}$$);
SELECT goflow.start('steer_nap') AS nap \gset
CALL until(format($$(goflow.status(%L)).state = 'waiting'$$, :'nap'));
SELECT refused(format('SELECT goflow.retry(%L)', :'nap'));
-- one that is asked of twice, the second time when it goes on already
SELECT goflow.cancel(:'nap');
SELECT goflow.wait(:'nap', '90 s');
SELECT goflow.retry(:'nap');
CALL until(format($$(goflow.status(%L)).state = 'waiting'$$, :'nap'));
SELECT goflow.retry(:'nap');
SELECT * FROM journal(:'nap');
-- and what is asked of one that is to be retried counts for the retry
SELECT goflow.cancel(:'nap', 'once more');
SELECT goflow.wait(:'nap', '90 s');
BEGIN;
SELECT goflow.retry(:'nap');
SELECT goflow.pause(:'nap');
COMMIT;
CALL until(format($$(goflow.status(%L)).state = 'paused'$$, :'nap'));
SELECT goflow.resume(:'nap');
CALL until(format($$(goflow.status(%L)).state = 'waiting'$$, :'nap'));
SELECT * FROM journal(:'nap');
SELECT goflow.cancel(:'nap');
SELECT goflow.wait(:'nap', '90 s');
BEGIN;
SELECT goflow.retry(:'nap');
SELECT goflow.cancel(:'nap', 'not after all');
COMMIT;
SELECT goflow.wait(:'nap', '90 s');
SELECT error->>'detail' AS reason FROM goflow.status(:'nap');
SELECT count(*) AS requests FROM goflow.request;

-- From a node: it and all that comes after it run again.
TRUNCATE effect;
DELETE FROM switch_on WHERE what = 'c';
SELECT goflow.start('steer_chain') AS e \gset
SELECT goflow.wait(:'e', '90 s');
INSERT INTO switch_on VALUES ('c');
SELECT goflow.retry(:'e', 'nowhere');
SELECT goflow.retry(:'e', 'a');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT * FROM journal(:'e');
SELECT * FROM effects;

-- Branches: one that was not taken stays so, and what a join did not need.
TRUNCATE effect, switch_on;
SELECT goflow.define('steer_branches', $${
  "input": {"n": "int"},
  "nodes": {
    "odd":   {"type": "condition", "if": "input.n % 2 = 1"},
    "west":  {"type": "sql", "after": "odd:true", "sql": "SELECT work('west') AS x"},
    "east": {"type": "sql", "after": "odd:false", "sql": "SELECT work('east') AS x"},
    "pair":  {"type": "sql", "after": ["west", "east"], "sql": "SELECT work('pair') AS x"},
    "quick": {"type": "transform", "value": {"x": "1"}},
    "slow":  {"type": "delay", "for": "'1 hour'"},
    "first": {"type": "transform", "after": ["quick", "slow"], "join": "any", "cancel_rest": true, "value": {"x": "quick.x"}},
    "last":  {"type": "sql", "after": ["first", "pair"], "sql": "SELECT work('last') AS x"}}}$$);
INSERT INTO switch_on VALUES ('west');
SELECT goflow.start('steer_branches', '{"n": 1}') AS e \gset
SELECT goflow.wait(:'e', '90 s');
INSERT INTO switch_on VALUES ('pair'), ('last');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT node, string_agg(attempt || ' ' || state, ', ' ORDER BY attempt) FROM goflow.nodes(:'e') GROUP BY node ORDER BY node;
SELECT * FROM effects;

-- A retry policy begins anew.
TRUNCATE effect, switch_on;
SELECT goflow.define('steer_policy', $${"nodes": {
    "a": {"type": "sql", "sql": "SELECT work('a') AS x", "retry": {"attempts": 2, "backoff": "10 ms"}}}}$$);
SELECT goflow.start('steer_policy') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s');
INSERT INTO switch_on VALUES ('a');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM journal(:'e');
SELECT * FROM goflow.progress(:'e');

-- Nodes with bodies run again as a whole.
TRUNCATE effect, switch_on;
SELECT goflow.define('steer_bodies', $${"nodes": {
    "pre":  {"type": "loop", "repeat": "3", "collect": "loop.index", "body": {"nodes": {"i": {"type": "sql", "sql": "SELECT work('pre') AS x"}}}},
    "rounds": {"type": "loop", "after": "pre", "for": "SELECT * FROM (VALUES ('a'), ('b')) v (w)", "as": "item", "collect": "i.x",
             "body": {"nodes": {"i": {"type": "sql", "sql": "SELECT work(item.w) AS x"}}}}},
  "output": {"pre": "pre.results", "rounds": "rounds.results"}}$$);
INSERT INTO switch_on VALUES ('pre'), ('a');
SELECT goflow.start('steer_bodies') AS e \gset
SELECT goflow.wait(:'e', '90 s');
INSERT INTO switch_on VALUES ('b');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT node, frame, attempt, state FROM goflow.nodes(:'e');
SELECT * FROM effects;
SELECT * FROM goflow.progress(:'e');
SELECT refused(format($$SELECT goflow.retry(%L, 'rounds/i')$$, :'e'));
-- A workflow that was called goes on, too; it starts anew if what is before the call runs again.
SELECT goflow.define('steer_called', $${"nodes": {
    "kept": {"type": "sql", "sql": "SELECT work('kept') AS x"},
    "a":    {"type": "sql", "after": "kept", "sql": "SELECT work('a') AS x"}}, "output": {"x": "a.x"}}$$);
SELECT goflow.define('steer_caller', $${"nodes": {
    "pre":  {"type": "transform", "value": {"x": "1"}},
    "call": {"type": "workflow", "after": "pre", "workflow": "steer_called"}}, "output": {"x": "call.output"}}$$);
TRUNCATE effect, switch_on;
INSERT INTO switch_on VALUES ('kept');
SELECT goflow.start('steer_caller') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT execution AS child FROM goflow.executions WHERE parent = :'e' \gset
SELECT output->>'execution' = :'child' AS known FROM goflow.nodes(:'e') WHERE node = 'call';
SELECT refused(format('SELECT goflow.retry(%L)', :'child'));
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s');
INSERT INTO switch_on VALUES ('a');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT * FROM journal(:'e');
SELECT * FROM journal(:'child');
SELECT * FROM effects;
DELETE FROM switch_on WHERE what = 'a';
SELECT goflow.start('steer_caller') AS e \gset
SELECT goflow.wait(:'e', '90 s');
INSERT INTO switch_on VALUES ('a');
SELECT goflow.retry(:'e', 'pre');
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM effects;
SELECT count(*) AS children FROM goflow.executions WHERE parent = :'e';
-- one that was cancelled, and its child with it
DELETE FROM switch_on WHERE what = 'a';
SELECT goflow.define('steer_sleeps', $${"nodes": {"nap": {"type": "signal", "name": "go"}}}$$);
SELECT goflow.define('steer_waits', $${"nodes": {"call": {"type": "workflow", "workflow": "steer_sleeps"}}}$$);
SELECT goflow.start('steer_waits') AS e \gset
CALL until(format($$EXISTS (SELECT FROM goflow.executions WHERE parent = %L AND state = 'waiting')$$, :'e'));
SELECT execution AS child FROM goflow.executions WHERE parent = :'e' \gset
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '90 s'), goflow.wait(:'child', '90 s');
SELECT goflow.retry(:'e');
CALL until(format($$EXISTS (SELECT FROM goflow.executions WHERE parent = %L AND state = 'waiting')$$, :'e'));
SELECT goflow.signal(:'child', 'go');
SELECT goflow.wait(:'e', '90 s'), goflow.wait(:'child', '90 s');

-- What has been undone is done again; an undo that failed leaves its node as it was.
TRUNCATE effect, switch_on;
SELECT goflow.define('steer_saga', $${"nodes": {
    "free":  {"type": "sql", "sql": "SELECT work('free') AS x"},
    "kept":  {"type": "sql", "after": "free", "sql": "SELECT work('kept') AS x", "compensate": "SELECT work('unkept')"},
    "book":  {"type": "sql", "after": "free", "sql": "SELECT work('book') AS x", "compensate": "SELECT work('unbook')"},
    "after": {"type": "sql", "after": "book", "sql": "SELECT work('after') AS x"},
    "pay":   {"type": "sql", "after": ["after", "kept"], "sql": "SELECT work('pay') AS x"}}}$$);
INSERT INTO switch_on VALUES ('free'), ('kept'), ('book'), ('unbook'), ('after');
SELECT goflow.start('steer_saga') AS e \gset
SELECT goflow.wait(:'e', '90 s');
INSERT INTO switch_on VALUES ('unkept');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT node, string_agg(attempt || ' ' || state, ', ' ORDER BY attempt) FROM goflow.nodes(:'e') GROUP BY node ORDER BY node;
SELECT what, count(*) FROM effect GROUP BY what ORDER BY what;
INSERT INTO switch_on VALUES ('pay');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT what, count(*) FROM effect GROUP BY what ORDER BY what;

-- Variables have what nodes that are kept gave them.
TRUNCATE effect, switch_on;
SELECT goflow.define('steer_variables', $${
  "variables": {"n": "int = 1", "m": "int = 0", "k": "text"},
  "nodes": {
    "once":  {"type": "set", "set": {"n": "vars.n * 10"}},
    "twice": {"type": "set", "after": "once", "set": {"n": "vars.n + 1", "m": "vars.m + 1", "k": "'k'"}},
    "rounds": {"type": "loop", "after": "twice", "repeat": "3", "body": {"nodes": {"s": {"type": "set", "set": {"m": "vars.m + 1"}}}}},
    "fail":  {"type": "sql", "after": "rounds", "sql": "SELECT work('fail') AS x"}},
  "output": {"n": "vars.n", "m": "vars.m", "k": "vars.k"}}$$);
SELECT goflow.start('steer_variables') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.retry(:'e', 'twice');
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.retry(:'e', 'once');
SELECT goflow.wait(:'e', '90 s');
INSERT INTO switch_on VALUES ('fail');
SELECT goflow.retry(:'e', 'rounds');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT variable, value, node FROM goflow.variables(:'e') ORDER BY variable, seq;

-- One that ended before it began, and ones that failed outside of any node.

SELECT goflow.define('steer_first', $${"variables": {"n": "text = work('first')"}, "nodes": {"a": {"type": "transform", "value": {"x": "vars.n"}}}, "output": {"x": "a.x", "y": "work('output')"}}$$);
SELECT goflow.start('steer_first') AS e \gset
SELECT goflow.wait(:'e', '90 s');
INSERT INTO switch_on VALUES ('first');
BEGIN;
SELECT goflow.retry(:'e');
SELECT goflow.pause(:'e');
COMMIT;
CALL until(format($$(goflow.status(%L)).state = 'paused'$$, :'e'));
SELECT goflow.resume(:'e');
SELECT goflow.wait(:'e', '90 s');
INSERT INTO switch_on VALUES ('output');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT * FROM journal(:'e');
BEGIN;
SELECT goflow.start('steer_variables') AS e \gset
SELECT goflow.cancel(:'e');
COMMIT;
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');

-- A partial one: the failures that made it so.
TRUNCATE effect, switch_on;
SELECT goflow.define('steer_partial', $${"nodes": {
    "a":    {"type": "sql", "sql": "SELECT work('a') AS x", "on_error": "continue"},
    "b":    {"type": "sql", "after": "a", "sql": "SELECT work('b') || coalesce(a.x, '-') AS x"},
    "c":    {"type": "sql", "sql": "SELECT work('c') AS x"},
    "rounds": {"type": "loop", "repeat": "2", "body": {"nodes": {"d": {"type": "sql", "sql": "SELECT work('d') AS x", "on_error": "skip"}}}}},
  "output": {"x": "b.x"}}$$);
INSERT INTO switch_on VALUES ('b'), ('c');
SELECT goflow.start('steer_partial') AS e \gset
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
INSERT INTO switch_on VALUES ('a');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
INSERT INTO switch_on VALUES ('d');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT node, string_agg(attempt || ' ' || state, ', ' ORDER BY attempt) FROM goflow.nodes(:'e') WHERE frame = 0 GROUP BY node ORDER BY node;
SELECT what, count(*) FROM effect GROUP BY what ORDER BY what;

-- A time limit begins anew.
SELECT goflow.define('steer_timeout', $${"timeout": "0.2 s", "nodes": {"gate": {"type": "sql", "sql": "SELECT pg_sleep(CASE WHEN EXISTS (SELECT FROM switch_on WHERE what = 'gate') THEN 0.01 ELSE 60 END) AS x"}}}$$);
SELECT goflow.start('steer_timeout') AS e \gset
SELECT goflow.wait(:'e', '90 s');
INSERT INTO switch_on VALUES ('gate');
-- (On a busy machine 0.2 s may be too short, but not each time.)
DO $$
DECLARE e uuid := (SELECT execution FROM goflow.executions WHERE workflow = 'steer_timeout');
BEGIN
	FOR i IN 1 .. 100 LOOP
		PERFORM goflow.retry(e);
		COMMIT;
		EXIT WHEN goflow.wait(e, '90 s') = 'completed';
	END LOOP;
END $$;
SELECT goflow.wait(:'e', '90 s');
SELECT count(*) AS pendings FROM goflow.pending WHERE execution_id = :'e';

-- Priorities.
SELECT goflow.start('steer_nap', priority => 5) AS e \gset
SELECT goflow.set_priority(:'e', 101);
SELECT goflow.set_priority(:'e', 7);
CALL until(format($$(goflow.status(%L)).priority = 7$$, :'e'));
CALL until(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
BEGIN;
SELECT goflow.set_priority(:'e', 8);
SELECT goflow.set_priority(:'e', -9);
COMMIT;
CALL until(format($$(goflow.status(%L)).priority = -9$$, :'e'));
SELECT count(*) AS requests FROM goflow.request;
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '90 s');
\set VERBOSITY sqlstate
SELECT goflow.set_priority(:'e', 0);
SELECT goflow.set_priority('00000000-0000-7000-8000-000000000000', 0);
\set VERBOSITY default

-- All that fit.
SELECT goflow.define('steer_all', $${"nodes": {"nap": {"type": "delay", "for": "'1 hour'"}}}$$);
SELECT count(*) FROM (SELECT goflow.start('steer_all', key => 'k' || n) FROM generate_series(1, 5) n) x;
CALL until($$(SELECT count(*) = 5 FROM goflow.executions WHERE workflow = 'steer_all' AND state = 'waiting')$$);
CREATE VIEW states AS SELECT state, priority, count(*) FROM goflow.executions WHERE workflow = 'steer_all' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT goflow.pause_all('steer_all', key => 'k_'), goflow.pause_all('steer_all', key => 'l%'), goflow.pause_all('steer_all', created => tstzrange(now() + interval '1 hour', NULL));
CALL until($$(SELECT count(*) = 5 FROM goflow.executions WHERE workflow = 'steer_all' AND state = 'paused')$$);
SELECT goflow.resume_all('steer_all', key => 'k1'), goflow.pause_all('steer_all', '{queued,running}');
CALL until($$(SELECT count(*) = 1 FROM goflow.executions WHERE workflow = 'steer_all' AND state = 'waiting')$$);
SELECT goflow.set_priority_all('steer_all', 3, '{paused}');
CALL until($$(SELECT count(*) = 4 FROM goflow.executions WHERE workflow = 'steer_all' AND priority = 3)$$);
SELECT * FROM states;
SELECT goflow.cancel_all('steer_all', 'enough', '{waiting}');
CALL until($$(SELECT count(*) = 1 FROM goflow.executions WHERE workflow = 'steer_all' AND state = 'cancelled')$$);
SELECT goflow.cancel_all('steer_all', 'all', created => tstzrange(now() - interval '1 hour', now() + interval '1 hour'));
CALL until($$(SELECT count(*) = 5 FROM goflow.executions WHERE workflow = 'steer_all' AND state = 'cancelled')$$);
SELECT error->>'detail' AS reason, count(*) FROM goflow.executions WHERE workflow = 'steer_all' GROUP BY 1 ORDER BY 1;
SELECT goflow.retry_all('steer_all'), goflow.retry_all('steer_all', states => '{cancelled,failed}', key => 'k2');
CALL until($$(SELECT count(*) = 1 FROM goflow.executions WHERE workflow = 'steer_all' AND state = 'waiting')$$);
SELECT goflow.retry_all('steer_all', states => '{cancelled}');
SELECT goflow.retry_all('steer_all', states => '{cancelled}');
CALL until($$(SELECT count(*) = 5 FROM goflow.executions WHERE workflow = 'steer_all' AND state = 'waiting')$$);
SELECT goflow.cancel_all('steer_all');
CALL until($$(SELECT count(*) = 5 FROM goflow.executions WHERE workflow = 'steer_all' AND state = 'cancelled')$$);
SELECT goflow.cancel_all('steer_all'), goflow.cancel_all('steer_all', states => '{}');
SELECT goflow.cancel_all('nothing');
SELECT goflow.cancel_all(NULL);
SELECT goflow.cancel_all('steer_all', states => '{asleep}');
SELECT goflow.cancel_all('steer_all', states => '{failed}');
SELECT goflow.retry_all('steer_all', states => '{completed}');

-- Whoever claims many at one time sees what was asked of each, before its first node.
SELECT goflow.define('steer_claimed', '{"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}, "output": {"x": "a.x"}}');
BEGIN;
SELECT count(*) FROM (SELECT goflow.cancel(e) FROM (SELECT e, row_number() OVER (ORDER BY e) AS n
	FROM goflow.start_many('steer_claimed', array_fill('{}'::jsonb, ARRAY[60])) e) s WHERE n % 3 = 0) c;
COMMIT;
CALL until($$(SELECT count(*) = 60 FROM goflow.executions WHERE workflow = 'steer_claimed' AND finished_at IS NOT NULL)$$);
SELECT state, count(*) FROM goflow.executions WHERE workflow = 'steer_claimed' GROUP BY 1 ORDER BY 1;

-- Others cannot; and the rules of start() are those of retry().
CREATE ROLE steer_other LOGIN;
SELECT goflow.grant_usage('steer_other');
GRANT USAGE ON SCHEMA steering_test TO steer_other;
SET ROLE steer_other;
\set VERBOSITY sqlstate
SELECT goflow.retry(:'e');
SELECT goflow.pause(:'e');
SELECT goflow.set_priority(:'e', 1);
\set VERBOSITY default
SELECT goflow.retry_all('steer_all', states => '{cancelled}'), goflow.cancel_all('steer_all'), goflow.set_priority_all('steer_all', 1);
RESET ROLE;
SELECT goflow.drop('steer_all');
SELECT goflow.retry_all('steer_all', states => '{cancelled}');
SELECT execution AS e FROM goflow.executions WHERE workflow = 'steer_all' LIMIT 1 \gset
SELECT goflow.retry(:'e');
SELECT goflow.revoke_usage('steer_other');
SELECT goflow.drop(w) FROM unnest('{steer_claimed,steer_called,steer_sleeps,steer_waits,steer_chain,steer_nap,steer_branches,steer_policy,steer_bodies,steer_caller,steer_saga,steer_variables,steer_first,steer_partial,steer_timeout}'::text[]) w;
SET client_min_messages = error;
DROP SCHEMA steering_test CASCADE;
DROP ROLE steer_other;
