/*
 * database.c
 *		What shared memory knows of each database: whether goflow is there, what
 *		its scheduler must do and when, and who needs the database to itself.
 *
 * An entry appears when the launcher finds a database at server start, or when
 * a transaction there commits something for goflow to do.  It may be reused
 * for another database once it says that there is no goflow.
 *
 * "Holding" a database stops goflow's processes in it and keeps new ones out,
 * for statements such as DROP DATABASE (utility.c).  A process that was
 * registered before the hold sees it when it attaches, before it connects, and
 * exits; so when no slot of the database is in use, none will be.
 */
#include "postgres.h"

#include "process/shared.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/hsearch.h"
#include "utils/wait_event.h"

#include "live/live.h"

GoflowDatabase *goflow_my_database = NULL;

GoflowDatabase *
goflow_database_find_locked(Oid oid)
{
	static int	last = 0;

	if (goflow_control->databases[last].oid == oid)
		return &goflow_control->databases[last];
	for (int i = 0; i < goflow_control->ndatabases; i++)
	{
		if (goflow_control->databases[i].oid == oid)
		{
			last = i;
			return &goflow_control->databases[i];
		}
	}
	return NULL;
}

/* An entry that nothing refers to. */
static bool
is_disposable(GoflowDatabase *db)
{
	return !OidIsValid(db->oid) ||
		(db->presence == GOFLOW_PRESENCE_ABSENT && db->holds == 0 &&
		 db->scheduler == GOFLOW_SCHEDULER_NONE);
}

/* Finds or makes the entry of a database; NULL if there are too many of them. */
GoflowDatabase *
goflow_database_get_locked(Oid oid)
{
	GoflowDatabase *db = goflow_database_find_locked(oid);
	uint32		generation;

	if (db)
		return db;
	for (int i = 0; i < GOFLOW_MAX_DATABASES; i++)
	{
		if (is_disposable(&goflow_control->databases[i]))
		{
			db = &goflow_control->databases[i];
			goflow_control->ndatabases = Max(goflow_control->ndatabases, i + 1);
			break;
		}
	}
	if (db == NULL)
		return NULL;

	generation = db->generation;
	memset(db, 0, sizeof(GoflowDatabase));
	db->oid = oid;
	db->generation = generation;
	db->presence = GOFLOW_PRESENCE_UNKNOWN;
	db->timers_done = DT_NOBEGIN;
	db->next_due = DT_NOBEGIN;	/* not known yet: look at once */
	pg_atomic_init_u64(&db->ring_position, goflow_message_position());
	pg_atomic_init_u32(&db->ring_pending, 0);
	return db;
}

/* Something for the scheduler: wake it, or the launcher that starts it. */
void
goflow_database_notify_locked(GoflowDatabase *db)
{
	if (db->scheduler == GOFLOW_SCHEDULER_RUNNING)
		SetLatch(db->latch);
	else if (db->scheduler == GOFLOW_SCHEDULER_NONE)
		goflow_launcher_wake_locked();
}

void
goflow_database_lower_due_locked(GoflowDatabase *db, TimestampTz due_at)
{
	if (due_at >= db->next_due)
		return;
	db->next_due = due_at;
	/* timers may be inserted with a due time that was passed already */
	if (due_at <= db->timers_done)
		db->timers_done = due_at - 1;
	goflow_database_notify_locked(db);
}

/*
 * Executions with ids after *after (NULL: all of them) must be read from the
 * tables.  A scan that is still to come to them will do; the page that it is
 * reading may have been read too early, though.
 */
void
goflow_database_rescan_locked(GoflowDatabase *db, const pg_uuid_t *after)
{
	pg_uuid_t	zero = {{0}};

	if (after == NULL)
		after = &zero;
	if (db->scanning && !db->reading &&
		memcmp(after->data, db->scan_position.data, UUID_LEN) >= 0)
		return;
	if (!db->rescan || memcmp(after->data, db->rescan_after.data, UUID_LEN) < 0)
		db->rescan_after = *after;
	if (!db->rescan)
	{
		db->rescan = true;
		goflow_database_notify_locked(db);
	}
}

/*
 * There is a message of this database in the ring.  Its entry exists, since
 * what messages are about was queued before.
 */
void
goflow_scheduler_wake_message(Oid database)
{
	GoflowDatabase *db;

	goflow_lock(LW_SHARED);
	db = goflow_database_find_locked(database);
	if (db && pg_atomic_exchange_u32(&db->ring_pending, 1) == 0)
		goflow_database_notify_locked(db);
	goflow_unlock();
}

/*
 * Does the database need a scheduler now?  If not, *next is lowered to the
 * moment when it will without being told.
 */
bool
goflow_database_due_locked(GoflowDatabase *db, TimestampTz now, TimestampTz *next)
{
	TimestampTz at;

	if (!OidIsValid(db->oid) || db->presence == GOFLOW_PRESENCE_ABSENT || db->holds > 0 ||
		db->scheduler != GOFLOW_SCHEDULER_NONE)
		return false;

	if (db->presence == GOFLOW_PRESENCE_UNKNOWN || !db->recovered || db->rescan ||
		pg_atomic_read_u32(&db->ring_pending) != 0)
		at = now;
	else
		at = Min(db->next_due,
				 TimestampTzPlusMilliseconds(db->scanned_at, goflow_rescan_interval * INT64CONST(1000)));
	if (db->trouble.failures > 0)
		at = Max(at, db->trouble.retry_at);
	if (at <= now)
		return true;
	*next = Min(*next, at);
	return false;
}

