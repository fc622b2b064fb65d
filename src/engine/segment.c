/*
 * segment.c
 *		Runs the ready nodes of one execution, in a subtransaction.
 *
 * A straight run of nodes shares one subtransaction: a segment.  If one of
 * them fails, the segment is rolled back (in memory, too) and run again with a
 * subtransaction per node, so that only the node at fault fails and the work
 * of those before it stays.  A node whose fuse burnt, or that did something a
 * subtransaction can't bound, is rolled back with its segment and learned as
 * one that runs in node mode; the segment runs again up to it.
 *
 * The one PG_TRY around user code of a batch is here.  Deadlocks,
 * serialization failures and a full disk concern the whole transaction and are
 * thrown on, and so is an error while the journal is written.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

/* Where in an execution the process is, for error contexts and for the catch. */
typedef struct Position
{
	GoflowExecution *ex;
	GoflowFrame *frame;
	GoflowNode *node;			/* NULL: the workflow itself, or a task of a frame */
	GoflowCompensationRow *compensation;	/* being undone, or NULL */
	int			ran;			/* nodes run in this segment */
	bool		connected;		/* to SPI */
	GoflowInstance instance;	/* what runs now, by name */
	int			losses;			/* of workers with it */
	bool		crashed;		/* the server, before */
	TimestampTz ended_at;		/* of the node that ran last; or when the execution began; or 0 */
	MemoryContext node_context; /* reset after each node; NULL: none */
	int			interruptions;	/* of undos, in all segments */
} Position;

/* So often an undo that somebody cancels runs again. */
#define MAX_INTERRUPTIONS 5

static void
describe_position(void *arg)
{
	Position   *at = arg;

	GoflowNode *node = at->node;

	/* what concerns a whole body is shown at the node that it is a body of */
	if (node == NULL && at->frame)
		node = at->frame->body->owner;
	if (node)
		errcontext("node \"%s\" of workflow \"%s\", version %d",
				   node->path, at->ex->definition->name, at->ex->definition->version);
	else
		errcontext("workflow \"%s\", version %d",
				   at->ex->definition->name, at->ex->definition->version);
}

/* Connects to SPI, once in a segment, before the first code that needs it. */
static void
connect_spi(Position *at)
{
	MemoryContext old = CurrentMemoryContext;

	if (at->connected)
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(old);
	at->connected = true;
}

static void
disconnect_spi(Position *at)
{
	if (at->connected && SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	at->connected = false;
}

/* What a driver runs by itself: a node, or (NULL) what belongs to a frame. */
static void
name(GoflowInstance *instance, GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, int attempt)
{
	*instance = (GoflowInstance) {
		.execution_id = ex->row->id,
		.frame = frame ? frame->id : 0,
		.node = node ? node->index : -1,
		.attempt = attempt
	};
}

/* Has the server crashed with it, or with others of its kind? */
static bool
has_crashed(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowInstance instance;
	GoflowCrashes crashes;

	name(&instance, ex, frame, node, 0);
	crashes = goflow_mark_crashes(&instance, ex->definition->workflow_id, frame->path);
	return crashes.own > 0 || crashes.executions > 0;
}

/* May this node run in a transaction that it shares with others? */
static bool
may_join(Position *at, GoflowFrame *frame, GoflowNode *node)
{
	GoflowExecution *ex = at->ex;

	if (!node->is_atomic)
	{
		if (ex->is_inline)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_MUST_WAIT),
					 errmsg("run() cannot run node \"%s\" of workflow \"%s\"", node->path,
							ex->definition->name),
					 errdetail("Its \"atomic\" is false: it needs to be outside of a transaction."),
					 errhint("Use goflow.start().")));
		return false;
	}
	if (node->isolation > XACT_READ_COMMITTED)
	{
		if (ex->is_inline && node->isolation > XactIsoLevel)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_MUST_WAIT),
					 errmsg("run() cannot run node \"%s\" of workflow \"%s\"", node->path,
							ex->definition->name),
					 errdetail("Its \"isolation\" is higher than that of this transaction."),
					 errhint("Use goflow.start(), or begin a transaction of that isolation.")));
		return ex->is_inline;
	}
	if (ex->is_inline || node->type == GOFLOW_TYPE_TRIGGER || node->type == GOFLOW_TYPE_DELAY ||
		node->type == GOFLOW_TYPE_TRY || node->type == GOFLOW_TYPE_PARALLEL ||
		node->type == GOFLOW_TYPE_SIGNAL)
		return true;
	if (ex->alone)
		return false;
	if (unlikely(goflow_mark_has_crashes()) && has_crashed(ex, frame, node))
		return false;
	switch (goflow_speed_get(ex->definition->workflow_id, node->index, &node->speed))
	{
		case GOFLOW_SPEED_FAST:
			return true;
		case GOFLOW_SPEED_UNKNOWN:
			connect_spi(at);
			return goflow_node_may_be_tried(node);
		default:
			return false;
	}
}

