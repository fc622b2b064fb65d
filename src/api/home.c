/*
 * home.c
 *		goflow.adopt(), and what keeps goflow.home from being replicated.
 */
#include "postgres.h"

#include "api/api.h"

#include "commands/trigger.h"
#include "fmgr.h"

#include "process/process.h"

PG_FUNCTION_INFO_V1(goflow_adopt);
PG_FUNCTION_INFO_V1(goflow_keep_home);

/*
 * adopt() returns bigint
 *
 * Makes the live executions that came with a copy this database's own, which
 * run from the commit on; returns how many they are.  Who may execute it may
 * adopt.
 */
Datum
goflow_adopt(PG_FUNCTION_ARGS)
{
	int64		count;

	goflow_require_preloaded();
	goflow_api_require_writable("goflow.adopt()");
	count = goflow_home_adopt();
	goflow_wake_database();
	PG_RETURN_INT64(count);
}

/* A trigger of goflow.home that fires in replication only: whatever comes is not done. */
Datum
goflow_keep_home(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("goflow.keep_home() is a trigger function")));
	return PointerGetDatum(NULL);
}
