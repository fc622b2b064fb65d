/*
 * variable.c
 *		Assignments to variables.
 *
 * An assignment is a row of goflow.variable, found by its variable and number:
 * so the last one of a variable is found however many there are of others.
 * But a row and its index tuple cost more than the node that assigns, and most
 * executions end in the transaction that begins them.  So the assignments of
 * that transaction, as far as there are few, stand in the execution's own row,
 * which it writes in any case: in "assigned".  They are older than all that have
 * rows, and few enough to be looked through.
 */
#include "postgres.h"

#include "store/table.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "store/pack.h"
#include "store/store.h"

#define MAX_ASSIGNED 32
#define MAX_BYTES 500
#define ASSIGNED_NUMBERS 6		/* of an assignment; that of its value, too */

/* ---- in the execution's row ---- */

/*
 * "assigned" has for each assignment, packed (pack.h): the variable, the node, the
 * frame, then as differences to the assignment before the number and the moment,
 * then the value.  The first moment counts from the execution's created_at.
 */
void
goflow_variables_keep(GoflowExecutionRow *execution, GoflowWrites *writes, MemoryContext context)
{
	List	   *list = writes->rows[GOFLOW_WRITE_VARIABLE];
	int			end = list_length(list);
	int			first = goflow_writes_find(writes, GOFLOW_WRITE_VARIABLE, &execution->id);
	uint8		bytes[MAX_BYTES];
	GoflowPack	pack = {.at = bytes, .end = bytes + MAX_BYTES};
	int32		seq = 0;
	TimestampTz moment = execution->created_at;
	MemoryContext old;
	int			n;

	for (n = 0; n < Min(end - first, MAX_ASSIGNED); n++)
	{
		const GoflowVariableRow *row = list_nth(list, first + n);

		if (!goflow_pack_has_room(&pack, ASSIGNED_NUMBERS, row->value ? VARSIZE_ANY_EXHDR(row->value) : 0))
			break;
		goflow_pack_number(&pack, row->variable);
		goflow_pack_number(&pack, row->node);
		goflow_pack_number(&pack, row->frame);
		goflow_pack_number(&pack, (int64) row->seq - seq);
		goflow_pack_number(&pack, row->assigned_at - moment);
		goflow_pack_text(&pack, row->value);
		seq = row->seq;
		moment = row->assigned_at;
	}
	if (n == 0)
		return;
	old = MemoryContextSwitchTo(context);
	execution->assigned = goflow_pack_make(bytes, &pack);
	MemoryContextSwitchTo(old);

	for (int i = first; i < end - n; i++)
		lfirst(list_nth_cell(list, i)) = list_nth(list, i + n);
	writes->rows[GOFLOW_WRITE_VARIABLE] = list_truncate(list, end - n);
}

/* Those in the execution's row, in order. */
static List *
kept_in(const GoflowExecutionRow *execution)
{
	List	   *rows = NIL;
	GoflowUnpack unpack;
	int32		seq = 0;
	TimestampTz moment = execution->created_at;

	if (execution->assigned == NULL)
		return NIL;
	unpack = goflow_unpack_begin(execution->assigned);
	while (!goflow_unpack_is_done(&unpack))
	{
		GoflowVariableRow *row = palloc0(sizeof(GoflowVariableRow));

		row->execution_id = execution->id;
		row->variable = (int16) goflow_unpack_number(&unpack);
		row->node = (int16) goflow_unpack_number(&unpack);
		row->frame = (int32) goflow_unpack_number(&unpack);
		row->seq = seq += (int32) goflow_unpack_number(&unpack);
		row->assigned_at = moment += goflow_unpack_number(&unpack);
		row->value = goflow_unpack_text(&unpack);
		rows = lappend(rows, row);
	}
	return rows;
}

/* ---- writing rows of their own ---- */

/* By execution, variable and number. */
static int
compare_assignments(const ListCell *a, const ListCell *b)
{
	const GoflowVariableRow *left = lfirst(a);
	const GoflowVariableRow *right = lfirst(b);
	int			order = memcmp(&left->execution_id, &right->execution_id, UUID_LEN);

	if (order == 0)
		order = (left->variable > right->variable) - (left->variable < right->variable);
	if (order == 0)
		order = (left->seq > right->seq) - (left->seq < right->seq);
	return order;
}

void
goflow_variables_write(List *rows, List *ended)
{
	GoflowWriter writer;
	ListCell   *lc;

	list_sort(rows, compare_assignments);	/* the index fills up from left to right */
	goflow_writer_open(&writer, "variable");
	foreach(lc, ended)
		goflow_writer_delete(&writer, &((GoflowVariableRow *) lfirst(lc))->tid);
	foreach(lc, rows)
	{
		GoflowVariableRow *row = lfirst(lc);
		Datum		values[Natts_variable];
		bool		nulls[Natts_variable];

		SET(Anum_variable_execution_id, UUIDPGetDatum(&row->execution_id));
		SET(Anum_variable_variable, Int16GetDatum(row->variable));
		SET(Anum_variable_seq, Int32GetDatum(row->seq));
		SET(Anum_variable_frame, Int32GetDatum(row->frame));
		SET_OR_NULL(Anum_variable_node, row->node >= 0, Int16GetDatum(row->node));
		SET(Anum_variable_assigned_at, TimestampTzGetDatum(row->assigned_at));
		SET_OR_NULL(Anum_variable_value, row->value != NULL, PointerGetDatum(row->value));
		goflow_writer_insert(&writer, values, nulls);
	}
	goflow_writer_close(&writer);
}

/* ---- reading ---- */

