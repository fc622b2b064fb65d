/*
 * body.c
 *		Nodes that run bodies: loop, try, parallel.
 *
 * Such a node begins (it evaluates what it is about, and gets a pending), then
 * makes steps, each of them an entry in the ready list: one at once, and one
 * whenever frames of it have ended.  A step takes note of ended frames and
 * starts others, or ends the node.
 *
 *	loop		up to "parallel" iterations are open; items are read by chunk
 *	try			phases: 0 the body, 1 … n a catch, n + 1 the finally
 *	parallel	a frame per branch, all at once
 *
 * Winding up.  Errors that nobody caught, break and continue on their way to
 * their loop, and cancels end the node before its time: its frames are
 * stopped, a "finally" runs, and only then it goes on outward (row.unwind).
 */
#include "postgres.h"

#include "engine/state.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

/* The total is for people: it does not grow beyond this. */
#define MAX_TOTAL (PG_INT32_MAX / 2)

/* The node has been wound up: what ends it goes on outward. */
void
goflow_body_leave(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowPending *pending = goflow_run(frame, node)->pending;
	GoflowPendingRow row = pending->now.row;

	if (row.unwind == GOFLOW_UNWIND_FAIL)
	{
		/* ends the pending, too */
		goflow_node_failed(ex, frame, node, row.error, row.started_at,
						   (int) Min(GetCurrentTimestamp() - row.started_at, PG_INT32_MAX));
		return;
	}
	goflow_pending_end(ex, pending);
	goflow_execution_record(ex, frame, node, GOFLOW_NODE_CANCELLED, row.started_at, 0, NULL);
	if (row.unwind == GOFLOW_UNWIND_BREAK || row.unwind == GOFLOW_UNWIND_CONTINUE)
		goflow_frame_stop(ex, frame, row.unwind, NULL, row.target);
	goflow_cascade_ended(ex, frame, node);
}

/*
 * Ends the node before its time.  Open frames are stopped; when the last has
 * ended, the next step leaves the node.
 */
void
goflow_body_wind(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, char unwind,
				 Jsonb *error, int16 target)
{
	GoflowPending *pending = goflow_run(frame, node)->pending;
	GoflowPendingRow *row = &pending->now.row;
	bool		in_finally = node->type == GOFLOW_TYPE_TRY && row->phase > node->ncatches;
	List	   *frames;
	ListCell   *lc;

	check_stack_depth();
	if (row->unwind == GOFLOW_UNWIND_NONE || unwind == GOFLOW_UNWIND_CANCEL)
	{
		row->unwind = unwind;
		row->error = error;
		row->target = target;
		pending->now.dirty = true;
	}
	if (!in_finally)
	{
		frames = list_copy(ex->now.frames);
		foreach(lc, frames)
		{
			GoflowFrame *inner = lfirst(lc);

			if (inner->parent == frame && inner->body->owner == node)
				goflow_frame_stop(ex, inner, GOFLOW_UNWIND_CANCEL, NULL, -1);
		}
		list_free(frames);
	}
	goflow_cascade_make_step(frame, node);
}

/* ---- loop ---- */

static void
begin_loop(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowPending *pending = goflow_run(frame, node)->pending;
	GoflowPendingRow *row = &pending->now.row;
	int64		bound = node->max_iterations;

	switch (node->loop_kind)
	{
		case GOFLOW_LOOP_NODE:
			{
				GoflowRef	ref = {.kind = GOFLOW_REF_NODE, .node = node->loop_source, .field = 0};
				bool		isnull;
				Datum		count = goflow_reference_value(ex, frame, node, &ref, &isnull);

				row->count = isnull ? 0 : DatumGetInt64(count);
				break;
			}
		case GOFLOW_LOOP_ARRAY:
		case GOFLOW_LOOP_QUERY:
			{
				Tuplestorestate *items = goflow_items_collect(ex, frame, node);

				row->count = tuplestore_tuple_count(items);
				goflow_rows_store(ex, frame, node, row->attempt, node->items, node->nitems, items);
				tuplestore_end(items);
				break;
			}
		case GOFLOW_LOOP_REPEAT:
			{
				bool		isnull;
				Datum		count = goflow_evaluate(ex, frame, node->expr, &isnull, NULL, NULL);

				row->count = isnull ? 0 : Max(DatumGetInt64(count), 0);
				break;
			}
		case GOFLOW_LOOP_WHILE:
			row->count = -1;
			break;
	}
	if (row->count > bound)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_LIMIT_EXCEEDED),
				 errmsg("loop \"%s\" would make " INT64_FORMAT " iterations", node->path, row->count),
				 errdetail("Its \"max_iterations\" is " INT64_FORMAT ".", bound)));
}

