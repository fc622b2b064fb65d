/*
 * entry.c
 *		Rows of the journal: several entries in one.
 *
 * An index tuple, and the heap tuple it points to, cost as much as a fast node.
 * So entries that one transaction makes share a row: the first one is in the
 * columns, each one after it is ENTRY_NUMBERS in "more" and its columns in
 * "outputs".  The view goflow.node_state says in SQL what a number means.
 *
 * What few entries have is in "facts", a list of numbers: the entry's place in
 * the row and the FACT_ bits, then what these stand for, in their order.
 *
 * Only entries of nodes that completed or were skipped are appended: they are
 * the driver's own, and short.  Failures have details.  What was cancelled may
 * be completing in another process at this moment, and the keys of both must
 * collide.
 *
 * A row is kept below the size at which the server would begin to compress it.
 */
#include "postgres.h"

#include "store/table.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "store/store.h"

/* Of an entry in "more". */
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

ArrayType *
goflow_texts_make(Datum *values, bool *nulls, int n)
{
	int			lower = 1;

	return construct_md_array(values, nulls, 1, &n, &lower, TEXTOID, -1, false, TYPALIGN_INT);
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

/* Appends the facts of an entry; told: the last one before it that told its frame, or NULL. */
static int
set_facts(const GoflowNodeRow *entry, int place, TimestampTz start, const GoflowNodeRow *told,
		  int32 *facts)
{
	int64		frame_at = entry->frame_at - start;
	int			n = 1;
	int			bits = 0;

#define PUT(bit, number) (bits |= (bit), facts[n++] = (number))
	if (place > 0 && entry->end_seq >= 0)
		PUT(FACT_END, entry->end_seq);
	if (place > 0 && entry->total > 0)
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
	return bits == 0 ? 0 : n;
}

static int64
join_halves(int32 low, int32 high)
{
	return (int64) ((uint64) (uint32) low | (uint64) (uint32) high << 32);
}

/* Gives the facts of a row to its entries. */
static void
get_facts(ArrayType *array, TimestampTz start, List *entries, int first)
{
	const int32 *facts = (const int32 *) ARR_DATA_PTR(array);
	int			nfacts = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
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
			entry->iteration = join_halves(facts[i + 1], facts[i + 2]);
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
				entry->frame_at = start + join_halves(facts[i - 1], facts[i]);
			i += (bits & FACT_FRAME_AT) != 0;
		}
		if (entry->parent >= 0)
			told = entry;
	}
}

/* May this entry be in the row of that one? */
static bool
may_follow(const GoflowNodeRow *entry, const GoflowNodeRow *first)
{
	return (entry->state == GOFLOW_NODE_COMPLETED || entry->state == GOFLOW_NODE_SKIPPED) &&
		entry->error == NULL && entry->queued_at == 0 && !entry->retried && entry->end_seq != 0 &&
		memcmp(&entry->execution_id, &first->execution_id, UUID_LEN) == 0 &&
		(entry->frame == first->frame || (entry->of_ended_frame && first->of_ended_frame)) &&
		entry->finished_at == entry->started_at + entry->duration &&
		entry->started_at >= first->started_at &&
		entry->started_at - first->started_at <= PG_INT32_MAX;
}

