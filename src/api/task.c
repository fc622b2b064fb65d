/*
 * task.c
 *		claim(), heartbeat(), complete(), fail(), grant_queue(), revoke_queue().
 *
 * For programs outside that do the work of task nodes.  claim() gives each task
 * an id that is good for this claim alone; with it the program keeps the lease
 * and answers.  Who may claim a task: members of the role that its execution
 * runs as, and those to whom that role has granted the queue.
 */
#include "postgres.h"

#include "api/api.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "engine/engine.h"

PG_FUNCTION_INFO_V1(goflow_claim);
PG_FUNCTION_INFO_V1(goflow_heartbeat);
PG_FUNCTION_INFO_V1(goflow_complete);
PG_FUNCTION_INFO_V1(goflow_fail);
PG_FUNCTION_INFO_V1(goflow_grant_queue);
PG_FUNCTION_INFO_V1(goflow_revoke_queue);

#define MAX_CLAIMS 10000

/* A lease in microseconds; 0: none is given. */
static int64
get_lease(FunctionCallInfo fcinfo, int arg)
{
	Interval   *lease;
	TimestampTz now;
	TimestampTz until;

	if (PG_ARGISNULL(arg))
		return 0;
	lease = PG_GETARG_INTERVAL_P(arg);
	now = GetCurrentTimestamp();
	until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now),
													IntervalPGetDatum(lease)));
	if (until <= now || TIMESTAMP_NOT_FINITE(until))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a lease must be a length of time")));
	return until - now;
}

/*
 * claim(queues text[], worker text, "limit" int, lease interval)
 * returns setof (task uuid, queue, payload, execution, workflow, node, frame,
 * attempt, claims, lease_until)
 *
 * Never waits: no row means that there is nothing to do.  Queues are served in
 * the order in which they are given, tasks of a queue in order of age.  What
 * is given to nobody else until lease_until is given again after that.
 */
Datum
goflow_claim(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *worker = NULL;
	int			max;
	int64		lease;
	TimestampTz lease_until = DT_NOEND;
	Datum	   *queues;
	bool	   *nulls;
	int			nqueues;
	int			claimed = 0;

	goflow_require_preloaded();
	goflow_api_require_writable("goflow.claim()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("queues and limit must not be null")));
	if (!PG_ARGISNULL(1))
		worker = text_to_cstring(PG_GETARG_TEXT_PP(1));
	max = PG_GETARG_INT32(2);
	if (max < 1 || max > MAX_CLAIMS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("limit must be from 1 to %d", MAX_CLAIMS)));
	lease = get_lease(fcinfo, 3);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &queues, &nulls,
					  &nqueues);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < nqueues && claimed < max; i++)
		if (!nulls[i])
			claimed += goflow_tasks_claim(TextDatumGetCString(queues[i]), worker, lease,
										  max - claimed, rsinfo->setResult, rsinfo->setDesc,
										  &lease_until);
	if (claimed > 0)
	{
		ForceSyncCommit();
		goflow_wake_timer(lease_until);
	}
	return (Datum) 0;
}

static void
raise_lost(const GoflowTaskClaim *claim)
{
	const char *detail;

	if (claim == NULL)
		detail = "It was withdrawn, has been answered, or its lease was over and somebody else has claimed it.";
	else if (claim->state != GOFLOW_TASK_WAITING)
		detail = "It has been answered.";
	else if (claim->is_expired)
		detail = "Its lease is over.";
	else
		detail = "It was withdrawn.";
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_LEASE_LOST),
			 errmsg("the task is not yours any more"),
			 errdetail_internal("%s", detail),
			 errhint("Drop the work. goflow.heartbeat() in time keeps a task.")));
}

/* The claim in argument 0, which may be good no more; NULL arguments are errors. */
static GoflowTaskClaim *
get_claim(FunctionCallInfo fcinfo, const char *function)
{
	GoflowTaskClaim *claim;

	goflow_require_preloaded();
	goflow_api_require_writable(function);
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("task must not be null")));
	claim = goflow_task_claim_read(PG_GETARG_UUID_P(0));
	if (claim == NULL || !goflow_queue_may_claim(claim->queue, claim->run_as))
		raise_lost(NULL);
	if (claim->state != GOFLOW_TASK_WAITING || claim->is_expired)
		raise_lost(claim);
	return claim;
}

