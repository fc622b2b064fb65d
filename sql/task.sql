-- Tasks: work for programs outside; leases, fencing, retries; who may claim.
\set QUIET on
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
CREATE PROCEDURE met(condition text) LANGUAGE plpgsql AS $$
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

\echo == claimed, kept, completed
SELECT goflow.define('task_mail', $${
  "input": {"to": "text"},
  "nodes": {"send": {"type": "task", "queue": "task_mail", "title": "Send it", "payload": {"to": "input.to", "at": "date '2026-01-31'"},
                     "output": {"id": "text", "bytes": "bigint"}, "lease": "10 min"},
            "x":    {"type": "transform", "after": "send", "value": {"kb": "send.bytes / 1000"}}},
  "output": {"id": "send.id", "kb": "x.kb"}}$$);
SELECT goflow.start('task_mail', '{"to": "ann"}') AS e \gset
CALL met(format($$EXISTS (SELECT FROM goflow.tasks WHERE execution = %L)$$, :'e'));
SELECT node, state FROM goflow.nodes(:'e');
SELECT workflow, node, attempt, title, queue, state, payload, claims FROM goflow.tasks;
SELECT * FROM goflow.claim('{task_other}');
SELECT * FROM goflow.claim('{task_other,task_mail}', 'worker 1') \gset c_
SELECT :'c_queue', :'c_payload', :'c_workflow', :'c_node', :c_frame, :c_attempt, :c_claims, :'c_execution' = :'e', :'c_lease_until'::timestamptz - now() BETWEEN '9 min' AND '10 min';
SELECT count(*) FROM goflow.claim('{task_mail}', 'worker 2');
SELECT state, worker, claimed_by = current_user::regrole, lease_until = :'c_lease_until', progress FROM goflow.tasks;
SELECT goflow.heartbeat(:'c_task', '{"percent": 50}') > :'c_lease_until';
SELECT state, progress, heartbeat_at > claimed_at FROM goflow.tasks;
SELECT goflow.complete(:'c_task', '{"id": "m1"}');
SELECT goflow.complete(:'c_task', '{"id": "m1", "bytes": "many"}');
SELECT goflow.complete(:'c_task', '{"id": "m1", "bytes": 5000, "more": 1}');
SELECT goflow.complete(:'c_task', '{"id": "m1", "bytes": 5000}');
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');
\set VERBOSITY sqlstate
SELECT goflow.complete(:'c_task', '{"id": "m2", "bytes": 1}');
SELECT goflow.fail(:'c_task');
SELECT goflow.heartbeat(:'c_task');
SELECT goflow.complete(gen_random_uuid());
SELECT goflow.complete(NULL);
SELECT * FROM goflow.claim(NULL);
SELECT * FROM goflow.claim('{task_mail}', "limit" => 0);
SELECT * FROM goflow.claim('{task_mail}', lease => '-1 s');
SELECT * FROM goflow.claim('{task_mail}', lease => '1000000 years');
\set VERBOSITY terse

\echo == nothing before the commit
SELECT goflow.start('task_mail', '{"to": "bob"}') AS e \gset
CALL met(format($$EXISTS (SELECT FROM goflow.tasks WHERE execution = %L)$$, :'e'));
BEGIN;
SELECT task AS t FROM goflow.claim('{task_mail}') \gset
SELECT goflow.complete(:'t', '{"id": "m", "bytes": 1}');
ROLLBACK;
SELECT state, claims FROM goflow.tasks;
BEGIN;
SELECT task AS t FROM goflow.claim('{task_mail}') \gset
SELECT goflow.complete(:'t', '{"id": "m", "bytes": null}');
COMMIT;
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');

