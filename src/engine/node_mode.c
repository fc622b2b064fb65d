/*
 * node_mode.c
 *		One node, in a transaction of its own.
 *
 * A worker takes a node that a driver has offered (driver.c), runs it in a
 * transaction which also writes its journal row, commits, and wakes the
 * execution.  So nothing slow holds locks of other nodes, ready nodes run side
 * by side, and nobody waits for them.
 *
 * Errors.  What the node raises, at its commit too, is its own, and is
 * journaled in a second transaction.  A deadlock or a serialization failure
 * leaves nothing behind: the node runs again, a few times.  So does one whose
 * result the disk had no room for, until it has.
 *
 * A node with "atomic": false runs here, too, but its statement makes
 * transactions of its own (detached.c).  Only when it is done does a
 * transaction store that it is: at least once.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

/* Conflicts of a node with others before one is its error; the first pause after one, which doubles. */
#define MAX_CONFLICTS 5
#define FIRST_PAUSE_MS 10

/* Between two tries to store what became of a node on a full disk. */
#define ROOM_PAUSE_MS 1000

/* A node instance in memory; frame NULL: it is not open any more. */
static GoflowNodeRun *
find_instance(GoflowExecution *ex, const GoflowInstance *instance, GoflowFrame **frame,
			  GoflowNode **node)
{
	GoflowNodeRun *run;

	*node = ex->definition->nodes[instance->node];
	*frame = goflow_frame_find(ex, instance->frame);
	if (*frame == NULL || (*frame)->now.unwind != GOFLOW_UNWIND_NONE)
		return NULL;
	run = goflow_run(*frame, *node);
	if (run->pending && run->pending->now.row.kind != GOFLOW_PENDING_RETRY)
		return NULL;			/* it has begun already */
	if (goflow_node_has_ended(run) && run->attempt >= instance->attempt)
		return NULL;
	return run;
}

/*
 * A pause before what became of a node is stored anew.  The worker keeps the
 * node, so that one which fills the disk does not do so again and again; if
 * others need the worker the error is raised, and the node runs again later.
 */
static void
wait_for_room(void)
{
	if (goflow_queue_should_yield())
		ereport(ERROR,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("could not store what became of a node: no space left on device"),
				 errhint("It runs again later.")));
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ROOM_PAUSE_MS,
					 goflow_wait_event(GOFLOW_WAIT_ROOM));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Journals the error of a node in node mode.  False: there is no room for it. */
