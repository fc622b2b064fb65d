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
run_condition(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, GoflowNodeRun *run)
{
	bool		isnull;
	Datum		value = goflow_evaluate(ex, frame, node->expr, &isnull, NULL, NULL);

	run->port = !isnull && DatumGetBool(value) ? 1 : 0;
	run->values[0] = BoolGetDatum(run->port == 1);
	run->nulls[0] = false;
}

/* False if edges leave the node, but none through this port. */
static bool
leads_on(GoflowNode *node, int port)
{
	for (int i = 0; i < node->nout; i++)
		if (node->out[i].port < 0 || node->out[i].port == port)
			return true;
	return node->nout == 0;
}

static void
run_switch(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, GoflowNodeRun *run)
{
	Datum		on = (Datum) 0;
	bool		on_isnull = true;
	Oid			type = InvalidOid;
	TypeCacheEntry *cache = NULL;
	MemoryContext old;

	run->port = node->nports - 1;	/* default */
	if (node->expr)
	{
		on = goflow_evaluate(ex, frame, node->expr, &on_isnull, &type, NULL);
		cache = lookup_type_cache(type, TYPECACHE_EQ_OPR_FINFO);
	}
	for (int i = 0; i < node->nexprs; i++)
	{
		bool		isnull;
		Datum		value = goflow_evaluate(ex, frame, node->exprs[i].expr, &isnull, NULL, NULL);
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
	if (run->port == node->nports - 1 && !leads_on(node, run->port))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_NO_BRANCH),
				 errmsg("no case of switch \"%s\" holds, and nothing follows its default", node->path),
				 errhint("Add a case, or a node after \"%s:default\".", node->id)));
	old = MemoryContextSwitchTo(frame->context);
	run->values[0] = CStringGetTextDatum(node->ports[run->port]);
	run->nulls[0] = false;
	MemoryContextSwitchTo(old);
}

/* So many assignments need no memory but the stack's. */
#define SET_FEW 8

static void
run_set(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	Datum		few[SET_FEW];
	bool		few_nulls[SET_FEW];
	bool		is_few = node->nexprs <= SET_FEW;
	Datum	   *values = is_few ? few : palloc(node->nexprs * sizeof(Datum));
	bool	   *nulls = is_few ? few_nulls : palloc(node->nexprs * sizeof(bool));

	/* all are evaluated before the first is assigned */
	for (int i = 0; i < node->nexprs; i++)
		values[i] = goflow_evaluate(ex, frame, node->exprs[i].expr, &nulls[i], NULL, NULL);
	for (int i = 0; i < node->nexprs; i++)
		goflow_variable_assign(ex, frame, node->exprs[i].field, node, values[i], nulls[i]);
}

static void
run_transform(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, GoflowNodeRun *run)
{
	for (int i = 0; i < node->nexprs; i++)
	{
		Oid			type;

		run->values[i] = goflow_evaluate(ex, frame, node->exprs[i].expr, &run->nulls[i], &type, NULL);
		if (type != node->columns[i].type)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_DEFINITION_OUTDATED),
					 errmsg("value \"%s\" of node \"%s\" is not of the type that it had when the workflow was defined",
							node->columns[i].name, node->path),
					 errdetail("It is of type %s, it was %s.", format_type_be(type),
							   format_type_be(node->columns[i].type)),
					 errhint("Define the workflow again.")));
	}
}

/* True when the moment has come. */
static bool
run_delay(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, GoflowNodeRun *run)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	TimestampTz due;
	bool		isnull;
	Datum		value;

	if (run->pending)
		goflow_pending_end(ex, run->pending);	/* it has come */
	else
	{
		value = goflow_evaluate(ex, frame, node->expr, &isnull, NULL, NULL);
		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("\"%s\" of node \"%s\" is null", node->expr->key, node->path)));
		due = node->is_until ? DatumGetTimestampTz(value) :
			DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													TimestampTzGetDatum(GetCurrentTimestamp()), value));
		if (due > now && due > GetCurrentTimestamp())
		{
			if (ex->is_inline)
				ereport(ERROR,
						(errcode(ERRCODE_GOFLOW_MUST_WAIT),
						 errmsg("run() cannot wait for node \"%s\" of workflow \"%s\"",
								node->path, ex->definition->name),
						 errdetail("It is due at %s.", timestamptz_to_str(due)),
						 errhint("Use goflow.start() for workflows that wait.")));
			goflow_pending_create(ex, frame, node, GOFLOW_PENDING_DELAY)->now.row.due_at = due;
			goflow_wake_timer(due);
			return false;
		}
	}
	run->values[0] = TimestampTzGetDatum(now);
	run->nulls[0] = false;
	return true;
}

