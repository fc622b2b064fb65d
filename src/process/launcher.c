/*
 * launcher.c
 *		The one static process: starts schedulers and workers.
 *
 * It is connected to no database, only to the shared catalogs, so it is never
 * in anybody's way.  Each turn of its loop compares what shared memory asks
 * for with what there is, registers the difference, and sleeps until its latch
 * is set or the next moment that it knows of: a due timer of a database
 * without scheduler, the end of a back-off, a cancelled worker's grace.
 *
 * At server start it goes through pg_database and has a scheduler look into
 * every database, a few at a time; after that it learns of databases from the
 * transactions that commit work there.
 *
 * Workers are given to the pools that have none first, then in order of the
 * age of their work, up to goflow.max_workers.  If all of them are in use
 * while a pool has none, the pool is "starving": idle workers of other pools
 * are asked to leave, and busy ones see it at the end of their batch
 * (goflow_queue_should_yield(), goflow_queue_take()).  A pool that has some but
 * could use more gets the places of workers that are idle, and not only between
 * two nodes; if it has less than its share (all there are, divided by the
 * pools that have work), also those of workers of pools that have more, after
 * they had a turn.  The same holds when max_worker_processes is the limit.
 *
 * A pool that cannot run, because its role may not connect or its workers fail
 * before they are connected, is parked: its queue is emptied, so that it does
 * not take the room of others, and it is tried again after a back-off that
 * doubles.  When a worker of it gets through, all its executions are read from
 * the tables again.
 *
 * The slot of a worker, and the place of a scheduler, is reserved before the
 * process is registered, and freed by the process itself.  For those that died
 * before they could attach, the launcher keeps the handles and frees what they
 * had.  If it is restarted itself, the handles are lost; it then gives those
 * that did not come up a minute.
 */
#include "postgres.h"

#include "process/shared.h"

#include <signal.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/sinval.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"

/* Schedulers that look into databases for the first time, at one time. */
#define MAX_VISITS 3

/* Between two starts of the launcher. */
#define RESTART_PAUSE USECS_PER_SEC

/* How long a registered process of a previous launcher may take to come up. */
#define ORPHAN_GRACE (60 * USECS_PER_SEC)

/* Workers terminated at one time that the log names. */
#define MAX_TOLD 16

/* A pool is parked after that many failures in a row. */
#define MAX_FAILURES 3

/* A process that was registered and has not attached yet. */
typedef struct Launch
{
	BackgroundWorkerHandle *handle;
	uint32		generation;
	TimestampTz at;
} Launch;

static Launch *worker_launches; /* by slot */
static Launch *scheduler_launches;	/* by database entry */

static List *unvisited = NIL;	/* databases to look into */
static TimestampTz complained_at = 0;	/* that the server has no room */

void
goflow_launcher_register(void)
{
	BackgroundWorker worker = {
		.bgw_name = "goflow launcher",
		.bgw_type = "goflow launcher",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 0,
		.bgw_library_name = "goflow",
		.bgw_function_name = "goflow_launcher_main",
	};

	RegisterBackgroundWorker(&worker);
}

/* ---- who can run ---- */

/* True if the database is there and lets anybody in. */
static bool
database_exists(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		exists = HeapTupleIsValid(tuple);

	if (exists)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		exists = form->datallowconn && form->datconnlimit != DATCONNLIMIT_INVALID_DB;
		ReleaseSysCache(tuple);
	}
	return exists;
}

/*
 * Can a worker of this role connect to the database?  Reads shared catalogs
 * only, so it also works in the launcher.
 */
bool
goflow_role_can_connect(Oid database, Oid role, const char **reason)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		may_login;
	bool		is_superuser;

	if (!HeapTupleIsValid(tuple))
	{
		*reason = "the role does not exist";
		return false;
	}
	may_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	is_superuser = ((Form_pg_authid) GETSTRUCT(tuple))->rolsuper;
	ReleaseSysCache(tuple);

	if (!database_exists(database))
	{
		*reason = "the database does not accept connections";
		return false;
	}
	if (!may_login && !GOFLOW_CAN_RUN_NOLOGIN)
	{
		*reason = "the role is not permitted to log in";
		return false;
	}
	if (!is_superuser && !goflow_may_connect(database, role))
	{
		*reason = "the role lacks the CONNECT privilege on the database";
		return false;
	}
	return true;
}

