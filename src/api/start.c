/*
 * start.c
 *		start(), start_and_wait(), start_many() and run().
 */
#include "postgres.h"

#include "api/api.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "engine/engine.h"

PG_FUNCTION_INFO_V1(goflow_start);
PG_FUNCTION_INFO_V1(goflow_start_and_wait);
PG_FUNCTION_INFO_V1(goflow_start_many);
PG_FUNCTION_INFO_V1(goflow_run);

/* What the arguments of start() and its kin come to. */
typedef struct Request
{
	GoflowDefinition *definition;
	Oid			run_as;
	int			priority;
	int16		entry;
} Request;

static void
refuse_if_impossible(const char *function)
{
	goflow_require_preloaded();
	goflow_api_require_writable(function);
	PreventCommandIfParallelMode(function);
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s cannot be called in a security-restricted operation", function),
				 errhint("Do not call it from an index expression or a materialized view.")));
}

static int16
find_entry(GoflowDefinition *definition, const char *id)
{
	GoflowNode *node;

	if (id == NULL)
		return goflow_default_entry(definition);
	node = goflow_definition_find_node(definition->body, id);
	if (node == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_ENTRY),
				 errmsg("workflow \"%s\" has no node \"%s\" to enter at", definition->name, id),
				 errhint("\"entry\" is the id of a node.")));
	return node->index;
}

/* priority_arg < 0 of each argument number: the function has no such argument. */
static void
prepare_request(FunctionCallInfo fcinfo, Request *request, int priority_arg, int entry_arg,
				int version_arg, bool is_inline)
{
	char	   *name;
	int			version = PG_ARGISNULL(version_arg) ? 0 : PG_GETARG_INT32(version_arg);
	GoflowWorkflowRow workflow;
	GoflowDefinition *definition;
	const char *reason;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("workflow must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	/* keeps a drop() out until this transaction ends */
	goflow_workflow_lock(name, RowShareLock);
	if ((version <= 0 && !PG_ARGISNULL(version_arg)) ||
		!goflow_workflow_find(name, version, &workflow) || workflow.dropped)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
				 !PG_ARGISNULL(version_arg) ? errmsg("workflow \"%s\" has no version %d", name, version) :
				 errmsg("workflow \"%s\" does not exist", name),
				 errhint("See the view goflow.workflows.")));
	if (!goflow_workflow_may_start(name, workflow.owner, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to start workflow \"%s\"", name),
				 errhint("Its owner can grant it: SELECT goflow.grant_start('%s', '%s').", name,
						 GetUserNameFromId(GetUserId(), false))));

	definition = request->definition = goflow_workflow_load(workflow.workflow_id);
	request->run_as = definition->security_definer ? workflow.owner : GetUserId();
	request->entry = find_entry(definition,
								PG_ARGISNULL(entry_arg) ? NULL :
								text_to_cstring(PG_GETARG_TEXT_PP(entry_arg)));
	request->priority = definition->priority;
	if (priority_arg >= 0 && !PG_ARGISNULL(priority_arg))
		request->priority = PG_GETARG_INT32(priority_arg);
	if (request->priority < GOFLOW_MIN_PRIORITY || request->priority > GOFLOW_MAX_PRIORITY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("priority %d is out of range", request->priority),
				 errhint("It must be between %d and %d.", GOFLOW_MIN_PRIORITY, GOFLOW_MAX_PRIORITY)));

	if (is_inline)
	{
		if (request->run_as != GetUserId())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("run() cannot run workflow \"%s\" as its owner", name),
					 errdetail("It is marked \"security\": \"definer\"."),
					 errhint("Use goflow.start().")));
		return;
	}
	if (!goflow_role_can_run(request->run_as, &reason))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_ROLE_CANNOT_RUN),
				 errmsg("no worker can run as role \"%s\"", GetUserNameFromId(request->run_as, false)),
				 errhint("%s", reason)));
	if (superuser() && workflow.owner != GetUserId() && request->run_as == GetUserId())
		ereport(WARNING,
				(errmsg("workflow \"%s\" of role \"%s\" will run with superuser rights", name,
						GetUserNameFromId(workflow.owner, false)),
				 errhint("Start it as an ordinary role, or mark it \"security\": \"definer\".")));
}