/* Reads the item of a frame that has begun an iteration, or was loaded. */
void
goflow_loop_read_item(GoflowExecution *ex, GoflowFrame *iteration)
{
	GoflowFrame *frame = iteration->parent;
	GoflowNode *node = iteration->body->owner;
	GoflowPending *pending = goflow_run(frame, node)->pending;
	int			chunk = (int) ((iteration->iteration - 1) / GOFLOW_CHUNK_ROWS);
	int			at = (int) ((iteration->iteration - 1) % GOFLOW_CHUNK_ROWS) * node->nitems;
	MemoryContext old;

	if (node->loop_kind == GOFLOW_LOOP_WHILE || node->loop_kind == GOFLOW_LOOP_REPEAT)
		return;
	if (pending->chunk != chunk)
	{
		int			source_node = node->index;
		int			source_frame = frame->id;
		int			attempt = pending->now.row.attempt;
		ArrayType  *array;

		if (node->loop_kind == GOFLOW_LOOP_NODE)
		{
			GoflowFrame *outer = goflow_frame_of_body(frame, node->loop_source->body);

			source_frame = outer->id;
			source_node = node->loop_source->index;
			attempt = goflow_run(outer, node->loop_source)->attempt;
		}
		if (pending->chunk_context == NULL)
			pending->chunk_context = AllocSetContextCreate(ex->context, "goflow chunk",
														   ALLOCSET_SMALL_SIZES);
		pending->chunk = -1;
		MemoryContextReset(pending->chunk_context);
		old = MemoryContextSwitchTo(pending->chunk_context);
		array = goflow_chunk_read(&ex->row->id, source_frame, source_node, attempt, chunk);
		deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &pending->elements,
						  &pending->element_nulls, &pending->nelements);
		pending->chunk = chunk;
		MemoryContextSwitchTo(old);
	}
	if (at + node->nitems > pending->nelements)
		elog(ERROR, "iteration " INT64_FORMAT " of loop \"%s\" has no item", iteration->iteration,
			 node->path);

	old = MemoryContextSwitchTo(iteration->context);
	iteration->items = palloc(Max(node->nitems, 1) * sizeof(Datum));
	iteration->item_nulls = palloc(Max(node->nitems, 1) * sizeof(bool));
	for (int i = 0; i < node->nitems; i++)
	{
		iteration->item_nulls[i] = pending->element_nulls[at + i];
		iteration->items[i] = iteration->item_nulls[i] ? (Datum) 0 :
			goflow_value_decode(&node->items[i], TextDatumGetCString(pending->elements[at + i]));
	}
	MemoryContextSwitchTo(old);
}

/* True if another iteration is to begin. */
static bool
has_next(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, GoflowPendingRow *row)
{
	if (row->phase != 0)
		return false;			/* broken */
	if (node->loop_kind != GOFLOW_LOOP_WHILE)
		return row->next <= row->count;
	if (!goflow_evaluate_boolean(ex, frame, node->expr))
		return false;
	if (row->next > node->max_iterations)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_LIMIT_EXCEEDED),
				 errmsg("loop \"%s\" has made " INT64_FORMAT " iterations", node->path, row->next - 1),
				 errdetail("Its \"max_iterations\" is " INT64_FORMAT ".", node->max_iterations),
				 errhint("Set \"max_iterations\" if it is to make more.")));
	return true;
}

