/*
 * scheduler.c
 *		One per database that has something to do: recovery, timers, messages.
 *
 * It runs goflow's own fixed statements only, as the extension's owner, and no
 * code of users: it is connected as the bootstrap superuser.
 *
 * Recovery and rescans.  When it comes up for the first time since the
 * server's start, and when the database's rescan mark is set, it reads the live
 * executions in order of id and queues them, a page per transaction.  The mark
 * is cleared before the first snapshot is taken, so whoever sets it later is
 * seen by the next scan.  When the queue is full the scan stops where it is,
 * and goes on when half of the queue is free.  A slow periodic scan finds what
 * nobody told of (rows of COPY or a restore); it leaves out executions that
 * wait, since all that can wake them is told or has a timer.
 *
 * Executions whose role was dropped fail as they are read; the launcher has all
 * of a database read when it comes across such a role.
 *
 * Timers.  The entry has the first due time that is known.  It is cleared
 * before the snapshot, and lowered again by the scan itself and by whoever
 * commits a timer.
 *
 * Approvals and tasks that are new, or that a moment makes worth telling of, are
 * found with the timers, and told of at once.
 *
 * Messages.  send.c.
 *
 * With nothing due for goflow.scheduler_idle_timeout, or at once if the server
 * has no room for goflow's other processes, it exits; what the entry
 * knows is enough for the launcher to start it again in time.  An error ends
 * it too, and the launcher starts another after a back-off.
 */
#include "postgres.h"

#include "process/shared.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/sinval.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/wait_event.h"

#include "engine/engine.h"
#include "live/live.h"
#include "store/store.h"

/* Rows that one transaction reads. */
#define PAGE 500

/* Does the scan that is under way take waiting executions too? */
static bool scan_waiting = true;

static TimestampTz worked_at;

/* ---- transactions ---- */

static void
leave_database(void)
{
	Oid			oid = goflow_my_database->oid;

	goflow_database_forget(oid);
	proc_exit(0);
}

/* Exits if goflow is not, or no longer, in this database.  pg_stat_activity shows what it is for. */
void
goflow_scheduler_begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, activity);
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!goflow_extension_exists())
	{
		PopActiveSnapshot();
		CommitTransactionCommand();
		leave_database();
	}
}

void
goflow_scheduler_end(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* ---- recovery and rescans ---- */

static bool
waits_for_room_locked(void)
{
	GoflowDatabase *db = goflow_my_database;

	if (db->wants_room && goflow_control->entries <= goflow_queue_size / 2)
		db->wants_room = false;
	/* it was told of room that others have filled since: it must be told again */
	if (db->wants_room)
		goflow_control->wants_room = true;
	return db->wants_room;
}

static void
wait_for_room_locked(void)
{
	goflow_my_database->wants_room = true;
	goflow_control->wants_room = true;
}

/* When the next scan is due; now, if one is under way. */
static TimestampTz
scan_due_locked(TimestampTz now)
{
	GoflowDatabase *db = goflow_my_database;

	if (db->scanning || db->rescan || !db->recovered)
		return now;
	return TimestampTzPlusMilliseconds(db->scanned_at, goflow_rescan_interval * INT64CONST(1000));
}

static void
begin_scan_locked(TimestampTz now)
{
	GoflowDatabase *db = goflow_my_database;
	pg_uuid_t	zero = {{0}};

	scan_waiting = db->rescan || !db->recovered;
	db->scan_position = db->recovered && db->rescan ? db->rescan_after : zero;
	db->rescan = false;
	db->scanning = true;
	db->scanned_at = now;
	if (!scan_waiting)
		db->timers_done = db->next_due = DT_NOBEGIN;	/* restored timers as well */
}

/*
 * Those whose role was dropped fail; InvalidOid stands for it from then on.
 * Returns what is to be told of them.
 */
static List *
fail_roleless(GoflowLiveRow *rows, int n)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	List	   *messages = NIL;

	for (int i = 0; i < n; i++)
	{
		GoflowExecutionRow *row;
		bool		was_live;

		if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(rows[i].role)))
			continue;
		row = goflow_execution_read(&rows[i].execution_id);
		was_live = row && !goflow_execution_is_finished(row->state);
		goflow_schedule_fail_roleless(&rows[i].execution_id);
		rows[i].role = InvalidOid;
		row = goflow_execution_read(&rows[i].execution_id);
		if (row)
			goflow_wake_parent(row->parent);
		if (row && was_live)
		{
			GoflowMessage *message = MemoryContextAlloc(TopMemoryContext, sizeof(GoflowMessage));

			goflow_history_ended(row, goflow_workflow_name(row->workflow_id), message);
			MemoryContextSwitchTo(TopMemoryContext);
			messages = lappend(messages, message);
			MemoryContextSwitchTo(TopTransactionContext);
		}
	}
	MemoryContextSwitchTo(old);
	return messages;
}

