/*
 * frame.c
 *		Frames: runs of a body.
 *
 * A frame begins with every node idle, sets the first values of its variables,
 * settles the nodes without "after", and ends when no reachable node is open
 * any more; then it evaluates its output, and its owner (the node whose body it
 * is) makes a step, in body.c.  A frame that must end early is stopped: simple
 * nodes are cancelled at once, nodes with bodies are wound up, which takes as
 * long as their "finally" bodies do.
 *
 * First values and output are expressions of users, and may fail.  That is an
 * error of this frame as a node's is, not of whoever started it or waits for
 * its end: so both are tasks, which segment.c runs like nodes.
 */
#include "postgres.h"

#include "engine/state.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

static Size
size_of_state(const GoflowBody *body)
{
	return MAXALIGN(body->nnodes * sizeof(GoflowNodeRun)) +
		MAXALIGN(body->nvariables * (sizeof(Datum) + sizeof(bool))) +
		MAXALIGN(body->nnodes * sizeof(int16));
}

/* Gives a state its arrays. */
static char *
lay_out(const GoflowBody *body, GoflowFrameState *state, char *room)
{
	state->runs = (GoflowNodeRun *) room;
	room += MAXALIGN(body->nnodes * sizeof(GoflowNodeRun));
	state->variables = (Datum *) room;
	state->variable_nulls = (bool *) (state->variables + body->nvariables);
	room += MAXALIGN(body->nvariables * (sizeof(Datum) + sizeof(bool)));
	state->ready = (int16 *) room;
	return room + MAXALIGN(body->nnodes * sizeof(int16));
}

/* Bytes that the columns of the body's nodes need, if each runs once. */
static Size
size_of_columns(const GoflowBody *body)
{
	Size		size = 0;

	for (int i = 0; i < body->nnodes; i++)
		size += GOFLOW_COLUMNS_SIZE(body->nodes[i]);
	return size;
}

/* A frame in memory, with every node idle. */
GoflowFrame *
goflow_frame_create(GoflowExecution *ex, GoflowFrame *parent, GoflowBody *body, int32 id, int64 iteration)
{
	/* frame 0 lives as long as the execution */
	MemoryContext context = parent == NULL ? ex->context :
		AllocSetContextCreate(ex->context, "goflow frame", ALLOCSET_SMALL_SIZES);
	Size		size = MAXALIGN(sizeof(GoflowFrame)) + size_of_state(body);
	Size		columns = size_of_columns(body);
	MemoryContext old = MemoryContextSwitchTo(context);
	char	   *room = palloc(size + size_of_state(body) + columns);	/* in one piece */
	GoflowFrame *frame = (GoflowFrame *) room;
	const bool *reachable = body->reachable;

	memset(room, 0, size);		/* the saved state is to be copied over, columns are to be set */
	room = lay_out(body, &frame->now, room + MAXALIGN(sizeof(GoflowFrame)));
	frame->room = lay_out(body, &frame->saved, room);
	frame->room_left = columns;
	memset(frame->now.variable_nulls, true, body->nvariables * sizeof(bool));
	frame->context = context;
	frame->id = id;
	frame->body = body;
	frame->parent = parent;
	frame->iteration = iteration;
	if (parent)
		frame->path = hash_bytes_extended((const unsigned char *) &iteration, sizeof(iteration),
										  hash_bytes_uint32_extended(body->index, parent->path));
	frame->segment = ex->segment;
	frame->now.target = -1;

	frame->now.open = body->nreachable;
	if (parent == NULL && ex->row->entry >= 0)
	{
		bool	   *others = palloc(body->nnodes * sizeof(bool));

		frame->now.open = goflow_graph_reach(body, ex->row->entry, others);
		reachable = others;
	}
	for (int i = 0; i < body->nnodes; i++)
	{
		frame->now.runs[i].state = GOFLOW_NODE_IDLE;
		frame->now.runs[i].port = -1;
		frame->now.runs[i].reachable = reachable[i];
	}
	MemoryContextSwitchTo(ex->context);
	ex->now.frames = lappend(ex->now.frames, frame);
	MemoryContextSwitchTo(old);
	return frame;
}

static void
set_task(GoflowExecution *ex, GoflowFrame *frame, GoflowFrameTask task)
{
	ex->now.tasks += (task != GOFLOW_FRAME_NOTHING) - (frame->now.task != GOFLOW_FRAME_NOTHING);
	frame->now.task = task;
}