static void
fill_row(GoflowExecutionRow *row, Request *request, Jsonb *input)
{
	goflow_uuid_generate(&row->id);
	row->workflow_id = request->definition->workflow_id;
	row->run_as = request->run_as;
	row->state = GOFLOW_EXECUTION_QUEUED;
	row->priority = request->priority;
	row->entry = request->entry;
	row->created_at = GetCurrentTimestamp();
	row->input = goflow_input_convert(request->definition, input, row);
}

static Jsonb *
empty_object(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/* The execution that arguments ask for, the second of which is its input. */
static void
fill_from_arguments(GoflowExecutionRow *row, Request *request, FunctionCallInfo fcinfo)
{
	int			level = goflow_input_settings_begin(request->definition);

	fill_row(row, request, PG_ARGISNULL(1) ? empty_object() : PG_GETARG_JSONB_P(1));
	goflow_input_settings_end(level);
}

static void
start_all(GoflowExecutionRow *rows, int n)
{
	goflow_early_begin();
	if (n > 0)
		goflow_execution_insert(rows, n);
	goflow_early_end();
	for (int i = 0; i < n; i++)
		goflow_wake_execution(&rows[i].id, rows[i].run_as, rows[i].priority);
	CommandCounterIncrement();	/* for others in the same statement: cancel(start(…)) */
}

/* The execution that the arguments of start() ask for; with a key, one that is there already. */
static pg_uuid_t
start_one(FunctionCallInfo fcinfo, Request *request)
{
	GoflowExecutionRow row = {0};
	pg_uuid_t	id;

	fill_from_arguments(&row, request, fcinfo);
	id = row.id;
	if (PG_ARGISNULL(2) ||
		goflow_start_key_insert(request->definition->name, request->run_as,
								text_to_cstring(PG_GETARG_TEXT_PP(2)), &id))
		start_all(&row, 1);
	return id;
}

/*
 * start(workflow text, input jsonb, key text, priority int, entry text,
 *		 version int) returns uuid
 *
 * Inserts an execution; a worker takes it when the transaction commits.
 * Errors: WF101 unknown workflow, WF103 bad input, WF104 unknown entry, WF108
 * the role can't run, 42501.
 */
Datum
goflow_start(PG_FUNCTION_ARGS)
{
	Request		request;
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	refuse_if_impossible("goflow.start()");
	prepare_request(fcinfo, &request, 3, 4, 5, false);
	*id = start_one(fcinfo, &request);
	PG_RETURN_UUID_P(id);
}

static bool
is_atomic(FunctionCallInfo fcinfo)
{
	return fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic;
}

/*
 * start_and_wait(workflow text, input jsonb, key text, priority int, entry text,
 *				  version int, timeout interval, INOUT execution uuid,
 *				  INOUT state text, INOUT output jsonb, INOUT error jsonb)
 *
 * A procedure: start(), a commit and wait() in one call.  What the last four are
 * given does not matter.  Errors: those of start(), 2D000 in a transaction that
 * is not its own, WF105 in a node, 42501 if the caller could not see the
 * execution.
 */
Datum
goflow_start_and_wait(PG_FUNCTION_ARGS)
{
	Request		request;
	TimestampTz deadline = goflow_api_deadline(PG_ARGISNULL(6) ? NULL : PG_GETARG_INTERVAL_P(6));
	pg_uuid_t	id;
	GoflowExecutionRow *row;
	TupleDesc	tupdesc;
	Datum		values[4];
	bool		nulls[4];

	refuse_if_impossible("goflow.start_and_wait()");
	goflow_api_refuse_to_wait_in_node();
	if (is_atomic(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("goflow.start_and_wait() cannot be called in a transaction block or a function"),
				 errdetail("It commits, for the execution to begin."),
				 errhint("Use goflow.run(), or goflow.start(), COMMIT and goflow.wait().")));
	prepare_request(fcinfo, &request, 3, 4, 5, false);
	if (!goflow_api_may_see(request.run_as))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to wait for an execution of role \"%s\"",
						GetUserNameFromId(request.run_as, false)),
				 errhint("Use goflow.start().")));

	id = start_one(fcinfo, &request);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	goflow_early_put_off();
	SPI_commit();
	SPI_finish();

	row = goflow_api_wait(&id, deadline);
	goflow_early_catch_up();

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = UUIDPGetDatum(&id);
	values[1] = CStringGetTextDatum(goflow_state_name(row->state));
	values[2] = JsonbPGetDatum(row->output);
	values[3] = JsonbPGetDatum(row->error);
	nulls[0] = nulls[1] = false;
	nulls[2] = row->output == NULL;
	nulls[3] = row->error == NULL;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/*
 * start_many(workflow text, inputs jsonb[], priority int, entry text,
 *			  version int) returns setof uuid
 *
 * One execution per element of inputs, in its order; NULL elements are {}.
 */
