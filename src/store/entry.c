/*
 * entry.c
 *		Rows of the journal: several entries in one, or none at all.
 *
 * An index tuple, and the heap tuple it points to, cost as much as a fast node.
 * So entries that one transaction makes share a row: the first one is in the
 * columns, those after it are packed (pack.h) into "more".
 *
 * Most executions end in the transaction that begins them.  The entries of that
 * one, if they are few, stand in the execution's own row, which it writes in any
 * case: packed into its "journal".  Another driver of the same execution would
 * collide there as it does with the journal's key.
 *
 * Only entries of nodes that completed or were skipped are packed: they are the
 * driver's own, and short.  Failures have details.  What was cancelled may be
 * completing in another process at this moment, and the keys of both must collide.
 *
 * A packed entry is a number of PACKED_ bits, then its node, seq, duration, and
 * what the bits say there is, in their order.  Most numbers are differences to
 * the entry before, of which the first one has a zero, and moments begin with the
 * row's own: the usual entry takes up seven bytes.
 *
 * A row is kept below the size at which the server would begin to compress it.
 */
#include "postgres.h"

#include "store/table.h"

#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "store/pack.h"
#include "store/store.h"

#define PACKED_SKIPPED 1		/* it did not complete, but was skipped */
#define PACKED_START 2			/* its start: microseconds after the end of the entry before */
#define PACKED_COLUMNS 4		/* columns of its node: how many, and these */
#define PACKED_PORT 8
#define PACKED_FRAME 16			/* another one than that of the entry before */
#define PACKED_ATTEMPT 32		/* not the first one */
#define PACKED_END 64			/* number of its end, which does not follow its start */
#define PACKED_TOTAL 128		/* nodes of the execution */
#define PACKED_PARENT 256		/* of its frame: the frame around it and the iteration, after those of the
								 * last entry that had them */
#define PACKED_FRAME_START 512	/* of its frame: number and moment of the start, before those of the entry */

#define PACKED_NUMBERS 15		/* of an entry at most, without those of its columns */
#define PACKED_LEAST 4			/* bytes */

#define MAX_BYTES 1720

/* What an execution's row takes up at most beside values of variable length. */
#define EXECUTION_BYTES 240

/* What the numbers of an entry are differences to. */
typedef struct Before
{
	int32		frame;
	int16		node;
	int32		seq;
	TimestampTz end;
	int32		parent;
	int64		iteration;
} Before;

/* Entries on their way into a column. */
typedef struct Packer
{
	GoflowPack	pack;
	Before		before;
	uint8		bytes[MAX_BYTES];
} Packer;

/* What construct_array() does for texts that are not toasted, without asking of each what it is. */
ArrayType *
goflow_texts_make(const Datum *values, const bool *nulls, int n)
{
	bool		has_nulls = false;
	Size		size = 0;
	Size		head;
	ArrayType  *array;
	char	   *at;

	if (n == 0)
		return construct_empty_array(TEXTOID);
	for (int i = 0; i < n; i++)
	{
		Assert(nulls[i] || VARATT_IS_4B_U(DatumGetPointer(values[i])));
		if (nulls[i])
			has_nulls = true;
		else
			size += INTALIGN(VARSIZE(DatumGetPointer(values[i])));
	}
	head = has_nulls ? ARR_OVERHEAD_WITHNULLS(1, n) : ARR_OVERHEAD_NONULLS(1);
	if (!AllocSizeIsValid(head + size))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("array size exceeds the maximum allowed (%d)", (int) MaxAllocSize)));
	array = palloc0(head + size);
	SET_VARSIZE(array, head + size);
	array->ndim = 1;
	array->dataoffset = has_nulls ? head : 0;
	array->elemtype = TEXTOID;
	ARR_DIMS(array)[0] = n;
	ARR_LBOUND(array)[0] = 1;
	at = ARR_DATA_PTR(array);
	for (int i = 0; i < n; i++)
	{
		Size		length;

		if (nulls[i])
			continue;
		length = VARSIZE(DatumGetPointer(values[i]));
		memcpy(at, DatumGetPointer(values[i]), length);
		at += INTALIGN(length);
		if (has_nulls)
			ARR_NULLBITMAP(array)[i / BITS_PER_BYTE] |= 1 << (i % BITS_PER_BYTE);
	}
	return array;
}