static GoflowVariableRow *
read_variable(HeapTuple tuple, TupleDesc tupdesc)
{
	Datum		values[Natts_variable];
	bool		nulls[Natts_variable];
	GoflowVariableRow *row = palloc0(sizeof(GoflowVariableRow));

	heap_deform_tuple(tuple, tupdesc, values, nulls);
	row->execution_id = *DatumGetUUIDP(VALUE(Anum_variable_execution_id));
	row->variable = DatumGetInt16(VALUE(Anum_variable_variable));
	row->seq = DatumGetInt32(VALUE(Anum_variable_seq));
	row->frame = DatumGetInt32(VALUE(Anum_variable_frame));
	row->node = ISNULL(Anum_variable_node) ? -1 : DatumGetInt16(VALUE(Anum_variable_node));
	row->assigned_at = DatumGetTimestampTz(VALUE(Anum_variable_assigned_at));
	if (!ISNULL(Anum_variable_value))
		row->value = DatumGetTextPCopy(VALUE(Anum_variable_value));
	row->tid = tuple->t_self;
	return row;
}

static bool
fits(const GoflowVariableRow *row, int frame, bool (*wanted) (int node, void *arg), void *arg)
{
	return row->frame == frame && row->seq >= 0 && (wanted == NULL || wanted(row->node, arg));
}

/* The last assignment to a variable of a frame below a number that the driver has seen, and that is wanted. */
static GoflowVariableRow *
read_last_variable(const GoflowExecutionRow *execution, int variable, int frame, int seq,
				   bool (*wanted) (int node, void *arg), void *arg)
{
	Datum		keys[] = {UUIDPGetDatum(&execution->id), Int16GetDatum(variable), Int32GetDatum(seq)};
	GoflowScan	scan;
	HeapTuple	tuple;
	GoflowVariableRow *row = NULL;
	ListCell   *lc;

	goflow_scan_begin_below(&scan, "variable", "variable_pkey", 3, keys);
	while (row == NULL && HeapTupleIsValid(tuple = goflow_scan_previous(&scan)))
	{
		CHECK_FOR_INTERRUPTS();
		row = read_variable(tuple, RelationGetDescr(scan.rel));
		if (!fits(row, frame, wanted, arg))
			row = NULL;
	}
	goflow_scan_end(&scan);
	if (row)
		return row;
	foreach(lc, kept_in(execution))
	{
		GoflowVariableRow *kept = lfirst(lc);

		if (kept->variable == variable && kept->seq < seq && fits(kept, frame, wanted, arg))
			row = kept;
	}
	return row;
}

GoflowVariableRow *
goflow_variable_read(const GoflowExecutionRow *execution, int variable, int frame)
{
	return goflow_variable_read_if(execution, variable, frame, NULL, NULL);
}

GoflowVariableRow *
goflow_variable_read_before(const GoflowExecutionRow *execution, int variable, int frame, int seq)
{
	return read_last_variable(execution, variable, frame, seq, NULL, NULL);
}

GoflowVariableRow *
goflow_variable_read_if(const GoflowExecutionRow *execution, int variable, int frame,
						bool (*wanted) (int node, void *arg), void *arg)
{
	return read_last_variable(execution, variable, frame, PG_INT32_MAX, wanted, arg);
}

GoflowVariableRow *
goflow_variable_read_seq(const GoflowExecutionRow *execution, int variable, int seq)
{
	Datum		keys[] = {UUIDPGetDatum(&execution->id), Int16GetDatum(variable), Int32GetDatum(seq)};
	GoflowScan	scan;
	HeapTuple	tuple;
	GoflowVariableRow *row = NULL;
	ListCell   *lc;

	foreach(lc, kept_in(execution))
	{
		GoflowVariableRow *kept = lfirst(lc);

		if (kept->variable == variable && kept->seq == seq)
			return kept;
	}
	goflow_scan_begin_key(&scan, "variable", "variable_pkey", 3, keys);
	tuple = goflow_scan_next(&scan);
	if (HeapTupleIsValid(tuple))
		row = read_variable(tuple, RelationGetDescr(scan.rel));
	goflow_scan_end(&scan);
	return row;
}

int32
goflow_variable_last_seq(const GoflowExecutionRow *execution)
{
	GoflowOwnerScope scope;
	List	   *kept = kept_in(execution);
	Oid			types[] = {UUIDOID};
	Datum		args[] = {UUIDPGetDatum(&execution->id)};
	bool		isnull;
	int32		seq;

	goflow_owner_begin(&scope);
	if (SPI_execute_with_args("SELECT max(seq) FROM goflow.variable WHERE execution_id = $1",
							  1, types, args, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read variables");
	seq = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	goflow_owner_end(&scope);
	if (isnull)
		seq = 0;
	return kept ? Max(seq, ((GoflowVariableRow *) llast(kept))->seq) : seq;
}

List *
goflow_variables_read(const GoflowExecutionRow *execution, int32 after)
{
	GoflowScan	scan;
	HeapTuple	tuple;
	List	   *rows = NIL;
	ListCell   *lc;

	foreach(lc, kept_in(execution))
		if (((GoflowVariableRow *) lfirst(lc))->seq > after)
			rows = lappend(rows, lfirst(lc));
	goflow_scan_begin(&scan, "variable", "variable_pkey", &execution->id);
	while (HeapTupleIsValid(tuple = goflow_scan_next(&scan)))
	{
		TupleDesc	desc = RelationGetDescr(scan.rel);
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		/* values may be large */
		if (DatumGetInt32(heap_getattr(tuple, Anum_variable_seq, desc, &isnull)) > after)
			rows = lappend(rows, read_variable(tuple, desc));
	}
	goflow_scan_end(&scan);
	if (execution->assigned)
		list_sort(rows, compare_assignments);
	return rows;
}
