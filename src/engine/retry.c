/*
 * retry.c
 *		An execution that has finished goes on: retry().
 *
 * What is to run again is decided once, for the nodes of the workflow's own
 * body, and stored in the execution's row: their numbers, and the seq up to
 * which their journal does not count (retried, retry_seq).  From then on the
 * execution is loaded like any other, with these nodes as if they had not run;
 * their attempts go on counting.  The journal loses nothing.
 *
 * To run again are
 *
 *	-	what ended the execution: nodes that failed where nobody handled it, and
 *		nodes that were cancelled then.  Of a partial execution it is the
 *		failures that made it partial;
 *	-	what has been undone by "compensate".  One whose undo failed has its
 *		effect still, and is kept;
 *	-	the nodes that the caller names;
 *	-	whatever comes after one of these, so that no result that is kept rests
 *		on one that is not.
 *
 * A node with bodies is one of these nodes, and runs again as a whole.
 * Variables have the values that nodes which are kept gave them.
 */
#include "postgres.h"

#include "engine/state.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* How the nodes of the workflow's own body ended, and what becomes of them. */
typedef struct Retry
{
	GoflowExecution *ex;
	GoflowBody *body;
	bool	   *reachable;		/* by position, all of these */
	int16	   *attempts;		/* the last one; 0: none */
	char	   *states;			/* of the last attempt */
	int16	   *ports;
	bool	   *inner_failures; /* a failure inside of it was gone on after */
	HTAB	   *inner;			/* Inner, of nodes inside whose failure makes it partial */
	bool	   *again;
	int32		last_seq;
	int32		last_frame;
} Retry;

typedef struct InnerKey
{
	int32		frame;
	int32		node;
} InnerKey;

typedef struct Inner
{
	InnerKey	key;
	int16		attempt;		/* the last one */
	bool		failed;
} Inner;

/* The node of the workflow's own body that a node is, or is inside of. */
static GoflowNode *
outermost(GoflowNode *node)
{
	while (node->body->owner)
		node = node->body->owner;
	return node;
}

/* ---- what the journal says ---- */

static void
look_at_inner(Retry *retry, const GoflowNodeRow *row)
{
	InnerKey	key = {row->frame, row->node};
	Inner	   *inner;
	bool		found;

	/* what was before an earlier retry was its affair */
	if (row->seq <= retry->ex->row->retry_seq ||
		!goflow_failure_makes_partial(retry->ex->definition->nodes[row->node]))
		return;
	inner = hash_search(retry->inner, &key, HASH_ENTER, &found);
	if (!found || inner->attempt < row->attempt)
	{
		inner->attempt = row->attempt;
		inner->failed = row->state == GOFLOW_NODE_FAILED;
	}
}

static void
look_at_entry(const GoflowNodeRow *row, void *arg)
{
	Retry	   *retry = arg;
	int			position = retry->ex->definition->nodes[row->node]->position;

	retry->last_seq = Max(retry->last_seq, row->seq);
	retry->last_frame = Max(retry->last_frame, row->frame);
	if (row->frame > 0)
		look_at_inner(retry, row);
	else if (row->attempt > retry->attempts[position])
	{
		retry->attempts[position] = row->attempt;
		retry->states[position] = row->state;
		retry->ports[position] = row->port;
	}
}

