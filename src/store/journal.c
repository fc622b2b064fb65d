/*
 * journal.c
 *		The journal: what happened in an execution, row by row.
 *
 * A driver collects rows in a GoflowWrites and flushes them once per
 * transaction, just before the commit or before a node that could read them.
 * The primary key (execution, frame, node, attempt) is what makes "exactly
 * once" hold whatever else goes wrong: a second result of the same attempt
 * cannot be stored, so its transaction, effect included, rolls back.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "store/table.h"

GoflowWrites *
goflow_writes_create(MemoryContext context)
{
	GoflowWrites *writes = MemoryContextAllocZero(context, sizeof(GoflowWrites));

	writes->context = context;
	return writes;
}

GoflowWritesMark
goflow_writes_mark(const GoflowWrites *writes)
{
	return (GoflowWritesMark)
	{
		.nodes = list_length(writes->nodes),
			.chunks = list_length(writes->chunks),
			.variables = list_length(writes->variables),
			.timers = list_length(writes->timers),
			.fired = list_length(writes->fired),
			.executions = list_length(writes->executions),
	};
}

void
goflow_writes_go_back(GoflowWrites *writes, const GoflowWritesMark *mark)
{
	writes->nodes = list_truncate(writes->nodes, mark->nodes);
	writes->chunks = list_truncate(writes->chunks, mark->chunks);
	writes->variables = list_truncate(writes->variables, mark->variables);
	writes->timers = list_truncate(writes->timers, mark->timers);
	writes->fired = list_truncate(writes->fired, mark->fired);
	writes->executions = list_truncate(writes->executions, mark->executions);
}

/* One value, or NULL where there is none. */
#define SET(anum, datum) (values[(anum) - 1] = (datum), nulls[(anum) - 1] = false)
#define SET_OR_NULL(anum, given, datum) \
	(nulls[(anum) - 1] = !(given), values[(anum) - 1] = (given) ? (datum) : (Datum) 0)

static void
write_nodes(List *rows)
{
	GoflowWriter writer;
	ListCell   *lc;

	goflow_writer_open(&writer, "node_state");
	foreach(lc, rows)
	{
		GoflowNodeRow *row = lfirst(lc);
		Datum		values[Natts_node_state];
		bool		nulls[Natts_node_state];

		SET(Anum_node_state_execution_id, UUIDPGetDatum(&row->execution_id));
		SET(Anum_node_state_frame, Int32GetDatum(row->frame));
		SET(Anum_node_state_node, Int16GetDatum(row->node));
		SET(Anum_node_state_attempt, Int16GetDatum(row->attempt));
		SET(Anum_node_state_state, CharGetDatum(row->state));
		SET_OR_NULL(Anum_node_state_port, row->port >= 0, Int16GetDatum(row->port));
		SET(Anum_node_state_seq, Int32GetDatum(row->seq));
		SET(Anum_node_state_started_at, TimestampTzGetDatum(row->started_at));
		SET(Anum_node_state_finished_at, TimestampTzGetDatum(row->finished_at));
		SET(Anum_node_state_duration, Int32GetDatum(row->duration));
		SET_OR_NULL(Anum_node_state_output, row->output != NULL, PointerGetDatum(row->output));
		SET_OR_NULL(Anum_node_state_error, row->error != NULL, JsonbPGetDatum(row->error));
		goflow_writer_insert(&writer, values, nulls);
	}
	goflow_writer_close(&writer);
}

static void
write_chunks(List *rows)
{
	GoflowWriter writer;
	ListCell   *lc;

	goflow_writer_open(&writer, "node_rows");
	foreach(lc, rows)
	{
		GoflowChunkRow *row = lfirst(lc);
		Datum		values[Natts_node_rows];
		bool		nulls[Natts_node_rows];

		SET(Anum_node_rows_execution_id, UUIDPGetDatum(&row->execution_id));
		SET(Anum_node_rows_frame, Int32GetDatum(row->frame));
		SET(Anum_node_rows_node, Int16GetDatum(row->node));
		SET(Anum_node_rows_attempt, Int16GetDatum(row->attempt));
		SET(Anum_node_rows_chunk, Int32GetDatum(row->chunk));
		SET(Anum_node_rows_rows, PointerGetDatum(row->rows));
		goflow_writer_insert(&writer, values, nulls);
	}
	goflow_writer_close(&writer);
}

