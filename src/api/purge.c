/*
 * purge.c
 *		purge(): deletes finished executions.
 */
#include "postgres.h"

#include "api/api.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(goflow_purge);

/* Executions that one statement looks at. */
#define PAGE 1000

/*
 * purge(older_than interval, workflow text, max bigint) returns bigint
 *
 * Deletes executions that finished at least so long ago, with their journal,
 * and returns how many: of one workflow or of all, no more than max (NULL: all).
 * Only those of roles whose rights the caller has.  Errors: 22004 without an
 * age, 22023 for a negative one, WF101 for an unknown workflow.
 */
Datum
goflow_purge(PG_FUNCTION_ARGS)
{
	Interval	zero = {0};
	GoflowPurge purge;
	int64		max = PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT64(2);
	int64		deleted = 0;

	goflow_require_preloaded();
	goflow_api_require_writable("goflow.purge()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("purge() needs an age"),
				 errhint("Pass '0' to delete whatever has finished.")));
	if (DatumGetBool(DirectFunctionCall2(interval_lt, PG_GETARG_DATUM(0), IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the age of executions to be deleted cannot be negative")));
	if (!goflow_purge_begin_named(&purge, PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)),
								  PG_GETARG_INTERVAL_P(0), GetUserId()))
	{
		if (!PG_ARGISNULL(1))
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
					 errmsg("workflow \"%s\" does not exist", text_to_cstring(PG_GETARG_TEXT_PP(1)))));
		PG_RETURN_INT64(0);
	}
	while (!purge.is_done && deleted < max)
	{
		CHECK_FOR_INTERRUPTS();
		deleted += goflow_purge_page(&purge, PAGE, max - deleted);
	}
	PG_RETURN_INT64(deleted);
}