static void
read_journal(Retry *retry)
{
	HASHCTL		ctl = {.keysize = sizeof(InnerKey), .entrysize = sizeof(Inner), .hcxt = CurrentMemoryContext};
	HASH_SEQ_STATUS status;
	Inner	   *inner;

	retry->inner = hash_create("goflow retry", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	goflow_journal_each(retry->ex->row, look_at_entry, retry);
	hash_seq_init(&status, retry->inner);
	while ((inner = hash_seq_search(&status)) != NULL)
		if (inner->failed)
			retry->inner_failures[outermost(retry->ex->definition->nodes[inner->key.node])->position] = true;
	hash_destroy(retry->inner);
	retry->last_seq = Max(retry->last_seq, goflow_variable_last_seq(retry->ex->row));
	retry->last_seq = Max(retry->last_seq, 1);	/* 0 stands for no retry */
}

/* ---- what is to run again ---- */

static int
taken_edges(Retry *retry, GoflowNode *node)
{
	int			taken = 0;

	for (int i = 0; i < node->nin; i++)
	{
		GoflowEdge *edge = &node->in[i];
		int			from = edge->from->position;

		if (!retry->reachable[from])
			continue;
		if (retry->states[from] == GOFLOW_NODE_FAILED)
			taken += edge->port < 0 && goflow_failure_continues(edge->from);
		else
			taken += retry->states[from] == GOFLOW_NODE_COMPLETED &&
				(edge->port < 0 || edge->port == retry->ports[from]);
	}
	return taken;
}

/* Marks the nodes that were cancelled only because a join needed no more of them. */
static void
find_rest(Retry *retry, bool *rest)
{
	for (int i = retry->body->nnodes - 1; i >= 0; i--)
	{
		GoflowNode *node = retry->body->nodes[i];

		rest[i] = node->nout > 0 && retry->states[i] == GOFLOW_NODE_CANCELLED;
		for (int j = 0; j < node->nout && rest[i]; j++)
		{
			GoflowNode *to = node->out[j].to;

			rest[i] = rest[to->position] ||
				(to->cancel_rest && to->join == GOFLOW_JOIN_COUNT && to->type != GOFLOW_TYPE_PARALLEL &&
				 taken_edges(retry, to) >= to->join_count);
		}
	}
}

/* What ended the execution, or made it partial. */
static void
mark_causes(Retry *retry)
{
	bool		is_partial = retry->ex->row->state == GOFLOW_EXECUTION_PARTIAL;
	bool	   *rest = palloc0(Max(retry->body->nnodes, 1) * sizeof(bool));

	find_rest(retry, rest);
	for (int i = 0; i < retry->body->nnodes; i++)
	{
		GoflowNode *node = retry->body->nodes[i];

		if (retry->states[i] == GOFLOW_NODE_FAILED)
			retry->again[i] = is_partial ? goflow_failure_makes_partial(node) :
				!goflow_failure_is_handled(node);
		else if (retry->states[i] == GOFLOW_NODE_CANCELLED)
			retry->again[i] = !rest[i];
		if (is_partial)
			retry->again[i] |= retry->inner_failures[i];
	}
}

/*
 * What has been undone must be done again.  An undo that failed was rolled
 * back: should the execution fail again, it is tried again.
 */
static void
mark_undone(Retry *retry, List *compensations)
{
	ListCell   *lc;

	foreach(lc, compensations)
	{
		GoflowCompensationRow *row = lfirst(lc);

		if (row->done_at != 0 && row->error == NULL)
			retry->again[outermost(retry->ex->definition->nodes[row->node])->position] = true;
	}
}

/* Where the caller says; the names were checked when he said it. */
static void
mark_named(Retry *retry)
{
	ListCell   *lc;

	foreach(lc, retry->ex->retry_from)
	{
		GoflowNode *node = lfirst(lc) ? goflow_definition_find_node(retry->body, lfirst(lc)) : NULL;

		if (node)
			retry->again[node->position] = true;
	}
}

/* In topological order, so one pass finds all that comes after. */
static void
mark_followers(Retry *retry)
{
	for (int i = 0; i < retry->body->nnodes; i++)
	{
		GoflowNode *node = retry->body->nodes[i];
		ListCell   *lc;

		for (int j = 0; j < node->nin && !retry->again[i]; j++)
			retry->again[i] = retry->again[node->in[j].from->position];
		foreach(lc, node->failures)
			retry->again[i] |= retry->again[((GoflowNode *) lfirst(lc))->position];
		retry->again[i] &= retry->reachable[i];
	}
}

/* ---- going on ---- */

static ArrayType *
make_retried(Retry *retry)
{
	Datum	   *nodes = palloc(Max(retry->body->nnodes, 1) * sizeof(Datum));
	int			n = 0;

	for (int i = 0; i < retry->body->nnodes; i++)
		if (retry->again[i])
			nodes[n++] = Int16GetDatum(retry->body->nodes[i]->index);
	return construct_array(nodes, n, INT2OID, sizeof(int16), true, TYPALIGN_SHORT);
}

/* Of an assignment, by the number of a node: is it one that is kept?  -1: a first value. */
static bool
is_kept(int node, void *arg)
{
	Retry	   *retry = arg;

	return node < 0 || !retry->again[outermost(retry->ex->definition->nodes[node])->position];
}

/* Gives a variable the last value that it has from a node that is kept. */
static void
restore_variable(Retry *retry, int number)
{
	GoflowExecution *ex = retry->ex;
	GoflowVariableRow *last = goflow_variable_read(ex->row, number, 0);
	GoflowVariableRow *kept;

	if (last == NULL || is_kept(last->node, retry))
		return;
	kept = goflow_variable_read_if(ex->row, number, 0, is_kept, retry);
	if (kept)
		goflow_variable_assign(ex, ex->root, number,
							   kept->node < 0 ? NULL : ex->definition->nodes[kept->node],
							   kept->value == NULL ? (Datum) 0 :
							   goflow_value_decode(&ex->definition->variables[number],
												   text_to_cstring(kept->value)),
							   kept->value == NULL);
}

/* It ended before its variables had their first values. */
static bool
never_began(GoflowExecution *ex)
{
	GoflowBody *body = ex->definition->body;

	return body->nvariables > 0 && goflow_variable_read(ex->row, body->first_variable, 0) == NULL;
}

/* Is nothing in it open?  An execution that could not be loaded any more failed as it stood. */
static bool
is_closed(const pg_uuid_t *id)
{
	return goflow_frames_read(id) == NIL && goflow_pending_read(id) == NIL;
}

static void
decide(Retry *retry, List *compensations)
{
	GoflowExecution *ex = retry->ex;

	mark_causes(retry);
	mark_undone(retry, compensations);
	mark_named(retry);
	mark_followers(retry);
	ex->row->retried = make_retried(retry);
	ex->row->retry_seq = retry->last_seq;
}

static void
go_on(Retry *retry, List *compensations)
{
	GoflowExecution *ex = retry->ex;
	ListCell   *lc;

	ex->now.seq = Max(ex->now.seq, retry->last_seq);
	ex->now.next_frame = Max(ex->now.next_frame, retry->last_frame + 1);
	for (int i = 0; i < retry->body->nnodes; i++)
		ex->now.is_partial |= retry->inner_failures[i] && !retry->again[i];
	if (ex->started)
	{
		for (int i = 0; i < retry->body->nvariables; i++)
			restore_variable(retry, retry->body->first_variable + i);
		goflow_execution_begin_timeout(ex);
	}
	foreach(lc, compensations)
	{
		GoflowCompensationRow *row = lfirst(lc);

		if (row->error == NULL)
			continue;
		row->done_at = 0;
		row->error = NULL;
		goflow_writes_add(ex->writes, GOFLOW_WRITE_COMPENSATION, row);
	}
}

void
goflow_retry_begin(GoflowExecution *ex)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);
	GoflowBody *body = ex->definition->body;
	int			n = Max(body->nnodes, 1);
	Retry		retry = {.ex = ex, .body = body};
	TimestampTz started_at;
	bool		closed = is_closed(&ex->row->id);
	List	   *compensations = goflow_compensations_read(&ex->row->id);

	retry.reachable = palloc(n * sizeof(bool));
	(void) goflow_graph_reach(body, ex->row->entry, retry.reachable);
	retry.attempts = palloc0(n * sizeof(int16));
	retry.states = palloc0(n);
	retry.ports = palloc0(n * sizeof(int16));
	retry.again = palloc0(n * sizeof(bool));
	retry.inner_failures = palloc0(n * sizeof(bool));
	read_journal(&retry);
	if (closed)
		decide(&retry, compensations);
	started_at = ex->row->started_at;
	if (never_began(ex))
		ex->row->started_at = 0;
	goflow_execution_load_state(ex, NULL, 0);
	goflow_history_watch(ex);
	goflow_history_restart(ex, started_at);
	if (closed)
		go_on(&retry, compensations);

	ex->inactive = false;
	ex->now.state = GOFLOW_EXECUTION_RUNNING;
	ex->row->finished_at = 0;
	ex->row->output = NULL;
	ex->row->error = NULL;
	ex->row_changed = true;
	MemoryContextSwitchTo(old);
}