GoflowFrame *
goflow_frame_next(GoflowExecution *ex)
{
	ListCell   *lc;

	if (ex->now.tasks == 0)
		return NULL;
	foreach(lc, ex->now.frames)
		if (((GoflowFrame *) lfirst(lc))->now.task != GOFLOW_FRAME_NOTHING)
			return lfirst(lc);
	elog(ERROR, "no frame has a task");
}

/* Sets first values of the body's variables, and readies its entries. */
static void
begin(GoflowExecution *ex, GoflowFrame *frame)
{
	GoflowBody *body = frame->body;

	for (int i = 0; i < body->nvariables; i++)
	{
		GoflowExpr *initial = body->variables[i].initial;
		bool		isnull = true;
		Datum		value = (Datum) 0;

		if (initial)
			value = goflow_evaluate(ex, frame, initial, &isnull, NULL, NULL);
		goflow_variable_assign(ex, frame, body->first_variable + i, NULL, value, isnull);
	}
	goflow_cascade_enter(ex, frame);
}

void
goflow_frame_begin(GoflowExecution *ex, GoflowFrame *frame)
{
	if (frame->body->nvariables > 0)
	{
		set_task(ex, frame, GOFLOW_FRAME_BEGIN);
		return;
	}
	begin(ex, frame);			/* which runs nobody's code */
	goflow_frame_check_end(ex, frame);
}

/* Starts a frame of one of a node's bodies.  error: error.* in it, or NULL. */
GoflowFrame *
goflow_frame_start(GoflowExecution *ex, GoflowFrame *parent, GoflowNode *owner, int part,
				   int64 iteration, Jsonb *error)
{
	GoflowPending *pending = goflow_run(parent, owner)->pending;
	GoflowFrame *frame = goflow_frame_create(ex, parent, owner->bodies[part], ex->now.next_frame++,
											 iteration);

	check_stack_depth();
	frame->now.dirty = true;
	if (error)
		frame->now.error = goflow_jsonb_copy(frame->context, error);
	pending->now.live++;
	goflow_history_frame(ex, frame, goflow_run(parent, owner)->attempt);
	goflow_frame_begin(ex, frame);
	return frame;
}

GoflowFrame *
goflow_frame_find(GoflowExecution *ex, int32 id)
{
	ListCell   *lc;

	foreach(lc, ex->now.frames)
		if (((GoflowFrame *) lfirst(lc))->id == id)
			return lfirst(lc);
	return NULL;
}

/* Its owner has taken note of its end; it is forgotten when the segment is safe. */
void
goflow_frame_gone(GoflowExecution *ex, GoflowFrame *frame)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);

	ex->now.frames = list_delete_ptr(ex->now.frames, frame);
	ex->gone_frames = lappend(ex->gone_frames, frame);
	goflow_execution_end_frame(ex, frame);
	ex->now.past_completed += frame->now.completed;
	ex->now.past_failed += frame->now.failed;
	ex->now.past_skipped += frame->now.skipped;
	MemoryContextSwitchTo(old);
}

void
goflow_frame_free(GoflowFrame *frame)
{
	ListCell   *lc;

	/* they may hold temporary files */
	foreach(lc, frame->tuplestores)
		tuplestore_end(lfirst(lc));
	if (frame->parent)
		MemoryContextDelete(frame->context);
}

static bool
has_output(GoflowFrame *frame)
{
	return frame->body->noutputs > 0 || (frame->body->owner && frame->body->owner->collect);
}

/* "output" of the frame's body as an object. */
static Jsonb *
make_output(GoflowExecution *ex, GoflowFrame *frame)
{
	return goflow_evaluate_object(ex, frame, frame->body->outputs, frame->body->noutputs);
}

static void
end(GoflowExecution *ex, GoflowFrame *frame)
{
	frame->now.ended = true;
	if (frame->parent)
		goflow_cascade_make_step(frame->parent, frame->body->owner);
}

/* Evaluates what the frame gives to its owner. */
static void
finish(GoflowExecution *ex, GoflowFrame *frame)
{
	GoflowNode *owner = frame->body->owner;
	Jsonb	   *output = owner && owner->collect ? goflow_evaluate_jsonb(ex, frame, owner->collect) :
		make_output(ex, frame);

	goflow_limit_check_size(ex->definition, "output of", frame->body->name, VARSIZE_ANY_EXHDR(output));
	frame->now.output = goflow_jsonb_copy(frame->context, output);
	end(ex, frame);
}