static void
set_first(const GoflowNodeRow *entry, Datum *values, bool *nulls)
{
	SET(Anum_journal_execution_id, UUIDPGetDatum(&entry->execution_id));
	SET(Anum_journal_frame, Int32GetDatum(entry->frame));
	SET(Anum_journal_node, Int16GetDatum(entry->node));
	SET(Anum_journal_attempt, Int16GetDatum(entry->attempt));
	SET(Anum_journal_state, CharGetDatum(entry->state));
	SET_OR_NULL(Anum_journal_port, entry->port >= 0, Int16GetDatum(entry->port));
	SET(Anum_journal_seq, Int32GetDatum(entry->seq));
	SET(Anum_journal_duration, Int32GetDatum(entry->duration));
	SET(Anum_journal_started_at, TimestampTzGetDatum(entry->started_at));
	SET_OR_NULL(Anum_journal_finished_at, entry->finished_at != entry->started_at + entry->duration,
				TimestampTzGetDatum(entry->finished_at));
	SET_OR_NULL(Anum_journal_end_seq, entry->end_seq >= 0, Int32GetDatum(entry->end_seq));
	SET_OR_NULL(Anum_journal_total, entry->total > 0, Int32GetDatum(entry->total));
	SET_OR_NULL(Anum_journal_queued_at, entry->queued_at != 0, TimestampTzGetDatum(entry->queued_at));
	SET_OR_NULL(Anum_journal_retried, entry->retried, BoolGetDatum(true));
	SET_OR_NULL(Anum_journal_output, entry->ncolumns > 0,
				PointerGetDatum(goflow_texts_make(entry->columns, entry->column_nulls, entry->ncolumns)));
	SET_OR_NULL(Anum_journal_error, entry->error != NULL, JsonbPGetDatum(entry->error));
	SET_OR_NULL(Anum_journal_parent, entry->parent >= 0, Int32GetDatum(entry->parent));
	SET_OR_NULL(Anum_journal_iteration, entry->parent >= 0, Int64GetDatum(entry->iteration));
	SET_OR_NULL(Anum_journal_frame_seq, entry->frame_seq > 0, Int32GetDatum(entry->frame_seq));
	SET_OR_NULL(Anum_journal_frame_at, entry->frame_seq > 0, TimestampTzGetDatum(entry->frame_at));
}

/* room: bytes that they may take up. */
static void
begin_packing(Packer *packer, TimestampTz start, Size room)
{
	packer->pack.at = packer->bytes;
	packer->pack.end = packer->bytes + Min(room, MAX_BYTES);
	memset(&packer->before, 0, sizeof(packer->before));
	packer->before.end = start;
}

/* May an entry be packed? */
static bool
is_plain(const GoflowNodeRow *entry)
{
	return (entry->state == GOFLOW_NODE_COMPLETED || entry->state == GOFLOW_NODE_SKIPPED) &&
		entry->error == NULL && entry->queued_at == 0 && !entry->retried && entry->end_seq != 0 &&
		entry->finished_at == entry->started_at + entry->duration;
}

/* Appends an entry; false: there is no room for it. */
static bool
pack(Packer *packer, const GoflowNodeRow *entry)
{
	GoflowPack *to = &packer->pack;
	Before	   *before = &packer->before;
	Size		bytes = 0;
	int			bits = (entry->state == GOFLOW_NODE_SKIPPED ? PACKED_SKIPPED : 0) |
		(entry->started_at != before->end ? PACKED_START : 0) |
		(entry->ncolumns > 0 ? PACKED_COLUMNS : 0) |
		(entry->port >= 0 ? PACKED_PORT : 0) |
		(entry->frame != before->frame ? PACKED_FRAME : 0) |
		(entry->attempt != 1 ? PACKED_ATTEMPT : 0) |
		(entry->end_seq >= 0 ? PACKED_END : 0) |
		(entry->total > 0 ? PACKED_TOTAL : 0) |
		(entry->parent >= 0 ? PACKED_PARENT : 0) |
		(entry->parent >= 0 && entry->frame_seq > 0 ? PACKED_FRAME_START : 0);

	for (int i = 0; i < entry->ncolumns; i++)
		if (!entry->column_nulls[i])
			bytes += VARSIZE_ANY_EXHDR(DatumGetPointer(entry->columns[i]));
	if (!goflow_pack_has_room(to, PACKED_NUMBERS + entry->ncolumns, bytes))
		return false;
	goflow_pack_number(to, bits);
	goflow_pack_number(to, entry->node - before->node);
	goflow_pack_number(to, (int64) entry->seq - before->seq);
	goflow_pack_number(to, entry->duration);
	if (bits & PACKED_START)
		goflow_pack_number(to, entry->started_at - before->end);
	if (bits & PACKED_COLUMNS)
	{
		goflow_pack_number(to, entry->ncolumns);
		for (int i = 0; i < entry->ncolumns; i++)
			goflow_pack_text(to, entry->column_nulls[i] ? NULL : (text *) DatumGetPointer(entry->columns[i]));
	}
	if (bits & PACKED_PORT)
		goflow_pack_number(to, entry->port);
	if (bits & PACKED_FRAME)
		goflow_pack_number(to, (int64) entry->frame - before->frame);
	if (bits & PACKED_ATTEMPT)
		goflow_pack_number(to, entry->attempt);
	if (bits & PACKED_END)
		goflow_pack_number(to, (int64) entry->end_seq - entry->seq);
	if (bits & PACKED_TOTAL)
		goflow_pack_number(to, entry->total);
	if (bits & PACKED_PARENT)
	{
		goflow_pack_number(to, (int64) entry->parent - before->parent);
		goflow_pack_number(to, entry->iteration - before->iteration);
	}
	if (bits & PACKED_FRAME_START)
	{
		goflow_pack_number(to, (int64) entry->seq - entry->frame_seq);
		goflow_pack_number(to, entry->started_at - entry->frame_at);
	}
	before->frame = entry->frame;
	before->node = entry->node;
	before->seq = entry->seq;
	before->end = entry->finished_at;
	if (bits & PACKED_PARENT)
	{
		before->parent = entry->parent;
		before->iteration = entry->iteration;
	}
	return true;
}

