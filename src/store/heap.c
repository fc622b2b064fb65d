/*
 * heap.c
 *		Writing goflow's tables without SQL.
 *
 * A journal row costs a quarter of an INSERT through SPI this way.  The price:
 * nothing but the indexes is maintained here.  Defaults, CHECK and NOT NULL
 * constraints, triggers, privileges and row security do not apply, so callers
 * must give every column, and must be sure that the write is allowed.
 *
 * Writers live within one (sub)transaction, and what they keep from one to the
 * next within one transaction.
 */
#include "postgres.h"

#include "store/table.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "store/store.h"

/* Rows that go in at once; a page holds fewer. */
#define WRITER_SLOTS 256

/* What the enums of table.h speak of. */
static const struct
{
	const char *table;
	int			natts;
}			known_tables[] = {
	{"journal", Natts_journal},
	{"execution", Natts_execution},
	{"finished", Natts_execution},
	{"variable", Natts_variable},
	{"pending", Natts_pending},
	{"frame", Natts_frame},
	{"node_rows", Natts_node_rows},
	{"collected", Natts_collected},
	{"compensation", Natts_compensation},
	{"request", Natts_request},
	{"offered", Natts_offered},
	{"past_end", Natts_past_end},
	{"signal", Natts_signal},
	{"approval", Natts_approval},
	{"task", Natts_task}
};

Relation
goflow_table_open(const char *name, LOCKMODE lock)
{
	Relation	rel = table_open(goflow_relation(name), lock);
	int			natts = RelationGetDescr(rel)->natts;

	for (int i = 0; i < lengthof(known_tables); i++)
		if (strcmp(known_tables[i].table, name) == 0 && known_tables[i].natts != natts)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_VERSION_MISMATCH),
					 errmsg("table \"%s.%s\" has %d columns, but %d are expected",
							GOFLOW_SCHEMA, name, natts, known_tables[i].natts),
					 errhint("Columns that were dropped count. The tables of goflow cannot be altered.")));
	return rel;
}

/*
 * What a writer needs beside its table and indexes.  To make it costs as much
 * as to write some rows, so it is kept for the transaction.
 */
typedef struct GoflowWriterState
{
	Oid			relid;
	LocalTransactionId lxid;
	bool		in_use;			/* by a writer that is open, or that an error left open */
	MemoryContext context;		/* of what follows; ends with the transaction */
	List	   *indexes;
	EState	   *estate;
	ResultRelInfo *rri;
	TupleDesc	tupdesc;		/* a copy: the table's own is the subtransaction's */
	TupleTableSlot **slots;
	int			nslots;
} GoflowWriterState;

static GoflowWriterState kept[lengthof(known_tables)];

void
goflow_indexes_open(ResultRelInfo *rri, List **indexes)
{
	if (*indexes == NIL)
	{
		ExecOpenIndices(rri, false);
		*indexes = RelationGetIndexList(rri->ri_RelationDesc);
	}
	else
		for (int i = 0; i < rri->ri_NumIndices; i++)
			rri->ri_IndexRelationDescs[i] = index_open(list_nth_oid(*indexes, i), RowExclusiveLock);
}

static void
make_state(GoflowWriterState *state, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);

	state->relid = RelationGetRelid(rel);
	state->indexes = NIL;
	state->tupdesc = CreateTupleDescCopy(RelationGetDescr(rel));
	state->nslots = 0;
	state->slots = palloc(WRITER_SLOTS * sizeof(TupleTableSlot *));
	state->estate = CreateExecutorState();
	state->rri = makeNode(ResultRelInfo);
	/* no range table here, so its index is 0 */
	InitResultRelInfo(state->rri, rel, 0, NULL, 0);
	goflow_indexes_open(state->rri, &state->indexes);
	MemoryContextSwitchTo(old);
}

/* The state that is kept for a table, or one for this writer alone. */
static GoflowWriterState *
get_state(const char *table, Relation rel)
{
	GoflowWriterState *state = NULL;

	for (int i = 0; i < lengthof(known_tables) && state == NULL; i++)
		if (strcmp(known_tables[i].table, table) == 0)
			state = &kept[i];
	if (state == NULL || (state->in_use && state->lxid == GoflowLocalTransactionId()))
	{
		state = palloc0(sizeof(GoflowWriterState));
		state->context = AllocSetContextCreate(CurrentMemoryContext, "goflow writer",
											   ALLOCSET_SMALL_SIZES);
		make_state(state, rel);
	}
	else if (state->lxid == GoflowLocalTransactionId() && state->relid == RelationGetRelid(rel) &&
			 equal(state->indexes, RelationGetIndexList(rel)))
	{
		state->rri->ri_RelationDesc = rel;
		goflow_indexes_open(state->rri, &state->indexes);
	}
	else
	{
		if (state->lxid == GoflowLocalTransactionId())
			MemoryContextDelete(state->context);
		state->lxid = InvalidLocalTransactionId;
		state->context = AllocSetContextCreate(TopTransactionContext, "goflow writer",
											   ALLOCSET_SMALL_SIZES);
		make_state(state, rel);
		state->lxid = GoflowLocalTransactionId();
	}
	state->in_use = true;
	return state;
}

