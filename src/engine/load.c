/*
 * load.c
 *		An execution comes into memory: made, or loaded from the tables.
 *
 * What an execution knows about itself is its definition, its row, and its
 * tree of frames.  Loading reads the journal of the open frames only: a loop
 * that has done a million iterations is as cheap to go on with as a new one.
 * The state of the graph needs no row of its own, since every node without a
 * row in the journal is settled from those that have one.
 */
#include "postgres.h"

#include "engine/state.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* What the counters of frame 0's row are. */
enum
{
	COUNTER_TOTAL, COUNTER_COMPLETED, COUNTER_FAILED, COUNTER_SKIPPED, COUNTER_SEQ,
	COUNTER_NEXT_FRAME, COUNTER_PARTIAL, COUNTER_PERCENT, COUNTERS
};

/* What trigger.* says where no row has changed. */
static void
set_manual_trigger(GoflowExecution *ex)
{
	GoflowNode *entry = ex->row->entry >= 0 ? ex->definition->nodes[ex->row->entry] : NULL;

	ex->trigger[GOFLOW_TRIGGER_EVENT] = "manual";
	if (entry && entry->type == GOFLOW_TYPE_TRIGGER)
		ex->trigger[GOFLOW_TRIGGER_NODE] = entry->id;
}

static GoflowExecution *
create(GoflowExecutionRow *row, GoflowWrites *writes, MemoryContext context)
{
	GoflowExecution *ex = palloc0(sizeof(GoflowExecution));

	ex->context = context;
	ex->row = row;
	ex->writes = writes;
	ex->definition = goflow_workflow_load(row->workflow_id);
	ex->inputs = palloc0(Max(ex->definition->ninputs, 1) * sizeof(Datum));
	ex->input_nulls = palloc0(Max(ex->definition->ninputs, 1) * sizeof(bool));
	ex->now.state = row->state;
	ex->now.next_frame = 1;
	ex->now.seq = Max(1, row->last_seq);	/* 1: it started */
	if (row->trigger)
	{
		Datum	   *elements;
		bool	   *nulls;
		int			n;

		deconstruct_array(row->trigger, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
		for (int i = 0; i < Min(n, GOFLOW_TRIGGER_FIELDS); i++)
			ex->trigger[i] = nulls[i] ? NULL : TextDatumGetCString(elements[i]);
	}
	else
		set_manual_trigger(ex);
	ex->root = goflow_frame_create(ex, NULL, ex->definition->body, 0, 0);
	ex->now.total = ex->now.told_total = ex->root->now.open;
	return ex;
}

static void
decode_inputs(GoflowExecution *ex)
{
	goflow_values_decode(ex->definition->inputs, ex->definition->ninputs, goflow_texts_unpack(ex->row->input),
						 ex->inputs, ex->input_nulls);
}

static void
load_counters(GoflowExecution *ex, ArrayType *array)
{
	int32	   *counters = (int32 *) ARR_DATA_PTR(array);

	if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != COUNTERS)
		elog(ERROR, "unexpected counters of an execution");
	ex->now.total = counters[COUNTER_TOTAL];
	ex->now.past_completed = counters[COUNTER_COMPLETED];
	ex->now.past_failed = counters[COUNTER_FAILED];
	ex->now.past_skipped = counters[COUNTER_SKIPPED];
	ex->now.seq = Max(ex->now.seq, counters[COUNTER_SEQ]);
	ex->now.told_total = -1;
	ex->now.next_frame = counters[COUNTER_NEXT_FRAME];
	ex->now.is_partial = counters[COUNTER_PARTIAL] != 0;
	ex->percent = counters[COUNTER_PERCENT];
}

void
goflow_engine_stored_progress(ArrayType *array, GoflowProgress *progress)
{
	int32	   *counters = (int32 *) ARR_DATA_PTR(array);

	progress->total = counters[COUNTER_TOTAL];
	progress->completed += counters[COUNTER_COMPLETED];
	progress->failed += counters[COUNTER_FAILED];
	progress->skipped += counters[COUNTER_SKIPPED];
	progress->percent = counters[COUNTER_PERCENT];
}

ArrayType *
goflow_execution_counters(GoflowExecution *ex)
{
	Datum		counters[COUNTERS];

	counters[COUNTER_TOTAL] = Int32GetDatum(ex->now.total);
	counters[COUNTER_COMPLETED] = Int32GetDatum(ex->now.past_completed);
	counters[COUNTER_FAILED] = Int32GetDatum(ex->now.past_failed);
	counters[COUNTER_SKIPPED] = Int32GetDatum(ex->now.past_skipped);
	counters[COUNTER_SEQ] = Int32GetDatum(ex->now.seq);
	counters[COUNTER_NEXT_FRAME] = Int32GetDatum(ex->now.next_frame);
	counters[COUNTER_PARTIAL] = Int32GetDatum(ex->now.is_partial);
	counters[COUNTER_PERCENT] = Int32GetDatum(goflow_execution_percent(ex));
	return construct_array(counters, COUNTERS, INT4OID, sizeof(int32), true, TYPALIGN_INT);
}