static void
complete_loop(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	GoflowPendingRow *row = &run->pending->now.row;
	Jsonb	   *results = NULL;
	MemoryContext old;

	if (node->collect || node->bodies[0]->noutputs > 0)
	{
		List	   *values = goflow_collected_read(&ex->row->id, frame->id, node->index, row->attempt);

		old = MemoryContextSwitchTo(frame->context);
		results = goflow_jsonb_array(values);
		MemoryContextSwitchTo(old);
	}
	/* iterations that a break left out were counted in the total */
	if (row->count > row->next - 1)
		ex->now.total -= (int) Min((row->count - (row->next - 1)) * node->bodies[0]->nnodes,
								   ex->now.total);
	run->values[0] = Int32GetDatum((int32) row->ended);
	run->nulls[0] = false;
	run->values[1] = results ? JsonbPGetDatum(results) : (Datum) 0;
	run->nulls[1] = results == NULL;
	goflow_cascade_completed(ex, frame, node);
}

/* An iteration has ended; false: the loop is to be wound up, as row says. */
static bool
take_iteration(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, GoflowFrame *iteration)
{
	GoflowPending *pending = goflow_run(frame, node)->pending;
	GoflowPendingRow *row = &pending->now.row;
	char		unwind = iteration->now.unwind;
	bool		is_own = iteration->now.target == node->index;

	if (row->unwind != GOFLOW_UNWIND_NONE)
		return true;			/* it is being wound up already */
	if (unwind == GOFLOW_UNWIND_NONE)
	{
		row->ended++;
		if (iteration->now.output)
			goflow_collected_write(&ex->row->id, frame->id, node->index, row->attempt,
								   iteration->iteration, iteration->now.output);
		return true;
	}
	if (row->phase != 0 && unwind == GOFLOW_UNWIND_CANCEL)
		return true;			/* another broke the loop: it does not count */
	if (is_own && (unwind == GOFLOW_UNWIND_BREAK || unwind == GOFLOW_UNWIND_CONTINUE))
	{
		row->ended++;
		if (unwind == GOFLOW_UNWIND_BREAK)
			row->phase = 1;
		return true;
	}
	row->unwind = unwind;
	row->error = iteration->now.error;
	row->target = iteration->now.target;
	return false;
}

static void
step_loop(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, List *ended)
{
	GoflowPending *pending = goflow_run(frame, node)->pending;
	GoflowPendingRow *row = &pending->now.row;
	ListCell   *lc;

	foreach(lc, ended)
	{
		GoflowFrame *iteration = lfirst(lc);
		bool		goes_on = take_iteration(ex, frame, node, iteration);

		if (!goes_on && iteration->now.error)
			row->error = goflow_jsonb_copy(ex->context, iteration->now.error);
		goflow_frame_gone(ex, iteration);
		if (!goes_on)
			goflow_body_wind(ex, frame, node, row->unwind, row->error, row->target);
	}
	if (row->phase != 0 && row->unwind == GOFLOW_UNWIND_NONE && pending->now.live > 0)
	{
		/* broken: iterations beside it are not wanted any more */
		List	   *frames = list_copy(ex->now.frames);

		foreach(lc, frames)
		{
			GoflowFrame *iteration = lfirst(lc);

			if (iteration->parent == frame && iteration->body->owner == node)
				goflow_frame_stop(ex, iteration, GOFLOW_UNWIND_CANCEL, NULL, -1);
		}
		list_free(frames);
	}
	if (row->unwind != GOFLOW_UNWIND_NONE)
	{
		if (pending->now.live == 0)
			goflow_body_leave(ex, frame, node);
		return;
	}
	if (row->next == 1 && row->count > 0)
		ex->now.total = (int) Min(ex->now.total + row->count * node->bodies[0]->nnodes, MAX_TOTAL);
	while (pending->now.live < node->parallel && has_next(ex, frame, node, row))
	{
		int64		number = row->next++;

		if (row->count < 0)
			ex->now.total = Min(ex->now.total + node->bodies[0]->nnodes, MAX_TOTAL);
		(void) goflow_frame_start(ex, frame, node, 0, number, NULL);
		CHECK_FOR_INTERRUPTS();
	}
	if (pending->now.live == 0)
		complete_loop(ex, frame, node);
}

