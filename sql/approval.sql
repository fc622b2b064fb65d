-- Approvals: who decides, forms, timeouts, reminders, escalation.
\set QUIET on
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
CREATE ROLE regress_appr_owner LOGIN;
CREATE ROLE regress_appr_managers;
CREATE ROLE regress_appr_directors;
CREATE ROLE regress_appr_mia LOGIN IN ROLE regress_appr_managers;
CREATE ROLE regress_appr_max LOGIN IN ROLE regress_appr_managers;
CREATE ROLE regress_appr_dora LOGIN IN ROLE regress_appr_directors;
CREATE ROLE regress_appr_eve LOGIN;
SELECT goflow.grant_usage(r::regrole) FROM unnest('{regress_appr_owner,regress_appr_mia,regress_appr_max,regress_appr_dora,regress_appr_eve}'::text[]) r;
RESET client_min_messages;
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

\echo == approved, with a form
SET ROLE regress_appr_owner;
SELECT goflow.define('appr_pay', $${
  "input": {"order": "int"},
  "nodes": {
    "ask":  {"type": "approval", "title": "Pay the order?", "role": "regress_appr_managers", "payload": {"order": "input.order", "due": "date '2026-01-31'"},
             "form": {"limit_": "numeric(10,2)", "urgent": "boolean"}, "timeout": "1 day"},
    "said": {"type": "switch", "after": "ask", "on": "ask.decision", "cases": [{"port": "yes", "when": "'approved'"}, {"port": "no", "when": "'rejected'"}]},
    "pay":  {"type": "transform", "after": "said:yes", "value": {"what": "'paid up to ' || ask.limit_"}},
    "drop": {"type": "transform", "after": "said:no", "value": {"what": "'dropped: ' || ask.comment"}},
    "last": {"type": "notify", "channel": "appr_end", "after": ["said:default", "pay", "drop"]}},
  "output": {"what": "coalesce(pay.what, drop.what)", "decision": "ask.decision", "by": "ask.decided_by", "login": "ask.login = session_user", "at": "ask.decided_at <= now()",
             "comment": "ask.comment", "urgent": "ask.urgent"}}$$);
