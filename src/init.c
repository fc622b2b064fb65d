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

PG_MODULE_MAGIC;

bool		goflow_is_preloaded = false;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;

	goflow_is_preloaded = true;
	goflow_guc_define();
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
