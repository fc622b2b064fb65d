/*
 * execution.c
 *		An execution in memory: made, loaded, saved and restored, stored.
 *
 * What an execution knows about itself is its definition, its row, and its
 * tree of frames.  Loading reads the journal of the open frames only: a loop
 * that has done a million iterations is as cheap to go on with as a new one.
 * The state of the graph needs no row of its own, since every node without a
 * row in the journal is settled from those that have one.
 *
 * Everything lives in the execution's memory context or a frame's, which is a
 * child of it.  Results that a rolled-back segment made stay there,
 * unreferenced, until that is freed.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* What the counters of frame 0's row are. */
enum
{
	COUNTER_TOTAL, COUNTER_COMPLETED, COUNTER_FAILED, COUNTER_SKIPPED, COUNTER_SEQ,
	COUNTER_NEXT_FRAME, COUNTER_PARTIAL, COUNTER_PERCENT, COUNTERS
};

/* ---- segments ---- */

static void
copy_frame_state(GoflowFrame *frame, GoflowFrameState *to, const GoflowFrameState *from)
{
	GoflowFrameState arrays = *to;

	*to = *from;
	to->runs = arrays.runs;
	to->variables = arrays.variables;
	to->variable_nulls = arrays.variable_nulls;
	to->ready = arrays.ready;
	memcpy(to->runs, from->runs, frame->body->nnodes * sizeof(GoflowNodeRun));
	memcpy(to->ready, from->ready, frame->body->nnodes * sizeof(int16));
	memcpy(to->variables, from->variables, frame->body->nvariables * sizeof(Datum));
	memcpy(to->variable_nulls, from->variable_nulls, frame->body->nvariables * sizeof(bool));
}

static void
forget_gone(GoflowExecution *ex)
{
	ListCell   *lc;

	/* first: they may be a frame's */
	foreach(lc, ex->gone_values)
		pfree(lfirst(lc));
	foreach(lc, ex->gone_frames)
		goflow_frame_free(lfirst(lc));
	foreach(lc, ex->gone_pendings)
		pfree(lfirst(lc));
	list_free(ex->gone_frames);
	list_free(ex->gone_pendings);
	list_free(ex->gone_values);
	ex->gone_values = NIL;
	ex->gone_frames = NIL;
	ex->gone_pendings = NIL;
}

/* A new segment begins: what was done until now is safe. */
void
goflow_execution_save(GoflowExecution *ex)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);
	ListCell   *lc;

	list_free(ex->saved.frames);
	list_free(ex->saved.pendings);
	list_free(ex->saved.inbox);
	forget_gone(ex);
	ex->segment++;
	ex->saved = ex->now;
	ex->saved.frames = list_copy(ex->now.frames);
	ex->saved.pendings = list_copy(ex->now.pendings);
	ex->saved.inbox = list_copy(ex->now.inbox);
	foreach(lc, ex->now.frames)
	{
		GoflowFrame *frame = lfirst(lc);

		copy_frame_state(frame, &frame->saved, &frame->now);
	}
	foreach(lc, ex->now.pendings)
	{
		GoflowPending *pending = lfirst(lc);

		pending->saved = pending->now;
	}
	MemoryContextSwitchTo(old);
}

static void
free_new_frames(GoflowExecution *ex, List *frames)
{
	ListCell   *lc;

	foreach(lc, frames)
	{
		GoflowFrame *frame = lfirst(lc);

		if (frame->segment == ex->segment)
			goflow_frame_free(frame);
	}
}