static void
raise_unfit(GoflowNode *node)
{
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg_internal("node \"%s\" cannot run in a batch", node->path)));
}

/*
 * Runs a node, and what its settings ask for around it; false: it waits.  began:
 * when, not before the moment of its statement, so that both together never say
 * that it ended later than it did: the next one would seem to have ended first.
 */
static bool
execute(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, instr_time *began)
{
	int			level = 0;
	bool		ended;

	if (!ex->is_inline)
		goflow_session_node_begin(&node->settings, true, node->timeout);
	else if (node->settings.count > 0)
	{
		level = NewGUCNestLevel();
		goflow_settings_apply(&node->settings);
	}
	INSTR_TIME_SET_CURRENT(*began);
	ended = goflow_node_execute(ex, frame, node);
	if (level > 0)
		AtEOXact_GUC(true, level);
	if (!ex->is_inline)
	{
		goflow_session_node_end();
		/* also when the node swallowed the cancel */
		if (goflow_session_fuse_burnt() || goflow_session_timed_out() || goflow_session_must_run_alone())
			raise_unfit(node);
	}
	return ended;
}

/*
 * May a node, or (NULL) the task of a frame, do without what surrounds others?
 * It would cost more than the node itself.
 */
static bool
is_bare(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	return !ex->is_inline && StatementTimeout == 0 &&
		(node ? goflow_node_is_pure(node) : goflow_frame_task_is_pure(frame));
}

/* Microseconds that a node takes, and when it began; false: it waits. */
static bool
time_node(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, TimestampTz *started_at,
		  int64 *duration)
{
	instr_time	began;
	instr_time	after;

	if (ex->is_inline)
		*started_at = GetCurrentTimestamp();
	if (!execute(ex, frame, node, &began))
		return false;
	INSTR_TIME_SET_CURRENT(after);
	INSTR_TIME_SUBTRACT(after, began);
	*duration = INSTR_TIME_GET_MICROSEC(after);
	/* to look at the clock again would not be cheap beside a node of a microsecond */
	if (!ex->is_inline)
		*started_at = GetCurrentStatementStartTimestamp();
	return true;
}

/* The same of a bare one: it begins when the one before it has ended, or now (0). */
static void
time_bare_node(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, TimestampTz *started_at,
			   int64 *duration)
{
	if (*started_at == 0)
		*started_at = GetCurrentTimestamp();
	goflow_session_pure_begin(*started_at, true);
	ex->bare_since = *started_at;
	(void) goflow_node_execute(ex, frame, node);
	ex->bare_since = 0;
	goflow_session_pure_end();
	if (goflow_session_fuse_burnt())
		raise_unfit(node);
	*duration = GetCurrentTimestamp() - *started_at;
	if (*duration < 0)			/* the clock was set back */
		*duration = 0;
}

/*
 * Runs one node and what follows from it.  previous: when the one before it
 * ended, or 0.  Returns when it ended; 0: it waits.
 */
