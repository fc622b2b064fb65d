-- Starting, waiting, results.  C entry points: src/api/start.c, control.c, query.c.

CREATE FUNCTION goflow.start(
	workflow text, input jsonb DEFAULT '{}', key text DEFAULT NULL,
	priority int DEFAULT NULL, entry text DEFAULT NULL, version int DEFAULT NULL)
RETURNS uuid AS 'MODULE_PATHNAME', 'goflow_start' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.start(text, jsonb, text, int, text, int) IS
'Starts an execution, effective when the transaction commits. The same key of the same workflow and role gives the same execution.';

CREATE FUNCTION goflow.start_many(
	workflow text, inputs jsonb[],
	priority int DEFAULT NULL, entry text DEFAULT NULL, version int DEFAULT NULL)
RETURNS SETOF uuid AS 'MODULE_PATHNAME', 'goflow_start_many' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.start_many(text, jsonb[], int, text, int) IS
'Starts one execution per input, in one set operation.';

CREATE FUNCTION goflow.run(
	workflow text, input jsonb DEFAULT '{}',
	entry text DEFAULT NULL, version int DEFAULT NULL, raise boolean DEFAULT true)
RETURNS jsonb AS 'MODULE_PATHNAME', 'goflow_run' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.run(text, jsonb, text, int, boolean) IS
'Runs a workflow that does not wait in the session and transaction of the caller, and returns its output.';

CREATE FUNCTION goflow.wait(execution uuid, timeout interval DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'goflow_wait' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.wait(uuid, interval) IS
'Waits until an execution has finished, and returns its state; after the timeout, the state at that moment.';

CREATE PROCEDURE goflow.start_and_wait(
	workflow text, input jsonb DEFAULT '{}', key text DEFAULT NULL,
	priority int DEFAULT NULL, entry text DEFAULT NULL, version int DEFAULT NULL, timeout interval DEFAULT NULL,
	INOUT execution uuid DEFAULT NULL, INOUT state text DEFAULT NULL, INOUT output jsonb DEFAULT NULL,
	INOUT error jsonb DEFAULT NULL)
AS 'MODULE_PATHNAME', 'goflow_start_and_wait' LANGUAGE C;
COMMENT ON PROCEDURE goflow.start_and_wait(text, jsonb, text, int, text, int, interval, uuid, text, jsonb, jsonb) IS
'Starts an execution, commits, and waits until it has finished; after the timeout, what it is at that moment.';

CREATE FUNCTION goflow.result(execution uuid)
RETURNS jsonb AS 'MODULE_PATHNAME', 'goflow_result' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.result(uuid) IS
'The output of a completed execution; raises the error of one that failed or was cancelled.';

CREATE FUNCTION goflow.cancel(execution uuid, reason text DEFAULT NULL)
RETURNS boolean AS 'MODULE_PATHNAME', 'goflow_cancel' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.cancel(uuid, text) IS
'Cancels an execution, effective when the transaction commits: its running nodes are rolled back. False if it had finished.';

CREATE FUNCTION goflow.pause(execution uuid)
RETURNS void AS 'MODULE_PATHNAME', 'goflow_pause' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.pause(uuid) IS
'Pauses an execution and those that it waits for, effective when the transaction commits: running nodes finish, nothing new begins.';

CREATE FUNCTION goflow.resume(execution uuid)
RETURNS void AS 'MODULE_PATHNAME', 'goflow_resume' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.resume(uuid) IS
'Lets a paused execution go on.';

CREATE FUNCTION goflow.retry(execution uuid, "from" text DEFAULT NULL)
RETURNS boolean AS 'MODULE_PATHNAME', 'goflow_retry' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.retry(uuid, text) IS
'Runs again what failed or was cancelled in an execution, and what comes after it or after a node; what completed is kept. False if it goes on already.';

CREATE FUNCTION goflow.set_priority(execution uuid, priority int)
RETURNS void AS 'MODULE_PATHNAME', 'goflow_set_priority' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.set_priority(uuid, int) IS
'Changes the priority of an execution, also while it is queued.';

-- The same for all executions of a workflow that fit: states, keys of start()
-- like a pattern, time of creation.

CREATE FUNCTION goflow.cancel_all(workflow text, reason text DEFAULT NULL,
	states text[] DEFAULT NULL, key text DEFAULT NULL, created tstzrange DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'goflow_cancel_all' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.cancel_all(text, text, text[], text, tstzrange) IS
'Cancels the executions of a workflow that have not finished and fit; returns how many.';

CREATE FUNCTION goflow.pause_all(workflow text,
	states text[] DEFAULT NULL, key text DEFAULT NULL, created tstzrange DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'goflow_pause_all' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.pause_all(text, text[], text, tstzrange) IS
'Pauses the executions of a workflow that have not finished and fit; returns how many.';

CREATE FUNCTION goflow.resume_all(workflow text,
	states text[] DEFAULT NULL, key text DEFAULT NULL, created tstzrange DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'goflow_resume_all' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.resume_all(text, text[], text, tstzrange) IS
'Resumes the paused executions of a workflow that fit; returns how many.';

CREATE FUNCTION goflow.retry_all(workflow text, "from" text DEFAULT NULL,
	states text[] DEFAULT NULL, key text DEFAULT NULL, created tstzrange DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'goflow_retry_all' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.retry_all(text, text, text[], text, tstzrange) IS
'Retries the failed executions of a workflow that fit, or those in other states; returns how many.';

CREATE FUNCTION goflow.set_priority_all(workflow text, priority int,
	states text[] DEFAULT NULL, key text DEFAULT NULL, created tstzrange DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'goflow_set_priority_all' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.set_priority_all(text, int, text[], text, tstzrange) IS
'Changes the priority of the executions of a workflow that have not finished and fit; returns how many.';

CREATE FUNCTION goflow.require_execution(execution uuid)
RETURNS uuid AS 'MODULE_PATHNAME', 'goflow_require_execution' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.require_execution(uuid) IS
'Returns its argument, or raises an error if there is no such execution for the current user.';

CREATE FUNCTION goflow.progress(execution uuid,
	OUT total int, OUT completed int, OUT failed int, OUT skipped int,
	OUT current_node text, OUT percent numeric)
AS 'MODULE_PATHNAME', 'goflow_progress' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.progress(uuid) IS
'Progress of an execution, also inside transactions that have not committed; NULLs as long as it has not begun.';

CREATE FUNCTION goflow.nodes(execution uuid,
	OUT node text, OUT type text, OUT frame int, OUT attempt int, OUT state text,
	OUT output jsonb, OUT error jsonb, OUT started_at timestamptz, OUT finished_at timestamptz,
	OUT duration interval, OUT seq int)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'goflow_nodes' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.nodes(uuid) IS
'The nodes of an execution: what ended, runs or waits in order, then what has not begun.';

CREATE FUNCTION goflow.variables(execution uuid,
	OUT variable text, OUT type text, OUT value jsonb, OUT node text,
	OUT assigned_at timestamptz, OUT seq int)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'goflow_variables' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.variables(uuid) IS
'Every assignment to a variable of an execution, in order.';

CREATE FUNCTION goflow.follow(execution uuid, timeout interval DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'goflow_follow' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.follow(uuid, interval) IS
'Prints the progress of an execution as notices until it has finished, and returns its state.';
