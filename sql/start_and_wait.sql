--
-- start_and_wait(): start(), a commit and wait() in one call.
--
CREATE SCHEMA start_and_wait_test;
SET search_path = start_and_wait_test;
SET client_min_messages = error;
CREATE TABLE done (id int);
CREATE PROCEDURE in_procedure(id int) LANGUAGE plpgsql AS $$
DECLARE
	execution uuid;
	state text;
	output jsonb;
	error jsonb;
BEGIN
	INSERT INTO done VALUES (100);
	CALL goflow.start_and_wait('saw_mark', jsonb_build_object('id', id), NULL, NULL, NULL, NULL, '90 s', execution, state, output, error);
	INSERT INTO done VALUES ((output->>'id')::int * 10);
	ROLLBACK;
END$$;
CREATE FUNCTION in_function() RETURNS void LANGUAGE plpgsql AS $$BEGIN CALL in_procedure(7); END$$;
SELECT goflow.define('saw_mark', $${
  "input": {"id": "int = 0"},
  "nodes": {"mark": {"type": "sql", "sql": "INSERT INTO done SELECT input.id WHERE 1 / input.id > -5 RETURNING id"}},
  "output": {"id": "mark.id", "entered": "execution.id"}}$$);
SELECT goflow.define('saw_signal', $${"nodes": {"s": {"type": "signal", "payload": {"n": "int"}}}, "output": {"n": "s.n"}}$$);
SELECT goflow.define('saw_node', $${"nodes": {"call": {"type": "sql", "atomic": false, "sql": "CALL goflow.start_and_wait('saw_mark', '{\"id\": 9}')"}}}$$);

-- The id, the end and the output; what the work did is there.
CALL goflow.start_and_wait('saw_mark', '{"id": 1}') \gset
SELECT :'state' AS state, (:'output'::jsonb)->'id' AS id, (:'output'::jsonb)->>'entered' = :'execution' AS same, :{?error} AS has_error,
  goflow.result(:'execution') = :'output' AS result;
SELECT * FROM done;

-- What the arguments for the answer are given does not matter.
CALL goflow.start_and_wait('saw_mark', '{"id": 2}', NULL, NULL, NULL, NULL, NULL, '00000000-0000-0000-0000-000000000000', 'x', '1', '2') \gset
SELECT :'state' AS state, (:'output'::jsonb)->'id' AS id, :{?error} AS has_error;

-- A failure is an answer, too.
CALL goflow.start_and_wait('saw_mark') \gset
SELECT :'state' AS state, :{?output} AS has_output, (:'error'::jsonb)->>'code' AS code, (:'error'::jsonb)->>'node' AS node;

-- A key: once.
CALL goflow.start_and_wait('saw_mark', '{"id": 3}', key => 'k') \gset first_
CALL goflow.start_and_wait('saw_mark', '{"id": 4}', key => 'k') \gset second_
SELECT :'first_execution' = :'second_execution' AS same, (:'second_output'::jsonb)->'id' AS id;

-- The timeout: the state at that moment; it goes on.
CALL goflow.start_and_wait('saw_signal', timeout => '0') \gset
SELECT :'state' IN ('queued', 'running', 'waiting') AS live, :{?output} AS has_output;
SELECT goflow.signal(:'execution', 's', '{"n": 5}');
SELECT goflow.wait(:'execution', '90 s'), goflow.result(:'execution');

-- A block and a procedure that may commit can call it.
DO $$BEGIN CALL in_procedure(6); END$$;
SELECT id FROM done ORDER BY id;

-- Where it cannot commit, nothing is started.
SELECT count(*) AS executions FROM goflow.executions WHERE workflow LIKE 'saw\_%' \gset
BEGIN;
CALL goflow.start_and_wait('saw_mark', '{"id": 7}');
ROLLBACK;
SELECT in_function();
BEGIN READ ONLY;
CALL goflow.start_and_wait('saw_mark', '{"id": 7}');
ROLLBACK;
SELECT goflow.start_and_wait('saw_mark');

-- Nor with bad arguments.
CALL goflow.start_and_wait(NULL);
CALL goflow.start_and_wait('saw_nothing');
CALL goflow.start_and_wait('saw_mark', '{"id": "x"}');
CALL goflow.start_and_wait('saw_mark', '{"id": 7}', entry => 'nowhere');
CALL goflow.start_and_wait('saw_mark', '{"id": 7}', version => 3);
CALL goflow.start_and_wait('saw_mark', '{"id": 7}', priority => 100000);
SELECT count(*) - :executions AS more FROM goflow.executions WHERE workflow LIKE 'saw\_%';

-- A node cannot wait for an execution.
CALL goflow.start_and_wait('saw_node', timeout => '90 s') \gset
SELECT :'state' AS state, (:'error'::jsonb)->>'code' AS code, (:'error'::jsonb)->>'message' AS message;
SELECT count(*) - :executions AS more FROM goflow.executions WHERE workflow LIKE 'saw\_%';

-- Who could not see the execution cannot wait for it.
CREATE ROLE saw_owner LOGIN;
CREATE ROLE saw_caller LOGIN;
SELECT goflow.grant_usage('saw_owner'), goflow.grant_usage('saw_caller');
SET SESSION AUTHORIZATION saw_owner;
SELECT goflow.define('saw_definer', '{"security": "definer", "nodes": {"a": {"type": "transform", "value": {"me": "current_user"}}}, "output": {"me": "a.me"}}');
SELECT goflow.grant_start('saw_definer', 'saw_caller');
SET SESSION AUTHORIZATION saw_caller;
CALL goflow.start_and_wait('saw_definer');
SET SESSION AUTHORIZATION saw_owner;
CALL goflow.start_and_wait('saw_definer') \gset
SELECT :'state' AS state, :'output' AS output;
RESET SESSION AUTHORIZATION;
SELECT goflow.revoke_usage('saw_owner'), goflow.revoke_usage('saw_caller');
SET SESSION AUTHORIZATION saw_caller;
CALL goflow.start_and_wait('saw_definer');
RESET SESSION AUTHORIZATION;
SELECT goflow.drop('saw_definer');
DROP OWNED BY saw_owner, saw_caller;
DROP ROLE saw_owner;
DROP ROLE saw_caller;
