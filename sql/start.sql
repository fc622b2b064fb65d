--
-- start() and start_many(): executions that workers run, once the transaction has committed.
--
CREATE SCHEMA start_test;
SET search_path = start_test;
SET client_min_messages = error;
CREATE TABLE done (id int, at timestamptz DEFAULT clock_timestamp());
SELECT goflow.define('mark', $${
  "input": {"id": "int = 0"},
  "nodes": {"mark": {"type": "sql", "sql": "INSERT INTO done VALUES (input.id) RETURNING id"}}, "output": {"id": "mark.id", "version": "execution.version"}}$$);

-- An id of version 7, that sorts by time.
SELECT goflow.start('mark', '{"id": 1}') AS one \gset
SELECT goflow.start('mark', '{"id": 2}') AS two \gset
SELECT substr(:'one', 15, 1) AS version, substr(:'one', 20, 1) IN ('8', '9', 'a', 'b') AS variant, :'one'::uuid < :'two'::uuid AS in_order;
SELECT goflow.wait(:'one', '90 s'), goflow.wait(:'two', '90 s');
SELECT goflow.result(:'one'), goflow.result(:'two');
SELECT id FROM done ORDER BY id;
TRUNCATE done;

-- Within a transaction nothing runs before its commit; it is seen as queued.
BEGIN;
SELECT goflow.start('mark', '{"id": 3}') AS three \gset
SELECT state, started_at, finished_at, workflow, version, priority, run_as = current_user::regrole AS mine, started_by FROM goflow.status(:'three');
SELECT * FROM goflow.progress(:'three');
SELECT node, type, frame, attempt, state, output, error, started_at, seq FROM goflow.nodes(:'three');
SAVEPOINT s;
SELECT goflow.wait(:'three');
ROLLBACK TO s;
SELECT goflow.cancel(:'three');		-- before it has begun
COMMIT;
SELECT goflow.wait(:'three', '90 s');
BEGIN;
SELECT goflow.start('mark', '{"id": 3}') AS three \gset
ROLLBACK;
\set VERBOSITY sqlstate
SELECT goflow.status(:'three');
\set VERBOSITY default
BEGIN;
SELECT goflow.start('mark', '{"id": 4}') AS four \gset
SAVEPOINT s;
SELECT goflow.start('mark', '{"id": 5}') AS five \gset
ROLLBACK TO s;
SELECT goflow.start('mark', '{"id": 6}') AS six \gset
RELEASE s;
COMMIT;
SELECT goflow.wait(:'four', '90 s'), goflow.wait(:'six', '90 s');
\set VERBOSITY sqlstate
SELECT goflow.wait(:'five', '90 s');
\set VERBOSITY default
SELECT id FROM done ORDER BY id;
TRUNCATE done;

-- In a function, with an error caught around it.
CREATE FUNCTION start_some(fail boolean) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE e uuid;
BEGIN
	e := goflow.start('mark', '{"id": 7}');
	BEGIN
		PERFORM goflow.start('mark', '{"id": 8}');
		PERFORM 1 / (NOT fail)::int;
	EXCEPTION WHEN division_by_zero THEN
		NULL;
	END;
	RETURN e;
END $$;
SELECT start_some(true) AS a, start_some(false) AS b \gset
SELECT goflow.wait(:'a', '90 s'), goflow.wait(:'b', '90 s');
SELECT DISTINCT goflow.wait(execution, '90 s') AS state FROM goflow.executions WHERE workflow = 'mark' ORDER BY 1;
SELECT id, count(*) FROM done GROUP BY id ORDER BY id;
TRUNCATE done;

