/*
 * cascade.c
 *		What becomes ready, skipped or cancelled when a node has ended.
 *
 * A node is settled from the states of its predecessors alone:
 *
 *	all			waits for every one; then runs if at least one of its edges was
 *				taken, and is skipped if none was
 *	n of m		runs as soon as n edges were taken; is skipped as soon as n
 *				can no longer be reached
 *
 * An edge is taken when its source completed through the edge's port, or
 * failed and says "on_error": "continue".  A node that others name in their
 * "on_error" is entered when one of them fails.  Edges from nodes that the
 * execution's entry does not reach do not count.  Skipping cascades; a list of
 * work instead of recursion bounds the stack.
 */
#include "postgres.h"

#include "engine/state.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

static bool
is_taken(GoflowFrame *frame, const GoflowEdge *edge)
{
	GoflowNodeRun *run = goflow_run(frame, edge->from);

	if (!run->reachable)
		return false;
	if (run->state == GOFLOW_NODE_FAILED)
		return edge->port < 0 && goflow_failure_continues(edge->from);
	return run->state == GOFLOW_NODE_COMPLETED && (edge->port < 0 || edge->port == run->port);
}

/* The list has room for each node once: an entry that is left over serves again. */
static void
append_ready(GoflowFrame *frame, GoflowNode *node)
{
	GoflowFrameState *now = &frame->now;
	int			at = now->ready_head + now->ready_count;

	/* it may be there still for a step that is not wanted any more */
	if (goflow_run(frame, node)->is_listed)
		return;
	goflow_run(frame, node)->is_listed = true;
	now->ready_count++;
	now->ready[at < frame->body->nnodes ? at : at - frame->body->nnodes] = node->position;
}

void
goflow_cascade_make_ready(GoflowFrame *frame, GoflowNode *node)
{
	goflow_run(frame, node)->state = GOFLOW_NODE_QUEUED;
	append_ready(frame, node);
}

/* A node that has begun is to make a step. */
void
goflow_cascade_make_step(GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);

	if (run->is_stepping)
		return;
	run->is_stepping = true;
	append_ready(frame, node);
}

/* A node is to end without having run to its end; what it has begun ends first. */
void
goflow_cascade_cancel_node(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);

	if (run->pending && run->pending->now.row.kind == GOFLOW_PENDING_BODIES)
	{
		goflow_body_wind(ex, frame, node, GOFLOW_UNWIND_CANCEL, NULL, -1);
		return;
	}
	if (run->pending && run->pending->now.row.kind == GOFLOW_PENDING_WORKFLOW)
	{
		goflow_child_cancel(ex, frame, node);
		return;
	}
	if (run->state == GOFLOW_NODE_RUNNING && !run->to_offer && run->pending == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(ex->context);
		GoflowInstance *instance = palloc0(sizeof(GoflowInstance));

		if (goflow_node_may_wait(node))
			goflow_execution_lock_cancelled(ex, frame, node);
		instance->execution_id = ex->row->id;
		instance->frame = frame->id;
		instance->node = node->index;
		instance->attempt = run->attempt;
		ex->withdrawn = lappend(ex->withdrawn, instance);
		MemoryContextSwitchTo(old);
	}
	if (run->pending)
	{
		if (run->pending->now.row.kind != GOFLOW_PENDING_RETRY)
			run->began_at = run->pending->now.row.started_at;
		goflow_wait_cancel(ex, run->pending);
		goflow_pending_end(ex, run->pending);
	}
	run->to_offer = false;
	goflow_execution_record(ex, frame, node, GOFLOW_NODE_CANCELLED, 0, 0, NULL);
}

/*
 * Cancels what still leads to a join that needs no more: nodes that have not
 * ended and whose every way on leads to the join or to another such node.
 */
static void
cancel_rest(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *join)
{
	bool	   *rest = palloc0(frame->body->nnodes * sizeof(bool));

	for (int i = join->position - 1; i >= 0; i--)
	{
		GoflowNode *node = frame->body->nodes[i];
		bool		leads_elsewhere = false;

		if (node->nout == 0 || !frame->now.runs[i].reachable ||
			goflow_node_has_ended(&frame->now.runs[i]))
			continue;
		for (int j = 0; j < node->nout && !leads_elsewhere; j++)
			leads_elsewhere = node->out[j].to != join && !rest[node->out[j].to->position];
		if (leads_elsewhere)
			continue;
		rest[i] = true;
		goflow_cascade_cancel_node(ex, frame, node);
	}
	pfree(rest);
}