/* ---- try ---- */

static void
enter_phase(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, int phase, Jsonb *error)
{
	GoflowPending *pending = goflow_run(frame, node)->pending;

	pending->now.row.phase = phase;
	pending->now.dirty = true;
	ex->now.total += node->bodies[phase]->nnodes;
	(void) goflow_frame_start(ex, frame, node, phase, 0, error);
}

/* That of the body, or of the catch that ran; it was kept while the finally ran. */
static void
set_try_output(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	MemoryContext old = MemoryContextSwitchTo(frame->context);
	List	   *kept = goflow_collected_read(&ex->row->id, frame->id, node->index,
											 run->pending->now.row.attempt);

	MemoryContextSwitchTo(old);
	run->values[2] = kept ? JsonbPGetDatum(linitial(kept)) : (Datum) 0;
	run->nulls[2] = kept == NIL;
}

/* The body and the catch are over: the finally, or the end. */
static void
leave_try(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	GoflowPendingRow *row = &run->pending->now.row;

	if (node->has_finally && row->phase <= node->ncatches)
	{
		enter_phase(ex, frame, node, node->ncatches + 1, NULL);
		return;
	}
	if (row->unwind != GOFLOW_UNWIND_NONE)
	{
		goflow_body_leave(ex, frame, node);
		return;
	}
	run->values[0] = BoolGetDatum(row->error == NULL);
	run->nulls[0] = false;
	run->values[1] = row->error ? JsonbPGetDatum(row->error) : (Datum) 0;
	run->nulls[1] = row->error == NULL;
	if (goflow_try_has_output(node))
		set_try_output(ex, frame, node);
	goflow_cascade_completed(ex, frame, node);
}

static int
find_catch(GoflowNode *node, Jsonb *error)
{
	for (int i = 0; i < node->ncatches; i++)
		if (goflow_condition_matches(node->catches[i].codes, node->catches[i].ncodes,
									 goflow_error_code(error)))
			return i + 1;
	return 0;
}

static void
step_try(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, List *ended)
{
	GoflowPending *pending = goflow_run(frame, node)->pending;
	GoflowPendingRow *row = &pending->now.row;
	GoflowFrame *inner;
	char		unwind;
	int16		target;
	Jsonb	   *error = NULL;
	int			part;

	if (ended == NIL)
	{
		if (pending->now.live == 0)
		{
			if (row->unwind != GOFLOW_UNWIND_NONE)
				leave_try(ex, frame, node);
			else
				enter_phase(ex, frame, node, 0, NULL);
		}
		return;
	}
	inner = linitial(ended);
	unwind = inner->now.unwind;
	target = inner->now.target;
	part = inner->body->part;
	if (inner->now.unwind == GOFLOW_UNWIND_FAIL)
		error = goflow_jsonb_copy(ex->context, inner->now.error);
	if (inner->now.output && row->unwind == GOFLOW_UNWIND_NONE)
		goflow_collected_write(&ex->row->id, frame->id, node->index, row->attempt, 1,
							   inner->now.output);
	goflow_frame_gone(ex, inner);
	pending->now.dirty = true;

	if (unwind == GOFLOW_UNWIND_FAIL &&
		(row->unwind == GOFLOW_UNWIND_BREAK || row->unwind == GOFLOW_UNWIND_CONTINUE))
		row->unwind = GOFLOW_UNWIND_NONE;	/* an error on the way to the loop */
	if (unwind == GOFLOW_UNWIND_NONE || row->unwind != GOFLOW_UNWIND_NONE)
	{
		/* the first reason counts; an error in the finally is in the journal */
		leave_try(ex, frame, node);
		return;
	}
	if (unwind == GOFLOW_UNWIND_FAIL && part == 0)
	{
		int			handler = find_catch(node, error);

		if (handler > 0)
		{
			row->error = error;
			enter_phase(ex, frame, node, handler, error);
			return;
		}
	}
	row->unwind = unwind;
	row->target = target;
	row->error = error;
	leave_try(ex, frame, node);
}

