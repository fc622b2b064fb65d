/*
 * control.c
 *		wait(), result(), cancel(), pause() and resume(), and who may see an
 *		execution.
 */
#include "postgres.h"

#include "api/api.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/wait_event.h"

#include "engine/engine.h"

PG_FUNCTION_INFO_V1(goflow_wait);
PG_FUNCTION_INFO_V1(goflow_result);
PG_FUNCTION_INFO_V1(goflow_cancel);
PG_FUNCTION_INFO_V1(goflow_pause);
PG_FUNCTION_INFO_V1(goflow_resume);
PG_FUNCTION_INFO_V1(goflow_require_execution);

/* Who is told of nothing (a standby, a logical subscriber) looks this often. */
#define STANDBY_LOOK_MS 100

static void
raise_unknown(const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_UNKNOWN_EXECUTION),
			 errmsg("execution \"%s\" does not exist",
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)))),
			 errhint("See the view goflow.executions.")));
}

/*
 * An execution is seen by its role, that role's members, and pg_monitor's; to
 * others it does not exist.
 */
GoflowExecutionRow *
goflow_api_execution(const pg_uuid_t *id)
{
	GoflowExecutionRow *row;

	goflow_require_preloaded();
	row = goflow_execution_read(id);
	if (row == NULL || !has_privs_of_role(GetUserId(), row->run_as))
		raise_unknown(id);
	return row;
}

GoflowExecutionRow *
goflow_api_own_execution(const pg_uuid_t *id)
{
	GoflowExecutionRow *row = goflow_api_execution(id);

	if (row->is_foreign && !goflow_execution_is_finished(row->state))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("execution \"%s\" belongs to another database",
						DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)))),
				 errdetail("This database is a copy of that one, or replicates it."),
				 errhint("If it is to run here and nowhere else: SELECT goflow.adopt().")));
	return row;
}

void
goflow_api_require_writable(const char *function)
{
	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
}

/* require_execution(execution uuid) returns uuid: the argument, or WF102. */
Datum
goflow_require_execution(PG_FUNCTION_ARGS)
{
	(void) goflow_api_execution(PG_GETARG_UUID_P(0));
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/*
 * wait(execution uuid, timeout interval) returns text
 *
 * Returns the state when the execution has finished, or the state of the
 * moment when the timeout came first.  Every look is with a fresh snapshot, so
 * it works in a REPEATABLE READ transaction, too.
 */
Datum
goflow_wait(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id;
	TimestampTz deadline = DT_NOEND;
	GoflowExecutionRow *row;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	id = PG_GETARG_UUID_P(0);
	if (!PG_ARGISNULL(1))
		deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														   TimestampTzGetDatum(GetCurrentTimestamp()),
														   PG_GETARG_DATUM(1)));
	if (goflow_in_worker())
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("a node cannot wait for an execution"),
				 errhint("It would hold its worker, which the execution may need.")));

	row = goflow_api_execution(id);
	if (row->is_uncommitted && !goflow_execution_is_finished(row->state))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("cannot wait for an execution that this transaction has started"),
				 errdetail("It begins when the transaction commits."),
				 errhint("Commit first, or use goflow.run().")));

	for (;;)
	{
		long		timeout;
		int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

		goflow_waiter_begin(id);
		row = goflow_api_execution(id);
		if (goflow_execution_is_finished(row->state))
			break;
		timeout = deadline == DT_NOEND ? -1 :
			TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		if (timeout == 0)
			break;
		if (row->is_foreign || RecoveryInProgress())
			timeout = timeout < 0 ? STANDBY_LOOK_MS : Min(timeout, STANDBY_LOOK_MS);
		if (timeout >= 0)
			events |= WL_TIMEOUT;
		(void) WaitLatch(MyLatch, events, timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	goflow_waiter_end();
	PG_RETURN_TEXT_P(cstring_to_text(goflow_state_name(row->state)));
}

/*
 * result(execution uuid) returns jsonb
 *
 * The output of a completed execution.  Errors: the execution's own if it
 * failed or was cancelled, WF105 if it has not finished.
 */
Datum
goflow_result(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_GETARG_UUID_P(0);
	GoflowExecutionRow *row = goflow_api_execution(id);

	if (!goflow_execution_is_finished(row->state))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("execution \"%s\" has not finished",
						DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)))),
				 errdetail("It is %s.", goflow_state_name(row->state)),
				 errhint("Use goflow.wait() first.")));
	if (row->state == GOFLOW_EXECUTION_FAILED || row->state == GOFLOW_EXECUTION_CANCELLED)
		goflow_error_raise(row->error, goflow_workflow_load(row->workflow_id)->name);
	if (row->output == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(row->output);
}

/*
 * cancel(execution uuid, reason text) returns boolean
 *
 * Asks for it, effective at commit: running nodes are interrupted and rolled
 * back.  False if the execution had finished already.  What happens when it
 * finishes meanwhile is for its driver to decide.
 */
Datum
goflow_cancel(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id;
	GoflowExecutionRow *row;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	id = PG_GETARG_UUID_P(0);
	goflow_api_require_writable("goflow.cancel()");
	row = goflow_api_own_execution(id);
	if (goflow_execution_is_finished(row->state))
		PG_RETURN_BOOL(false);
	goflow_request_insert(id, GOFLOW_REQUEST_CANCEL, PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)));
	goflow_wake_execution(id, row->run_as, GOFLOW_MAX_PRIORITY);
	goflow_wake_cancel(id);
	PG_RETURN_BOOL(true);
}

static void
request(FunctionCallInfo fcinfo, char kind, const char *function)
{
	pg_uuid_t  *id = PG_GETARG_UUID_P(0);
	GoflowExecutionRow *row;

	goflow_api_require_writable(function);
	row = goflow_api_own_execution(id);
	if (goflow_execution_is_finished(row->state))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("execution \"%s\" has finished",
						DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)))),
				 errdetail("It is %s.", goflow_state_name(row->state))));
	goflow_request_insert(id, kind, NULL);
	goflow_wake_execution(id, row->run_as, GOFLOW_MAX_PRIORITY);
}

/*
 * pause(execution uuid) returns void
 *
 * Effective at commit: running nodes finish, nothing new begins, moments that
 * come are not missed.  Pausing twice is no error.  Errors: WF105 if it has
 * finished.
 */
Datum
goflow_pause(PG_FUNCTION_ARGS)
{
	request(fcinfo, GOFLOW_REQUEST_PAUSE, "goflow.pause()");
	PG_RETURN_VOID();
}

/* resume(execution uuid) returns void: undoes pause(). */
Datum
goflow_resume(PG_FUNCTION_ARGS)
{
	request(fcinfo, GOFLOW_REQUEST_RESUME, "goflow.resume()");
	PG_RETURN_VOID();
}