static void
write_variables(List *rows)
{
	GoflowWriter writer;
	ListCell   *lc;

	goflow_writer_open(&writer, "variable");
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

static void
write_timers(List *set, List *fired)
{
	GoflowWriter writer;
	ListCell   *lc;

	goflow_writer_open(&writer, "timer");
	foreach(lc, set)
	{
		GoflowTimerRow *row = lfirst(lc);
		Datum		values[Natts_timer];
		bool		nulls[Natts_timer];

		SET(Anum_timer_execution_id, UUIDPGetDatum(&row->execution_id));
		SET(Anum_timer_frame, Int32GetDatum(row->frame));
		SET(Anum_timer_node, Int16GetDatum(row->node));
		SET(Anum_timer_attempt, Int16GetDatum(row->attempt));
		SET(Anum_timer_started_at, TimestampTzGetDatum(row->started_at));
		SET(Anum_timer_due_at, TimestampTzGetDatum(row->due_at));
		goflow_writer_insert(&writer, values, nulls);
	}
	foreach(lc, fired)
	{
		GoflowTimerRow *row = lfirst(lc);

		goflow_writer_delete(&writer, &row->tid);
	}
	goflow_writer_close(&writer);
}

/*
 * Writes everything that is buffered.  Errors: 23505 when a row was already
 * there (goflow_journal_is_duplicate).
 */
void
goflow_writes_flush(GoflowWrites *writes)
{
	GoflowWritesMark empty = {0};

	if (writes->nodes)
		write_nodes(writes->nodes);
	if (writes->chunks)
		write_chunks(writes->chunks);
	if (writes->variables)
		write_variables(writes->variables);
	if (writes->timers || writes->fired)
		write_timers(writes->timers, writes->fired);
	if (writes->executions)
		goflow_execution_write(writes->executions);
	goflow_writes_go_back(writes, &empty);
}

#define VALUE(anum) values[(anum) - 1]
#define ISNULL(anum) nulls[(anum) - 1]

List *
goflow_journal_read(const pg_uuid_t *id)
{
	GoflowScan	scan;
	HeapTuple	tuple;
	List	   *rows = NIL;

	goflow_scan_begin(&scan, "node_state", "node_state_pkey", id);
	while (HeapTupleIsValid(tuple = goflow_scan_next(&scan)))
	{
		Datum		values[Natts_node_state];
		bool		nulls[Natts_node_state];
		GoflowNodeRow *row = palloc0(sizeof(GoflowNodeRow));

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(scan.rel), values, nulls);
		row->execution_id = *id;
		row->frame = DatumGetInt32(VALUE(Anum_node_state_frame));
		row->node = DatumGetInt16(VALUE(Anum_node_state_node));
		row->attempt = DatumGetInt16(VALUE(Anum_node_state_attempt));
		row->state = DatumGetChar(VALUE(Anum_node_state_state));
		row->port = ISNULL(Anum_node_state_port) ? -1 : DatumGetInt16(VALUE(Anum_node_state_port));
		row->seq = DatumGetInt32(VALUE(Anum_node_state_seq));
		row->started_at = DatumGetTimestampTz(VALUE(Anum_node_state_started_at));
		row->finished_at = DatumGetTimestampTz(VALUE(Anum_node_state_finished_at));
		row->duration = DatumGetInt32(VALUE(Anum_node_state_duration));
		if (!ISNULL(Anum_node_state_output))
			row->output = DatumGetArrayTypePCopy(VALUE(Anum_node_state_output));
		if (!ISNULL(Anum_node_state_error))
			row->error = DatumGetJsonbPCopy(VALUE(Anum_node_state_error));
		rows = lappend(rows, row);
	}
	goflow_scan_end(&scan);
	return rows;
}

List *
goflow_variables_read(const pg_uuid_t *id)
{
	GoflowScan	scan;
	HeapTuple	tuple;
	List	   *rows = NIL;

	goflow_scan_begin(&scan, "variable", "variable_pkey", id);
	while (HeapTupleIsValid(tuple = goflow_scan_next(&scan)))
	{
		Datum		values[Natts_variable];
		bool		nulls[Natts_variable];
		GoflowVariableRow *row = palloc0(sizeof(GoflowVariableRow));

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(scan.rel), values, nulls);
		row->execution_id = *id;
		row->variable = DatumGetInt16(VALUE(Anum_variable_variable));
		row->seq = DatumGetInt32(VALUE(Anum_variable_seq));
		row->frame = DatumGetInt32(VALUE(Anum_variable_frame));
		row->node = ISNULL(Anum_variable_node) ? -1 : DatumGetInt16(VALUE(Anum_variable_node));
		row->assigned_at = DatumGetTimestampTz(VALUE(Anum_variable_assigned_at));
		if (!ISNULL(Anum_variable_value))
			row->value = DatumGetTextPCopy(VALUE(Anum_variable_value));
		rows = lappend(rows, row);
	}
	goflow_scan_end(&scan);
	return rows;
}

