/*
 * timeline.c
 *		timeline(): what ran when, and what each node waited for before.
 *
 * All of it follows from the journal and the definition.  A node is ready when
 * the last of the nodes before it has ended; one that the workflow begins with
 * is ready when the execution was created.  From then to its start it waits for
 * a worker.  The critical path leads from the node that ended last to the one
 * before it that ended last, and so on: what is on it made the execution last
 * as long as it did.
 */
#include "postgres.h"

#include "api/api.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(goflow_timeline);

/* Of the nodes of the workflow's own body: when they ended, in their last attempt. */
typedef struct Ends
{
	TimestampTz *at;			/* by position; 0: it has not */
	bool	   *critical;
} Ends;

/* Skipped, or cancelled before it began: there is nothing to show. */
static bool
has_run(const GoflowNodeRow *row)
{
	return row->started_at != 0 && row->state != GOFLOW_NODE_SKIPPED &&
		!(row->state == GOFLOW_NODE_CANCELLED && row->started_at == row->finished_at);
}

/* The node before that ended last; NULL: none did. */
static GoflowNode *
last_before(GoflowNode *node, const TimestampTz *ends)
{
	GoflowNode *last = NULL;
	ListCell   *lc;

	for (int i = 0; i < node->nin; i++)
	{
		GoflowNode *from = node->in[i].from;

		if (ends[from->position] != 0 && (last == NULL || ends[from->position] > ends[last->position]))
			last = from;
	}
	foreach(lc, node->failures)
	{
		GoflowNode *from = lfirst(lc);

		if (ends[from->position] != 0 && (last == NULL || ends[from->position] > ends[last->position]))
			last = from;
	}
	return last;
}

static Ends
find_ends(GoflowExecutionRow *row, GoflowDefinition *definition, List *rows)
{
	GoflowBody *body = definition->body;
	int			n = Max(body->nnodes, 1);
	bool	   *retried = goflow_execution_retried(row, definition->nnodes);
	Ends		ends = {.at = palloc0(n * sizeof(TimestampTz)), .critical = palloc0(n * sizeof(bool))};
	GoflowNode *last = NULL;
	ListCell   *lc;

	foreach(lc, rows)
	{
		GoflowNodeRow *entry = lfirst(lc);
		int			position = definition->nodes[entry->node]->position;

		if (entry->frame == 0 && has_run(entry) && entry->finished_at != 0 &&
			!(retried[entry->node] && entry->seq <= row->retry_seq))
			ends.at[position] = Max(ends.at[position], entry->finished_at);
	}
	for (int i = 0; i < body->nnodes; i++)
		if (ends.at[i] != 0 && (last == NULL || ends.at[i] > ends.at[last->position]))
			last = body->nodes[i];
	for (; last; last = last_before(last, ends.at))
		ends.critical[last->position] = true;
	return ends;
}

static int
by_start(const ListCell *a, const ListCell *b)
{
	const GoflowNodeRow *left = lfirst(a);
	const GoflowNodeRow *right = lfirst(b);

	if (left->started_at != right->started_at)
		return left->started_at < right->started_at ? -1 : 1;
	return left->seq < right->seq ? -1 : left->seq > right->seq;
}

/*
 * timeline(execution uuid) returns setof (node, type, frame, attempt, state,
 * ready_at, started_at, finished_at, queue_wait, duration, critical)
 *
 * What ran or runs, in the order in which it began.  ready_at and queue_wait
 * are NULL for nodes in bodies and for later attempts; finished_at is NULL as
 * long as it runs, and duration goes on.
 */
Datum
goflow_timeline(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	GoflowExecutionRow *row = goflow_api_execution(PG_GETARG_UUID_P(0));
	GoflowDefinition *definition = goflow_workflow_load(row->workflow_id);
	List	   *rows = goflow_api_entries(row);
	Ends		ends = find_ends(row, definition, rows);
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	list_sort(rows, by_start);
	foreach(lc, rows)
	{
		GoflowNodeRow *entry = lfirst(lc);
		GoflowNode *node = definition->nodes[entry->node];
		TimestampTz ready_at = 0;
		Datum		values[11] = {0};
		bool		nulls[11] = {0};

		CHECK_FOR_INTERRUPTS();
		if (!has_run(entry))
			continue;
		if (entry->frame == 0 && entry->attempt == 1)
		{
			GoflowNode *before = last_before(node, ends.at);

			ready_at = before ? ends.at[before->position] : row->created_at;
			/* a join that did not wait for all, or one of before a retry */
			ready_at = Min(ready_at, entry->started_at);
		}
		values[0] = CStringGetTextDatum(node->path);
		values[1] = CStringGetTextDatum(goflow_node_type_name(node->type));
		values[2] = Int32GetDatum(entry->frame);
		values[3] = Int32GetDatum(entry->attempt);
		values[4] = CStringGetTextDatum(goflow_state_name(entry->state));
		nulls[5] = ready_at == 0;
		values[5] = TimestampTzGetDatum(ready_at);
		values[6] = TimestampTzGetDatum(entry->started_at);
		nulls[7] = entry->finished_at == 0;
		values[7] = TimestampTzGetDatum(entry->finished_at);
		nulls[8] = ready_at == 0;
		values[8] = goflow_api_interval(entry->started_at - ready_at);
		values[9] = goflow_api_interval(Max((entry->finished_at ? entry->finished_at : now) -
											entry->started_at, 0));
		values[10] = BoolGetDatum(entry->frame == 0 && ends.critical[node->position] &&
								  entry->finished_at == ends.at[node->position]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
