/*
 * driver.c
 *		Whole transactions in a worker: batches of executions, and node mode.
 *
 * Driving.  A worker has claimed some executions.  One transaction after
 * another, it loads them and runs their ready nodes; the journal's rows are
 * flushed just before the commit.  A batch ends when its budget of nodes or
 * time is spent, or when nothing is ready.  An execution that has more to do
 * stays in memory for the next batch; all others are let go.
 *
 * Node mode.  A node that is known not to be fast, that must not be tried
 * (contained.c), or that must not share a transaction, is never run by the
 * driver.  The driver commits, offers it to the pool's workers (its own
 * included) and lets the execution go.  A worker takes it, runs it in a
 * transaction of its own, which also writes its journal row, commits, and wakes
 * the execution.  So nothing slow holds locks of other nodes, ready nodes run
 * side by side, and nobody waits for them: while nodes run, no one drives.
 *
 * Errors.  An error of one node is handled in segment.c.  An error that
 * concerns the transaction (a deadlock, a deferred constraint at commit)
 * throws all of the batch away: the executions are loaded again from the
 * tables, and each of their next nodes runs in node mode.  There, an error at
 * commit is the node's own.
 *
 * A node with "atomic": false runs in node mode, too, but its statement makes
 * transactions of its own (detached.c).  Only when it is done does a
 * transaction store that it is: at least once.
 *
 * Why exactly once holds: effects and journal rows are in one transaction, and
 * the journal's key admits one row per attempt.  Whoever comes second rolls
 * back, effect included.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

/* A claimed execution on its way through batches. */
typedef struct Claim
{
	pg_uuid_t	id;
	GoflowExecution *ex;		/* NULL: to be loaded */
	bool		alone;			/* see above */
	bool		touched;		/* part of the present batch */
	ErrorData  *load_error;		/* it could not even be loaded */
	GoflowMessage message;		/* of that */
	GoflowSegmentEnd end;
	char		old_state;
	bool		is_ended;		/* released */
} Claim;

/* Errors of whole batches in a row after which the worker backs off. */
#define MAX_FAILED_BATCHES 5

/* Conflicts of a node with others before one is its error; the first pause after one, which doubles. */
#define MAX_CONFLICTS 5
#define FIRST_PAUSE_MS 10

/* Between two tries to store what became of a node on a full disk. */
#define ROOM_PAUSE_MS 1000

static MemoryContext batch_context = NULL;

/* The claim that is being loaded: an error then is that execution's own. */
static Claim *loading = NULL;

static void
drop_from_memory(Claim *claim)
{
	if (claim->ex)
		goflow_execution_free(claim->ex);
	claim->ex = NULL;
}

/* The state of an execution that can't go on now: does anything of it run? */
static char
blocked_state(GoflowExecution *ex)
{
	ListCell   *lc;

	if (ex->paused)
		return GOFLOW_EXECUTION_PAUSED;
	foreach(lc, ex->now.frames)
	{
		GoflowFrame *frame = lfirst(lc);

		for (int i = 0; i < frame->body->nnodes; i++)
			if (frame->now.runs[i].state == GOFLOW_NODE_RUNNING && frame->now.runs[i].pending == NULL)
				return GOFLOW_EXECUTION_RUNNING;
	}
	return GOFLOW_EXECUTION_WAITING;
}

/* The execution has ended: what was asked of it has been done, or never will be. */
static void
forget_requests(const pg_uuid_t *id, GoflowWrites *writes)
{
	ListCell   *lc;

	foreach(lc, goflow_requests_read(id))
		goflow_writes_add(writes, GOFLOW_WRITE_REQUEST_END, lfirst(lc));
}

/* Writes what is to survive the commit, and the row if what it shows has changed. */
static void
store(GoflowExecution *ex, GoflowSegmentEnd end)
{
	GoflowExecutionRow *row = ex->row;

	goflow_execution_persist(ex);
	if (!goflow_execution_is_done(ex))
	{
		ListCell   *lc;

		ex->now.state = end == GOFLOW_SEGMENT_FULL ? GOFLOW_EXECUTION_RUNNING : blocked_state(ex);
		foreach(lc, ex->met_requests)
			goflow_writes_add(ex->writes, GOFLOW_WRITE_REQUEST_END, lfirst(lc));
	}
	ex->met_requests = NIL;
	if (row->state == ex->now.state && !ex->row_changed)
		return;
	ex->row_changed = false;
	row->state = ex->now.state;
	if (goflow_execution_is_done(ex))
	{
		row->finished_at = GetCurrentTimestamp();
		row->output = ex->now.output;
		row->error = ex->now.error;
		goflow_history_finish(ex);
		if (ex->has_requests)
			forget_requests(&row->id, ex->writes);
		goflow_wait_forget(&row->id, ex->definition, ex->writes);
		goflow_wake_parent(row->parent);
	}
	goflow_writes_add(ex->writes, GOFLOW_WRITE_EXECUTION, row);
}