/* A frame that a row speaks of. */
static GoflowFrame *
find_frame(GoflowExecution *ex, int32 id)
{
	GoflowFrame *frame = goflow_frame_find(ex, id);

	if (frame == NULL)
		elog(ERROR, "frame %d of an execution is missing", id);
	return frame;
}

static void
load_frames(GoflowExecution *ex)
{
	ListCell   *lc;

	/* in order of their numbers: a parent comes before its children */
	foreach(lc, goflow_frames_read(&ex->row->id))
	{
		GoflowFrameRow *row = lfirst(lc);
		GoflowFrame *frame = ex->root;

		if (row->frame > 0)
		{
			GoflowNode *owner = ex->definition->nodes[row->node];

			frame = goflow_frame_create(ex, find_frame(ex, row->parent),
										owner->bodies[row->part], row->frame, row->iteration);
		}
		else if (row->counters)
			load_counters(ex, row->counters);
		frame->stored = true;
		frame->tid = row->tid;
		frame->seq = row->seq;
		frame->started_at = row->started_at;
		ex->now.seq = Max(ex->now.seq, row->seq);
		frame->now.unwind = row->unwind;
		frame->now.target = row->target;
		frame->now.error = row->error;
	}
}

static void
load_journal(GoflowExecution *ex, GoflowFrame *frame)
{
	bool	   *retried = goflow_execution_retried(ex->row, ex->definition->nnodes);
	ListCell   *lc;

	foreach(lc, goflow_journal_read_frame(ex->row, frame->id))
	{
		GoflowNodeRow *row = lfirst(lc);
		GoflowNode *node = ex->definition->nodes[row->node];
		GoflowNodeRun *run = goflow_run(frame, node);

		if (goflow_event_end(node, row) == 0)
			ex->unseen = lappend(ex->unseen, row);
		ex->now.seq = Max(ex->now.seq, Max(row->seq, goflow_event_end(node, row) + 1));

		if (frame->parent == NULL && retried[row->node] && row->seq <= ex->row->retry_seq)
		{
			/* before the retry: the node is as one that has not run */
			run->past_attempts = Max(run->past_attempts, row->attempt);
			continue;
		}
		/* the last attempt is the one that counts */
		if (row->attempt < run->attempt)
			continue;
		run->row = row;
		run->state = row->state;
		run->attempt = row->attempt;
		run->port = row->port;
		run->seq = row->seq;
		run->output = row->output;
		run->error = row->error;
		run->ended_at = row->finished_at;
		run->end_seq = goflow_event_end(node, row);
	}
	for (int i = 0; i < frame->body->nnodes; i++)
	{
		GoflowNodeRun *run = &frame->now.runs[i];

		if (run->past_attempts > 0 && run->attempt == 0)
			run->attempt = run->past_attempts + 1;
	}
	pfree(retried);
}

static void
load_pendings(GoflowExecution *ex)
{
	ListCell   *lc;

	foreach(lc, goflow_pending_read(&ex->row->id))
	{
		GoflowPendingRow *row = lfirst(lc);
		GoflowFrame *frame = find_frame(ex, row->frame);
		GoflowNode *node = row->node >= 0 ? ex->definition->nodes[row->node] : NULL;
		GoflowPending *pending = goflow_pending_create(ex, frame, node, row->kind);

		pending->now.row = *row;
		pending->now.dirty = false;
		if (node)
		{
			GoflowNodeRun *run = goflow_run(frame, node);

			run->attempt = row->attempt;
			run->seq = row->seq;
			ex->now.seq = Max(ex->now.seq, row->seq);
			run->state = row->kind == GOFLOW_PENDING_RETRY ? GOFLOW_NODE_RETRYING :
				row->kind == GOFLOW_PENDING_BODIES ? GOFLOW_NODE_RUNNING : GOFLOW_NODE_WAITING;
		}
	}
	foreach(lc, ex->now.frames)
	{
		GoflowFrame *frame = lfirst(lc);
		GoflowPending *pending;

		if (frame->parent == NULL)
			continue;
		pending = goflow_run(frame->parent, frame->body->owner)->pending;
		if (pending == NULL || pending->now.row.kind != GOFLOW_PENDING_BODIES)
			elog(ERROR, "frame %d is open, but node \"%s\" is not", frame->id, frame->body->owner->path);
		pending->now.live++;
	}
}

