/*
 * query.c
 *		progress(), nodes(), variables() and follow().
 */
#include "postgres.h"

#include "api/api.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/wait_event.h"

#include "live/live.h"
#include "process/process.h"

PG_FUNCTION_INFO_V1(goflow_progress);
PG_FUNCTION_INFO_V1(goflow_nodes);
PG_FUNCTION_INFO_V1(goflow_variables);
PG_FUNCTION_INFO_V1(goflow_follow);

/* follow() draws this often while something moves. */
#define FOLLOW_MS 100
#define BAR_WIDTH 30

/*
 * Progress of an execution: from its slot in shared memory while it is live,
 * else counted in the journal.  False: there is none yet.
 */
static bool
get_progress(GoflowExecutionRow *row, GoflowProgress *progress)
{
	ListCell   *lc;

	if (!goflow_execution_is_finished(row->state) && goflow_tracker_read(&row->id, progress))
		return progress->total > 0;
	if (row->state == GOFLOW_EXECUTION_QUEUED)
		return false;

	memset(progress, 0, sizeof(*progress));
	progress->current_node = -1;
	progress->workflow_id = row->workflow_id;
	foreach(lc, goflow_journal_read(&row->id))
	{
		GoflowNodeRow *node = lfirst(lc);

		if (node->state == GOFLOW_NODE_COMPLETED)
			progress->completed++;
		else if (node->state == GOFLOW_NODE_FAILED)
			progress->failed++;
		else
			progress->skipped++;
	}
	progress->total = progress->completed + progress->failed + progress->skipped;
	if (!goflow_execution_is_finished(row->state))
	{
		GoflowDefinition *definition = goflow_workflow_load(row->workflow_id);

		progress->total = goflow_graph_reach(definition->body, row->entry,
											 palloc(definition->body->nnodes * sizeof(bool)));
	}
	progress->percent = progress->total == 0 ? 100.0 :
		100.0 * (progress->completed + progress->failed + progress->skipped) / progress->total;
	return true;
}

