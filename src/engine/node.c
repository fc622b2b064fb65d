/*
 * node.c
 *		What each node type does.
 *
 * A node type is one function here and one entry in the table of
 * definition/parse.c.  It evaluates, sets the columns that the node gives to
 * others and the port taken; what runs next is not its concern.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

static void
run_condition(GoflowExecution *ex, GoflowNode *node, GoflowNodeRun *run)
{
	bool		isnull;
	Datum		value = goflow_evaluate(ex, node->expr, &isnull, NULL, NULL);

	run->port = !isnull && DatumGetBool(value) ? 1 : 0;
	run->values[0] = BoolGetDatum(run->port == 1);
	run->nulls[0] = false;
}

static void
run_switch(GoflowExecution *ex, GoflowNode *node, GoflowNodeRun *run)
{
	Datum		on = (Datum) 0;
	bool		on_isnull = true;
	Oid			type = InvalidOid;
	TypeCacheEntry *cache = NULL;
	MemoryContext old;

	run->port = node->nports - 1;	/* default */
	if (node->expr)
	{
		on = goflow_evaluate(ex, node->expr, &on_isnull, &type, NULL);
		cache = lookup_type_cache(type, TYPECACHE_EQ_OPR_FINFO);
	}
	for (int i = 0; i < node->nexprs; i++)
	{
		bool		isnull;
		Datum		value = goflow_evaluate(ex, node->exprs[i].expr, &isnull, NULL, NULL);
		bool		taken;

		if (node->expr)
			taken = !isnull && !on_isnull &&
				DatumGetBool(FunctionCall2Coll(&cache->eq_opr_finfo, get_typcollation(type), on, value));
		else
			taken = !isnull && DatumGetBool(value);
		if (taken)
		{
			run->port = i;
			break;
		}
	}
	old = MemoryContextSwitchTo(ex->context);
	run->values[0] = CStringGetTextDatum(node->ports[run->port]);
	run->nulls[0] = false;
	MemoryContextSwitchTo(old);
}

static void
run_set(GoflowExecution *ex, GoflowNode *node)
{
	Datum	   *values = palloc(node->nexprs * sizeof(Datum));
	bool	   *nulls = palloc(node->nexprs * sizeof(bool));

	/* all are evaluated before the first is assigned */
	for (int i = 0; i < node->nexprs; i++)
		values[i] = goflow_evaluate(ex, node->exprs[i].expr, &nulls[i], NULL, NULL);
	for (int i = 0; i < node->nexprs; i++)
		goflow_execution_assign(ex, node->exprs[i].field, node, values[i], nulls[i]);
}

static void
run_transform(GoflowExecution *ex, GoflowNode *node, GoflowNodeRun *run)
{
	for (int i = 0; i < node->nexprs; i++)
	{
		Oid			type;

		run->values[i] = goflow_evaluate(ex, node->exprs[i].expr, &run->nulls[i], &type, NULL);
		if (type != node->columns[i].type)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_DEFINITION_OUTDATED),
					 errmsg("value \"%s\" of node \"%s\" is not of the type that it had when the workflow was defined",
							node->columns[i].name, node->id),
					 errdetail("It is of type %s, it was %s.", format_type_be(type),
							   format_type_be(node->columns[i].type)),
					 errhint("Define the workflow again.")));
	}
}

/* True when the moment has come. */
static bool
run_delay(GoflowExecution *ex, GoflowNode *node, GoflowNodeRun *run)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	TimestampTz due;

	if (run->timer)
		goflow_writes_add(ex->writes, &ex->writes->fired, run->timer);
	else
	{
		bool		isnull;
		Datum		value = goflow_evaluate(ex, node->expr, &isnull, NULL, NULL);

		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("\"%s\" of node \"%s\" is null", node->expr->key, node->id)));
		due = node->is_until ? DatumGetTimestampTz(value) :
			DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													TimestampTzGetDatum(GetCurrentTimestamp()), value));
		if (due > now && due > GetCurrentTimestamp())
		{
			if (ex->is_inline)
				ereport(ERROR,
						(errcode(ERRCODE_GOFLOW_MUST_WAIT),
						 errmsg("run() cannot wait for node \"%s\" of workflow \"%s\"",
								node->id, ex->definition->name),
						 errdetail("It is due at %s.", timestamptz_to_str(due)),
						 errhint("Use goflow.start() for workflows that wait.")));
			run->timer = MemoryContextAllocZero(ex->context, sizeof(GoflowTimerRow));
			run->timer->execution_id = ex->row->id;
			run->timer->node = node->index;
			run->timer->attempt = run->attempt;
			run->timer->started_at = GetCurrentTimestamp();
			run->timer->due_at = due;
			goflow_writes_add(ex->writes, &ex->writes->timers, run->timer);
			goflow_wake_timer(due);
			return false;
		}
	}
	run->values[0] = TimestampTzGetDatum(now);
	run->nulls[0] = false;
	return true;
}

static void
run_notify(GoflowExecution *ex, GoflowNode *node)
{
	bool		isnull = true;
	Datum		payload = (Datum) 0;

	if (node->expr)
		payload = goflow_evaluate(ex, node->expr, &isnull, NULL, NULL);
	Async_Notify(node->channel, isnull ? "" : TextDatumGetCString(payload));
}

bool
goflow_node_execute(GoflowExecution *ex, GoflowNode *node)
{
	GoflowNodeRun *run = &ex->now.runs[node->position];
	bool		ended = true;

	run->values = MemoryContextAlloc(ex->context, Max(node->ncolumns, 1) * sizeof(Datum));
	run->nulls = MemoryContextAlloc(ex->context, Max(node->ncolumns, 1) * sizeof(bool));
	switch (node->type)
	{
		case GOFLOW_TYPE_SQL:
			goflow_evaluate_statement(ex, node->expr, run);
			break;
		case GOFLOW_TYPE_CONDITION:
			run_condition(ex, node, run);
			break;
		case GOFLOW_TYPE_SWITCH:
			run_switch(ex, node, run);
			break;
		case GOFLOW_TYPE_SET:
			run_set(ex, node);
			break;
		case GOFLOW_TYPE_TRANSFORM:
			run_transform(ex, node, run);
			break;
		case GOFLOW_TYPE_DELAY:
			ended = run_delay(ex, node, run);
			break;
		case GOFLOW_TYPE_NOTIFY:
			run_notify(ex, node);
			break;
		case GOFLOW_TYPE_TRIGGER:
			break;
	}
	if (ended && node->aggregate != GOFLOW_AGGREGATE_NONE)
	{
		Jsonb	   *joined = goflow_cascade_aggregate(ex, node);

		run->values[node->ncolumns - 1] = joined ? JsonbPGetDatum(joined) : (Datum) 0;
		run->nulls[node->ncolumns - 1] = joined == NULL;
	}
	return ended;
}

/* True if running it can neither take long nor have an effect outside of goflow.  Needs SPI. */
bool
goflow_node_is_fast(GoflowNode *node)
{
	if (node->type == GOFLOW_TYPE_SQL)
		return false;
	if (node->expr && !goflow_evaluate_is_simple(node->expr))
		return false;
	if (node->type != GOFLOW_TYPE_TRIGGER)
		for (int i = 0; i < node->nexprs; i++)
			if (!goflow_evaluate_is_simple(node->exprs[i].expr))
				return false;
	return true;
}
