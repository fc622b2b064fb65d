/*
 * journal.c
 *		The journal: what happened in an execution, row by row.
 *
 * A driver collects rows in a GoflowWrites and flushes them once per
 * transaction, just before the commit or before a node that could read them.
 * The primary key (execution, frame, node, attempt) is what makes "exactly
 * once" hold whatever else goes wrong: a second result of the same attempt
 * cannot be stored, so its transaction, effect included, rolls back.  Of
 * entries that share a row the first one has the key: two drivers that went on
 * from the same state have it in common.  An entry that a node in node mode
 * could make as well has a row of its own.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "store/table.h"

/* Bytes of rows for which memory is asked at a time. */
#define WRITES_BLOCK 8000

GoflowWrites *
goflow_writes_create(MemoryContext context)
{
	GoflowWrites *writes = MemoryContextAllocZero(context, sizeof(GoflowWrites));

	writes->context = context;
	return writes;
}

/* The block has no room for this: it gets one of its own, or another block begins. */
void *
goflow_writes_alloc_block(GoflowWrites *writes, Size size)
{
	if (size > WRITES_BLOCK / 8)
		return MemoryContextAlloc(writes->context, size);
	writes->room = MemoryContextAlloc(writes->context, WRITES_BLOCK);
	writes->room_left = WRITES_BLOCK;
	return goflow_writes_alloc(writes, size);
}

void
goflow_writes_add(GoflowWrites *writes, GoflowWriteKind kind, void *row)
{
	if (writes->rows[kind] == NIL)
	{
		MemoryContext old = MemoryContextSwitchTo(writes->context);

		writes->rows[kind] = list_make1(row);
		MemoryContextSwitchTo(old);
	}
	else
		writes->rows[kind] = lappend(writes->rows[kind], row);	/* it grows where it is */
}

int
goflow_writes_find(const GoflowWrites *writes, GoflowWriteKind kind, const pg_uuid_t *execution_id)
{
	List	   *list = writes->rows[kind];
	int			first = list_length(list);

	while (first > 0 && memcmp(list_nth(list, first - 1), execution_id, UUID_LEN) == 0)
		first--;
	return first;
}

GoflowWritesMark
goflow_writes_mark(const GoflowWrites *writes)
{
	GoflowWritesMark mark;

	for (int i = 0; i < GOFLOW_WRITE_KINDS; i++)
		mark.length[i] = list_length(writes->rows[i]);
	mark.room = writes->room;
	mark.room_left = writes->room_left;
	return mark;
}

bool
goflow_writes_rewind(GoflowWrites *writes, const GoflowWritesMark *mark, GoflowWriteKind but)
{
	for (int i = 0; i < GOFLOW_WRITE_KINDS; i++)
		if (i != but && list_length(writes->rows[i]) != mark->length[i])
			return false;
	/* unless another block has begun */
	if (mark->room && mark->room + mark->room_left == writes->room + writes->room_left)
	{
		writes->room = mark->room;
		writes->room_left = mark->room_left;
	}
	return true;
}

void
goflow_writes_go_back(GoflowWrites *writes, const GoflowWritesMark *mark)
{
	for (int i = 0; i < GOFLOW_WRITE_KINDS; i++)
		writes->rows[i] = list_truncate(writes->rows[i], mark->length[i]);
}

/*
 * Entries that may share a row come to stand together: those of an open frame,
 * since it is read by its number, and those of all the frames that have ended.
 */
static int
compare_entries(const void *a, const void *b)
{
	const GoflowNodeRow *left = *(GoflowNodeRow *const *) a;
	const GoflowNodeRow *right = *(GoflowNodeRow *const *) b;
	int			order = memcmp(&left->execution_id, &right->execution_id, UUID_LEN);

	if (order == 0)
		order = (int) left->of_ended_frame - (int) right->of_ended_frame;
	if (order == 0 && !left->of_ended_frame)
		order = (left->frame > right->frame) - (left->frame < right->frame);
	if (order == 0)
		order = (left->seq > right->seq) - (left->seq < right->seq);
	return order;
}

static void
write_entries(List *rows)
{
	int			nentries = list_length(rows);
	GoflowNodeRow **entries = palloc(nentries * sizeof(GoflowNodeRow *));
	GoflowWriter writer;
	ListCell   *lc;

	foreach(lc, rows)
		entries[foreach_current_index(lc)] = lfirst(lc);
	qsort(entries, nentries, sizeof(GoflowNodeRow *), compare_entries);
	goflow_writer_open(&writer, "journal");
	for (int i = 0; i < nentries;)
	{
		Datum		values[Natts_journal];
		bool		nulls[Natts_journal];

		i += goflow_entries_pack(entries + i, nentries - i, values, nulls);
		goflow_writer_insert(&writer, values, nulls);
	}
	goflow_writer_close(&writer);
	pfree(entries);
}

