/*
 * rows.c
 *		Rows of many-row nodes, and items of loops.
 *
 * Within a process they are typed, in a tuplestore, which goes to disk when
 * there are many.  In the tables they are chunks of text.  Both ways lead chunk
 * by chunk, so that no number of rows needs memory for all of them.
 */
#include "postgres.h"

#include "engine/state.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Chunks that are written at once. */
#define CHUNKS_AT_ONCE 4

/* Reads up to a chunk's rows as text; NULL: there are no more. */
static ArrayType *
next_chunk(const GoflowField *fields, int nfields, Tuplestorestate *rows, TupleTableSlot *slot)
{
	Datum	   *elements = palloc(GOFLOW_CHUNK_ROWS * nfields * sizeof(Datum));
	bool	   *nulls = palloc(GOFLOW_CHUNK_ROWS * nfields * sizeof(bool));
	int			nrows = 0;
	int			n = 0;

	while (nrows < GOFLOW_CHUNK_ROWS && tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		for (int i = 0; i < nfields; i++, n++)
		{
			nulls[n] = slot->tts_isnull[i];
			elements[n] = nulls[n] ? (Datum) 0 :
				PointerGetDatum(goflow_value_encode(&fields[i], slot->tts_values[i]));
		}
		nrows++;
	}
	ExecClearTuple(slot);		/* a row from disk is in memory that ends with the chunk */
	return nrows == 0 ? NULL : goflow_text_array(elements, nulls, nrows, nfields);
}

/* Writes all rows of a node instance: its own, or its items. */
void
goflow_rows_store(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, int attempt,
				  const GoflowField *fields, int nfields, Tuplestorestate *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(goflow_items_descriptor(fields, nfields),
													&TTSOpsMinimalTuple);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "goflow chunks",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int			number = 0;
	bool		is_last = false;

	tuplestore_rescan(rows);
	while (!is_last)
	{
		List	   *chunks = NIL;

		while (!is_last && list_length(chunks) < CHUNKS_AT_ONCE)
		{
			ArrayType  *array = next_chunk(fields, nfields, rows, slot);
			GoflowChunkRow *chunk;

			is_last = array == NULL;
			if (is_last)
				continue;
			chunk = palloc0(sizeof(GoflowChunkRow));
			chunk->execution_id = ex->row->id;
			chunk->frame = frame->id;
			chunk->node = node->index;
			chunk->attempt = attempt;
			chunk->chunk = number++;
			chunk->rows = array;
			chunks = lappend(chunks, chunk);
		}
		goflow_chunks_write(chunks);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	tuplestore_rescan(rows);
	ExecDropSingleTupleTableSlot(slot);
}

typedef struct Target
{
	const GoflowField *fields;
	int			nfields;
	TupleDesc	tupdesc;
	Tuplestorestate *rows;
} Target;

static void
take_chunk(ArrayType *chunk, void *arg)
{
	Target	   *target = arg;
	int			n = target->nfields;
	Datum	   *values = palloc(n * sizeof(Datum));
	bool	   *nulls = palloc(n * sizeof(bool));
	Datum	   *elements;
	bool	   *element_nulls;
	int			nelements;

	deconstruct_array(chunk, TEXTOID, -1, false, TYPALIGN_INT, &elements, &element_nulls, &nelements);
	for (int at = 0; at + n <= nelements; at += n)
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n; i++)
		{
			nulls[i] = element_nulls[at + i];
			values[i] = nulls[i] ? (Datum) 0 :
				goflow_value_decode(&target->fields[i], TextDatumGetCString(elements[at + i]));
		}
		tuplestore_putvalues(target->rows, target->tupdesc, values, nulls);
	}
}

/* Reads them back, into rows. */
void
goflow_rows_load(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, int attempt,
				 const GoflowField *fields, int nfields, Tuplestorestate *rows)
{
	Target		target = {fields, nfields, goflow_items_descriptor(fields, nfields), rows};

	goflow_chunks_each(&ex->row->id, frame->id, node->index, attempt, take_chunk, &target);
}