/* A frame has a row now. */
static void
note_frame(GoflowFrameRow *row)
{
	GoflowFrame *frame = row->source;

	frame->stored = true;
	frame->tid = row->tid;
}

/*
 * Somebody asked for it.  One that is failing and has bodies to finish goes on
 * with these, as it would have to in any case, and ends as cancelled.
 */
static void
cancel(GoflowExecution *ex)
{
	GoflowFrameState *root = &ex->root->now;
	MemoryContext old;
	Jsonb	   *error;

	if (root->unwind == GOFLOW_UNWIND_CANCEL)
		return;
	old = MemoryContextSwitchTo(ex->context);
	error = goflow_error_make(ERRCODE_GOFLOW_EXECUTION_CANCELLED, "execution was cancelled",
							  ex->cancel_reason, NULL, 0);
	if (root->unwind != GOFLOW_UNWIND_NONE)
		error = goflow_error_with_cause(error, root->error);
	MemoryContextSwitchTo(old);
	if (root->unwind != GOFLOW_UNWIND_NONE)
	{
		root->unwind = GOFLOW_UNWIND_CANCEL;
		root->error = error;
		return;
	}
	ex->started = true;
	if (ex->row->started_at == 0)
		ex->row->started_at = GetCurrentTimestamp();
	goflow_frame_stop(ex, ex->root, GOFLOW_UNWIND_CANCEL, error, -1);
}

/* Loads a claim and decides what needs no node: requests, results of helpers. */
static void
load_claim(Claim *claim, GoflowWrites *writes)
{
	GoflowInstance *instances = palloc(GOFLOW_MAX_INSTANCES * sizeof(GoflowInstance));
	int			ninstances;
	GoflowExecution *ex;

	/* in this order: what is not in the list has its row in the snapshot */
	goflow_queue_begin_look(&claim->id);
	ninstances = goflow_queue_instances(&claim->id, instances, GOFLOW_MAX_INSTANCES);
	ex = claim->ex = goflow_execution_load(&claim->id, writes, instances, ninstances);
	pfree(instances);
	if (ex == NULL)
		return;
	claim->old_state = ex->row->state;
	if (ex->inactive && ex->retry_from && !ex->is_others)
		goflow_retry_begin(ex);
	else if (ex->inactive)
	{
		if (goflow_execution_is_finished(ex->row->state))
		{
			/* they came too late */
			forget_requests(&claim->id, writes);
			goflow_wait_forget(&claim->id, ex->definition, writes);
		}
		return;
	}

	goflow_history_watch(ex);
	goflow_history_see(ex);
	goflow_execution_show(ex);
	ex->alone = claim->alone || goflow_queue_is_alone(&claim->id);
	if (ex->paused != (ex->row->state == GOFLOW_EXECUTION_PAUSED))
	{
		goflow_child_pass_on(ex, ex->paused ? GOFLOW_REQUEST_PAUSE : GOFLOW_REQUEST_RESUME, NULL);
		if (!ex->paused)
			goflow_wait_renew(ex);
	}
	if (ex->row_changed)
		goflow_child_pass_on(ex, GOFLOW_REQUEST_PRIORITY, psprintf("%d", ex->row->priority));
	if (ex->paused)
		return;
	if (ex->started)
		goflow_execution_resume(ex);
	if (ex->cancel_requested)
		cancel(ex);
}

/* Once in a worker's life. */
static void
prepare_worker(void)
{
	if (batch_context)
		return;
	batch_context = AllocSetContextCreate(TopMemoryContext, "goflow batch", ALLOCSET_DEFAULT_SIZES);
	goflow_session_init();
}

/* An execution that can't be loaded has failed: its definition no longer fits this database. */
static void
fail_unloadable(Claim *claim, GoflowWrites *writes)
{
	GoflowExecutionRow *row = goflow_execution_read(&claim->id);

	if (row && !row->is_foreign && row->run_as == goflow_worker_role() && !goflow_execution_is_finished(row->state))
	{
		row->state = GOFLOW_EXECUTION_FAILED;
		row->finished_at = GetCurrentTimestamp();
		row->error = goflow_error_to_jsonb(claim->load_error, NULL, 0);
		row->last_seq = goflow_journal_next_seq(&row->id);
		goflow_history_ended(row, goflow_workflow_name(row->workflow_id), &claim->message);
		goflow_writes_add(writes, GOFLOW_WRITE_EXECUTION, row);
		goflow_wake_parent(row->parent);
	}
	forget_requests(&claim->id, writes);
}

