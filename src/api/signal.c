/*
 * signal.c
 *		signal(), signal_all() and signals().
 *
 * Who may steer an execution may send it signals.  A signal names one that the
 * definition waits for somewhere, and fits it: all nodes of one name have the
 * same fields, so whoever sends it knows at once.
 */
#include "postgres.h"

#include "api/api.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "engine/engine.h"

PG_FUNCTION_INFO_V1(goflow_signal);
PG_FUNCTION_INFO_V1(goflow_signal_all);
PG_FUNCTION_INFO_V1(goflow_signals);

static GoflowNode *
find_signal(GoflowDefinition *definition, const char *name)
{
	for (int i = 0; i < definition->nnodes; i++)
		if (definition->nodes[i]->type == GOFLOW_TYPE_SIGNAL &&
			strcmp(definition->nodes[i]->signal_name, name) == 0)
			return definition->nodes[i];
	return NULL;
}

static void
raise_unknown_signal(GoflowDefinition *definition, const char *name)
{
	GoflowNearest nearest;

	goflow_nearest_begin(&nearest, definition, name);
	for (int i = 0; i < definition->nnodes; i++)
		if (definition->nodes[i]->type == GOFLOW_TYPE_SIGNAL)
			goflow_nearest_offer(&nearest, definition->nodes[i]->signal_name);
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_UNKNOWN_SIGNAL),
			 errmsg("workflow \"%s\" waits for no signal \"%s\"", definition->name, name),
			 nearest.best ? errhint("Did you mean \"%s\"?", nearest.best) :
			 definition->has_signals ? errhint("See the \"name\" of its signal nodes.") :
			 errhint("It has no signal nodes.")));
}

/*
 * signal(execution uuid, name text, payload jsonb) returns void
 *
 * Effective at commit.  Errors: WF102, WF105 if the execution has finished,
 * WF111 if nothing in it waits for such a signal, WF112 if the payload does
 * not fit.
 */
Datum
goflow_signal(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_GETARG_UUID_P(0);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	GoflowExecutionRow *row;
	GoflowDefinition *definition;
	GoflowNode *node;
	bool		is_over;

	goflow_api_require_writable("goflow.signal()");
	row = goflow_api_execution_over(id, &is_over);
	definition = goflow_workflow_load(row->workflow_id);
	node = find_signal(definition, name);
	if (node == NULL)
		raise_unknown_signal(definition, name);
	if (is_over)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("execution \"%s\" has finished",
						DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)))),
				 errdetail("It is %s.", goflow_state_name(row->state))));
	goflow_api_require_own(row);
	goflow_signal_insert(id, name,
						 goflow_payload_convert(node, PG_GETARG_JSONB_P(2),
												psprintf("signal \"%s\"", name), true));
	goflow_wake_execution(id, row->run_as, row->priority);
	PG_RETURN_VOID();
}

/*
 * signal_all(workflow text, name text, payload jsonb, key text) returns bigint
 *
 * To every live execution of the workflow that the caller may steer, or to
 * those of them that were started with a key.  Versions that wait for no such
 * signal are left out, unless none does.  Returns how many were sent.
 */
Datum
goflow_signal_all(PG_FUNCTION_ARGS)
{
	char	   *workflow;
	char	   *name;
	char	   *key = NULL;
	GoflowWorkflowRow row;
	bool		is_known = false;
	int64		sent = 0;
	ListCell   *lc;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	goflow_require_preloaded();
	goflow_api_require_writable("goflow.signal_all()");
	workflow = text_to_cstring(PG_GETARG_TEXT_PP(0));
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!PG_ARGISNULL(3))
		key = text_to_cstring(PG_GETARG_TEXT_PP(3));
	if (!goflow_workflow_find(workflow, 0, &row) ||
		!(goflow_workflow_may_start(workflow, row.owner, GetUserId()) || goflow_is_admin(GetUserId())))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
				 errmsg("workflow \"%s\" does not exist", workflow),
				 errhint("See the view goflow.workflows.")));

	foreach(lc, goflow_signal_versions(workflow))
	{
		GoflowDefinition *definition = goflow_workflow_load(lfirst_int(lc));
		GoflowNode *node = find_signal(definition, name);
		ArrayType  *payload;
		ListCell   *target;

		if (node == NULL)
			continue;
		is_known = true;
		payload = goflow_payload_convert(node, PG_GETARG_JSONB_P(2), psprintf("signal \"%s\"", name), true);
		foreach(target, goflow_signal_insert_all(lfirst_int(lc), workflow, key, name, payload))
		{
			GoflowLiveRow *execution = lfirst(target);

			CHECK_FOR_INTERRUPTS();
			goflow_wake_execution(&execution->execution_id, execution->role, execution->priority);
			sent++;
		}
	}
	if (!is_known)
		raise_unknown_signal(goflow_workflow_load(row.workflow_id), name);
	PG_RETURN_INT64(sent);
}

/*
 * signals(execution uuid) returns setof (name, payload, sent_by, sent_at):
 * the inbox, in order.
 */
Datum
goflow_signals(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	GoflowExecutionRow *row = goflow_api_execution(PG_GETARG_UUID_P(0));
	GoflowDefinition *definition = goflow_workflow_load(row->workflow_id);
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, goflow_signals_read(&row->id))
	{
		GoflowSignalRow *signal = lfirst(lc);
		GoflowNode *node = find_signal(definition, signal->name);
		Datum		values[4] = {0};
		bool		nulls[4] = {0};

		values[0] = CStringGetTextDatum(signal->name);
		values[1] = JsonbPGetDatum(goflow_display_values(goflow_node_fields(node), node->nfields,
														 signal->payload));
		values[2] = ObjectIdGetDatum(signal->role);
		values[3] = TimestampTzGetDatum(signal->sent_at);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