/* After the commit. */
static void
tell_of_roleless(const GoflowLiveRow *rows, int n, List *messages)
{
	ListCell   *lc;

	foreach(lc, messages)
		goflow_history_publish_ended(lfirst(lc));
	list_free_deep(messages);
	for (int i = 0; i < n; i++)
		if (!OidIsValid(rows[i].role))
		{
			goflow_tracker_close(&rows[i].execution_id, NULL);
			goflow_waiter_wake(&rows[i].execution_id, 1);
		}
}

/* Queues what was read, in order; returns how many had room. */
static int
push_rows_locked(const GoflowLiveRow *rows, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	int			i;

	for (i = 0; i < n; i++)
		if (OidIsValid(rows[i].role) &&
			!goflow_queue_push_locked(MyDatabaseId, &rows[i].execution_id, rows[i].role,
									  rows[i].priority, now, 0))
			break;
	return i;
}

/* Reads one page of a scan, if one is due.  True if it did something. */
static bool
scan_page(void)
{
	GoflowDatabase *db = goflow_my_database;
	GoflowLiveRow rows[PAGE];
	TimestampTz now = GetCurrentTimestamp();
	pg_uuid_t	position;
	List	   *failed;
	int			n;
	int			pushed;

	goflow_lock(LW_EXCLUSIVE);
	if (scan_due_locked(now) > now || waits_for_room_locked())
	{
		goflow_unlock();
		return false;
	}
	if (!db->scanning)
		begin_scan_locked(now);
	db->reading = true;
	position = db->scan_position;
	goflow_unlock();

	goflow_scheduler_begin("read live executions");
	n = goflow_schedule_live(&position, scan_waiting, rows, PAGE);
	failed = fail_roleless(rows, n);
	goflow_scheduler_end();
	tell_of_roleless(rows, n, failed);

	goflow_lock(LW_EXCLUSIVE);
	pushed = push_rows_locked(rows, n);
	if (pushed > 0)
		db->scan_position = rows[pushed - 1].execution_id;
	db->reading = false;
	if (pushed < n)
		wait_for_room_locked();
	else if (n < PAGE)
	{
		db->scanning = false;
		db->recovered = true;
		goflow_retention_due();
	}
	goflow_unlock();
	return true;
}

/* ---- retention ---- */

static bool
purge_page(void)
{
	if (!goflow_retention_wants_page())
		return false;
	goflow_scheduler_begin("delete finished executions");
	goflow_retention_page();
	goflow_scheduler_end();
	return true;
}

/* ---- timers ---- */

/* Tells of approvals and tasks; returns when to look again. */
static TimestampTz
announce_waits(TimestampTz now)
{
	static TimestampTz looked_at = DT_NOBEGIN;
	TimestampTz since;
	TimestampTz next;

	if (looked_at > now)
		looked_at = DT_NOBEGIN; /* the clock was set back */
	since = looked_at == DT_NOBEGIN ? looked_at : looked_at - GOFLOW_COMMIT_LAG;
	next = goflow_send_announcements(since, now);
	if (next > now)
		looked_at = now;		/* else there are more */
	return next;
}

/*
 * Queues the executions whose timers are due.  A timer that is committed while
 * this reads lowers next_due again, and is read in the next turn.
 */
