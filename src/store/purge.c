/*
 * purge.c
 *		Deletes what finished executions have left in the tables.
 *
 * It goes through the executions in order of id, a page at a time, each page
 * in a transaction of the caller's: short ones, with few row locks, which
 * autovacuum can follow.  A sub-workflow stays while its parent lives, which may
 * still have to read or to undo it.
 *
 * Every table of goflow that has a column execution_id is purged: a new table
 * needs no line here.
 */
#include "postgres.h"

#include "store/store.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The newest version of a workflow, dropped or not, says it for all of them. */
static const char retentions_query[] =
	"SELECT pg_catalog.array_agg(w.workflow_id), pg_catalog.array_agg(pg_catalog.now() - n.retention)"
	" FROM (SELECT DISTINCT ON (name) name, COALESCE(retention, $1) AS retention FROM goflow.workflow"
	"  ORDER BY name, version DESC) n"
	" JOIN goflow.workflow w USING (name) WHERE n.retention IS NOT NULL";

static const char named_query[] =
	"SELECT pg_catalog.array_agg(workflow_id), pg_catalog.array_agg(pg_catalog.now() - $2)"
	" FROM goflow.workflow WHERE $1 IS NULL OR name = $1";

/* A page: what is to go, the last id, how many were looked at, when the last one was made. */
static const char page_query[] =
	"SELECT pg_catalog.array_agg(e.execution_id) FILTER (WHERE e.finished_at <= c.cutoff"
	"   AND ($5 IS NULL OR pg_catalog.pg_has_role($5, e.run_as, 'USAGE'))"
	"   AND NOT EXISTS (SELECT FROM ONLY goflow.execution p WHERE p.execution_id = e.parent)),"
	" (pg_catalog.array_agg(e.execution_id ORDER BY e.execution_id DESC))[1],"
	" pg_catalog.count(*), pg_catalog.max(e.created_at)"
	" FROM (SELECT execution_id, workflow_id, finished_at, created_at, parent, run_as FROM goflow.finished"
	"   WHERE execution_id > $1 ORDER BY execution_id LIMIT $2) e"
	" LEFT JOIN ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4)) c (workflow_id, cutoff)"
	"   ON c.workflow_id = e.workflow_id";

/* What came to life again, or is being purged by another, stays. */
static const char delete_query[] =
	"WITH gone AS (DELETE FROM goflow.finished WHERE execution_id IN"
	"  (SELECT execution_id FROM goflow.finished WHERE execution_id = ANY ($1)"
	"   ORDER BY execution_id LIMIT $2 FOR UPDATE SKIP LOCKED)"
	" RETURNING execution_id) SELECT pg_catalog.array_agg(execution_id) FROM gone";

static const char tables_query[] =
	"SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid"
	" WHERE c.relnamespace = 'goflow'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
	" AND a.attname = 'execution_id' AND c.relname NOT IN ('execution', 'finished') ORDER BY c.relname";

/* A column of the only row of the result; NULL gives 0. */
static Datum
column(int number)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, &isnull);

	return isnull ? (Datum) 0 : value;
}

static void
execute(const char *query, int nargs, Oid *types, Datum *values, const char *nulls, bool read_only)
{
	int			result = SPI_execute_with_args(query, nargs, types, values, nulls, read_only, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", query, SPI_result_code_string(result));
}

/* Keeps the two arrays of a row; false if there are none. */
static bool
keep_workflows(GoflowPurge *purge)
{
	MemoryContext old = MemoryContextSwitchTo(purge->context);
	ArrayType  *cutoffs;

	if (column(1) == 0)
	{
		MemoryContextSwitchTo(old);
		return false;
	}
	purge->workflows = DatumGetArrayTypePCopy(column(1));
	cutoffs = DatumGetArrayTypePCopy(column(2));
	purge->cutoffs = cutoffs;
	purge->newest = DT_NOBEGIN;
	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(cutoffs), ARR_DIMS(cutoffs)); i++)
		purge->newest = Max(purge->newest, ((TimestampTz *) ARR_DATA_PTR(cutoffs))[i]);
	MemoryContextSwitchTo(old);
	return true;
}

bool
goflow_purge_begin(GoflowPurge *purge, int64 retention)
{
	Interval	interval = {.time = retention};
	Oid			types[] = {INTERVALOID};
	Datum		values[] = {IntervalPGetDatum(&interval)};
	GoflowOwnerScope scope;
	bool		found;

	*purge = (GoflowPurge) {.context = CurrentMemoryContext};
	goflow_owner_begin(&scope);
	execute(retentions_query, lengthof(types), types, values, retention > 0 ? " " : "n", true);
	found = keep_workflows(purge);
	goflow_owner_end(&scope);
	return found;
}

bool
goflow_purge_begin_named(GoflowPurge *purge, const char *workflow, const Interval *older_than, Oid role)
{
	Oid			types[] = {TEXTOID, INTERVALOID};
	Datum		values[] = {workflow ? CStringGetTextDatum(workflow) : (Datum) 0, IntervalPGetDatum(older_than)};
	GoflowOwnerScope scope;
	bool		found;

	*purge = (GoflowPurge) {.context = CurrentMemoryContext, .role = role};
	goflow_owner_begin(&scope);
	execute(named_query, lengthof(types), types, values, workflow ? "  " : "n ", true);
	found = keep_workflows(purge);
	goflow_owner_end(&scope);
	return found;
}

/* Deletes the executions and all that is theirs; how many they were. */
static int
delete_executions(Datum ids, int64 max)
{
	Oid			types[] = {UUIDARRAYOID, INT8OID};
	Datum		values[] = {ids, Int64GetDatum(max)};
	Datum		gone;
	StringInfoData query;
	SPITupleTable *tables;
	uint64		ntables;

	execute(delete_query, lengthof(types), types, values, "  ", false);
	gone = column(1);
	if (gone == 0)
		return 0;
	execute(tables_query, 0, NULL, NULL, NULL, true);
	tables = SPI_tuptable;
	ntables = SPI_processed;
	initStringInfo(&query);
	for (uint64 i = 0; i < ntables; i++)
	{
		resetStringInfo(&query);
		appendStringInfo(&query, "DELETE FROM goflow.%s WHERE execution_id = ANY ($1)",
						 quote_identifier(SPI_getvalue(tables->vals[i], tables->tupdesc, 1)));
		execute(query.data, 1, types, &gone, " ", false);
	}
	return ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(gone)), ARR_DIMS(DatumGetArrayTypeP(gone)));
}

int
goflow_purge_page(GoflowPurge *purge, int page, int64 max)
{
	Oid			types[] = {UUIDOID, INT4OID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, OIDOID};
	Datum		values[] = {
		UUIDPGetDatum(&purge->position), Int32GetDatum(page), PointerGetDatum(purge->workflows),
		PointerGetDatum(purge->cutoffs), ObjectIdGetDatum(purge->role)
	};
	GoflowOwnerScope scope;
	Datum		ids;
	int			deleted = 0;

	goflow_owner_begin(&scope);
	execute(page_query, lengthof(types), types, values, OidIsValid(purge->role) ? "     " : "    n", true);
	purge->is_done = DatumGetInt64(column(3)) < page || DatumGetTimestampTz(column(4)) > purge->newest;
	if (column(2) != 0)
		purge->position = *DatumGetUUIDP(column(2));
	ids = column(1);
	if (ids != 0)
		deleted = delete_executions(ids, max);
	goflow_owner_end(&scope);
	return deleted;
}