/* Port 1: the loop, or the iteration, is to end; whoever runs the node stops the frame. */
static void
run_break(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, GoflowNodeRun *run)
{
	run->port = node->expr == NULL || goflow_evaluate_boolean(ex, frame, node->expr) ? 1 : 0;
}

static char *
evaluate_text(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr)
{
	bool		isnull = true;
	Datum		value = (Datum) 0;

	if (expr)
		value = goflow_evaluate(ex, frame, expr, &isnull, NULL, NULL);
	return isnull ? NULL : TextDatumGetCString(value);
}

/* The error that the catch around a node is about. */
static Jsonb *
caught_error(GoflowFrame *frame)
{
	while (frame && !(frame->body->owner && frame->body->owner->type == GOFLOW_TYPE_TRY &&
					  frame->body->part > 0 && frame->now.error))
		frame = frame->parent;
	if (frame == NULL)
		elog(ERROR, "no error to raise again");
	return frame->now.error;
}

static void
run_raise(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	char	   *message = evaluate_text(ex, frame, node->message);
	char	   *detail = evaluate_text(ex, frame, node->detail);

	if (node->raise_code == NULL && node->message == NULL && node->detail == NULL)
	{
		Jsonb	   *error = caught_error(frame);

		detail = goflow_error_field(error, GOFLOW_ERROR_DETAIL);
		ereport(ERROR,
				(errcode(goflow_error_code(error)),
				 errmsg_internal("%s", goflow_error_field(error, GOFLOW_ERROR_MESSAGE)),
				 detail ? errdetail_internal("%s", detail) : 0));
	}
	ereport(ERROR,
			(errcode(node->raise_code ?
					 MAKE_SQLSTATE(node->raise_code[0], node->raise_code[1], node->raise_code[2],
								   node->raise_code[3], node->raise_code[4]) :
					 ERRCODE_RAISE_EXCEPTION),
			 errmsg_internal("%s", message ? message : "raised by the workflow"),
			 detail ? errdetail_internal("%s", detail) : 0));
}

static void
run_notify(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	bool		isnull = true;
	Datum		payload = (Datum) 0;

	if (node->expr)
		payload = goflow_evaluate(ex, frame, node->expr, &isnull, NULL, NULL);
	Async_Notify(node->channel, isnull ? "" : TextDatumGetCString(payload));
}

void
goflow_node_make_columns(GoflowFrame *frame, GoflowNode *node, GoflowNodeRun *run)
{
	Size		size = GOFLOW_COLUMNS_SIZE(node);

	/* the frame has room for each node once; an attempt more takes more */
	if (size <= frame->room_left)
	{
		run->values = (Datum *) frame->room;
		frame->room += size;
		frame->room_left -= size;
	}
	else
		run->values = MemoryContextAlloc(frame->context, size);
	run->nulls = (bool *) (run->values + Max(node->ncolumns, 1));
}

void
goflow_node_set_aggregate(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	Jsonb	   *joined;

	if (node->aggregate == GOFLOW_AGGREGATE_NONE || node->type == GOFLOW_TYPE_PARALLEL)
		return;
	joined = goflow_cascade_aggregate(ex, frame, node);
	run->values[node->ncolumns - 1] = joined ? JsonbPGetDatum(joined) : (Datum) 0;
	run->nulls[node->ncolumns - 1] = joined == NULL;
}

