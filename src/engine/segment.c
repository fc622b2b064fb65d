/*
 * segment.c
 *		Runs the ready nodes of one execution, in a subtransaction.
 *
 * A straight run of nodes shares one subtransaction: a segment.  If one of
 * them fails, the segment is rolled back (in memory, too) and run again with a
 * subtransaction per node, so that only the node at fault fails and the work
 * of those before it stays.  A node whose fuse burnt, or that did something a
 * subtransaction can't bound, is rolled back with its segment and learned as
 * one that runs in node mode; the segment runs again up to it.
 *
 * The one PG_TRY around user code of a batch is here.  Deadlocks and
 * serialization failures concern the whole transaction and are thrown on, and
 * so is an error while the journal is written.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

/* Where in an execution the process is, for error contexts and for the catch. */
typedef struct Position
{
	GoflowExecution *ex;
	GoflowNode *node;			/* NULL: the workflow itself */
	int			ran;			/* nodes run in this segment */
} Position;

static void
describe_position(void *arg)
{
	Position   *at = arg;

	if (at->node)
		errcontext("node \"%s\" of workflow \"%s\", version %d",
				   at->node->id, at->ex->definition->name, at->ex->definition->version);
	else
		errcontext("workflow \"%s\", version %d",
				   at->ex->definition->name, at->ex->definition->version);
}

/* May this node run in a transaction that it shares with others? */
static bool
may_join(GoflowExecution *ex, GoflowNode *node)
{
	if (ex->is_inline || node->type == GOFLOW_TYPE_TRIGGER || node->type == GOFLOW_TYPE_DELAY)
		return true;
	if (ex->alone)
		return false;
	switch (goflow_speed_get(ex->definition->workflow_id, node->index))
	{
		case GOFLOW_SPEED_FAST:
			return true;
		case GOFLOW_SPEED_UNKNOWN:
			return goflow_node_is_fast(node);
		default:
			return false;
	}
}

/* Runs one node and what follows from it. */
static void
run_node(GoflowExecution *ex, GoflowNode *node)
{
	GoflowNodeRun *run = &ex->now.runs[node->position];
	TimestampTz started_at = GetCurrentTimestamp();
	instr_time	before;
	instr_time	after;
	int64		duration;
	int			level = 0;
	bool		ended;

	run->state = GOFLOW_NODE_RUNNING;
	if (run->attempt == 0)
		run->attempt = 1;
	goflow_execution_track(ex, node->index);

	INSTR_TIME_SET_CURRENT(before);
	if (!ex->is_inline)
		goflow_session_node_begin(&node->settings, true);
	else if (node->settings.count > 0)
	{
		level = NewGUCNestLevel();
		goflow_settings_apply(&node->settings);
	}
	ended = goflow_node_execute(ex, node);
	if (level > 0)
		AtEOXact_GUC(true, level);
	if (!ended)
	{
		run->state = GOFLOW_NODE_WAITING;
		if (!ex->is_inline)
			goflow_session_node_end();
		return;
	}
	if (!ex->is_inline)
	{
		goflow_session_node_end();

		/* also when the node swallowed the cancel */
		if (goflow_session_fuse_burnt() || goflow_session_must_run_alone())
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg_internal("node \"%s\" cannot run in a batch", node->id)));
	}
	INSTR_TIME_SET_CURRENT(after);
	INSTR_TIME_SUBTRACT(after, before);
	duration = INSTR_TIME_GET_MICROSEC(after);
	if (!ex->is_inline)
		goflow_speed_learn(ex->definition->workflow_id, node->index, duration);

	goflow_execution_record(ex, node, GOFLOW_NODE_COMPLETED, started_at,
							Min(duration, PG_INT32_MAX), NULL);
	goflow_cascade_ended(ex, node);
}

/* Nothing is open any more: the workflow's output, and its end. */
static void
complete(GoflowExecution *ex)
{
	GoflowDefinition *definition = ex->definition;

	if (definition->noutputs > 0)
	{
		int			n = definition->noutputs;
		char	  **names = palloc(n * sizeof(char *));
		Oid		   *types = palloc(n * sizeof(Oid));
		Datum	   *values = palloc(n * sizeof(Datum));
		bool	   *nulls = palloc(n * sizeof(bool));
		MemoryContext old;

		if (!ex->is_inline)
			goflow_session_node_begin(NULL, false);
		for (int i = 0; i < n; i++)
		{
			names[i] = definition->outputs[i].name;
			values[i] = goflow_evaluate(ex, definition->outputs[i].expr, &nulls[i], &types[i], NULL);
		}
		old = MemoryContextSwitchTo(ex->context);
		ex->now.output = goflow_fields_to_jsonb(names, types, n, values, nulls);
		MemoryContextSwitchTo(old);
		if (!ex->is_inline)
			goflow_session_node_end();
	}
	ex->now.state = GOFLOW_EXECUTION_COMPLETED;
}