/* The driver has seen nodes that ended in node mode, and decided about them. */
static void
write_seen(List *rows)
{
	GoflowWriter writer;
	ListCell   *lc;
	bool		replaced[Natts_journal] = {0};

	replaced[Anum_journal_end_seq - 1] = true;
	replaced[Anum_journal_total - 1] = true;
	replaced[Anum_journal_queued_at - 1] = true;
	replaced[Anum_journal_retried - 1] = true;
	goflow_writer_open(&writer, "journal");
	foreach(lc, rows)
	{
		GoflowNodeRow *row = lfirst(lc);
		Datum		values[Natts_journal] = {0};
		bool		nulls[Natts_journal] = {0};

		SET_OR_NULL(Anum_journal_end_seq, row->end_seq >= 0, Int32GetDatum(row->end_seq));
		SET_OR_NULL(Anum_journal_total, row->total > 0, Int32GetDatum(row->total));
		SET_OR_NULL(Anum_journal_queued_at, row->queued_at != 0,
					TimestampTzGetDatum(row->queued_at));
		SET_OR_NULL(Anum_journal_retried, row->retried, BoolGetDatum(true));
		goflow_writer_modify(&writer, &row->tid, values, nulls, replaced);
		row->is_changed = false;
	}
	goflow_writer_close(&writer);
}

static void
write_past_ends(List *rows)
{
	GoflowWriter writer;
	ListCell   *lc;

	goflow_writer_open(&writer, "past_end");
	foreach(lc, rows)
	{
		GoflowPastEndRow *row = lfirst(lc);
		Datum		values[Natts_past_end];
		bool		nulls[Natts_past_end];
		Datum		counts[GOFLOW_PAST_COUNTS];

		SET(Anum_past_end_execution_id, UUIDPGetDatum(&row->execution_id));
		SET(Anum_past_end_seq, Int32GetDatum(row->seq));
		SET(Anum_past_end_state, CharGetDatum(row->state));
		SET_OR_NULL(Anum_past_end_started_at, row->started_at != 0, TimestampTzGetDatum(row->started_at));
		SET(Anum_past_end_finished_at, TimestampTzGetDatum(row->finished_at));
		SET_OR_NULL(Anum_past_end_output, row->output != NULL, JsonbPGetDatum(row->output));
		SET_OR_NULL(Anum_past_end_error, row->error != NULL, JsonbPGetDatum(row->error));
		SET(Anum_past_end_restarted_seq, Int32GetDatum(row->restarted_seq));
		SET(Anum_past_end_restarted_at, TimestampTzGetDatum(row->restarted_at));
		for (int i = 0; i < GOFLOW_PAST_COUNTS; i++)
			counts[i] = Int32GetDatum(row->counts[i]);
		SET(Anum_past_end_counts,
			PointerGetDatum(construct_array(counts, GOFLOW_PAST_COUNTS, INT4OID, sizeof(int32), true,
											TYPALIGN_INT)));
		goflow_writer_insert(&writer, values, nulls);
	}
	goflow_writer_close(&writer);
}

static void
write_offered(List *rows, List *ended)
{
	GoflowWriter writer;
	ListCell   *lc;

	goflow_writer_open(&writer, "offered");
	foreach(lc, rows)
	{
		GoflowOfferedRow *row = lfirst(lc);
		Datum		values[Natts_offered];
		bool		nulls[Natts_offered];

		if (list_member_ptr(ended, row))
			continue;			/* it was taken back in the same transaction */
		SET(Anum_offered_execution_id, UUIDPGetDatum(&row->execution_id));
		SET(Anum_offered_seq, Int32GetDatum(row->seq));
		SET(Anum_offered_frame, Int32GetDatum(row->frame));
		SET(Anum_offered_node, Int16GetDatum(row->node));
		SET(Anum_offered_attempt, Int16GetDatum(row->attempt));
		SET(Anum_offered_offered_at, TimestampTzGetDatum(row->offered_at));
		goflow_writer_insert_at(&writer, values, nulls, &row->tid);
		row->stored = true;
	}
	foreach(lc, ended)
	{
		GoflowOfferedRow *row = lfirst(lc);

		if (row->stored)
			goflow_writer_delete(&writer, &row->tid);
		row->stored = false;	/* it may be in the list twice */
	}
	goflow_writer_close(&writer);
}