bool
goflow_node_execute(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	bool		ended = true;

	goflow_node_make_columns(frame, node, run);
	switch (node->type)
	{
		case GOFLOW_TYPE_SQL:
			goflow_result_run(ex, frame, node->expr, run);
			break;
		case GOFLOW_TYPE_CONDITION:
			run_condition(ex, frame, node, run);
			break;
		case GOFLOW_TYPE_SWITCH:
			run_switch(ex, frame, node, run);
			break;
		case GOFLOW_TYPE_SET:
			run_set(ex, frame, node);
			break;
		case GOFLOW_TYPE_TRANSFORM:
			run_transform(ex, frame, node, run);
			break;
		case GOFLOW_TYPE_DELAY:
			ended = run_delay(ex, frame, node, run);
			break;
		case GOFLOW_TYPE_NOTIFY:
			run_notify(ex, frame, node);
			break;
		case GOFLOW_TYPE_TRIGGER:
			break;
		case GOFLOW_TYPE_LOOP:
		case GOFLOW_TYPE_TRY:
		case GOFLOW_TYPE_PARALLEL:
			goflow_body_begin(ex, frame, node);
			ended = false;
			break;
		case GOFLOW_TYPE_BREAK:
		case GOFLOW_TYPE_CONTINUE:
			run_break(ex, frame, node, run);
			break;
		case GOFLOW_TYPE_RAISE:
			run_raise(ex, frame, node);
			break;
		case GOFLOW_TYPE_WORKFLOW:
			ended = goflow_child_begin(ex, frame, node);
			break;
		case GOFLOW_TYPE_MAP:
		case GOFLOW_TYPE_FILTER:
		case GOFLOW_TYPE_REDUCE:
		case GOFLOW_TYPE_MERGE:
		case GOFLOW_TYPE_SPLIT:
			goflow_data_execute(ex, frame, node);
			break;
		case GOFLOW_TYPE_SIGNAL:
		case GOFLOW_TYPE_APPROVAL:
		case GOFLOW_TYPE_TASK:
			ended = goflow_wait_begin(ex, frame, node);
			break;
	}
	if (ended)
		goflow_node_set_aggregate(ex, frame, node);
	return ended;
}

void
goflow_node_take_result(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
						SPITupleTable *table, uint64 processed)
{
	GoflowNodeRun *run = goflow_run(frame, node);

	goflow_node_make_columns(frame, node, run);
	goflow_result_take(ex, frame, node->expr, run, table, processed);
	goflow_node_set_aggregate(ex, frame, node);
}

bool
goflow_node_runs_bodies(const GoflowNode *node)
{
	return node->nbodies > 0 || node->type == GOFLOW_TYPE_WORKFLOW;
}

bool
goflow_node_may_wait(const GoflowNode *node)
{
	return goflow_node_runs_bodies(node) || node->type == GOFLOW_TYPE_APPROVAL ||
		node->type == GOFLOW_TYPE_TASK;
}

/*
 * True if a batch may run it though nobody knows how long it takes: it cannot
 * take long, or the fuse stops it and nothing of it is left.  Needs SPI.
 */
bool
goflow_node_may_be_tried(GoflowNode *node)
{
	GoflowExpr *others[] = {node->expr, node->message, node->detail};

	switch (node->type)
	{
		case GOFLOW_TYPE_SQL:
			/* its own settings are not in force here */
			return node->settings.count == 0 && goflow_plan_is_contained(node->expr);
		case GOFLOW_TYPE_MAP:
		case GOFLOW_TYPE_FILTER:
		case GOFLOW_TYPE_REDUCE:
		case GOFLOW_TYPE_MERGE:
		case GOFLOW_TYPE_SPLIT:
			return false;
		case GOFLOW_TYPE_TRIGGER:
			return true;
		case GOFLOW_TYPE_LOOP:
			if (node->loop_kind == GOFLOW_LOOP_QUERY)
				return false;
			break;
		default:
			break;
	}
	for (int i = 0; i < lengthof(others); i++)
		if (others[i] && !goflow_evaluate_is_simple(others[i]))
			return false;
	for (int i = 0; i < node->nexprs; i++)
		if (!goflow_evaluate_is_simple(node->exprs[i].expr))
			return false;
	return true;
}

static bool
find_pure(const GoflowNode *node)
{
	switch (node->type)
	{
		case GOFLOW_TYPE_SWITCH:
			if (node->expr)
				return false;	/* equality may be the user's */
			break;
		case GOFLOW_TYPE_CONDITION:
		case GOFLOW_TYPE_SET:
		case GOFLOW_TYPE_TRANSFORM:
			break;
		default:
			return false;
	}
	if (node->settings.count > 0 || node->timeout > 0 || node->aggregate != GOFLOW_AGGREGATE_NONE ||
		node->compensate)
		return false;
	if (node->expr && !goflow_evaluate_is_pure(node->expr))
		return false;
	for (int i = 0; i < node->nexprs; i++)
		if (!goflow_evaluate_is_pure(node->exprs[i].expr))
			return false;
	return true;
}

bool
goflow_node_is_pure(GoflowNode *node)
{
	uint64		epoch = goflow_evaluate_epoch();

	if (node->pure_epoch == epoch)
		return true;
	if (!find_pure(node))
		return false;
	node->pure_epoch = epoch;
	return true;
}