static bool
push_due(void)
{
	GoflowDatabase *db = goflow_my_database;
	GoflowLiveRow rows[PAGE];
	GoflowDuePosition positions[PAGE];
	GoflowDuePosition position;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;
	bool		has_room = true;
	bool		more;
	int			n;

	goflow_lock(LW_EXCLUSIVE);
	if (db->next_due > now || waits_for_room_locked())
	{
		goflow_unlock();
		return false;
	}
	position.due_at = db->timers_done;
	memset(&position.execution_id, 0xff, UUID_LEN);
	db->next_due = DT_NOEND;
	db->reading_timers = true;
	goflow_unlock();

	do
	{
		List	   *failed;
		int			pushed;

		goflow_scheduler_begin("queue executions whose timers are due");
		n = goflow_schedule_due(&position, now, rows, positions, PAGE, &more);
		failed = fail_roleless(rows, n);
		if (!more)
			next = goflow_schedule_next_due(now);
		goflow_scheduler_end();
		tell_of_roleless(rows, n, failed);

		goflow_lock(LW_EXCLUSIVE);
		pushed = push_rows_locked(rows, n);
		has_room = pushed == n;
		if (!has_room)
		{
			wait_for_room_locked();
			next = positions[pushed].due_at;
		}
		goflow_unlock();
		CHECK_FOR_INTERRUPTS();
	} while (more && has_room);
	next = Min(next, announce_waits(now));

	goflow_lock(LW_EXCLUSIVE);
	db->reading_timers = false;
	db->next_due = Min(db->next_due, next);
	db->timers_done = db->next_due <= now ? db->next_due - 1 : now;
	goflow_unlock();
	return true;
}

/* ---- the process ---- */

/* When there is something to do without being told. */
static TimestampTz
next_due(TimestampTz now)
{
	TimestampTz next = DT_NOEND;

	goflow_lock(LW_EXCLUSIVE);
	if (!waits_for_room_locked())
		next = Min(scan_due_locked(now), goflow_my_database->next_due);
	goflow_unlock();
	return next;
}

/*
 * Sleeps until something is due or somebody sets the latch; exits when it has
 * been idle for long.  It does not exit while it waits for room in the queue:
 * somebody has to take the scan up again.
 */
static void
sleep_or_leave(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = Min(next_due(now), goflow_send_due());
	TimestampTz leave_at;
	long		timeout;

	worked_at = Min(worked_at, now);	/* the clock may be set back */
	leave_at = TimestampTzPlusMilliseconds(worked_at, goflow_scheduler_idle_timeout);

	if (((volatile GoflowControl *) goflow_control)->crowded)
		leave_at = now;
	if (next > now)
	{
		if (goflow_my_database->wants_room)
			leave_at = DT_NOEND;
		else if (now >= leave_at)
			proc_exit(0);
		next = Min(next, leave_at);
		timeout = next == DT_NOEND ? -1 : GoflowMillisecondsUntil(now, next);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, goflow_wait_event(GOFLOW_WAIT_SCHEDULER));
	}
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (catchupInterruptPending)
		ProcessCatchupInterrupt();
}

static void
connect_to_database(void)
{
	BackgroundWorkerInitializeConnectionByOid(goflow_my_database->oid, InvalidOid, 0);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET, PGC_S_SESSION);
	/* nothing that it writes is worth waiting for a disk or a standby */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("application_name", "goflow scheduler", PGC_USERSET, PGC_S_SESSION);
	pgstat_report_appname("goflow scheduler");
}

/* It has no query to cancel, but lock_timeout sends this signal, too (process/send.c). */
static void
handle_sigint(SIGNAL_ARGS)
{
	if (get_timeout_indicator(LOCK_TIMEOUT, false))
		StatementCancelHandler(postgres_signal_arg);
}

void
goflow_scheduler_main(Datum arg)
{
	uint32		generation;

	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, goflow_handle_sigterm);
	pqsignal(SIGINT, handle_sigint);
	if (!goflow_scheduler_attach(DatumGetInt32(arg), generation))
		proc_exit(0);
	BackgroundWorkerUnblockSignals();
	connect_to_database();

	goflow_scheduler_begin("look for goflow");
	goflow_scheduler_end();
	goflow_lock(LW_EXCLUSIVE);
	goflow_my_database->presence = GOFLOW_PRESENCE_PRESENT;
	goflow_unlock();

	worked_at = GetCurrentTimestamp();
	for (;;)
	{
		bool		worked;

		worked = scan_page();
		worked |= push_due();
		worked |= purge_page();
		worked |= goflow_send_messages();
		if (worked)
		{
			worked_at = GetCurrentTimestamp();
			goflow_lock(LW_EXCLUSIVE);
			goflow_trouble_clear(&goflow_my_database->trouble);
			goflow_unlock();
			pgstat_report_stat(false);
		}
		else
			sleep_or_leave();
		CHECK_FOR_INTERRUPTS();
	}
}