static GoflowNodeRow *
unpack(GoflowUnpack *from, Before *before)
{
	GoflowNodeRow *entry = palloc0(sizeof(GoflowNodeRow));
	int			bits = (int) goflow_unpack_number(from);

	entry->state = bits & PACKED_SKIPPED ? GOFLOW_NODE_SKIPPED : GOFLOW_NODE_COMPLETED;
	entry->node = before->node + (int16) goflow_unpack_number(from);
	entry->seq = before->seq + (int32) goflow_unpack_number(from);
	entry->duration = (int32) goflow_unpack_number(from);
	entry->started_at = before->end + (bits & PACKED_START ? goflow_unpack_number(from) : 0);
	entry->finished_at = entry->started_at + entry->duration;
	if (bits & PACKED_COLUMNS)
		entry->output = goflow_unpack_texts(from);
	entry->port = bits & PACKED_PORT ? (int16) goflow_unpack_number(from) : -1;
	entry->frame = before->frame + (bits & PACKED_FRAME ? (int32) goflow_unpack_number(from) : 0);
	entry->attempt = bits & PACKED_ATTEMPT ? (int16) goflow_unpack_number(from) : 1;
	entry->end_seq = bits & PACKED_END ? entry->seq + (int32) goflow_unpack_number(from) : -1;
	entry->total = bits & PACKED_TOTAL ? (int32) goflow_unpack_number(from) : 0;
	entry->parent = -1;
	if (bits & PACKED_PARENT)
	{
		entry->parent = before->parent += (int32) goflow_unpack_number(from);
		entry->iteration = before->iteration += goflow_unpack_number(from);
	}
	if (bits & PACKED_FRAME_START)
	{
		entry->frame_seq = entry->seq - (int32) goflow_unpack_number(from);
		entry->frame_at = entry->started_at - goflow_unpack_number(from);
	}
	ItemPointerSetInvalid(&entry->tid);
	before->frame = entry->frame;
	before->node = entry->node;
	before->seq = entry->seq;
	before->end = entry->finished_at;
	return entry;
}

List *
goflow_entries_unpack(const bytea *packed, TimestampTz start)
{
	GoflowUnpack from = goflow_unpack_begin(packed);
	Before		before = {.end = start};
	List	   *entries = NIL;

	while (!goflow_unpack_is_done(&from))
		entries = lappend(entries, unpack(&from, &before));
	return entries;
}

/* May this entry be in the row of that one? */
static bool
may_follow(const GoflowNodeRow *entry, const GoflowNodeRow *first)
{
	return is_plain(entry) &&
		memcmp(&entry->execution_id, &first->execution_id, UUID_LEN) == 0 &&
		(entry->frame == first->frame || (entry->of_ended_frame && first->of_ended_frame));
}

int
goflow_entries_pack(GoflowNodeRow **entries, int nentries, Datum *values, bool *nulls)
{
	const GoflowNodeRow *first = entries[0];
	Packer		packer;
	int			n = 1;

	begin_packing(&packer, first->started_at, MAX_BYTES);
	set_first(first, values, nulls);
	while (n < nentries && may_follow(entries[n], first) && pack(&packer, entries[n]))
		n++;
	SET_OR_NULL(Anum_journal_more, n > 1, PointerGetDatum(goflow_pack_make(packer.bytes, &packer.pack)));
	return n;
}

