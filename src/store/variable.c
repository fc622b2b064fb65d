/*
 * variable.c
 *		Assignments to variables.
 *
 * An assignment is a row of goflow.variable, found by its variable and number:
 * so the last one of a variable is found however many there are of others.
 * But a row and its index tuple cost more than the node that assigns, and most
 * executions end in the transaction that begins them.  So the assignments of
 * that transaction, as far as there are few, stand in the execution's own row,
 * which it writes in any case: "assigned" has the moment of the first one (two
 * numbers) and four numbers for each, "assigned_values" their values.  They are
 * older than all that have rows, and few enough to be looked through.
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

#include "store/store.h"

/* Of an assignment in "assigned". */
enum
{
	ASSIGNED_VARIABLE,			/* and the node, shifted by 16; -1: its first value */
	ASSIGNED_FRAME,
	ASSIGNED_SEQ,
	ASSIGNED_AT,				/* microseconds after the first one */
	ASSIGNED_NUMBERS
};

#define ASSIGNED_HEAD 2			/* the moment of the first one: low and high half */
#define MAX_ASSIGNED 32
#define MAX_ASSIGNED_BYTES 500

/* ---- in the execution's row ---- */

/* How many of these assignments, in order, fit into a row. */
static int
count_that_fit(GoflowVariableRow *const *rows, int nrows)
{
	Size		bytes = 0;
	int			n;

	for (n = 0; n < Min(nrows, MAX_ASSIGNED); n++)
	{
		int64		after = rows[n]->assigned_at - rows[0]->assigned_at;

		bytes += rows[n]->value ? VARSIZE_ANY(rows[n]->value) : 0;
		if (bytes > MAX_ASSIGNED_BYTES || after != (int32) after)
			break;
	}
	return n;
}

void
goflow_variables_keep(GoflowExecutionRow *execution, GoflowWrites *writes, MemoryContext context)
{
	List	   *list = writes->rows[GOFLOW_WRITE_VARIABLE];
	int			end = list_length(list);
	int			first = goflow_writes_find(writes, GOFLOW_WRITE_VARIABLE, &execution->id);
	GoflowVariableRow *rows[MAX_ASSIGNED];
	int32		numbers[ASSIGNED_HEAD + MAX_ASSIGNED * ASSIGNED_NUMBERS];
	Datum		values[MAX_ASSIGNED];
	bool		nulls[MAX_ASSIGNED];
	MemoryContext old;
	int			n;

	for (n = 0; n < Min(end - first, MAX_ASSIGNED); n++)
		rows[n] = list_nth(list, first + n);
	n = count_that_fit(rows, n);
	if (n == 0)
		return;

	goflow_halves_put(numbers, rows[0]->assigned_at);
	for (int i = 0; i < n; i++)
	{
		int32	   *assigned = &numbers[ASSIGNED_HEAD + i * ASSIGNED_NUMBERS];

		assigned[ASSIGNED_VARIABLE] = (uint16) rows[i]->variable | (int32) rows[i]->node << 16;
		assigned[ASSIGNED_FRAME] = rows[i]->frame;
		assigned[ASSIGNED_SEQ] = rows[i]->seq;
		assigned[ASSIGNED_AT] = (int32) (rows[i]->assigned_at - rows[0]->assigned_at);
		values[i] = PointerGetDatum(rows[i]->value);
		nulls[i] = rows[i]->value == NULL;
	}
	old = MemoryContextSwitchTo(context);
	execution->assigned = goflow_ints_make(numbers, ASSIGNED_HEAD + n * ASSIGNED_NUMBERS);
	execution->assigned_values = goflow_texts_make(values, nulls, n);
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
	const int32 *numbers;
	Datum	   *values;
	bool	   *nulls;
	int			n;
	TimestampTz first;

	if (execution->assigned == NULL)
		return NIL;
	deconstruct_array(execution->assigned_values, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	if (ARR_NDIM(execution->assigned) != 1 || ARR_HASNULL(execution->assigned) ||
		ARR_DIMS(execution->assigned)[0] != ASSIGNED_HEAD + n * ASSIGNED_NUMBERS)
		elog(ERROR, "unexpected assignments in an execution");
	numbers = (const int32 *) ARR_DATA_PTR(execution->assigned);
	first = goflow_halves_get(numbers);
	for (int i = 0; i < n; i++)
	{
		const int32 *assigned = &numbers[ASSIGNED_HEAD + i * ASSIGNED_NUMBERS];
		GoflowVariableRow *row = palloc0(sizeof(GoflowVariableRow));

		row->execution_id = execution->id;
		row->variable = (int16) (assigned[ASSIGNED_VARIABLE] & 0xffff);
		row->node = (int16) (assigned[ASSIGNED_VARIABLE] >> 16);
		row->frame = assigned[ASSIGNED_FRAME];
		row->seq = assigned[ASSIGNED_SEQ];
		row->assigned_at = first + assigned[ASSIGNED_AT];
		row->value = nulls[i] ? NULL : DatumGetTextP(values[i]);
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
