/*
 * init.c
 *		What happens when the library is loaded.
 *
 * In the postmaster (shared_preload_libraries) it defines the settings, asks
 * for shared memory and registers the launcher.  Loaded later, by a backend of
 * a server where it was not preloaded, it only defines its functions, and
 * every one of them refuses with a hint.
 */
#include "postgres.h"

#include "goflow.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "process/process.h"

PG_MODULE_MAGIC;

bool		goflow_is_preloaded = false;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

PGDLLEXPORT void _PG_init(void);

static void
request_shmem(void)
{
	if (next_shmem_request)
		next_shmem_request();
	goflow_shmem_request();
}

static void
startup_shmem(void)
{
	if (next_shmem_startup)
		next_shmem_startup();
	goflow_shmem_startup();
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;

	goflow_guc_define();

	/* pg_upgrade restores schemas: nothing may run, nothing may be in the way */
	if (IsBinaryUpgrade)
		return;

	goflow_is_preloaded = true;
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
	goflow_wake_init();
	goflow_utility_init();
	goflow_launcher_register();
}

void
goflow_require_preloaded(void)
{
	if (!goflow_is_preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_NOT_PRELOADED),
				 errmsg("goflow is not loaded in this server"),
				 errhint("Set shared_preload_libraries = 'goflow' and restart the server.")));
}

const char *
goflow_state_name(char state)
{
	switch (state)
	{
		case GOFLOW_EXECUTION_QUEUED:
			return "queued";
		case GOFLOW_EXECUTION_RUNNING:
			return "running";
		case GOFLOW_EXECUTION_WAITING:
			return "waiting";
		case GOFLOW_EXECUTION_PAUSED:
			return "paused";
		case GOFLOW_EXECUTION_COMPLETED:
			return "completed";
		case GOFLOW_EXECUTION_FAILED:
			return "failed";
		case GOFLOW_EXECUTION_CANCELLED:
			return "cancelled";
		case GOFLOW_EXECUTION_PARTIAL:
			return "partial";
		case GOFLOW_NODE_IDLE:
			return "idle";
		case GOFLOW_NODE_RETRYING:
			return "retrying";
		case GOFLOW_NODE_SKIPPED:
			return "skipped";
		default:
			elog(ERROR, "unknown goflow state %d", state);
	}
}
