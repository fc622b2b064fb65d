/*
 * access.c
 *		grant_usage() and revoke_usage().
 *
 * What users may call is every function of the schema but those named in
 * private_functions, and what they may read is every view.
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

PG_FUNCTION_INFO_V1(goflow_grant_usage);
PG_FUNCTION_INFO_V1(goflow_revoke_usage);

/* GRANT or REVOKE statements for everything public, one row each. */
static const char *const public_objects =
"SELECT pg_catalog.format('%s ON %s %s', CASE k WHEN 'f' THEN 'EXECUTE' ELSE 'SELECT' END,"
"  CASE k WHEN 'f' THEN 'FUNCTION' ELSE 'TABLE' END, o)"
" FROM (SELECT 'f' AS k, p.oid::pg_catalog.regprocedure::pg_catalog.text AS o"
"   FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'goflow'::pg_catalog.regnamespace"
"   AND p.proname NOT IN ('grant_usage', 'revoke_usage', 'installed', 'keep_home', 'health', 'adopt')"
"  UNION ALL SELECT 'v', c.oid::pg_catalog.regclass::pg_catalog.text"
"   FROM pg_catalog.pg_class c WHERE c.relnamespace = 'goflow'::pg_catalog.regnamespace"
"   AND c.relkind = 'v') x";

static void
change_usage(Oid role, bool grant)
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
	if (SPI_execute(public_objects, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not list the public objects of goflow");
	objects = SPI_tuptable;
	n = SPI_processed;
	appendStringInfo(&sql, "%s USAGE ON SCHEMA goflow %s %s", grant ? "GRANT" : "REVOKE",
					 grant ? "TO" : "FROM", name);
	if (SPI_execute(sql.data, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not change privileges");
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
	change_usage(PG_GETARG_OID(0), true);
	PG_RETURN_VOID();
}

/* revoke_usage(role regrole) returns void */
Datum
goflow_revoke_usage(PG_FUNCTION_ARGS)
{
	change_usage(PG_GETARG_OID(0), false);
	PG_RETURN_VOID();
}