bool
goflow_role_can_run(Oid role, const char **reason)
{
	return goflow_role_can_connect(MyDatabaseId, role, reason);
}

/* ---- registration ---- */

/*
 * Asks up to n workers to leave that have been idle for that long.  Returns
 * how many that were; *next is lowered to when there may be more.
 */
static int
dismiss_idle(int n, int64 idle_time, TimestampTz now, TimestampTz *next)
{
	int			dismissed = 0;

	for (int i = 0; i < goflow_control->nslots && dismissed < n; i++)
	{
		GoflowWorkerSlot *slot = &goflow_control->slots[i];

		if (slot->state != GOFLOW_SLOT_IDLE || slot->leave)
			continue;
		if (slot->idle_since + idle_time > now)
		{
			*next = Min(*next, slot->idle_since + idle_time);
			continue;
		}
		goflow_slot_ask_to_leave_locked(slot);
		dismissed++;
	}
	return dismissed;
}

static void
found_room(void)
{
	goflow_lock(LW_EXCLUSIVE);
	goflow_trouble_clear(&goflow_control->no_room);
	goflow_control->crowded = false;
	goflow_unlock();
}

static void
found_no_room(void)
{
	TimestampTz now = GetCurrentTimestamp();

	goflow_lock(LW_EXCLUSIVE);
	goflow_trouble_note(&goflow_control->no_room,
						"out of background worker slots: max_worker_processes is too small");
	/* the place of one that is leaving is free when the postmaster has seen its end */
	if (now < goflow_control->left_at + GOFLOW_MAX_EXIT_TIME)
		goflow_control->no_room.retry_at = now + GOFLOW_EXIT_TIME;
	goflow_unlock();

	if (now >= complained_at + GOFLOW_MAX_BACKOFF)
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("goflow could not start a process: out of background worker slots"),
				 errhint("You might need to increase max_worker_processes.")));
	complained_at = now;
}

/* When processes may be registered again, if there was no room for the last one. */
static TimestampTz
registration_due(void)
{
	TimestampTz at;

	goflow_lock(LW_SHARED);
	at = goflow_control->no_room.failures > 0 ? goflow_control->no_room.retry_at : 0;
	goflow_unlock();
	return at;
}

/*
 * The server has no room for a process without which something stands still.
 * One of ours that is not as necessary leaves for it: a scheduler or a worker
 * that is idle, or a worker that had its turn.
 */
static void
make_room_for_one(TimestampTz now, TimestampTz *next)
{
	GoflowControl *control = goflow_control;

	goflow_lock(LW_EXCLUSIVE);
	control->crowded = true;
	control->starving = Max(1 - control->leaving, 0);
	control->starving -= dismiss_idle(control->starving, 0, now, next);
	for (int i = 0; i < control->ndatabases; i++)
		if (control->databases[i].latch)
			SetLatch(control->databases[i].latch);
	goflow_unlock();
}

static bool
register_process(Launch *launch, const char *type, const char *function, int index,
				 uint32 generation)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "goflow",
		.bgw_notify_pid = MyProcPid,
	};
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		registered;

	strlcpy(worker.bgw_name, type, BGW_MAXLEN);
	strlcpy(worker.bgw_type, type, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	worker.bgw_main_arg = Int32GetDatum(index);
	memcpy(worker.bgw_extra, &generation, sizeof(generation));

	if (launch->handle)
		pfree(launch->handle);
	launch->handle = NULL;
	registered = RegisterDynamicBackgroundWorker(&worker, &launch->handle);
	MemoryContextSwitchTo(old);

	if (registered)
	{
		launch->generation = generation;
		launch->at = GetCurrentTimestamp();
		found_room();
		return true;
	}
	found_no_room();
	return false;
}

/* Has a process ended, or never begun, that was to attach with this generation? */
static bool
is_lost(Launch *launch, uint32 generation, TimestampTz now)
{
	pid_t		pid;

	if (launch->handle && launch->generation == generation)
		return GetBackgroundWorkerPid(launch->handle, &pid) == BGWH_STOPPED;

	/* it was registered by a launcher before this one */
	if (launch->generation != generation)
	{
		launch->generation = generation;
		launch->at = now;
	}
	return now >= launch->at + ORPHAN_GRACE;
}