/* What only deletes needs no more than the table. */
void
goflow_writer_open(GoflowWriter *writer, const char *table)
{
	writer->table = table;
	writer->rel = goflow_table_open(table, RowExclusiveLock);
	writer->state = NULL;
	writer->nused = 0;
	writer->cid = GetCurrentCommandId(true);
}

static void
flush(GoflowWriter *writer)
{
	if (writer->nused == 0)
		return;

	if (writer->nused == 1)
		table_tuple_insert(writer->rel, writer->slots[0], writer->cid, 0, NULL);
	else
		table_multi_insert(writer->rel, writer->slots, writer->nused, writer->cid, 0, NULL);

	for (int i = 0; i < writer->nused; i++)
	{
		if (writer->rri->ri_NumIndices > 0)
			goflow_exec_insert_index_tuples(writer->rri, writer->slots[i], writer->estate,
											false, false);
		ExecClearTuple(writer->slots[i]);
	}
	ResetPerTupleExprContext(writer->estate);
	writer->nused = 0;
}

static TupleTableSlot *
next_slot(GoflowWriter *writer)
{
	GoflowWriterState *state = writer->state;

	if (state == NULL)
	{
		state = writer->state = get_state(writer->table, writer->rel);
		writer->estate = state->estate;
		writer->rri = state->rri;
		writer->slots = state->slots;
	}
	if (writer->nused == WRITER_SLOTS)
		flush(writer);
	if (writer->nused == state->nslots)
	{
		MemoryContext old = MemoryContextSwitchTo(state->context);

		state->slots[state->nslots++] =
			MakeSingleTupleTableSlot(state->tupdesc, table_slot_callbacks(writer->rel));
		MemoryContextSwitchTo(old);
	}
	return state->slots[writer->nused];
}

/* The values must live until the writer is closed. */
void
goflow_writer_insert(GoflowWriter *writer, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = next_slot(writer);
	int			natts = RelationGetDescr(writer->rel)->natts;

	memcpy(slot->tts_values, values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, nulls, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	writer->nused++;
}

/* Inserts a row at once, and tells its place. */
void
goflow_writer_insert_at(GoflowWriter *writer, const Datum *values, const bool *nulls, ItemPointer tid)
{
	flush(writer);
	goflow_writer_insert(writer, values, nulls);
	table_tuple_insert(writer->rel, writer->slots[0], writer->cid, 0, NULL);
	*tid = writer->slots[0]->tts_tid;
	goflow_exec_insert_index_tuples(writer->rri, writer->slots[0], writer->estate, false, false);
	ExecClearTuple(writer->slots[0]);
	ResetPerTupleExprContext(writer->estate);
	writer->nused = 0;
}

void
goflow_writer_update(GoflowWriter *writer, ItemPointer tid, HeapTuple tuple, bool is_last)
{
	TupleTableSlot *slot;
	GoflowUpdateIndexes update_indexes;

	flush(writer);
	slot = next_slot(writer);
	ExecForceStoreHeapTuple(tuple, slot, false);
	simple_table_tuple_update(writer->rel, tid, slot, GetActiveSnapshot(), &update_indexes);
	if (goflow_must_update_indexes(update_indexes))
		goflow_exec_insert_index_tuples(writer->rri, slot, writer->estate, !is_last,
										goflow_only_summarizing(update_indexes));
	*tid = slot->tts_tid;
	ExecClearTuple(slot);
	ResetPerTupleExprContext(writer->estate);
}

void
goflow_writer_modify(GoflowWriter *writer, ItemPointer tid, const Datum *values, const bool *nulls,
					 const bool *replaced)
{
	TupleTableSlot *slot;
	HeapTuple	old;

	flush(writer);
	slot = next_slot(writer);
	if (!table_tuple_fetch_row_version(writer->rel, tid, SnapshotAny, slot))
		elog(ERROR, "a row to be changed is not there");
	old = ExecCopySlotHeapTuple(slot);
	ExecClearTuple(slot);
	goflow_writer_update(writer, tid,
						 heap_modify_tuple(old, RelationGetDescr(writer->rel), (Datum *) values,
										   (bool *) nulls, (bool *) replaced), true);
}

void
goflow_writer_delete(GoflowWriter *writer, ItemPointer tid)
{
	simple_table_tuple_delete(writer->rel, tid, GetActiveSnapshot());
}

void
goflow_writer_close(GoflowWriter *writer)
{
	GoflowWriterState *state = writer->state;

	flush(writer);
	if (state)
	{
		ExecCloseIndices(writer->rri);
		state->in_use = false;
		if (!LocalTransactionIdIsValid(state->lxid))
			MemoryContextDelete(state->context);
	}
	table_close(writer->rel, NoLock);
}

void
goflow_rows_delete(const char *table, List *rows, Size offset)
{
	GoflowWriter writer;
	ListCell   *lc;

	goflow_writer_open(&writer, table);
	foreach(lc, rows)
		goflow_writer_delete(&writer, (ItemPointer) ((char *) lfirst(lc) + offset));
	goflow_writer_close(&writer);
}
