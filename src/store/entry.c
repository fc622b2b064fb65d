/*
 * entry.c
 *		Rows of the journal: several entries in one, or none at all.
 *
 * An index tuple, and the heap tuple it points to, cost as much as a fast node.
 * So entries that one transaction makes share a row: the first one is in the
 * columns, each one after it is ENTRY_NUMBERS in "more" and its columns in
 * "outputs".  The view goflow.node_state says in SQL what a number means.
 *
 * What few entries have is in "facts", a list of numbers: the entry's place in
 * the row and the FACT_ bits, then what these stand for, in their order.
 *
 * Most executions end in the transaction that begins them.  The entries of that
 * one, if they are few, stand in the execution's own row, which it writes in any
 * case: "journal" has a head, then the numbers of all of them, then their facts;
 * "journal_outputs" has their columns.  Another driver of the same execution
 * would collide there as it does with the journal's key.
 *
 * Only entries of nodes that completed or were skipped are appended, or kept in
 * the execution's row: they are the driver's own, and short.  Failures have
 * details.  What was cancelled may be completing in another process at this
 * moment, and the keys of both must collide.
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

#include "store/store.h"

/* Of an entry in "more", or in the "journal" of an execution. */
enum
{
	ENTRY_FRAME,
	ENTRY_NODE,					/* and the attempt, shifted by 16 */
	ENTRY_STATE,				/* and the port plus 1, shifted by 8 */
	ENTRY_SEQ,
	ENTRY_START,				/* microseconds after that of the row */
	ENTRY_DURATION,
	ENTRY_OUTPUTS,				/* how many of "outputs" are its own or an earlier entry's */
	ENTRY_NUMBERS
};

/* What "journal" begins with. */
enum
{
	HEAD_ENTRIES,				/* how many */
	HEAD_START,					/* a moment (low, high) */
	HEAD_OUTPUTS = HEAD_START + 2,	/* of "journal_outputs", before the first entry's: 0 */
	HEAD_NUMBERS
};

#define FACT_END 1				/* number of its end; the first entry has a column for it */
#define FACT_TOTAL 2			/* nodes of the execution; the same */
#define FACT_PARENT 4			/* of its frame: the frame around it, the iteration (low, high) */
#define FACT_FRAME 8			/* of its frame: number of the start, microseconds after the row's;
								 * without FACT_PARENT it is the iteration after the last one told */
#define FACT_FRAME_AT 16		/* these microseconds are two numbers (low, high) */
#define FACT_BITS 5
#define MAX_FACTS 8				/* numbers of one entry */

#define MAX_ENTRIES 40
#define MAX_OUTPUT_BYTES 600
#define MAX_BYTES (MAX_ENTRIES * ENTRY_NUMBERS * sizeof(int32) + MAX_OUTPUT_BYTES)
#define MAX_OUTPUTS 150			/* columns, NULLs included */

/* What an execution's row takes up at most beside values of variable length. */
#define EXECUTION_BYTES 240

/* Entries on their way into a row. */
typedef struct Packer
{
	TimestampTz start;			/* what their moments are counted from */
	Size		room;			/* bytes that they may take up */
	Size		output_bytes;
	int			n;
	int			noutputs;
	int			nfacts;
	const GoflowNodeRow *told;	/* the last one that told its frame, or NULL */
	int32		numbers[MAX_ENTRIES * ENTRY_NUMBERS];
	int32		facts[MAX_ENTRIES * MAX_FACTS];
	Datum		outputs[MAX_OUTPUTS];
	bool		output_nulls[MAX_OUTPUTS];
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

ArrayType *
goflow_ints_make(const int32 *numbers, int n)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + n * sizeof(int32);
	ArrayType  *array = palloc(size);

	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->dataoffset = 0;
	array->elemtype = INT4OID;
	ARR_DIMS(array)[0] = n;
	ARR_LBOUND(array)[0] = 1;
	memcpy(ARR_DATA_PTR(array), numbers, n * sizeof(int32));
	return array;
}

/* Bytes that the columns of an entry take up in an array. */
static Size
size_of_columns(const GoflowNodeRow *entry)
{
	Size		size = 0;

	for (int i = 0; i < entry->ncolumns; i++)
		if (!entry->column_nulls[i])
			size += INTALIGN(VARSIZE(DatumGetPointer(entry->columns[i])));
	return size;
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
}

static void
begin_packing(Packer *packer, TimestampTz start, Size room)
{
	packer->start = start;
	packer->room = room;
	packer->output_bytes = 0;
	packer->n = packer->noutputs = packer->nfacts = 0;
	packer->told = NULL;
}

