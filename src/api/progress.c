/*
 * progress.c
 *		progress() and follow().
 *
 * A live execution's progress is read from its slot in shared memory.  One that
 * has none (it has finished, waits, or there were more of them than slots) has
 * it in the tables: what the driver had counted when it stored the execution
 * last, and the journal of what is open.
 */
#include "postgres.h"

#include "api/api.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/wait_event.h"

#include "engine/engine.h"
#include "process/process.h"

PG_FUNCTION_INFO_V1(goflow_progress);
PG_FUNCTION_INFO_V1(goflow_follow);

/* follow() draws this often while something moves. */
#define FOLLOW_MS 100
#define BAR_WIDTH 30
#define FOLLOW_NODES 4

/* ---- from the tables ---- */

/*
 * Entries come in no order.  Of a node of frame 0 the last attempt counts.  In
 * other frames an instance has one entry per attempt, all but the last of them
 * failed: so it is enough to count how many were followed by another.
 */
typedef struct Count
{
	const GoflowExecutionRow *row;
	bool	   *retried;		/* by number of the node, these three */
	int16	   *attempts;		/* the last one, in frame 0; 0: none */
	char	   *states;			/* of that */
	int			followed;		/* attempts in other frames that another one followed */
	GoflowProgress *progress;
} Count;

static void
count_state(GoflowProgress *progress, char state)
{
	switch (state)
	{
		case GOFLOW_NODE_COMPLETED:
			progress->completed++;
			break;
		case GOFLOW_NODE_FAILED:
			progress->failed++;
			break;
		default:
			progress->skipped++;
			break;
	}
}

/* Of what was before a retry, the nodes of frame 0 that did not run again count. */
static void
count_entry(const GoflowNodeRow *row, void *arg)
{
	Count	   *count = arg;

	if (row->seq <= count->row->retry_seq && (row->frame > 0 || count->retried[row->node]))
		return;
	if (row->frame > 0)
	{
		count_state(count->progress, row->state);
		count->followed += row->attempt > 1;
	}
	else if (row->attempt > count->attempts[row->node])
	{
		count->attempts[row->node] = row->attempt;
		count->states[row->node] = row->state;
	}
}

static void
count_frame(Count *count, int frame)
{
	ListCell   *lc;

	foreach(lc, goflow_journal_read_frame(count->row, frame))
		count_entry(lfirst(lc), count);
}

/*
 * An attempt that has begun, or is to begin at some moment: the node has not
 * ended.  What is waited for is the current node.
 */
static void
count_pending(Count *count)
{
	ListCell   *lc;

	foreach(lc, goflow_pending_read(&count->row->id))
	{
		GoflowPendingRow *row = lfirst(lc);

		if (row->node >= 0 && row->kind != GOFLOW_PENDING_BODIES && count->progress->current_node < 0)
			count->progress->current_node = row->node;

		if (row->node >= 0 && row->frame == 0)
			count->attempts[row->node] = 0;
		else if (row->node >= 0 && row->attempt > 1)
			count->followed++;
	}
}

static void
read_progress(GoflowExecutionRow *row, GoflowProgress *progress)
{
	GoflowDefinition *definition = goflow_workflow_load(row->workflow_id);
	Count		count = {.row = row, .progress = progress};
	bool		is_finished = goflow_execution_is_finished(row->state);
	bool		has_root = false;
	ListCell   *lc;

	memset(progress, 0, sizeof(*progress));
	progress->current_node = -1;
	progress->workflow_id = row->workflow_id;
	count.retried = goflow_execution_retried(row, definition->nnodes);
	count.attempts = palloc0(Max(definition->nnodes, 1) * sizeof(int16));
	count.states = palloc0(Max(definition->nnodes, 1));
	if (is_finished)
		goflow_journal_each(row, count_entry, &count);
	else
	{
		progress->total = goflow_graph_reach(definition->body, row->entry,
											 palloc(Max(definition->body->nnodes, 1) * sizeof(bool)));
		foreach(lc, goflow_frames_read(&row->id))
		{
			GoflowFrameRow *frame = lfirst(lc);

			if (frame->counters)
				goflow_engine_stored_progress(frame->counters, progress);
			has_root |= frame->frame == 0;
			count_frame(&count, frame->frame);
		}
		if (!has_root)
			count_frame(&count, 0);
		count_pending(&count);
	}
	progress->failed -= Min(count.followed, progress->failed);
	for (int i = 0; i < definition->nnodes; i++)
		if (count.attempts[i] > 0)
			count_state(progress, count.states[i]);
	if (is_finished)
		progress->total = progress->completed + progress->failed + progress->skipped;
}

/* Percent of what is in the tables, in hundredths; not less than was stored as shown. */
static int
percent_of(const GoflowProgress *progress, bool is_finished)
{
	int64		ended = (int64) progress->completed + progress->failed + progress->skipped;

	if (is_finished || progress->total == 0)
		return 10000;
	return Max(progress->percent, (int) (10000 * Min(ended, progress->total) / progress->total));
}

/* False: there is none yet. */
static bool
progress_in_tables(GoflowExecutionRow *row, GoflowProgress *progress)
{
	bool		is_finished = goflow_execution_is_finished(row->state);

	if (row->started_at == 0 && !is_finished)
		return false;
	read_progress(row, progress);
	progress->percent = percent_of(progress, is_finished);
	return true;
}

bool
goflow_api_progress(GoflowExecutionRow *row, GoflowProgress *progress)
{
	if (!goflow_execution_is_finished(row->state) && goflow_tracker_read(&row->id, progress))
	{
		goflow_tracker_settle(progress);
		return progress->total > 0;
	}
	return progress_in_tables(row, progress);
}