-- The same key is the same execution: of one workflow, for one role.
SELECT goflow.start('mark', '{"id": 10}', key => 'order-10') AS a \gset
SELECT goflow.start('mark', '{"id": 11}', key => 'order-10') = :'a' AS same;
SELECT goflow.wait(:'a', '90 s');
SELECT goflow.start('mark', '{"id": 12}', key => 'order-10') = :'a' AS same_when_finished;
SELECT goflow.start('mark', '{"id": 13}', key => 'order-13') <> :'a' AS other_key;
SELECT goflow.start('mark', '{"id": 14}', key => NULL) <> goflow.start('mark', '{"id": 14}', key => NULL) AS no_key;
SELECT goflow.start('mark', '{"id": 15}', key => '') = goflow.start('mark', '{"id": 15}', key => '') AS empty_key;
SELECT goflow.define('mark_too', goflow.definition('mark'));
SELECT goflow.start('mark_too', '{"id": 16}', key => 'order-10') <> :'a' AS other_workflow;
-- also of a later version, and within one transaction; a rolled-back one leaves the key free
SELECT goflow.define('mark', goflow.definition('mark'));
SELECT goflow.start('mark', '{"id": 17}', key => 'order-10') = :'a' AS other_version;
BEGIN;
SELECT goflow.start('mark', '{"id": 18}', key => 'order-18') AS b \gset
SELECT goflow.start('mark', '{"id": 18}', key => 'order-18') = :'b' AS same;
SAVEPOINT s;
SELECT goflow.start('mark', '{"id": 19}', key => 'order-19') AS c \gset
ROLLBACK TO s;
SELECT goflow.start('mark', '{"id": 20}', key => 'order-19') <> :'c' AS free_again;
COMMIT;
-- the input is checked all the same
SELECT goflow.start('mark', '{"id": "x"}', key => 'order-10');
-- another role's key is another's
CREATE ROLE regress_goflow_starter LOGIN;
SELECT goflow.grant_usage('regress_goflow_starter');
SELECT goflow.grant_start('mark', 'regress_goflow_starter');
GRANT USAGE ON SCHEMA start_test TO regress_goflow_starter;
GRANT INSERT, SELECT ON done TO regress_goflow_starter;
SET ROLE regress_goflow_starter;
SELECT goflow.start('mark', '{"id": 21}', key => 'order-10') AS d \gset
SELECT :'d' <> :'a' AS other_role;
SELECT goflow.wait(:'d', '90 s');
SELECT run_as FROM goflow.status(:'d');
RESET ROLE;
-- wait for all of them
SELECT count(goflow.wait(execution, '90 s')) > 0 AS waited FROM goflow.executions WHERE workflow IN ('mark', 'mark_too');
SELECT id, count(*) FROM done GROUP BY id ORDER BY id;
TRUNCATE done;

-- priority: from -100 to 100; the definition's unless given.
SELECT goflow.start('mark', priority => 101);
SELECT goflow.start('mark', priority => -101);
SELECT goflow.define('hurried', '{"priority": 50, "nodes": {"a": {"type": "notify", "channel": "c"}}}');
SELECT s.priority FROM goflow.status(goflow.start('hurried')) s;
SELECT s.priority FROM goflow.status(goflow.start('hurried', priority => -100)) s;
SELECT s.priority FROM goflow.status(goflow.start('hurried', priority => 100)) s;

-- version: the newest, or the one that is named.
SELECT goflow.start('mark') AS a \gset
SELECT goflow.start('mark', version => 1) AS b \gset
SELECT goflow.wait(:'a', '90 s'), goflow.wait(:'b', '90 s');
SELECT goflow.result(:'a'), goflow.result(:'b');
SELECT goflow.start('mark', version => 3);
SELECT goflow.start('mark', version => 0);
SELECT goflow.start('mark', version => -1);

-- entry: a trigger or another node to begin at.
SELECT goflow.define('way', $${"nodes": {
  "a": {"type": "transform", "value": {"x": "1"}}, "b": {"type": "transform", "after": "a", "value": {"x": "2"}}},
  "output": {"a": "a.x", "b": "b.x"}}$$);
SELECT goflow.start('way') AS a, goflow.start('way', entry => 'b') AS b \gset
SELECT goflow.wait(:'a', '90 s'), goflow.wait(:'b', '90 s');
SELECT goflow.result(:'a'), goflow.result(:'b');
SELECT node, state FROM goflow.nodes(:'b');
SELECT goflow.start('way', entry => 'c');
SELECT goflow.start('way', entry => '');

-- What is not there, and what is not given.
SELECT goflow.start('nothing');
SELECT goflow.start('');
SELECT goflow.start(NULL);
SELECT goflow.start('mark', NULL) IS NOT NULL AS no_input;
BEGIN READ ONLY;
SELECT goflow.start('mark');
ROLLBACK;

-- start_many(): one execution per input, in their order, all or none.
SELECT array_agg(e) AS many FROM goflow.start_many('mark', (SELECT array_agg(jsonb_build_object('id', i)) FROM generate_series(1, 1000) i)) e \gset
SELECT count(*), count(DISTINCT e), bool_and(e > previous) AS in_order
  FROM (SELECT e, lag(e) OVER () AS previous FROM unnest(:'many'::uuid[]) e) x;
SELECT goflow.wait(e, '90 s') AS state, count(*) FROM unnest(:'many'::uuid[]) e GROUP BY 1;
SELECT count(*), bool_and((goflow.result(e)->'id')::int = i) AS right_ones FROM unnest(:'many'::uuid[]) WITH ORDINALITY AS x(e, i);
SELECT count(*), count(DISTINCT id), min(id), max(id) FROM done WHERE id > 0;
SELECT * FROM goflow.start_many('mark', '{}');
SELECT * FROM goflow.start_many('mark', NULL);
SELECT count(*) FROM goflow.start_many('mark', ARRAY[NULL, '{}']::jsonb[]);
SELECT * FROM goflow.start_many('nothing', '{}');
SELECT * FROM goflow.start_many('mark', ARRAY['{}']::jsonb[], priority => 1000);
BEGIN;
SELECT count(*) FROM goflow.start_many('mark', ARRAY['{"id": 5001}', '{"id": 5002}']::jsonb[]);
ROLLBACK;

