/*
 * steer.c
 *		cancel(), pause(), resume(), retry() and set_priority(), of one execution
 *		or of all that fit.
 *
 * Each inserts a request, in the caller's transaction, and wakes the execution
 * at its commit.  Its driver alone decides what comes of it, so nothing here
 * needs a lock, and a request is as durable as what else the caller did.  An
 * execution that has finished and is to be retried counts as one that goes on.
 */
#include "postgres.h"

#include "api/api.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "engine/engine.h"
#include "process/process.h"

PG_FUNCTION_INFO_V1(goflow_cancel);
PG_FUNCTION_INFO_V1(goflow_pause);
PG_FUNCTION_INFO_V1(goflow_resume);
PG_FUNCTION_INFO_V1(goflow_retry);
PG_FUNCTION_INFO_V1(goflow_set_priority);
PG_FUNCTION_INFO_V1(goflow_cancel_all);
PG_FUNCTION_INFO_V1(goflow_pause_all);
PG_FUNCTION_INFO_V1(goflow_resume_all);
PG_FUNCTION_INFO_V1(goflow_retry_all);
PG_FUNCTION_INFO_V1(goflow_set_priority_all);

/* Letters of the states that a request of each kind is about. */
#define LIVE_STATES "qrwp"
#define RETRIED_STATES "fxl"

static char *
id_out(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}

static char *
text_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
wake(const pg_uuid_t *id, Oid role, char kind, const char *argument)
{
	switch (kind)
	{
		case GOFLOW_REQUEST_CANCEL:
			goflow_wake_execution(id, role, GOFLOW_MAX_PRIORITY);
			goflow_wake_cancel(id);
			break;
		case GOFLOW_REQUEST_PRIORITY:
			goflow_wake_priority(id, role, pg_strtoint32(argument));
			break;
		default:
			goflow_wake_execution(id, role, GOFLOW_MAX_PRIORITY);
			break;
	}
}

static void
ask(const pg_uuid_t *id, Oid role, char kind, const char *argument)
{
	goflow_request_insert(id, kind, argument);
	wake(id, role, kind, argument);
	CommandCounterIncrement();	/* for others in the same statement: wait(retry(…)) */
}

/* For requests that one which is over cannot be asked. */
static void
ask_live(FunctionCallInfo fcinfo, char kind, const char *argument, const char *function)
{
	pg_uuid_t  *id = PG_GETARG_UUID_P(0);
	GoflowExecutionRow *row;
	bool		is_over;

	goflow_api_require_writable(function);
	row = goflow_api_execution_over(id, &is_over);
	if (is_over)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("execution \"%s\" has finished", id_out(id)),
				 errdetail("It is %s.", goflow_state_name(row->state))));
	goflow_api_require_own(row);
	ask(id, row->run_as, kind, argument);
}

/*
 * cancel(execution uuid, reason text) returns boolean
 *
 * Running nodes are interrupted and rolled back.  False if the execution had
 * finished already.  What happens when it finishes meanwhile is for its driver
 * to decide.
 */
Datum
goflow_cancel(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id;
	GoflowExecutionRow *row;
	bool		is_over;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	id = PG_GETARG_UUID_P(0);
	goflow_api_require_writable("goflow.cancel()");
	row = goflow_api_execution_over(id, &is_over);
	if (is_over)
		PG_RETURN_BOOL(false);
	goflow_api_require_own(row);
	ask(id, row->run_as, GOFLOW_REQUEST_CANCEL, text_arg(fcinfo, 1));
	PG_RETURN_BOOL(true);
}

/*
 * pause(execution uuid) returns void
 *
 * Running nodes finish, nothing new begins, moments that come are not missed.
 * Pausing twice is no error.  Errors: WF105 if it has finished.
 */
Datum
goflow_pause(PG_FUNCTION_ARGS)
{
	ask_live(fcinfo, GOFLOW_REQUEST_PAUSE, NULL, "goflow.pause()");
	PG_RETURN_VOID();
}

/* resume(execution uuid) returns void: undoes pause(). */
Datum
goflow_resume(PG_FUNCTION_ARGS)
{
	ask_live(fcinfo, GOFLOW_REQUEST_RESUME, NULL, "goflow.resume()");
	PG_RETURN_VOID();
}

static char *
priority_argument(int priority)
{
	if (priority < GOFLOW_MIN_PRIORITY || priority > GOFLOW_MAX_PRIORITY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("priority %d is out of range", priority),
				 errhint("It must be between %d and %d.", GOFLOW_MIN_PRIORITY, GOFLOW_MAX_PRIORITY)));
	return psprintf("%d", priority);
}

/*
 * set_priority(execution uuid, priority int) returns void
 *
 * Also moves it in the queue.  Errors: 22023 out of range, WF105 if it has
 * finished.
 */
Datum
goflow_set_priority(PG_FUNCTION_ARGS)
{
	ask_live(fcinfo, GOFLOW_REQUEST_PRIORITY, priority_argument(PG_GETARG_INT32(1)),
			 "goflow.set_priority()");
	PG_RETURN_VOID();
}