/* The same of one whose row is not known, without reading it where there is a slot. */
static bool
find_progress(const pg_uuid_t *id, GoflowProgress *progress)
{
	goflow_require_preloaded();
	if (goflow_tracker_read(id, progress) && has_privs_of_role(GetUserId(), progress->run_as))
	{
		goflow_tracker_settle(progress);
		return progress->total > 0;
	}
	return goflow_api_progress(goflow_api_execution(id), progress);
}

/* progress(execution uuid) returns (total, completed, failed, skipped, current_node, percent) */
Datum
goflow_progress(PG_FUNCTION_ARGS)
{
	GoflowProgress progress;
	TupleDesc	tupdesc = fcinfo->flinfo->fn_extra;
	Datum		values[6] = {0};
	bool		nulls[6];

	if (tupdesc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		tupdesc = BlessTupleDesc(CreateTupleDescCopy(tupdesc));
		fcinfo->flinfo->fn_extra = tupdesc;
		MemoryContextSwitchTo(old);
	}
	memset(nulls, true, sizeof(nulls));
	if (find_progress(PG_GETARG_UUID_P(0), &progress))
	{
		memset(nulls, false, sizeof(nulls));
		values[0] = Int32GetDatum(progress.total);
		values[1] = Int32GetDatum(progress.completed);
		values[2] = Int32GetDatum(progress.failed);
		values[3] = Int32GetDatum(progress.skipped);
		nulls[4] = progress.current_node < 0;
		if (!nulls[4])
			values[4] = CStringGetTextDatum(goflow_workflow_load(progress.workflow_id)->
											nodes[progress.current_node]->path);
		values[5] = NumericGetDatum(int64_div_fast_to_numeric(progress.percent, 2));
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls)));
}

/* Names of the nodes that run now: of the slot's, and of those in node mode. */
static void
append_current(StringInfo line, GoflowExecutionRow *row, const GoflowProgress *progress)
{
	GoflowDefinition *definition = goflow_workflow_load(row->workflow_id);
	GoflowInstance *instances = palloc(GOFLOW_MAX_INSTANCES * sizeof(GoflowInstance));
	int			n = goflow_queue_instances(&row->id, instances, GOFLOW_MAX_INSTANCES);
	int			shown = 0;

	for (int i = 0; i < n && shown < FOLLOW_NODES; i++)
		if (instances[i].started_at != 0)
			appendStringInfo(line, "%s%s", shown++ == 0 ? "  " : ", ",
							 definition->nodes[instances[i].node]->path);
	if (shown == 0 && progress->current_node >= 0)
		appendStringInfo(line, "  %s", definition->nodes[progress->current_node]->path);
	else if (shown < n)
		appendStringInfoString(line, ", ...");
	pfree(instances);
}

static void
append_estimate(StringInfo line, GoflowExecutionRow *row)
{
	int64		left;

	if (!goflow_api_estimate(row, &left))
		return;
	if (left < 60 * USECS_PER_SEC)
		appendStringInfo(line, "  about %.1f s left", (double) left / USECS_PER_SEC);
	else
		appendStringInfo(line, "  about " INT64_FORMAT ":%02d:%02d left", left / USECS_PER_HOUR,
						 (int) (left % USECS_PER_HOUR / USECS_PER_MINUTE),
						 (int) (left % USECS_PER_MINUTE / USECS_PER_SEC));
}

static void
draw(GoflowExecutionRow *row, const GoflowProgress *progress, bool known)
{
	StringInfoData line;
	int			filled = known ? (int) ((int64) progress->percent * BAR_WIDTH / 10000) : 0;

	filled = Min(Max(filled, 0), BAR_WIDTH);
	initStringInfo(&line);
	for (int i = 0; i < BAR_WIDTH; i++)
		appendStringInfoChar(&line, i < filled ? '#' : '.');
	appendStringInfo(&line, "] %3d%%  %s", known ? progress->percent / 100 : 0,
					 goflow_state_name(row->state));
	if (!goflow_execution_is_finished(row->state))
	{
		append_current(&line, row, progress);
		append_estimate(&line, row);
	}
	ereport(NOTICE, (errmsg("[%s", line.data)));
	pfree(line.data);
}

/*
 * follow(execution uuid, timeout interval) returns text
 *
 * Prints a bar as notices whenever something has changed, with the nodes that
 * run and an estimate of what is left, and returns the state as wait() does.
 */
Datum
goflow_follow(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id;
	TimestampTz deadline;
	GoflowExecutionRow *row;
	GoflowProgress last;
	char		last_state = 0;
	bool		is_over;

	goflow_require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	id = PG_GETARG_UUID_P(0);
	deadline = goflow_api_deadline(PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1));
	goflow_api_require_waiting(id);
	memset(&last, 0, sizeof(last));
	for (;;)
	{
		GoflowProgress progress;
		bool		known;

		goflow_waiter_begin(id);
		row = goflow_api_execution_over(id, &is_over);
		memset(&progress, 0, sizeof(progress));
		known = goflow_api_progress(row, &progress);
		if (row->state != last_state || memcmp(&progress, &last, sizeof(progress)) != 0)
			draw(row, &progress, known);
		last = progress;
		last_state = row->state;
		if (is_over || GetCurrentTimestamp() >= deadline)
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, FOLLOW_MS,
						 goflow_wait_event(GOFLOW_WAIT_PROGRESS));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	goflow_waiter_end();
	PG_RETURN_TEXT_P(cstring_to_text(goflow_state_name(row->state)));
}