/* Appends the facts of an entry; is_first: the columns of a row tell the rest of it. */
static void
pack_facts(Packer *packer, const GoflowNodeRow *entry, int place, bool is_first)
{
	int32	   *facts = packer->facts + packer->nfacts;
	const GoflowNodeRow *told = packer->told;
	int64		frame_at = entry->frame_at - packer->start;
	int			n = 1;
	int			bits = 0;

#define PUT(bit, number) (bits |= (bit), facts[n++] = (number))
	if (!is_first && entry->end_seq >= 0)
		PUT(FACT_END, entry->end_seq);
	if (!is_first && entry->total > 0)
		PUT(FACT_TOTAL, entry->total);
	if (entry->parent >= 0 &&
		(entry->frame_seq == 0 || told == NULL || told->parent != entry->parent ||
		 told->iteration + 1 != entry->iteration))
	{
		PUT(FACT_PARENT, entry->parent);
		PUT(FACT_PARENT, (int32) entry->iteration);
		PUT(FACT_PARENT, (int32) (entry->iteration >> 32));
	}
	if (entry->parent >= 0 && entry->frame_seq > 0)
	{
		PUT(FACT_FRAME, entry->frame_seq);
		PUT(FACT_FRAME, (int32) frame_at);
		if (frame_at != (int32) frame_at)
			PUT(FACT_FRAME_AT, (int32) (frame_at >> 32));
	}
#undef PUT
	facts[0] = place << FACT_BITS | bits;
	if (bits != 0)
		packer->nfacts += n;
	if (entry->parent >= 0)
		packer->told = entry;
}

/* Appends an entry; false: there is no room for it. */
static bool
pack(Packer *packer, const GoflowNodeRow *entry, int place)
{
	int32	   *numbers = &packer->numbers[packer->n * ENTRY_NUMBERS];
	Size		output_bytes = packer->output_bytes + size_of_columns(entry);

	if (packer->n == MAX_ENTRIES || output_bytes > MAX_OUTPUT_BYTES ||
		packer->noutputs + entry->ncolumns > MAX_OUTPUTS ||
		output_bytes + ((packer->n + 1) * ENTRY_NUMBERS + packer->nfacts + MAX_FACTS) * sizeof(int32) > packer->room)
		return false;
	for (int i = 0; i < entry->ncolumns; i++)
	{
		packer->outputs[packer->noutputs] = entry->columns[i];
		packer->output_nulls[packer->noutputs++] = entry->column_nulls[i];
	}
	packer->output_bytes = output_bytes;
	numbers[ENTRY_FRAME] = entry->frame;
	numbers[ENTRY_NODE] = (uint16) entry->node | (int32) entry->attempt << 16;
	numbers[ENTRY_STATE] = (uint8) entry->state | (entry->port + 1) << 8;
	numbers[ENTRY_SEQ] = entry->seq;
	numbers[ENTRY_START] = (int32) (entry->started_at - packer->start);
	numbers[ENTRY_DURATION] = entry->duration;
	numbers[ENTRY_OUTPUTS] = packer->noutputs;
	packer->n++;
	pack_facts(packer, entry, place, false);
	return true;
}

/* Gives facts to their entries, the first of which is at this place in the list. */
static void
get_facts(const int32 *facts, int nfacts, TimestampTz start, List *entries, int first)
{
	const GoflowNodeRow *told = NULL;
	int			i = 0;

	while (i < nfacts)
	{
		int			bits = facts[i] & ((1 << FACT_BITS) - 1);
		int			place = facts[i++] >> FACT_BITS;
		int			length = ((bits & FACT_END) != 0) + ((bits & FACT_TOTAL) != 0) +
			3 * ((bits & FACT_PARENT) != 0) + 2 * ((bits & FACT_FRAME) != 0) +
			((bits & FACT_FRAME_AT) != 0);
		GoflowNodeRow *entry;

		if (i + length > nfacts || first + place >= list_length(entries))
			elog(ERROR, "unexpected facts in the journal");
		entry = list_nth(entries, first + place);
		if (bits & FACT_END)
			entry->end_seq = facts[i++];
		if (bits & FACT_TOTAL)
			entry->total = facts[i++];
		if (bits & FACT_PARENT)
		{
			entry->parent = facts[i];
			entry->iteration = goflow_halves_get(&facts[i + 1]);
			i += 3;
		}
		else if ((bits & FACT_FRAME) && told)
		{
			entry->parent = told->parent;
			entry->iteration = told->iteration + 1;
		}
		if (bits & FACT_FRAME)
		{
			entry->frame_seq = facts[i++];
			entry->frame_at = start + facts[i++];
			if (bits & FACT_FRAME_AT)
				entry->frame_at = start + goflow_halves_get(&facts[i - 1]);
			i += (bits & FACT_FRAME_AT) != 0;
		}
		if (entry->parent >= 0)
			told = entry;
	}
}