/* Frees what processes had reserved that never came to life. */
static void
reap(TimestampTz now, TimestampTz *next)
{
	goflow_lock(LW_EXCLUSIVE);
	for (int i = 0; i < goflow_control->nslots; i++)
	{
		GoflowWorkerSlot *slot = &goflow_control->slots[i];

		if (slot->state != GOFLOW_SLOT_STARTING || slot->pid != 0)
			continue;
		if (is_lost(&worker_launches[i], slot->generation, now))
			goflow_slot_free_locked(slot, "a worker could not be started");
		else if (worker_launches[i].handle == NULL)
			*next = Min(*next, worker_launches[i].at + ORPHAN_GRACE);
	}
	for (int i = 0; i < goflow_control->ndatabases; i++)
	{
		GoflowDatabase *db = &goflow_control->databases[i];

		if (db->scheduler != GOFLOW_SCHEDULER_STARTING)
			continue;
		if (is_lost(&scheduler_launches[i], db->generation, now))
			goflow_scheduler_detach_locked(db, true);
		else if (scheduler_launches[i].handle == NULL)
			*next = Min(*next, scheduler_launches[i].at + ORPHAN_GRACE);
	}
	goflow_unlock();
}

/* ---- databases ---- */

static void
list_databases(void)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		if (!form->datallowconn || form->datconnlimit == DATCONNLIMIT_INVALID_DB)
			continue;
		old = MemoryContextSwitchTo(TopMemoryContext);
		unvisited = lappend_oid(unvisited, form->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
}

/* Makes entries for databases that nobody looked into yet, a few at a time. */
static void
visit_databases(void)
{
	int			visits = 0;

	if (unvisited == NIL)
		return;
	goflow_lock(LW_EXCLUSIVE);
	for (int i = 0; i < goflow_control->ndatabases; i++)
	{
		GoflowDatabase *db = &goflow_control->databases[i];

		if (OidIsValid(db->oid) && db->presence == GOFLOW_PRESENCE_UNKNOWN &&
			db->trouble.failures == 0)
			visits++;
	}
	while (unvisited != NIL && visits < MAX_VISITS)
	{
		/* an entry that is there already was visited, or will be */
		if (goflow_database_find_locked(linitial_oid(unvisited)) == NULL)
		{
			if (goflow_database_get_locked(linitial_oid(unvisited)) == NULL)
				break;
			visits++;
		}
		unvisited = list_delete_first(unvisited);
	}
	goflow_unlock();
}

/* The next database that needs a scheduler now; its entry is marked as starting. */
static GoflowDatabase *
reserve_scheduler(TimestampTz now, TimestampTz *next)
{
	GoflowDatabase *found = NULL;

	goflow_lock(LW_EXCLUSIVE);
	for (int i = 0; i < goflow_control->ndatabases && found == NULL; i++)
	{
		GoflowDatabase *db = &goflow_control->databases[i];

		if (!goflow_database_due_locked(db, now, next))
			continue;
		db->generation++;
		db->scheduler = GOFLOW_SCHEDULER_STARTING;
		found = db;
	}
	goflow_unlock();
	return found;
}

static void
start_schedulers(TimestampTz now, TimestampTz *next)
{
	GoflowDatabase *db;

	if (now < registration_due())
	{
		*next = Min(*next, registration_due());
		return;
	}
	while ((db = reserve_scheduler(now, next)) != NULL)
	{
		int			index = db - goflow_control->databases;
		bool		exists;
		bool		started = false;

		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		exists = database_exists(db->oid);
		CommitTransactionCommand();
		if (exists)
			started = register_process(&scheduler_launches[index], "goflow scheduler",
									   "goflow_scheduler_main", index, db->generation);
		if (started)
			continue;

		goflow_lock(LW_EXCLUSIVE);
		goflow_scheduler_detach_locked(db, false);
		db->was_shut = !exists;
		goflow_unlock();
		if (!exists)
			goflow_database_forget(db->oid);
		else
		{
			make_room_for_one(now, next);
			*next = Min(*next, registration_due());
			return;
		}
	}
}

/* ---- workers ---- */

static bool
is_held(GoflowPool *pool)
{
	GoflowDatabase *db = goflow_database_find_locked(pool->database);

	return db && db->holds > 0;
}

