-- Signals: inbox, order, types, timeouts; who may send them.
\set QUIET on
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\set VERBOSITY terse
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

\echo == one that waits
SELECT goflow.define('sig_one', $${
  "nodes": {"paid": {"type": "signal", "payload": {"amount": "numeric", "at": "timestamptz", "tags": "text[]", "more": "jsonb"}},
            "x":    {"type": "transform", "after": "paid", "value": {"double": "paid.amount * 2"}}},
  "output": {"double": "x.double", "at": "paid.at", "tags": "paid.tags", "more": "paid.more"}}$$);
SELECT goflow.start('sig_one') AS e \gset
CALL met(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
SELECT node, state FROM goflow.nodes(:'e');
SELECT goflow.signal(:'e', 'paid', '{"amount": 2.5, "at": "infinity", "tags": ["a", null], "more": null}');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT node, state, output FROM goflow.nodes(:'e');

\echo == what does not fit is refused at once
\set VERBOSITY default
SELECT goflow.start('sig_one') AS e \gset
SELECT goflow.signal(:'e', 'paid', '{"amount": "many", "at": "now", "tags": [], "more": 1}');
SELECT goflow.signal(:'e', 'paid', '{"amount": 1}');
SELECT goflow.signal(:'e', 'paid', '{"amount": 1, "at": "now", "tags": [], "more": 1, "colour": 1}');
SELECT goflow.signal(:'e', 'paid', '[]');
SELECT goflow.signal(:'e', 'payed');
SELECT goflow.signal('00000000-0000-0000-0000-000000000000', 'paid');
\set VERBOSITY sqlstate
SELECT goflow.signal(:'e', 'paid', '{"amount": 1}');
SELECT goflow.signal(:'e', 'x');
SELECT goflow.run('sig_one');
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.signal(:'e', 'paid', '{"amount": 1, "at": "now", "tags": [], "more": 1}');
\set VERBOSITY terse

\echo == early ones wait, in order, each is consumed once
SELECT goflow.define('sig_two', $${
  "nodes": {"gate":   {"type": "signal"},
            "first":  {"type": "signal", "after": "gate", "name": "go", "payload": {"n": "int"}},
            "second": {"type": "signal", "after": "first", "name": "go", "payload": {"n": "int"}}},
  "output": {"first": "first.n", "second": "second.n"}}$$);
BEGIN;
SELECT goflow.start('sig_two') AS e \gset
SELECT goflow.signal(:'e', 'go', jsonb_build_object('n', n)) FROM generate_series(1, 3) n;
COMMIT;
CALL met(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
SELECT name, payload, sent_by = current_user::regrole FROM goflow.signals(:'e');
SELECT goflow.signal(:'e', 'gate');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT count(*) AS left FROM goflow.signals(:'e');
SELECT count(*) AS left FROM goflow.signal;

\echo == rolled back
SELECT goflow.start('sig_two') AS e \gset
BEGIN;
SELECT goflow.signal(:'e', 'gate');
SAVEPOINT s;
SELECT goflow.signal(:'e', 'go', '{"n": 1}');
ROLLBACK TO s;
SELECT goflow.signal(:'e', 'go', '{"n": 2}');
COMMIT;
BEGIN;
SELECT goflow.signal(:'e', 'go', '{"n": 3}');
ROLLBACK;
SELECT goflow.signal(:'e', 'go', '{"n": 4}');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');

\echo == side by side, and in a loop
SELECT goflow.define('sig_side', $${
  "nodes": {"a": {"type": "signal", "name": "go", "payload": {"n": "int"}},
            "b": {"type": "signal", "name": "go", "payload": {"n": "int"}},
            "c": {"type": "signal", "name": "go", "payload": {"n": "int"}},
            "l": {"type": "loop", "after": ["a", "b", "c"], "repeat": 3, "collect": "s.n", "body": {"nodes": {
                    "s": {"type": "signal", "name": "go", "payload": {"n": "int"}}}}},
            "p": {"type": "loop", "after": "l", "repeat": 4, "parallel": 4, "collect": "s.n", "body": {"nodes": {
                    "s": {"type": "signal", "name": "go", "payload": {"n": "int"}}}}}},
  "output": {"first": "a.n * 100 + b.n * 10 + c.n", "l": "l.results", "p": "p.results"}}$$);
SELECT goflow.start('sig_side') AS e \gset
CALL met(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
-- one at a time: the one that waits longest has it
SELECT goflow.signal(:'e', 'go', '{"n": 1}');
CALL met(format($$(SELECT count(*) = 1 FROM goflow.nodes(%L) WHERE state = 'completed')$$, :'e'));
SELECT node, output FROM goflow.nodes(:'e') WHERE state = 'completed';
SELECT goflow.signal(:'e', 'go', jsonb_build_object('n', n)) FROM generate_series(2, 12) n;
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT count(*) AS left FROM goflow.signal;

\echo == one that is cancelled leaves its signal to the next
SELECT goflow.define('sig_rest', $${
  "nodes": {"late": {"type": "signal"},
            "next": {"type": "signal", "after": "late", "name": "go", "payload": {"n": "int"}},
            "stop": {"type": "signal"},
            "tried": {"type": "try", "body": {"nodes": {"oldest": {"type": "signal", "name": "go", "payload": {"n": "int"}}}}, "finally": {"nodes": {"f": {"type": "notify", "channel": "sig_f"}}}},
            "met":  {"type": "transform", "after": ["stop", "tried"], "join": "any", "cancel_rest": true, "value": {"done": "true"}}},
  "output": {"next": "next.n", "done": "met.done"}}$$);
SELECT goflow.start('sig_rest') AS e \gset
CALL met(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
SELECT goflow.signal(:'e', 'late');
CALL met(format($$EXISTS (SELECT FROM goflow.nodes(%L) WHERE node = 'next' AND state = 'waiting')$$, :'e'));
BEGIN;
SELECT goflow.signal(:'e', 'stop');
SELECT goflow.signal(:'e', 'go', '{"n": 7}');
COMMIT;
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT node, state FROM goflow.nodes(:'e') ORDER BY node;

\echo == timeout: caught, tried again, not caught
SELECT goflow.define('sig_slow', $${
  "nodes": {"t": {"type": "try",
                  "body":  {"nodes": {"s": {"type": "signal", "timeout": "50 ms", "retry": {"attempts": 2, "backoff": "1 ms"}}}},
                  "catch": [{"on": "execution_timeout", "body": {"nodes": {
                     "c": {"type": "transform", "value": {"what": "error.message || ' ' || error.node || ' ' || error.attempt"}}},
                     "output": {"what": "c.what"}}}]},
            "s2": {"type": "signal", "after": "t", "timeout": "50 ms", "on_error": "continue"},
            "s3": {"type": "signal", "after": "s2", "timeout": "50 ms"}},
  "output": {"ok": "t.ok"}}$$);
SELECT goflow.start('sig_slow') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT state, error ->> 'code', error ->> 'message' FROM goflow.executions WHERE execution = :'e';
SELECT node, attempt, state, output ->> 'what', error ->> 'code' FROM goflow.nodes(:'e');

\echo == paused: they wait
SELECT goflow.start('sig_two') AS e \gset
CALL met(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
SELECT goflow.pause(:'e');
CALL met(format($$(goflow.status(%L)).state = 'paused'$$, :'e'));
SELECT goflow.signal(:'e', 'gate'), goflow.signal(:'e', 'go', '{"n": 1}'), goflow.signal(:'e', 'go', '{"n": 2}');
SELECT goflow.wait(:'e', '0.2 s'), count(*) FROM goflow.signals(:'e');
SELECT goflow.resume(:'e');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');

\echo == from a node of another execution
SELECT goflow.define('sig_sender', $${
  "input": {"to": "uuid"},
  "nodes": {"a": {"type": "sql", "sql": "SELECT goflow.signal(input.to, 'gate')"},
            "b": {"type": "sql", "after": "a", "sql": "SELECT goflow.signal(input.to, 'go', jsonb_build_object('n', n)) FROM generate_series(1, 2) n", "rows": "many"}}}$$);
SELECT goflow.start('sig_two') AS e \gset
SELECT goflow.start('sig_sender', jsonb_build_object('to', :'e')) IS NOT NULL;
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');

\echo == to all of a workflow
SELECT goflow.define('sig_all', '{"nodes": {"s": {"type": "signal", "name": "go", "payload": {"n": "int"}}}, "output": {"n": "s.n"}}');
SELECT goflow.start('sig_all', key => 'k1') AS k1 \gset
SELECT goflow.start('sig_all', key => 'k2') AS k2 \gset
SELECT goflow.start('sig_all') AS e \gset
SELECT goflow.signal_all('sig_all', 'go', '{"n": 1}', key => 'k2');
SELECT goflow.wait(:'k2', '90 s'), goflow.result(:'k2');
SELECT goflow.signal_all('sig_all', 'go', '{"n": 1}', key => 'k2'), goflow.signal_all('sig_all', 'go', '{"n": 1}', key => 'k9');
SELECT goflow.define('sig_all', '{"nodes": {"s": {"type": "signal", "name": "gone"}}}');
SELECT goflow.start('sig_all') AS other \gset
SELECT goflow.signal_all('sig_all', 'go', '{"n": 2}');
SELECT goflow.wait(:'k1', '90 s'), goflow.result(:'k1'), goflow.wait(:'e', '90 s'), goflow.result(:'e');
SELECT goflow.signal_all('sig_all', 'gone');
SELECT goflow.wait(:'other', '90 s');
\set VERBOSITY sqlstate
SELECT goflow.signal_all('sig_all', 'nothing');
SELECT goflow.signal_all('sig_none', 'go');
SELECT goflow.signal_all('sig_two', 'go', '{"n": "x"}');
\set VERBOSITY terse

\echo == whose they are
CREATE ROLE regress_signal_owner LOGIN;
CREATE ROLE regress_signal_member LOGIN IN ROLE regress_signal_owner;
CREATE ROLE regress_signal_other LOGIN;
SELECT goflow.grant_usage(r::regrole) FROM unnest('{regress_signal_owner,regress_signal_member,regress_signal_other}'::text[]) r;
SET ROLE regress_signal_owner;
SELECT goflow.define('sig_owned', '{"nodes": {"s": {"type": "signal"}}}');
SELECT goflow.start('sig_owned') AS e \gset
SET ROLE regress_signal_other;
\set VERBOSITY sqlstate
SELECT goflow.signal(:'e', 's');
SELECT * FROM goflow.signals(:'e');
SELECT goflow.signal_all('sig_owned', 's');
TABLE goflow.signal;
RESET ROLE;
SELECT goflow.grant_start('sig_owned', 'regress_signal_other');
SET ROLE regress_signal_other;
SELECT goflow.signal_all('sig_owned', 's');    -- may start it, but steer none
\set VERBOSITY terse
SET ROLE regress_signal_member;
SELECT goflow.signal(:'e', 's');
RESET ROLE;
SELECT goflow.wait(:'e', '90 s');

\echo == definitions that are refused
SET client_min_messages = error;
CREATE DOMAIN sig_domain AS int CHECK (VALUE > 0);
CREATE TYPE sig_mood AS ENUM ('good', 'bad');
SELECT goflow.validate(d) FROM (VALUES
  (1, '{"nodes": {"a": {"type": "signal", "payload": {"x": "sig_domain"}}}}'::jsonb),
  (2, '{"nodes": {"a": {"type": "signal", "payload": {"x": "nothing"}}}}'),
  (3, '{"nodes": {"a": {"type": "signal", "payload": {"x": 5}}}}'),
  (4, '{"nodes": {"a": {"type": "signal", "name": "No name"}}}'),
  (5, '{"nodes": {"a": {"type": "signal", "name": "s", "payload": {"x": "int"}}, "b": {"type": "signal", "name": "s", "payload": {"x": "bigint"}}}}'),
  (6, '{"nodes": {"a": {"type": "signal", "channel": "s"}}}'),
  (7, '{"nodes": {"a": {"type": "signal", "aggregate": "merge", "after": "b", "payload": {"joined": "int"}}, "b": {"type": "signal"}}}'),
  (8, '{"nodes": {"a": {"type": "signal", "payload": {"x": "int"}}, "b": {"type": "transform", "after": "a", "value": {"y": "a.z"}}}, "output": {"y": "b.y"}}')) v (n, d) ORDER BY n;
RESET client_min_messages;

\echo == an enum, no fields, "joined", and the builder
SELECT goflow.define('sig_kinds', goflow.workflow(
  goflow.await_signal('mood', payload => '{"mood": "sig_mood", "moods": "sig_mood[]"}'),
  goflow.await_signal('plain', 'go', after => 'mood', timeout => '1 hour', aggregate => 'first'),
  goflow.output('mood', 'mood.mood'), goflow.output('moods', 'mood.moods'), goflow.output('joined', 'plain.joined')));
SELECT goflow.script('sig_kinds');
SELECT goflow.start('sig_kinds') AS e \gset
CALL met(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
SELECT goflow.signal(:'e', 'mood', '{"mood": "sad", "moods": []}');
SELECT goflow.signal(:'e', 'mood', '{"mood": "good", "moods": ["bad", "good"]}'), goflow.signal(:'e', 'go');
SELECT goflow.wait(:'e', '90 s'), goflow.result(:'e');

-- what waits no more leaves nothing
SELECT goflow.cancel(execution) FROM goflow.executions WHERE workflow LIKE 'sig\_%' AND finished_at IS NULL;
CALL met($$NOT EXISTS (SELECT FROM goflow.executions WHERE workflow LIKE 'sig\_%' AND finished_at IS NULL)$$);
SELECT count(*) FROM goflow.signal;
SELECT count(*) FROM goflow.pending p JOIN goflow.executions e ON e.execution = p.execution_id WHERE e.workflow LIKE 'sig\_%';
DROP PROCEDURE met;