/* Has one of the nodes failed that name this one in "on_error"? */
static bool
has_failure(GoflowFrame *frame, GoflowNode *node)
{
	ListCell   *lc;

	foreach(lc, node->failures)
		if (goflow_run(frame, (GoflowNode *) lfirst(lc))->state == GOFLOW_NODE_FAILED)
			return true;
	return false;
}

/* May one of them still fail? */
static bool
may_have_failure(GoflowFrame *frame, GoflowNode *node)
{
	ListCell   *lc;

	foreach(lc, node->failures)
	{
		GoflowNodeRun *run = goflow_run(frame, (GoflowNode *) lfirst(lc));

		if (run->reachable && !goflow_node_has_ended(run))
			return true;
	}
	return false;
}

/* Decides about a node that is idle; true if it was skipped. */
static bool
settle(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	int			edges = 0;
	int			taken = 0;
	int			pending = 0;
	bool		is_met;

	/* "join" of a parallel is about its branches */
	bool		needs_all = node->join == GOFLOW_JOIN_ALL || node->type == GOFLOW_TYPE_PARALLEL;

	if (run->state != GOFLOW_NODE_IDLE || !run->reachable ||
		frame->now.unwind != GOFLOW_UNWIND_NONE)
		return false;

	if (has_failure(frame, node))
	{
		goflow_cascade_make_ready(frame, node);
		return false;
	}
	for (int i = 0; i < node->nin; i++)
	{
		GoflowNodeRun *from = goflow_run(frame, node->in[i].from);

		if (!from->reachable)
			continue;
		edges++;
		if (!goflow_node_has_ended(from))
		{
			pending++;
			if (needs_all)
				return false;
		}
		else if (is_taken(frame, &node->in[i]))
			taken++;
	}

	if (edges == 0 && node->failures == NIL)
		is_met = true;			/* an entry */
	else if (needs_all)
		is_met = taken > 0;
	else
		is_met = taken >= node->join_count;

	if (is_met)
	{
		goflow_cascade_make_ready(frame, node);
		if (node->cancel_rest && !needs_all)
			cancel_rest(ex, frame, node);
	}
	else if ((needs_all || taken + pending < node->join_count) && !may_have_failure(frame, node))
	{
		goflow_execution_record(ex, frame, node, GOFLOW_NODE_SKIPPED, 0, 0, NULL);
		return true;
	}
	return false;
}

/*
 * Settles the successors of a node that has ended, and theirs where they are
 * skipped; ends the frame if that was all.
 */
void
goflow_cascade_ended(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNode **skipped = NULL;	/* whose successors are still to be settled */
	int			nskipped = 0;

	for (;;)
	{
		for (int i = 0; i <= node->nout; i++)
		{
			GoflowNode *next = i < node->nout ? node->out[i].to : node->on_error_node;

			if (next == NULL || !settle(ex, frame, next))
				continue;
			if (skipped == NULL)
				skipped = palloc(frame->body->nnodes * sizeof(GoflowNode *));
			skipped[nskipped++] = next;
		}
		if (nskipped == 0)
			break;
		node = skipped[--nskipped];
	}
	if (skipped)
		pfree(skipped);
	goflow_frame_check_end(ex, frame);
}

void
goflow_cascade_completed(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowPending *pending = goflow_run(frame, node)->pending;
	TimestampTz started_at = pending->now.row.started_at;
	int64		duration = GetCurrentTimestamp() - started_at;

	goflow_node_set_aggregate(ex, frame, node);
	goflow_pending_end(ex, pending);
	goflow_execution_record(ex, frame, node, GOFLOW_NODE_COMPLETED, started_at,
							(int) Min(duration, PG_INT32_MAX), NULL);
	goflow_cascade_ended(ex, frame, node);
}

/* A break or continue that holds ends the frame that it is in. */
void
goflow_cascade_leave(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	if (node->loop && goflow_run(frame, node)->port == 1)
		goflow_frame_stop(ex, frame, node->type == GOFLOW_TYPE_BREAK ? GOFLOW_UNWIND_BREAK :
						  GOFLOW_UNWIND_CONTINUE, NULL, node->loop->index);
}