/* How many more workers could the pool use that may be launched now? */
static int
missing_workers(GoflowPool *pool, TimestampTz now, TimestampTz *next)
{
	if (!OidIsValid(pool->database) || !(pool->want || pool->parked) || is_held(pool))
		return 0;
	if (pool->parked && goflow_pool_workers_locked(pool) > 0)
		return 0;				/* one is on its way to find out */
	if (pool->trouble.failures > 0 && now < pool->trouble.retry_at)
	{
		*next = Min(*next, pool->trouble.retry_at);
		return 0;
	}
	return pool->parked ? 1 : Max(pool->queued + pool->offered - pool->workers[GOFLOW_SLOT_STARTING] -
								  pool->workers[GOFLOW_SLOT_WOKEN], 0);
}

/* How many workers each pool with work may have, if there are not enough for all. */
static int
fair_share(TimestampTz now, TimestampTz *next)
{
	GoflowControl *control = goflow_control;
	int			all = goflow_max_workers;
	int			npools = 0;

	if (control->no_room.failures > 0)
		all = Min(all, control->workers);
	for (int i = 0; i < control->npools; i++)
	{
		GoflowPool *pool = &control->pools[i];

		if (goflow_pool_workers_locked(pool) > pool->workers[GOFLOW_SLOT_IDLE] ||
			missing_workers(pool, now, next) > 0)
			npools++;
	}
	return Max(all / Max(npools, 1), 1);
}

/* What choose_pool() found. */
typedef struct Shortage
{
	GoflowPool *pool;			/* the one to serve next, NULL: none */
	int			nstarving;		/* pools that have none at all, and need one */
	int			share;			/* what each may have */
	int			npoor;			/* workers that those lack which have some, but less than that */
	int			nmissing;		/* workers that those could use which have some */
} Shortage;

/* First come pools without any worker, then those with less than their share, then those with the oldest work. */
static Shortage
choose_pool(TimestampTz now, TimestampTz *next)
{
	Shortage	shortage = {.share = fair_share(now, next)};
	int			best_wealth = 0;
	TimestampTz best_age = DT_NOEND;

	for (int i = 0; i < goflow_control->npools; i++)
	{
		GoflowPool *pool = &goflow_control->pools[i];
		int			missing = missing_workers(pool, now, next);
		int			workers = goflow_pool_workers_locked(pool);
		TimestampTz age;
		int			wealth;

		if (missing == 0)
			continue;
		wealth = workers == 0 ? 0 : workers < shortage.share ? 1 : 2;
		age = goflow_pool_oldest_locked(pool);
		if (workers == 0)
		{
			shortage.nstarving++;
			workers++;
			missing--;
		}
		shortage.nmissing += missing;
		shortage.npoor += Max(Min(missing, shortage.share - workers), 0);
		if (shortage.pool == NULL || wealth < best_wealth || (wealth == best_wealth && age < best_age))
		{
			shortage.pool = pool;
			best_wealth = wealth;
			best_age = age;
		}
	}
	return shortage;
}

/* For pools that have workers and could use more.  Those that are leaving already count. */
static void
make_more_room(const Shortage *shortage, TimestampTz now, TimestampTz *next)
{
	GoflowControl *control = goflow_control;
	int			leaving = Max(control->leaving - shortage->nstarving, 0);

	leaving += dismiss_idle(shortage->nmissing - leaving, GOFLOW_IDLE_TURN, now, next);
	control->share = shortage->share;
	control->poor = Max(shortage->npoor - leaving, 0);
}

/*
 * No more workers may be started: see to it that some leave, if there are too
 * many or pools are short of them.  Those that are leaving already count.
 */
static void
make_room(const Shortage *shortage, TimestampTz now, TimestampTz *next)
{
	GoflowControl *control = goflow_control;

	control->surplus = Max(control->workers - control->leaving - goflow_max_workers, 0);
	control->surplus -= dismiss_idle(control->surplus, 0, now, next);
	control->starving = 0;
	control->poor = 0;
	if (goflow_max_workers == 0)
		return;

	control->starving = Max(shortage->nstarving - control->leaving, 0);
	control->starving -= dismiss_idle(control->starving, 0, now, next);
	make_more_room(shortage, now, next);
}

/*
 * Reserves a slot for the pool that needs it most, NULL if there is none or no
 * room for it.
 */
