/*
 * access.c
 *		Who may use goflow, who administers it, and what was a role's becomes
 *		another's.
 *
 * There are three sets of functions: for users (all but those named below),
 * for administrators, and for nobody but the extension's owner.  Users may also
 * read every view but those for administrators.  To be an administrator is to have the right to execute
 * their functions, so it is granted, dumped and dropped as rights are.
 */
#include "postgres.h"

#include "api/api.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "process/process.h"

PG_FUNCTION_INFO_V1(goflow_grant_usage);
PG_FUNCTION_INFO_V1(goflow_revoke_usage);
PG_FUNCTION_INFO_V1(goflow_grant_admin);
PG_FUNCTION_INFO_V1(goflow_revoke_admin);
PG_FUNCTION_INFO_V1(goflow_is_admin_sql);
PG_FUNCTION_INFO_V1(goflow_reassign);

#define ADMIN_FUNCTIONS \
	"'grant_usage', 'revoke_usage', 'adopt', 'health'," \
	" 'worker_list', 'queue_list', 'tracker_show', 'message_show', 'waiting_list'"
#define ADMIN_VIEWS "'workers', 'queue', 'tracker', 'messages', 'waiting'"
#define OWNER_FUNCTIONS "'grant_admin', 'revoke_admin', 'installed', 'keep_home', 'keep_adopted', 'entries', 'texts'"

/* What GRANT and REVOKE are about, one row each. */
static const char user_objects[] =
"SELECT 'USAGE ON SCHEMA goflow'"
" UNION ALL SELECT pg_catalog.format('EXECUTE ON ROUTINE %s', p.oid::pg_catalog.regprocedure)"
" FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'goflow'::pg_catalog.regnamespace"
" AND p.proname NOT IN (" ADMIN_FUNCTIONS ", " OWNER_FUNCTIONS ")"
" UNION ALL SELECT pg_catalog.format('SELECT ON TABLE %s', c.oid::pg_catalog.regclass)"
" FROM pg_catalog.pg_class c WHERE c.relnamespace = 'goflow'::pg_catalog.regnamespace"
" AND c.relkind = 'v' AND c.relname NOT IN (" ADMIN_VIEWS ")";

static const char admin_objects[] =
"SELECT pg_catalog.format('EXECUTE ON FUNCTION %s', p.oid::pg_catalog.regprocedure)"
" FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'goflow'::pg_catalog.regnamespace"
" AND p.proname IN (" ADMIN_FUNCTIONS ")"
" UNION ALL SELECT pg_catalog.format('SELECT ON TABLE %s', c.oid::pg_catalog.regclass)"
" FROM pg_catalog.pg_class c WHERE c.relnamespace = 'goflow'::pg_catalog.regnamespace"
" AND c.relkind = 'v' AND c.relname IN (" ADMIN_VIEWS ")";

static void
change_rights(const char *query, Oid role, bool grant)
{
	GoflowOwnerScope scope;
	const char *name;
	StringInfoData sql;
	SPITupleTable *objects;
	uint64		n;

	goflow_require_preloaded();
	name = quote_identifier(GetUserNameFromId(role, false));
	initStringInfo(&sql);
	goflow_owner_begin(&scope);
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not list the objects of goflow");
	objects = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		resetStringInfo(&sql);
		appendStringInfo(&sql, "%s %s %s %s", grant ? "GRANT" : "REVOKE",
						 SPI_getvalue(objects->vals[i], objects->tupdesc, 1),
						 grant ? "TO" : "FROM", name);
		if (SPI_execute(sql.data, false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not change privileges");
	}
	goflow_owner_end(&scope);
}

/* grant_usage(role regrole) returns void.  Who may execute it may grant. */
Datum
goflow_grant_usage(PG_FUNCTION_ARGS)
{
	change_rights(user_objects, PG_GETARG_OID(0), true);
	PG_RETURN_VOID();
}

/* revoke_usage(role regrole) returns void */
Datum
goflow_revoke_usage(PG_FUNCTION_ARGS)
{
	change_rights(user_objects, PG_GETARG_OID(0), false);
	PG_RETURN_VOID();
}

/* grant_admin(role regrole) returns void.  An administrator is a user, too. */
Datum
goflow_grant_admin(PG_FUNCTION_ARGS)
{
	change_rights(user_objects, PG_GETARG_OID(0), true);
	change_rights(admin_objects, PG_GETARG_OID(0), true);
	PG_RETURN_VOID();
}

/* revoke_admin(role regrole) returns void */
Datum
goflow_revoke_admin(PG_FUNCTION_ARGS)
{
	change_rights(admin_objects, PG_GETARG_OID(0), false);
	PG_RETURN_VOID();
}

/* is_admin() returns boolean: of the current user */
Datum
goflow_is_admin_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(goflow_is_admin(GetUserId()));
}

/*
 * reassign(from regrole, to regrole, finished boolean) returns bigint
 *
 * Who has the rights of both roles could do as much by hand, as with REASSIGN
 * OWNED.  A node that runs ends as the old role.  Errors: 42501, WF108 if no
 * worker can run as the new role.
 */
Datum
goflow_reassign(PG_FUNCTION_ARGS)
{
	Oid			roles[] = {PG_GETARG_OID(0), PG_GETARG_OID(1)};
	const char *reason;
	int64		executions;

	goflow_require_preloaded();
	goflow_api_require_writable("goflow.reassign()");
	for (int i = 0; i < lengthof(roles); i++)
		if (!has_privs_of_role(GetUserId(), roles[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to reassign what belongs to role \"%s\"",
							GetUserNameFromId(roles[i], false)),
					 errhint("You must have the rights of both roles.")));
	if (!goflow_role_can_run(roles[1], &reason))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_ROLE_CANNOT_RUN),
				 errmsg("no worker can run as role \"%s\"", GetUserNameFromId(roles[1], false)),
				 errhint("%s", reason)));
	executions = goflow_role_reassign(roles[0], roles[1], PG_GETARG_BOOL(2));
	goflow_wake_database();
	PG_RETURN_INT64(executions);
}
