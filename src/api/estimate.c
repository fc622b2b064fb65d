/*
 * estimate.c
 *		estimated_time_remaining(): how long an execution will go on.
 *
 * What nodes take is the median of the last executions of the same version by
 * the same role; one that was skipped took nothing.  What is left is the longest
 * way through the nodes that have not ended: a node that runs counts with what
 * it has left of its median, a loop that runs with what its iterations took so
 * far, one that waits for a moment with the time until then.
 *
 * Medians are kept for some seconds, so that who draws a bar can ask often.
 */
#include "postgres.h"

#include "api/api.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "process/process.h"

PG_FUNCTION_INFO_V1(goflow_estimated_time_remaining);

/* Executions that are looked at, and nodes of them in all. */
#define MAX_HISTORY 20
#define MIN_HISTORY 3
#define MAX_HISTORY_NODES 20000

#define KEEP_US (10 * USECS_PER_SEC)
#define LONG_US INT64CONST(5000)
#define MAX_KEPT 100

typedef struct HistoryKey
{
	int32		workflow_id;
	Oid			role;
} HistoryKey;

typedef struct History
{
	HistoryKey	key;
	TimestampTz at;				/* when it was made */
	bool		is_kept;		/* it says enough, or was long in the making */
	int			nexecutions;
	int64	   *medians;		/* by position in the workflow's own body, microseconds */
} History;

static MemoryContext context = NULL;
static HTAB *histories = NULL;

static int
compare_int64(const void *a, const void *b)
{
	int64		left = *(const int64 *) a;
	int64		right = *(const int64 *) b;

	return left < right ? -1 : left > right;
}