static TimestampTz
run_node(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, bool bare, TimestampTz previous)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	TimestampTz started_at = previous;
	TimestampTz waits_since = 0;
	int64		duration;

	run->state = GOFLOW_NODE_RUNNING;
	if (run->attempt == 0)
		run->attempt = 1;
	goflow_history_start(ex, run);
	if (run->pending && run->pending->now.row.kind == GOFLOW_PENDING_DELAY)
		waits_since = run->pending->now.row.started_at;
	/* what a retry waited for has come */
	if (run->pending && run->pending->now.row.kind == GOFLOW_PENDING_RETRY)
		goflow_pending_end(ex, run->pending);
	if (!bare || !ex->is_hidden)
		goflow_execution_track_node(ex, node->index);

	if (bare)
		time_bare_node(ex, frame, node, &started_at, &duration);
	else if (!time_node(ex, frame, node, &started_at, &duration))
	{
		run->state = run->pending->now.row.kind == GOFLOW_PENDING_BODIES ?
			GOFLOW_NODE_RUNNING : GOFLOW_NODE_WAITING;
		return 0;
	}
	if (!ex->is_inline)
		goflow_speed_learn(ex->definition->workflow_id, node->index, &node->speed, duration);
	if (waits_since)
	{
		duration += Max(started_at - waits_since, 0);
		started_at = waits_since;
	}

	goflow_execution_record(ex, frame, node, GOFLOW_NODE_COMPLETED, started_at,
							Min(duration, PG_INT32_MAX), NULL);
	goflow_cascade_leave(ex, frame, node);
	goflow_cascade_ended(ex, frame, node);
	return run->ended_at;
}

/* A node that has begun makes a step. */
static void
step_node(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	if (!ex->is_inline)
		goflow_session_node_begin(NULL, false, 0);
	switch (goflow_run(frame, node)->pending->now.row.kind)
	{
		case GOFLOW_PENDING_WORKFLOW:
			goflow_child_step(ex, frame, node);
			break;
		case GOFLOW_PENDING_SIGNAL:
		case GOFLOW_PENDING_APPROVAL:
		case GOFLOW_PENDING_TASK:
			goflow_wait_step(ex, frame, node);
			break;
		default:
			goflow_body_step(ex, frame, node);
			break;
	}
	if (!ex->is_inline)
		goflow_session_node_end();
}

/* A frame's first values, or its output.  previous: when what ran before ended, or 0. */
static void
do_task(GoflowExecution *ex, GoflowFrame *frame, bool bare, TimestampTz previous)
{
	if (bare)
	{
		ex->bare_since = previous ? previous : GetCurrentTimestamp();
		goflow_session_pure_begin(ex->bare_since, false);
	}
	else if (!ex->is_inline)
		goflow_session_node_begin(NULL, false, 0);
	goflow_frame_do_task(ex, frame);
	ex->bare_since = 0;
	if (bare)
		goflow_session_pure_end();
	else if (!ex->is_inline)
		goflow_session_node_end();
}

/*
 * Names the code of users that is to run now.  If workers were lost with it
 * again and again, or the server crashed, it fails instead.
 */
static void
enter(Position *at, GoflowFrame *frame, GoflowNode *node, int attempt, bool bare)
{
	GoflowExecution *ex = at->ex;
	GoflowNode *blamed = frame && !node ? frame->body->owner : node;
	uint64		path = frame ? frame->path : 0;

	if (!bare)
	{
		connect_spi(at);
		if (ex->is_inline)
			return;				/* the session is the caller's */
		goflow_activity_show(ex->definition, blamed);
	}
	name(&at->instance, ex, frame, node, attempt);
	at->losses = goflow_queue_set_driven(&at->instance);
	if (at->losses >= GOFLOW_MAX_LOSSES)
		goflow_error_lost(ex->definition, blamed, at->losses);
	at->crashed = unlikely(goflow_mark_has_crashes()) &&
		goflow_fence_check(&at->instance, ex->definition, blamed, path);
	goflow_mark_run(&at->instance, ex->definition->workflow_id, path);
}

/* It has ended, and so has whatever it did to this process. */
static void
leave(Position *at)
{
	if (at->ex->is_inline)
		return;
	CHECK_FOR_INTERRUPTS();
	if (at->losses > 0)
		goflow_queue_forget_losses(&at->instance);
	at->losses = 0;
	if (at->crashed)
		goflow_mark_acquit(&at->instance);
	at->crashed = false;
	(void) goflow_queue_set_driven(NULL);
}

/* Frame 0 has ended, and nothing is left to undo. */
static void
finish(GoflowExecution *ex)
{
	switch (ex->root->now.unwind)
	{
		case GOFLOW_UNWIND_NONE:
			ex->now.output = ex->root->now.output;
			ex->now.state = ex->now.is_partial ? GOFLOW_EXECUTION_PARTIAL : GOFLOW_EXECUTION_COMPLETED;
			break;
		case GOFLOW_UNWIND_CANCEL:
			ex->now.state = GOFLOW_EXECUTION_CANCELLED;
			ex->now.error = ex->root->now.error;
			break;
		default:
			ex->now.state = GOFLOW_EXECUTION_FAILED;
			ex->now.error = ex->root->now.error;
			break;
	}
}

