/*
 * approval.c
 *		approve() and reject().
 *
 * Who is in the audience of an approval decides, whoever the execution belongs
 * to.  Others learn nothing: to them there is no such approval, whether it, its
 * node or its execution exists or not.
 */
#include "postgres.h"

#include "api/api.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "engine/engine.h"

PG_FUNCTION_INFO_V1(goflow_approve);
PG_FUNCTION_INFO_V1(goflow_reject);

/* What approve() and reject() are called with. */
typedef struct Decision
{
	pg_uuid_t  *id;
	char	   *path;
	int			frame;			/* -1: not given */
} Decision;

static bool
is_in_audience(Oid role, Oid escalate_to, TimestampTz escalate_at)
{
	Oid			user = GetUserId();

	return has_privs_of_role(user, role) ||
		(OidIsValid(escalate_to) && escalate_at <= GetCurrentTimestamp() &&
		 has_privs_of_role(user, escalate_to));
}

static void
raise_unknown(const Decision *decision)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_UNKNOWN_APPROVAL),
			 errmsg("no approval \"%s\" of execution \"%s\" waits for you", decision->path,
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(decision->id)))),
			 errhint("See the view goflow.approvals.")));
}

static void
raise_decided(const Decision *decision, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_ALREADY_DECIDED),
			 errmsg("approval \"%s\" of execution \"%s\" has been decided", decision->path,
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(decision->id)))),
			 detail ? errdetail_internal("%s", detail) : 0));
}

static void
raise_gone(const Decision *decision)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_INVALID_STATE),
			 errmsg("approval \"%s\" of execution \"%s\" does not wait for a decision any more",
					decision->path,
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(decision->id)))),
			 errdetail("It has timed out, or was cancelled.")));
}

static void
raise_row_decided(const Decision *decision, const GoflowApprovalRow *row)
{
	raise_decided(decision, psprintf("It was %s by \"%s\" at %s.",
									 row->decision == GOFLOW_APPROVED ? "approved" : "rejected",
									 row->decided_by, timestamptz_to_str(row->decided_at)));
}

static Oid
role_oid(const char *name)
{
	return name ? get_role_oid(name, true) : InvalidOid;
}

/* Nothing waits: who was in the audience is told what became of it. */
static void
raise_by_journal(const Decision *decision, const GoflowExecutionRow *execution)
{
	GoflowDefinition *definition;
	GoflowNode *node = NULL;
	bool		is_decided = false;
	bool		has_ended = false;
	ListCell   *lc;

	if (execution == NULL)
		raise_unknown(decision);
	definition = goflow_workflow_load(execution->workflow_id);
	for (int i = 0; i < definition->nnodes && node == NULL; i++)
		if (definition->nodes[i]->type == GOFLOW_TYPE_APPROVAL &&
			strcmp(definition->nodes[i]->path, decision->path) == 0)
			node = definition->nodes[i];
	if (node == NULL ||
		!(OidIsValid(role_oid(node->role)) &&
		  is_in_audience(role_oid(node->role), role_oid(node->escalate_to), DT_NOBEGIN)))
		raise_unknown(decision);

	foreach(lc, goflow_journal_read(execution))
	{
		GoflowNodeRow *row = lfirst(lc);

		if (row->node != node->index || (decision->frame >= 0 && row->frame != decision->frame))
			continue;
		has_ended = true;
		is_decided |= row->state == GOFLOW_NODE_COMPLETED;
	}
	if (is_decided)
		raise_decided(decision, NULL);
	if (has_ended)
		raise_gone(decision);
	raise_unknown(decision);
}

/* The one approval that is meant and waits; its errors are the caller's. */
static GoflowApprovalRow *
find_approval(const Decision *decision, const GoflowExecutionRow *execution)
{
	GoflowApprovalRow *found = NULL;
	GoflowApprovalRow *decided = NULL;
	ListCell   *lc;

	foreach(lc, goflow_approvals_read(decision->id))
	{
		GoflowApprovalRow *row = lfirst(lc);

		if (strcmp(row->path, decision->path) != 0 ||
			(decision->frame >= 0 && row->frame != decision->frame) ||
			!is_in_audience(row->role, row->escalate_to, row->escalate_at))
			continue;
		if (row->decision != 0)
			decided = row;
		else if (found)
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
					 errmsg("several approvals \"%s\" of this execution wait for you", decision->path),
					 errhint("Say which one: frame => %d, or another one of the view goflow.approvals.",
							 row->frame)));
		else
			found = row;
	}
	if (found == NULL && decided)
		raise_row_decided(decision, decided);
	if (found == NULL)
		raise_by_journal(decision, execution);
	return found;
}

static void
decide(FunctionCallInfo fcinfo, char verdict, const char *function)
{
	Decision	decision = {.frame = -1};
	GoflowExecutionRow *execution;
	GoflowApprovalRow *row;
	GoflowNode *node;
	Jsonb	   *form;

	goflow_require_preloaded();
	goflow_api_require_writable(function);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("execution and node must not be null")));
	decision.id = PG_GETARG_UUID_P(0);
	decision.path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!PG_ARGISNULL(4))
		decision.frame = PG_GETARG_INT32(4);
	execution = goflow_execution_read(decision.id);
	row = find_approval(&decision, execution);
	goflow_api_require_own(execution);

	node = goflow_workflow_load(execution->workflow_id)->nodes[row->node];
	form = PG_ARGISNULL(2) ?
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))) : PG_GETARG_JSONB_P(2);
	row->fields = goflow_payload_convert(node, form, psprintf("approval \"%s\"", decision.path),
										 verdict == GOFLOW_APPROVED);
	row->comment = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	row->decision = verdict;
	if (!goflow_approval_decide(row))
	{
		/* somebody was faster, or it was withdrawn */
		row = goflow_approval_read(&row->execution_id, row->frame, row->node, row->attempt);
		if (row && row->decision != 0)
			raise_row_decided(&decision, row);
		raise_by_journal(&decision, execution);
	}
	goflow_wake_execution(decision.id, execution->run_as, execution->priority);
}

/*
 * approve(execution uuid, node text, form jsonb, comment text, frame int)
 * returns void
 *
 * Effective at commit.  frame is needed only where a node of a loop waits
 * several times.  Errors: WF112 if the form does not fit, WF113 if nothing
 * waits for the caller, WF114 if it has been decided, WF105 if it waits no
 * more.
 */
Datum
goflow_approve(PG_FUNCTION_ARGS)
{
	decide(fcinfo, GOFLOW_APPROVED, "goflow.approve()");
	PG_RETURN_VOID();
}

/*
 * reject(execution uuid, node text, form jsonb, comment text, frame int)
 * returns void: the same, but that fields of the form may be missing.
 */
Datum
goflow_reject(PG_FUNCTION_ARGS)
{
	decide(fcinfo, GOFLOW_REJECTED, "goflow.reject()");
	PG_RETURN_VOID();
}