static GoflowWorkerSlot *
reserve_worker(TimestampTz now, TimestampTz *next)
{
	GoflowWorkerSlot *slot = NULL;
	Shortage	shortage;

	goflow_lock(LW_EXCLUSIVE);
	shortage = choose_pool(now, next);
	if (shortage.pool && goflow_control->workers < goflow_max_workers)
		slot = goflow_slot_reserve_locked(shortage.pool);
	if (slot)
		goflow_pool_wake_locked(shortage.pool, 0);	/* still short of more? */
	else
		make_room(&shortage, now, next);
	goflow_unlock();
	return slot;
}

static void
park_locked(GoflowPool *pool)
{
	pool->parked = true;
	goflow_pool_empty_locked(pool);
}

/* A pool was parked that was not before.  The names would need a transaction: there are their OIDs. */
static void
tell_of_parked(Oid database, Oid role, const char *reason)
{
	ereport(LOG,
			(errcode(ERRCODE_GOFLOW_ROLE_CANNOT_RUN),
			 errmsg("executions of role %u in database %u cannot run: %s", role, database, reason),
			 errdetail("They wait. It is tried again and again, after up to %d seconds.",
					   (int) (GOFLOW_MAX_BACKOFF / USECS_PER_SEC)),
			 errhint("See goflow.health() in that database.")));
}

/* Frees the slot again; returns how many workers the pool has without it. */
static int
launch_failed(GoflowWorkerSlot *slot, const char *reason)
{
	GoflowPool *pool = &goflow_control->pools[slot->pool];
	Oid			database = slot->database;
	Oid			role = slot->role;
	bool		is_new;
	int			workers;

	goflow_lock(LW_EXCLUSIVE);
	is_new = reason && !pool->parked;
	if (reason)
		park_locked(pool);
	goflow_slot_free_locked(slot, reason);
	workers = goflow_pool_workers_locked(pool);
	goflow_unlock();
	if (is_new)
		tell_of_parked(database, role, reason);
	return workers;
}

/* The role is gone for good: the scheduler ends its executions. */
static void
give_up(GoflowWorkerSlot *slot)
{
	GoflowPool *pool = &goflow_control->pools[slot->pool];
	GoflowDatabase *db;

	goflow_lock(LW_EXCLUSIVE);
	pool->parked = false;
	goflow_trouble_clear(&pool->trouble);
	goflow_pool_empty_locked(pool);
	goflow_slot_free_locked(slot, NULL);
	db = goflow_database_find_locked(pool->database);
	if (db)
		goflow_database_rescan_locked(db, NULL);
	goflow_unlock();
}

/* Pools whose workers fail one after the other.  Of several at one time the log names the last. */
static void
park_failing(void)
{
	GoflowPool	parked = {0};

	goflow_lock(LW_EXCLUSIVE);
	for (int i = 0; i < goflow_control->npools; i++)
	{
		GoflowPool *pool = &goflow_control->pools[i];

		if (OidIsValid(pool->database) && !pool->parked &&
			pool->trouble.failures >= MAX_FAILURES && goflow_pool_workers_locked(pool) == 0)
		{
			park_locked(pool);
			parked = *pool;
		}
	}
	goflow_unlock();
	if (OidIsValid(parked.database))
		tell_of_parked(parked.database, parked.role, parked.trouble.reason);
}

/* The server has no room for another process: some of ours may leave for others meanwhile. */
static void
wait_for_room(TimestampTz now, TimestampTz *next)
{
	Shortage	shortage;

	goflow_lock(LW_EXCLUSIVE);
	shortage = choose_pool(now, next);
	make_more_room(&shortage, now, next);
	goflow_unlock();
	*next = Min(*next, registration_due());
}

static void
start_workers(TimestampTz now, TimestampTz *next)
{
	GoflowWorkerSlot *slot;

	park_failing();
	if (now < registration_due())
	{
		wait_for_room(now, next);
		return;
	}
	while ((slot = reserve_worker(now, next)) != NULL)
	{
		int			index = slot - goflow_control->slots;
		const char *reason = NULL;
		bool		can_run;
		bool		exists;

		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		exists = SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(slot->role));
		can_run = goflow_role_can_connect(slot->database, slot->role, &reason);
		CommitTransactionCommand();
		if (!exists)
			give_up(slot);
		else if (!can_run)
			(void) launch_failed(slot, reason);
		else if (!register_process(&worker_launches[index], "goflow worker",
								   "goflow_worker_main", index, slot->generation))
		{
			if (launch_failed(slot, NULL) == 0)
				make_room_for_one(now, next);
			wait_for_room(now, next);
			return;
		}
	}
	found_room();				/* for all that is needed now */
}