int
goflow_entries_pack(GoflowNodeRow **entries, int nentries, Datum *values, bool *nulls)
{
	const GoflowNodeRow *first = entries[0];
	int32		more[MAX_ENTRIES * ENTRY_NUMBERS];
	Datum		outputs[MAX_OUTPUTS];
	bool		output_nulls[MAX_OUTPUTS];
	int32		facts[MAX_ENTRIES * MAX_FACTS];
	int			nfacts;
	const GoflowNodeRow *told = first->parent >= 0 ? first : NULL;
	int			noutputs = 0;
	Size		bytes = 0;
	int			n = 1;

	set_first(first, values, nulls);
	nfacts = set_facts(first, 0, first->started_at, NULL, facts);
	for (; n < Min(nentries, MAX_ENTRIES) && may_follow(entries[n], first); n++)
	{
		const GoflowNodeRow *entry = entries[n];
		int32	   *numbers = &more[(n - 1) * ENTRY_NUMBERS];

		if (bytes + (n * ENTRY_NUMBERS + nfacts + MAX_FACTS) * sizeof(int32) > MAX_BYTES)
			break;

		if (entry->ncolumns > 0)
		{
			bytes += size_of_columns(entry);
			if (bytes > MAX_OUTPUT_BYTES || noutputs + entry->ncolumns > MAX_OUTPUTS)
				break;
			memcpy(outputs + noutputs, entry->columns, entry->ncolumns * sizeof(Datum));
			memcpy(output_nulls + noutputs, entry->column_nulls, entry->ncolumns * sizeof(bool));
			noutputs += entry->ncolumns;
		}
		numbers[ENTRY_FRAME] = entry->frame;
		numbers[ENTRY_NODE] = (uint16) entry->node | (int32) entry->attempt << 16;
		numbers[ENTRY_STATE] = (uint8) entry->state | (entry->port + 1) << 8;
		numbers[ENTRY_SEQ] = entry->seq;
		numbers[ENTRY_START] = (int32) (entry->started_at - first->started_at);
		numbers[ENTRY_DURATION] = entry->duration;
		numbers[ENTRY_OUTPUTS] = noutputs;
		nfacts += set_facts(entry, n, first->started_at, told, facts + nfacts);
		if (entry->parent >= 0)
			told = entry;
	}
	SET_OR_NULL(Anum_journal_facts, nfacts > 0, PointerGetDatum(goflow_ints_make(facts, nfacts)));
	SET_OR_NULL(Anum_journal_more, n > 1,
				PointerGetDatum(goflow_ints_make(more, (n - 1) * ENTRY_NUMBERS)));
	SET_OR_NULL(Anum_journal_outputs, noutputs > 0,
				PointerGetDatum(goflow_texts_make(outputs, output_nulls, noutputs)));
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

List *
goflow_entries_unpack(HeapTuple tuple, TupleDesc tupdesc, List *entries)
{
	Datum		values[Natts_journal];
	bool		nulls[Natts_journal];
	GoflowNodeRow *first;
	ArrayType  *more;
	int32	   *numbers;
	Datum	   *outputs = NULL;
	bool	   *output_nulls = NULL;
	int			noutputs = 0;
	int			used = 0;

	heap_deform_tuple(tuple, tupdesc, values, nulls);
	first = get_first(values, nulls);
	first->tid = tuple->t_self;
	entries = lappend(entries, first);
	if (ISNULL(Anum_journal_more))
	{
		if (!ISNULL(Anum_journal_facts))
			get_facts(DatumGetArrayTypeP(VALUE(Anum_journal_facts)), first->started_at, entries,
					  list_length(entries) - 1);
		return entries;
	}

	more = DatumGetArrayTypeP(VALUE(Anum_journal_more));
	if (!ISNULL(Anum_journal_outputs))
		deconstruct_array(DatumGetArrayTypeP(VALUE(Anum_journal_outputs)), TEXTOID, -1, false,
						  TYPALIGN_INT, &outputs, &output_nulls, &noutputs);
	if (ARR_NDIM(more) != 1 || ARR_HASNULL(more) || ARR_DIMS(more)[0] % ENTRY_NUMBERS != 0)
		elog(ERROR, "unexpected entries in the journal");
	numbers = (int32 *) ARR_DATA_PTR(more);
	for (int i = 0; i < ARR_DIMS(more)[0]; i += ENTRY_NUMBERS)
	{
		GoflowNodeRow *entry = palloc0(sizeof(GoflowNodeRow));
		int			end = numbers[i + ENTRY_OUTPUTS];

		entry->execution_id = first->execution_id;
		entry->frame = numbers[i + ENTRY_FRAME];
		entry->node = (int16) (numbers[i + ENTRY_NODE] & 0xffff);
		entry->attempt = (int16) (numbers[i + ENTRY_NODE] >> 16);
		entry->state = (char) (numbers[i + ENTRY_STATE] & 0xff);
		entry->port = (int16) ((numbers[i + ENTRY_STATE] >> 8) - 1);
		entry->seq = numbers[i + ENTRY_SEQ];
		entry->duration = numbers[i + ENTRY_DURATION];
		entry->started_at = first->started_at + numbers[i + ENTRY_START];
		entry->finished_at = entry->started_at + entry->duration;
		if (end < used || end > noutputs)
			elog(ERROR, "unexpected outputs in the journal");
		if (end > used)
			entry->output = goflow_texts_make(outputs + used, output_nulls + used, end - used);
		used = end;
		entry->end_seq = -1;
		entry->parent = -1;
		entries = lappend(entries, entry);
	}
	if (!ISNULL(Anum_journal_facts))
		get_facts(DatumGetArrayTypeP(VALUE(Anum_journal_facts)), first->started_at, entries,
				  list_length(entries) - 1 - ARR_DIMS(more)[0] / ENTRY_NUMBERS);
	return entries;
}
