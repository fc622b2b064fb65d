/*
 * worker.c
 *		Main loop of a worker: takes work from its pool, calls the engine.
 *
 * A worker belongs to one database and one role for life, so whatever runs
 * late in it (deferred triggers, code at commit, session state) runs as that
 * role.  It attaches to the slot that the launcher reserved, connects, puts
 * the session into a known state, and then takes and runs until it is idle for
 * goflow.worker_idle_timeout, or asked to make room.
 *
 * The engine handles the errors of nodes.  One that escapes it is goflow's own
 * or the server's trouble: the transaction is aborted, the claims are given
 * back after a pause, and the worker goes on.  If goflow is gone from the
 * database, it exits.
 */
#include "postgres.h"

#include "process/shared.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <math.h>
#include <setjmp.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/sinval.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/wait_event.h"

#include "engine/engine.h"
#include "store/store.h"

/* The pause after an error that escaped the engine, in milliseconds. */
#define ERROR_PAUSE 1000

/*
 * A worker looks out for work for so many microseconds before it sleeps; after so
 * many failures in a row only every so many times.
 */
#define LOOKOUT_TIME 250
#define LOOKOUT_CREDIT 4
#define LOOKOUT_RARELY 16

/* Executions that a worker takes at one time, at least. */
#define LEAST_APPETITE 16

/* Milliseconds after which a worker that rests (bulk.c) looks again. */
#define REST 20

/* Bytes: what a worker keeps at most when it is free, and what is mapped by itself. */
#define KEPT_MEMORY (2 * 1024 * 1024)
#define MAPPED_MEMORY (512 * 1024)

Oid
goflow_worker_role(void)
{
	return goflow_my_slot ? goflow_my_slot->role : InvalidOid;
}

bool
goflow_in_worker(void)
{
	return goflow_my_slot != NULL || goflow_my_database != NULL;
}

static void
set_session(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_USERSET, PGC_S_SESSION);
}

/* Those on which goflow's meaning rests. */
static void
set_own_settings(void)
{
	set_session("search_path", "pg_catalog, pg_temp");
	set_session("default_transaction_isolation", "read committed");
	set_session("default_transaction_read_only", "off");
	set_session("default_transaction_deferrable", "off");
	set_session("application_name", "goflow worker");
}

/*
 * Connects as the pool's role.  The role's own settings hold, as at a login,
 * but for those on which goflow's meaning rests.
 */
static void
connect_as_role(void)
{
	Oid			role = goflow_my_slot->role;

	BackgroundWorkerInitializeConnectionByOid(goflow_my_slot->database, role,
											  GOFLOW_WORKER_FLAGS);

	/* ALTER ROLE ... SET role would make it somebody else */
	set_session("role", "none");
	if (GetUserId() != role || GetSessionUserId() != role)
		ereport(FATAL,
				(errcode(ERRCODE_GOFLOW_ROLE_CANNOT_RUN),
				 errmsg("goflow worker of role %u is connected as role %u", role, GetUserId()),
				 errhint("Remove settings that change the session's user from role and database.")));

	set_own_settings();
	pgstat_report_appname("goflow worker");
}

/*
 * Undoes whatever a statement outside of a transaction did to the session's
 * settings and its user.  Needs a transaction.
 */
void
goflow_worker_reset_session(void)
{
	(void) set_config_option("session_authorization", NULL, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SET, true, 0, false);
	set_session("role", "none");
	if (GetUserId() != goflow_my_slot->role || GetSessionUserId() != goflow_my_slot->role)
		ereport(FATAL,
				(errcode(ERRCODE_GOFLOW_ROLE_CANNOT_RUN),
				 errmsg("goflow worker of role %u became role %u", goflow_my_slot->role, GetUserId())));
	ResetAllOptions();
	set_own_settings();
}

static bool
extension_exists(void)
{
	bool		exists;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	exists = goflow_extension_exists();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return exists;
}

/*
 * What a batch has allocated is freed at its end, and allocated again by the
 * next one.  glibc would give it back to the system each time, and each page
 * would be a fault again, a tenth of a worker's time.
 */
static void
keep_memory(void)
{
#ifdef __GLIBC__
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
	(void) mallopt(M_MMAP_THRESHOLD, MAPPED_MEMORY);
#endif
}

/* What a client's session has after its login: the libraries, and goflow. */
static void
prepare(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	process_session_preload_libraries();
	CommitTransactionCommand();
	if (!extension_exists())
		proc_exit(0);
	pgstat_report_activity(STATE_IDLE, NULL);
	goflow_slot_connected();
}

static void
pause_or_exit(long timeout)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout,
					 goflow_wait_event(GOFLOW_WAIT_WORKER));
	ResetLatch(MyLatch);
	/* a cancel was meant for a node that has ended */
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (catchupInterruptPending)
		ProcessCatchupInterrupt();
}

/*
 * After an error.  The claims are held meanwhile, and whoever sets the latch does
 * not end it, so that neither this worker nor an idle one spins on them.
 */