\echo == a lease that is over
SELECT goflow.start('task_mail', '{"to": "cyd"}') AS e \gset
CALL met(format($$EXISTS (SELECT FROM goflow.tasks WHERE execution = %L)$$, :'e'));
SELECT task AS t1 FROM goflow.claim('{task_mail}', 'slow', lease => '50 ms') \gset
CALL met($$(SELECT state = 'expired' FROM goflow.tasks)$$);
\set VERBOSITY default
SELECT goflow.complete(:'t1', '{"id": "late", "bytes": 1}');
SELECT task AS t2, claims AS claims FROM goflow.claim('{task_mail}', 'quick') \gset
SELECT :claims, :'t1' <> :'t2';
SELECT goflow.complete(:'t1', '{"id": "late", "bytes": 1}');
\set VERBOSITY terse
SELECT goflow.heartbeat(:'t1');
SELECT goflow.complete(:'t2', '{"id": "in time", "bytes": 1}');
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');
-- a heartbeat gives as much time as the claim did
SELECT goflow.start('task_mail', '{"to": "dan"}') AS e \gset
CALL met(format($$EXISTS (SELECT FROM goflow.tasks WHERE execution = %L)$$, :'e'));
SELECT task AS t FROM goflow.claim('{task_mail}', lease => '1 hour') \gset
SELECT goflow.heartbeat(:'t') - now() BETWEEN '59 min' AND '61 min';
SELECT goflow.complete(:'t', '{"id": "m", "bytes": 1}');
SELECT goflow.wait(:'e', '90 s');

\echo == failures: retries, codes, catches
SELECT goflow.define('task_fails', $${
  "nodes": {"t": {"type": "try",
              "body": {"nodes": {"k": {"type": "task", "queue": "task_fails", "output": {"n": "int"}, "retry": {"attempts": 3, "backoff": "1 ms", "on": "WF201"}}}},
              "catch": [{"on": "22012", "body": {"nodes": {"c": {"type": "transform", "value": {"m": "error.message || '/' || error.detail || '/' || error.node || '/' || error.attempt"}}}, "output": {"m": "c.m"}}}]}},
  "output": {"ok": "t.ok", "error": "t.error ->> 'message'"}}$$);
SELECT goflow.start('task_fails') AS e \gset
CALL met($$(SELECT attempt = 1 FROM goflow.tasks)$$);
SELECT goflow.fail(task, 'not now') FROM goflow.claim('{task_fails}');
CALL met($$(SELECT attempt = 2 FROM goflow.tasks WHERE state = 'waiting')$$);
\set VERBOSITY sqlstate
SELECT goflow.fail(task, 'bad code', code => '00000') FROM goflow.claim('{task_fails}');
\set VERBOSITY terse
CALL met($$(SELECT attempt = 2 FROM goflow.tasks WHERE state = 'waiting')$$);
SELECT goflow.fail(task, 'no "division"', code => '22012', detail => 'by zero') FROM goflow.claim('{task_fails}');
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');
SELECT node, attempt, state, output ->> 'm', error ->> 'code', error ->> 'message' FROM goflow.nodes(:'e');

