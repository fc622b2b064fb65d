/*
 * waiting.c
 *		What the view goflow.waiting shows: per kind of wait, what has waited
 *		longest.
 */
#include "postgres.h"

#include "api/api.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(goflow_waiting_list);

/* Where counting ends: what it costs does not depend on how many wait. */
#define MAX_COUNT 10000

static const char *
kind_name(char kind)
{
	switch (kind)
	{
		case GOFLOW_PENDING_DELAY:
			return "delay";
		case GOFLOW_PENDING_RETRY:
			return "retry";
		case GOFLOW_PENDING_WORKFLOW:
			return "workflow";
		case GOFLOW_PENDING_SIGNAL:
			return "signal";
		case GOFLOW_PENDING_APPROVAL:
			return "approval";
		default:
			return "task";
	}
}

/*
 * waiting_list() returns setof (wait, waits, execution, workflow, version, node,
 * run_as, since, due_at)
 *
 * One row per kind of wait that there is.  waits: nodes that wait so, counted
 * up to 10,000; the rest is about the one that has waited longest.
 */
Datum
goflow_waiting_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *waits;
	ListCell   *lc;

	goflow_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	waits = goflow_waits_read_oldest(MAX_COUNT);
	foreach(lc, waits)
	{
		GoflowOldestWait *wait = lfirst(lc);
		GoflowExecutionRow *row = goflow_execution_read(&wait->execution_id);
		GoflowDefinition *definition;
		Datum		values[9];
		bool		nulls[9] = {0};

		if (row == NULL)
			continue;
		definition = goflow_workflow_load(row->workflow_id);
		values[0] = CStringGetTextDatum(kind_name(wait->kind));
		values[1] = Int64GetDatum(wait->waits);
		values[2] = UUIDPGetDatum(&row->id);
		values[3] = CStringGetTextDatum(definition->name);
		values[4] = Int32GetDatum(definition->version);
		values[5] = CStringGetTextDatum(definition->nodes[wait->node]->path);
		values[6] = ObjectIdGetDatum(row->run_as);
		values[7] = TimestampTzGetDatum(wait->started_at);
		values[8] = TimestampTzGetDatum(wait->due_at);
		nulls[8] = wait->due_at == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