/*
 * Frame 0 has ended: undoes one node if there is one to undo, else finishes.
 * True: there is more to do.
 */
static bool
wind_up(Position *at)
{
	GoflowExecution *ex = at->ex;

	if (ex->root->now.unwind != GOFLOW_UNWIND_NONE && goflow_compensate_needed(ex))
	{
		if (!ex->now.compensating)
		{
			/* what is to be undone must be stored first */
			ex->now.compensating = true;
			ex->must_commit = true;
			return true;
		}
		at->compensation = goflow_compensate_next(ex);
		if (at->compensation)
		{
			at->node = ex->definition->nodes[at->compensation->node];
			enter(at, NULL, at->node, -1 - at->compensation->seq % PG_INT16_MAX, false);
			if (!ex->is_inline)
				goflow_session_node_begin(&at->node->settings, false, 0);
			goflow_compensate_run(ex, at->compensation);
			if (!ex->is_inline)
				goflow_session_node_end();
			leave(at);
			return true;
		}
	}
	finish(ex);
	return false;
}

static void
offer(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);

	if (run->pending && run->pending->now.row.kind == GOFLOW_PENDING_RETRY)
		goflow_pending_end(ex, run->pending);
	run->state = GOFLOW_NODE_RUNNING;
	run->to_offer = true;
	run->attempt = Max(run->attempt, 1);
	goflow_history_offer(ex, frame, node);
}

/* A worker's is made once: it has one segment at a time. */
static MemoryContext worker_node_context = NULL;

static MemoryContext
get_node_context(GoflowExecution *ex)
{
	if (ex->is_inline)
		return AllocSetContextCreate(CurrentMemoryContext, "goflow node", ALLOCSET_DEFAULT_SIZES);
	if (worker_node_context == NULL)
		worker_node_context = AllocSetContextCreate(TopMemoryContext, "goflow node",
													ALLOCSET_DEFAULT_SIZES);
	return worker_node_context;
}

static void
release_node_context(Position *at)
{
	if (at->node_context && at->node_context == worker_node_context)
		MemoryContextReset(at->node_context);
	else if (at->node_context)
		MemoryContextDelete(at->node_context);
	at->node_context = NULL;
}