SELECT goflow.start('appr_pay', '{"order": 7}') AS e \gset
RESET ROLE;
CALL met(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
SET ROLE regress_appr_owner;
SELECT count(*) FROM goflow.approvals;
SET ROLE regress_appr_eve;
SELECT count(*) FROM goflow.approvals;
SET ROLE regress_appr_mia;
SELECT workflow, node, frame, title, run_as, payload, form, role, due_at - created_at AS within FROM goflow.approvals;
SELECT goflow.approve(:'e', 'ask', '{"limit_": "much", "urgent": true}');
SELECT goflow.approve(:'e', 'ask', '{"limit_": 5}');
SELECT goflow.approve(:'e', 'ask', '{"limit_": 5, "urgent": true, "colour": "red"}');
SELECT goflow.approve(:'e', 'ask', '{"limit_": 99.999, "urgent": true}', 'as agreed');
SELECT count(*) FROM goflow.approvals;
RESET ROLE;
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');
SELECT node, state, output - 'decided_at' - 'login' FROM goflow.nodes(:'e') WHERE type = 'approval';

\echo == rejected, in a transaction that is taken back, and again
SET ROLE regress_appr_owner;
SELECT goflow.start('appr_pay', '{"order": 8}') AS e \gset
RESET ROLE;
CALL met(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
SET ROLE regress_appr_max;
BEGIN;
SELECT goflow.approve(:'e', 'ask', '{"limit_": 1, "urgent": false}');
ROLLBACK;
SELECT goflow.reject(:'e', 'ask', comment => 'too late');
RESET ROLE;
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');

\echo == twice, not in the audience, not there
\set VERBOSITY sqlstate
SET ROLE regress_appr_mia;
SELECT goflow.approve(:'e', 'ask', '{"limit_": 1, "urgent": false}');
SELECT goflow.reject(:'e', 'ask');
SELECT goflow.reject(:'e', 'said');
SELECT goflow.reject(:'e', 'nothing');
SELECT goflow.reject('00000000-0000-0000-0000-000000000000', 'ask');
-- to others all of it is the same
\set VERBOSITY default
SET ROLE regress_appr_owner;
SELECT goflow.start('appr_pay', '{"order": 9}') AS open \gset
RESET ROLE;
CALL met(format($$(goflow.status(%L)).state = 'waiting'$$, :'open'));
SET ROLE regress_appr_eve;
\set VERBOSITY sqlstate
SELECT goflow.approve(:'open', 'ask');
SELECT goflow.approve(:'e', 'ask');
SELECT goflow.approve(:'e', 'nothing');
SELECT goflow.approve('00000000-0000-0000-0000-000000000000', 'ask');
SELECT goflow.approve(NULL, 'ask');
TABLE goflow.approval;
-- nor may the one whose execution it is
SET ROLE regress_appr_owner;
SELECT goflow.approve(:'open', 'ask');
-- two at once: the second is told
SET ROLE regress_appr_mia;
BEGIN;
SELECT goflow.reject(:'open', 'ask');
SAVEPOINT s;
SELECT goflow.reject(:'open', 'ask');
ROLLBACK TO s;
COMMIT;
RESET ROLE;
SELECT goflow.wait(:'open', '90 s');

\echo == paused, cancelled
SET ROLE regress_appr_owner;
SELECT goflow.start('appr_pay', '{"order": 10}') AS p \gset
SELECT goflow.start('appr_pay', '{"order": 11}') AS c \gset
RESET ROLE;
CALL met(format($$(SELECT count(*) = 2 FROM goflow.approval WHERE execution_id IN (%L, %L))$$, :'p', :'c'));
SELECT goflow.pause(:'p'), goflow.cancel(:'c');
SELECT goflow.wait(:'c', '90 s');
CALL met(format($$(goflow.status(%L)).state = 'paused'$$, :'p'));
SET ROLE regress_appr_mia;
SELECT goflow.reject(:'c', 'ask');
SELECT payload -> 'order' FROM goflow.approvals;
SELECT goflow.reject(:'p', 'ask', comment => 'while it was paused');
RESET ROLE;
SELECT goflow.wait(:'p', '0.2 s');
SELECT goflow.resume(:'p');
SELECT goflow.wait(:'p', '90 s');
SELECT goflow.result(:'p') ->> 'what';
\set VERBOSITY terse

\echo == timeout, tried again, then escalated
SET ROLE regress_appr_owner;
SELECT goflow.define('appr_slow', $${
  "nodes": {
    "quick": {"type": "approval", "role": "regress_appr_managers", "timeout": "50 ms", "retry": {"attempts": 2, "backoff": "1 ms"}, "on_error": "continue"},
    "high":  {"type": "approval", "role": "regress_appr_managers", "after": "quick", "escalate": {"role": "regress_appr_directors", "after": "100 ms"}, "remind": "40 ms"}},
  "output": {"quick": "quick.decision", "high": "high.decision", "by": "high.decided_by"}}$$);
SELECT goflow.start('appr_slow') AS e \gset
RESET ROLE;
CALL met(format($$EXISTS (SELECT FROM goflow.nodes(%L) WHERE node = 'high' AND state = 'waiting')$$, :'e'));
SELECT node, attempt, state, error ->> 'code' FROM goflow.nodes(:'e');
\set VERBOSITY sqlstate
SET ROLE regress_appr_mia;
SELECT goflow.approve(:'e', 'quick');
SET ROLE regress_appr_dora;
CALL met(format($$EXISTS (SELECT FROM goflow.approvals WHERE execution = %L)$$, :'e'));
SELECT node, role, escalate_to, escalate_at <= clock_timestamp() FROM goflow.approvals;
SELECT goflow.approve(:'e', 'high');
RESET ROLE;
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');

\echo == in a loop: which one
SET ROLE regress_appr_owner;
SELECT goflow.define('appr_loop', $${
  "nodes": {"l": {"type": "loop", "for": "ARRAY[1, 2, 3]", "as": "n", "parallel": 3, "collect": "ask.decision || ask.note", "body": {"nodes": {
               "ask": {"type": "approval", "role": "regress_appr_managers", "form": {"note": "text"}, "payload": {"n": "n.value"}}}}}},
  "output": {"l": "l.results"}}$$);
SELECT goflow.start('appr_loop') AS e \gset
RESET ROLE;
CALL met(format($$(SELECT count(*) = 3 FROM goflow.approval WHERE execution_id = %L)$$, :'e'));
SET ROLE regress_appr_mia;
SELECT goflow.approve(:'e', 'l/ask', '{"note": " it"}');
SELECT goflow.approve(execution, node, '{"note": " it"}', frame => frame) FROM goflow.approvals WHERE payload ->> 'n' <> '2' ORDER BY frame;
SELECT goflow.reject(:'e', 'l/ask', '{"note": " that"}');
RESET ROLE;
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');
\set VERBOSITY terse

\echo == types of a schema that the approver cannot see
CREATE SCHEMA appr_private AUTHORIZATION regress_appr_owner;
SET ROLE regress_appr_owner;
CREATE TYPE appr_private.mood AS ENUM ('good', 'bad');
SET search_path = appr_private;
SELECT goflow.define('appr_mood', $${
  "input": {"m": "mood"}, "nodes": {"ask": {"type": "approval", "role": "regress_appr_managers", "form": {"m": "mood", "n": "mood[]"}, "payload": {"m": "input.m"}}}, "output": {"m": "ask.m", "n": "ask.n"}}$$);
SELECT goflow.start('appr_mood', '{"m": "bad"}') AS e \gset
RESET search_path;
RESET ROLE;
CALL met(format($$EXISTS (SELECT FROM goflow.approval WHERE execution_id = %L)$$, :'e'));
SELECT current_user AS me \gset
\c - regress_appr_mia
SELECT 'good'::appr_private.mood;
SELECT payload, form FROM goflow.approvals;
SELECT goflow.approve(:'e', 'ask', '{"m": "sad", "n": []}');
SELECT goflow.approve(:'e', 'ask', '{"m": "good", "n": ["bad"]}');
\c - :me
\set VERBOSITY terse
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');

\echo == definitions that are refused
SET client_min_messages = error;
SELECT goflow.validate(d) FROM (VALUES
  (1, '{"nodes": {"a": {"type": "approval"}}}'::jsonb),
  (2, '{"nodes": {"a": {"type": "approval", "role": "regress_appr_nobody"}}}'),
  (3, '{"nodes": {"a": {"type": "approval", "role": "regress_appr_managers", "form": {"comment": "text"}}}}'),
  (4, '{"nodes": {"a": {"type": "approval", "role": "regress_appr_managers", "escalate": {"role": "regress_appr_nobody", "after": "often"}}}}'),
  (5, '{"nodes": {"a": {"type": "approval", "role": "regress_appr_managers", "escalate": {"to": "x"}, "remind": "0"}}}'),
  (6, '{"nodes": {"a": {"type": "approval", "role": "regress_appr_managers", "form": {"x": "goflow.approvals"}, "payload": {"n": "b.x"}}}}')) v (n, d) ORDER BY n;
RESET client_min_messages;
SELECT goflow.run('appr_loop');

\echo == the builder
SELECT goflow.approval('a', 'regress_appr_managers', form => '{"x": "int"}', payload => '{"y": "1"}', remind => '1 h', escalate => '{"role": "r", "after": "1 day"}', timeout => '2 days');
SELECT goflow.script('appr_slow');

-- nothing is left that anybody sees
SELECT count(*) FROM goflow.approvals;
SELECT count(*) FROM goflow.pending p JOIN goflow.executions e ON e.execution = p.execution_id WHERE e.workflow LIKE 'appr\_%';
DROP PROCEDURE met;