/* One transaction over as many claims as fit, from *next on; sets where to go on. */
static void
run_batch(Claim *claims, int nclaims, volatile int *next)
{
	GoflowWrites *writes;
	GoflowBudget budget;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(batch_context);
	writes = goflow_writes_create(batch_context);
	budget.nodes = goflow_batch_nodes;
	budget.ran = 0;
	budget.deadline = TimestampTzPlusMilliseconds(GetCurrentTransactionStartTimestamp(),
												  goflow_batch_time);

	for (int i = 0; i < nclaims && budget.nodes > 0; i++)
	{
		Claim	   *claim = &claims[*next];

		*next = (*next + 1) % nclaims;
		if (claim->is_ended)
			continue;

		/* somebody asked something of it while it was in memory */
		if (claim->ex && goflow_queue_was_woken(&claim->id))
			drop_from_memory(claim);
		claim->touched = true;
		if (claim->load_error)
		{
			fail_unloadable(claim, writes);
			claim->end = GOFLOW_SEGMENT_DONE;
			continue;
		}
		if (claim->ex == NULL)
		{
			loading = claim;
			load_claim(claim, writes);
			loading = NULL;
		}
		else
		{
			claim->ex->writes = writes;
			claim->old_state = claim->ex->row->state;
			goflow_history_watch(claim->ex);
		}
		if (claim->ex == NULL || claim->ex->inactive)
		{
			claim->end = GOFLOW_SEGMENT_DONE;
			continue;
		}
		goflow_session_apply(claim->ex->definition);
		claim->ex->careful = false;
		claim->ex->must_commit = false;
		claim->end = claim->ex->paused ? GOFLOW_SEGMENT_BLOCKED :
			goflow_segment_run(claim->ex, &budget);
		store(claim->ex, claim->end);

		if (GetCurrentTimestamp() >= budget.deadline || goflow_queue_should_yield() ||
			goflow_session_holds_advisory_lock())
			break;
	}
	if (goflow_writes_are_notes(writes))
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	goflow_mark_commit();
	goflow_writes_flush(writes, note_frame);
	PopActiveSnapshot();
	goflow_session_allow_cancel(true);
	CommitTransactionCommand();
	goflow_session_allow_cancel(false);
	goflow_session_transaction_ended(true);
}

/* Everything that may be seen or done only after the commit. */
static void
after_commit(Claim *claim, GoflowInstance *adopted, bool may_adopt)
{
	GoflowExecution *ex = claim->ex;
	bool		requeue = false;
	ListCell   *lc;

	if (ex == NULL || ex->inactive)
	{
		goflow_tracker_close(&claim->id);
		if (claim->load_error)
		{
			goflow_waiter_wake(&claim->id);
			goflow_history_publish_ended(&claim->message);
		}
		if (ex && ex->is_others && !ex->row->is_foreign)
			goflow_queue_pass_on(&claim->id, ex->row->run_as, ex->row->priority);
		else
			goflow_queue_release(&claim->id, false);
		drop_from_memory(claim);
		claim->is_ended = true;
		return;
	}

	goflow_history_publish(ex, claim->old_state);
	foreach(lc, ex->withdrawn)
		(void) goflow_queue_withdraw(lfirst(lc));
	ex->withdrawn = NIL;
	if (goflow_execution_is_done(ex))
	{
		goflow_mark_forget(MyDatabaseId, &claim->id);
		goflow_tracker_close(&claim->id);
		goflow_waiter_wake(&claim->id);
	}
	else if (claim->end == GOFLOW_SEGMENT_FULL)
		return;
	else if (ex->now.state == GOFLOW_EXECUTION_WAITING || ex->now.state == GOFLOW_EXECUTION_PAUSED)
		goflow_tracker_close(&claim->id);	/* what waits costs no memory */

	foreach(lc, ex->now.frames)
	{
		GoflowFrame *frame = lfirst(lc);

		for (int i = 0; i < frame->body->nnodes && !requeue; i++)
		{
			GoflowNodeRun *run = &frame->now.runs[i];
			GoflowInstance instance;

			if (!run->to_offer)
				continue;
			memset(&instance, 0, sizeof(instance));
			instance.execution_id = claim->id;
			instance.frame = frame->id;
			instance.node = frame->body->nodes[i]->index;
			instance.attempt = run->attempt;
			instance.seq = run->seq;
			run->to_offer = false;
			if (may_adopt)
			{
				*adopted = instance;
				goflow_queue_adopt(&instance);
				may_adopt = false;
			}
			else if (!goflow_queue_offer(&instance))
				requeue = true; /* no room now; who drives it next finds the node ready */
		}
	}
	drop_from_memory(claim);
	goflow_queue_release(&claim->id, requeue);
	claim->is_ended = true;
}

/*
 * Is it the server's trouble, which passes, and not the execution's?  Then an
 * execution that could not be loaded is tried again.
 */
static bool
is_passing(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return true;
		default:
			return false;
	}
}