/* Runs nodes until none is ready or the budget is spent, or one only. */
static GoflowSegmentEnd
run_nodes(Position *at, GoflowBudget *budget, bool only_one)
{
	GoflowExecution *ex = at->ex;
	MemoryContext old = CurrentMemoryContext;
	GoflowSegmentEnd end = GOFLOW_SEGMENT_FULL;

	at->node_context = get_node_context(ex);
	MemoryContextSwitchTo(at->node_context);

	if (!ex->started)
	{
		bool		is_new = ex->row->started_at == 0;

		goflow_execution_begin(ex);
		ex->started = true;
		if (is_new)
			at->ended_at = ex->row->started_at;
	}
	while (!(only_one && at->ran == 1) && !ex->must_commit)
	{
		GoflowNode *node;
		TimestampTz previous = at->ended_at;
		bool		at_limit = goflow_limit_is_reached(ex);

		CHECK_FOR_INTERRUPTS();
		if (unlikely(at_limit))
			goflow_limit_stop(ex);
		at->node = NULL;
		at->frame = goflow_frame_next(ex);

		/* a frame is never stored before it has begun */
		if (at->frame == NULL)
		{
			if (budget->nodes <= 0)
				break;
			if (budget->deadline != 0 && budget->ran > 0)
			{
				if (previous == 0)
					previous = GetCurrentTimestamp();
				if (previous >= budget->deadline)
					break;
			}
		}
		at->ended_at = 0;
		if (at->frame)
		{
			bool		is_first = at->frame->now.task == GOFLOW_FRAME_BEGIN && !at->frame->parent;
			bool		bare = is_bare(ex, at->frame, NULL);

			enter(at, at->frame, NULL, at->frame->now.task, bare);
			do_task(ex, at->frame, bare, previous);
			leave(at);
			if (is_first)
				continue;		/* frame 0 is there whatever becomes of the first node */
		}
		else if ((node = goflow_cascade_next(ex, &at->frame)) == NULL)
		{
			at->frame = NULL;
			end = GOFLOW_SEGMENT_BLOCKED;
			if (!ex->root->now.ended)
				break;
			end = wind_up(at) ? GOFLOW_SEGMENT_FULL : GOFLOW_SEGMENT_DONE;
			if (end == GOFLOW_SEGMENT_DONE)
				break;
			if (at->compensation)
				goflow_compensate_done(ex, at->compensation, NULL);
			at->compensation = NULL;
		}
		else
		{
			at->node = node;
			if (unlikely(at_limit) && !goflow_run(at->frame, node)->is_stepping)
				goflow_limit_check_rest(ex);
			if (goflow_run(at->frame, node)->is_stepping)
			{
				enter(at, at->frame, node, goflow_run(at->frame, node)->attempt, false);
				step_node(ex, at->frame, node);
			}
			else if (may_join(at, at->frame, node))
			{
				bool		bare = is_bare(ex, at->frame, node);

				enter(at, at->frame, node, Max(goflow_run(at->frame, node)->attempt, 1), bare);
				at->ended_at = run_node(ex, at->frame, node, bare, previous);
			}
			else
			{
				offer(ex, at->frame, node);
				continue;
			}
			leave(at);
		}
		at->ran++;
		budget->nodes--;
		budget->ran++;
		MemoryContextReset(at->node_context);
	}
	disconnect_spi(at);
	MemoryContextSwitchTo(old);
	release_node_context(at);
	return end;
}

static Jsonb *
make_error(Position *at, ErrorData *error)
{
	GoflowExecution *ex = at->ex;
	GoflowNode *node = at->node;
	GoflowFrame *frame = at->frame;
	int			attempt = 0;

	if (node == NULL && frame && frame->parent)
	{
		node = frame->body->owner;
		frame = frame->parent;
	}
	if (node && !at->compensation)
		attempt = Max(goflow_run(frame, node)->attempt, 1);

	if (node && !ex->is_inline && goflow_session_timed_out())
		return goflow_error_make(ERRCODE_GOFLOW_EXECUTION_TIMEOUT,
								 psprintf("node \"%s\" timed out", node->path), NULL, node, attempt);
	return goflow_error_to_jsonb(error, node, attempt);
}

/* What an error of a segment, which has been undone, means. */
static void
judge(Position *at, ErrorData *error)
{
	GoflowExecution *ex = at->ex;
	GoflowNode *node = at->node;
	GoflowNodeRun *run = NULL;
	Jsonb	   *json;

	if (node && !ex->is_inline && !goflow_session_timed_out())
	{
		if (goflow_session_fuse_burnt())
		{
			goflow_speed_set(ex->definition->workflow_id, node->index, GOFLOW_SPEED_SLOW);
			return;
		}
		if (goflow_session_must_run_alone() && at->compensation == NULL &&
			!goflow_run(at->frame, node)->is_stepping)
		{
			goflow_speed_set(ex->definition->workflow_id, node->index, GOFLOW_SPEED_ALONE);
			return;
		}
	}
	if (at->ran > 0)
	{
		ex->careful = true;
		return;
	}

	/* no policy is for undos: a cancel from outside leaves nothing behind, so it runs again */
	if (at->compensation && error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		!goflow_session_timed_out() && ++at->interruptions <= MAX_INTERRUPTIONS)
		return;

	json = make_error(at, error);
	if (at->losses > 0)
	{
		/* it has failed, and may well have to be left by one more step */
		goflow_queue_forget_losses(&at->instance);
		at->losses = 0;
	}
	if (at->compensation)
	{
		goflow_compensate_done(ex, at->compensation, goflow_jsonb_copy(ex->context, json));
		return;
	}
	if (node == NULL)
	{
		/* a first value, or an output */
		ex->started = true;
		ex->now.state = GOFLOW_EXECUTION_RUNNING;
		if (ex->row->started_at == 0)
			ex->row->started_at = GetCurrentTimestamp();
		if (at->frame == NULL)
			ReThrowError(error);
		goflow_frame_failed(ex, at->frame, goflow_jsonb_copy(ex->context, json));
		return;
	}

	run = goflow_run(at->frame, node);
	if (run->pending && run->pending->now.row.kind == GOFLOW_PENDING_BODIES)
	{
		/* run() cannot wait for a retry; or what makes it fail stays: not the node's affair */
		if ((ex->is_inline && error->sqlerrcode == ERRCODE_GOFLOW_MUST_WAIT) ||
			run->pending->now.row.unwind != GOFLOW_UNWIND_NONE)
			ReThrowError(error);
		goflow_body_wind(ex, at->frame, node, GOFLOW_UNWIND_FAIL, goflow_jsonb_copy(ex->context, json), -1);
	}
	else
	{
		/* the restore put it back into the list of ready nodes */
		run->state = GOFLOW_NODE_RUNNING;
		goflow_node_failed(ex, at->frame, node, json, 0, 0);
	}
}