\echo == timeout of the node, over all claims; cancelled; paused
SELECT goflow.define('task_short', $${"nodes": {"k": {"type": "task", "queue": "task_short", "timeout": "100 ms"}}}$$);
-- (On a busy machine its time may be over before it is claimed: then once more.)
CREATE PROCEDURE claim_in_time(INOUT e uuid DEFAULT NULL, INOUT t uuid DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
	WHILE t IS NULL LOOP
		e := goflow.start('task_short');
		COMMIT;
		WHILE t IS NULL AND (goflow.status(e)).finished_at IS NULL LOOP
			t := (SELECT task FROM goflow.claim('{task_short}'));
			COMMIT;
		END LOOP;
	END LOOP;
END $$;
CALL claim_in_time() \gset
DROP PROCEDURE claim_in_time;
SELECT goflow.wait(:'e', '90 s');
SELECT error ->> 'code' FROM goflow.executions WHERE execution = :'e';
\set VERBOSITY sqlstate
SELECT goflow.complete(:'t');
SELECT count(*) FROM goflow.tasks;
SELECT goflow.start('task_mail', '{"to": "eve"}') AS e \gset
CALL met($$EXISTS (SELECT FROM goflow.tasks WHERE queue = 'task_mail')$$);
SELECT task AS t FROM goflow.claim('{task_mail}') \gset
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.heartbeat(:'t');
SELECT goflow.complete(:'t', '{"id": "m", "bytes": 1}');
SELECT count(*) FROM goflow.tasks;
\set VERBOSITY terse
-- what is claimed may be answered while it is paused, what is not is not given out
SELECT goflow.define('task_both', $${"nodes": {"a": {"type": "task", "queue": "task_a"}, "b": {"type": "task", "queue": "task_b"}}}$$);
SELECT goflow.start('task_both') AS e \gset
CALL met($$(SELECT count(*) = 2 FROM goflow.tasks)$$);
SELECT task AS t FROM goflow.claim('{task_a}') \gset
SELECT goflow.pause(:'e');
CALL met(format($$(goflow.status(%L)).state = 'paused'$$, :'e'));
SELECT count(*) FROM goflow.claim('{task_b}');
SELECT goflow.complete(:'t');
SELECT node, state FROM goflow.nodes(:'e');
SELECT goflow.resume(:'e');
CALL met(format($$(SELECT count(*) = 1 FROM goflow.nodes(%L) WHERE state = 'completed')$$, :'e'));
SELECT goflow.complete(task) FROM goflow.claim('{task_b}');
SELECT goflow.wait(:'e', '90 s');

\echo == many at one time, in a loop, the oldest first
SELECT goflow.define('task_loop', $${
  "nodes": {"l": {"type": "loop", "for": "ARRAY[1, 2, 3, 4, 5]", "as": "n", "parallel": 5, "collect": "k.square", "body": {"nodes": {
               "k": {"type": "task", "queue": "task_loop", "payload": {"n": "n.value"}, "output": {"square": "int"}}}}}},
  "output": {"l": "l.results"}}$$);
SELECT goflow.start('task_loop') AS e \gset
CALL met($$(SELECT count(*) = 5 FROM goflow.tasks)$$);
SELECT payload, goflow.complete(task, jsonb_build_object('square', (payload ->> 'n')::int ^ 2)) FROM goflow.claim('{task_loop}', "limit" => 3);
SELECT payload, goflow.complete(task, jsonb_build_object('square', (payload ->> 'n')::int ^ 2)) FROM goflow.claim('{task_loop}', "limit" => 3);
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');

\echo == a payload that takes a worker of its own, also when it fails
CREATE FUNCTION task_price(n int) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN RETURN 100 / n; END $$;
SELECT goflow.define('task_mode', $${
  "input": {"n": "int"},
  "nodes": {"s": {"type": "sql", "sql": "SELECT input.n AS n"},
            "k": {"type": "task", "after": "s", "queue": "task_mode", "payload": {"price": "task_price(s.n)"}, "output": {"ok": "boolean"}, "aggregate": "first", "retry": {"attempts": 2, "backoff": "1 ms"}}},
  "output": {"ok": "k.ok", "joined": "k.joined"}}$$);
SELECT goflow.start('task_mode', '{"n": 5}') AS e \gset
SELECT goflow.start('task_mode', '{"n": 0}') AS z \gset
CALL met($$(SELECT count(*) = 1 FROM goflow.tasks)$$);
SELECT node, state FROM goflow.nodes(:'e');
SELECT payload, goflow.fail(task, 'once more') FROM goflow.claim('{task_mode}');
CALL met($$(SELECT attempt = 2 FROM goflow.tasks)$$);
SELECT payload, attempt, goflow.complete(task, '{"ok": true}') FROM goflow.claim('{task_mode}');
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');
SELECT goflow.wait(:'z', '90 s');
SELECT node, attempt, state, error ->> 'code' FROM goflow.nodes(:'z');

\echo == an execution that failed at a task, retried
SELECT goflow.define('task_again', $${"nodes": {"k": {"type": "task", "queue": "task_again", "output": {"n": "int"}}}, "output": {"n": "k.n"}}$$);
SELECT goflow.start('task_again') AS e \gset
CALL met($$(SELECT count(*) = 1 FROM goflow.tasks)$$);
SELECT goflow.fail(task, 'no') FROM goflow.claim('{task_again}');
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.retry(:'e');
CALL met($$(SELECT count(*) = 1 FROM goflow.tasks WHERE state = 'waiting')$$);
SELECT attempt, goflow.complete(task, '{"n": 1}') FROM goflow.claim('{task_again}');
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');

\echo == whose they are
SET client_min_messages = error;
CREATE ROLE regress_task_owner LOGIN;
CREATE ROLE regress_task_workers;
CREATE ROLE regress_task_worker LOGIN IN ROLE regress_task_workers;
CREATE ROLE regress_task_other LOGIN;
SELECT goflow.grant_usage(r::regrole) FROM unnest('{regress_task_owner,regress_task_worker,regress_task_other}'::text[]) r;
RESET client_min_messages;
SET ROLE regress_task_owner;
SELECT goflow.define('task_owned', '{"nodes": {"k": {"type": "task", "queue": "task_mail", "payload": {"secret": "42"}}}}');
SELECT goflow.start('task_owned') AS e \gset
RESET ROLE;
CALL met(format($$EXISTS (SELECT FROM goflow.tasks WHERE execution = %L)$$, :'e'));
SELECT goflow.start('task_mail', '{"to": "fay"}') AS mine \gset
CALL met(format($$EXISTS (SELECT FROM goflow.tasks WHERE execution = %L)$$, :'mine'));
SET ROLE regress_task_worker;
SELECT count(*) FROM goflow.tasks;
SELECT count(*) FROM goflow.claim('{task_mail}', "limit" => 9);
SET ROLE regress_task_owner;
SELECT goflow.grant_queue('task_mail', 'regress_task_workers');
SET ROLE regress_task_worker;
SELECT workflow, payload FROM goflow.tasks;
SELECT task AS t, workflow AS w, payload AS p FROM goflow.claim('{task_mail}', "limit" => 9) \gset
SELECT :'w', :'p';
SET ROLE regress_task_other;
\set VERBOSITY sqlstate
SELECT goflow.heartbeat(:'t');
SELECT goflow.complete(:'t');
SELECT goflow.fail(:'t');
TABLE goflow.task;
TABLE goflow.queue_grant;
SELECT goflow.grant_queue('task_mail', 'regress_task_other');    -- of his own executions
SELECT count(*) FROM goflow.claim('{task_mail}');
SET ROLE regress_task_owner;
SELECT goflow.revoke_queue('task_mail', 'regress_task_workers');
SET ROLE regress_task_worker;
SELECT goflow.heartbeat(:'t');
SET ROLE regress_task_owner;
SELECT goflow.grant_queue('task_mail', 'regress_task_worker');
SET ROLE regress_task_worker;
SELECT goflow.complete(:'t');
RESET ROLE;
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.complete(task, '{"id": "m", "bytes": 1}') FROM goflow.claim('{task_mail}');
SELECT goflow.wait(:'mine', '90 s');
\set VERBOSITY terse

\echo == definitions that are refused
SET client_min_messages = error;
SELECT goflow.validate(d) FROM (VALUES
  (1, '{"nodes": {"a": {"type": "task"}}}'::jsonb),
  (2, '{"nodes": {"a": {"type": "task", "queue": "No Queue"}}}'),
  (3, jsonb_build_object('nodes', jsonb_build_object('a', jsonb_build_object('type', 'task', 'queue', repeat('q', 51))))),
  (4, '{"nodes": {"a": {"type": "task", "queue": "q", "lease": "1 month"}}}'),
  (5, '{"nodes": {"a": {"type": "task", "queue": "q", "output": {"x": "regclass[]", "y": "goflow.tasks[]"}, "payload": {"n": "1 +"}}}}')) v (n, d) ORDER BY n;
RESET client_min_messages;
SELECT goflow.run('task_short');

\echo == the builder
SELECT goflow.task('a', 'q', payload => '{"x": "1"}', output => '{"y": "int"}', lease => '1 h', retry => 2);
SELECT goflow.script('task_mail');

-- nothing is left that anybody sees
SELECT count(*) FROM goflow.tasks;
SELECT count(*) FROM goflow.pending p JOIN goflow.executions e ON e.execution = p.execution_id WHERE e.workflow LIKE 'task\_%';
DROP PROCEDURE met;