static bool
try_to_record_failure(const GoflowInstance *instance, ErrorData *error, TimestampTz started_at, int duration)
{
	GoflowExecution *volatile ex = NULL;
	volatile bool stored = true;

	PG_TRY();
	{
		GoflowWrites *writes;

		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		MemoryContextSwitchTo(goflow_batch_context);
		writes = goflow_writes_create(goflow_batch_context);
		ex = goflow_execution_load(&instance->execution_id, writes, NULL, 0, NULL);
		if (ex && !ex->inactive)
		{
			GoflowFrame *frame;
			GoflowNode *node;
			GoflowNodeRun *run = find_instance(ex, instance, &frame, &node);
			Jsonb	   *json;

			if (run)
			{
				json = goflow_session_timed_out() ?
					goflow_error_make(ERRCODE_GOFLOW_EXECUTION_TIMEOUT,
									  psprintf("node \"%s\" timed out", node->path), NULL,
									  node, instance->attempt) :
					goflow_error_to_jsonb(error, node, instance->attempt);
				run->attempt = instance->attempt;
				run->seq = instance->seq;
				goflow_execution_record_attempt(ex, frame, node, started_at, duration, json);
				goflow_writes_flush(writes, NULL);
			}
		}
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData  *failure;

		/* its driver has cancelled it at the same moment */
		MemoryContextSwitchTo(goflow_batch_context);
		failure = CopyErrorData();
		stored = !goflow_error_is_disk_full(failure);
		if (stored && !goflow_journal_is_duplicate(failure))
			PG_RE_THROW();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	if (ex)
		goflow_execution_free(ex);
	return stored;
}

static void
record_failure(const GoflowInstance *instance, ErrorData *error, TimestampTz started_at, int duration)
{
	MemoryContext context = CurrentMemoryContext;
	bool		is_reported = false;

	while (!goflow_worker_cancel_requested() &&
		   !try_to_record_failure(instance, error, started_at, duration))
	{
		MemoryContextSwitchTo(context);
		if (!is_reported)
			ereport(LOG,
					(errcode(ERRCODE_DISK_FULL),
					 errmsg("there is no room on the disk to store the error of a node: %s", error->message),
					 errdetail("It is stored when there is; the node does not run again."),
					 error->context ? errcontext_msg("%s", error->context) : 0));
		is_reported = true;
		wait_for_room();
	}
}

static void
describe_instance(void *arg)
{
	GoflowNode *node = *(GoflowNode **) arg;

	if (node)
		errcontext("node \"%s\" of workflow \"%s\", version %d",
				   node->path, node->definition->name, node->definition->version);
}

static int
elapsed(instr_time before)
{
	instr_time	after;

	INSTR_TIME_SET_CURRENT(after);
	INSTR_TIME_SUBTRACT(after, before);
	return (int) Min(INSTR_TIME_GET_MICROSEC(after), (uint64) PG_INT32_MAX);
}

/*
 * The node has been lost with its worker before.  An administrator may have
 * terminated that one, but if it happens again and again it is the node.
 */
static void
check_losses(const GoflowInstance *instance, GoflowNode *node)
{
	int			losses = goflow_queue_losses(instance);

	if (losses == 0)
		return;
	goflow_speed_set(node->definition->workflow_id, node->index, GOFLOW_SPEED_SLOW);
	if (losses >= GOFLOW_MAX_LOSSES)
		goflow_error_lost(node->definition, node, losses);
}

/* The node swallowed its timeout. */
static void
check_timeout(GoflowNode *node)
{
	if (goflow_session_timed_out())
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg_internal("node \"%s\" timed out", node->path)));
}

/*
 * Runs a node with "atomic": false.  Called in a transaction, ends it, and
 * returns in another one, which is to store the result of the node: the
 * execution is loaded anew, as a lot may have happened meanwhile.
 */
static void
run_detached(const GoflowInstance *instance, GoflowExecution *volatile *ex, GoflowFrame *frame,
			 GoflowNode *volatile *node, volatile bool *detached, TimestampTz started_at,
			 instr_time before)
{
	GoflowWrites *writes;
	GoflowNode *found;
	GoflowNodeRun *run = NULL;
	SPITupleTable *table;
	uint64		processed;

	PopActiveSnapshot();
	CommitTransactionCommand();
	goflow_session_transaction_ended(true);

	*detached = true;
	goflow_session_detached_begin(&(*node)->settings, (*node)->timeout);
	table = goflow_detached_run(*ex, frame, *node, goflow_batch_context, &processed);
	goflow_session_detached_end();
	*detached = false;
	check_timeout(*node);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(goflow_batch_context);
	*node = NULL;
	goflow_execution_free(*ex);
	*ex = NULL;
	writes = goflow_writes_create(goflow_batch_context);
	*ex = goflow_execution_load(&instance->execution_id, writes, NULL, 0, NULL);
	if (*ex == NULL || (*ex)->inactive)
		return;
	run = find_instance(*ex, instance, &frame, &found);
	if (run == NULL)
		return;
	*node = found;
	goflow_session_apply((*ex)->definition);
	run->state = GOFLOW_NODE_RUNNING;
	run->attempt = instance->attempt;
	run->seq = instance->seq;
	if (run->pending)
		goflow_pending_end(*ex, run->pending);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(goflow_batch_context);
	goflow_node_take_result(*ex, frame, found, table, processed);
	goflow_execution_record(*ex, frame, found, GOFLOW_NODE_COMPLETED, started_at, elapsed(before),
							NULL);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	MemoryContextSwitchTo(goflow_batch_context);
	goflow_writes_flush(writes, NULL);
}