Datum
goflow_start_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Request		request;
	GoflowExecutionRow *rows;
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	int			level;

	refuse_if_impossible("goflow.start_many()");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("inputs must not be null")));
	prepare_request(fcinfo, &request, 2, 3, 4, false);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), JSONBOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &n);
	rows = MemoryContextAllocHuge(CurrentMemoryContext, Max(n, 1) * sizeof(GoflowExecutionRow));
	memset(rows, 0, Max(n, 1) * sizeof(GoflowExecutionRow));
	level = goflow_input_settings_begin(request.definition);
	for (int i = 0; i < n; i++)
	{
		Datum		value;
		bool		isnull = false;

		CHECK_FOR_INTERRUPTS();
		fill_row(&rows[i], &request, nulls[i] ? empty_object() : DatumGetJsonbP(elements[i]));
		value = UUIDPGetDatum(&rows[i].id);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	goflow_input_settings_end(level);
	start_all(rows, n);
	return (Datum) 0;
}

/*
 * run(workflow text, input jsonb, entry text, version int, raise boolean)
 * returns jsonb
 *
 * The output; with raise => false an object with execution, state, output and
 * error.  Errors: those of start(), the execution's own, WF107 if it must wait.
 */
Datum
goflow_run(PG_FUNCTION_ARGS)
{
	Request		request;
	GoflowExecutionRow *row = palloc0(sizeof(GoflowExecutionRow));
	bool		raise = PG_ARGISNULL(4) || PG_GETARG_BOOL(4);
	JsonbParseState *state = NULL;
	JsonbValue *result;

	refuse_if_impossible("goflow.run()");
	prepare_request(fcinfo, &request, -1, 2, 3, true);
	fill_from_arguments(row, &request, fcinfo);
	goflow_engine_run_inline(row, raise);
	CommandCounterIncrement();

	if (raise)
	{
		if (row->output == NULL)
			PG_RETURN_NULL();
		PG_RETURN_JSONB_P(row->output);
	}

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
#define ADD(key_name, value_expr) \
	do { \
		JsonbValue	k = {.type = jbvString}; \
		JsonbValue	v; \
		k.val.string.val = (key_name); \
		k.val.string.len = strlen(key_name); \
		pushJsonbValue(&state, WJB_KEY, &k); \
		value_expr; \
		pushJsonbValue(&state, WJB_VALUE, &v); \
	} while (0)
#define STRING(s) (v.type = jbvString, v.val.string.val = (s), v.val.string.len = strlen(v.val.string.val))
#define JSON(j) \
	if ((j) != NULL) JsonbToJsonbValue((j), &v); else v.type = jbvNull
	ADD("execution", STRING(DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&row->id)))));
	ADD("state", STRING(unconstify(char *, goflow_state_name(row->state))));
	ADD("output", JSON(row->output));
	ADD("error", JSON(row->error));
#undef ADD
#undef STRING
#undef JSON
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(result));
}