/* ---- parallel ---- */

static int
wanted_branches(GoflowNode *node)
{
	return node->join == GOFLOW_JOIN_ALL ? node->nbodies : Min(node->join_count, node->nbodies);
}

static void
complete_parallel(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	MemoryContext old = MemoryContextSwitchTo(frame->context);
	List	   *collected = goflow_collected_read(&ex->row->id, frame->id, node->index,
												  run->pending->now.row.attempt);
	List	   *outputs = NIL;
	Jsonb	   *results = NULL;
	ListCell   *lc;

	/* each is {branch: output}, in the order in which they ended */
	foreach(lc, collected)
	{
		Jsonb	   *branch = lfirst(lc);

		results = results == NULL ? branch :
			DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(results),
											   JsonbPGetDatum(branch)));
		outputs = lappend(outputs, goflow_jsonb_only_value(branch));
	}
	switch (node->aggregate)
	{
		case GOFLOW_AGGREGATE_NONE:
			break;
		case GOFLOW_AGGREGATE_MERGE:
			results = NULL;
			foreach(lc, outputs)
			{
				Jsonb	   *output = lfirst(lc);

				if (!JB_ROOT_IS_OBJECT(output))
					continue;
				results = results == NULL ? output :
					DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(results),
													   JsonbPGetDatum(output)));
			}
			break;
		case GOFLOW_AGGREGATE_ARRAY:
			results = goflow_jsonb_array(outputs);
			break;
		case GOFLOW_AGGREGATE_FIRST:
			results = outputs ? linitial(outputs) : NULL;
			break;
		case GOFLOW_AGGREGATE_LAST:
			results = outputs ? llast(outputs) : NULL;
			break;
	}
	MemoryContextSwitchTo(old);
	run->values[0] = results ? JsonbPGetDatum(results) : (Datum) 0;
	run->nulls[0] = results == NULL;
	goflow_cascade_completed(ex, frame, node);
}

static void
begin_parallel(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowPending *pending = goflow_run(frame, node)->pending;

	pending->now.row.count = node->nbodies;
}

/* row.next counts failed branches here, row.ended those that completed. */
static void
step_parallel(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, List *ended)
{
	GoflowPending *pending = goflow_run(frame, node)->pending;
	GoflowPendingRow *row = &pending->now.row;
	int			wanted = wanted_branches(node);
	ListCell   *lc;

	if (row->phase == 0 && row->unwind == GOFLOW_UNWIND_NONE)
	{
		row->phase = 1;
		row->next = 0;
		pending->now.dirty = true;
		for (int i = 0; i < node->nbodies; i++)
		{
			ex->now.total += node->bodies[i]->nnodes;
			(void) goflow_frame_start(ex, frame, node, i, 0, NULL);
		}
		return;
	}
	foreach(lc, ended)
	{
		GoflowFrame *branch = lfirst(lc);
		char		unwind = branch->now.unwind;
		Jsonb	   *error = NULL;

		pending->now.dirty = true;
		if (branch->now.error)
			error = goflow_jsonb_copy(ex->context, branch->now.error);
		if (row->unwind == GOFLOW_UNWIND_NONE && unwind == GOFLOW_UNWIND_NONE)
		{
			Jsonb	   *output = branch->now.output;
			bool		isnull = output == NULL;
			Datum		value = output ? JsonbPGetDatum(output) : (Datum) 0;
			Oid			type = JSONBOID;
			char	   *name = branch->body->name;

			row->ended++;
			goflow_collected_write(&ex->row->id, frame->id, node->index, row->attempt, row->ended,
								   goflow_fields_to_jsonb(&name, &type, 1, &value, &isnull));
		}
		else if (row->unwind == GOFLOW_UNWIND_NONE && unwind == GOFLOW_UNWIND_FAIL)
		{
			row->next++;
			if (node->nbodies - row->next < wanted)
				goflow_body_wind(ex, frame, node, unwind, error, -1);
		}
		else if (row->unwind == GOFLOW_UNWIND_NONE && unwind != GOFLOW_UNWIND_CANCEL)
			goflow_body_wind(ex, frame, node, unwind, NULL, branch->now.target);
		goflow_frame_gone(ex, branch);
	}
	if (row->unwind != GOFLOW_UNWIND_NONE)
	{
		if (pending->now.live == 0)
			goflow_body_leave(ex, frame, node);
		return;
	}
	if (row->ended >= wanted && node->cancel_rest && pending->now.live > 0)
	{
		List	   *frames = list_copy(ex->now.frames);

		foreach(lc, frames)
		{
			GoflowFrame *branch = lfirst(lc);

			if (branch->parent == frame && branch->body->owner == node)
				goflow_frame_stop(ex, branch, GOFLOW_UNWIND_CANCEL, NULL, -1);
		}
		list_free(frames);
	}
	if (pending->now.live == 0 && row->ended >= wanted)
		complete_parallel(ex, frame, node);
}

