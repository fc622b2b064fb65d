/*
 * session.c
 *		What surrounds a node: settings, the fuse, and cleaning up.
 *
 * A worker's session is shared by many executions of its role, so nothing that
 * a node leaves may be there for the next one.  Each node has a GUC nest level
 * of its own (SET and SET LOCAL end with it); cursors and sequence caches are
 * dropped.  What can't be undone within a transaction (utility commands,
 * temporary objects) is noticed: the node is rolled back and runs alone, in
 * node mode, after which the session is scrubbed.
 *
 * The settings of a definition (search_path and others) are set for the
 * session and stay until a definition with others comes along.
 *
 * A cancel may come at any time, from goflow.cancel() or from anybody's
 * pg_cancel_backend(), and is meant for the code of users that runs just then:
 * a node's, or what a commit runs.  Anywhere else SIGINT is ignored, or it
 * would hit executions that have nothing to do with it.  A request of goflow
 * that came too early for that is in the worker's slot.
 *
 * The fuse is a timeout of our own.  lock_timeout and statement_timeout raise
 * errors that user code may swallow; here the flag tells, whatever the code
 * did, and the alarm repeats until the node ends.  It goes on to burn for the
 * nodes that follow in the batch: it is set again when a tenth of it has
 * burnt, and hurts only who runs code of users on it.  statement_timeout itself is
 * the role's or the definition's wish; the server arms it for statements of
 * clients only, so it is armed here for each node.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/async.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

/* A node that swallows its timeout is told again so often. */
#define TIMEOUT_REPEAT_MS 50

static TimeoutId fuse_timeout = MAX_TIMEOUTS;
static TimeoutId node_timeout = MAX_TIMEOUTS;
static volatile sig_atomic_t timed_out = false;
static volatile sig_atomic_t fuse_burnt = false;
static volatile sig_atomic_t may_cancel = false;
static volatile sig_atomic_t on_fuse = false;	/* what runs is to be stopped by it */
static TimestampTz fuse_lit_at;
static int	nest_level;
static int	xact_flags;

/* The definition whose settings are in force, and the one when the last transaction committed. */
static GoflowDefinition *applied = NULL;
static GoflowDefinition *committed = NULL;

/* Code of users has run that could take an advisory lock: none that is pure can. */
static bool may_have_locks = false;