/* Begins a transaction and loads the execution.  NULL: the node is not to be run. */
static GoflowNodeRun *
begin_node(const GoflowInstance *instance, int isolation, GoflowExecution *volatile *ex,
		   GoflowWrites **writes, GoflowFrame **frame, GoflowNode **node)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = isolation;
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(goflow_batch_context);
	*writes = goflow_writes_create(goflow_batch_context);
	*ex = goflow_execution_load(&instance->execution_id, *writes, NULL, 0, NULL);
	if (*ex == NULL || (*ex)->inactive)
		return NULL;
	/* what runs after a cancel, once the driver has seen it, is a "finally" */
	if ((*ex)->cancel_requested && (*ex)->root->now.unwind == GOFLOW_UNWIND_NONE)
		return NULL;
	return find_instance(*ex, instance, frame, node);
}

typedef enum TryResult
{
	TRY_DONE,					/* it has ended, well or with an error */
	TRY_CONFLICT,				/* it left nothing behind, and is to run again */
	TRY_NO_ROOM					/* the same: what it gave could not be stored */
} TryResult;

/*
 * Runs a node in a transaction of its own, and journals its error if it has one,
 * except that a conflict is left to the caller if it "may_repeat".  Sets the
 * execution's priority, and whether this worker may run no more.
 */
static TryResult
try_node(const GoflowInstance *instance, bool may_repeat, volatile int *priority,
		 volatile bool *is_last)
{
	MemoryContext old = CurrentMemoryContext;
	GoflowNode *volatile node = NULL;
	GoflowExecution *volatile ex = NULL;
	TimestampTz started_at = GetCurrentTimestamp();
	instr_time	before;
	volatile bool writing = true;	/* what runs is not a statement of the workflow */
	volatile bool committing = false;
	volatile bool detached = false;
	volatile bool overtaken = false;
	volatile TryResult result = TRY_DONE;
	ErrorContextCallback context = {.callback = describe_instance, .arg = (void *) &node,
	.previous = error_context_stack};

	INSTR_TIME_SET_CURRENT(before);

	PG_TRY();
	{
		GoflowWrites *writes;
		GoflowFrame *frame;
		GoflowNode *found;
		GoflowNodeRun *run;

		error_context_stack = &context;
		run = begin_node(instance, XACT_READ_COMMITTED, &ex, &writes, &frame, &found);
		if (run && found->isolation > XactIsoLevel)
		{
			int			isolation = found->isolation;

			PopActiveSnapshot();
			CommitTransactionCommand();
			goflow_execution_free(ex);
			ex = NULL;
			run = begin_node(instance, isolation, &ex, &writes, &frame, &found);
		}
		if (ex)
			*priority = ex->row->priority;
		if (run)
		{
			node = found;
			goflow_activity_show(found->definition, found);
			goflow_tracker_show_node(&ex->row->id, found->index);
			goflow_session_apply(ex->definition);
			*is_last = !found->is_atomic;
			check_losses(instance, found);
			(void) goflow_fence_check(instance, found->definition, found, frame->path);
			goflow_mark_run(instance, found->definition->workflow_id, frame->path);
			writing = found->type != GOFLOW_TYPE_SQL;
		}
		if (run && !found->is_atomic)
			run_detached(instance, &ex, frame, &node, &detached, started_at, before);
		else if (run)
		{
			int			duration;
			bool		ended;

			run->state = GOFLOW_NODE_RUNNING;
			run->attempt = instance->attempt;
			run->seq = instance->seq;
			ex->now.seq = Max(ex->now.seq, instance->seq);
			if (run->pending)
				goflow_pending_end(ex, run->pending);	/* the retry has come */
			if (SPI_connect() != SPI_OK_CONNECT)
				elog(ERROR, "SPI_connect failed");
			MemoryContextSwitchTo(goflow_batch_context);
			goflow_session_node_begin(&found->settings, false, found->timeout);
			ended = goflow_node_execute(ex, frame, found);
			goflow_session_node_end();
			check_timeout(found);
			duration = elapsed(before);
			writing = true;
			if (ended)
				goflow_execution_record(ex, frame, found, GOFLOW_NODE_COMPLETED, started_at, duration,
										NULL);
			else
				goflow_wait_persist(ex, run->pending);
			if (SPI_finish() != SPI_OK_FINISH)
				elog(ERROR, "SPI_finish failed");
			MemoryContextSwitchTo(goflow_batch_context);
			goflow_writes_flush(writes, NULL);
			if (!ended && goflow_execution_lock_begun(ex, frame, found))
			{
				overtaken = true;
				ereport(ERROR,
						(errcode(ERRCODE_QUERY_CANCELED),
						 errmsg_internal("node \"%s\" was cancelled", found->path)));
			}
			writing = false;
			committing = true;
			if (goflow_session_must_run_alone())
				goflow_speed_set(ex->definition->workflow_id, found->index, GOFLOW_SPEED_ALONE);
			else
				goflow_speed_learn(ex->definition->workflow_id, found->index, &found->speed, duration);
		}
		PopActiveSnapshot();
		goflow_session_allow_cancel(true);
		CommitTransactionCommand();
		goflow_session_allow_cancel(false);
		goflow_session_transaction_ended(true);
		error_context_stack = context.previous;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		error_context_stack = context.previous;
		goflow_session_timeouts_off();
		goflow_session_allow_cancel(false);
		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();

		/* a deferred constraint: it must never share a commit with others */
		if (node && committing)
			goflow_speed_set(node->definition->workflow_id, node->index, GOFLOW_SPEED_ALONE);
		AbortCurrentTransaction();
		goflow_session_transaction_ended(false);
		if (detached)
			goflow_session_detached_end();
		MemoryContextSwitchTo(old);

		/*
		 * Interrupted because the execution was cancelled, or somebody else
		 * has stored this attempt: its driver decides.
		 */
		if (overtaken || goflow_worker_cancel_requested() || goflow_journal_is_duplicate(error))
			;
		else if (may_repeat && goflow_error_is_conflict(error) && !*is_last)
			result = TRY_CONFLICT;
		else if (writing && goflow_error_is_disk_full(error))
		{
			ereport(LOG,
					(errcode(ERRCODE_DISK_FULL),
					 errmsg("there is no room on the disk to store what a node gave: %s", error->message),
					 errdetail("It was rolled back, and runs again."),
					 error->context ? errcontext_msg("%s", error->context) : 0));
			result = TRY_NO_ROOM;
		}
		else
			record_failure(instance, error, started_at, elapsed(before));
		MemoryContextSwitchTo(old);
		FreeErrorData(error);
	}
	PG_END_TRY();

	if (ex)
		goflow_execution_free(ex);
	MemoryContextSwitchTo(old);
	MemoryContextReset(goflow_batch_context);
	goflow_session_clean();
	return result;
}