/* progress(execution uuid) returns (total, completed, failed, skipped, current_node, percent) */
Datum
goflow_progress(PG_FUNCTION_ARGS)
{
	GoflowExecutionRow *row = goflow_api_execution(PG_GETARG_UUID_P(0));
	GoflowProgress progress;
	TupleDesc	tupdesc;
	Datum		values[6] = {0};
	bool		nulls[6];

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(nulls, true, sizeof(nulls));
	if (get_progress(row, &progress))
	{
		memset(nulls, false, sizeof(nulls));
		values[0] = Int32GetDatum(progress.total);
		values[1] = Int32GetDatum(progress.completed);
		values[2] = Int32GetDatum(progress.failed);
		values[3] = Int32GetDatum(progress.skipped);
		nulls[4] = progress.current_node < 0;
		if (!nulls[4])
			values[4] = CStringGetTextDatum(goflow_workflow_load(row->workflow_id)->
											nodes[progress.current_node]->path);
		values[5] = DirectFunctionCall2(numeric_round,
										DirectFunctionCall1(float8_numeric,
															Float8GetDatum(progress.percent)),
										Int32GetDatum(2));
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

static int
by_seq(const ListCell *a, const ListCell *b)
{
	const GoflowNodeRow *left = lfirst(a);
	const GoflowNodeRow *right = lfirst(b);

	return left->seq < right->seq ? -1 : left->seq > right->seq;
}

static GoflowNodeRow *
make_row(int32 frame, int16 node, int16 attempt, int32 seq, TimestampTz started_at, char state)
{
	GoflowNodeRow *row = palloc0(sizeof(GoflowNodeRow));

	row->frame = frame;
	row->node = node;
	row->attempt = attempt;
	row->seq = seq;
	row->started_at = started_at;
	row->state = state;
	return row;
}

static bool
is_listed(List *rows, int32 frame, int16 node, int16 attempt)
{
	ListCell   *lc;

	foreach(lc, rows)
	{
		GoflowNodeRow *row = lfirst(lc);

		if (row->frame == frame && row->node == node && row->attempt == attempt)
			return true;
	}
	return false;
}

static char
state_of_pending(char kind)
{
	switch (kind)
	{
		case GOFLOW_PENDING_BODIES:
			return GOFLOW_NODE_RUNNING;
		case GOFLOW_PENDING_RETRY:
			return GOFLOW_NODE_RETRYING;
		default:
			return GOFLOW_NODE_WAITING;
	}
}

/*
 * nodes(execution uuid) returns setof (node, type, frame, attempt, state,
 * output, error, started_at, finished_at, duration, seq)
 *
 * Every node instance that ended, waits or runs, in order; then those that
 * have not begun.
 */
Datum
goflow_nodes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	GoflowExecutionRow *row = goflow_api_execution(PG_GETARG_UUID_P(0));
	GoflowDefinition *definition = goflow_workflow_load(row->workflow_id);
	GoflowInstance *instances = palloc(GOFLOW_MAX_INSTANCES * sizeof(GoflowInstance));
	int			ninstances = 0;
	bool	   *seen = palloc0(definition->nnodes * sizeof(bool));
	List	   *rows;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (!goflow_execution_is_finished(row->state))
		ninstances = goflow_queue_instances(&row->id, instances, GOFLOW_MAX_INSTANCES);
	rows = goflow_journal_read(&row->id);
	foreach(lc, goflow_pending_read(&row->id))
	{
		GoflowPendingRow *pending = lfirst(lc);

		if (pending->node >= 0 && !is_listed(rows, pending->frame, pending->node, pending->attempt))
			rows = lappend(rows, make_row(pending->frame, pending->node, pending->attempt, PG_INT32_MAX,
										  pending->started_at, state_of_pending(pending->kind)));
	}
	for (int i = 0; i < ninstances; i++)
		if (!is_listed(rows, instances[i].frame, instances[i].node, instances[i].attempt))
			rows = lappend(rows, make_row(instances[i].frame, instances[i].node, instances[i].attempt,
										  instances[i].seq, instances[i].started_at,
										  GOFLOW_NODE_RUNNING));
	foreach(lc, rows)
	{
		GoflowNodeRow *known = lfirst(lc);

		if (known->frame == 0)
			seen[known->node] = true;
	}
	list_sort(rows, by_seq);
	if (!goflow_execution_is_finished(row->state))
		for (int i = 0; i < definition->nnodes; i++)
			if (definition->nodes[i]->body == definition->body && !seen[i])
				rows = lappend(rows, make_row(0, i, 0, PG_INT32_MAX, 0, GOFLOW_NODE_IDLE));

	foreach(lc, rows)
	{
		GoflowNodeRow *state = lfirst(lc);
		GoflowNode *node = definition->nodes[state->node];
		Datum		values[11] = {0};
		bool		nulls[11] = {0};

		CHECK_FOR_INTERRUPTS();
		values[0] = CStringGetTextDatum(node->path);
		values[1] = CStringGetTextDatum(goflow_node_type_name(node->type));
		values[2] = Int32GetDatum(state->frame);
		values[3] = Int32GetDatum(state->attempt);
		nulls[3] = state->attempt == 0;
		values[4] = CStringGetTextDatum(goflow_state_name(state->state));
		nulls[5] = state->output == NULL;
		if (state->output)
			values[5] = JsonbPGetDatum(goflow_display_values(node->columns, node->ncolumns, state->output));
		nulls[6] = state->error == NULL;
		values[6] = JsonbPGetDatum(state->error);
		nulls[7] = state->started_at == 0;
		values[7] = TimestampTzGetDatum(state->started_at);
		nulls[8] = state->finished_at == 0;
		values[8] = TimestampTzGetDatum(state->finished_at);
		nulls[9] = state->finished_at == 0;
		if (!nulls[9])
		{
			Interval   *duration = palloc0(sizeof(Interval));

			duration->time = state->duration;
			values[9] = IntervalPGetDatum(duration);
		}
		nulls[10] = state->seq == PG_INT32_MAX;
		values[10] = Int32GetDatum(state->seq);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * variables(execution uuid) returns setof (variable, type, value, node,
 * assigned_at, seq): every assignment, in order.
 */
Datum
goflow_variables(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	GoflowExecutionRow *row = goflow_api_execution(PG_GETARG_UUID_P(0));
	GoflowDefinition *definition = goflow_workflow_load(row->workflow_id);
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, goflow_variables_read(&row->id))
	{
		GoflowVariableRow *assigned = lfirst(lc);
		GoflowField *variable = &definition->variables[assigned->variable];
		Datum		values[6] = {0};
		bool		nulls[6] = {0};

		values[0] = CStringGetTextDatum(variable->name);
		values[1] = CStringGetTextDatum(variable->type_name);
		nulls[2] = assigned->value == NULL;
		if (assigned->value)
			values[2] = JsonbPGetDatum(goflow_display_value(variable, text_to_cstring(assigned->value)));
		nulls[3] = assigned->node < 0;
		if (!nulls[3])
			values[3] = CStringGetTextDatum(definition->nodes[assigned->node]->path);
		values[4] = TimestampTzGetDatum(assigned->assigned_at);
		values[5] = Int32GetDatum(assigned->seq);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static void
draw(GoflowExecutionRow *row, const GoflowProgress *progress, bool known)
{
	char		bar[BAR_WIDTH + 1];
	int			filled = known ? (int) (progress->percent * BAR_WIDTH / 100.0) : 0;
	const char *node = "";

	filled = Min(Max(filled, 0), BAR_WIDTH);
	memset(bar, '#', filled);
	memset(bar + filled, '.', BAR_WIDTH - filled);
	bar[BAR_WIDTH] = '\0';
	if (known && progress->current_node >= 0)
		node = goflow_workflow_load(row->workflow_id)->nodes[progress->current_node]->path;
	ereport(NOTICE,
			(errmsg("[%s] %3d%%  %s%s%s", bar, known ? (int) progress->percent : 0,
					goflow_state_name(row->state), node[0] ? "  " : "", node)));
}

/*
 * follow(execution uuid, timeout interval) returns text
 *
 * Prints a bar as notices whenever something has changed, and returns the
 * state as wait() does.
 */
Datum
goflow_follow(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id;
	TimestampTz deadline = DT_NOEND;
	GoflowExecutionRow *row;
	GoflowProgress last;
	char		last_state = 0;

	goflow_require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	id = PG_GETARG_UUID_P(0);
	if (!PG_ARGISNULL(1))
		deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														   TimestampTzGetDatum(GetCurrentTimestamp()),
														   PG_GETARG_DATUM(1)));
	memset(&last, 0, sizeof(last));
	for (;;)
	{
		GoflowProgress progress;
		bool		known;

		goflow_waiter_begin(id);
		row = goflow_api_execution(id);
		if (row->is_uncommitted && !goflow_execution_is_finished(row->state))
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_INVALID_STATE),
					 errmsg("cannot follow an execution that this transaction has started"),
					 errhint("Commit first.")));
		memset(&progress, 0, sizeof(progress));
		known = get_progress(row, &progress);
		if (row->state != last_state || memcmp(&progress, &last, sizeof(progress)) != 0)
			draw(row, &progress, known);
		last = progress;
		last_state = row->state;
		if (goflow_execution_is_finished(row->state) || GetCurrentTimestamp() >= deadline)
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, FOLLOW_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	goflow_waiter_end();
	PG_RETURN_TEXT_P(cstring_to_text(goflow_state_name(row->state)));
}
