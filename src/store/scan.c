/*
 * scan.c
 *		Reading goflow's tables without SQL: by an index, in its order.
 *
 * To open a table, an index and a scan costs more than to find a row.  A
 * driver loads hundreds of executions in one transaction, so it keeps them open
 * (goflow_scans_keep()); a kept scan is given another key and another snapshot.
 */
#include "postgres.h"

#include "store/table.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/store.h"

/* More than loading an execution needs. */
#define MAX_KEPT 16

typedef struct GoflowKeptScan
{
	const char *index;
	int			nkeys;
	StrategyNumber last;		/* how its last key is compared */
	bool		in_use;
	GoflowScan	scan;
} GoflowKeptScan;

static GoflowKeptScan kept[MAX_KEPT];
static int	nkept = 0;

/* The transaction that keeps its scans; they are in its memory. */
static LocalTransactionId keeping = InvalidLocalTransactionId;

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

Snapshot
goflow_scan_snapshot(void)
{
	return RegisterSnapshot(held_snapshot ? held_snapshot : GetLatestSnapshot());
}

void
goflow_scan_begin(GoflowScan *scan, const char *table, const char *index,
				  const pg_uuid_t *execution_id)
{
	Datum		key = UUIDPGetDatum(execution_id);

	goflow_scan_begin_key(scan, table, index, 1, &key);
}

/* The operator that compares a column of this type. */
static RegProcedure
equality_of(Oid type)
{
	switch (type)
	{
		case UUIDOID:
			return F_UUID_EQ;
		case INT2OID:
			return F_INT2EQ;
		case INT4OID:
			return F_INT4EQ;
		case OIDOID:
			return F_OIDEQ;
		case TEXTOID:
			return F_TEXTEQ;
		default:
			return F_INT8EQ;
	}
}

/* Opens a scan in the current context.  last: how the last key is compared. */
static void
open_scan(GoflowScan *scan, const char *table, const char *index, int nkeys, const Datum *keys,
		  StrategyNumber last)
{
	ScanKeyData scankeys[INDEX_MAX_KEYS];

	scan->rel = goflow_table_open(table, AccessShareLock);
	scan->index = index_open(goflow_relation(index), AccessShareLock);
	for (int i = 0; i < nkeys; i++)
	{
		AttrNumber	attnum = scan->index->rd_index->indkey.values[i];
		Oid			type = TupleDescAttr(RelationGetDescr(scan->rel), attnum - 1)->atttypid;

		ScanKeyEntryInitialize(&scankeys[i], 0, attnum, BTEqualStrategyNumber, InvalidOid,
							   scan->index->rd_indcollation[i], equality_of(type), keys[i]);
	}
	if (last != BTEqualStrategyNumber)
	{
		scankeys[nkeys - 1].sk_strategy = last;
		fmgr_info(last == BTLessStrategyNumber ? F_INT4LT : F_UUID_GE, &scankeys[nkeys - 1].sk_func);
	}
	scan->scan = systable_beginscan_ordered(scan->rel, scan->index, scan->snapshot, nkeys, scankeys);
}

/* A kept scan of this kind that is free; NULL: there is none. */
static GoflowKeptScan *
find_kept(const char *index, int nkeys, StrategyNumber last)
{
	for (int i = 0; i < nkept; i++)
		if (!kept[i].in_use && kept[i].nkeys == nkeys && kept[i].last == last &&
			strcmp(kept[i].index, index) == 0)
			return &kept[i];
	return NULL;
}

/* Begins a kept scan anew. */
static void
restart_scan(GoflowScan *scan, int nkeys, const Datum *keys)
{
	IndexScanDesc iscan = scan->scan->iscan;

	iscan->xs_snapshot = scan->snapshot;
	for (int i = 0; i < nkeys; i++)
		iscan->keyData[i].sk_argument = keys[i];
	index_rescan(iscan, NULL, nkeys, NULL, 0);	/* its keys, as they are now */
}

