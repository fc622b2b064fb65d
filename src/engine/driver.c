/*
 * driver.c
 *		Whole transactions in a worker: batches of executions.
 *
 * Driving.  A worker has claimed some executions.  One transaction after
 * another, it loads them and runs their ready nodes; the journal's rows are
 * flushed just before the commit.  A batch ends when its budget of nodes or
 * time is spent, or when nothing is ready.  An execution that has more to do
 * stays in memory for the next batch; all others are let go.
 *
 * A node that is known not to be fast, that must not be tried (contained.c), or
 * that must not share a transaction, is never run by the driver: it runs in node
 * mode (node_mode.c).  The driver commits, offers it to the pool's workers (its
 * own included) and lets the execution go.  So while nodes run, no one drives.
 *
 * Errors.  An error of one node is handled in segment.c.  An error that
 * concerns the transaction (a deadlock, a deferred constraint at commit)
 * throws all of the batch away: the executions are loaded again from the
 * tables, and each of their next nodes runs in node mode.
 *
 * Why exactly once holds: effects and journal rows are in one transaction, and
 * the journal's key admits one row per attempt.  Whoever comes second rolls
 * back, effect included.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A claimed execution on its way through batches. */
typedef struct Claim
{
	pg_uuid_t	id;
	GoflowExecution *ex;		/* NULL: to be loaded */
	GoflowLook	look;			/* what the queue knows of it */
	bool		looked;			/* in the present batch */
	GoflowExecutionRow *row;	/* its row, read with those of the others; NULL: to be read */
	bool		alone;			/* see above */
	bool		touched;		/* part of the present batch */
	ErrorData  *load_error;		/* it could not even be loaded */
	GoflowMessage *message;		/* of its end, if it is not in memory then; or NULL */
	GoflowSegmentEnd end;
	char		old_state;
	bool		is_finished;	/* by the present batch */
	GoflowTracker tracker;		/* of one that was let go of */
	bool		is_ended;		/* released */
} Claim;

/* What is gathered from a batch's executions after its commit. */
typedef struct Aftermath
{
	GoflowInstance adopted;		/* a node that this worker runs next; attempt 0: none */
	pg_uuid_t  *ended;			/* finished */
	pg_uuid_t  *released;		/* their claims end */
	int			nreleased;
} Aftermath;

/* Rows of executions from which on a batch waits for its turn to be stored. */
#define LARGE_BATCH 64

/* Errors of whole batches in a row after which the worker backs off. */
#define MAX_FAILED_BATCHES 5

MemoryContext goflow_batch_context = NULL;

/* Of what is claimed, for as long as it is driven. */
static MemoryContext claims_context = NULL;

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
	bool		is_done = goflow_execution_is_done(ex);
	MemoryContext context = is_done ? ex->writes->context : ex->context;
	bool		is_first;

	goflow_execution_persist(ex);
	if (!is_done)
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
	is_first = row->state == GOFLOW_EXECUTION_QUEUED && row->retry_seq == 0;
	row->state = ex->now.state;
	if (is_done)
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
	if (is_first)
	{
		goflow_variables_keep(row, ex->writes, context);
		goflow_entries_keep(row, ex->writes, context);
	}
	goflow_writes_add(ex->writes, GOFLOW_WRITE_EXECUTION, row);
}

/*
 * Lets go of one that has finished in its first batch, before the commit, if
 * nothing but its row is to be written and nobody is told of what it did: the memory
 * that it used, which is in the processor's cache, is for the next one then.
 */