static int64
median(int64 *values, int n)
{
	if (n == 0)
		return 0;
	qsort(values, n, sizeof(int64), compare_int64);
	return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* What each node of an execution took, all attempts together, waiting between them too. */
static void
read_durations(const GoflowExecutionRow *execution, GoflowDefinition *definition, int64 *durations)
{
	int			n = Max(definition->body->nnodes, 1);
	TimestampTz *starts = palloc0(n * sizeof(TimestampTz));
	TimestampTz *ends = palloc0(n * sizeof(TimestampTz));
	ListCell   *lc;

	foreach(lc, goflow_journal_read_frame(execution, 0))
	{
		GoflowNodeRow *row = lfirst(lc);
		int			position = definition->nodes[row->node]->position;

		if (row->state == GOFLOW_NODE_SKIPPED || row->state == GOFLOW_NODE_CANCELLED)
			continue;
		if (starts[position] == 0 || row->started_at < starts[position])
			starts[position] = row->started_at;
		ends[position] = Max(ends[position], row->finished_at);
	}
	for (int i = 0; i < n; i++)
		durations[i] = ends[i] - starts[i];
}

static void
read_history(History *history, GoflowDefinition *definition)
{
	int			nnodes = Max(definition->body->nnodes, 1);
	int			max = Max(MIN_HISTORY, Min(MAX_HISTORY, MAX_HISTORY_NODES / nnodes));
	pg_uuid_t  *ids = palloc(max * sizeof(pg_uuid_t));
	int			nids = goflow_execution_last_completed(history->key.workflow_id, history->key.role, ids, max);
	int64	   *durations = palloc((Size) Max(nids, 1) * nnodes * sizeof(int64));
	int64	   *of_node = palloc(Max(nids, 1) * sizeof(int64));
	int			n = 0;

	for (int i = 0; i < nids; i++)
	{
		GoflowExecutionRow *row = goflow_execution_read(&ids[i]);

		CHECK_FOR_INTERRUPTS();
		if (row)
			read_durations(row, definition, &durations[n++ * nnodes]);
	}
	history->nexecutions = n;
	for (int position = 0; position < nnodes; position++)
	{
		for (int i = 0; i < n; i++)
			of_node[i] = durations[i * nnodes + position];
		history->medians[position] = median(of_node, n);
	}
}

static History *
get_history(GoflowExecutionRow *row, GoflowDefinition *definition)
{
	HistoryKey	key = {row->workflow_id, row->run_as};
	TimestampTz now = GetCurrentTimestamp();
	History		fresh = {.key = key, .at = now};
	History    *history;

	if (histories && hash_get_num_entries(histories) >= MAX_KEPT)
	{
		MemoryContextReset(context);
		histories = NULL;
	}
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "goflow estimates", ALLOCSET_SMALL_SIZES);
	if (histories == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(HistoryKey), .entrysize = sizeof(History), .hcxt = context};

		histories = hash_create("goflow estimates", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	history = hash_search(histories, &key, HASH_FIND, NULL);
	if (history && history->is_kept && now - history->at < KEEP_US)
		return history;

	/* an error while it is read leaves what was there */
	fresh.medians = history ? history->medians :
		MemoryContextAllocZero(context, Max(definition->body->nnodes, 1) * sizeof(int64));
	read_history(&fresh, definition);
	/* what is not known yet may be at any moment */
	fresh.is_kept = fresh.nexecutions >= MIN_HISTORY ||
		(fresh.nexecutions > 0 && GetCurrentTimestamp() - now > LONG_US);
	history = hash_search(histories, &key, HASH_ENTER, NULL);
	*history = fresh;
	return history;
}

/* ---- what is left ---- */

typedef struct Left
{
	int64	   *time;			/* by position, microseconds; -1: it has ended */
	TimestampTz now;
} Left;

/* A node that has begun: what it waits for, or its iterations, say more than the past. */
static int64
left_of_pending(const GoflowPendingRow *pending, int64 usual, TimestampTz now)
{
	int64		elapsed = now - pending->started_at;

	if ((pending->kind == GOFLOW_PENDING_DELAY || pending->kind == GOFLOW_PENDING_RETRY) &&
		pending->due_at != 0)
		return Max(pending->due_at - now, 0) + (pending->kind == GOFLOW_PENDING_RETRY ? usual : 0);
	if (pending->kind == GOFLOW_PENDING_BODIES && pending->count > 0 && pending->ended > 0 &&
		pending->phase == 0)
		return (int64) ((double) elapsed / pending->ended * (pending->count - pending->ended));
	return Max(usual - elapsed, 0);
}

static Left
read_left(GoflowExecutionRow *row, GoflowDefinition *definition, const int64 *medians)
{
	GoflowBody *body = definition->body;
	bool	   *retried = goflow_execution_retried(row, definition->nnodes);
	bool	   *reachable = palloc(Max(body->nnodes, 1) * sizeof(bool));
	int16	   *attempts = palloc0(Max(body->nnodes, 1) * sizeof(int16));
	Left		left = {.now = GetCurrentTimestamp()};
	GoflowInstance *instances = palloc(GOFLOW_MAX_INSTANCES * sizeof(GoflowInstance));
	int			ninstances = goflow_queue_instances(&row->id, instances, GOFLOW_MAX_INSTANCES);
	ListCell   *lc;

	(void) goflow_graph_reach(body, row->entry, reachable);
	left.time = palloc(Max(body->nnodes, 1) * sizeof(int64));
	for (int i = 0; i < body->nnodes; i++)
		left.time[i] = reachable[i] ? medians[i] : -1;
	/* the nodes of bodies are part of what the nodes around them take */
	foreach(lc, goflow_journal_read_frame(row, 0))
	{
		GoflowNodeRow *entry = lfirst(lc);
		int			position = definition->nodes[entry->node]->position;

		if (retried[entry->node] && entry->seq <= row->retry_seq)
			continue;
		attempts[position] = Max(attempts[position], entry->attempt);
		left.time[position] = -1;
	}
	for (int i = 0; i < ninstances; i++)
	{
		int			position = definition->nodes[instances[i].node]->position;

		if (instances[i].frame == 0 && instances[i].attempt > attempts[position])
			left.time[position] = Max(medians[position] - (instances[i].started_at == 0 ? 0 :
														   left.now - instances[i].started_at), 0);
	}
	foreach(lc, goflow_pending_read(&row->id))
	{
		GoflowPendingRow *pending = lfirst(lc);

		if (pending->frame == 0 && pending->node >= 0)
		{
			int			position = definition->nodes[pending->node]->position;

			left.time[position] = left_of_pending(pending, medians[position], left.now);
		}
	}
	return left;
}

/* The longest way: nodes are in topological order. */
static int64
longest_way(GoflowBody *body, const Left *left)
{
	int64	   *until_end = palloc0(Max(body->nnodes, 1) * sizeof(int64));
	int64		longest = 0;

	for (int i = body->nnodes - 1; i >= 0; i--)
	{
		GoflowNode *node = body->nodes[i];

		for (int j = 0; j < node->nout; j++)
			until_end[i] = Max(until_end[i], until_end[node->out[j].to->position]);
		if (left->time[i] >= 0)
			until_end[i] += left->time[i];
		longest = Max(longest, until_end[i]);
	}
	return longest;
}

bool
goflow_api_estimate(GoflowExecutionRow *row, int64 *microseconds)
{
	GoflowDefinition *definition = goflow_workflow_load(row->workflow_id);
	History    *history;
	Left		left;

	*microseconds = 0;
	if (goflow_execution_is_finished(row->state))
		return true;
	if (row->state == GOFLOW_EXECUTION_PAUSED)
		return false;
	history = get_history(row, definition);
	if (history->nexecutions == 0)
		return false;
	left = read_left(row, definition, history->medians);
	*microseconds = longest_way(definition->body, &left);
	return true;
}

/*
 * estimated_time_remaining(execution uuid) returns interval
 *
 * Zero when it has finished; NULL while it is paused, and without a completed
 * execution of the same version by the same role.
 */
Datum
goflow_estimated_time_remaining(PG_FUNCTION_ARGS)
{
	int64		microseconds;

	if (!goflow_api_estimate(goflow_api_execution(PG_GETARG_UUID_P(0)), &microseconds))
		PG_RETURN_NULL();
	return goflow_api_interval(microseconds);
}