static GoflowNodeRow *
get_first(const Datum *values, const bool *nulls)
{
	GoflowNodeRow *entry = palloc0(sizeof(GoflowNodeRow));

	entry->execution_id = *DatumGetUUIDP(VALUE(Anum_journal_execution_id));
	entry->frame = DatumGetInt32(VALUE(Anum_journal_frame));
	entry->node = DatumGetInt16(VALUE(Anum_journal_node));
	entry->attempt = DatumGetInt16(VALUE(Anum_journal_attempt));
	entry->state = DatumGetChar(VALUE(Anum_journal_state));
	entry->port = ISNULL(Anum_journal_port) ? -1 : DatumGetInt16(VALUE(Anum_journal_port));
	entry->seq = DatumGetInt32(VALUE(Anum_journal_seq));
	entry->duration = DatumGetInt32(VALUE(Anum_journal_duration));
	entry->started_at = DatumGetTimestampTz(VALUE(Anum_journal_started_at));
	entry->finished_at = ISNULL(Anum_journal_finished_at) ? entry->started_at + entry->duration :
		DatumGetTimestampTz(VALUE(Anum_journal_finished_at));
	entry->end_seq = ISNULL(Anum_journal_end_seq) ? -1 : DatumGetInt32(VALUE(Anum_journal_end_seq));
	if (!ISNULL(Anum_journal_total))
		entry->total = DatumGetInt32(VALUE(Anum_journal_total));
	if (!ISNULL(Anum_journal_queued_at))
		entry->queued_at = DatumGetTimestampTz(VALUE(Anum_journal_queued_at));
	entry->retried = !ISNULL(Anum_journal_retried);
	entry->parent = ISNULL(Anum_journal_parent) ? -1 : DatumGetInt32(VALUE(Anum_journal_parent));
	if (!ISNULL(Anum_journal_iteration))
		entry->iteration = DatumGetInt64(VALUE(Anum_journal_iteration));
	if (!ISNULL(Anum_journal_frame_seq))
	{
		entry->frame_seq = DatumGetInt32(VALUE(Anum_journal_frame_seq));
		entry->frame_at = DatumGetTimestampTz(VALUE(Anum_journal_frame_at));
	}
	if (!ISNULL(Anum_journal_output))
		entry->output = DatumGetArrayTypePCopy(VALUE(Anum_journal_output));
	if (!ISNULL(Anum_journal_error))
		entry->error = DatumGetJsonbPCopy(VALUE(Anum_journal_error));
	return entry;
}

/* Gives entries their execution and appends them to a list. */
static List *
append(List *list, List *entries, const pg_uuid_t *execution_id)
{
	ListCell   *lc;

	foreach(lc, entries)
		((GoflowNodeRow *) lfirst(lc))->execution_id = *execution_id;
	return list_concat(list, entries);
}

List *
goflow_entries_read(HeapTuple tuple, TupleDesc tupdesc, List *entries)
{
	Datum		values[Natts_journal];
	bool		nulls[Natts_journal];
	GoflowNodeRow *first;

	heap_deform_tuple(tuple, tupdesc, values, nulls);
	first = get_first(values, nulls);
	first->tid = tuple->t_self;
	entries = lappend(entries, first);
	if (!ISNULL(Anum_journal_more))
		entries = append(entries, goflow_entries_unpack(DatumGetByteaPP(VALUE(Anum_journal_more)), first->started_at),
						 &first->execution_id);
	return entries;
}

/* ---- in the execution's row ---- */

/* How much may be added to an execution's row. */
static Size
room_in(const GoflowExecutionRow *execution)
{
	Size		size = EXECUTION_BYTES + VARSIZE_ANY(execution->input);

#define ADD(value) (size += (value) ? VARSIZE_ANY(value) : 0)
	ADD(execution->trigger);
	ADD(execution->output);
	ADD(execution->error);
	ADD(execution->retried);
	ADD(execution->assigned);
#undef ADD
	return size < TOAST_TUPLE_THRESHOLD ? TOAST_TUPLE_THRESHOLD - size : 0;
}

void
goflow_entries_keep(GoflowExecutionRow *execution, GoflowWrites *writes, MemoryContext context)
{
	List	   *list = writes->rows[GOFLOW_WRITE_NODE];
	int			end = list_length(list);
	int			first = goflow_writes_find(writes, GOFLOW_WRITE_NODE, &execution->id);
	Size		room = room_in(execution);
	Packer		packer;
	MemoryContext old;

	if (execution->journal || first == end || (Size) (end - first) * PACKED_LEAST > room)
		return;
	begin_packing(&packer, execution->created_at, room);
	for (int i = first; i < end; i++)
		if (!is_plain(list_nth(list, i)) || !pack(&packer, list_nth(list, i)))
			return;
	old = MemoryContextSwitchTo(context);
	execution->journal = goflow_pack_make(packer.bytes, &packer.pack);
	MemoryContextSwitchTo(old);
	writes->rows[GOFLOW_WRITE_NODE] = list_truncate(list, first);
}

List *
goflow_entries_kept(const GoflowExecutionRow *execution)
{
	if (execution->journal == NULL)
		return NIL;
	return append(NIL, goflow_entries_unpack(execution->journal, execution->created_at), &execution->id);
}