static void
let_go(Claim *claim, const GoflowWritesMark *before)
{
	GoflowExecution *ex = claim->ex;
	GoflowExecutionRow *row = ex->row;
	MemoryContext context = ex->writes->context;

	if (claim->old_state != GOFLOW_EXECUTION_QUEUED || row->retry_seq != 0 ||
		GetMemoryChunkContext(row) != claims_context || ex->withdrawn != NIL ||
		(ex->watched != 0 && !ex->is_flooded) ||
		!goflow_writes_rewind(ex->writes, before, GOFLOW_WRITE_EXECUTION))
		return;
	if (ex->watched != 0)
		claim->message = goflow_history_settle(ex, claim->old_state, claims_context);
	if (row->output)
		row->output = goflow_jsonb_copy(context, row->output);
	if (row->error)
		row->error = goflow_jsonb_copy(context, row->error);
	claim->tracker = ex->tracker;
	drop_from_memory(claim);
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
	static GoflowInstance instances[GOFLOW_MAX_INSTANCES];	/* too large for the stack */
	int			ninstances = 0;
	GoflowExecutionRow *row = claim->row;
	GoflowExecution *ex;

	claim->row = NULL;			/* once: it is the execution's then */
	if (!claim->looked)
	{
		goflow_queue_look(&claim->id, 1, &claim->look);
		if (claim->look.was_woken)
			row = NULL;
	}
	/* before the snapshot that reads it: what is not in the list has its row there */
	if (claim->look.has_instances)
		ninstances = goflow_queue_instances(&claim->id, instances, GOFLOW_MAX_INSTANCES);
	ex = claim->ex = goflow_execution_load(&claim->id, writes, instances, ninstances, row);
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
	if (ex->started)
		goflow_execution_show(ex);
	else
		ex->is_hidden = true;
	ex->alone = claim->alone || claim->look.is_alone;
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

void
goflow_driver_prepare(void)
{
	if (goflow_batch_context)
		return;
	goflow_batch_context = AllocSetContextCreate(TopMemoryContext, "goflow batch", ALLOCSET_DEFAULT_SIZES);
	claims_context = AllocSetContextCreate(TopMemoryContext, "goflow claims", ALLOCSET_DEFAULT_SIZES);
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
		claim->message = MemoryContextAlloc(claims_context, sizeof(GoflowMessage));
		goflow_history_ended(row, goflow_workflow_name(row->workflow_id), claim->message);
		goflow_writes_add(writes, GOFLOW_WRITE_EXECUTION, row);
		goflow_wake_parent(row->parent);
	}
	forget_requests(&claim->id, writes);
}

/*
 * Looks at all claims, and reads their rows, in one go.  A row is good until
 * somebody wakes the execution, as it is when the execution is in memory.
 */
static void
look_ahead(Claim *claims, int nclaims)
{
	MemoryContext old = MemoryContextSwitchTo(claims_context);
	pg_uuid_t  *ids = palloc(nclaims * sizeof(pg_uuid_t));
	GoflowExecutionRow **rows = palloc(nclaims * sizeof(GoflowExecutionRow *));
	GoflowLook *looks = palloc(nclaims * sizeof(GoflowLook));

	for (int i = 0; i < nclaims; i++)
		ids[i] = claims[i].id;
	goflow_queue_look(ids, nclaims, looks);
	goflow_executions_read_unasked(ids, nclaims, rows);
	for (int i = 0; i < nclaims; i++)
	{
		claims[i].look = looks[i];
		claims[i].looked = true;
		claims[i].row = rows[i];
	}
	MemoryContextSwitchTo(old);
}

/* How long it takes tells whether the workers wait for the disk. */
static void
commit_batch(void)
{
	instr_time	began;
	instr_time	passed;

	goflow_session_allow_cancel(true);
	INSTR_TIME_SET_CURRENT(began);
	CommitTransactionCommand();
	INSTR_TIME_SET_CURRENT(passed);
	goflow_session_allow_cancel(false);
	goflow_session_transaction_ended(true);
	INSTR_TIME_SUBTRACT(passed, began);
	goflow_bulk_committed(INSTR_TIME_GET_MILLISEC(passed));
}

