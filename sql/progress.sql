-- progress(), progress_json() and progress_message(): what applications show to people.
CREATE SCHEMA progress_test;
SET search_path = progress_test;
\pset null '-'
CREATE TABLE gate (name text PRIMARY KEY);       -- open ones
-- runs until the gate is open
CREATE FUNCTION pass(gate text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		IF EXISTS (SELECT FROM gate g WHERE g.name = pass.gate) THEN RETURN 'passed'; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RAISE EXCEPTION 'gate % stays closed', gate;
END $$;
CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS $$
DECLARE met boolean; n int := 0;
BEGIN
	LOOP
		EXECUTE 'SELECT ' || condition INTO met;
		EXIT WHEN met;
		n := n + 1;
		IF n > 20000 THEN RAISE EXCEPTION 'not met: %', condition; END IF;
		PERFORM pg_sleep(0.005);
		COMMIT;
	END LOOP;
END $$;
-- what of a message does not depend on the moment
CREATE FUNCTION shape(message jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_object_agg(k, CASE WHEN k = 'execution' THEN '"…"' WHEN k IN ('at', 'estimated_time_remaining') AND v <> 'null' THEN '"some"' ELSE v END)
	FROM jsonb_each(message) m (k, v) $$;

-- Before it has begun there is nothing, which is no error.
SELECT goflow.define('progress_steps', $${"nodes": {
    "one":   {"type": "transform", "value": {"x": "1"}},
    "two":   {"type": "sql", "after": "one", "sql": "SELECT pass('two') AS x"},
    "three": {"type": "sql", "after": "two", "sql": "SELECT pass('three') AS x"},
    "four":  {"type": "transform", "after": "three", "value": {"x": "three.x"}}},
  "output": {"x": "four.x"}}$$);
BEGIN;
SELECT goflow.start('progress_steps') AS e \gset
SELECT goflow.progress_json(:'e');
SELECT shape(goflow.progress_message(:'e'));
COMMIT;

-- While it runs.
CALL until(format($$(SELECT current_node = 'two' FROM goflow.progress(%L))$$, :'e'));
SELECT shape(goflow.progress_json(:'e'));
SELECT shape(goflow.progress_message(:'e'));
INSERT INTO gate VALUES ('two');
CALL until(format($$(SELECT current_node = 'three' FROM goflow.progress(%L))$$, :'e'));
SELECT shape(goflow.progress_json(:'e'));
INSERT INTO gate VALUES ('three');
SELECT goflow.wait(:'e', '90 s');
SELECT shape(goflow.progress_json(:'e'));
SELECT shape(goflow.progress_message(:'e'));

-- What a channel sends, as messages: of each kind, and what is none.
SELECT event, goflow.event_message(jsonb_build_object('event', event, 'percent', 50))
  FROM unnest('{execution_started,progress_update,execution_completed,execution_failed,execution_cancelled,node_started}'::text[]) event;
SELECT goflow.event_message('{}'), goflow.event_message('[]'), goflow.event_message(NULL);

-- Unknown ones have a code; NULL is NULL.
\set VERBOSITY sqlstate
SELECT goflow.progress_json('00000000-0000-7000-8000-000000000000');
SELECT goflow.progress_message('00000000-0000-7000-8000-000000000000');
\set VERBOSITY default
SELECT goflow.progress_json(NULL), goflow.progress_message(NULL);

-- One that has failed, and one that was cancelled.
SELECT goflow.define('progress_fails', $${"nodes": {
    "a": {"type": "sql", "sql": "SELECT 1 / 0 AS x", "retry": {"attempts": 3, "backoff": "10 ms"}},
    "b": {"type": "transform", "after": "a", "value": {"x": "a.x"}}}, "output": {"x": "b.x"}}$$);
SELECT goflow.start('progress_fails') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT shape(goflow.progress_json(:'e'));
SELECT goflow.progress_message(:'e')->'error'->>'code' AS code;
DELETE FROM gate;
SELECT goflow.start('progress_steps') AS e \gset
CALL until(format($$(SELECT current_node = 'two' FROM goflow.progress(%L))$$, :'e'));
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT shape(goflow.progress_json(:'e'));

-- The percentage never falls: not when a loop tells how long it is, not when the
-- slot in shared memory is given back meanwhile.
SELECT goflow.define('progress_loop', $${"nodes": {
    "a":    {"type": "transform", "value": {"x": "1"}},
    "nap":  {"type": "signal", "after": "a", "name": "go"},
    "each": {"type": "loop", "after": "nap", "repeat": "4", "body": {"nodes": {"nap_": {"type": "signal", "name": "next"}}}}}}$$);
SELECT goflow.start('progress_loop') AS e \gset
CREATE TABLE seen (n int GENERATED ALWAYS AS IDENTITY, percent numeric);
CALL until(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
INSERT INTO seen (percent) SELECT percent FROM goflow.progress(:'e');
SELECT * FROM goflow.progress(:'e');
SELECT goflow.signal(:'e', 'go');
CALL until(format($$(SELECT total = 7 FROM goflow.progress(%L)) AND (goflow.status(%1$L)).state = 'waiting'$$, :'e'));
SELECT * FROM goflow.progress(:'e');
INSERT INTO seen (percent) SELECT percent FROM goflow.progress(:'e');
SELECT goflow.signal(:'e', 'next');
CALL until(format($$(SELECT completed = 3 FROM goflow.progress(%L)) AND (goflow.status(%1$L)).state = 'waiting'$$, :'e'));
INSERT INTO seen (percent) SELECT percent FROM goflow.progress(:'e');
SELECT goflow.signal(:'e', 'next');
CALL until(format($$(SELECT completed = 4 FROM goflow.progress(%L)) AND (goflow.status(%1$L)).state = 'waiting'$$, :'e'));
INSERT INTO seen (percent) SELECT percent FROM goflow.progress(:'e');
SELECT goflow.signal(:'e', 'next'), goflow.signal(:'e', 'next');
SELECT goflow.wait(:'e', '90 s');
INSERT INTO seen (percent) SELECT percent FROM goflow.progress(:'e');
SELECT string_agg(percent::text, ' ' ORDER BY n) AS percents,
	bool_and(percent <= 100) AND count(*) FILTER (WHERE percent < before) = 0 AS never_falls
  FROM (SELECT n, percent, lag(percent) OVER (ORDER BY n) AS before FROM seen) s;
SELECT * FROM goflow.progress(:'e');

-- retry() begins it anew, with what is kept.
SELECT goflow.define('progress_retry', $${"nodes": {
    "one":   {"type": "transform", "value": {"x": "1"}},
    "two":   {"type": "sql", "after": "one", "sql": "SELECT 1 / count(*) AS x FROM gate WHERE name = 'two'"},
    "three": {"type": "sql", "after": "two", "sql": "SELECT pass('three') AS x"},
    "four":  {"type": "transform", "after": "three", "value": {"x": "three.x"}}},
  "output": {"x": "four.x"}}$$);
DELETE FROM gate;
SELECT goflow.start('progress_retry') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM goflow.progress(:'e');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM goflow.progress(:'e');
INSERT INTO gate VALUES ('two');
SELECT goflow.retry(:'e', 'one');
CALL until(format($$(SELECT current_node = 'three' FROM goflow.progress(%L))$$, :'e'));
SELECT * FROM goflow.progress(:'e');
INSERT INTO gate VALUES ('three');
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM goflow.progress(:'e');
-- more than once: each node counts once, whatever its earlier attempts were
SELECT goflow.define('progress_twice', $${"nodes": {
    "one":   {"type": "transform", "value": {"x": "1"}},
    "two":   {"type": "sql", "after": "one", "sql": "SELECT 1 / count(*) AS x FROM gate WHERE name = 'two'"},
    "three": {"type": "transform", "after": "two", "value": {"x": "two.x"}},
    "four":  {"type": "sql", "after": "three", "sql": "SELECT 1 / count(*) AS x FROM gate WHERE name = 'four'"}},
  "output": {"x": "four.x"}}$$);
DELETE FROM gate;
SELECT goflow.start('progress_twice') AS e \gset
SELECT goflow.wait(:'e', '90 s');
INSERT INTO gate VALUES ('two');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM goflow.progress(:'e');
INSERT INTO gate VALUES ('four');
SELECT goflow.retry(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM goflow.progress(:'e');

-- A node that runs is seen before anything is committed; nodes that run side by side are counted once each.
DELETE FROM gate;
SELECT goflow.define('progress_wide', $${"nodes": {
    "a": {"type": "sql", "sql": "SELECT pass('a') AS x"}, "b": {"type": "sql", "sql": "SELECT pass('b') AS x"},
    "c": {"type": "sql", "sql": "SELECT pass('c') AS x"}, "z": {"type": "merge", "mode": "arrays", "after": ["a", "b", "c"], "of": ["to_jsonb(ARRAY[a.x])", "to_jsonb(ARRAY[b.x])", "to_jsonb(ARRAY[c.x])"]}},
  "output": {"x": "z.value"}}$$);
SELECT goflow.start('progress_wide') AS e \gset
CALL until(format($$(SELECT count(*) = 3 FROM goflow.nodes(%L) WHERE state = 'running')$$, :'e'));
SELECT total, completed, percent FROM goflow.progress(:'e');
INSERT INTO gate VALUES ('b');
CALL until(format($$(SELECT completed = 1 FROM goflow.progress(%L))$$, :'e'));
INSERT INTO gate VALUES ('a');
CALL until(format($$(SELECT completed = 2 FROM goflow.progress(%L))$$, :'e'));
SELECT total, completed, percent FROM goflow.progress(:'e');
INSERT INTO gate VALUES ('c');
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM goflow.progress(:'e');

SELECT goflow.drop(w) FROM unnest('{progress_retry,progress_twice,progress_steps,progress_fails,progress_loop,progress_wide}'::text[]) w;
SET client_min_messages = error;
DROP SCHEMA progress_test CASCADE;