bool
goflow_frame_task_is_pure(const GoflowFrame *frame)
{
	const GoflowBody *body = frame->body;

	if (frame->now.task == GOFLOW_FRAME_BEGIN)
	{
		for (int i = 0; i < body->nvariables; i++)
			if (body->variables[i].initial && !goflow_evaluate_is_pure(body->variables[i].initial))
				return false;
		return true;
	}
	if (body->owner && body->owner->collect)
		return goflow_evaluate_is_pure_json(body->owner->collect);
	for (int i = 0; i < body->noutputs; i++)
		if (!goflow_evaluate_is_pure_json(body->outputs[i].expr))
			return false;
	return true;
}

void
goflow_frame_do_task(GoflowExecution *ex, GoflowFrame *frame)
{
	GoflowFrameTask task = frame->now.task;

	set_task(ex, frame, GOFLOW_FRAME_NOTHING);
	if (task == GOFLOW_FRAME_FINISH)
		finish(ex, frame);
	else
	{
		begin(ex, frame);
		goflow_frame_check_end(ex, frame);
	}
}

void
goflow_frame_failed(GoflowExecution *ex, GoflowFrame *frame, Jsonb *error)
{
	set_task(ex, frame, GOFLOW_FRAME_NOTHING);
	goflow_frame_stop(ex, frame, GOFLOW_UNWIND_FAIL, error, -1);
}

/* After a commit between the two, the output is evaluated again. */
void
goflow_frame_check_end(GoflowExecution *ex, GoflowFrame *frame)
{
	if (frame->now.open > 0 || frame->now.ended || frame->now.task != GOFLOW_FRAME_NOTHING)
		return;
	if (frame->now.unwind == GOFLOW_UNWIND_NONE && has_output(frame))
		set_task(ex, frame, GOFLOW_FRAME_FINISH);
	else
		end(ex, frame);
}

void
goflow_frame_stop(GoflowExecution *ex, GoflowFrame *frame, char unwind, Jsonb *error, int16 target)
{
	check_stack_depth();
	if (frame->now.ended || frame->now.unwind != GOFLOW_UNWIND_NONE)
		return;					/* the first reason counts */
	frame->now.unwind = unwind;
	frame->now.target = target;
	frame->now.error = error;
	frame->now.dirty = true;
	set_task(ex, frame, GOFLOW_FRAME_NOTHING);
	for (int i = 0; i < frame->body->nnodes; i++)
	{
		GoflowNodeRun *run = &frame->now.runs[i];

		if (run->reachable && !goflow_node_has_ended(run))
			goflow_cascade_cancel_node(ex, frame, frame->body->nodes[i]);
	}
	goflow_frame_check_end(ex, frame);
}

/* The rows of a many-row node: none if it did not complete. */
Tuplestorestate *
goflow_frame_rows(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);

	if (run->rows == NULL)
	{
		Tuplestorestate *rows = goflow_frame_make_rows(frame, node);

		if (run->state == GOFLOW_NODE_COMPLETED)
			goflow_rows_load(ex, frame, node, run->attempt, node->row_columns, node->nrow_columns, rows);
	}
	return run->rows;
}

/* The rows of a many-row node, to be filled. */
Tuplestorestate *
goflow_frame_make_rows(GoflowFrame *frame, GoflowNode *node)
{
	MemoryContext old = MemoryContextSwitchTo(frame->context);
	Tuplestorestate *rows = tuplestore_begin_heap(true, true, work_mem);

	frame->tuplestores = lappend(frame->tuplestores, rows);
	goflow_run(frame, node)->rows = rows;
	MemoryContextSwitchTo(old);
	return rows;
}

/* Copies a value into the frame's memory, detoasted.  frame NULL: the execution's. */
Datum
goflow_frame_keep_value(GoflowExecution *ex, GoflowFrame *frame, Oid type, Datum value)
{
	MemoryContext old = MemoryContextSwitchTo(frame ? frame->context : ex->context);

	value = goflow_value_copy(type, value);
	MemoryContextSwitchTo(old);
	return value;
}
