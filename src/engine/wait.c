/*
 * wait.c
 *		Nodes that wait for somebody outside of the workflow: signal, approval
 *		and task.
 *
 * All that is left of one that waits is its pending.  Whoever answers stores
 * that in a table of its own (store/signal.c, approval.c, task.c) and wakes
 * the execution at his commit; the driver then finds it in a step of the node.
 * So the answer is a request, and the driver alone decides what comes of it:
 * one that comes when the node has been cancelled, or has timed out, is thrown
 * away.  The row of the answer goes in the transaction that stores the node's
 * result: it counts once.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"

static char
pending_kind(const GoflowNode *node)
{
	return node->type == GOFLOW_TYPE_SIGNAL ? GOFLOW_PENDING_SIGNAL :
		node->type == GOFLOW_TYPE_APPROVAL ? GOFLOW_PENDING_APPROVAL : GOFLOW_PENDING_TASK;
}

bool
goflow_wait_begin(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowPending *pending;

	if (ex->is_inline)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_MUST_WAIT),
				 errmsg("run() cannot wait for node \"%s\" of workflow \"%s\"",
						node->path, ex->definition->name),
				 errdetail("It waits for %s.",
						   node->type == GOFLOW_TYPE_SIGNAL ? "a signal" :
						   node->type == GOFLOW_TYPE_APPROVAL ? "a decision" : "a worker"),
				 errhint("Use goflow.start() for workflows that wait.")));
	if (node->type == GOFLOW_TYPE_SIGNAL && goflow_signal_take(ex, frame, node))
		return true;
	pending = goflow_pending_create(ex, frame, node, pending_kind(node));
	if (node->timeout > 0)
	{
		pending->now.row.due_at = pending->now.row.started_at + node->timeout;
		goflow_wake_timer(pending->now.row.due_at);
	}
	if (node->type != GOFLOW_TYPE_SIGNAL)
		goflow_answer_begin(ex, frame, node, pending);
	return false;
}

/* The row of a pending, and what others are to see of it. */
void
goflow_wait_persist(GoflowExecution *ex, GoflowPending *pending)
{
	goflow_answer_persist(ex, pending);
	goflow_writes_add(ex->writes, GOFLOW_WRITE_PENDING, &pending->now.row);
}

void
goflow_wait_cancel(GoflowExecution *ex, GoflowPending *pending)
{
	switch (pending->now.row.kind)
	{
		case GOFLOW_PENDING_SIGNAL:
			goflow_signal_left(ex, pending);
			break;
		case GOFLOW_PENDING_APPROVAL:
		case GOFLOW_PENDING_TASK:
			goflow_answer_withdraw(pending);
			break;
	}
}

static void
fail(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, Jsonb *error)
{
	TimestampTz started_at = goflow_run(frame, node)->pending->now.row.started_at;
	int64		duration = GetCurrentTimestamp() - started_at;

	goflow_node_failed(ex, frame, node, error, started_at, (int) Min(duration, PG_INT32_MAX));
}

void
goflow_wait_step(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	GoflowPendingRow *row = &run->pending->now.row;
	bool		has_come = false;
	Jsonb	   *error = NULL;

	run->is_stepping = false;
	goflow_node_make_columns(frame, node, run);
	switch (row->kind)
	{
		case GOFLOW_PENDING_SIGNAL:
			has_come = goflow_signal_take(ex, frame, node);
			break;
		case GOFLOW_PENDING_APPROVAL:
			has_come = goflow_approval_take(ex, frame, node);
			break;
		case GOFLOW_PENDING_TASK:
			has_come = goflow_task_take(ex, frame, node, &error);
			break;
	}
	if (has_come)
		goflow_cascade_completed(ex, frame, node);
	else if (error)
		fail(ex, frame, node, error);
	else if (row->due_at != 0 && row->due_at <= GetCurrentTimestamp())
	{
		MemoryContext old = MemoryContextSwitchTo(ex->context);

		error = goflow_error_make(ERRCODE_GOFLOW_EXECUTION_TIMEOUT,
								  psprintf("node \"%s\" timed out", node->path), NULL, node,
								  run->attempt);
		MemoryContextSwitchTo(old);
		goflow_wait_cancel(ex, run->pending);
		fail(ex, frame, node, error);
	}
}

void
goflow_wait_renew(GoflowExecution *ex)
{
	if (!ex->definition->has_tasks)
		return;
	goflow_tasks_renew(&ex->row->id);
	goflow_wake_timer(GetCurrentTimestamp());
}

void
goflow_wait_forget(const pg_uuid_t *id, GoflowDefinition *definition, GoflowWrites *writes)
{
	pg_uuid_t  *copy;

	if (!definition->has_signals && !definition->has_approvals && !definition->has_tasks)
		return;
	copy = MemoryContextAlloc(writes->context, sizeof(pg_uuid_t));
	*copy = *id;
	goflow_writes_add(writes, GOFLOW_WRITE_WAITS_END, copy);
}