/* The database, or goflow in it, is gone: nothing of it is left to do. */
void
goflow_database_forget(Oid oid)
{
	GoflowDatabase *db;

	goflow_lock(LW_EXCLUSIVE);
	for (int i = 0; i < goflow_control->npools; i++)
	{
		if (goflow_control->pools[i].database == oid)
		{
			goflow_pool_empty_locked(&goflow_control->pools[i]);
			goflow_control->pools[i].parked = false;
			goflow_trouble_clear(&goflow_control->pools[i].trouble);
		}
	}
	db = goflow_database_find_locked(oid);
	if (db)
	{
		db->presence = GOFLOW_PRESENCE_ABSENT;
		db->recovered = false;
		db->rescan = false;
		db->next_due = DT_NOEND;
		db->timers_done = DT_NOBEGIN;
		pg_atomic_write_u32(&db->ring_pending, 0);
		goflow_trouble_clear(&db->trouble);
	}
	goflow_unlock();
	goflow_tracker_forget(oid);
	goflow_mark_forget(oid, NULL);
}

/* Terminates what runs in a database.  True if there was nothing left. */
static bool
terminate_all(Oid oid)
{
	GoflowDatabase *db;
	bool		done = true;

	goflow_lock(LW_SHARED);
	for (int i = 0; i < goflow_control->nslots; i++)
	{
		GoflowWorkerSlot *slot = &goflow_control->slots[i];

		/* a node that drops its own database's goflow is not waited for */
		if (slot->state == GOFLOW_SLOT_FREE || slot->database != oid ||
			slot->pid == MyProcPid)
			continue;
		done = false;
		if (slot->pid != 0)
			kill(slot->pid, SIGTERM);
	}
	db = goflow_database_find_locked(oid);
	if (db && db->scheduler != GOFLOW_SCHEDULER_NONE)
	{
		done = false;
		if (db->pid != 0)
			kill(db->pid, SIGTERM);
	}
	goflow_unlock();
	return done;
}

/*
 * Keeps goflow out of a database until goflow_database_unhold(), and waits
 * until its processes are gone.  If the wait is interrupted by an error the
 * hold remains, and must be ended by the caller all the same.
 */
void
goflow_database_hold(Oid oid)
{
	GoflowDatabase *db;

	goflow_lock(LW_EXCLUSIVE);
	db = goflow_database_get_locked(oid);
	if (db)
		db->holds++;
	goflow_unlock();
	if (db == NULL)
		return;

	ConditionVariablePrepareToSleep(&goflow_control->slot_freed);
	while (!terminate_all(oid))
		ConditionVariableTimedSleep(&goflow_control->slot_freed, 1000, goflow_wait_event(GOFLOW_WAIT_EXIT));
	ConditionVariableCancelSleep();
}

/* changed: goflow, or the database, may be gone now; a scheduler has to look. */
void
goflow_database_unhold(Oid oid, bool changed)
{
	GoflowDatabase *db;

	goflow_lock(LW_EXCLUSIVE);
	db = goflow_database_find_locked(oid);
	if (db && db->holds > 0)
	{
		db->holds--;
		if (changed)
		{
			if (db->presence == GOFLOW_PRESENCE_PRESENT || db->was_shut)
				db->presence = GOFLOW_PRESENCE_UNKNOWN;
			goflow_trouble_clear(&db->trouble);
		}
		db->was_shut = false;
		goflow_launcher_wake_locked();
	}
	goflow_unlock();
}

/* ---- the scheduler's place in the entry ---- */

static void
scheduler_exit(int code, Datum arg)
{
	if (goflow_my_database == NULL)
		return;
	goflow_lock(LW_EXCLUSIVE);
	/* one that was terminated did not fail */
	goflow_scheduler_detach_locked(goflow_my_database, code != 0 && !goflow_terminated);
	goflow_unlock();
	goflow_my_database = NULL;
}

/*
 * Makes this process the scheduler of the database at the index, if the
 * launcher still expects it.  Called with signals blocked.
 */
bool
goflow_scheduler_attach(int index, uint32 generation)
{
	GoflowDatabase *db = &goflow_control->databases[index];
	bool		accepted;

	goflow_lock(LW_EXCLUSIVE);
	accepted = db->scheduler == GOFLOW_SCHEDULER_STARTING && db->generation == generation;
	if (accepted && db->holds > 0)
	{
		goflow_scheduler_detach_locked(db, false);
		accepted = false;
	}
	if (accepted)
	{
		db->scheduler = GOFLOW_SCHEDULER_RUNNING;
		db->pid = MyProcPid;
		db->latch = MyLatch;
		goflow_my_database = db;
	}
	goflow_unlock();
	if (accepted)
		before_shmem_exit(scheduler_exit, (Datum) 0);
	return accepted;
}

void
goflow_scheduler_detach_locked(GoflowDatabase *db, bool failed)
{
	goflow_process_left_locked(db->pid);
	db->scheduler = GOFLOW_SCHEDULER_NONE;
	db->pid = 0;
	db->latch = NULL;
	db->wants_room = false;
	if (db->scanning)
	{
		/* it did not come to the end: what is left is a rescan */
		db->scanning = false;
		db->reading = false;
		goflow_database_rescan_locked(db, &db->scan_position);
	}
	if (db->reading_timers)
	{
		db->reading_timers = false;
		db->next_due = DT_NOBEGIN;
	}
	if (failed)
	{
		goflow_control->launches_failed++;
		goflow_trouble_note(&db->trouble, "the scheduler failed, see the server's log");
	}
	ConditionVariableBroadcast(&goflow_control->slot_freed);
	goflow_launcher_wake_locked();
}
