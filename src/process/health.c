/*
 * health.c
 *		goflow.health(): what the processes do and what keeps them from it; and
 *		goflow.installed(), which CREATE EXTENSION calls.
 *
 * The numbers of one call are taken under the lock, so they belong together.
 * Names of roles are looked up after it was released.  Details are shown of the
 * current database only; of the others nothing but what is counted in all.
 */
#include "postgres.h"

#include "process/shared.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "live/live.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(goflow_installed);
PG_FUNCTION_INFO_V1(goflow_health);

/* Called at the end of the installation script. */
Datum
goflow_installed(PG_FUNCTION_ARGS)
{
	goflow_require_preloaded();
	goflow_wake_database();
	PG_RETURN_VOID();
}

/* One row: kind, name, value, detail. */
static void
put(ReturnSetInfo *rsinfo, const char *kind, const char *name, int64 value, const char *detail)
{
	Datum		values[4] = {0};
	bool		nulls[4] = {false};

	values[0] = CStringGetTextDatum(kind);
	values[1] = CStringGetTextDatum(name);
	values[2] = Int64GetDatum(value);
	if (detail && detail[0] != '\0')
		values[3] = CStringGetTextDatum(detail);
	else
		nulls[3] = true;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_trouble(ReturnSetInfo *rsinfo, const char *name, const GoflowTrouble *trouble)
{
	put(rsinfo, "trouble", name, trouble->failures,
		psprintf("%s; next try at %s", trouble->reason, timestamptz_to_str(trouble->retry_at)));
}

static void
put_server(ReturnSetInfo *rsinfo)
{
	GoflowControl *control = goflow_control;
	int			states[5] = {0};
	int			claimed = 0;
	int			entries;
	int			offered;
	bool		launcher;
	uint64		failed;
	uint64		sent;
	uint64		unsent;
	uint64		refused;
	GoflowTrouble no_room;

	goflow_lock(LW_SHARED);
	for (int i = 0; i < control->nslots; i++)
		states[control->slots[i].state]++;
	for (int i = 0; i < control->npools; i++)
		claimed += control->pools[i].claimed;
	entries = control->entries;
	offered = control->offered;
	launcher = control->launcher_pid != 0;
	failed = control->launches_failed;
	sent = control->messages_sent;
	unsent = control->messages_unsent;
	refused = control->pools_refused;
	no_room = control->no_room;
	goflow_unlock();

	put(rsinfo, "server", "launcher", launcher, launcher ? NULL : "the launcher is not running");
	for (int i = GOFLOW_SLOT_STARTING; i <= GOFLOW_SLOT_BUSY; i++)
		put(rsinfo, "workers", goflow_slot_state_name(i), states[i], NULL);
	put(rsinfo, "workers", "limit", goflow_max_workers, NULL);
	put(rsinfo, "workers", "launches failed", failed, NULL);
	put(rsinfo, "queue", "queued", entries - claimed, NULL);
	put(rsinfo, "queue", "claimed", claimed, NULL);
	put(rsinfo, "queue", "size", goflow_queue_size, NULL);
	put(rsinfo, "queue", "offered nodes", offered, NULL);
	put(rsinfo, "queue", "pools refused", refused, NULL);
	put(rsinfo, "tracker", "used", goflow_tracker_used(), NULL);
	put(rsinfo, "tracker", "size", goflow_tracker_slots, NULL);
	put(rsinfo, "messages", "sent", sent, NULL);
	put(rsinfo, "messages", "dropped", goflow_message_dropped() + unsent, NULL);
	if (no_room.failures > 0)
		put_trouble(rsinfo, "max_worker_processes", &no_room);
}

static void
put_database(ReturnSetInfo *rsinfo)
{
	GoflowDatabase copy;
	GoflowDatabase *db;

	goflow_lock(LW_SHARED);
	db = goflow_database_find_locked(MyDatabaseId);
	if (db)
		copy = *db;
	goflow_unlock();
	if (db == NULL)
		return;

	put(rsinfo, "scheduler", "running", copy.scheduler == GOFLOW_SCHEDULER_RUNNING, NULL);
	put(rsinfo, "scheduler", "scanning", copy.scanning || copy.rescan || !copy.recovered,
		copy.wants_room ? "it waits for room in the queue" : NULL);
	put(rsinfo, "scheduler", "timers", copy.next_due < DT_NOEND && copy.next_due > DT_NOBEGIN,
		copy.next_due < DT_NOEND && copy.next_due > DT_NOBEGIN ?
		psprintf("the next one is due at %s", timestamptz_to_str(copy.next_due)) : NULL);
	put(rsinfo, "scheduler", "held", copy.holds,
		copy.holds > 0 ? "a transaction needs the database to itself" : NULL);
	put(rsinfo, "scheduler", "failures", copy.trouble.failures, copy.trouble.reason);
}

static void
put_pools(ReturnSetInfo *rsinfo)
{
	GoflowPool *copies = palloc(GOFLOW_MAX_POOLS * sizeof(GoflowPool));
	int			n = 0;

	goflow_lock(LW_SHARED);
	for (int i = 0; i < goflow_control->npools; i++)
		if (goflow_control->pools[i].database == MyDatabaseId)
			copies[n++] = goflow_control->pools[i];
	goflow_unlock();

	for (int i = 0; i < n; i++)
	{
		char	   *role = GetUserNameFromId(copies[i].role, true);
		char	   *name = role ? role : psprintf("%u", copies[i].role);

		put(rsinfo, "pool", name, copies[i].queued + copies[i].claimed + copies[i].offered,
			psprintf("%d queued, %d claimed, %d offered; %d workers",
					 copies[i].queued, copies[i].claimed, copies[i].offered,
					 goflow_pool_workers_locked(&copies[i])));
		if (copies[i].trouble.failures > 0)
			put_trouble(rsinfo, name, &copies[i].trouble);
	}
}

/* What this database has a copy of, and does not run. */
static void
put_home(ReturnSetInfo *rsinfo)
{
	int64		foreign = goflow_home_count_foreign();

	put(rsinfo, "copies", "foreign executions", foreign, foreign == 0 ? NULL :
		"they belong to a database that this one is a copy of;"
		" if they are to run here and nowhere else: SELECT goflow.adopt()");
}

Datum
goflow_health(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *version;

	goflow_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	put_server(rsinfo);
	put_database(rsinfo);
	put_pools(rsinfo);
	version = goflow_extension_other_version();
	if (version)
		put(rsinfo, "trouble", "version", 1,
			psprintf("the extension has version %s, its library %s: ALTER EXTENSION goflow UPDATE",
					 version, GOFLOW_VERSION));
	else
		put_home(rsinfo);
	return (Datum) 0;
}