static void
burn_fuse(void)
{
	if (!may_cancel || !on_fuse)
		return;					/* between two nodes, or in what has none */
	fuse_burnt = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

static void
time_out(void)
{
	timed_out = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

void
goflow_session_handle_cancel(SIGNAL_ARGS)
{
	if (may_cancel)
		StatementCancelHandler(postgres_signal_arg);
}

/* Code of users begins, or has ended. */
void
goflow_session_allow_cancel(bool allow)
{
	may_cancel = allow;
	if (!allow)
		QueryCancelPending = false;
	else if (goflow_worker_cancel_requested())
		InterruptPending = QueryCancelPending = true;
}

/* Once in a worker's life. */
void
goflow_session_init(void)
{
	fuse_timeout = RegisterTimeout(USER_TIMEOUT, burn_fuse);
	node_timeout = RegisterTimeout(USER_TIMEOUT, time_out);
}

static bool
same_settings(const GoflowSettings *a, const GoflowSettings *b)
{
	if (a->count != b->count)
		return false;
	for (int i = 0; i < a->count; i++)
		if (strcmp(a->names[i], b->names[i]) != 0 || strcmp(a->values[i], b->values[i]) != 0)
			return false;
	return true;
}

/* In a worker, within a transaction but outside of any subtransaction. */
void
goflow_session_apply(GoflowDefinition *definition)
{
	GoflowSettings *settings = &definition->settings;
	GucContext	context = superuser() ? PGC_SUSET : PGC_USERSET;

	if (applied == definition || (applied && same_settings(&applied->settings, settings)))
		return;
	/* what an earlier definition set beyond these must go */
	for (int i = 0; applied && i < applied->settings.count; i++)
		(void) set_config_option(applied->settings.names[i], NULL, context, PGC_S_SESSION,
								 GUC_ACTION_SET, true, 0, false);
	for (int i = 0; i < settings->count; i++)
		(void) set_config_option(settings->names[i], settings->values[i], context, PGC_S_SESSION,
								 GUC_ACTION_SET, true, 0, false);
	applied = definition;
}

/* The definition whose settings the session has; between transactions. */
GoflowDefinition *
goflow_session_definition(void)
{
	return applied;
}

/*
 * Settings go back with the transaction that made them.  Advisory locks of the
 * session would outlive it, either way.
 */
void
goflow_session_transaction_ended(bool is_committed)
{
	LockReleaseAll(USER_LOCKMETHOD, true);
	may_have_locks = false;
	if (is_committed)
		committed = applied;
	else
		applied = committed;
}

/*
 * Does this process hold an advisory lock?  Those of the session outlive the
 * node that took them, and would be there for others of the batch.  Only this
 * process adds to its lists, so what looks empty is.
 */
bool
goflow_session_holds_advisory_lock(void)
{
	bool		found = false;

	if (!may_have_locks)
		return false;
	for (int i = 0; i < NUM_LOCK_PARTITIONS && !found; i++)
	{
		LWLock	   *partition = LockHashPartitionLockByIndex(i);
		PROCLOCK   *lock = NULL;

		if (!goflow_has_proclocks(i))
			continue;
		LWLockAcquire(partition, LW_SHARED);
		while (!found && (lock = goflow_next_proclock(i, lock)) != NULL)
			found = lock->tag.myLock->tag.locktag_type == LOCKTAG_ADVISORY;
		LWLockRelease(partition);
	}
	may_have_locks = found;
	return found;
}

static pg_noinline void
relight_fuse(TimestampTz now)
{
	enable_timeout_every(fuse_timeout, TimestampTzPlusMilliseconds(now, goflow_fuse), goflow_fuse);
	fuse_lit_at = now;
}

static void
light_fuse(TimestampTz now)
{
	if (!get_timeout_active(fuse_timeout) || now < fuse_lit_at ||
		now - fuse_lit_at >= goflow_fuse * INT64CONST(100))
		relight_fuse(now);
}

/* Lets cancels in, and lights the fuse; the code begins now. */
static inline void
begin_bare_code(TimestampTz now, bool fuse)
{
	xact_flags = MyXactFlags;
	goflow_utility_seen = false;
	fuse_burnt = false;
	timed_out = false;
	on_fuse = fuse;
	if (fuse)
		light_fuse(now);
	goflow_session_allow_cancel(true);
}

/* The same, with the other alarms. */
static void
begin_user_code(TimestampTz now, bool fuse, int64 timeout)
{
	begin_bare_code(now, fuse);
	if (timeout > 0)
		enable_timeout_every(node_timeout, GetCurrentTimestamp() + timeout, TIMEOUT_REPEAT_MS);
	if (StatementTimeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
}

void
goflow_session_node_begin(const GoflowSettings *settings, bool fuse, int64 timeout)
{
	may_have_locks = true;
	SetCurrentStatementStartTimestamp();
	nest_level = NewGUCNestLevel();
	if (settings)
		goflow_settings_apply(settings);
	if (!fuse && get_timeout_active(fuse_timeout))
		disable_timeout(fuse_timeout, false);
	begin_user_code(GetCurrentStatementStartTimestamp(), fuse, timeout);
}

/* The timeouts that are one node's. */
static void
end_timeouts(void)
{
	if (node_timeout != MAX_TIMEOUTS && get_timeout_active(node_timeout))
		disable_timeout(node_timeout, false);
	if (get_timeout_active(STATEMENT_TIMEOUT))
		disable_timeout(STATEMENT_TIMEOUT, true);
	if (fuse_burnt || timed_out || get_timeout_indicator(STATEMENT_TIMEOUT, true))
		QueryCancelPending = false;
}

/*
 * After the node returned, within its subtransaction.  After an error the
 * subtransaction's abort does the same, but for the timeouts and the cancels:
 * goflow_session_timeouts_off() and goflow_session_allow_cancel().
 */
void
goflow_session_node_end(void)
{
	end_timeouts();
	goflow_session_allow_cancel(false);
	AtEOXact_GUC(false, nest_level);
	PortalHashTableDeleteAll();
	ResetSequenceCaches();
}

/*
 * Around expressions that leave nothing in the session (goflow_node_is_pure()):
 * they cannot see when their statement began.
 */
void
goflow_session_pure_begin(TimestampTz now, bool fuse)
{
	begin_bare_code(now, fuse);
}

void
goflow_session_pure_end(void)
{
	goflow_session_allow_cancel(false);
}

/* After an error, and when a batch has run all its nodes. */
void
goflow_session_timeouts_off(void)
{
	if (fuse_timeout != MAX_TIMEOUTS && get_timeout_active(fuse_timeout))
		disable_timeout(fuse_timeout, false);
	end_timeouts();
}

static void
set_for_session(const GoflowSettings *settings)
{
	GucContext	context = superuser() ? PGC_SUSET : PGC_USERSET;

	for (int i = 0; i < settings->count; i++)
		(void) set_config_option(settings->names[i], settings->values[i], context, PGC_S_SESSION,
								 GUC_ACTION_SET, true, 0, false);
}

/*
 * Around a statement that makes transactions of its own, each outside of one.
 * No nest level of settings survives a commit, so they are the session's until
 * the end.  Then the whole session goes back to where it began, whatever the
 * statement did to it: the transaction that stores the result needs it so.
 * The worker's life ends with the node (a temporary table, a library or a
 * prepared statement must not be there for the next one).
 */
void
goflow_session_detached_begin(const GoflowSettings *settings, int64 timeout)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	set_for_session(settings);
	CommitTransactionCommand();
	begin_user_code(GetCurrentStatementStartTimestamp(), false, timeout);
}

void
goflow_session_detached_end(void)
{
	goflow_session_timeouts_off();
	goflow_session_allow_cancel(false);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	goflow_worker_reset_session();
	PopActiveSnapshot();
	CommitTransactionCommand();
	LockReleaseAll(USER_LOCKMETHOD, true);
	applied = committed = NULL;
}

/* True if the node took longer than a node in a batch may. */
bool
goflow_session_fuse_burnt(void)
{
	return fuse_burnt;
}

/* True if the node took longer than its own "timeout". */
bool
goflow_session_timed_out(void)
{
	return timed_out;
}

/* True if the node did something whose traces a subtransaction does not bound. */
bool
goflow_session_must_run_alone(void)
{
	return goflow_utility_seen ||
		((MyXactFlags & ~xact_flags) & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0;
}

/* Outside of a transaction, after a node that ran alone. */
void
goflow_session_clean(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PortalHashTableDeleteAll();
	DropAllPreparedStatements();
	Async_UnlistenAll();

	/* dropping a table reads catalogs that may have TOASTed values */
	PushActiveSnapshot(GetTransactionSnapshot());
	ResetTempTableNamespace();
	PopActiveSnapshot();
	ResetSequenceCaches();
	CommitTransactionCommand();
}
