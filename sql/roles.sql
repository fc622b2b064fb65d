--
-- Roles: who may do what, as whom a workflow runs, and who sees it.
--
SET client_min_messages = error;
CREATE SCHEMA roles_test;
CREATE ROLE regress_goflow_ann LOGIN;
CREATE ROLE regress_goflow_bob LOGIN;
CREATE ROLE regress_goflow_boss LOGIN;
CREATE ROLE regress_goflow_nologin NOLOGIN;
GRANT ALL ON SCHEMA roles_test TO PUBLIC;
SET search_path = roles_test;
CREATE TABLE who (name text, session text);
GRANT INSERT, SELECT ON who TO PUBLIC;
CREATE TABLE secret AS SELECT 'ann only' AS x;
ALTER TABLE secret OWNER TO regress_goflow_ann;
\pset null '-'

-- PUBLIC has nothing.
SET ROLE regress_goflow_ann;
SELECT goflow.run('x');
SELECT goflow.define('x', '{}');
SELECT * FROM goflow.executions;
SELECT goflow.grant_usage('regress_goflow_ann');
RESET ROLE;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'goflow'::regnamespace AND has_function_privilege('public', oid, 'execute');
SELECT relname FROM pg_class WHERE relnamespace = 'goflow'::regnamespace AND relkind IN ('r', 'v', 'S') AND has_table_privilege('public', oid, 'select, insert, update, delete');

-- grant_usage() gives the functions and the views, but no table and no right to grant.
SELECT goflow.grant_usage('regress_goflow_ann'), goflow.grant_usage('regress_goflow_bob'), goflow.grant_usage('regress_goflow_boss');
SET ROLE regress_goflow_ann;
SELECT goflow.define('anns', $${
  "input": {"x": "text = ''"},
  "nodes": {"a": {"type": "sql", "sql": "INSERT INTO who VALUES (current_user, session_user) RETURNING name, session"},
            "b": {"type": "sql", "after": "a", "sql": "SELECT x FROM secret"}},
  "output": {"x": "b.x", "name": "a.name", "as": "execution.run_as"}}$$);
SELECT goflow.start('anns') AS anns \gset
SELECT goflow.wait(:'anns', '90 s');
SELECT goflow.result(:'anns');
SELECT goflow.run('anns') - 'x';
SELECT * FROM goflow.execution;
SELECT * FROM goflow.node_state;
SELECT goflow.grant_usage('regress_goflow_nologin');
SELECT goflow.revoke_usage('regress_goflow_bob');
SELECT * FROM goflow.health();		-- that is for members of pg_monitor

-- Others do not see it, do not touch it, and do not learn that it is there.
SET ROLE regress_goflow_bob;
SELECT count(*) FROM goflow.executions;
SELECT count(*) FROM goflow.workflows;
\set VERBOSITY sqlstate
SELECT goflow.status(:'anns');
SELECT goflow.progress(:'anns');
SELECT goflow.nodes(:'anns');
SELECT goflow.variables(:'anns');
SELECT goflow.result(:'anns');
SELECT goflow.wait(:'anns');
SELECT goflow.follow(:'anns');
SELECT goflow.cancel(:'anns');
\set VERBOSITY default
SELECT goflow.start('anns');
SELECT goflow.definition('anns');
SELECT goflow.define('anns', '{"nodes": {"a": {"type": "notify", "channel": "c"}}}');
SELECT goflow.drop('anns');
SELECT goflow.grant_start('anns', 'regress_goflow_bob');
SELECT goflow.drop('anns', force => true);
-- a view that leaks is no way around
CREATE FUNCTION leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE INFO 'leaked: %', $1; RETURN true; END $$;
SELECT count(*) FROM goflow.executions WHERE leak(workflow);
SELECT count(*) FROM goflow.workflows WHERE leak(workflow);
RESET ROLE;

-- A member of the role is as the role; one that does not inherit is not.
GRANT regress_goflow_ann TO regress_goflow_boss;
SET ROLE regress_goflow_boss;
SELECT state FROM goflow.status(:'anns');
SELECT workflow, state FROM goflow.executions;
RESET ROLE;
ALTER ROLE regress_goflow_boss NOINHERIT;
REVOKE regress_goflow_ann FROM regress_goflow_boss;
GRANT regress_goflow_ann TO regress_goflow_boss;
SET ROLE regress_goflow_boss;
\set VERBOSITY sqlstate
SELECT state FROM goflow.status(:'anns');
\set VERBOSITY default
SELECT count(*) FROM goflow.executions;
RESET ROLE;
REVOKE regress_goflow_ann FROM regress_goflow_boss;