/* Settles every idle node: at an entry that was given, and after loading. */
void
goflow_cascade_settle_all(GoflowExecution *ex, GoflowFrame *frame)
{
	/* in topological order, so one pass finds everything */
	for (int i = 0; i < frame->body->nnodes; i++)
		(void) settle(ex, frame, frame->body->nodes[i]);
}

/*
 * A frame begins.  Where its own entries are entered, all other nodes wait for
 * one before them; an entry that was given may leave joins that cannot be met.
 */
void
goflow_cascade_enter(GoflowExecution *ex, GoflowFrame *frame)
{
	if (frame->parent == NULL && ex->row->entry >= 0)
	{
		goflow_cascade_settle_all(ex, frame);
		return;
	}
	for (int i = 0; i < frame->body->nnodes; i++)
	{
		GoflowNode *node = frame->body->nodes[i];

		if (node->nin == 0 && node->failures == NIL)
			(void) settle(ex, frame, node);
	}
}

/* Takes the next node that is ready to run or to make a step, and its frame; or NULL. */
GoflowNode *
goflow_cascade_next(GoflowExecution *ex, GoflowFrame **frame)
{
	ListCell   *lc;

	foreach(lc, ex->now.frames)
	{
		GoflowFrameState *now;

		*frame = lfirst(lc);
		now = &(*frame)->now;
		while (now->ready_count > 0)
		{
			GoflowNode *node = (*frame)->body->nodes[now->ready[now->ready_head]];
			GoflowNodeRun *run = &now->runs[node->position];

			if (++now->ready_head == (*frame)->body->nnodes)
				now->ready_head = 0;
			now->ready_count--;
			run->is_listed = false;
			/* it may have been cancelled while it was in the list */
			if (run->state == GOFLOW_NODE_QUEUED || (run->is_stepping && run->pending))
				return node;
			run->is_stepping = false;
		}
	}
	return NULL;
}

static Jsonb *
node_to_jsonb(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	Datum	   *values = palloc(node->ncolumns * sizeof(Datum));
	bool	   *nulls = palloc(node->ncolumns * sizeof(bool));

	for (int i = 0; i < node->ncolumns; i++)
	{
		GoflowRef	ref = {.kind = GOFLOW_REF_NODE, .node = node, .field = i};

		values[i] = goflow_reference_value(ex, frame, NULL, &ref, &nulls[i]);
	}
	return goflow_values_to_jsonb(node->columns, node->ncolumns, values, nulls);
}

/* Nodes that ran side by side are numbered as they began, so the clock says who was first. */
static bool
ended_before(const GoflowNodeRun *a, const GoflowNodeRun *b)
{
	return a->ended_at != b->ended_at ? a->ended_at < b->ended_at : a->seq < b->seq;
}

/*
 * The result of a join over the edges that were taken, in the order in which
 * "after" names them: merge (one object, the later wins), array, first or last
 * to end.  NULL if no edge was taken.
 */
Jsonb *
goflow_cascade_aggregate(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	MemoryContext old = MemoryContextSwitchTo(frame->context);
	List	   *objects = NIL;
	GoflowNodeRun *best = NULL;
	Jsonb	   *result = NULL;

	for (int i = 0; i < node->nin; i++)
	{
		GoflowNode *from = node->in[i].from;
		GoflowNodeRun *run = goflow_run(frame, from);
		Jsonb	   *object;

		if (!is_taken(frame, &node->in[i]))
			continue;
		object = node_to_jsonb(ex, frame, from);
		switch (node->aggregate)
		{
			case GOFLOW_AGGREGATE_MERGE:
				result = result == NULL ? object :
					DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(result),
													   JsonbPGetDatum(object)));
				break;
			case GOFLOW_AGGREGATE_ARRAY:
				objects = lappend(objects, object);
				break;
			case GOFLOW_AGGREGATE_FIRST:
			case GOFLOW_AGGREGATE_LAST:
				if (best == NULL ||
					(node->aggregate == GOFLOW_AGGREGATE_FIRST ? ended_before(run, best) :
					 ended_before(best, run)))
				{
					result = object;
					best = run;
				}
				break;
			case GOFLOW_AGGREGATE_NONE:
				break;
		}
	}
	if (node->aggregate == GOFLOW_AGGREGATE_ARRAY)
		result = goflow_jsonb_array(objects);
	MemoryContextSwitchTo(old);
	return result;
}