/* ---- retry ---- */

/* Does the one that started this execution wait for its end? */
static bool
is_waited_for(GoflowExecutionRow *row, const char *workflow)
{
	GoflowExecutionRow *parent = row->parent ? goflow_execution_read(row->parent) : NULL;
	GoflowDefinition *definition;

	if (parent == NULL)
		return false;
	definition = goflow_workflow_load(parent->workflow_id);
	for (int i = 0; i < definition->nnodes; i++)
	{
		GoflowNode *node = definition->nodes[i];

		if (node->type == GOFLOW_TYPE_WORKFLOW && node->wait && strcmp(node->workflow_name, workflow) == 0)
			return true;
	}
	return false;
}

/* May it be retried as far as its state goes?  False: it goes on already. */
static bool
check_state(GoflowExecutionRow *row)
{
	bool		is_finished = goflow_execution_is_finished(row->state);

	if (!is_finished && row->retry_seq > 0)
		return false;
	if (!is_finished || row->state == GOFLOW_EXECUTION_COMPLETED)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("execution \"%s\" cannot be retried", id_out(&row->id)),
				 errdetail("It is %s; only one that is failed, cancelled or partial can be.",
						   goflow_state_name(row->state))));
	return true;
}

/* The rules of start() hold as they are now. */
static void
check_workflow(GoflowExecutionRow *row, GoflowDefinition *definition)
{
	GoflowWorkflowRow workflow;
	const char *reason;

	goflow_workflow_lock(definition->name, RowShareLock);
	if (!goflow_workflow_find(definition->name, definition->version, &workflow) || workflow.dropped)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
				 errmsg("workflow \"%s\" does not exist any more", definition->name)));
	if (!goflow_workflow_may_start(definition->name, workflow.owner, row->run_as))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to start workflow \"%s\"", definition->name),
				 errdetail("Role \"%s\" may not.", GetUserNameFromId(row->run_as, false))));
	if (!goflow_role_can_run(row->run_as, &reason))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_ROLE_CANNOT_RUN),
				 errmsg("no worker can run as role \"%s\"", GetUserNameFromId(row->run_as, false)),
				 errhint("%s", reason)));
	if (is_waited_for(row, definition->name))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("execution \"%s\" cannot be retried", id_out(&row->id)),
				 errdetail("It is %s, and execution \"%s\", which started it, has taken note of that.",
						   goflow_state_name(row->state), id_out(row->parent)),
				 errhint("Retry that one.")));
}

/* "from" must be a node of the workflow's own body that the execution came by. */
static void
check_from(GoflowExecutionRow *row, GoflowDefinition *definition, const char *from)
{
	GoflowBody *body = definition->body;
	GoflowNode *node = goflow_definition_find_node(body, from);
	bool	   *reachable = palloc(Max(body->nnodes, 1) * sizeof(bool));

	(void) goflow_graph_reach(body, row->entry, reachable);
	if (node == NULL || !reachable[node->position])
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_ENTRY),
				 errmsg("workflow \"%s\" has no node \"%s\" to retry from", definition->name, from),
				 node == NULL ?
				 errhint("It must be a node of the workflow itself: a node with bodies is retried as a whole.") :
				 errhint("The execution did not come by there.")));
}

/*
 * retry(execution uuid, from text) returns boolean
 *
 * Runs what failed or was cancelled again, and all that comes after it, and
 * what comes after the node "from".  False: it goes on already.  Errors: WF105
 * completed, never finished, or waited for by another; WF104 unknown node;
 * WF101, 42501, WF108 as start().
 */
Datum
goflow_retry(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id;
	GoflowExecutionRow *row;
	GoflowDefinition *definition;
	char	   *from = text_arg(fcinfo, 1);

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	id = PG_GETARG_UUID_P(0);
	goflow_api_require_writable("goflow.retry()");
	row = goflow_api_execution(id);
	goflow_api_require_own(row);
	if (!check_state(row))
		PG_RETURN_BOOL(false);
	definition = goflow_workflow_load(row->workflow_id);
	check_workflow(row, definition);
	if (from)
		check_from(row, definition, from);
	goflow_mark_try_again(row->workflow_id);
	ask(id, row->run_as, GOFLOW_REQUEST_RETRY, from);
	PG_RETURN_BOOL(true);
}

/* ---- all that fit ---- */

static char
state_letter(const char *name)
{
	static const char all[] = LIVE_STATES RETRIED_STATES "c";

	for (const char *state = all; *state; state++)
		if (strcmp(goflow_state_name(*state), name) == 0)
			return *state;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is not a state of an execution", name)));
}

/* The letters of states text[] that a request can be about; NULL: the default. */
static char *
states_arg(FunctionCallInfo fcinfo, int n, const char *possible, const char *usual)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	StringInfoData letters;

	if (PG_ARGISNULL(n))
		return pstrdup(usual);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls,
					  &count);
	initStringInfo(&letters);
	for (int i = 0; i < count; i++)
	{
		char	   *name = nulls[i] ? NULL : TextDatumGetCString(elements[i]);
		char		letter = name ? state_letter(name) : 0;

		if (letter && strchr(possible, letter) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_INVALID_STATE),
					 errmsg("this cannot be asked of executions that are %s", name)));
		if (letter)
			appendStringInfoChar(&letters, letter);
	}
	return letters.data;
}

