/*
 * home.c
 *		goflow.adopt(), and what keeps goflow.home, and what was adopted, from being replicated.
 */
#include "postgres.h"

#include "api/api.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "process/process.h"
#include "store/table.h"

PG_FUNCTION_INFO_V1(goflow_adopt);
PG_FUNCTION_INFO_V1(goflow_keep_home);
PG_FUNCTION_INFO_V1(goflow_keep_adopted);

/*
 * adopt() returns bigint
 *
 * Makes the live executions that came with a copy this database's own, which
 * run from the commit on; returns how many they are.  Who may execute it may
 * adopt.  Errors: WF105 while a subscription still brings what the original does.
 */
Datum
goflow_adopt(PG_FUNCTION_ARGS)
{
	int64		count;
	char	   *subscription;

	goflow_require_preloaded();
	goflow_api_require_writable("goflow.adopt()");
	subscription = goflow_home_subscription();
	if (subscription)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("executions cannot be adopted while subscription \"%s\" replicates them", subscription),
				 errdetail("What the publisher goes on to do would come here as well."),
				 errhint("Drop the subscription, or disable it and wait until its worker has ended.")));
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

static pg_uuid_t *
column_uuid(HeapTuple tuple, TupleDesc tupdesc, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, tupdesc, &isnull);

	return isnull ? NULL : DatumGetUUIDP(value);
}

/*
 * A trigger of goflow.execution that fires in replication only.  An execution
 * that was adopted is driven here; if the one that it came from still drives it
 * too, its changes cannot be taken: the error stops the subscription.  (One that
 * was started here and has ended may be purged elsewhere.)
 */
Datum
goflow_keep_adopted(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc	tupdesc;
	HeapTuple	new_row;
	pg_uuid_t  *home;
	bool		is_live;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) || !TRIGGER_FIRED_BEFORE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("goflow.keep_adopted() is a trigger function")));
	tupdesc = RelationGetDescr(data->tg_relation);
	new_row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : NULL;
	home = column_uuid(data->tg_trigtuple, tupdesc, Anum_execution_home);
	(void) heap_getattr(data->tg_trigtuple, Anum_execution_finished_at, tupdesc, &is_live);
	if (home && goflow_home_is_own(home))
	{
		pg_uuid_t  *new_home = new_row ? column_uuid(new_row, tupdesc, Anum_execution_home) : NULL;

		if (new_row ? new_home == NULL || !goflow_home_is_own(new_home) : is_live)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_INVALID_STATE),
					 errmsg("execution \"%s\" was adopted by this database",
							DatumGetCString(DirectFunctionCall1(uuid_out,
																UUIDPGetDatum(column_uuid(data->tg_trigtuple, tupdesc, Anum_execution_id))))),
					 errdetail("The database that it came from still runs it, too."),
					 errhint("Drop the subscription.")));
	}
	return PointerGetDatum(new_row ? new_row : data->tg_trigtuple);
}