/* Runs nodes until none is ready or the budget is spent, or one only. */
static GoflowSegmentEnd
run_nodes(Position *at, GoflowBudget *budget, bool only_one)
{
	GoflowExecution *ex = at->ex;
	MemoryContext node_context = AllocSetContextCreate(CurrentMemoryContext, "goflow node",
													   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(node_context);
	GoflowSegmentEnd end = GOFLOW_SEGMENT_BLOCKED;

	if (!ex->started)
	{
		goflow_execution_begin(ex);
		ex->started = true;
	}
	for (;;)
	{
		GoflowNode *node;

		CHECK_FOR_INTERRUPTS();
		at->node = NULL;
		if (only_one && at->ran == 1)
		{
			end = GOFLOW_SEGMENT_FULL;
			break;
		}
		node = goflow_cascade_next(ex);
		if (node == NULL)
		{
			if (ex->now.open == 0)
			{
				complete(ex);
				end = GOFLOW_SEGMENT_DONE;
			}
			break;
		}
		if (budget->nodes <= 0 ||
			(budget->deadline != 0 && budget->ran > 0 && GetCurrentTimestamp() >= budget->deadline))
		{
			goflow_cascade_put_back(ex, node);
			end = GOFLOW_SEGMENT_FULL;
			break;
		}
		at->node = node;
		if (!may_join(ex, node))
		{
			GoflowNodeRun *run = &ex->now.runs[node->position];

			run->state = GOFLOW_NODE_RUNNING;
			run->to_offer = true;
			run->attempt = Max(run->attempt, 1);
			run->seq = ++ex->now.seq;
			continue;
		}
		run_node(ex, node);
		at->ran++;
		budget->nodes--;
		budget->ran++;
		MemoryContextReset(node_context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(node_context);
	return end;
}

/*
 * What an error of a segment means.  True: run the segment again.  False: the
 * execution has failed.
 */
static bool
judge(Position *at, ErrorData *error)
{
	GoflowExecution *ex = at->ex;
	GoflowNode *node = at->node;
	Jsonb	   *json;
	MemoryContext old;

	if (node && !ex->is_inline && goflow_session_fuse_burnt())
	{
		goflow_speed_set(ex->definition->workflow_id, node->index, GOFLOW_SPEED_SLOW);
		return true;
	}
	if (node && !ex->is_inline && goflow_session_must_run_alone())
	{
		goflow_speed_set(ex->definition->workflow_id, node->index, GOFLOW_SPEED_ALONE);
		return true;
	}
	if (at->ran > 0)
	{
		ex->careful = true;
		return true;
	}

	old = MemoryContextSwitchTo(ex->context);
	json = goflow_error_to_jsonb(error, node, node ? Max(ex->now.runs[node->position].attempt, 1) : 0);
	MemoryContextSwitchTo(old);
	ex->started = true;
	if (ex->row->started_at == 0)
		ex->row->started_at = GetCurrentTimestamp();
	if (node)
	{
		/* the restore put it back into the list of ready nodes, which stop() clears */
		goflow_execution_record(ex, node, GOFLOW_NODE_FAILED, 0, 0, json);
	}
	goflow_cascade_stop(ex, GOFLOW_EXECUTION_FAILED, json);
	return false;
}

/*
 * Drives an execution as far as it goes within the budget.  In a worker, or in
 * run() when its errors are not to be raised.
 */
GoflowSegmentEnd
goflow_segment_run(GoflowExecution *ex, GoflowBudget *budget)
{
	Position	at = {.ex = ex};
	ErrorContextCallback context = {.callback = describe_position, .arg = &at};

	for (;;)
	{
		volatile GoflowSegmentEnd end = GOFLOW_SEGMENT_BLOCKED;
		volatile bool again = false;
		bool		was_started = ex->started;
		GoflowBudget before = *budget;
		GoflowWritesMark mark = goflow_writes_mark(ex->writes);
		MemoryContext caller_context = CurrentMemoryContext;
		ResourceOwner caller_owner = CurrentResourceOwner;
		ErrorContextCallback *caller_callback = error_context_stack;

		at.node = NULL;
		at.ran = 0;
		goflow_execution_save(ex);
		context.previous = error_context_stack;
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(caller_context);
		PG_TRY();
		{
			error_context_stack = &context;
			if (SPI_connect() != SPI_OK_CONNECT)
				elog(ERROR, "SPI_connect failed");
			MemoryContextSwitchTo(caller_context);
			end = run_nodes(&at, budget, ex->careful);
			if (SPI_finish() != SPI_OK_FINISH)
				elog(ERROR, "SPI_finish failed");
			error_context_stack = caller_callback;
			ReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(caller_context);
			CurrentResourceOwner = caller_owner;
		}
		PG_CATCH();
		{
			ErrorData  *error;

			error_context_stack = caller_callback;
			goflow_session_fuse_off();
			if (!ex->is_inline)
				goflow_session_allow_cancel(false);
			MemoryContextSwitchTo(caller_context);
			error = CopyErrorData();
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(caller_context);
			CurrentResourceOwner = caller_owner;

			if (!goflow_session_fuse_burnt() &&
				(error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
				 error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE) &&
				!ex->is_inline)
				ReThrowError(error);

			goflow_execution_restore(ex);
			goflow_writes_go_back(ex->writes, &mark);
			ex->started = was_started;
			*budget = before;
			again = judge(&at, error);
			if (!again)
				end = GOFLOW_SEGMENT_DONE;
			FreeErrorData(error);
		}
		PG_END_TRY();

		/* node by node, a segment that is full only means that one more is to come */
		if (!again && !(ex->careful && end == GOFLOW_SEGMENT_FULL && at.ran == 1 && budget->nodes > 0))
			return end;
	}
}

/* Drives an execution to its end in the current transaction; its errors are the caller's. */
void
goflow_segment_run_raising(GoflowExecution *ex)
{
	Position	at = {.ex = ex};
	GoflowBudget budget = {.nodes = PG_INT32_MAX};
	ErrorContextCallback context = {.callback = describe_position, .arg = &at,
	.previous = error_context_stack};

	error_context_stack = &context;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	(void) run_nodes(&at, &budget, false);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	error_context_stack = context.previous;
}