/* One transaction over as many claims as fit, from *next on; sets where to go on. */
static void
run_batch(Claim *claims, int nclaims, volatile int *next, bool is_first)
{
	int			own_nodes = Max(goflow_batch_nodes / 4, 1); /* of one execution: they need memory */
	GoflowWrites *writes;
	GoflowBudget budget;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(goflow_batch_context);
	goflow_scans_keep();
	if (is_first && nclaims > 1)
		look_ahead(claims, nclaims);
	writes = goflow_writes_create(goflow_batch_context);
	budget.nodes = goflow_batch_nodes;
	budget.ran = 0;
	budget.deadline = TimestampTzPlusMilliseconds(GetCurrentTransactionStartTimestamp(),
												  goflow_batch_time);

	for (int i = 0; i < nclaims && budget.nodes > 0; i++)
	{
		Claim	   *claim = &claims[*next];
		int			others;		/* nodes left for those after it */
		GoflowWritesMark before;

		*next = (*next + 1) % nclaims;
		if (claim->is_ended)
			continue;

		/* somebody asked something of it while it was in memory */
		if (claim->ex && goflow_queue_was_woken(&claim->id))
			drop_from_memory(claim);
		claim->touched = true;
		before = goflow_writes_mark(writes);
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
		others = budget.nodes - Min(budget.nodes, own_nodes);
		budget.nodes -= others;
		claim->end = claim->ex->paused ? GOFLOW_SEGMENT_BLOCKED :
			goflow_segment_run(claim->ex, &budget);
		budget.nodes += others;
		claim->is_finished = goflow_execution_is_done(claim->ex);
		if (claim->ex->is_hidden && !claim->is_finished)
			goflow_execution_show(claim->ex);
		store(claim->ex, claim->end);
		if (claim->is_finished)
			let_go(claim, &before);

		if (GetCurrentTimestamp() >= budget.deadline || goflow_queue_should_yield() ||
			goflow_session_holds_advisory_lock())
			break;
	}
	goflow_session_timeouts_off();
	if (goflow_writes_are_notes(writes))
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	goflow_mark_commit();
	goflow_scans_close();
	if (list_length(writes->rows[GOFLOW_WRITE_EXECUTION]) >= LARGE_BATCH)
		goflow_turn_begin();
	goflow_writes_flush(writes, note_frame);
	goflow_turn_end();
	PopActiveSnapshot();
	commit_batch();
}

/* Tells those who wait for what has ended, before anything else is done. */
static void
wake_waiters(const Claim *claims, int nclaims, Aftermath *after)
{
	int			nended = 0;

	for (int i = 0; i < nclaims; i++)
	{
		const Claim *claim = &claims[i];

		if (claim->touched && (claim->is_finished || claim->load_error))
			after->ended[nended++] = claim->id;
	}
	goflow_waiter_wake(after->ended, nended);
}

/* Everything that may be seen or done only after the commit. */
static void
after_commit(Claim *claim, Aftermath *after, bool may_adopt)
{
	GoflowExecution *ex = claim->ex;
	bool		requeue = false;
	ListCell   *lc;

	if (claim->is_finished)
		goflow_mark_forget(MyDatabaseId, &claim->id);
	if (ex == NULL || ex->inactive)
	{
		goflow_tracker_close(&claim->id, &claim->tracker);
		if (claim->message)
			goflow_history_publish_ended(claim->message);
		if (ex && ex->is_others && !ex->row->is_foreign)
			goflow_queue_pass_on(&claim->id, ex->row->run_as, ex->row->priority);
		else
			after->released[after->nreleased++] = claim->id;
		drop_from_memory(claim);
		claim->is_ended = true;
		return;
	}

	goflow_history_publish(ex, claim->old_state);
	foreach(lc, ex->withdrawn)
		(void) goflow_queue_withdraw(lfirst(lc));
	ex->withdrawn = NIL;
	if (claim->is_finished)
		goflow_tracker_close(&claim->id, &ex->tracker);
	else if (claim->end == GOFLOW_SEGMENT_FULL)
		return;
	else if (ex->now.state == GOFLOW_EXECUTION_WAITING || ex->now.state == GOFLOW_EXECUTION_PAUSED)
		goflow_tracker_close(&claim->id, &ex->tracker); /* what waits costs no memory */

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
				after->adopted = instance;
				goflow_queue_adopt(&instance);
				may_adopt = false;
			}
			else if (!goflow_queue_offer(&instance))
				requeue = true; /* no room now; who drives it next finds the node ready */
		}
	}
	drop_from_memory(claim);
	if (requeue)
		goflow_queue_release(&claim->id, 1, true);
	else
		after->released[after->nreleased++] = claim->id;
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
 * help either (a full disk, say), the error is the worker's, which gives them
 * back after a pause.
 */
