/*
 * signal.c
 *		Inboxes: signals that were sent to executions and not consumed.
 *
 * Whoever sends one inserts a row; the driver of the execution alone takes it
 * out, in the transaction that stores the result of the node that it was for.
 */
#include "postgres.h"

#include "store/store.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "store/table.h"

static void *
read_row(HeapTuple tuple, const Datum *values, const bool *nulls)
{
	GoflowSignalRow *row = palloc0(sizeof(GoflowSignalRow));

	row->number = DatumGetInt64(VALUE(Anum_signal_number));
	row->name = TextDatumGetCString(VALUE(Anum_signal_name));
	row->payload = DatumGetArrayTypePCopy(VALUE(Anum_signal_payload));
	row->role = DatumGetObjectId(VALUE(Anum_signal_role));
	row->sent_at = DatumGetTimestampTz(VALUE(Anum_signal_sent_at));
	row->tid = tuple->t_self;
	return row;
}

List *
goflow_signals_read(const pg_uuid_t *id)
{
	Datum		key = UUIDPGetDatum(id);

	return goflow_scan_rows("signal", "signal_pkey", 1, &key, read_row);
}

void
goflow_signal_insert(const pg_uuid_t *id, const char *name, ArrayType *payload)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, TEXTOID, TEXTARRAYOID, OIDOID};
	Datum		values[] = {
		UUIDPGetDatum(id), CStringGetTextDatum(name), PointerGetDatum(payload),
		ObjectIdGetDatum(GetUserId())
	};
	GoflowOwnerScope scope;

	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, "INSERT INTO goflow.signal (execution_id, name, payload, role)"
										   " VALUES ($1, $2, $3, $4)", lengthof(types), types),
						 values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert a signal");
	goflow_owner_end(&scope);
}

/* One per execution: $5 is who sends it, $7 whether as an administrator, $6 a key of start(), or NULL. */
static const char insert_all_query[] =
	"WITH target AS (SELECT e.execution_id, e.run_as, e.priority FROM ONLY goflow.execution e"
	"  WHERE e.workflow_id = $1 AND (pg_has_role($5, e.run_as, 'USAGE') OR $7)"
	"  AND ($6 IS NULL OR EXISTS (SELECT FROM goflow.start_key k WHERE k.name = $2 AND k.key = $6"
	"   AND k.execution_id = e.execution_id))),"
	" sent AS (INSERT INTO goflow.signal (execution_id, name, payload, role)"
	"  SELECT execution_id, $3, $4, $5 FROM target)"
	" SELECT execution_id, run_as, priority FROM target";

List *
goflow_signal_insert_all(int workflow_id, const char *workflow, const char *key, const char *name,
						 ArrayType *payload)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID, TEXTARRAYOID, OIDOID, TEXTOID, BOOLOID};
	Datum		values[] = {
		Int32GetDatum(workflow_id), CStringGetTextDatum(workflow), CStringGetTextDatum(name),
		PointerGetDatum(payload), ObjectIdGetDatum(GetUserId()),
		key ? CStringGetTextDatum(key) : (Datum) 0, BoolGetDatum(goflow_is_admin(GetUserId()))
	};
	char		nulls[] = "       ";
	GoflowOwnerScope scope;
	List	   *rows = NIL;

	nulls[5] = key ? ' ' : 'n';
	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, insert_all_query, lengthof(types), types),
						 values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not insert signals");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		GoflowLiveRow *row = MemoryContextAlloc(caller, sizeof(GoflowLiveRow));
		MemoryContext old;
		bool		isnull;

		row->execution_id = *DatumGetUUIDP(SPI_getbinval(tuple, tupdesc, 1, &isnull));
		row->role = DatumGetObjectId(SPI_getbinval(tuple, tupdesc, 2, &isnull));
		row->priority = DatumGetInt16(SPI_getbinval(tuple, tupdesc, 3, &isnull));
		old = MemoryContextSwitchTo(caller);
		rows = lappend(rows, row);
		MemoryContextSwitchTo(old);
	}
	goflow_owner_end(&scope);
	return rows;
}

static const char versions_query[] =
	"SELECT w.workflow_id FROM goflow.workflow w WHERE w.name = $1"
	" AND (w.version = (SELECT max(n.version) FROM goflow.workflow n WHERE n.name = $1)"
	"  OR EXISTS (SELECT FROM ONLY goflow.execution e WHERE e.workflow_id = w.workflow_id))"
	" ORDER BY w.version DESC";

List *
goflow_signal_versions(const char *workflow)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(workflow)};
	GoflowOwnerScope scope;
	List	   *ids = NIL;

	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, versions_query, lengthof(types), types),
						 values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the versions of a workflow");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(caller);
		bool		isnull;

		ids = lappend_int(ids, DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
														   SPI_tuptable->tupdesc, 1, &isnull)));
		MemoryContextSwitchTo(old);
	}
	goflow_owner_end(&scope);
	return ids;
}
