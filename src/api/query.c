/*
 * query.c
 *		nodes() and variables(): the journal.
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

PG_FUNCTION_INFO_V1(goflow_nodes);
PG_FUNCTION_INFO_V1(goflow_variables);

/* Nodes are listed in the order in which they ended, then those that have not. */
static int
by_end(const ListCell *a, const ListCell *b)
{
	const GoflowNodeRow *left = lfirst(a);
	const GoflowNodeRow *right = lfirst(b);

	if (left->end_seq != right->end_seq)
		return left->end_seq < right->end_seq ? -1 : 1;
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
	row->end_seq = PG_INT32_MAX;
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

Datum
goflow_api_interval(int64 microseconds)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = microseconds;
	return IntervalPGetDatum(interval);
}

List *
goflow_api_entries(GoflowExecutionRow *row)
{
	GoflowInstance *instances;
	int			ninstances;
	List	   *rows = goflow_journal_read(row);
	ListCell   *lc;

	if (goflow_execution_is_finished(row->state))
		return rows;
	instances = palloc(GOFLOW_MAX_INSTANCES * sizeof(GoflowInstance));
	ninstances = goflow_queue_instances(&row->id, instances, GOFLOW_MAX_INSTANCES);
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
	return rows;
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
	bool	   *seen = palloc0(definition->nnodes * sizeof(bool));
	bool	   *retried = goflow_execution_retried(row, definition->nnodes);
	List	   *rows;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	rows = goflow_api_entries(row);
	foreach(lc, rows)
	{
		GoflowNodeRow *known = lfirst(lc);

		/* what was to run again and has not is as what has not run */
		if (known->end_seq != PG_INT32_MAX)
			known->end_seq = goflow_event_end(definition->nodes[known->node], known);
		if (known->end_seq == 0)
			known->end_seq = PG_INT32_MAX;
		if (known->frame == 0 && !(retried[known->node] && known->seq <= row->retry_seq))
			seen[known->node] = true;
	}
	list_sort(rows, by_end);
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
		values[9] = goflow_api_interval(state->duration);
		nulls[10] = state->end_seq == PG_INT32_MAX;
		values[10] = Int32GetDatum(state->end_seq);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* The execution's row and the others, of one moment. */
static List *
read_assignments(const pg_uuid_t *id)
{
	GoflowExecutionRow *row;
	List	   *volatile rows = NIL;

	goflow_scan_hold();
	PG_TRY();
	{
		row = goflow_execution_read(id);
		if (row)				/* else it has been purged */
			rows = goflow_variables_read(row, 0);
	}
	PG_FINALLY();
	{
		goflow_scan_release();
	}
	PG_END_TRY();
	return rows;
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
	foreach(lc, read_assignments(&row->id))
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