static void
write_pending(List *rows, List *ended)
{
	GoflowWriter writer;
	ListCell   *lc;

	goflow_writer_open(&writer, "pending");
	/* first: another attempt of the node has the same key */
	foreach(lc, ended)
		goflow_writer_delete(&writer, &((GoflowPendingRow *) lfirst(lc))->tid);
	foreach(lc, rows)
	{
		GoflowPendingRow *row = lfirst(lc);
		Datum		values[Natts_pending];
		bool		nulls[Natts_pending];

		SET(Anum_pending_execution_id, UUIDPGetDatum(&row->execution_id));
		SET(Anum_pending_frame, Int32GetDatum(row->frame));
		SET(Anum_pending_node, Int16GetDatum(row->node));
		SET(Anum_pending_attempt, Int16GetDatum(row->attempt));
		SET(Anum_pending_kind, CharGetDatum(row->kind));
		SET(Anum_pending_started_at, TimestampTzGetDatum(row->started_at));
		SET(Anum_pending_seq, Int32GetDatum(row->seq));
		SET_OR_NULL(Anum_pending_due_at, row->due_at != 0, TimestampTzGetDatum(row->due_at));
		SET_OR_NULL(Anum_pending_child, row->child != NULL, UUIDPGetDatum(row->child));
		SET(Anum_pending_count, Int64GetDatum(row->count));
		SET(Anum_pending_next, Int64GetDatum(row->next));
		SET(Anum_pending_ended, Int64GetDatum(row->ended));
		SET(Anum_pending_phase, Int16GetDatum(row->phase));
		SET(Anum_pending_unwind, CharGetDatum(row->unwind));
		SET_OR_NULL(Anum_pending_target, row->target >= 0, Int16GetDatum(row->target));
		SET_OR_NULL(Anum_pending_error, row->error != NULL, JsonbPGetDatum(row->error));
		if (row->stored)
			goflow_writer_update(&writer, &row->tid,
								 heap_form_tuple(RelationGetDescr(writer.rel), values, nulls), false);
		else
			goflow_writer_insert_at(&writer, values, nulls, &row->tid);
		row->stored = true;
	}
	goflow_writer_close(&writer);
}

static void
write_frames(List *rows, List *ended, void (*stored) (GoflowFrameRow *row))
{
	GoflowWriter writer;
	ListCell   *lc;

	goflow_writer_open(&writer, "frame");
	foreach(lc, rows)
	{
		GoflowFrameRow *row = lfirst(lc);
		Datum		values[Natts_frame];
		bool		nulls[Natts_frame];

		SET(Anum_frame_execution_id, UUIDPGetDatum(&row->execution_id));
		SET(Anum_frame_frame, Int32GetDatum(row->frame));
		SET(Anum_frame_parent, Int32GetDatum(row->parent));
		SET(Anum_frame_node, Int16GetDatum(row->node));
		SET(Anum_frame_part, Int16GetDatum(row->part));
		SET(Anum_frame_iteration, Int64GetDatum(row->iteration));
		SET(Anum_frame_seq, Int32GetDatum(row->seq));
		SET_OR_NULL(Anum_frame_started_at, row->started_at != 0, TimestampTzGetDatum(row->started_at));
		SET(Anum_frame_unwind, CharGetDatum(row->unwind));
		SET_OR_NULL(Anum_frame_target, row->target >= 0, Int16GetDatum(row->target));
		SET_OR_NULL(Anum_frame_error, row->error != NULL, JsonbPGetDatum(row->error));
		SET_OR_NULL(Anum_frame_counters, row->counters != NULL, PointerGetDatum(row->counters));
		if (row->stored)
			goflow_writer_update(&writer, &row->tid,
								 heap_form_tuple(RelationGetDescr(writer.rel), values, nulls), false);
		else
			goflow_writer_insert_at(&writer, values, nulls, &row->tid);
		row->stored = true;
		if (stored)
			stored(row);
	}
	foreach(lc, ended)
		goflow_writer_delete(&writer, &((GoflowFrameRow *) lfirst(lc))->tid);
	goflow_writer_close(&writer);
}

