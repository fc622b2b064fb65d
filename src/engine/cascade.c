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
 * An edge is taken when its source completed through the edge's port.  Edges
 * from nodes that the execution's entry does not reach do not count.  Skipping
 * cascades; a list of work instead of recursion bounds the stack.
 */
#include "postgres.h"

#include "engine/state.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

static bool
has_ended(const GoflowNodeRun *run)
{
	return run->state == GOFLOW_NODE_COMPLETED || run->state == GOFLOW_NODE_FAILED ||
		run->state == GOFLOW_NODE_CANCELLED || run->state == GOFLOW_NODE_SKIPPED;
}

static bool
is_taken(GoflowExecution *ex, const GoflowEdge *edge)
{
	GoflowNodeRun *run = &ex->now.runs[edge->from->position];

	return run->reachable && run->state == GOFLOW_NODE_COMPLETED &&
		(edge->port < 0 || edge->port == run->port);
}

static void
make_ready(GoflowExecution *ex, GoflowNode *node)
{
	GoflowVarying *now = &ex->now;

	now->runs[node->position].state = GOFLOW_NODE_QUEUED;
	now->ready[(now->ready_head + now->ready_count++) % ex->body->nnodes] = node->position;
}

static void
cancel_node(GoflowExecution *ex, GoflowNode *node)
{
	GoflowNodeRun *run = &ex->now.runs[node->position];

	if (run->state == GOFLOW_NODE_RUNNING && !run->to_offer)
	{
		MemoryContext old = MemoryContextSwitchTo(ex->context);
		GoflowInstance *instance = palloc0(sizeof(GoflowInstance));

		instance->execution_id = ex->row->id;
		instance->node = node->index;
		instance->attempt = run->attempt;
		ex->withdrawn = lappend(ex->withdrawn, instance);
		MemoryContextSwitchTo(old);
	}
	if (run->timer && run->timer->due_at != 0 && ItemPointerIsValid(&run->timer->tid))
		goflow_writes_add(ex->writes, &ex->writes->fired, run->timer);
	run->to_offer = false;
	goflow_execution_record(ex, node, GOFLOW_NODE_CANCELLED, 0, 0, NULL);
}

/*
 * Cancels what still leads to a join that needs no more: nodes that have not
 * ended and whose every way on leads to the join or to another such node.
 */
static void
cancel_rest(GoflowExecution *ex, GoflowNode *join)
{
	bool	   *rest = palloc0(ex->body->nnodes * sizeof(bool));

	for (int i = join->position - 1; i >= 0; i--)
	{
		GoflowNode *node = ex->body->nodes[i];
		bool		leads_elsewhere = false;

		if (node->nout == 0 || !ex->now.runs[i].reachable || has_ended(&ex->now.runs[i]))
			continue;
		for (int j = 0; j < node->nout && !leads_elsewhere; j++)
			leads_elsewhere = node->out[j].to != join && !rest[node->out[j].to->position];
		if (leads_elsewhere)
			continue;
		rest[i] = true;
		cancel_node(ex, node);
	}
	pfree(rest);
}

/* Decides about a node that is idle; true if it was skipped. */
static bool
settle(GoflowExecution *ex, GoflowNode *node)
{
	GoflowNodeRun *run = &ex->now.runs[node->position];
	int			edges = 0;
	int			taken = 0;
	int			pending = 0;

	if (run->state != GOFLOW_NODE_IDLE || !run->reachable)
		return false;

	for (int i = 0; i < node->nin; i++)
	{
		GoflowNodeRun *from = &ex->now.runs[node->in[i].from->position];

		if (!from->reachable)
			continue;
		edges++;
		if (!has_ended(from))
		{
			pending++;
			if (node->join == GOFLOW_JOIN_ALL)
				return false;
		}
		else if (is_taken(ex, &node->in[i]))
			taken++;
	}

	if (edges == 0)
		make_ready(ex, node);	/* an entry */
	else if (node->join == GOFLOW_JOIN_ALL ? taken > 0 : taken >= node->join_count)
	{
		make_ready(ex, node);
		if (node->cancel_rest)
			cancel_rest(ex, node);
	}
	else if (node->join == GOFLOW_JOIN_ALL || taken + pending < node->join_count)
	{
		goflow_execution_record(ex, node, GOFLOW_NODE_SKIPPED, 0, 0, NULL);
		return true;
	}
	return false;
}