/* Back to where the segment began. */
void
goflow_execution_restore(GoflowExecution *ex)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);
	GoflowVarying saved = ex->saved;
	ListCell   *lc;

	free_new_frames(ex, ex->now.frames);
	free_new_frames(ex, ex->gone_frames);
	list_free(ex->now.frames);
	list_free(ex->now.pendings);
	list_free(ex->now.inbox);
	list_free(ex->gone_frames);
	list_free(ex->gone_pendings);
	list_free(ex->gone_values);
	ex->gone_frames = NIL;
	ex->gone_pendings = NIL;
	ex->gone_values = NIL;
	ex->now = saved;
	ex->now.frames = list_copy(saved.frames);
	ex->now.pendings = list_copy(saved.pendings);
	ex->now.inbox = list_copy(saved.inbox);
	foreach(lc, ex->now.frames)
	{
		GoflowFrame *frame = lfirst(lc);

		copy_frame_state(frame, &frame->now, &frame->saved);
	}
	foreach(lc, ex->now.pendings)
	{
		GoflowPending *pending = lfirst(lc);

		pending->now = pending->saved;
	}
	ex->withdrawn = NIL;
	ex->must_commit = false;
	MemoryContextSwitchTo(old);
	goflow_execution_track(ex, -1);
}

/* ---- pendings ---- */

GoflowPending *
goflow_pending_create(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, char kind)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);
	GoflowPending *pending = palloc0(sizeof(GoflowPending));
	GoflowPendingRow *row = &pending->now.row;

	pending->frame = frame;
	pending->node = node;
	pending->chunk = -1;
	pending->now.dirty = true;
	row->execution_id = ex->row->id;
	row->frame = frame->id;
	row->node = node ? node->index : -1;
	row->kind = kind;
	row->started_at = GetCurrentTimestamp();
	row->count = -1;
	row->next = 1;
	row->target = -1;
	if (node)
	{
		GoflowNodeRun *run = goflow_run(frame, node);

		row->attempt = run->attempt;
		row->seq = kind == GOFLOW_PENDING_RETRY ? 0 : run->seq;
		run->pending = pending;
		goflow_history_begun(ex, row);
	}
	ex->now.pendings = lappend(ex->now.pendings, pending);
	MemoryContextSwitchTo(old);
	return pending;
}

/* What was waited for has come, or is not wanted any more. */
void
goflow_pending_end(GoflowExecution *ex, GoflowPending *pending)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);

	ex->now.pendings = list_delete_ptr(ex->now.pendings, pending);
	if (pending->now.row.stored)
	{
		GoflowPendingRow *row = MemoryContextAlloc(ex->writes->context, sizeof(GoflowPendingRow));

		*row = pending->now.row;
		goflow_writes_add(ex->writes, GOFLOW_WRITE_PENDING_END, row);
	}
	if (pending->node)
	{
		GoflowNodeRun *run = goflow_run(pending->frame, pending->node);

		run->pending = NULL;
		run->is_stepping = false;
	}
	if (pending->chunk_context)
		MemoryContextDelete(pending->chunk_context);
	pending->chunk_context = NULL;
	pending->chunk = -1;
	/* a restored segment may still want it */
	ex->gone_pendings = lappend(ex->gone_pendings, pending);
	MemoryContextSwitchTo(old);
}

/* ---- making and loading ---- */

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
	ex->root = goflow_frame_create(ex, NULL, ex->definition->body, 0, 0);
	ex->now.total = ex->now.told_total = ex->root->now.open;
	return ex;
}

