/*
 * execution.c
 *		An execution in memory: saved and restored, what it waits for, what of it
 *		survives a commit.
 *
 * Everything lives in the execution's memory context or a frame's, which is a
 * child of it.  Results that a rolled-back segment made stay there,
 * unreferenced, until that is freed.
 */
#include "postgres.h"

#include "engine/state.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/memutils.h"

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
	foreach(lc, goflow_journal_read_frame(ex->row, frame->id))
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

/* ---- its life ---- */

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
		row->counters = goflow_execution_counters(ex);
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

	for (int i = goflow_writes_find(ex->writes, GOFLOW_WRITE_NODE, &ex->row->id); i < list_length(entries); i++)
	{
		GoflowNodeRow *entry = list_nth(entries, i);

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
		Assert(frame->parent == NULL || goflow_run(frame->parent, frame->body->owner)->pending);
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