static void
load_instances(GoflowExecution *ex, const GoflowInstance *instances, int ninstances)
{
	for (int i = 0; i < ninstances; i++)
	{
		GoflowFrame *frame = goflow_frame_find(ex, instances[i].frame);
		GoflowNodeRun *run;

		if (frame == NULL)
			continue;
		run = goflow_run(frame, ex->definition->nodes[instances[i].node]);
		ex->now.seq = Max(ex->now.seq, instances[i].seq);
		if (goflow_node_has_ended(run) && run->attempt >= instances[i].attempt)
			continue;
		if (run->pending)
			continue;
		run->state = GOFLOW_NODE_RUNNING;
		run->attempt = instances[i].attempt;
		run->seq = instances[i].seq;
	}
}

static void
load_variables(GoflowExecution *ex, GoflowFrame *frame)
{
	for (int i = 0; i < frame->body->nvariables; i++)
	{
		int			number = frame->body->first_variable + i;
		GoflowVariableRow *row = goflow_variable_read(ex->row, number, frame->id);

		if (row == NULL)
			continue;
		/* what is assigned next comes after it */
		ex->now.seq = Max(ex->now.seq, row->seq);
		if (row->value == NULL)
			continue;
		frame->now.variable_nulls[i] = false;
		frame->now.variables[i] =
			goflow_value_copy(ex->definition->variables[number].type,
							  goflow_value_decode(&ex->definition->variables[number],
												  text_to_cstring(row->value)));
	}
}

static void
count_frame(GoflowExecution *ex, GoflowFrame *frame)
{
	for (int i = 0; i < frame->body->nnodes; i++)
	{
		GoflowNodeRun *run = &frame->now.runs[i];

		if (!run->reachable || !goflow_node_has_ended(run))
			continue;
		frame->now.open--;
		if (run->state == GOFLOW_NODE_COMPLETED)
			frame->now.completed++;
		else if (run->state == GOFLOW_NODE_FAILED)
			frame->now.failed++;
		else
			frame->now.skipped++;
	}
	ex->now.completed += frame->now.completed;
	ex->now.failed += frame->now.failed;
	ex->now.skipped += frame->now.skipped;
}

static void
load_offered(GoflowExecution *ex)
{
	ListCell   *lc;

	ex->offered = goflow_offered_read(&ex->row->id);
	foreach(lc, ex->offered)
		ex->now.seq = Max(ex->now.seq, ((GoflowOfferedRow *) lfirst(lc))->seq);
}

/* What was asked of it, in order.  A retry comes after all that was asked of it before it ended. */
static void
load_requests(GoflowExecution *ex)
{
	List	   *requests = goflow_requests_read(&ex->row->id);
	ListCell   *lc;

	ex->has_requests = requests != NIL;
	foreach(lc, requests)
	{
		GoflowRequestRow *request = lfirst(lc);

		switch (request->kind)
		{
			case GOFLOW_REQUEST_CANCEL:
				if (!ex->cancel_requested)
					ex->cancel_reason = request->argument;
				ex->cancel_requested = true;
				break;
			case GOFLOW_REQUEST_PAUSE:
				ex->paused = true;
				break;
			case GOFLOW_REQUEST_RESUME:
				ex->paused = false;
				break;
			case GOFLOW_REQUEST_PRIORITY:
				ex->row->priority = pg_strtoint16(request->argument);
				ex->row_changed = true;
				ex->met_requests = lappend(ex->met_requests, request);
				break;
			case GOFLOW_REQUEST_RETRY:
				if (!ex->inactive || ex->row->state == GOFLOW_EXECUTION_COMPLETED)
				{
					/* it goes on already, or there is nothing left to do */
					ex->met_requests = lappend(ex->met_requests, request);
					break;
				}
				ex->met_requests = list_copy_head(requests, foreach_current_index(lc) + 1);
				ex->retry_from = lappend(ex->retry_from, request->argument);
				ex->cancel_requested = false;
				ex->cancel_reason = NULL;
				ex->paused = false;
				break;
		}
	}
	/* one that is being cancelled goes on to its end */
	ex->paused &= !ex->cancel_requested;
}

void
goflow_execution_load_state(GoflowExecution *ex, const GoflowInstance *instances, int ninstances)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);
	ListCell   *lc;

	ex->started = ex->row->started_at != 0;
	if (ex->started || ex->row->retry_seq > 0)
	{
		load_frames(ex);
		foreach(lc, ex->now.frames)
		{
			load_journal(ex, lfirst(lc));
			load_variables(ex, lfirst(lc));
		}
		load_pendings(ex);
		load_instances(ex, instances, ninstances);
		if (ex->is_driver)
			load_offered(ex);
		ex->now.completed = ex->now.past_completed;
		ex->now.failed = ex->now.past_failed;
		ex->now.skipped = ex->now.past_skipped;
		foreach(lc, ex->now.frames)
			count_frame(ex, lfirst(lc));
		ex->published = ex->now.seq;
	}
	decode_inputs(ex);
	MemoryContextSwitchTo(old);
}