/* Arguments: workflow, …, then from first on: states, key, created. */
static int
find(FunctionCallInfo fcinfo, int first, const char *possible, const char *usual,
	 GoflowFoundExecution **found)
{
	GoflowFilter filter = {0};
	GoflowWorkflowRow workflow;

	goflow_require_preloaded();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("workflow must not be null")));
	filter.workflow = text_arg(fcinfo, 0);
	/* one that was dropped may have executions still */
	if (!goflow_workflow_find(filter.workflow, 1, &workflow))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
				 errmsg("workflow \"%s\" does not exist", filter.workflow)));
	filter.states = states_arg(fcinfo, first, possible, usual);
	filter.key = text_arg(fcinfo, first + 1);
	filter.has_created = !PG_ARGISNULL(first + 2);
	if (filter.has_created)
		filter.created = PG_GETARG_DATUM(first + 2);
	return goflow_execution_find(&filter, found);
}

static int64
ask_all(const GoflowFoundExecution *found, int n, char kind, const char *argument)
{
	pg_uuid_t  *ids = MemoryContextAllocHuge(CurrentMemoryContext, Max(n, 1) * sizeof(pg_uuid_t));

	for (int i = 0; i < n; i++)
		ids[i] = found[i].id;
	if (n > 0)
		goflow_request_insert_all(ids, n, kind, argument);
	for (int i = 0; i < n; i++)
		wake(&found[i].id, found[i].run_as, kind, argument);
	return n;
}

/* cancel_all(workflow, reason, states, key, created) returns bigint */
Datum
goflow_cancel_all(PG_FUNCTION_ARGS)
{
	GoflowFoundExecution *found;
	int			n;

	goflow_api_require_writable("goflow.cancel_all()");
	n = find(fcinfo, 2, LIVE_STATES, LIVE_STATES, &found);
	PG_RETURN_INT64(ask_all(found, n, GOFLOW_REQUEST_CANCEL, text_arg(fcinfo, 1)));
}

/* pause_all(workflow, states, key, created) returns bigint */
Datum
goflow_pause_all(PG_FUNCTION_ARGS)
{
	GoflowFoundExecution *found;
	int			n;

	goflow_api_require_writable("goflow.pause_all()");
	n = find(fcinfo, 1, LIVE_STATES, "qrw", &found);
	PG_RETURN_INT64(ask_all(found, n, GOFLOW_REQUEST_PAUSE, NULL));
}

/* resume_all(workflow, states, key, created) returns bigint */
Datum
goflow_resume_all(PG_FUNCTION_ARGS)
{
	GoflowFoundExecution *found;
	int			n;

	goflow_api_require_writable("goflow.resume_all()");
	n = find(fcinfo, 1, LIVE_STATES, "p", &found);
	PG_RETURN_INT64(ask_all(found, n, GOFLOW_REQUEST_RESUME, NULL));
}

/* set_priority_all(workflow, priority, states, key, created) returns bigint */
Datum
goflow_set_priority_all(PG_FUNCTION_ARGS)
{
	GoflowFoundExecution *found;
	char	   *argument;
	int			n;

	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	goflow_api_require_writable("goflow.set_priority_all()");
	argument = priority_argument(PG_GETARG_INT32(1));
	n = find(fcinfo, 2, LIVE_STATES, LIVE_STATES, &found);
	PG_RETURN_INT64(ask_all(found, n, GOFLOW_REQUEST_PRIORITY, argument));
}

/*
 * retry_all(workflow, from, states, key, created) returns bigint
 *
 * Leaves out those that another execution waits for, and those that have been
 * asked for already.
 */
Datum
goflow_retry_all(PG_FUNCTION_ARGS)
{
	GoflowFoundExecution *found;
	char	   *from = text_arg(fcinfo, 1);
	int			n;
	int			kept = 0;

	goflow_api_require_writable("goflow.retry_all()");
	n = find(fcinfo, 2, RETRIED_STATES, "f", &found);
	for (int i = 0; i < n; i++)
	{
		bool		is_over;
		GoflowExecutionRow *row = goflow_execution_read_over(&found[i].id, &is_over);
		GoflowDefinition *definition;

		CHECK_FOR_INTERRUPTS();
		if (row == NULL || !is_over || !strchr(RETRIED_STATES, row->state))
			continue;
		definition = goflow_workflow_load(row->workflow_id);
		if (is_waited_for(row, definition->name))
			continue;
		check_workflow(row, definition);
		if (from)
			check_from(row, definition, from);
		goflow_mark_try_again(row->workflow_id);
		found[kept++] = found[i];
	}
	PG_RETURN_INT64(ask_all(found, kept, GOFLOW_REQUEST_RETRY, from));
}