/* May an entry be no more than numbers, in a row whose moments count from start? */
static bool
is_plain(const GoflowNodeRow *entry, TimestampTz start)
{
	return (entry->state == GOFLOW_NODE_COMPLETED || entry->state == GOFLOW_NODE_SKIPPED) &&
		entry->error == NULL && entry->queued_at == 0 && !entry->retried && entry->end_seq != 0 &&
		entry->finished_at == entry->started_at + entry->duration &&
		entry->started_at >= start && entry->started_at - start <= PG_INT32_MAX;
}

/* May this entry be in the row of that one? */
static bool
may_follow(const GoflowNodeRow *entry, const GoflowNodeRow *first)
{
	return is_plain(entry, first->started_at) &&
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
	pack_facts(&packer, first, 0, true);
	while (n < nentries && may_follow(entries[n], first) && pack(&packer, entries[n], n))
		n++;
	SET_OR_NULL(Anum_journal_facts, packer.nfacts > 0,
				PointerGetDatum(goflow_ints_make(packer.facts, packer.nfacts)));
	SET_OR_NULL(Anum_journal_more, n > 1,
				PointerGetDatum(goflow_ints_make(packer.numbers, packer.n * ENTRY_NUMBERS)));
	SET_OR_NULL(Anum_journal_outputs, packer.noutputs > 0,
				PointerGetDatum(goflow_texts_make(packer.outputs, packer.output_nulls, packer.noutputs)));
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
	entry->parent = -1;
	if (!ISNULL(Anum_journal_output))
		entry->output = DatumGetArrayTypePCopy(VALUE(Anum_journal_output));
	if (!ISNULL(Anum_journal_error))
		entry->error = DatumGetJsonbPCopy(VALUE(Anum_journal_error));
	return entry;
}

/* Appends n entries that are no more than numbers; outputs_array: their columns, or NULL. */
static List *
unpack(const pg_uuid_t *execution_id, TimestampTz start, const int32 *numbers, int n, ArrayType *outputs_array,
	   List *entries)
{
	Datum	   *outputs = NULL;
	bool	   *output_nulls = NULL;
	int			noutputs = 0;
	int			used = 0;

	if (outputs_array)
		deconstruct_array(outputs_array, TEXTOID, -1, false, TYPALIGN_INT, &outputs, &output_nulls, &noutputs);
	for (; n > 0; n--, numbers += ENTRY_NUMBERS)
	{
		GoflowNodeRow *entry = palloc0(sizeof(GoflowNodeRow));
		int			end = numbers[ENTRY_OUTPUTS];

		entry->execution_id = *execution_id;
		entry->frame = numbers[ENTRY_FRAME];
		entry->node = (int16) (numbers[ENTRY_NODE] & 0xffff);
		entry->attempt = (int16) (numbers[ENTRY_NODE] >> 16);
		entry->state = (char) (numbers[ENTRY_STATE] & 0xff);
		entry->port = (int16) ((numbers[ENTRY_STATE] >> 8) - 1);
		entry->seq = numbers[ENTRY_SEQ];
		entry->duration = numbers[ENTRY_DURATION];
		entry->started_at = start + numbers[ENTRY_START];
		entry->finished_at = entry->started_at + entry->duration;
		if (end < used || end > noutputs)
			elog(ERROR, "unexpected outputs in the journal");
		if (end > used)
			entry->output = goflow_texts_make(outputs + used, output_nulls + used, end - used);
		used = end;
		entry->end_seq = -1;
		entry->parent = -1;
		ItemPointerSetInvalid(&entry->tid);
		entries = lappend(entries, entry);
	}
	return entries;
}

