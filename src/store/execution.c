/*
 * execution.c
 *		Rows of goflow.execution, and the keys of start().
 *
 * An execution's row is inserted when it starts, updated at few transitions, and
 * moved to goflow.finished when it ends.  The row's TID is kept, so that nobody
 * looks for it again.  Only the driver that holds the claim changes it.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/table.h"

/* Entries of others in a row that cost as much as to look for one by itself. */
#define MAX_OTHERS 8

/*
 * A version 7 UUID: milliseconds since 1970, then 12 bits of sub-millisecond,
 * then random.  Ids made by one backend are ascending, also when the clock
 * goes back.
 */
void
goflow_uuid_generate(pg_uuid_t *id)
{
	static uint64 last = 0;
	static uint8 pool[512];
	static int	nused = sizeof(pool);
	uint64		nanos4;			/* units of 1/4096 ms */
	uint64		micros;
	uint64		millis;

	micros = (uint64) (GetCurrentTimestamp() +
					   (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
	nanos4 = (micros / 1000) * 4096 + (micros % 1000) * 4096 / 1000;
	if (nanos4 <= last)
		nanos4 = last + 1;
	last = nanos4;

	/* random bytes are cheap by the hundred only */
	if (nused == sizeof(pool))
	{
		if (!pg_strong_random(pool, sizeof(pool)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		nused = 0;
	}
	memcpy(id->data + 8, pool + nused, 8);
	nused += 8;
	millis = pg_hton64((nanos4 / 4096) << 16);
	memcpy(id->data, &millis, 6);
	id->data[6] = 0x70 | ((nanos4 % 4096) >> 8);
	id->data[7] = nanos4 & 0xff;
	id->data[8] = 0x80 | (id->data[8] & 0x3f);
}

static GoflowExecutionRow *
read_row(HeapTuple tuple, TupleDesc tupdesc)
{
	GoflowExecutionRow *row = palloc0(sizeof(GoflowExecutionRow));
	Datum		values[Natts_execution];
	bool		nulls[Natts_execution];

	row->stored = true;
	row->tid = tuple->t_self;
	row->is_uncommitted =
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	heap_deform_tuple(tuple, tupdesc, values, nulls);

	row->id = *DatumGetUUIDP(VALUE(Anum_execution_id));
	row->workflow_id = DatumGetInt32(VALUE(Anum_execution_workflow_id));
	row->run_as = DatumGetObjectId(VALUE(Anum_execution_run_as));
	row->state = DatumGetChar(VALUE(Anum_execution_state));
	row->priority = DatumGetInt16(VALUE(Anum_execution_priority));
	row->entry = ISNULL(Anum_execution_entry) ? -1 :
		DatumGetInt16(VALUE(Anum_execution_entry));
	row->created_at = DatumGetTimestampTz(VALUE(Anum_execution_created_at));
	if (!ISNULL(Anum_execution_started_at))
		row->started_at = DatumGetTimestampTz(VALUE(Anum_execution_started_at));
	if (!ISNULL(Anum_execution_finished_at))
		row->finished_at = DatumGetTimestampTz(VALUE(Anum_execution_finished_at));
	row->stored_finished = row->finished_at != 0;
	if (!ISNULL(Anum_execution_parent))
	{
		row->parent = palloc(sizeof(pg_uuid_t));
		*row->parent = *DatumGetUUIDP(VALUE(Anum_execution_parent));
	}
	row->input = DatumGetByteaPCopy(VALUE(Anum_execution_input));
	if (!ISNULL(Anum_execution_trigger))
		row->trigger = DatumGetArrayTypePCopy(VALUE(Anum_execution_trigger));
	if (!ISNULL(Anum_execution_last_seq))
		row->last_seq = DatumGetInt32(VALUE(Anum_execution_last_seq));
	if (!ISNULL(Anum_execution_output))
		row->output = DatumGetJsonbPCopy(VALUE(Anum_execution_output));
	if (!ISNULL(Anum_execution_error))
		row->error = DatumGetJsonbPCopy(VALUE(Anum_execution_error));
	row->home = *DatumGetUUIDP(VALUE(Anum_execution_home));
	row->is_foreign = !goflow_home_is_own(&row->home);
	if (!ISNULL(Anum_execution_retry_seq))
		row->retry_seq = DatumGetInt32(VALUE(Anum_execution_retry_seq));
	if (!ISNULL(Anum_execution_retried))
		row->retried = DatumGetArrayTypePCopy(VALUE(Anum_execution_retried));
	if (!ISNULL(Anum_execution_root))
	{
		row->root = palloc(sizeof(pg_uuid_t));
		*row->root = *DatumGetUUIDP(VALUE(Anum_execution_root));
	}
	if (!ISNULL(Anum_execution_assigned))
		row->assigned = DatumGetByteaPCopy(VALUE(Anum_execution_assigned));
	if (!ISNULL(Anum_execution_journal))
		row->journal = DatumGetByteaPCopy(VALUE(Anum_execution_journal));
	return row;
}

/* A row of one of the two tables; NULL: it is not there. */
static GoflowExecutionRow *
read_from(const char *table, const char *index, const pg_uuid_t *id, Snapshot snapshot)
{
	GoflowScan	scan;
	GoflowExecutionRow *row = NULL;
	HeapTuple	tuple;

	goflow_scan_begin_as_of(&scan, table, index, id, snapshot);
	tuple = goflow_scan_next(&scan);
	if (HeapTupleIsValid(tuple))
		row = read_row(tuple, RelationGetDescr(scan.rel));
	goflow_scan_end(&scan);
	return row;
}

/* As of one moment: it may come to its end, or be retried, meanwhile. */
GoflowExecutionRow *
goflow_execution_read(const pg_uuid_t *id)
{
	Snapshot	snapshot = goflow_scan_snapshot();
	GoflowExecutionRow *row = read_from("execution", "execution_pkey", id, snapshot);

	if (row == NULL)
		row = read_from("finished", "finished_pkey", id, snapshot);
	UnregisterSnapshot(snapshot);
	return row;
}

/* A list of executions, on the way through a table that has their rows in order. */
typedef struct Walk
{
	const pg_uuid_t *ids;
	int		   *order;			/* of their ids */
	int			n;
	int			at;				/* in that order */
	int			others;			/* entries of the index that were not theirs, since the last that was */
} Walk;

static int
compare_ids(const void *a, const void *b, void *arg)
{
	const pg_uuid_t *ids = arg;

	return memcmp(&ids[*(const int *) a], &ids[*(const int *) b], UUID_LEN);
}

/* The next row of an execution of the list, and which; -1: there are no more, or they are far away. */
static int
walk_on(Walk *walk, GoflowScan *scan, HeapTuple *tuple)
{
	while (walk->at < walk->n && walk->others++ < MAX_OTHERS && goflow_scan_step(scan, tuple))
	{
		bool		isnull;
		const pg_uuid_t *id;
		int			order = 1;

		if (*tuple == NULL)
			continue;
		id = DatumGetUUIDP(heap_getattr(*tuple, 1, RelationGetDescr(scan->rel), &isnull));
		while (walk->at < walk->n &&
			   (order = memcmp(&walk->ids[walk->order[walk->at]], id, UUID_LEN)) < 0)
			walk->at++;
		if (order == 0)
		{
			walk->others = 0;
			return walk->order[walk->at];
		}
	}
	return -1;
}

void
goflow_executions_read_unasked(const pg_uuid_t *ids, int n, GoflowExecutionRow **rows)
{
	Walk		walk = {.ids = ids, .order = palloc(n * sizeof(int)), .n = n};
	GoflowScan	scan;
	HeapTuple	tuple;
	int			number;

	for (int i = 0; i < n; i++)
	{
		walk.order[i] = i;
		rows[i] = NULL;
	}
	qsort_arg(walk.order, n, sizeof(int), compare_ids, (void *) ids);

	goflow_scan_begin_from(&scan, "execution", "execution_pkey", &ids[walk.order[0]]);
	while ((number = walk_on(&walk, &scan, &tuple)) >= 0)
		rows[number] = read_row(tuple, RelationGetDescr(scan.rel));
	goflow_scan_end(&scan);

	walk.at = walk.others = 0;
	goflow_scan_begin_from(&scan, "request", "request_pkey", &ids[walk.order[0]]);
	while ((number = walk_on(&walk, &scan, &tuple)) >= 0)
		rows[number] = NULL;
	goflow_scan_end(&scan);
	if (walk.others > MAX_OTHERS)
		for (int i = walk.at; i < n; i++)
			rows[walk.order[i]] = NULL;
	pfree(walk.order);
}

/* Executions that nodes have started below one that no node started. */
int
goflow_execution_count_below(const pg_uuid_t *root, int max)
{
	static SPIPlanPtr plan = NULL;
	GoflowOwnerScope scope;
	Oid			types[] = {UUIDOID, INT4OID};
	Datum		args[] = {UUIDPGetDatum(root), Int32GetDatum(max)};
	bool		isnull;
	int			count;

	CommandCounterIncrement();	/* those of this transaction, too */
	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, "SELECT count(*)::int FROM"
										   " (SELECT FROM goflow.execution WHERE root = $1 LIMIT $2) e",
										   lengthof(types), types), args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count executions");
	count = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	goflow_owner_end(&scope);
	return count;
}

GoflowExecutionRow *
goflow_execution_read_over(const pg_uuid_t *id, bool *is_over)
{
	GoflowExecutionRow *row = goflow_execution_read(id);

	*is_over = row && goflow_execution_is_finished(row->state);
	if (*is_over && row->state != GOFLOW_EXECUTION_COMPLETED)
	{
		GoflowRequestRow *request = goflow_request_find_retry(id);

		*is_over = request == NULL;
		if (request)
			row->is_uncommitted = request->is_uncommitted;
		else
		{
			/* its driver may have taken the request away since the row was read */
			row = goflow_execution_read(id);
			*is_over = row && goflow_execution_is_finished(row->state);
		}
	}
	return row;
}

int
goflow_execution_last_completed(int workflow_id, Oid role, pg_uuid_t *ids, int max)
{
	GoflowOwnerScope scope;
	Oid			types[] = {INT4OID, OIDOID, INT8OID};
	Datum		args[] = {Int32GetDatum(workflow_id), ObjectIdGetDatum(role), Int64GetDatum(max)};
	int			n;

	goflow_owner_begin(&scope);
	/* of the newest thousand, so that it never looks for long */
	if (SPI_execute_with_args("SELECT execution_id FROM ("
							  "  SELECT execution_id, run_as, state FROM goflow.finished"
							  "  WHERE workflow_id = $1 ORDER BY execution_id DESC LIMIT 1000) e"
							  " WHERE run_as = $2 AND state = 'c' ORDER BY execution_id DESC LIMIT $3",
							  lengthof(types), types, args, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not find executions");
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		ids[i] = *DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	goflow_owner_end(&scope);
	return n;
}

bool *
goflow_execution_retried(const GoflowExecutionRow *row, int nnodes)
{
	bool	   *retried = palloc0(Max(nnodes, 1) * sizeof(bool));
	int			n = row->retried ? ArrayGetNItems(ARR_NDIM(row->retried), ARR_DIMS(row->retried)) : 0;

	for (int i = 0; i < n; i++)
		retried[((int16 *) ARR_DATA_PTR(row->retried))[i]] = true;
	return retried;
}

static void
to_values(GoflowExecutionRow *row, Datum *values, bool *nulls)
{
	SET(Anum_execution_id, UUIDPGetDatum(&row->id));
	SET(Anum_execution_workflow_id, Int32GetDatum(row->workflow_id));
	SET(Anum_execution_run_as, ObjectIdGetDatum(row->run_as));
	SET(Anum_execution_state, CharGetDatum(row->state));
	SET(Anum_execution_priority, Int16GetDatum(row->priority));
	SET_OR_NULL(Anum_execution_entry, row->entry >= 0, Int16GetDatum(row->entry));
	SET(Anum_execution_created_at, TimestampTzGetDatum(row->created_at));
	SET_OR_NULL(Anum_execution_started_at, row->started_at != 0, TimestampTzGetDatum(row->started_at));
	SET_OR_NULL(Anum_execution_finished_at, row->finished_at != 0, TimestampTzGetDatum(row->finished_at));
	SET_OR_NULL(Anum_execution_parent, row->parent != NULL, UUIDPGetDatum(row->parent));
	SET(Anum_execution_input, PointerGetDatum(row->input));
	SET_OR_NULL(Anum_execution_trigger, row->trigger != NULL, PointerGetDatum(row->trigger));
	SET_OR_NULL(Anum_execution_last_seq, row->last_seq > 0, Int32GetDatum(row->last_seq));
	SET_OR_NULL(Anum_execution_output, row->output != NULL, JsonbPGetDatum(row->output));
	SET_OR_NULL(Anum_execution_error, row->error != NULL, JsonbPGetDatum(row->error));
	SET(Anum_execution_home, UUIDPGetDatum(&row->home));
	SET_OR_NULL(Anum_execution_retry_seq, row->retry_seq > 0, Int32GetDatum(row->retry_seq));
	SET_OR_NULL(Anum_execution_retried, row->retried != NULL, PointerGetDatum(row->retried));
	SET_OR_NULL(Anum_execution_root, row->root != NULL, UUIDPGetDatum(row->root));
	SET_OR_NULL(Anum_execution_assigned, row->assigned != NULL, PointerGetDatum(row->assigned));
	SET_OR_NULL(Anum_execution_journal, row->journal != NULL, PointerGetDatum(row->journal));
}

void
goflow_execution_insert(GoflowExecutionRow *rows, int nrows)
{
	GoflowWriter writer;

	goflow_writer_open(&writer, "execution");
	for (int i = 0; i < nrows; i++)
	{
		Datum		values[Natts_execution];
		bool		nulls[Natts_execution];

		CHECK_FOR_INTERRUPTS();
		goflow_home_get(&rows[i].home);
		to_values(&rows[i], values, nulls);
		goflow_writer_insert(&writer, values, nulls);
	}
	goflow_writer_close(&writer);
}

/*
 * Part of goflow_writes_flush(): rows come to stand where they belong.  Those
 * that have finished go in together, last.
 */
void
goflow_execution_write(List *rows)
{
	GoflowWriter alive;
	GoflowWriter finished;
	ListCell   *lc;

	goflow_writer_open(&alive, "execution");
	goflow_writer_open(&finished, "finished");
	foreach(lc, rows)
	{
		GoflowExecutionRow *row = lfirst(lc);
		bool		is_finished = row->finished_at != 0;
		GoflowWriter *to = is_finished ? &finished : &alive;
		Datum		values[Natts_execution];
		bool		nulls[Natts_execution];

		if (!row->stored)
			goflow_home_get(&row->home);
		to_values(row, values, nulls);
		if (row->stored && row->stored_finished == is_finished)
		{
			goflow_writer_update(to, &row->tid,
								 heap_form_tuple(RelationGetDescr(to->rel), values, nulls), false);
			continue;
		}
		if (row->stored)
			goflow_writer_delete(row->stored_finished ? &finished : &alive, &row->tid);
		if (is_finished)
			goflow_writer_insert(to, values, nulls);
		else
			goflow_writer_insert_at(to, values, nulls, &row->tid);
		row->stored = !is_finished; /* nobody writes one again that has finished */
		row->stored_finished = false;
	}
	goflow_writer_close(&finished);
	goflow_writer_close(&alive);
}

bool
goflow_start_key_insert(const char *workflow, Oid role, const char *key, pg_uuid_t *id)
{
	GoflowOwnerScope scope;
	Oid			types[] = {TEXTOID, OIDOID, TEXTOID, UUIDOID};
	Datum		args[4];
	bool		inserted = false;
	bool		known = false;

	args[0] = CStringGetTextDatum(workflow);
	args[1] = ObjectIdGetDatum(role);
	args[2] = CStringGetTextDatum(key);
	args[3] = UUIDPGetDatum(id);

	/*
	 * ON CONFLICT waits for a transaction that has just inserted the key; if
	 * that one rolls back, our row goes in.  A row that was deleted between
	 * the two statements makes us try again.
	 */
	goflow_owner_begin(&scope);
	while (!inserted && !known)
	{
		CHECK_FOR_INTERRUPTS();
		if (SPI_execute_with_args("INSERT INTO goflow.start_key (name, role, key, execution_id)"
								  " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
								  4, types, args, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not insert a start key");
		inserted = SPI_processed == 1;
		if (inserted)
			break;
		if (SPI_execute_with_args("SELECT execution_id FROM goflow.start_key WHERE"
								  " name OPERATOR(pg_catalog.=) $1 AND role OPERATOR(pg_catalog.=) $2"
								  " AND key OPERATOR(pg_catalog.=) $3",
								  3, types, args, NULL, false, 1) != SPI_OK_SELECT)
			elog(ERROR, "could not read a start key");
		if (SPI_processed == 1)
		{
			bool		isnull;
			Datum		found = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

			*id = *DatumGetUUIDP(found);
			known = true;
		}
		else if (IsolationUsesXactSnapshot())
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access to the start key \"%s\" of workflow \"%s\"",
							key, workflow),
					 errhint("Retry the transaction.")));
	}
	goflow_owner_end(&scope);
	return inserted;
}
