/*
 * heap.c
 *		Reading and writing goflow's tables without SQL.
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
#include "utils/fmgroids.h"
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

/* A column more or less, by whomever, would make nonsense of all values. */
static Relation
open_table(const char *name, LOCKMODE lock)
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

void
goflow_writer_open(GoflowWriter *writer, const char *table)
{
	writer->rel = open_table(table, RowExclusiveLock);
	writer->state = get_state(table, writer->rel);
	writer->estate = writer->state->estate;
	writer->rri = writer->state->rri;
	writer->slots = writer->state->slots;
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

	if (writer->nused == WRITER_SLOTS)
		flush(writer);
	if (writer->nused == state->nslots)
	{
		/* with a copy of the descriptor: the table's own is this subtransaction's */
		MemoryContext old = MemoryContextSwitchTo(state->context);
		TupleDesc	tupdesc = CreateTupleDescCopy(RelationGetDescr(writer->rel));

		state->slots[state->nslots++] =
			MakeSingleTupleTableSlot(tupdesc, table_slot_callbacks(writer->rel));
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

/* Replaces a row that nobody else may change at this time; *tid is its new place afterwards. */
void
goflow_writer_update(GoflowWriter *writer, ItemPointer tid, HeapTuple tuple)
{
	TupleTableSlot *slot;
	GoflowUpdateIndexes update_indexes;

	flush(writer);
	slot = next_slot(writer);
	ExecForceStoreHeapTuple(tuple, slot, false);
	simple_table_tuple_update(writer->rel, tid, slot, GetActiveSnapshot(), &update_indexes);
	if (goflow_must_update_indexes(update_indexes))
		goflow_exec_insert_index_tuples(writer->rri, slot, writer->estate, true,
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
										   (bool *) nulls, (bool *) replaced));
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
	ExecCloseIndices(writer->rri);
	state->in_use = false;
	if (!LocalTransactionIdIsValid(state->lxid))
		MemoryContextDelete(state->context);
	table_close(writer->rel, NoLock);
}

/* What scans see between goflow_scan_hold() and goflow_scan_release(); NULL: the present. */
static Snapshot held_snapshot = NULL;

void
goflow_scan_hold(void)
{
	held_snapshot = RegisterSnapshot(GetLatestSnapshot());
}

void
goflow_scan_release(void)
{
	UnregisterSnapshot(held_snapshot);
	held_snapshot = NULL;
}

void
goflow_scan_begin(GoflowScan *scan, const char *table, const char *index,
				  const pg_uuid_t *execution_id)
{
	Datum		key = UUIDPGetDatum(execution_id);

	goflow_scan_begin_key(scan, table, index, 1, &key);
}

static void
begin_scan(GoflowScan *scan, const char *table, const char *index, int nkeys, const Datum *keys,
		   bool below)
{
	ScanKeyData scankeys[INDEX_MAX_KEYS];

	scan->rel = open_table(table, AccessShareLock);
	scan->index = index_open(goflow_relation(index), AccessShareLock);
	scan->snapshot = RegisterSnapshot(held_snapshot ? held_snapshot : GetLatestSnapshot());
	for (int i = 0; i < nkeys; i++)
	{
		AttrNumber	attnum = scan->index->rd_index->indkey.values[i];
		RegProcedure equal;

		switch (TupleDescAttr(RelationGetDescr(scan->rel), attnum - 1)->atttypid)
		{
			case UUIDOID:
				equal = F_UUID_EQ;
				break;
			case INT2OID:
				equal = F_INT2EQ;
				break;
			case INT4OID:
				equal = F_INT4EQ;
				break;
			case OIDOID:
				equal = F_OIDEQ;
				break;
			case TEXTOID:
				equal = F_TEXTEQ;
				break;
			default:
				equal = F_INT8EQ;
				break;
		}
		ScanKeyEntryInitialize(&scankeys[i], 0, attnum, BTEqualStrategyNumber, InvalidOid,
							   scan->index->rd_indcollation[i], equal, keys[i]);
	}
	if (below)
	{
		scankeys[nkeys - 1].sk_strategy = BTLessStrategyNumber;
		fmgr_info(F_INT4LT, &scankeys[nkeys - 1].sk_func);
	}
	scan->scan = systable_beginscan_ordered(scan->rel, scan->index, scan->snapshot, nkeys, scankeys);
}

void
goflow_scan_begin_key(GoflowScan *scan, const char *table, const char *index,
					  int nkeys, const Datum *keys)
{
	begin_scan(scan, table, index, nkeys, keys, false);
}

void
goflow_scan_begin_below(GoflowScan *scan, const char *table, const char *index,
						int nkeys, const Datum *keys)
{
	begin_scan(scan, table, index, nkeys, keys, true);
}

HeapTuple
goflow_scan_next(GoflowScan *scan)
{
	return systable_getnext_ordered(scan->scan, ForwardScanDirection);
}

HeapTuple
goflow_scan_previous(GoflowScan *scan)
{
	return systable_getnext_ordered(scan->scan, BackwardScanDirection);
}

void
goflow_scan_end(GoflowScan *scan)
{
	systable_endscan_ordered(scan->scan);
	UnregisterSnapshot(scan->snapshot);
	index_close(scan->index, AccessShareLock);
	table_close(scan->rel, AccessShareLock);
}

List *
goflow_scan_rows(const char *table, const char *index, int nkeys, const Datum *keys,
				 void *(*read) (HeapTuple tuple, const Datum *values, const bool *nulls))
{
	GoflowScan	scan;
	HeapTuple	tuple;
	TupleDesc	tupdesc;
	Datum	   *values;
	bool	   *nulls;
	List	   *rows = NIL;

	goflow_scan_begin_key(&scan, table, index, nkeys, keys);
	tupdesc = RelationGetDescr(scan.rel);
	values = palloc(tupdesc->natts * sizeof(Datum));
	nulls = palloc(tupdesc->natts * sizeof(bool));
	while (HeapTupleIsValid(tuple = goflow_scan_next(&scan)))
	{
		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, tupdesc, values, nulls);
		rows = lappend(rows, read(tuple, values, nulls));
	}
	pfree(values);
	pfree(nulls);
	goflow_scan_end(&scan);
	return rows;
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
