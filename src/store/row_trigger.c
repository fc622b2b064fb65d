/*
 * row_trigger.c
 *		Which triggers on which tables belong to which workflows.
 *
 * A registration survives its table and its trigger: nobody tells goflow when
 * they are dropped.  It does no harm, since a trigger that is not there does
 * not fire, and goes when its workflow is defined anew or dropped.
 */
#include "postgres.h"

#include "store/store.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/*
 * The trigger that fires was made by a transaction that has committed, maybe
 * after this one took its snapshot, so the newest one is taken to find it.
 */
static const char *const find_text =
"SELECT r.relation::oid, w.workflow_id, w.owner::oid"
" FROM goflow.row_trigger r"
" JOIN goflow.workflow w ON w.name OPERATOR(pg_catalog.=) r.name"
" WHERE r.name OPERATOR(pg_catalog.=) $1 AND r.node OPERATOR(pg_catalog.=) $2"
" AND r.trigger OPERATOR(pg_catalog.=) $3 AND w.dropped_at IS NULL"
" ORDER BY w.version DESC LIMIT 1";

static SPIPlanPtr find_plan = NULL;

bool
goflow_row_trigger_find(const char *name, const char *node, const char *trigger,
						GoflowRowTriggerTarget *target)
{
	GoflowOwnerScope scope;
	Oid			types[] = {TEXTOID, TEXTOID, NAMEOID};
	Datum		values[] = {CStringGetTextDatum(name), CStringGetTextDatum(node),
		DirectFunctionCall1(namein, CStringGetDatum(trigger))};
	bool		found;
	bool		isnull;

	goflow_owner_begin(&scope);
	if (find_plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(find_text, lengthof(types), types);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		find_plan = plan;
	}
	if (SPI_execute_snapshot(find_plan, values, NULL, GetLatestSnapshot(), InvalidSnapshot,
							 true, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read goflow.row_trigger");
	found = SPI_processed == 1;
	if (found)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		target->relation = DatumGetObjectId(SPI_getbinval(tuple, desc, 1, &isnull));
		target->workflow_id = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
		target->owner = DatumGetObjectId(SPI_getbinval(tuple, desc, 3, &isnull));
	}
	goflow_owner_end(&scope);
	return found;
}

List *
goflow_row_triggers_read(const char *name)
{
	GoflowOwnerScope scope;
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	List	   *rows = NIL;

	goflow_owner_begin(&scope);
	if (SPI_execute_with_args("SELECT node, relation::oid, trigger FROM goflow.row_trigger"
							  " WHERE name OPERATOR(pg_catalog.=) $1 ORDER BY node",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read goflow.row_trigger");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext old = MemoryContextSwitchTo(caller);
		GoflowRowTriggerRow *row = palloc(sizeof(GoflowRowTriggerRow));
		bool		isnull;

		row->node = TextDatumGetCString(SPI_getbinval(tuple, desc, 1, &isnull));
		row->relation = DatumGetObjectId(SPI_getbinval(tuple, desc, 2, &isnull));
		row->trigger = pstrdup(NameStr(*DatumGetName(SPI_getbinval(tuple, desc, 3, &isnull))));
		rows = lappend(rows, row);
		MemoryContextSwitchTo(old);
	}
	goflow_owner_end(&scope);
	return rows;
}

void
goflow_row_trigger_register(const char *name, const GoflowRowTriggerRow *row)
{
	GoflowOwnerScope scope;
	Oid			types[] = {TEXTOID, TEXTOID, OIDOID, NAMEOID};
	Datum		values[] = {CStringGetTextDatum(name), CStringGetTextDatum(row->node),
		ObjectIdGetDatum(row->relation),
		DirectFunctionCall1(namein, CStringGetDatum(row->trigger))};

	goflow_owner_begin(&scope);
	if (SPI_execute_with_args("INSERT INTO goflow.row_trigger (name, node, relation, trigger)"
							  " VALUES ($1, $2, $3, $4) ON CONFLICT (name, node) DO UPDATE"
							  " SET relation = excluded.relation, trigger = excluded.trigger",
							  4, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write goflow.row_trigger");
	goflow_owner_end(&scope);
}

void
goflow_row_trigger_unregister(const char *name, const char *node)
{
	GoflowOwnerScope scope;
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name), CStringGetTextDatum(node)};

	goflow_owner_begin(&scope);
	if (SPI_execute_with_args("DELETE FROM goflow.row_trigger WHERE"
							  " name OPERATOR(pg_catalog.=) $1 AND node OPERATOR(pg_catalog.=) $2",
							  2, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not write goflow.row_trigger");
	goflow_owner_end(&scope);
}