static void
write_compensations(List *rows)
{
	GoflowWriter writer;
	ListCell   *lc;

	goflow_writer_open(&writer, "compensation");
	foreach(lc, rows)
	{
		GoflowCompensationRow *row = lfirst(lc);
		Datum		values[Natts_compensation];
		bool		nulls[Natts_compensation];

		SET(Anum_compensation_execution_id, UUIDPGetDatum(&row->execution_id));
		SET(Anum_compensation_seq, Int32GetDatum(row->seq));
		SET(Anum_compensation_frame, Int32GetDatum(row->frame));
		SET(Anum_compensation_node, Int16GetDatum(row->node));
		SET(Anum_compensation_params, PointerGetDatum(row->params));
		SET(Anum_compensation_completed_at, TimestampTzGetDatum(row->completed_at));
		SET_OR_NULL(Anum_compensation_done_at, row->done_at != 0, TimestampTzGetDatum(row->done_at));
		SET_OR_NULL(Anum_compensation_error, row->error != NULL, JsonbPGetDatum(row->error));
		if (row->stored)
			goflow_writer_update(&writer, &row->tid,
								 heap_form_tuple(RelationGetDescr(writer.rel), values, nulls), false);
		else
			goflow_writer_insert_at(&writer, values, nulls, &row->tid);
		row->stored = true;
	}
	goflow_writer_close(&writer);
}

/*
 * Writes everything that is buffered.  Errors: 23505 when a row was already
 * there (goflow_journal_is_duplicate).
 */
void
goflow_writes_flush(GoflowWrites *writes, void (*stored) (GoflowFrameRow *row))
{
	GoflowWritesMark empty = {0};
	List	  **rows = writes->rows;

	if (rows[GOFLOW_WRITE_NODE])
		write_entries(rows[GOFLOW_WRITE_NODE]);
	if (rows[GOFLOW_WRITE_PAST_END])
		write_past_ends(rows[GOFLOW_WRITE_PAST_END]);
	if (rows[GOFLOW_WRITE_NODE_SEEN])
		write_seen(rows[GOFLOW_WRITE_NODE_SEEN]);
	if (rows[GOFLOW_WRITE_OFFERED] || rows[GOFLOW_WRITE_OFFERED_END])
		write_offered(rows[GOFLOW_WRITE_OFFERED], rows[GOFLOW_WRITE_OFFERED_END]);
	if (rows[GOFLOW_WRITE_VARIABLE] || rows[GOFLOW_WRITE_VARIABLE_END])
		goflow_variables_write(rows[GOFLOW_WRITE_VARIABLE], rows[GOFLOW_WRITE_VARIABLE_END]);
	if (rows[GOFLOW_WRITE_PENDING] || rows[GOFLOW_WRITE_PENDING_END])
		write_pending(rows[GOFLOW_WRITE_PENDING], rows[GOFLOW_WRITE_PENDING_END]);
	if (rows[GOFLOW_WRITE_FRAME] || rows[GOFLOW_WRITE_FRAME_END])
		write_frames(rows[GOFLOW_WRITE_FRAME], rows[GOFLOW_WRITE_FRAME_END], stored);
	if (rows[GOFLOW_WRITE_COMPENSATION])
		write_compensations(rows[GOFLOW_WRITE_COMPENSATION]);
	if (rows[GOFLOW_WRITE_REQUEST_END])
		goflow_rows_delete("request", rows[GOFLOW_WRITE_REQUEST_END], offsetof(GoflowRequestRow, tid));
	if (rows[GOFLOW_WRITE_EXECUTION])
		goflow_execution_write(rows[GOFLOW_WRITE_EXECUTION]);
	if (rows[GOFLOW_WRITE_SIGNAL_END])
		goflow_rows_delete("signal", rows[GOFLOW_WRITE_SIGNAL_END], offsetof(GoflowSignalRow, tid));
	if (rows[GOFLOW_WRITE_APPROVAL])
		goflow_approvals_insert(rows[GOFLOW_WRITE_APPROVAL]);
	if (rows[GOFLOW_WRITE_APPROVAL_END])
		goflow_rows_delete("approval", rows[GOFLOW_WRITE_APPROVAL_END], offsetof(GoflowApprovalRow, tid));
	if (rows[GOFLOW_WRITE_TASK])
		goflow_tasks_insert(rows[GOFLOW_WRITE_TASK]);
	if (rows[GOFLOW_WRITE_TASK_END])
		goflow_rows_delete("task", rows[GOFLOW_WRITE_TASK_END], offsetof(GoflowTaskRow, tid));
	if (rows[GOFLOW_WRITE_WAITS_END])
		goflow_waits_delete(rows[GOFLOW_WRITE_WAITS_END]);
	goflow_writes_go_back(writes, &empty);
}