static void
decode_inputs(GoflowExecution *ex)
{
	goflow_values_decode(ex->definition->inputs, ex->definition->ninputs, ex->row->input,
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

			frame = goflow_frame_create(ex, goflow_frame_find(ex, row->parent),
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

	foreach(lc, goflow_journal_read_frame(&ex->row->id, frame->id))
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
		GoflowFrame *frame = goflow_frame_find(ex, row->frame);
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

		if (frame->parent)
			goflow_run(frame->parent, frame->body->owner)->pending->now.live++;
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
		GoflowVariableRow *row = goflow_variable_read(&ex->row->id, number, frame->id);

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
load(const pg_uuid_t *id, GoflowWrites *writes, const GoflowInstance *instances, int ninstances)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "goflow execution",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	GoflowExecutionRow *row = goflow_execution_read(id);
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
					  const GoflowInstance *instances, int ninstances)
{
	GoflowExecution *volatile ex = NULL;

	goflow_scan_hold();
	PG_TRY();
	{
		ex = load(id, writes, instances, ninstances);
	}
	PG_FINALLY();
	{
		goflow_scan_release();
	}
	PG_END_TRY();
	return ex;
}

/*
 * A node that begins in node mode and has bodies, or a child, leaves no journal
 * row that its being cancelled at the same time would collide with.  Who begins
 * it locks it before the commit and then looks whether it was cancelled; who
 * cancels it locks it first and then looks whether it has begun.
 */
static void
lock_instance(GoflowExecution *ex, int32 frame, int16 node)
{
	struct
	{
		pg_uuid_t	id;
		int32		frame;
		int32		node;
	}			key = {ex->row->id, frame, node};
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, goflow_relation("pending"),
					   hash_bytes((const unsigned char *) &key, sizeof(key)), 0);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* True if it was cancelled meanwhile. */
bool
goflow_execution_lock_begun(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	ListCell   *lc;

	lock_instance(ex, frame->id, node->index);
	foreach(lc, goflow_journal_read_frame(&ex->row->id, frame->id))
	{
		GoflowNodeRow *row = lfirst(lc);

		if (row->node == node->index && row->attempt >= goflow_run(frame, node)->attempt)
			return true;
	}
	return false;
}

/* If it has begun meanwhile, the batch is driven again. */
void
goflow_execution_lock_cancelled(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	ListCell   *lc;

	lock_instance(ex, frame->id, node->index);
	foreach(lc, goflow_pending_read(&ex->row->id))
	{
		GoflowPendingRow *row = lfirst(lc);

		if (row->frame == frame->id && row->node == node->index)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("node \"%s\" has begun while it was cancelled", node->path)));
	}
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

void
goflow_execution_free(GoflowExecution *ex)
{
	ListCell   *lc;

	forget_gone(ex);
	foreach(lc, ex->now.frames)
		goflow_frame_free(lfirst(lc));
	MemoryContextDelete(ex->context);
}

/* The execution's own time limit begins now. */
void
goflow_execution_begin_timeout(GoflowExecution *ex)
{
	GoflowPending *pending;

	if (ex->definition->timeout == 0 || ex->is_inline)
		return;
	pending = goflow_pending_create(ex, ex->root, NULL, GOFLOW_PENDING_TIMEOUT);
	pending->now.row.due_at = GetCurrentTimestamp() + ex->definition->timeout;
	goflow_wake_timer(pending->now.row.due_at);
}

void
goflow_execution_begin(GoflowExecution *ex)
{
	ex->now.state = GOFLOW_EXECUTION_RUNNING;
	if (ex->row->started_at == 0)
		ex->row->started_at = GetCurrentTimestamp();
	goflow_execution_begin_timeout(ex);
	goflow_frame_begin(ex, ex->root);
}

/* ---- what is stored ---- */

static ArrayType *
make_counters(GoflowExecution *ex)
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

static GoflowFrameRow *
make_frame_row(GoflowExecution *ex, GoflowFrame *frame)
{
	GoflowFrameRow *row = palloc0(sizeof(GoflowFrameRow));

	row->execution_id = ex->row->id;
	row->frame = frame->id;
	row->parent = frame->parent ? frame->parent->id : 0;
	row->node = frame->parent ? frame->body->owner->index : -1;
	row->part = frame->body->part;
	row->iteration = frame->iteration;
	row->seq = frame->seq;
	row->started_at = frame->started_at;
	row->unwind = frame->now.unwind;
	row->target = frame->now.target;
	row->error = frame->now.error;
	row->stored = frame->stored;
	row->tid = frame->tid;
	row->source = frame;
	if (frame->parent == NULL)
		row->counters = make_counters(ex);
	return row;
}

/* A frame is forgotten: its row goes with what else the segment does. */
void
goflow_execution_end_frame(GoflowExecution *ex, GoflowFrame *frame)
{
	MemoryContext old = MemoryContextSwitchTo(ex->writes->context);

	if (frame->stored)
		goflow_writes_add(ex->writes, GOFLOW_WRITE_FRAME_END, make_frame_row(ex, frame));
	MemoryContextSwitchTo(old);
}

/* Frame 0 has a row where the counters can't be had from its own journal alone. */
static bool
needs_root_row(GoflowExecution *ex)
{
	return ex->now.next_frame > 1 || ex->root->now.unwind != GOFLOW_UNWIND_NONE || ex->root->stored;
}

/* Before a flush: entries of frames that will not be loaded again may share rows. */
void
goflow_execution_mark_entries(GoflowExecution *ex)
{
	bool		is_done = goflow_execution_is_done(ex);
	List	   *entries = ex->writes->rows[GOFLOW_WRITE_NODE];

	for (int i = list_length(entries) - 1; i >= 0; i--)
	{
		GoflowNodeRow *entry = list_nth(entries, i);

		if (memcmp(&entry->execution_id, &ex->row->id, UUID_LEN) != 0)
			break;
		/* frame 0 may be asked for again: by retry() */
		entry->of_ended_frame = entry->frame > 0 &&
			(is_done || goflow_frame_find(ex, entry->frame) == NULL);
	}
}

void
goflow_execution_persist(GoflowExecution *ex)
{
	bool		is_done = goflow_execution_is_done(ex);
	MemoryContext old = MemoryContextSwitchTo(ex->writes->context);
	ListCell   *lc;

	goflow_execution_mark_entries(ex);
	foreach(lc, ex->now.frames)
	{
		GoflowFrame *frame = lfirst(lc);

		if (is_done)
		{
			if (frame->stored)
				goflow_writes_add(ex->writes, GOFLOW_WRITE_FRAME_END, make_frame_row(ex, frame));
			continue;
		}
		if (frame->parent ? frame->now.dirty || !frame->stored : needs_root_row(ex))
			goflow_writes_add(ex->writes, GOFLOW_WRITE_FRAME, make_frame_row(ex, frame));
		frame->now.dirty = false;
	}
	foreach(lc, ex->now.pendings)
	{
		GoflowPending *pending = lfirst(lc);

		if (is_done)
		{
			if (pending->now.row.stored)
				goflow_writes_add(ex->writes, GOFLOW_WRITE_PENDING_END, &pending->now.row);
		}
		else if (pending->now.dirty)
			goflow_wait_persist(ex, pending);
		pending->now.dirty = false;
	}
	MemoryContextSwitchTo(old);
	forget_gone(ex);
}

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

void
goflow_execution_show(GoflowExecution *ex)
{
	ex->tracker = goflow_tracker_open(&ex->row->id, ex->row->workflow_id, ex->row->run_as, ex->percent,
									 ex->started);
	ex->percent = Max(ex->percent, goflow_tracker_percent(&ex->tracker));
	goflow_execution_track(ex, -1);
}

void
goflow_execution_track(GoflowExecution *ex, int node)
{
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
	MemoryContext old = MemoryContextSwitchTo(ex->writes->context);
	GoflowNodeRow *row = palloc0(sizeof(GoflowNodeRow));
	TimestampTz now = state == GOFLOW_NODE_COMPLETED && duration < PG_INT32_MAX ?
		started_at + duration : GetCurrentTimestamp();

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
		row->columns = goflow_values_to_texts(node->columns, node->ncolumns, run->values, run->nulls);
		row->column_nulls = palloc(node->ncolumns * sizeof(bool));
		memcpy(row->column_nulls, run->nulls, node->ncolumns * sizeof(bool));
	}
	row->retried = retried;
	goflow_history_end(ex, frame, node, row);
	goflow_writes_add(ex->writes, GOFLOW_WRITE_NODE, row);
	MemoryContextSwitchTo(old);
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