/*
 * Drives an execution as far as it goes within the budget.  In a worker, or in
 * run() when it must see errors.
 */
GoflowSegmentEnd
goflow_segment_run(GoflowExecution *ex, GoflowBudget *budget)
{
	Position	at = {.ex = ex};
	ErrorContextCallback context = {.callback = describe_position, .arg = &at};

	for (;;)
	{
		volatile GoflowSegmentEnd end = GOFLOW_SEGMENT_FULL;
		volatile bool failed = false;
		bool		was_started = ex->started;
		GoflowBudget before = *budget;
		GoflowWritesMark mark = goflow_writes_mark(ex->writes);
		MemoryContext caller_context = CurrentMemoryContext;
		ResourceOwner caller_owner = CurrentResourceOwner;
		ErrorContextCallback *caller_callback = error_context_stack;

		at.node = NULL;
		at.frame = NULL;
		at.compensation = NULL;
		at.ran = 0;
		at.connected = false;
		at.losses = 0;
		at.ended_at = 0;
		goflow_execution_save(ex);
		context.previous = error_context_stack;
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(caller_context);
		PG_TRY();
		{
			error_context_stack = &context;
			end = run_nodes(&at, budget, ex->careful);
			error_context_stack = caller_callback;
			ReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(caller_context);
			CurrentResourceOwner = caller_owner;
		}
		PG_CATCH();
		{
			ErrorData  *error;

			error_context_stack = caller_callback;
			if (!ex->is_inline)
			{
				goflow_session_timeouts_off();
				goflow_session_allow_cancel(false);
				(void) goflow_queue_set_driven(NULL);
			}
			MemoryContextSwitchTo(caller_context);
			error = CopyErrorData();
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(caller_context);
			CurrentResourceOwner = caller_owner;
			release_node_context(&at);
			ex->bare_since = 0;

			if (!ex->is_inline && !goflow_session_fuse_burnt() &&
				(goflow_error_is_conflict(error) || goflow_error_is_disk_full(error)))
				ReThrowError(error);

			/*
			 * In run() a cancel, or the session's own timeout, is about the
			 * caller's statement; one that the workflow raises is its own.
			 */
			if (ex->is_inline && error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
				!(at.node && at.node->type == GOFLOW_TYPE_RAISE))
				ReThrowError(error);

			goflow_execution_restore(ex);
			goflow_writes_go_back(ex->writes, &mark);
			ex->started = was_started;
			*budget = before;
			judge(&at, error);
			failed = true;
			FreeErrorData(error);
		}
		PG_END_TRY();

		/* node by node, a segment that is full only means that one more is to come */
		if (!failed &&
			!(ex->careful && end == GOFLOW_SEGMENT_FULL && !ex->must_commit && at.ran > 0))
			return end;
	}
}

/* The same without a subtransaction: its errors are the caller's. */
GoflowSegmentEnd
goflow_segment_run_raising(GoflowExecution *ex, GoflowBudget *budget)
{
	Position	at = {.ex = ex};
	GoflowSegmentEnd end;
	ErrorContextCallback context = {.callback = describe_position, .arg = &at,
	.previous = error_context_stack};

	goflow_execution_save(ex);
	error_context_stack = &context;
	end = run_nodes(&at, budget, false);
	error_context_stack = context.previous;
	return end;
}