List *
goflow_entries_unpack(HeapTuple tuple, TupleDesc tupdesc, List *entries)
{
	Datum		values[Natts_journal];
	bool		nulls[Natts_journal];
	int			place = list_length(entries);
	GoflowNodeRow *first;

	heap_deform_tuple(tuple, tupdesc, values, nulls);
	first = get_first(values, nulls);
	first->tid = tuple->t_self;
	entries = lappend(entries, first);
	if (!ISNULL(Anum_journal_more))
	{
		ArrayType  *more = DatumGetArrayTypeP(VALUE(Anum_journal_more));

		if (ARR_NDIM(more) != 1 || ARR_HASNULL(more) || ARR_DIMS(more)[0] % ENTRY_NUMBERS != 0)
			elog(ERROR, "unexpected entries in the journal");
		entries = unpack(&first->execution_id, first->started_at, (const int32 *) ARR_DATA_PTR(more),
						 ARR_DIMS(more)[0] / ENTRY_NUMBERS,
						 ISNULL(Anum_journal_outputs) ? NULL : DatumGetArrayTypeP(VALUE(Anum_journal_outputs)),
						 entries);
	}
	if (!ISNULL(Anum_journal_facts))
	{
		ArrayType  *facts = DatumGetArrayTypeP(VALUE(Anum_journal_facts));

		get_facts((const int32 *) ARR_DATA_PTR(facts), ArrayGetNItems(ARR_NDIM(facts), ARR_DIMS(facts)),
				  first->started_at, entries, place);
	}
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
	ADD(execution->assigned_values);
#undef ADD
	return size < TOAST_TUPLE_THRESHOLD ? TOAST_TUPLE_THRESHOLD - size : 0;
}

void
goflow_entries_keep(GoflowExecutionRow *execution, GoflowWrites *writes, MemoryContext context)
{
	List	   *list = writes->rows[GOFLOW_WRITE_NODE];
	int			end = list_length(list);
	int			first = goflow_writes_find(writes, GOFLOW_WRITE_NODE, &execution->id);
	int32		numbers[HEAD_NUMBERS + MAX_ENTRIES * (ENTRY_NUMBERS + MAX_FACTS)];
	int			n = HEAD_NUMBERS;
	TimestampTz start;
	Packer		packer;
	MemoryContext old;

	if (execution->journal || first == end || end - first > MAX_ENTRIES)
		return;

	start = ((GoflowNodeRow *) list_nth(list, first))->started_at;
	for (int i = first + 1; i < end; i++)
		start = Min(start, ((GoflowNodeRow *) list_nth(list, i))->started_at);
	begin_packing(&packer, start, Min(room_in(execution), MAX_BYTES));
	for (int i = first; i < end; i++)
	{
		const GoflowNodeRow *entry = list_nth(list, i);

		if (!is_plain(entry, start) || !pack(&packer, entry, i - first))
			return;
	}

	numbers[HEAD_ENTRIES] = packer.n;
	goflow_halves_put(&numbers[HEAD_START], start);
	numbers[HEAD_OUTPUTS] = 0;
	memcpy(numbers + n, packer.numbers, packer.n * ENTRY_NUMBERS * sizeof(int32));
	n += packer.n * ENTRY_NUMBERS;
	memcpy(numbers + n, packer.facts, packer.nfacts * sizeof(int32));
	n += packer.nfacts;
	old = MemoryContextSwitchTo(context);
	execution->journal = goflow_ints_make(numbers, n);
	if (packer.noutputs > 0)
		execution->journal_outputs = goflow_texts_make(packer.outputs, packer.output_nulls, packer.noutputs);
	MemoryContextSwitchTo(old);
	writes->rows[GOFLOW_WRITE_NODE] = list_truncate(list, first);
}

List *
goflow_entries_kept(const GoflowExecutionRow *execution)
{
	const int32 *numbers;
	int			nnumbers;
	int64		nentries;
	TimestampTz start;
	List	   *entries;

	if (execution->journal == NULL)
		return NIL;
	numbers = (const int32 *) ARR_DATA_PTR(execution->journal);
	nnumbers = ArrayGetNItems(ARR_NDIM(execution->journal), ARR_DIMS(execution->journal));
	nentries = nnumbers < HEAD_NUMBERS ? -1 : numbers[HEAD_ENTRIES];
	if (ARR_HASNULL(execution->journal) || nentries < 0 || HEAD_NUMBERS + nentries * ENTRY_NUMBERS > nnumbers)
		elog(ERROR, "unexpected entries in an execution");
	start = goflow_halves_get(&numbers[HEAD_START]);
	numbers += HEAD_NUMBERS;
	nnumbers -= HEAD_NUMBERS;
	entries = unpack(&execution->id, start, numbers, (int) nentries, execution->journal_outputs, NIL);
	get_facts(numbers + nentries * ENTRY_NUMBERS, nnumbers - (int) nentries * ENTRY_NUMBERS, start, entries, 0);
	return entries;
}