static GoflowExecution *
load(const pg_uuid_t *id, GoflowWrites *writes, const GoflowInstance *instances, int ninstances,
	 GoflowExecutionRow *unasked)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "goflow execution",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	GoflowExecutionRow *row = unasked ? unasked : goflow_execution_read(id);
	GoflowExecution *ex;

	if (row == NULL)
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		return NULL;
	}
	ex = create(row, writes, context);
	ex->is_driver = instances != NULL;
	ex->is_others = row->is_foreign ||
		(OidIsValid(goflow_worker_role()) && row->run_as != goflow_worker_role());
	ex->inactive = ex->is_others || goflow_execution_is_finished(row->state);
	if (unasked == NULL)
		load_requests(ex);
	if (!ex->inactive)
		goflow_execution_load_state(ex, instances, ninstances);
	MemoryContextSwitchTo(old);
	return ex;
}

/*
 * All tables as of one moment: who runs a node in node mode has no claim, and
 * its execution may be driven on while it is read.
 */
GoflowExecution *
goflow_execution_load(const pg_uuid_t *id, GoflowWrites *writes,
					  const GoflowInstance *instances, int ninstances, GoflowExecutionRow *unasked)
{
	GoflowExecution *volatile ex = NULL;

	if (unasked && unasked->started_at == 0 && unasked->retry_seq == 0)
		return load(id, writes, instances, ninstances, unasked);	/* it has no more than its row */
	goflow_scan_hold();
	PG_TRY();
	{
		ex = load(id, writes, instances, ninstances, unasked);
	}
	PG_FINALLY();
	{
		goflow_scan_release();
	}
	PG_END_TRY();
	return ex;
}

/* What a pending node waited for may have come. */
static void
resume_pending(GoflowExecution *ex, GoflowPending *pending, TimestampTz now)
{
	GoflowPendingRow *row = &pending->now.row;
	bool		is_due = row->due_at != 0 && row->due_at <= now;

	/* the scheduler has passed it */
	if (row->due_at != 0 && !is_due)
		goflow_wake_timer(row->due_at);

	switch (row->kind)
	{
		case GOFLOW_PENDING_DELAY:
		case GOFLOW_PENDING_RETRY:
			if (is_due)
				goflow_cascade_make_ready(pending->frame, pending->node);
			break;
		case GOFLOW_PENDING_TIMEOUT:
			if (is_due)
			{
				MemoryContext old = MemoryContextSwitchTo(ex->context);
				Jsonb	   *error = goflow_error_make(ERRCODE_GOFLOW_EXECUTION_TIMEOUT,
													  "execution timed out", NULL, NULL, 0);

				MemoryContextSwitchTo(old);
				goflow_pending_end(ex, pending);
				goflow_frame_stop(ex, ex->root, GOFLOW_UNWIND_FAIL, error, -1);
			}
			break;
		case GOFLOW_PENDING_BODIES:
		case GOFLOW_PENDING_WORKFLOW:
		case GOFLOW_PENDING_SIGNAL:
		case GOFLOW_PENDING_APPROVAL:
		case GOFLOW_PENDING_TASK:
			goflow_cascade_make_step(pending->frame, pending->node);
			break;
	}
}

/*
 * Decides about everything that happened while nobody drove: results and
 * failures of node mode, due times, ended children.  Each decision follows
 * from the tables, so making it twice does no harm.
 */
void
goflow_execution_resume(GoflowExecution *ex)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	List	   *frames = list_copy(ex->now.frames);
	List	   *pendings = list_copy(ex->now.pendings);
	ListCell   *lc;

	foreach(lc, pendings)
		resume_pending(ex, lfirst(lc), now);
	foreach(lc, frames)
	{
		GoflowFrame *frame = lfirst(lc);

		for (int i = 0; i < frame->body->nnodes; i++)
		{
			GoflowNode *node = frame->body->nodes[i];
			GoflowNodeRun *run = &frame->now.runs[i];

			if (run->state == GOFLOW_NODE_FAILED)
				goflow_failure_apply(ex, frame, node);
			else if (run->state == GOFLOW_NODE_COMPLETED)
				goflow_cascade_leave(ex, frame, node);
		}
		goflow_cascade_settle_all(ex, frame);
		goflow_frame_check_end(ex, frame);
	}
	list_free(frames);
	list_free(pendings);
}

GoflowExecution *
goflow_execution_create(GoflowExecutionRow *row, GoflowWrites *writes)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "goflow execution",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	GoflowExecution *ex = create(row, writes, context);

	decode_inputs(ex);
	MemoryContextSwitchTo(old);
	return ex;
}
