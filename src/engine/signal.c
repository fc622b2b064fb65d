/*
 * signal.c
 *		The inbox of an execution: which node has which signal.
 *
 * Signals of one name are consumed in the order in which they were sent, by
 * the nodes of that name in the order in which these began to wait: the second
 * that waits has the second signal.  Those that came before anybody waits stay
 * in the inbox.  It is read when a node first asks for it; a signal that is
 * committed later wakes the execution, which is then loaded anew.
 */
#include "postgres.h"

#include "engine/state.h"

static void
read_inbox(GoflowExecution *ex)
{
	MemoryContext old;

	if (ex->now.inbox_read)
		return;
	old = MemoryContextSwitchTo(ex->context);
	ex->now.inbox = goflow_signals_read(&ex->row->id);
	ex->now.inbox_read = true;
	MemoryContextSwitchTo(old);
}

static bool
waits_for(const GoflowPending *pending, const char *name)
{
	return pending->now.row.kind == GOFLOW_PENDING_SIGNAL &&
		strcmp(pending->node->signal_name, name) == 0;
}

/* Has a begun to wait before b?  NULL begins now. */
static bool
is_before(const GoflowPending *a, const GoflowPending *b)
{
	const GoflowPendingRow *left = &a->now.row;
	const GoflowPendingRow *right;

	if (b == NULL)
		return true;
	right = &b->now.row;
	if (left->started_at != right->started_at)
		return left->started_at < right->started_at;
	return left->frame != right->frame ? left->frame < right->frame : left->node < right->node;
}

static GoflowSignalRow *
find_signal(GoflowExecution *ex, const char *name, const GoflowPending *pending)
{
	int			skip = 0;
	ListCell   *lc;

	foreach(lc, ex->now.pendings)
	{
		GoflowPending *other = lfirst(lc);

		if (other != pending && waits_for(other, name) && is_before(other, pending))
			skip++;
	}
	foreach(lc, ex->now.inbox)
	{
		GoflowSignalRow *signal = lfirst(lc);

		if (strcmp(signal->name, name) == 0 && skip-- == 0)
			return signal;
	}
	return NULL;
}

bool
goflow_signal_take(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	GoflowSignalRow *signal;
	MemoryContext old;

	read_inbox(ex);
	if (ex->now.inbox == NIL)
		return false;
	signal = find_signal(ex, node->signal_name, run->pending);
	if (signal == NULL)
		return false;
	old = MemoryContextSwitchTo(frame->context);
	goflow_values_decode(goflow_node_fields(node), node->nfields, signal->payload, run->values,
						 run->nulls);
	MemoryContextSwitchTo(old);
	ex->now.inbox = list_delete_ptr(ex->now.inbox, signal);
	goflow_writes_add(ex->writes, GOFLOW_WRITE_SIGNAL_END, signal);
	return true;
}

/* A node waits no more: the signal that was to be its own is for the next. */
void
goflow_signal_left(GoflowExecution *ex, GoflowPending *pending)
{
	ListCell   *lc;

	if (ex->now.inbox == NIL)
		return;
	foreach(lc, ex->now.pendings)
	{
		GoflowPending *other = lfirst(lc);

		if (other != pending && waits_for(other, pending->node->signal_name))
			goflow_cascade_make_step(other->frame, other->node);
	}
}
