/*
 * control.c
 *		wait() and result(), and who may see an execution.
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
 * An execution is seen and steered by its role, that role's members, and
 * administrators of goflow; to others it does not exist.
 */
bool
goflow_api_may_see(Oid run_as)
{
	return has_privs_of_role(GetUserId(), run_as) || goflow_is_admin(GetUserId());
}

static GoflowExecutionRow *
check_execution(const pg_uuid_t *id, GoflowExecutionRow *row)
{
	if (row == NULL || !goflow_api_may_see(row->run_as))
		raise_unknown(id);
	return row;
}

GoflowExecutionRow *
goflow_api_execution(const pg_uuid_t *id)
{
	goflow_require_preloaded();
	return check_execution(id, goflow_execution_read(id));
}

GoflowExecutionRow *
goflow_api_execution_over(const pg_uuid_t *id, bool *is_over)
{
	goflow_require_preloaded();
	return check_execution(id, goflow_execution_read_over(id, is_over));
}

void
goflow_api_require_own(const GoflowExecutionRow *row)
{
	if (row->is_foreign)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("execution \"%s\" belongs to another database",
						DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&row->id)))),
				 errdetail("This database is a copy of that one, or replicates it."),
				 goflow_execution_is_finished(row->state) ? 0 :
				 errhint("If it is to run here and nowhere else: SELECT goflow.adopt().")));
}

GoflowExecutionRow *
goflow_api_own_execution(const pg_uuid_t *id)
{
	GoflowExecutionRow *row = goflow_api_execution(id);

	if (!goflow_execution_is_finished(row->state))
		goflow_api_require_own(row);
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

TimestampTz
goflow_api_deadline(const Interval *timeout)
{
	if (timeout == NULL)
		return DT_NOEND;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(GetCurrentTimestamp()),
												   IntervalPGetDatum(timeout)));
}

void
goflow_api_refuse_to_wait_in_node(void)
{
	if (goflow_in_worker())
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("a node cannot wait for an execution"),
				 errhint("It would hold its worker, which the execution may need.")));
}

void
goflow_api_require_waiting(const pg_uuid_t *id)
{
	GoflowExecutionRow *row;
	bool		is_over;

	goflow_api_refuse_to_wait_in_node();
	row = goflow_api_execution_over(id, &is_over);
	if (row->is_uncommitted && goflow_execution_is_finished(row->state) && !is_over)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("cannot wait for an execution that this transaction retries"),
				 errdetail("It goes on when the transaction commits."),
				 errhint("Commit first.")));
	if (row->is_uncommitted && !is_over)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("cannot wait for an execution that this transaction has started"),
				 errdetail("It begins when the transaction commits."),
				 errhint("Commit first, or use goflow.run().")));
}

/* Every look is with a fresh snapshot, so it works in a REPEATABLE READ transaction, too. */
GoflowExecutionRow *
goflow_api_wait(const pg_uuid_t *id, TimestampTz deadline)
{
	GoflowExecutionRow *row;
	bool		is_over;

	for (;;)
	{
		long		timeout;
		int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

		goflow_waiter_begin(id);
		row = goflow_api_execution_over(id, &is_over);
		if (is_over)
			break;
		timeout = deadline == DT_NOEND ? -1 :
			GoflowMillisecondsUntil(GetCurrentTimestamp(), deadline);
		if (timeout == 0)
			break;
		if (row->is_foreign || RecoveryInProgress())
			timeout = timeout < 0 ? STANDBY_LOOK_MS : Min(timeout, STANDBY_LOOK_MS);
		if (timeout >= 0)
			events |= WL_TIMEOUT;
		(void) WaitLatch(MyLatch, events, timeout, goflow_wait_event(GOFLOW_WAIT_EXECUTION));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	goflow_waiter_end();
	return row;
}

/*
 * wait(execution uuid, timeout interval) returns text
 *
 * Returns the state when the execution has finished, or the state of the
 * moment when the timeout came first.
 */
Datum
goflow_wait(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id;
	TimestampTz deadline;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	id = PG_GETARG_UUID_P(0);
	deadline = goflow_api_deadline(PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1));
	goflow_api_require_waiting(id);
	PG_RETURN_TEXT_P(cstring_to_text(goflow_state_name(goflow_api_wait(id, deadline)->state)));
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
	bool		is_over;
	GoflowExecutionRow *row = goflow_api_execution_over(id, &is_over);

	if (!is_over)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("execution \"%s\" has not finished",
						DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)))),
				 errdetail("It is %s.", goflow_execution_is_finished(row->state) ?
						   "to be retried" : goflow_state_name(row->state)),
				 errhint("Use goflow.wait() first.")));
	if (row->state == GOFLOW_EXECUTION_FAILED || row->state == GOFLOW_EXECUTION_CANCELLED)
		goflow_error_raise(row->error, goflow_workflow_load(row->workflow_id)->name);
	if (row->output == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(row->output);
}