bool
goflow_writes_are_notes(const GoflowWrites *writes)
{
	static const GoflowWriteKind notes[] = {
		GOFLOW_WRITE_NODE_SEEN, GOFLOW_WRITE_OFFERED, GOFLOW_WRITE_OFFERED_END,
		GOFLOW_WRITE_VARIABLE_END, GOFLOW_WRITE_FRAME
	};
	int			others = 0;

	for (int i = 0; i < GOFLOW_WRITE_KINDS; i++)
		others += list_length(writes->rows[i]);
	for (int i = 0; i < lengthof(notes); i++)
		others -= list_length(writes->rows[notes[i]]);
	/* an assignment of a node in node mode is stored again, under its number */
	return others == list_length(writes->rows[GOFLOW_WRITE_VARIABLE_END]);
}

void
goflow_chunks_write(List *rows)
{
	GoflowWriter writer;
	ListCell   *lc;

	if (rows == NIL)
		return;
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
	CommandCounterIncrement();
}

void
goflow_collected_write(const pg_uuid_t *id, int frame, int node, int attempt, int64 iteration,
					   Jsonb *value)
{
	GoflowWriter writer;
	Datum		values[Natts_collected];
	bool		nulls[Natts_collected];

	goflow_writer_open(&writer, "collected");
	SET(Anum_collected_execution_id, UUIDPGetDatum(id));
	SET(Anum_collected_frame, Int32GetDatum(frame));
	SET(Anum_collected_node, Int16GetDatum(node));
	SET(Anum_collected_attempt, Int16GetDatum(attempt));
	SET(Anum_collected_iteration, Int64GetDatum(iteration));
	SET_OR_NULL(Anum_collected_value, value != NULL, JsonbPGetDatum(value));
	goflow_writer_insert(&writer, values, nulls);
	goflow_writer_close(&writer);
	CommandCounterIncrement();
}

/* Appends what the table has. */
static List *
read_journal(int nkeys, const Datum *keys, List *rows)
{
	GoflowScan	scan;
	HeapTuple	tuple;

	goflow_scan_begin_key(&scan, "journal", "journal_pkey", nkeys, keys);
	while (HeapTupleIsValid(tuple = goflow_scan_next(&scan)))
	{
		CHECK_FOR_INTERRUPTS();
		rows = goflow_entries_read(tuple, RelationGetDescr(scan.rel), rows);
	}
	goflow_scan_end(&scan);
	return rows;
}

List *
goflow_journal_read(const GoflowExecutionRow *row)
{
	Datum		key = UUIDPGetDatum(&row->id);

	return read_journal(1, &key, goflow_entries_kept(row));
}

/* The others need not be read to go on with it, but some may share a row with it. */
List *
goflow_journal_read_frame(const GoflowExecutionRow *row, int frame)
{
	Datum		keys[] = {UUIDPGetDatum(&row->id), Int32GetDatum(frame)};
	List	   *rows = read_journal(2, keys, goflow_entries_kept(row));
	ListCell   *lc;

	foreach(lc, rows)
		if (((GoflowNodeRow *) lfirst(lc))->frame != frame)
			rows = foreach_delete_current(rows, lc);
	return rows;
}

void
goflow_journal_each(const GoflowExecutionRow *row, void (*each) (const GoflowNodeRow *row, void *arg),
					void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "goflow journal",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	GoflowScan	scan;
	HeapTuple	tuple;
	ListCell   *lc;

	foreach(lc, goflow_entries_kept(row))
		each(lfirst(lc), arg);
	goflow_scan_begin(&scan, "journal", "journal_pkey", &row->id);
	while (HeapTupleIsValid(tuple = goflow_scan_next(&scan)))
	{
		List	   *rows;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(context);
		MemoryContextSwitchTo(context);
		rows = goflow_entries_read(tuple, RelationGetDescr(scan.rel), NIL);
		MemoryContextSwitchTo(old);
		foreach(lc, rows)
			each(lfirst(lc), arg);
	}
	goflow_scan_end(&scan);
	MemoryContextDelete(context);
}

/* Those that failed are the first of their row, and not in the execution's. */
GoflowNodeRow *
goflow_journal_read_failed(const pg_uuid_t *id, int frame, int node, int attempt)
{
	Datum		keys[] = {UUIDPGetDatum(id), Int32GetDatum(frame), Int16GetDatum(node),
	Int16GetDatum(attempt)};
	List	   *rows = read_journal(4, keys, NIL);

	return rows ? linitial(rows) : NULL;
}