static void
pause_and_give_back(void)
{
	instr_time	since;
	instr_time	passed;
	double		left = ERROR_PAUSE;

	INSTR_TIME_SET_CURRENT(since);
	while (left > 0)
	{
		pause_or_exit((long) ceil(left));
		INSTR_TIME_SET_CURRENT(passed);
		INSTR_TIME_SUBTRACT(passed, since);
		left = ERROR_PAUSE - INSTR_TIME_GET_MILLISEC(passed);
	}
	goflow_queue_give_back();
}

/*
 * Who has been told of an end often starts the next one at once.  A worker that
 * is still awake then is there sooner than one that has to be woken.  It does not
 * look out where that was in vain of late, but for once in a while.  True: it is
 * idle no more.
 */
static bool
look_out_for_work(void)
{
	static int	credit = LOOKOUT_CREDIT;
	static uint32 turns = 0;
	volatile GoflowWorkerSlot *slot = goflow_my_slot;
	instr_time	since;
	instr_time	passed;
	bool		is_idle;

	if (credit == 0 && ++turns % LOOKOUT_RARELY != 0)
		return false;
	INSTR_TIME_SET_CURRENT(since);
	do
	{
		pg_spin_delay();
		INSTR_TIME_SET_CURRENT(passed);
		INSTR_TIME_SUBTRACT(passed, since);
		is_idle = slot->state == GOFLOW_SLOT_IDLE;
	} while (is_idle && !InterruptPending && INSTR_TIME_GET_MICROSEC(passed) < LOOKOUT_TIME);
	credit = is_idle ? Max(credit - 1, 0) : LOOKOUT_CREDIT;
	return !is_idle;
}

/* Waits until woken for work, or a little while it rests.  Exits when that takes too long, or when asked to. */
static void
wait_for_work(void)
{
	volatile GoflowWorkerSlot *slot = goflow_my_slot;
	bool		is_resting = goflow_bulk_is_resting();

	if (!is_resting && look_out_for_work())
		return;
	pgstat_report_activity(STATE_IDLE, NULL);
	pgstat_report_stat(true);
	if (is_resting)
	{
		pause_or_exit(REST);
		return;
	}
	while (slot->state == GOFLOW_SLOT_IDLE)
	{
		/* the setting, and the clock, may change meanwhile */
		TimestampTz leave_at = TimestampTzPlusMilliseconds(slot->idle_since, goflow_worker_idle_timeout);
		long		timeout = GoflowMillisecondsUntil(GetCurrentTimestamp(), leave_at);

		if (timeout <= 0 && goflow_slot_try_leave())
			break;
		pause_or_exit(timeout);
	}
	if (goflow_my_slot->leave)
		proc_exit(0);
}

/*
 * How many executions to take at one time: what fits into a batch.  More would
 * only keep them from other workers, and from those with a higher priority.
 */
static int	appetite = GOFLOW_FIRST_CLAIMS;

static void
drive(const pg_uuid_t *executions, int n)
{
	TimestampTz since = GetCurrentTimestamp();
	TimestampTz now;

	goflow_mark_claims(executions, n);
	goflow_engine_drive(executions, n);
	if (n < appetite)
		return;
	now = GetCurrentTimestamp();
	if (!TimestampDifferenceExceeds(since, now, goflow_batch_time))
		appetite = Min(2 * appetite, GOFLOW_MAX_CLAIMS);
	else if (TimestampDifferenceExceeds(since, now, GOFLOW_CLAIM_BATCHES * goflow_batch_time))
		appetite = Max(appetite / 2, LEAST_APPETITE);
}

static void
take_and_run(void)
{
	pg_uuid_t	executions[GOFLOW_MAX_CLAIMS];
	GoflowInstance instance;
	int			n;

	switch (goflow_queue_take(executions, appetite, &n, &instance))
	{
		case GOFLOW_WORK_DRIVE:
			drive(executions, n);
			break;
		case GOFLOW_WORK_NODE:
			goflow_engine_run_node(&instance);
			break;
		case GOFLOW_WORK_NONE:
			if (goflow_my_slot->leave)
				proc_exit(0);
			wait_for_work();
			break;
	}
	goflow_mark_clear();
}

/* After an error that the engine let through. */
static void
recover(void)
{
	error_context_stack = NULL;
	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	goflow_mark_clear();
	EmitErrorReport();
	AbortOutOfAnyTransaction();
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(TopMemoryContext);
	FlushErrorState();
	RESUME_INTERRUPTS();
}

void
goflow_worker_main(Datum arg)
{
	sigjmp_buf	jump;
	volatile bool failed = false;
	uint32		generation;

	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, goflow_handle_sigterm);
	pqsignal(SIGINT, goflow_session_handle_cancel);
	if (!goflow_slot_attach(DatumGetInt32(arg), generation))
		proc_exit(0);
	BackgroundWorkerUnblockSignals();
	keep_memory();
	connect_as_role();
	prepare();

	if (sigsetjmp(jump, 1) != 0)
	{
		recover();
		failed = true;
	}
	PG_exception_stack = &jump;

	for (;;)
	{
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		if (failed)
		{
			failed = false;
			if (!extension_exists())
				proc_exit(0);
			pause_and_give_back();
		}
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		take_and_run();
	}
}
