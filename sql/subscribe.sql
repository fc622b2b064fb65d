--
-- subscribe(), unsubscribe(), goflow.subscriptions; what arrives is in
-- test/t/015_subscriptions.pl.
--
CREATE SCHEMA subscribe_test;
SET search_path = subscribe_test;
SET client_min_messages = error;
\pset null '-'
\a
\t
CREATE VIEW mine AS
	SELECT execution IS NOT NULL AS of_one, workflow, cardinality(types) AS types, nodes, variables, sent, dropped,
		pid = pg_backend_pid() AS here, role = current_user::regrole AS mine, created_at <= now() AS created,
		channel ~ '^goflow_private_[0-9a-f]{40}$' AS channel
	FROM goflow.subscriptions;
SELECT goflow.define('su_one', $${"nodes": {"a": {"type": "delay", "for": "'1 hour'"}}}$$);
SELECT goflow.start('su_one') AS e \gset
-- nothing of it happens from now on
DO $$ BEGIN
	FOR i IN 1 .. 20000 LOOP
		EXIT WHEN EXISTS (SELECT FROM goflow.executions WHERE workflow = 'su_one' AND state = 'waiting')
			AND NOT EXISTS (SELECT FROM goflow.workers WHERE state IN ('starting', 'woken', 'busy'));
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;

-- A subscription is a channel that nobody can guess, from the commit on.
SELECT goflow.subscribe() AS c \gset
SELECT :'c' ~ '^goflow_private_[0-9a-f]{40}$';
SELECT * FROM mine;
SELECT :'c' = ANY (SELECT pg_listening_channels());
SELECT goflow.subscribe(:'e', 'su_one', '{node_started,node_failed,node_started}', '{a,b/c}', true) <> :'c';
SELECT * FROM mine ORDER BY types;
SELECT types FROM goflow.subscriptions ORDER BY created_at DESC LIMIT 1;
BEGIN;
SELECT goflow.subscribe(types => '{}') IS NOT NULL;
SELECT count(*) FROM mine;
COMMIT;
SELECT count(*) FROM mine;

-- It ends: by unsubscribe(), which others cannot, by UNLISTEN, at the commit alone.
SELECT goflow.unsubscribe('goflow'), goflow.unsubscribe('goflow_private_00'), goflow.unsubscribe(NULL);
BEGIN;
SELECT goflow.unsubscribe(:'c');
SELECT goflow.unsubscribe(:'c');
ROLLBACK;
SELECT count(*) FROM mine;
SELECT goflow.unsubscribe(:'c');
SELECT count(*) FROM mine;
SELECT :'c' = ANY (SELECT pg_listening_channels());
SELECT channel AS c FROM goflow.subscriptions WHERE nodes IS NOT NULL \gset
UNLISTEN :"c";
SELECT count(*) FROM mine;
BEGIN;
UNLISTEN *;
ROLLBACK;
SELECT count(*) FROM mine;
UNLISTEN *;
SELECT count(*) FROM mine;
SELECT goflow.subscribe() IS NOT NULL;
DISCARD ALL;
SET search_path = subscribe_test;
SET client_min_messages = error;
SELECT count(*) FROM mine;

-- Rolled back, wholly or in part, and taken back in the same transaction.
BEGIN;
SELECT goflow.subscribe() IS NOT NULL;
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT goflow.subscribe(workflow => 'su_one') AS c \gset
SELECT goflow.unsubscribe(:'c');
ROLLBACK TO a;
SELECT goflow.subscribe() AS c \gset
SAVEPOINT b;
SELECT goflow.unsubscribe(:'c');
ROLLBACK TO b;
SAVEPOINT d;
SELECT goflow.subscribe(types => '{loop_started}') IS NOT NULL;
RELEASE d;
COMMIT;
SELECT * FROM mine ORDER BY types;
BEGIN;
SELECT goflow.subscribe() AS c \gset
SELECT goflow.unsubscribe(:'c');
COMMIT;
SELECT count(*) FROM mine;
UNLISTEN *;
SELECT count(*) FROM goflow.subscriptions;

-- There is room for so many in the server; what is rolled back takes none.
DO $$ BEGIN
	FOR i IN 1 .. 3 LOOP
		BEGIN
			PERFORM goflow.subscribe() FROM generate_series(1, current_setting('goflow.max_subscriptions')::int);
			RAISE EXCEPTION 'enough';
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END LOOP;
END $$;
SELECT count(*) FROM goflow.subscriptions;
\set VERBOSITY terse
SELECT count(goflow.subscribe()) FROM generate_series(1, current_setting('goflow.max_subscriptions')::int + 1);
SELECT count(*) FROM goflow.subscriptions;

-- Bad input.
SELECT goflow.subscribe(types => '{node_started,all}');
SELECT goflow.subscribe('00000000-0000-7000-8000-000000000000');
SELECT goflow.subscribe(workflow => 'su_none');
SELECT goflow.subscribe(nodes => ARRAY['a', NULL]);
SELECT goflow.subscribe(nodes => ARRAY[repeat('x', 1100)]);
SELECT goflow.define('su_node', $${"nodes": {"a": {"type": "sql", "sql": "SELECT goflow.subscribe() AS c"}}}$$);
SELECT goflow.start('su_node') AS n \gset
SELECT goflow.wait(:'n', '90 s');
SELECT error->>'code', error->>'message' FROM goflow.executions WHERE execution = :'n';

-- Others see nothing of it, and cannot subscribe to what they may not see; pg_monitor sees all but the channel.
CREATE ROLE subscribe_stranger;
CREATE ROLE subscribe_monitor IN ROLE pg_monitor;
SELECT goflow.grant_usage('subscribe_stranger'), goflow.grant_usage('subscribe_monitor');
GRANT USAGE, CREATE ON SCHEMA subscribe_test TO PUBLIC;
GRANT SELECT ON mine TO PUBLIC;
SELECT goflow.subscribe(:'e') AS c \gset
SET ROLE subscribe_stranger;
SELECT count(*) FROM goflow.subscriptions;
\set VERBOSITY sqlstate
SELECT goflow.subscribe(:'e');
SELECT goflow.subscribe(workflow => 'su_one');
\set VERBOSITY terse
RESET ROLE;
SELECT goflow.grant_start('su_one', 'subscribe_stranger');
SET ROLE subscribe_stranger;
SELECT goflow.subscribe(workflow => 'su_one') IS NOT NULL;
SELECT role, workflow, channel IS NOT NULL FROM goflow.subscriptions;
RESET ROLE;
SET ROLE subscribe_monitor;
SELECT role = 'subscribe_stranger'::regrole, workflow, channel, sent, dropped FROM goflow.subscriptions ORDER BY workflow;
RESET ROLE;
UNLISTEN *;
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.drop('su_one'), goflow.drop('su_node');
SELECT goflow.revoke_usage('subscribe_stranger'), goflow.revoke_usage('subscribe_monitor');
DROP SCHEMA subscribe_test CASCADE;
DROP ROLE subscribe_stranger;
DROP ROLE subscribe_monitor;