/* The snapshot is registered, and the scan's. */
static void
begin_scan(GoflowScan *scan, const char *table, const char *index, int nkeys, const Datum *keys,
		   StrategyNumber last, Snapshot snapshot)
{
	bool		keep = keeping == GoflowLocalTransactionId() && GetCurrentTransactionNestLevel() == 1;
	GoflowKeptScan *mine = keep ? find_kept(index, nkeys, last) : NULL;
	MemoryContext old = MemoryContextSwitchTo(keep ? TopTransactionContext : CurrentMemoryContext);

	if (mine)
	{
		*scan = mine->scan;
		scan->snapshot = snapshot;
		restart_scan(scan, nkeys, keys);
	}
	else
	{
		scan->snapshot = snapshot;
		open_scan(scan, table, index, nkeys, keys, last);
		if (keep && nkept < MAX_KEPT)
		{
			mine = &kept[nkept++];
			mine->index = index;
			mine->nkeys = nkeys;
			mine->last = last;
			mine->scan = *scan;
		}
	}
	scan->kept = mine;
	if (mine)
		mine->in_use = true;
	MemoryContextSwitchTo(old);
}

void
goflow_scan_begin_key(GoflowScan *scan, const char *table, const char *index,
					  int nkeys, const Datum *keys)
{
	begin_scan(scan, table, index, nkeys, keys, BTEqualStrategyNumber, goflow_scan_snapshot());
}

void
goflow_scan_begin_as_of(GoflowScan *scan, const char *table, const char *index,
						const pg_uuid_t *execution_id, Snapshot snapshot)
{
	Datum		key = UUIDPGetDatum(execution_id);

	begin_scan(scan, table, index, 1, &key, BTEqualStrategyNumber, RegisterSnapshot(snapshot));
}

void
goflow_scan_begin_from(GoflowScan *scan, const char *table, const char *index,
					   const pg_uuid_t *execution_id)
{
	Datum		key = UUIDPGetDatum(execution_id);

	begin_scan(scan, table, index, 1, &key, BTGreaterEqualStrategyNumber, goflow_scan_snapshot());
}

void
goflow_scan_begin_below(GoflowScan *scan, const char *table, const char *index,
						int nkeys, const Datum *keys)
{
	begin_scan(scan, table, index, nkeys, keys, BTLessStrategyNumber, goflow_scan_snapshot());
}

/* What a kept scan allocates outlives the caller's context. */
static HeapTuple
get_next(GoflowScan *scan, ScanDirection direction)
{
	MemoryContext old = MemoryContextSwitchTo(scan->kept ? TopTransactionContext : CurrentMemoryContext);
	HeapTuple	tuple = systable_getnext_ordered(scan->scan, direction);

	MemoryContextSwitchTo(old);
	return tuple;
}

HeapTuple
goflow_scan_next(GoflowScan *scan)
{
	return get_next(scan, ForwardScanDirection);
}

HeapTuple
goflow_scan_previous(GoflowScan *scan)
{
	return get_next(scan, BackwardScanDirection);
}

bool
goflow_scan_step(GoflowScan *scan, HeapTuple *tuple)
{
	MemoryContext old = MemoryContextSwitchTo(scan->kept ? TopTransactionContext : CurrentMemoryContext);
	IndexScanDesc iscan = scan->scan->iscan;
	bool		found = iscan->xs_heap_continue || index_getnext_tid(iscan, ForwardScanDirection) != NULL;

	*tuple = found && index_fetch_heap(iscan, scan->scan->slot) ?
		ExecFetchSlotHeapTuple(scan->scan->slot, false, NULL) : NULL;
	MemoryContextSwitchTo(old);
	return found;
}

static void
close_scan(GoflowScan *scan)
{
	systable_endscan_ordered(scan->scan);
	index_close(scan->index, AccessShareLock);
	table_close(scan->rel, AccessShareLock);
}

void
goflow_scan_end(GoflowScan *scan)
{
	if (scan->kept)
	{
		/* no page stays pinned */
		ExecClearTuple(scan->scan->slot);
		table_index_fetch_reset(scan->scan->iscan->xs_heapfetch);
		scan->kept->in_use = false;
	}
	else
		close_scan(scan);
	UnregisterSnapshot(scan->snapshot);
}

void
goflow_scans_keep(void)
{
	keeping = GoflowLocalTransactionId();
	nkept = 0;
}

void
goflow_scans_close(void)
{
	keeping = InvalidLocalTransactionId;
	for (int i = 0; i < nkept; i++)
		close_scan(&kept[i].scan);
	nkept = 0;
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