-- grant_start(): another may start it.  It runs with the starter's rights, in a session of that role.
SET ROLE regress_goflow_ann;
SELECT goflow.grant_start('anns', 'regress_goflow_bob');
SET ROLE regress_goflow_bob;
SELECT workflow, owner FROM goflow.workflows;
SELECT goflow.start('anns') AS bobs \gset
SELECT goflow.wait(:'bobs', '90 s');
SELECT goflow.result(:'bobs');
SELECT node, state, output FROM goflow.nodes(:'bobs');
SELECT goflow.run('anns');
SET ROLE regress_goflow_ann;
\set VERBOSITY sqlstate
SELECT goflow.status(:'bobs');
\set VERBOSITY default
SELECT goflow.revoke_start('anns', 'regress_goflow_bob');
SET ROLE regress_goflow_bob;
SELECT goflow.start('anns');
-- what was his stays his to see
SELECT state FROM goflow.status(:'bobs');
RESET ROLE;

-- "security": "definer": it runs as its owner, whoever starts it.
SET ROLE regress_goflow_ann;
SELECT goflow.define('gives', $${"security": "definer",
  "nodes": {"a": {"type": "sql", "sql": "INSERT INTO who SELECT current_user || ' for ' || x, session_user FROM secret RETURNING name"}}, "output": {"name": "a.name"}}$$);
SELECT goflow.grant_start('gives', 'regress_goflow_bob');
SET ROLE regress_goflow_bob;
SELECT goflow.run('gives');
SELECT goflow.start('gives') AS gives \gset
-- it is ann's then
\set VERBOSITY sqlstate
SELECT goflow.result(:'gives');
\set VERBOSITY default
SET ROLE regress_goflow_ann;
SELECT goflow.wait(:'gives', '90 s');
SELECT goflow.result(:'gives');
SELECT run_as FROM goflow.status(:'gives');
SELECT goflow.run('gives');
RESET ROLE;
-- in a worker the session is the role's, in run() it is the caller's
SELECT DISTINCT name, CASE WHEN session ~ '^regress' THEN session ELSE 'superuser' END AS session FROM who ORDER BY 1, 2;

-- A node cannot become somebody else.
SET ROLE regress_goflow_bob;
SELECT goflow.define('climb', $${"nodes": {
  "a": {"type": "sql", "sql": "SET ROLE regress_goflow_ann"}}}$$);
SELECT goflow.start('climb') AS climb \gset
SELECT goflow.wait(:'climb', '90 s');
SELECT goflow.result(:'climb');
SELECT goflow.define('reset', $${"nodes": {
  "a": {"type": "sql", "sql": "RESET SESSION AUTHORIZATION"},
  "b": {"type": "sql", "after": "a", "sql": "RESET ROLE"},
  "c": {"type": "sql", "after": "b", "sql": "SELECT current_user::text AS who, session_user::text AS session, current_setting('is_superuser') AS super"}},
  "output": {"who": "c.who", "session": "c.session", "super": "c.super"}}$$);
SELECT goflow.start('reset') AS reset \gset
SELECT goflow.wait(:'reset', '90 s');
SELECT goflow.result(:'reset');
RESET ROLE;

-- A superuser who starts another's workflow is warned.
SET client_min_messages = warning;
SELECT goflow.start('anns') IS NOT NULL AS started;
SELECT goflow.start('gives') IS NOT NULL AS started;
SET client_min_messages = error;

-- A role that may not log in: refused up to PostgreSQL 16, as nothing could connect as it.
SELECT goflow.grant_usage('regress_goflow_nologin');
CREATE FUNCTION start_as_nologin() RETURNS text LANGUAGE plpgsql AS $$
DECLARE hint text;
BEGIN
	PERFORM goflow.start('nologins');
	RETURN 'started';
EXCEPTION WHEN SQLSTATE 'WF108' THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN CASE WHEN hint <> '' THEN 'refused, with a hint' ELSE 'refused' END;
END $$;
SET ROLE regress_goflow_nologin;
SELECT goflow.define('nologins', '{"nodes": {"a": {"type": "sql", "sql": "SELECT current_user::text AS x"}}, "output": {"x": "a.x"}}');
SELECT goflow.run('nologins');
SELECT start_as_nologin() = CASE WHEN current_setting('server_version_num')::int >= 170000 THEN 'started' ELSE 'refused, with a hint' END AS as_expected;
RESET ROLE;

-- revoke_usage() takes it all back.
SELECT goflow.revoke_usage('regress_goflow_bob');
SET ROLE regress_goflow_bob;
SELECT goflow.start('anns');
SELECT * FROM goflow.executions;
RESET ROLE;
SELECT goflow.revoke_usage('regress_goflow_bob');
SELECT goflow.grant_usage('nobody_there');

SELECT count(goflow.wait(execution, '90 s')) > 0 AS waited FROM goflow.executions WHERE workflow IN ('anns', 'gives', 'nologins');
SELECT goflow.drop(w) FROM unnest('{anns,gives,climb,reset,nologins}'::text[]) w;
SELECT goflow.revoke_usage(r) FROM unnest('{regress_goflow_ann,regress_goflow_boss,regress_goflow_nologin}'::regrole[]) r;
DROP OWNED BY regress_goflow_ann, regress_goflow_bob, regress_goflow_boss, regress_goflow_nologin;
DROP SCHEMA roles_test CASCADE;
DROP ROLE regress_goflow_ann, regress_goflow_bob, regress_goflow_boss, regress_goflow_nologin;