List *
goflow_timers_read(const pg_uuid_t *id)
{
	GoflowScan	scan;
	HeapTuple	tuple;
	List	   *rows = NIL;

	goflow_scan_begin(&scan, "timer", "timer_pkey", id);
	while (HeapTupleIsValid(tuple = goflow_scan_next(&scan)))
	{
		Datum		values[Natts_timer];
		bool		nulls[Natts_timer];
		GoflowTimerRow *row = palloc0(sizeof(GoflowTimerRow));

		heap_deform_tuple(tuple, RelationGetDescr(scan.rel), values, nulls);
		row->execution_id = *id;
		row->frame = DatumGetInt32(VALUE(Anum_timer_frame));
		row->node = DatumGetInt16(VALUE(Anum_timer_node));
		row->attempt = DatumGetInt16(VALUE(Anum_timer_attempt));
		row->started_at = DatumGetTimestampTz(VALUE(Anum_timer_started_at));
		row->due_at = DatumGetTimestampTz(VALUE(Anum_timer_due_at));
		row->tid = tuple->t_self;
		rows = lappend(rows, row);
	}
	goflow_scan_end(&scan);
	return rows;
}

List *
goflow_requests_read(const pg_uuid_t *id)
{
	GoflowScan	scan;
	HeapTuple	tuple;
	List	   *rows = NIL;

	goflow_scan_begin(&scan, "request", "request_pkey", id);
	while (HeapTupleIsValid(tuple = goflow_scan_next(&scan)))
	{
		TupleDesc	tupdesc = RelationGetDescr(scan.rel);
		GoflowRequestRow *row = palloc0(sizeof(GoflowRequestRow));
		bool		isnull;
		Datum		reason;

		row->kind = DatumGetChar(heap_getattr(tuple, Anum_request_kind, tupdesc, &isnull));
		row->role = DatumGetObjectId(heap_getattr(tuple, Anum_request_role, tupdesc, &isnull));
		reason = heap_getattr(tuple, Anum_request_reason, tupdesc, &isnull);
		if (!isnull)
			row->reason = TextDatumGetCString(reason);
		rows = lappend(rows, row);
	}
	goflow_scan_end(&scan);
	return rows;
}

List *
goflow_chunks_read(const pg_uuid_t *id, int frame, int node, int attempt)
{
	GoflowScan	scan;
	HeapTuple	tuple;
	List	   *chunks = NIL;

	goflow_scan_begin(&scan, "node_rows", "node_rows_pkey", id);
	while (HeapTupleIsValid(tuple = goflow_scan_next(&scan)))
	{
		Datum		values[Natts_node_rows];
		bool		nulls[Natts_node_rows];

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(scan.rel), values, nulls);
		if (DatumGetInt32(VALUE(Anum_node_rows_frame)) == frame &&
			DatumGetInt16(VALUE(Anum_node_rows_node)) == node &&
			DatumGetInt16(VALUE(Anum_node_rows_attempt)) == attempt)
			chunks = lappend(chunks, DatumGetArrayTypePCopy(VALUE(Anum_node_rows_rows)));
	}
	goflow_scan_end(&scan);
	return chunks;
}

void
goflow_request_insert(const pg_uuid_t *id, char kind, const char *reason)
{
	GoflowOwnerScope scope;
	Oid			types[] = {UUIDOID, CHAROID, OIDOID, TEXTOID};
	Datum		args[4];
	char		nulls[] = "    ";
	Oid			role = GetUserId();

	args[0] = UUIDPGetDatum(id);
	args[1] = CharGetDatum(kind);
	args[2] = ObjectIdGetDatum(role);
	args[3] = reason ? CStringGetTextDatum(reason) : (Datum) 0;
	nulls[3] = reason ? ' ' : 'n';

	goflow_owner_begin(&scope);
	if (SPI_execute_with_args("INSERT INTO goflow.request (execution_id, kind, role, reason)"
							  " VALUES ($1, $2, $3, $4)",
							  4, types, args, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert a request");
	goflow_owner_end(&scope);
}

bool
goflow_journal_is_duplicate(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION &&
		error->schema_name && strcmp(error->schema_name, GOFLOW_SCHEMA) == 0 &&
		error->constraint_name && strcmp(error->constraint_name, "node_state_pkey") == 0;
}