-- Who may: the owner, and those it was granted to.  See roles.sql for more.
SET ROLE regress_goflow_starter;
SELECT goflow.start('mark') IS NOT NULL AS started;
SELECT goflow.start('way');
SELECT * FROM goflow.start_many('way', ARRAY['{}']::jsonb[]);
SELECT goflow.run('way');
RESET ROLE;
SELECT goflow.revoke_start('mark', 'regress_goflow_starter');
SET ROLE regress_goflow_starter;
SELECT goflow.start('mark');
RESET ROLE;

-- Not from an index expression or the like, where it would run as another.
CREATE FUNCTION sneak(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM goflow.start('mark'); RETURN 1; END $$;
CREATE TABLE trap AS SELECT 1 AS x;
CREATE INDEX ON trap (sneak(x));

-- An execution starts others, in its own transaction.
SELECT goflow.define('parent', $${"nodes": {
  "child": {"type": "sql", "sql": "SELECT goflow.start('mark', '{\"id\": 6001}') AS id"},
  "fails": {"type": "sql", "sql": "SELECT goflow.start('mark', '{\"id\": 6002}') AS id, 1 / (SELECT 0) AS x"},
  "waits": {"type": "sql", "after": "child", "sql": "SELECT goflow.wait(child.id) AS x"}}, "output": {"child": "child.id"}}$$);
SELECT goflow.start('parent', entry => 'child') AS p \gset
SELECT goflow.wait(:'p', '90 s');
SELECT goflow.result(:'p');
SELECT goflow.wait((output->>'id')::uuid, '90 s') FROM goflow.nodes(:'p') WHERE node = 'child';
SELECT goflow.define('parent_follows', $${"nodes": {"f": {"type": "sql", "sql": "SELECT goflow.follow(execution.id) AS x"}}}$$);
SELECT goflow.start('parent_follows') AS p \gset
SELECT goflow.wait(:'p', '90 s');
SELECT goflow.result(:'p');
SELECT goflow.start('parent', entry => 'fails') AS p \gset
SELECT goflow.wait(:'p', '90 s');
SELECT id, count(*) FROM done WHERE id > 5000 GROUP BY id ORDER BY id;

-- A wait that is longer than the server's own functions can wait at once.
SELECT goflow.define('blink', '{"nodes": {"d": {"type": "delay", "for": "interval ''50 ms''"}}}');
SELECT goflow.start('blink') AS p \gset
SELECT goflow.wait(:'p', '1000 years');

-- A prepared transaction starts what it started when it is committed.
BEGIN;
SELECT goflow.start('mark', '{"id": 7001}') AS p \gset
PREPARE TRANSACTION 'goflow_start';
\set VERBOSITY sqlstate
SELECT goflow.status(:'p');
\set VERBOSITY default
COMMIT PREPARED 'goflow_start';
SELECT goflow.wait(:'p', '90 s');
BEGIN;
SELECT goflow.start('mark', '{"id": 7002}') AS p \gset
PREPARE TRANSACTION 'goflow_start';
ROLLBACK PREPARED 'goflow_start';
\set VERBOSITY sqlstate
SELECT goflow.status(:'p');
\set VERBOSITY default

SELECT count(goflow.wait(execution, '90 s')) > 0 AS waited FROM goflow.executions WHERE workflow IN ('mark', 'mark_too', 'hurried');
-- A workflow of the same name, defined after a drop, is another: old keys are not its.
SELECT goflow.start('hurried', key => 'k') AS old \gset
SELECT goflow.wait(:'old', '90 s');
SELECT goflow.drop('hurried');
SELECT goflow.define('hurried', '{"nodes": {"a": {"type": "notify", "channel": "c"}}}');
SELECT goflow.start('hurried', key => 'k') <> :'old' AS another;
SELECT count(goflow.wait(execution, '90 s')) > 0 AS waited FROM goflow.executions WHERE workflow = 'hurried';
SELECT goflow.drop(w) FROM unnest('{mark,mark_too,hurried,way,parent,blink}'::text[]) w;
SELECT goflow.revoke_usage('regress_goflow_starter');
DROP OWNED BY regress_goflow_starter;
DROP ROLE regress_goflow_starter;
DROP SCHEMA start_test CASCADE;