/*
 * The transaction of a batch failed: all of it is rolled back.  The executions
 * are loaded again, and run their next nodes in node mode.  If that does not
 * help either (a full disk, say), they go back to the queue and the error is
 * the worker's.
 */
static void
undo_batch(Claim *claims, int nclaims, ErrorData *error, int failures)
{
	ereport(LOG,
			(errmsg("a batch of nodes was rolled back: %s", error->message),
			 errdetail("Its nodes run one by one.")));

	if (loading && !is_passing(error))
		loading->load_error = error;
	loading = NULL;
	for (int i = 0; i < nclaims; i++)
	{
		drop_from_memory(&claims[i]);
		claims[i].alone = true;
		claims[i].touched = false;
		if (failures > MAX_FAILED_BATCHES && !claims[i].is_ended)
			goflow_queue_release(&claims[i].id, true);
	}
	MemoryContextReset(batch_context);
	if (failures > MAX_FAILED_BATCHES)
		ThrowErrorData(error);
}

/* NULL, or the error that the batch's transaction was rolled back for. */
static ErrorData *
try_batch(Claim *claims, int nclaims, volatile int *next)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		run_batch(claims, nclaims, next);
	}
	PG_CATCH();
	{
		goflow_session_allow_cancel(false);
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		goflow_session_transaction_ended(false);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return error;
}

/* Others have waited for a turn: what has more to do goes to the end of the queue. */
static void
give_back(Claim *claims, int nclaims)
{
	for (int i = 0; i < nclaims; i++)
		if (!claims[i].is_ended)
		{
			drop_from_memory(&claims[i]);
			goflow_queue_release(&claims[i].id, true);
		}
}

/*
 * Drives executions that this worker has claimed until each is finished, waits,
 * or has nodes in node mode, or until its turn is over; then lets it go.
 */
void
goflow_engine_drive(const pg_uuid_t *executions, int nexecutions)
{
	Claim	   *claims;
	int			open = nexecutions;
	int			failures = 0;
	volatile int next = 0;
	TimestampTz since = GetCurrentTimestamp();
	GoflowInstance adopted;

	prepare_worker();
	goflow_workflow_trim(goflow_session_definition());
	claims = palloc0(nexecutions * sizeof(Claim));
	for (int i = 0; i < nexecutions; i++)
		claims[i].id = executions[i];
	memset(&adopted, 0, sizeof(adopted));
	adopted.attempt = 0;

	while (open > 0)
	{
		ErrorData  *error;

		for (int i = 0; i < nexecutions; i++)
			claims[i].touched = false;
		error = try_batch(claims, nexecutions, &next);
		if (error)
		{
			undo_batch(claims, nexecutions, error, ++failures);
			continue;
		}
		for (int i = 0; i < nexecutions; i++)
			if (claims[i].touched)
			{
				failures = 0;
				after_commit(&claims[i], &adopted, open == 1 && adopted.attempt == 0);
				if (claims[i].is_ended)
					open--;
			}
		MemoryContextReset(batch_context);
		if (open > 0 && goflow_queue_turn_is_over(since))
		{
			give_back(claims, nexecutions);
			break;
		}
	}
	pgstat_report_stat(false);
	pfree(claims);
	if (adopted.attempt > 0)
		goflow_engine_run_node(&adopted);
}

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
		MemoryContextSwitchTo(batch_context);
		writes = goflow_writes_create(batch_context);
		ex = goflow_execution_load(&instance->execution_id, writes, NULL, 0);
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
		MemoryContextSwitchTo(batch_context);
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
	table = goflow_detached_run(*ex, frame, *node, batch_context, &processed);
	goflow_session_detached_end();
	*detached = false;
	check_timeout(*node);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(batch_context);
	*node = NULL;
	goflow_execution_free(*ex);
	*ex = NULL;
	writes = goflow_writes_create(batch_context);
	*ex = goflow_execution_load(&instance->execution_id, writes, NULL, 0);
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
	MemoryContextSwitchTo(batch_context);
	goflow_node_take_result(*ex, frame, found, table, processed);
	goflow_execution_record(*ex, frame, found, GOFLOW_NODE_COMPLETED, started_at, elapsed(before),
							NULL);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	MemoryContextSwitchTo(batch_context);
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
	MemoryContextSwitchTo(batch_context);
	*writes = goflow_writes_create(batch_context);
	*ex = goflow_execution_load(&instance->execution_id, *writes, NULL, 0);
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
			(void) goflow_fence_check(instance, found->definition, found);
			goflow_mark_run(instance, found->definition->workflow_id);
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
			MemoryContextSwitchTo(batch_context);
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
			MemoryContextSwitchTo(batch_context);
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
				goflow_speed_learn(ex->definition->workflow_id, found->index, duration);
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
		goflow_session_fuse_off();
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
	MemoryContextReset(batch_context);
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

	prepare_worker();
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