/* Terminates workers whose node did not react to a cancel in time; lets lost nodes run again. */
static void
enforce_cancels(TimestampTz now, TimestampTz *next)
{
	pid_t		killed[MAX_TOLD];
	int			nkilled = 0;

	goflow_lock(LW_EXCLUSIVE);
	for (int i = 0; i < goflow_control->nslots; i++)
	{
		GoflowWorkerSlot *slot = &goflow_control->slots[i];
		TimestampTz deadline;

		if (!slot->running || !slot->cancel_requested || slot->pid == 0)
			continue;
		deadline = TimestampTzPlusMilliseconds(slot->cancel_at, goflow_cancel_grace);
		if (deadline <= now)
		{
			kill(slot->pid, SIGTERM);
			if (nkilled < MAX_TOLD)
				killed[nkilled++] = slot->pid;
			/* once more after as long, should it have been lost */
			slot->cancel_at = now;
			deadline = TimestampTzPlusMilliseconds(now, Max(goflow_cancel_grace, 1000));
		}
		*next = Min(*next, deadline);
	}
	goflow_queue_retry_lost_locked(now, next);
	goflow_unlock();
	for (int i = 0; i < nkilled; i++)
		ereport(LOG,
				(errmsg("goflow worker %d is terminated", (int) killed[i]),
				 errdetail("Its node was cancelled, and has not ended within goflow.cancel_grace.")));
}

/* ---- the process ---- */

static void
launcher_exit(int code, Datum arg)
{
	goflow_lock(LW_EXCLUSIVE);
	if (goflow_control->launcher_pid == MyProcPid)
	{
		goflow_control->launcher_latch = NULL;
		goflow_control->launcher_pid = 0;
	}
	goflow_unlock();
}

/* Returns when the launcher before this one was started, if there was one. */
static TimestampTz
attach(void)
{
	TimestampTz before;

	(void) goflow_clock_follow();
	goflow_lock(LW_EXCLUSIVE);
	goflow_control->launcher_latch = MyLatch;
	goflow_control->launcher_pid = MyProcPid;
	before = goflow_control->launcher_started_at;
	goflow_control->launcher_started_at = GetCurrentTimestamp();
	goflow_unlock();
	before_shmem_exit(launcher_exit, (Datum) 0);
	return before;
}

/* The postmaster starts it again at once; one that fails again and again takes its time. */
static void
slow_down(TimestampTz before)
{
	while (GetCurrentTimestamp() < before + RESTART_PAUSE)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 GoflowMillisecondsUntil(GetCurrentTimestamp(), before + RESTART_PAUSE),
						 goflow_wait_event(GOFLOW_WAIT_LAUNCHER));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
sleep_until(TimestampTz next)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long		timeout = -1;

	if (next != DT_NOEND)
	{
		timeout = GoflowMillisecondsUntil(GetCurrentTimestamp(), next);
		events |= WL_TIMEOUT;
	}
	(void) WaitLatch(MyLatch, events, timeout, goflow_wait_event(GOFLOW_WAIT_LAUNCHER));
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

/* The moments that only the launcher knows of go with the clock, too. */
static void
follow_clock(void)
{
	int64		jump = goflow_clock_follow();

	if (jump == 0)
		return;
	complained_at += jump;
	for (int i = 0; i < goflow_control->nslots; i++)
		worker_launches[i].at += jump;
	for (int i = 0; i < GOFLOW_MAX_DATABASES; i++)
		scheduler_launches[i].at += jump;
}

void
goflow_launcher_main(Datum arg)
{
	TimestampTz before;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, SIG_IGN);	/* it has no query to cancel */
	before = attach();
	BackgroundWorkerUnblockSignals();
	slow_down(before);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("goflow launcher");

	worker_launches = MemoryContextAllocZero(TopMemoryContext,
											 goflow_control->nslots * sizeof(Launch));
	scheduler_launches = MemoryContextAllocZero(TopMemoryContext,
												GOFLOW_MAX_DATABASES * sizeof(Launch));
	list_databases();

	for (;;)
	{
		TimestampTz now;
		TimestampTz next = DT_NOEND;

		follow_clock();
		now = GetCurrentTimestamp();
		reap(now, &next);
		visit_databases();
		start_schedulers(now, &next);
		start_workers(now, &next);
		enforce_cancels(now, &next);
		sleep_until(next);
	}
}