static void *
read_past_end(HeapTuple tuple, const Datum *values, const bool *nulls)
{
	GoflowPastEndRow *row = palloc0(sizeof(GoflowPastEndRow));
	ArrayType  *counts;

	row->execution_id = *DatumGetUUIDP(VALUE(Anum_past_end_execution_id));
	row->seq = DatumGetInt32(VALUE(Anum_past_end_seq));
	row->state = DatumGetChar(VALUE(Anum_past_end_state));
	if (!ISNULL(Anum_past_end_started_at))
		row->started_at = DatumGetTimestampTz(VALUE(Anum_past_end_started_at));
	row->finished_at = DatumGetTimestampTz(VALUE(Anum_past_end_finished_at));
	if (!ISNULL(Anum_past_end_output))
		row->output = DatumGetJsonbPCopy(VALUE(Anum_past_end_output));
	if (!ISNULL(Anum_past_end_error))
		row->error = DatumGetJsonbPCopy(VALUE(Anum_past_end_error));
	row->restarted_seq = DatumGetInt32(VALUE(Anum_past_end_restarted_seq));
	row->restarted_at = DatumGetTimestampTz(VALUE(Anum_past_end_restarted_at));
	counts = DatumGetArrayTypeP(VALUE(Anum_past_end_counts));
	if (ARR_NDIM(counts) != 1 || ARR_DIMS(counts)[0] != GOFLOW_PAST_COUNTS)
		elog(ERROR, "unexpected counts of an execution");
	memcpy(row->counts, ARR_DATA_PTR(counts), sizeof(row->counts));
	return row;
}

List *
goflow_past_ends_read(const pg_uuid_t *id)
{
	Datum		key = UUIDPGetDatum(id);

	return goflow_scan_rows("past_end", "past_end_pkey", 1, &key, read_past_end);
}

static void *
read_offered(HeapTuple tuple, const Datum *values, const bool *nulls)
{
	GoflowOfferedRow *row = palloc0(sizeof(GoflowOfferedRow));

	row->execution_id = *DatumGetUUIDP(VALUE(Anum_offered_execution_id));
	row->seq = DatumGetInt32(VALUE(Anum_offered_seq));
	row->frame = DatumGetInt32(VALUE(Anum_offered_frame));
	row->node = DatumGetInt16(VALUE(Anum_offered_node));
	row->attempt = DatumGetInt16(VALUE(Anum_offered_attempt));
	row->offered_at = DatumGetTimestampTz(VALUE(Anum_offered_offered_at));
	row->stored = true;
	row->tid = tuple->t_self;
	return row;
}

List *
goflow_offered_read(const pg_uuid_t *id)
{
	Datum		key = UUIDPGetDatum(id);

	return goflow_scan_rows("offered", "offered_pkey", 1, &key, read_offered);
}

static void *
read_pending(HeapTuple tuple, const Datum *values, const bool *nulls)
{
	GoflowPendingRow *row = palloc0(sizeof(GoflowPendingRow));

	row->execution_id = *DatumGetUUIDP(VALUE(Anum_pending_execution_id));
	row->frame = DatumGetInt32(VALUE(Anum_pending_frame));
	row->node = DatumGetInt16(VALUE(Anum_pending_node));
	row->attempt = DatumGetInt16(VALUE(Anum_pending_attempt));
	row->kind = DatumGetChar(VALUE(Anum_pending_kind));
	row->started_at = DatumGetTimestampTz(VALUE(Anum_pending_started_at));
	row->seq = DatumGetInt32(VALUE(Anum_pending_seq));
	if (!ISNULL(Anum_pending_due_at))
		row->due_at = DatumGetTimestampTz(VALUE(Anum_pending_due_at));
	if (!ISNULL(Anum_pending_child))
	{
		row->child = palloc(sizeof(pg_uuid_t));
		*row->child = *DatumGetUUIDP(VALUE(Anum_pending_child));
	}
	row->count = DatumGetInt64(VALUE(Anum_pending_count));
	row->next = DatumGetInt64(VALUE(Anum_pending_next));
	row->ended = DatumGetInt64(VALUE(Anum_pending_ended));
	row->phase = DatumGetInt16(VALUE(Anum_pending_phase));
	row->unwind = DatumGetChar(VALUE(Anum_pending_unwind));
	row->target = ISNULL(Anum_pending_target) ? -1 : DatumGetInt16(VALUE(Anum_pending_target));
	if (!ISNULL(Anum_pending_error))
		row->error = DatumGetJsonbPCopy(VALUE(Anum_pending_error));
	row->stored = true;
	row->tid = tuple->t_self;
	return row;
}

List *
goflow_pending_read(const pg_uuid_t *id)
{
	Datum		key = UUIDPGetDatum(id);

	return goflow_scan_rows("pending", "pending_pkey", 1, &key, read_pending);
}