/*
 * heartbeat(task uuid, progress jsonb) returns timestamptz
 *
 * The lease begins anew; returns its end.  progress is for goflow.tasks.
 * Errors: WF115 if the claim is good no more, WF015.
 */
Datum
goflow_heartbeat(PG_FUNCTION_ARGS)
{
	GoflowTaskClaim *claim = get_claim(fcinfo, "goflow.heartbeat()");
	TimestampTz until = 0;

	if (!PG_ARGISNULL(1))
		goflow_limit_check_payload("the progress of a task", PG_GETARG_JSONB_P(1));
	if (!goflow_task_heartbeat(PG_GETARG_UUID_P(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1),
							   &until))
		raise_lost(claim);
	PG_RETURN_TIMESTAMPTZ(until);
}

static void
answer(FunctionCallInfo fcinfo, GoflowTaskClaim *claim, char state, ArrayType *output, Jsonb *error)
{
	if (!goflow_task_answer(PG_GETARG_UUID_P(0), state, output, error))
		raise_lost(goflow_task_claim_read(PG_GETARG_UUID_P(0)));
	ForceSyncCommit();			/* the program forgets it now */
	goflow_wake_execution(&claim->execution_id, claim->run_as, claim->priority);
}

/*
 * complete(task uuid, output jsonb) returns void
 *
 * Effective at commit.  Errors: WF112 if the output does not fit, WF115.
 */
Datum
goflow_complete(PG_FUNCTION_ARGS)
{
	GoflowTaskClaim *claim = get_claim(fcinfo, "goflow.complete()");
	GoflowNode *node = goflow_workflow_load(claim->workflow_id)->nodes[claim->node];
	Jsonb	   *output;

	output = PG_ARGISNULL(1) ?
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))) : PG_GETARG_JSONB_P(1);
	answer(fcinfo, claim, GOFLOW_TASK_COMPLETED,
		   goflow_payload_convert(node, output, psprintf("task \"%s\"", node->path), true), NULL);
	PG_RETURN_VOID();
}

static bool
is_error_code(const char *code)
{
	return strlen(code) == 5 && strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 &&
		!(code[0] == '0' && code[1] >= '0' && code[1] <= '2');
}

/*
 * fail(task uuid, message text, code text, detail text) returns void
 *
 * The attempt has failed, with an SQLSTATE (WF201 by default): what follows is
 * what the node says of retries and errors.  Errors: WF115.
 */
Datum
goflow_fail(PG_FUNCTION_ARGS)
{
	GoflowTaskClaim *claim = get_claim(fcinfo, "goflow.fail()");
	char	   *message = PG_ARGISNULL(1) ? "the task failed" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *code = PG_ARGISNULL(2) ? "WF201" : text_to_cstring(PG_GETARG_TEXT_PP(2));
	StringInfoData error;

	if (!is_error_code(code))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not the code of an error", code),
				 errhint("Write a SQLSTATE, five digits or capital letters.")));
	initStringInfo(&error);
	appendStringInfo(&error, "{\"code\":\"%s\",\"message\":", code);
	escape_json(&error, message);
	if (!PG_ARGISNULL(3))
	{
		appendStringInfoString(&error, ",\"detail\":");
		escape_json(&error, text_to_cstring(PG_GETARG_TEXT_PP(3)));
	}
	appendStringInfoChar(&error, '}');
	answer(fcinfo, claim, GOFLOW_TASK_FAILED, NULL,
		   DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(error.data))));
	PG_RETURN_VOID();
}

/*
 * grant_queue(queue text, role regrole) returns void
 *
 * The role may claim tasks of the queue that belong to executions of the
 * current user, and sees their payloads.
 */
Datum
goflow_grant_queue(PG_FUNCTION_ARGS)
{
	goflow_require_preloaded();
	goflow_api_require_writable("goflow.grant_queue()");
	(void) GetUserNameFromId(PG_GETARG_OID(1), false);
	goflow_queue_grant(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_OID(1));
	PG_RETURN_VOID();
}

/* revoke_queue(queue text, role regrole) returns void: takes it back. */
Datum
goflow_revoke_queue(PG_FUNCTION_ARGS)
{
	goflow_require_preloaded();
	goflow_api_require_writable("goflow.revoke_queue()");
	goflow_queue_revoke(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_OID(1));
	PG_RETURN_VOID();
}
