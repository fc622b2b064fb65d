-- timeline(), metrics(), gantt(), estimated_time_remaining() and follow().
CREATE SCHEMA metrics_test;
SET search_path = metrics_test;
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
-- and 0.2 s longer than another node, however long that took
CREATE FUNCTION outlast(gate text, e uuid, other text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE began timestamptz := clock_timestamp(); took interval;
BEGIN
	PERFORM pass(gate);
	FOR i IN 1 .. 20000 LOOP
		SELECT duration INTO took FROM goflow.nodes(e) WHERE node = other AND finished_at IS NOT NULL;
		EXIT WHEN FOUND;
		PERFORM pg_sleep(0.01);
	END LOOP;
	PERFORM pg_sleep_until(greatest(began + took, clock_timestamp()) + '0.2 s');
	RETURN 'passed';
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

-- A diamond: b takes longer than c, and is on the way that counts.
SELECT goflow.define('metrics_diamond', $${"nodes": {
    "a": {"type": "transform", "value": {"x": "1"}},
    "b": {"type": "sql", "after": "a", "sql": "SELECT outlast('b', execution.id, 'c') AS x"},
    "c": {"type": "sql", "after": "a", "sql": "SELECT pass('c') AS x"},
    "odd": {"type": "condition", "after": ["b", "c"], "if": "false"},
    "no": {"type": "sql", "after": "odd:true", "sql": "SELECT pass('never') AS x"},
    "z": {"type": "loop", "after": "odd:false", "repeat": "2", "body": {"nodes": {"i": {"type": "transform", "value": {"x": "1"}}}}}},
  "output": {"z": "z.iterations", "no": "no.x"}}$$);
INSERT INTO gate VALUES ('b'), ('c');
SELECT goflow.start('metrics_diamond') AS first \gset
SELECT goflow.estimated_time_remaining(:'first') AS nothing_known;
SELECT goflow.wait(:'first', '90 s');
SELECT node, type, frame, attempt, state, critical, ready_at <= started_at AS ready_before, started_at <= finished_at AS ended_after,
	queue_wait = started_at - ready_at AS wait, duration = finished_at - started_at AS took
  FROM goflow.timeline(:'first') ORDER BY node, frame;
SELECT total, completed, failed, skipped, elapsed >= '0.2 s' AS elapsed, average_duration BETWEEN '0.03 s' AND elapsed AS average,
	longest_node, longest_duration >= '0.2 s' AS longest, critical_path, bottleneck,
	parallelism BETWEEN 1 AND 2 AS parallelism, peak_parallelism BETWEEN 1 AND 2 AS peak, queue_wait >= average_queue_wait AND average_queue_wait >= '0' AS waits
  FROM goflow.metrics(:'first');
SELECT regexp_replace(line, '[0-9.]+ ms', '… ms') LIKE '%| … ms' AS has_time, length(split_part(line, '|', 2)) AS width,
	substr(line, 1, 7) AS label
  FROM goflow.gantt(:'first', 20) line ORDER BY label;
SELECT count(*), max(line) FROM goflow.gantt(:'first', max_rows => 2) line WHERE line ~ 'more';

-- What is left, from the past: b has at least 0.2 s to go, the loop about nothing, and what is mostly skipped counts nothing.
SELECT goflow.estimated_time_remaining(:'first') AS over;
DELETE FROM gate;
SELECT goflow.start('metrics_diamond') AS second \gset
SELECT goflow.pause(:'second');
CALL until(format($$(goflow.status(%L)).state = 'paused'$$, :'second'));
SELECT goflow.estimated_time_remaining(:'second') AS paused;
BEGIN;
SELECT goflow.start('metrics_diamond') AS third \gset
SELECT goflow.estimated_time_remaining(:'third') BETWEEN '0.2 s' AND '1 hour' AS all_of_it;
ROLLBACK;
SELECT goflow.resume(:'second');
CALL until(format($$(goflow.status(%1$L)).state <> 'paused'
	AND (SELECT count(*) = 2 FROM goflow.timeline(%1$L) WHERE finished_at IS NULL AND duration > '0')$$, :'second'));
SELECT goflow.estimated_time_remaining(:'second') BETWEEN '0' AND '1 hour' AS some,
	(goflow.progress_json(:'second')->>'estimated_time_remaining')::numeric BETWEEN 0 AND 3600 AS in_json;
SELECT count(*) FILTER (WHERE finished_at IS NULL AND duration > '0') AS running, count(*) FROM goflow.timeline(:'second');
SELECT total, completed, critical_path, peak_parallelism FROM goflow.metrics(:'second');

INSERT INTO gate VALUES ('b'), ('c');
SELECT goflow.wait(:'second', '90 s');

-- A loop that runs tells by what its iterations took; one that waits by its moment.
SELECT goflow.define('metrics_loop', $${"nodes": {
    "each": {"type": "loop", "repeat": "10", "body": {"nodes": {"i": {"type": "sql", "sql": "SELECT pass('i' || loop.index) AS x"}}}},
    "nap":  {"type": "delay", "after": "each", "for": "'100 s'"}}}$$);
INSERT INTO gate SELECT 'i' || n FROM generate_series(1, 5) n;
SELECT goflow.start('metrics_loop') AS e \gset
CALL until(format($$(SELECT completed = 5 FROM goflow.progress(%L))$$, :'e'));
SELECT goflow.estimated_time_remaining(:'e') AS nothing_known;
CALL until(format($$EXISTS (SELECT FROM goflow.nodes(%1$L) WHERE node = 'each/i' AND state = 'running')
	AND (SELECT current_node = 'each/i' FROM goflow.progress(%1$L))$$, :'e'));
SELECT goflow.follow(:'e', '0');
INSERT INTO gate SELECT 'i' || n FROM generate_series(6, 10) n;
CALL until(format($$EXISTS (SELECT FROM goflow.nodes(%L) WHERE node = 'nap' AND state = 'waiting')$$, :'e'));
SELECT node, state, finished_at IS NULL AS goes_on, critical FROM goflow.timeline(:'e') WHERE frame = 0;
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT critical_path, bottleneck FROM goflow.metrics(:'e');

-- Retries: later attempts have no waiting of their own.
SELECT goflow.define('metrics_retry', $${"nodes": {"a": {"type": "sql", "sql": "SELECT 1 / 0 AS x", "retry": {"attempts": 2, "backoff": "10 ms"}}}, "output": {"x": "a.x"}}$$);
SELECT goflow.start('metrics_retry') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT node, attempt, state, queue_wait IS NULL AS no_wait, critical FROM goflow.timeline(:'e');
SELECT total, completed, failed, skipped FROM goflow.metrics(:'e');

-- Nothing yet, unknown, NULL.
BEGIN;
SELECT goflow.start('metrics_retry') AS e \gset
SELECT count(*) FROM goflow.timeline(:'e');
SELECT * FROM goflow.metrics(:'e');
SELECT count(*) FROM goflow.gantt(:'e');
ROLLBACK;
SELECT count(*) FROM goflow.timeline(NULL);
SELECT goflow.estimated_time_remaining(NULL), (goflow.metrics(NULL)).total;
\set VERBOSITY sqlstate
SELECT * FROM goflow.timeline('00000000-0000-7000-8000-000000000000');
SELECT * FROM goflow.metrics('00000000-0000-7000-8000-000000000000');
SELECT * FROM goflow.gantt('00000000-0000-7000-8000-000000000000');
SELECT goflow.estimated_time_remaining('00000000-0000-7000-8000-000000000000');
CREATE ROLE metrics_other;
SELECT goflow.grant_usage('metrics_other');
SET ROLE metrics_other;
SELECT * FROM goflow.timeline(:'first');
SELECT * FROM goflow.metrics(:'first');
SELECT * FROM goflow.gantt(:'first');
SELECT goflow.estimated_time_remaining(:'first');
SELECT goflow.progress_json(:'first');
RESET ROLE;
\set VERBOSITY default
SELECT goflow.revoke_usage('metrics_other');
DROP ROLE metrics_other;
SELECT goflow.drop(w) FROM unnest('{metrics_diamond,metrics_loop,metrics_retry}'::text[]) w;
SET client_min_messages = error;
DROP SCHEMA metrics_test CASCADE;