static void
undo_batch(Claim *claims, int nclaims, ErrorData *error, int failures)
{
	ereport(LOG,
			(errmsg("a batch of nodes was rolled back: %s", error->message),
			 errdetail("Its nodes run one by one.")));

	goflow_history_batch_ended(false);
	if (loading && !is_passing(error))
		loading->load_error = error;
	loading = NULL;
	for (int i = 0; i < nclaims; i++)
	{
		drop_from_memory(&claims[i]);
		claims[i].row = NULL;
		claims[i].message = NULL;
		claims[i].alone = true;
		claims[i].touched = false;
	}
	MemoryContextReset(goflow_batch_context);
	if (failures > MAX_FAILED_BATCHES)
		ThrowErrorData(error);
}

/* NULL, or the error that the batch's transaction was rolled back for. */
static ErrorData *
try_batch(Claim *claims, int nclaims, volatile int *next, bool is_first)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		run_batch(claims, nclaims, next, is_first);
	}
	PG_CATCH();
	{
		goflow_session_timeouts_off();
		goflow_session_allow_cancel(false);
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		goflow_turn_end();
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
			goflow_queue_release(&claims[i].id, 1, true);
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
	bool		is_first = true;
	int			open = nexecutions;
	int			failures = 0;
	volatile int next = 0;
	TimestampTz since = GetCurrentTimestamp();
	Aftermath	after;

	goflow_driver_prepare();
	goflow_workflow_trim(goflow_session_definition());
	MemoryContextReset(claims_context);
	claims = MemoryContextAllocZero(claims_context, nexecutions * sizeof(Claim));
	memset(&after, 0, sizeof(after));
	after.ended = MemoryContextAlloc(claims_context, nexecutions * sizeof(pg_uuid_t));
	after.released = MemoryContextAlloc(claims_context, nexecutions * sizeof(pg_uuid_t));
	for (int i = 0; i < nexecutions; i++)
		claims[i].id = executions[i];

	while (open > 0)
	{
		ErrorData  *error;

		for (int i = 0; i < nexecutions; i++)
			claims[i].touched = claims[i].looked = claims[i].is_finished = false;
		error = try_batch(claims, nexecutions, &next, is_first);
		is_first = false;
		if (error)
		{
			undo_batch(claims, nexecutions, error, ++failures);
			continue;
		}
		wake_waiters(claims, nexecutions, &after);
		after.nreleased = 0;
		for (int i = 0; i < nexecutions; i++)
			if (claims[i].touched)
			{
				failures = 0;
				after_commit(&claims[i], &after, open == 1 && after.adopted.attempt == 0);
				if (claims[i].is_ended)
					open--;
			}
		goflow_history_batch_ended(true);
		goflow_queue_release(after.released, after.nreleased, false);
		MemoryContextReset(goflow_batch_context);
		if (open > 0 && goflow_queue_turn_is_over(since))
		{
			give_back(claims, nexecutions);
			break;
		}
	}
	pgstat_report_stat(false);
	if (after.adopted.attempt > 0)
		goflow_engine_run_node(&after.adopted);
}
