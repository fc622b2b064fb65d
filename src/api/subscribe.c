/*
 * subscribe.c
 *		subscribe(), unsubscribe(), and what the view of subscriptions shows.
 */
#include "postgres.h"

#include "api/api.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "engine/engine.h"

PG_FUNCTION_INFO_V1(goflow_subscribe);
PG_FUNCTION_INFO_V1(goflow_unsubscribe);
PG_FUNCTION_INFO_V1(goflow_subscription_list);

/* LISTEN is for sessions of clients. */
static void
require_session(void)
{
	goflow_require_preloaded();
	PreventCommandDuringRecovery("goflow.subscribe()");
	if (MyBackendType != B_BACKEND)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_STATE),
				 errmsg("a node cannot subscribe to events"),
				 errhint("Subscriptions are for sessions of clients.")));
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot subscribe to events within a security-restricted operation")));
}

/* The workflow must be one that the current user knows of: its own, or one it may start. */
static void
set_workflow(GoflowSubscription *wanted, const char *name)
{
	GoflowWorkflowRow workflow;

	if (!goflow_workflow_find(name, 0, &workflow) || workflow.dropped ||
		!goflow_workflow_may_start(name, workflow.owner, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
				 errmsg("workflow \"%s\" does not exist", name),
				 errhint("See the view goflow.workflows.")));
	strlcpy(wanted->workflow, name, NAMEDATALEN);
}

static void
set_nodes(GoflowSubscription *wanted, ArrayType *array)
{
	Datum	   *names;
	bool	   *nulls;
	int			n;
	int			used = 0;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *name = nulls[i] ? "" : TextDatumGetCString(names[i]);
		int			length = strlen(name);

		if (length == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the name of a node must not be empty")));
		if (used + length + 2 > GOFLOW_SUBSCRIPTION_NODES)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_LIMIT_EXCEEDED),
					 errmsg("a subscription names too many nodes"),
					 errdetail("There is room for %d bytes of names.", GOFLOW_SUBSCRIPTION_NODES),
					 errhint("Make several subscriptions.")));
		memcpy(wanted->nodes + used, name, length + 1);
		used += length + 1;
	}
}

/*
 * subscribe(execution uuid, workflow text, types text[], nodes text[],
 * variables boolean) returns text: the channel, which this session listens to
 * from the commit on.
 *
 * Errors: WF102 and WF101 unknown execution and workflow, 22023 unknown type,
 * WF015 no room.
 */
Datum
goflow_subscribe(PG_FUNCTION_ARGS)
{
	GoflowSubscription wanted;

	require_session();
	memset(&wanted, 0, sizeof(wanted));
	if (!PG_ARGISNULL(0))
	{
		wanted.has_execution = true;
		wanted.execution_id = goflow_api_execution(PG_GETARG_UUID_P(0))->id;
	}
	if (!PG_ARGISNULL(1))
		set_workflow(&wanted, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	wanted.types = goflow_api_event_types(PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2));
	if (!PG_ARGISNULL(3))
		set_nodes(&wanted, PG_GETARG_ARRAYTYPE_P(3));
	wanted.variables = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	goflow_subscription_open(&wanted);
	PG_RETURN_TEXT_P(cstring_to_text(wanted.channel));
}

/* unsubscribe(channel text) returns boolean: false if this session has no such subscription. */
Datum
goflow_unsubscribe(PG_FUNCTION_ARGS)
{
	char	   *channel = text_to_cstring(PG_GETARG_TEXT_PP(0));

	goflow_require_preloaded();
	if (!goflow_subscription_close(channel))
		PG_RETURN_BOOL(false);
	Async_Unlisten(channel);
	PG_RETURN_BOOL(true);
}

/* ---- the view ---- */

static Datum
types_array(uint32 types)
{
	Datum		names[GOFLOW_EVENT_TYPES];
	int			n = 0;

	for (int i = 0; i < GOFLOW_EVENT_TYPES; i++)
		if (types & GOFLOW_EVENT_BIT(i))
			names[n++] = CStringGetTextDatum(goflow_event_names[i]);
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

static Datum
nodes_array(const char *nodes)
{
	ArrayBuildState *state = initArrayResult(TEXTOID, CurrentMemoryContext, false);

	for (; nodes[0] != '\0'; nodes += strlen(nodes) + 1)
		state = accumArrayResult(state, CStringGetTextDatum(nodes), false, TEXTOID, CurrentMemoryContext);
	return makeArrayResult(state, CurrentMemoryContext);
}

/*
 * subscription_list() returns setof (channel, role, pid, execution, workflow,
 * types, nodes, variables, created_at, sent, dropped)
 *
 * Those of this database.  The name of a channel is the key to its data: only
 * who has the rights of the role sees it, pg_monitor sees the rest.
 */
Datum
goflow_subscription_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		is_monitor = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);

	goflow_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < goflow_subscription_slots(); i++)
	{
		GoflowSubscription sub;
		uint64		sent;
		uint64		dropped;
		Datum		values[11] = {0};
		bool		nulls[11] = {0};
		bool		is_own;

		if (!goflow_subscription_read(i, &sub, &sent, &dropped) || sub.database != MyDatabaseId)
			continue;
		is_own = has_privs_of_role(GetUserId(), sub.role);
		if (!is_own && !is_monitor)
			continue;
		nulls[0] = !is_own;
		if (is_own)
			values[0] = CStringGetTextDatum(sub.channel);
		values[1] = ObjectIdGetDatum(sub.role);
		values[2] = Int32GetDatum(sub.pid);
		nulls[3] = !sub.has_execution;
		values[3] = UUIDPGetDatum(&sub.execution_id);
		nulls[4] = sub.workflow[0] == '\0';
		values[4] = CStringGetTextDatum(sub.workflow);
		values[5] = types_array(sub.types);
		nulls[6] = sub.nodes[0] == '\0';
		values[6] = nodes_array(sub.nodes);
		values[7] = BoolGetDatum(sub.variables);
		values[8] = TimestampTzGetDatum(sub.created_at);
		values[9] = Int64GetDatum((int64) sent);
		values[10] = Int64GetDatum((int64) dropped);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