/* ---- all three ---- */

/* Its columns, all 0 until the bodies have set them. */
static void
make_columns(GoflowFrame *frame, GoflowNode *node, GoflowNodeRun *run)
{
	goflow_node_make_columns(frame, node, run);
	memset(run->values, 0, GOFLOW_COLUMNS_SIZE(node));
}

void
goflow_body_begin(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	GoflowPending *pending = goflow_pending_create(ex, frame, node, GOFLOW_PENDING_BODIES);

	make_columns(frame, node, run);
	if (node->timeout > 0 && !ex->is_inline)
	{
		pending->now.row.due_at = GetCurrentTimestamp() + node->timeout;
		goflow_wake_timer(pending->now.row.due_at);
	}
	if (node->type == GOFLOW_TYPE_LOOP)
		begin_loop(ex, frame, node);
	else if (node->type == GOFLOW_TYPE_PARALLEL)
		begin_parallel(ex, frame, node);
	goflow_cascade_make_step(frame, node);
}

void
goflow_body_step(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	GoflowPending *pending = run->pending;
	GoflowPendingRow *row = &pending->now.row;
	List	   *ended = NIL;
	ListCell   *lc;

	run->is_stepping = false;
	if (run->values == NULL)
		make_columns(frame, node, run);
	if (row->due_at != 0 && row->due_at <= GetCurrentTimestamp() &&
		row->unwind == GOFLOW_UNWIND_NONE)
	{
		MemoryContext old = MemoryContextSwitchTo(ex->context);
		Jsonb	   *error = goflow_error_make(ERRCODE_GOFLOW_EXECUTION_TIMEOUT,
											  psprintf("node \"%s\" timed out", node->path), NULL,
											  node, row->attempt);

		MemoryContextSwitchTo(old);
		goflow_body_wind(ex, frame, node, GOFLOW_UNWIND_FAIL, error, -1);
		run->is_stepping = false;
	}
	foreach(lc, ex->now.frames)
	{
		GoflowFrame *inner = lfirst(lc);

		if (inner->parent == frame && inner->body->owner == node && inner->now.ended)
			ended = lappend(ended, inner);
	}
	pending->now.live -= list_length(ended);
	pending->now.dirty |= ended != NIL;
	switch (node->type)
	{
		case GOFLOW_TYPE_LOOP:
			step_loop(ex, frame, node, ended);
			pending->now.dirty = true;
			break;
		case GOFLOW_TYPE_TRY:
			step_try(ex, frame, node, ended);
			break;
		case GOFLOW_TYPE_PARALLEL:
			step_parallel(ex, frame, node, ended);
			break;
		default:
			elog(ERROR, "node \"%s\" has no bodies", node->path);
	}
	list_free(ended);
}