/*
 * The other transactions of a conflict go first: a victim that began again at
 * once would take the locks that they have been waiting for.
 */
static void
pause_after_conflict(int conflicts)
{
	long		pause = (FIRST_PAUSE_MS << conflicts) * (0.5 + pg_prng_double(&pg_global_prng_state));

	(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, pause, goflow_wait_event(GOFLOW_WAIT_CONFLICT));
	CHECK_FOR_INTERRUPTS();
}

/*
 * Runs the node in this worker's slot.  If it was decided otherwise meanwhile
 * (cancelled, done by somebody), nothing happens.  A node that met a deadlock or
 * a serialization failure has left nothing behind, so it runs again.
 */
void
goflow_engine_run_node(const GoflowInstance *instance)
{
	Oid			role = goflow_worker_role();
	volatile int priority = 0;
	volatile bool is_last = false;
	TryResult	result;
	int			conflicts = 0;

	goflow_driver_prepare();
	goflow_workflow_trim(goflow_session_definition());
	while ((result = try_node(instance, conflicts < MAX_CONFLICTS, &priority, &is_last)) != TRY_DONE)
	{
		if (result == TRY_CONFLICT)
			pause_after_conflict(conflicts++);
		else
			wait_for_room();
	}
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (is_last)
		goflow_worker_leave();	/* no trace of it can be left to the next node */
	goflow_queue_node_done(role, priority);
}
