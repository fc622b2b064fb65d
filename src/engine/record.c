/*
 * record.c
 *		A node has ended: its journal row, the counts, and the progress shown.
 */
#include "postgres.h"

#include "engine/state.h"

/* ---- progress ---- */

static int
percent_of(int64 total, int64 ended)
{
	return total <= 0 ? 0 : (int) (10000 * Min(ended, total) / total);
}

int
goflow_execution_percent(const GoflowExecution *ex)
{
	return Max(ex->percent, percent_of(ex->shown_total, ex->shown_ended));
}

/*
 * Progress is shown from here on.  One that only computes is over before anybody
 * could look: it is shown when something else is to run, or when it goes on in
 * another batch.
 */
void
goflow_execution_show(GoflowExecution *ex)
{
	bool		had_slot = ex->started && !ex->is_hidden;	/* hidden: it has begun just now */

	ex->is_hidden = false;
	ex->tracker = goflow_tracker_open(&ex->row->id, ex->row->workflow_id, ex->row->run_as, ex->percent,
									 had_slot);
	ex->percent = Max(ex->percent, goflow_tracker_percent(&ex->tracker));
	goflow_execution_track(ex, -1);
}

void
goflow_execution_track_node(GoflowExecution *ex, int node)
{
	int64		ended = (int64) ex->now.completed + ex->now.failed + ex->now.skipped;

	if (ex->is_hidden)
		goflow_execution_show(ex);
	if (ex->now.total == ex->shown_total && ended == ex->shown_ended)
		goflow_tracker_node(&ex->tracker, node);
	else
		goflow_execution_track(ex, node);
}

void
goflow_execution_track(GoflowExecution *ex, int node)
{
	if (ex->is_hidden)
		return;
	/* it may be less from now on */
	ex->percent = goflow_execution_percent(ex);
	ex->shown_total = ex->now.total;
	ex->shown_ended = (int64) ex->now.completed + ex->now.failed + ex->now.skipped;
	goflow_tracker_set(&ex->tracker, ex->now.total, ex->now.completed, ex->now.failed, ex->now.skipped);
	goflow_tracker_node(&ex->tracker, node);
}

/* One more node has ended, and none is the current one. */
static void
track_ended(GoflowExecution *ex, GoflowTrackerKind kind)
{
	if (ex->is_hidden)
		return;
	if (ex->now.total != ex->shown_total)
	{
		goflow_execution_track(ex, -1);
		return;
	}
	ex->shown_ended++;
	goflow_tracker_count(&ex->tracker, kind);
	goflow_tracker_node(&ex->tracker, -1);
}

/* ---- the journal ---- */

static void
write_journal(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, char state,
			  TimestampTz started_at, int duration, Jsonb *error, bool retried)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	GoflowNodeRow *row = goflow_writes_alloc(ex->writes, sizeof(GoflowNodeRow));
	TimestampTz now = state == GOFLOW_NODE_COMPLETED && duration < PG_INT32_MAX ?
		started_at + duration : GetCurrentTimestamp();

	memset(row, 0, sizeof(*row));
	run->ended_at = now;
	if (run->attempt == 0)
		run->attempt = 1;
	row->execution_id = ex->row->id;
	row->frame = frame->id;
	row->node = node->index;
	row->attempt = run->attempt;
	row->state = state;
	row->port = run->port;
	row->started_at = started_at ? started_at : now;
	row->finished_at = now;
	row->duration = duration;
	row->error = error;
	/* of a workflow node that failed, which execution it was: a retry goes on with that one */
	if (node->ncolumns > 0 &&
		(state == GOFLOW_NODE_COMPLETED || (node->type == GOFLOW_TYPE_WORKFLOW && run->values)))
	{
		/* copies: the frame may have gone before they are written */
		row->ncolumns = node->ncolumns;
		row->columns = goflow_writes_alloc(ex->writes, node->ncolumns * (sizeof(Datum) + sizeof(bool)));
		row->column_nulls = (bool *) (row->columns + node->ncolumns);
		memcpy(row->column_nulls, run->nulls, node->ncolumns * sizeof(bool));
		for (int i = 0; i < node->ncolumns; i++)
			row->columns[i] = run->nulls[i] ? (Datum) 0 :
				PointerGetDatum(goflow_value_write(ex->writes, &node->columns[i], run->values[i]));
		goflow_limit_check_result(node, row->columns, row->column_nulls);
	}
	row->retried = retried;
	goflow_history_end(ex, frame, node, row);
	goflow_writes_add(ex->writes, GOFLOW_WRITE_NODE, row);
}

/*
 * Writes the journal row of a node instance that has ended, in state; counts
 * it.  started_at 0: it never ran.  duration: microseconds.
 */
void
goflow_execution_record(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, char state,
						TimestampTz started_at, int duration, Jsonb *error)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	GoflowTrackerKind kind;

	run->state = state;
	switch (state)
	{
		case GOFLOW_NODE_COMPLETED:
			frame->now.completed++;
			ex->now.completed++;
			kind = GOFLOW_TRACKER_COMPLETED;
			break;
		case GOFLOW_NODE_FAILED:
			frame->now.failed++;
			ex->now.failed++;
			kind = GOFLOW_TRACKER_FAILED;
			break;
		default:
			frame->now.skipped++;
			ex->now.skipped++;
			kind = GOFLOW_TRACKER_SKIPPED;
			break;
	}
	frame->now.open--;
	write_journal(ex, frame, node, state, started_at, duration, error, false);
	if (state == GOFLOW_NODE_COMPLETED && run->rows)
		goflow_rows_store(ex, frame, node, run->attempt, node->row_columns, node->nrow_columns,
						  run->rows);
	if (state == GOFLOW_NODE_COMPLETED && node->compensate)
		goflow_compensate_note(ex, frame, node);
	track_ended(ex, kind);
}

void
goflow_execution_record_attempt(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
								TimestampTz started_at, int duration, Jsonb *error)
{
	write_journal(ex, frame, node, GOFLOW_NODE_FAILED, started_at, duration, error, true);
}
