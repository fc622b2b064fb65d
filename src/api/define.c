/*
 * define.c
 *		define, validate, drop, definition, grant_start, revoke_start.
 *
 * A workflow belongs to the role that defined its first version.  Whoever has
 * that role's privileges may define the next ones; they stay the owner's.
 * After a drop the name is free, and its next version is its new owner's.
 */
#include "postgres.h"

#include "api/api.h"
#include "api/calls.h"
#include "api/row_trigger.h"
#include "definition/definition.h"
#include "goflow.h"
#include "store/store.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(goflow_define);
PG_FUNCTION_INFO_V1(goflow_validate);
PG_FUNCTION_INFO_V1(goflow_drop);
PG_FUNCTION_INFO_V1(goflow_definition);
PG_FUNCTION_INFO_V1(goflow_grant_start);
PG_FUNCTION_INFO_V1(goflow_revoke_start);

/*
 * What changes workflows may not be reached from an index expression or the
 * like, where another's code runs with the rights of who looks after a table.
 */
static void
require_free_hand(const char *function)
{
	goflow_require_preloaded();
	goflow_api_require_writable(function);
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot change a workflow within a security-restricted operation")));
}

static char *
required_name(FunctionCallInfo fcinfo, int argument)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of a workflow cannot be null")));
	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

static Oid
required_role(FunctionCallInfo fcinfo, int argument)
{
	Oid			role;

	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a role cannot be null")));
	role = PG_GETARG_OID(argument);
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", role)));
	return role;
}

static Jsonb *
required_definition(FunctionCallInfo fcinfo, int argument)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a definition cannot be null")));
	return PG_GETARG_JSONB_P(argument);
}

static void
require_workflow(const char *name, int version, GoflowWorkflowRow *row)
{
	if (goflow_workflow_find(name, version, row))
		return;
	if (version > 0)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
				 errmsg("workflow \"%s\" has no version %d", name, version)));
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
			 errmsg("workflow \"%s\" does not exist", name),
			 errhint("Define it with goflow.define().")));
}

static void
require_owner(const GoflowWorkflowRow *row)
{
	if (!has_privs_of_role(GetUserId(), row->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of workflow \"%s\"", row->name)));
}

/* All phases; NULL if nothing useful could be parsed. */
static GoflowDefinition *
compile(Jsonb *json, const char *name, GoflowReport *report)
{
	GoflowDefinition *definition = goflow_definition_parse(json, name, report, CurrentMemoryContext);

	if (definition)
	{
		goflow_graph_check(definition, report);
		goflow_definition_analyze(definition, report);
		goflow_calls_check(definition, report);
	}
	goflow_report_end(report);
	return definition;
}

Datum
goflow_define(PG_FUNCTION_ARGS)
{
	char	   *name = required_name(fcinfo, 0);
	Jsonb	   *json = required_definition(fcinfo, 1);
	GoflowReport *report = goflow_report_create(name);
	GoflowDefinition *definition;
	GoflowWorkflowRow row;
	Oid			owner = GetUserId();

	require_free_hand("goflow.define()");
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_ID),
				 errmsg("the name of a workflow has from 1 to %d bytes", NAMEDATALEN - 1)));

	goflow_workflow_lock(name, ShareRowExclusiveLock);
	if (goflow_workflow_find(name, 0, &row))
	{
		require_owner(&row);
		owner = row.owner;
	}

	definition = compile(json, name, report);
	goflow_report_raise(report);
	definition->owner = owner;
	definition->version = goflow_workflow_insert(name, owner, json,
												 goflow_contract_build(definition),
												 &definition->settings, definition->retention,
												 &definition->workflow_id);
	goflow_row_trigger_install(definition);
	PG_RETURN_INT32(definition->version);
}

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

Datum
goflow_validate(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	GoflowReport *report = goflow_report_create(NULL);
	ListCell   *lc;

	goflow_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	compile(required_definition(fcinfo, 0), NULL, report);
	foreach(lc, report->problems)
	{
		GoflowProblem *problem = lfirst(lc);
		Datum		values[8];
		bool		nulls[8] = {false};

		values[0] = CStringGetTextDatum(problem->is_warning ? "warning" : "error");
		values[1] = CStringGetTextDatum(unpack_sql_state(problem->code));
		values[2] = text_or_null(problem->node, &nulls[2]);
		values[3] = text_or_null(problem->key, &nulls[3]);
		values[4] = Int32GetDatum(problem->position);
		nulls[4] = problem->position <= 0;
		values[5] = CStringGetTextDatum(problem->message);
		values[6] = text_or_null(problem->detail, &nulls[6]);
		values[7] = text_or_null(problem->hint, &nulls[7]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
goflow_drop(PG_FUNCTION_ARGS)
{
	char	   *name = required_name(fcinfo, 0);
	bool		force = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	GoflowWorkflowRow row;
	int64		live;

	require_free_hand("goflow.drop()");
	goflow_workflow_lock(name, ExclusiveLock);
	require_workflow(name, 0, &row);
	require_owner(&row);

	/* first: who is writing to a table starts executions until he has committed */
	goflow_row_trigger_remove(name);
	live = force ? 0 : goflow_workflow_live_executions(name) + goflow_row_trigger_unwritten(name);
	if (live > 0)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_WORKFLOW_IN_USE),
				 errmsg("workflow \"%s\" has executions that are not finished", name),
				 errdetail_plural("There is " INT64_FORMAT " of them.",
								  "There are " INT64_FORMAT " of them.", live, live),
				 errhint("Wait for them, cancel them, or drop it with force => true: then they run on to their end.")));
	goflow_workflow_mark_dropped(name);
	PG_RETURN_VOID();
}

Datum
goflow_definition(PG_FUNCTION_ARGS)
{
	char	   *name = required_name(fcinfo, 0);
	int			version = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);
	GoflowWorkflowRow row;

	goflow_require_preloaded();
	if (version <= 0 && !PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
				 errmsg("workflow \"%s\" has no version %d", name, version)));
	require_workflow(name, version, &row);
	if (!goflow_workflow_may_start(name, row.owner, GetUserId()) && !goflow_is_admin(GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for workflow \"%s\"", name)));
	PG_RETURN_JSONB_P(goflow_workflow_definition(row.workflow_id));
}

static void
change_grant(FunctionCallInfo fcinfo, const char *function, void (*change) (const char *name, Oid role))
{
	char	   *name = required_name(fcinfo, 0);
	Oid			role = required_role(fcinfo, 1);
	GoflowWorkflowRow row;

	require_free_hand(function);
	goflow_workflow_lock(name, ExclusiveLock);
	require_workflow(name, 0, &row);
	require_owner(&row);
	change(name, role);
}

Datum
goflow_grant_start(PG_FUNCTION_ARGS)
{
	change_grant(fcinfo, "goflow.grant_start()", goflow_workflow_grant);
	PG_RETURN_VOID();
}

Datum
goflow_revoke_start(PG_FUNCTION_ARGS)
{
	change_grant(fcinfo, "goflow.revoke_start()", goflow_workflow_revoke);
	PG_RETURN_VOID();
}