/* Settles the successors of a node that has ended, and theirs where they are skipped. */
void
goflow_cascade_ended(GoflowExecution *ex, GoflowNode *node)
{
	GoflowNode **work;
	int			nwork = 0;

	if (node->nout == 0)
		return;
	work = palloc(ex->body->nnodes * sizeof(GoflowNode *));
	work[nwork++] = node;
	while (nwork > 0)
	{
		GoflowNode *source = work[--nwork];

		for (int i = 0; i < source->nout; i++)
			if (settle(ex, source->out[i].to))
				work[nwork++] = source->out[i].to;
	}
	pfree(work);
}

/* Settles every idle node: at the entry, and after loading. */
void
goflow_cascade_settle_all(GoflowExecution *ex)
{
	/* in topological order, so one pass finds everything */
	for (int i = 0; i < ex->body->nnodes; i++)
		(void) settle(ex, ex->body->nodes[i]);
}

/* Takes the next ready node, or NULL. */
GoflowNode *
goflow_cascade_next(GoflowExecution *ex)
{
	GoflowVarying *now = &ex->now;

	while (now->ready_count > 0)
	{
		GoflowNode *node = ex->body->nodes[now->ready[now->ready_head]];

		now->ready_head = (now->ready_head + 1) % ex->body->nnodes;
		now->ready_count--;
		/* it may have been cancelled while it was in the list */
		if (now->runs[node->position].state == GOFLOW_NODE_QUEUED)
			return node;
	}
	return NULL;
}

/* Undoes goflow_cascade_next(). */
void
goflow_cascade_put_back(GoflowExecution *ex, GoflowNode *node)
{
	GoflowVarying *now = &ex->now;

	now->ready_head = (now->ready_head + ex->body->nnodes - 1) % ex->body->nnodes;
	now->ready[now->ready_head] = node->position;
	now->ready_count++;
}

/* Ends the execution early: what has not ended is cancelled. */
void
goflow_cascade_stop(GoflowExecution *ex, char state, Jsonb *error)
{
	for (int i = 0; i < ex->body->nnodes; i++)
	{
		GoflowNodeRun *run = &ex->now.runs[i];

		if (run->reachable && !has_ended(run))
			cancel_node(ex, ex->body->nodes[i]);
	}
	ex->now.ready_count = 0;
	ex->now.state = state;
	ex->now.error = error;
}

static Jsonb *
node_to_jsonb(GoflowExecution *ex, GoflowNode *node)
{
	Datum	   *values = palloc(node->ncolumns * sizeof(Datum));
	bool	   *nulls = palloc(node->ncolumns * sizeof(bool));

	for (int i = 0; i < node->ncolumns; i++)
	{
		GoflowRef	ref = {.kind = GOFLOW_REF_NODE, .node = node, .field = i};

		values[i] = goflow_execution_value(ex, &ref, &nulls[i]);
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
goflow_cascade_aggregate(GoflowExecution *ex, GoflowNode *node)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);
	Datum	   *objects = palloc(Max(node->nin, 1) * sizeof(Datum));
	int			nobjects = 0;
	GoflowNodeRun *best = NULL;
	Jsonb	   *result = NULL;

	for (int i = 0; i < node->nin; i++)
	{
		GoflowNode *from = node->in[i].from;
		GoflowNodeRun *run = &ex->now.runs[from->position];
		Jsonb	   *object;

		if (!is_taken(ex, &node->in[i]))
			continue;
		object = node_to_jsonb(ex, from);
		switch (node->aggregate)
		{
			case GOFLOW_AGGREGATE_MERGE:
				result = result == NULL ? object :
					DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(result),
													   JsonbPGetDatum(object)));
				break;
			case GOFLOW_AGGREGATE_ARRAY:
				objects[nobjects++] = JsonbPGetDatum(object);
				break;
			case GOFLOW_AGGREGATE_FIRST:
				if (best == NULL || ended_before(run, best))
				{
					result = object;
					best = run;
				}
				break;
			case GOFLOW_AGGREGATE_LAST:
				if (best == NULL || ended_before(best, run))
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
	{
		GoflowField field = {.name = "a", .type = JSONBARRAYOID};
		Datum		array = PointerGetDatum(construct_array(objects, nobjects, JSONBOID, -1, false,
															TYPALIGN_INT));
		bool		isnull = false;
		Jsonb	   *object = goflow_values_to_jsonb(&field, 1, &array, &isnull);

		result = DatumGetJsonbP(DirectFunctionCall2(jsonb_object_field, JsonbPGetDatum(object),
													CStringGetTextDatum("a")));
	}
	MemoryContextSwitchTo(old);
	return result;
}