static void *
read_frame(HeapTuple tuple, const Datum *values, const bool *nulls)
{
	GoflowFrameRow *row = palloc0(sizeof(GoflowFrameRow));

	row->execution_id = *DatumGetUUIDP(VALUE(Anum_frame_execution_id));
	row->frame = DatumGetInt32(VALUE(Anum_frame_frame));
	row->parent = DatumGetInt32(VALUE(Anum_frame_parent));
	row->node = DatumGetInt16(VALUE(Anum_frame_node));
	row->part = DatumGetInt16(VALUE(Anum_frame_part));
	row->iteration = DatumGetInt64(VALUE(Anum_frame_iteration));
	row->seq = DatumGetInt32(VALUE(Anum_frame_seq));
	if (!ISNULL(Anum_frame_started_at))
		row->started_at = DatumGetTimestampTz(VALUE(Anum_frame_started_at));
	row->unwind = DatumGetChar(VALUE(Anum_frame_unwind));
	row->target = ISNULL(Anum_frame_target) ? -1 : DatumGetInt16(VALUE(Anum_frame_target));
	if (!ISNULL(Anum_frame_error))
		row->error = DatumGetJsonbPCopy(VALUE(Anum_frame_error));
	if (!ISNULL(Anum_frame_counters))
		row->counters = DatumGetArrayTypePCopy(VALUE(Anum_frame_counters));
	row->stored = true;
	row->tid = tuple->t_self;
	return row;
}

List *
goflow_frames_read(const pg_uuid_t *id)
{
	Datum		key = UUIDPGetDatum(id);

	return goflow_scan_rows("frame", "frame_pkey", 1, &key, read_frame);
}

static void *
read_compensation(HeapTuple tuple, const Datum *values, const bool *nulls)
{
	GoflowCompensationRow *row = palloc0(sizeof(GoflowCompensationRow));

	row->execution_id = *DatumGetUUIDP(VALUE(Anum_compensation_execution_id));
	row->seq = DatumGetInt32(VALUE(Anum_compensation_seq));
	row->frame = DatumGetInt32(VALUE(Anum_compensation_frame));
	row->node = DatumGetInt16(VALUE(Anum_compensation_node));
	row->params = DatumGetArrayTypePCopy(VALUE(Anum_compensation_params));
	row->completed_at = DatumGetTimestampTz(VALUE(Anum_compensation_completed_at));
	if (!ISNULL(Anum_compensation_done_at))
		row->done_at = DatumGetTimestampTz(VALUE(Anum_compensation_done_at));
	if (!ISNULL(Anum_compensation_error))
		row->error = DatumGetJsonbPCopy(VALUE(Anum_compensation_error));
	row->stored = true;
	row->tid = tuple->t_self;
	return row;
}

List *
goflow_compensations_read(const pg_uuid_t *id)
{
	Datum		key = UUIDPGetDatum(id);

	return goflow_scan_rows("compensation", "compensation_pkey", 1, &key, read_compensation);
}

static void
read_chunks(int nkeys, const Datum *keys, void (*take) (ArrayType *chunk, void *arg), void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "goflow chunk",
												  ALLOCSET_DEFAULT_SIZES);
	GoflowScan	scan;
	HeapTuple	tuple;

	goflow_scan_begin_key(&scan, "node_rows", "node_rows_pkey", nkeys, keys);
	while (HeapTupleIsValid(tuple = goflow_scan_next(&scan)))
	{
		bool		isnull;
		Datum		rows = heap_getattr(tuple, Anum_node_rows_rows, RelationGetDescr(scan.rel), &isnull);
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		take(DatumGetArrayTypeP(rows), arg);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	goflow_scan_end(&scan);
	MemoryContextDelete(context);
}

void
goflow_chunks_each(const pg_uuid_t *id, int frame, int node, int attempt,
				   void (*take) (ArrayType *chunk, void *arg), void *arg)
{
	Datum		keys[] = {UUIDPGetDatum(id), Int32GetDatum(frame), Int16GetDatum(node),
	Int16GetDatum(attempt)};

	read_chunks(4, keys, take, arg);
}

typedef struct OneChunk
{
	MemoryContext context;
	ArrayType  *chunk;
} OneChunk;

static void
keep_chunk(ArrayType *chunk, void *arg)
{
	OneChunk   *one = arg;
	MemoryContext old = MemoryContextSwitchTo(one->context);

	one->chunk = DatumGetArrayTypePCopy(PointerGetDatum(chunk));
	MemoryContextSwitchTo(old);
}

ArrayType *
goflow_chunk_read(const pg_uuid_t *id, int frame, int node, int attempt, int chunk)
{
	Datum		keys[] = {UUIDPGetDatum(id), Int32GetDatum(frame), Int16GetDatum(node),
	Int16GetDatum(attempt), Int32GetDatum(chunk)};
	OneChunk	one = {CurrentMemoryContext};

	read_chunks(5, keys, keep_chunk, &one);
	if (one.chunk == NULL)
		elog(ERROR, "chunk %d of node %d is missing", chunk, node);
	return one.chunk;
}

/* The last chunk of an attempt, or of the last attempt that has any with 0; NULL: there is none. */
static ArrayType *
last_chunk(const pg_uuid_t *id, int frame, int node, int *attempt, int *chunk)
{
	Datum		keys[] = {UUIDPGetDatum(id), Int32GetDatum(frame), Int16GetDatum(node),
	Int16GetDatum(*attempt)};
	GoflowScan	scan;
	HeapTuple	tuple;
	ArrayType  *rows = NULL;

	goflow_scan_begin_key(&scan, "node_rows", "node_rows_pkey", *attempt == 0 ? 3 : 4, keys);
	tuple = goflow_scan_previous(&scan);
	if (HeapTupleIsValid(tuple))
	{
		TupleDesc	tupdesc = RelationGetDescr(scan.rel);
		bool		isnull;

		*attempt = DatumGetInt16(heap_getattr(tuple, Anum_node_rows_attempt, tupdesc, &isnull));
		*chunk = DatumGetInt32(heap_getattr(tuple, Anum_node_rows_chunk, tupdesc, &isnull));
		rows = DatumGetArrayTypePCopy(heap_getattr(tuple, Anum_node_rows_rows, tupdesc, &isnull));
	}
	goflow_scan_end(&scan);
	return rows;
}

int64
goflow_chunks_count(const pg_uuid_t *id, int frame, int node, int attempt)
{
	int			chunk;
	ArrayType  *rows = last_chunk(id, frame, node, &attempt, &chunk);

	if (rows == NULL)
		return 0;
	return (int64) chunk * GOFLOW_CHUNK_ROWS + (ARR_NDIM(rows) > 0 ? ARR_DIMS(rows)[0] : 0);
}

ArrayType *
goflow_chunk_find(const pg_uuid_t *id, int frame, int node, int attempt, int chunk)
{
	int			last;
	ArrayType  *rows = last_chunk(id, frame, node, &attempt, &last);

	return rows == NULL || chunk > last ? NULL : chunk == last ? rows :
		goflow_chunk_read(id, frame, node, attempt, chunk);
}

List *
goflow_collected_read(const pg_uuid_t *id, int frame, int node, int attempt)
{
	Datum		keys[] = {UUIDPGetDatum(id), Int32GetDatum(frame), Int16GetDatum(node),
	Int16GetDatum(attempt)};
	GoflowScan	scan;
	HeapTuple	tuple;
	List	   *values = NIL;

	goflow_scan_begin_key(&scan, "collected", "collected_pkey", 4, keys);
	while (HeapTupleIsValid(tuple = goflow_scan_next(&scan)))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_collected_value, RelationGetDescr(scan.rel), &isnull);

		CHECK_FOR_INTERRUPTS();
		values = lappend(values, isnull ? NULL : DatumGetJsonbPCopy(value));
	}
	goflow_scan_end(&scan);
	return values;
}

int32
goflow_journal_next_seq(const pg_uuid_t *id)
{
	const GoflowExecutionRow *execution = goflow_execution_read(id);
	int32		last = 1;
	ListCell   *lc;

	if (execution)
	{
		foreach(lc, goflow_journal_read(execution))
		{
			GoflowNodeRow *row = lfirst(lc);

			last = Max(last, Max(row->seq, row->end_seq));
		}
		last = Max(last, goflow_variable_last_seq(execution));
	}
	foreach(lc, goflow_pending_read(id))
		last = Max(last, ((GoflowPendingRow *) lfirst(lc))->seq);
	foreach(lc, goflow_offered_read(id))
		last = Max(last, ((GoflowOfferedRow *) lfirst(lc))->seq);
	foreach(lc, goflow_frames_read(id))
		last = Max(last, ((GoflowFrameRow *) lfirst(lc))->seq);
	/* ends that are not stored: an assignment each, and what every node may have */
	return last + GOFLOW_MAX_FIELDS + 4;
}

bool
goflow_journal_is_duplicate(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION &&
		error->schema_name && strcmp(error->schema_name, GOFLOW_SCHEMA) == 0 &&
		error->constraint_name && strcmp(error->constraint_name, "journal_pkey") == 0;
}
