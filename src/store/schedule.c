/*
 * schedule.c
 *		What the scheduler reads: live executions and due timers, in pages.
 *		Those that belong to another database (home.c) are not for it.
 *
 * Each call reads with the snapshot that is active; a scan over many pages
 * takes a new one for each, and holds nothing in between.  The plans are
 * prepared once per process and kept.  They must read an index from the
 * position on and stop after a page, or a million waiting executions would be
 * read once per page; statistics of a table that changes so fast say nothing,
 * so the planner is left no other choice.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/*
 * The first plan serves both kinds of scan: $2 says whether executions that
 * wait are wanted too.  Those that have finished and are to be retried are live,
 * and a priority that was asked for is in force.
 */
static const char live_query[] =
	"SELECT e.execution_id, e.run_as, coalesce("
	"  (SELECT r.argument::smallint FROM goflow.request r"
	"   WHERE r.execution_id = e.execution_id AND r.kind = 'n' ORDER BY r.request_id DESC LIMIT 1), e.priority)"
	" FROM ((SELECT execution_id, run_as, priority FROM ONLY goflow.execution"
	"   WHERE execution_id > $1 AND ($2 OR state NOT IN ('w', 'p'))"
	"    AND home = (SELECT h.home FROM goflow.home h WHERE h.database = $4)"
	"   ORDER BY execution_id LIMIT $3)"
	"  UNION (SELECT x.execution_id, x.run_as, x.priority FROM goflow.finished x"
	"   JOIN goflow.request r USING (execution_id)"
	"   WHERE r.kind = 't' AND x.execution_id > $1"
	"    AND x.home = (SELECT h.home FROM goflow.home h WHERE h.database = $4)"
	"   ORDER BY x.execution_id LIMIT $3)) e"
	" ORDER BY e.execution_id LIMIT $3";

/*
 * The page is cut out of the index before the executions are looked up, one by
 * one: a planner that began with the executions would read the whole range for
 * each of them.  Without a role: it is not to be woken.
 */
static const char due_query[] =
	"SELECT t.execution_id, e.run_as, e.priority, t.due_at"
	" FROM (SELECT due_at, execution_id FROM goflow.pending"
	"   WHERE due_at >= $1 AND due_at <= $3 AND (due_at, execution_id) > ($1, $2)"
	"   ORDER BY due_at, execution_id LIMIT $4) t"
	" LEFT JOIN LATERAL (SELECT x.run_as, x.priority FROM ONLY goflow.execution x"
	"   WHERE x.execution_id = t.execution_id AND x.state <> 'p'"
	"    AND x.home = (SELECT h.home FROM goflow.home h WHERE h.database = $5) OFFSET 0) e ON true"
	" ORDER BY t.due_at, t.execution_id";

static const char next_query[] =
	"SELECT due_at FROM goflow.pending WHERE due_at > $1 ORDER BY due_at LIMIT 1";

static const char fail_query[] =
	"WITH failed AS (DELETE FROM ONLY goflow.execution e WHERE execution_id = $1 RETURNING execution_id, e AS row),"
	" ended AS (INSERT INTO goflow.finished SELECT r.* FROM failed f, LATERAL pg_catalog.jsonb_populate_record(f.row,"
	"  pg_catalog.jsonb_build_object('state', 'f', 'finished_at', pg_catalog.clock_timestamp(), 'last_seq', $2, 'error',"
	"  pg_catalog.jsonb_build_object('code', 'WF206', 'message', 'the role of the execution was dropped'))) r),"
	" offered AS (DELETE FROM goflow.offered o USING failed WHERE o.execution_id = failed.execution_id),"
	" framed AS (DELETE FROM goflow.frame f USING failed WHERE f.execution_id = failed.execution_id),"
	" forgotten AS (DELETE FROM goflow.request WHERE execution_id = $1)"
	", unread AS (DELETE FROM goflow.signal WHERE execution_id = $1)"
	", undecided AS (DELETE FROM goflow.approval WHERE ctid = ANY (ARRAY("
	"SELECT a.ctid FROM goflow.approval a WHERE a.execution_id = $1 FOR UPDATE SKIP LOCKED)))"
	", undone AS (DELETE FROM goflow.task WHERE ctid = ANY (ARRAY("
	"SELECT t.ctid FROM goflow.task t WHERE t.execution_id = $1 FOR UPDATE SKIP LOCKED)))"
	" DELETE FROM goflow.pending USING failed WHERE pending.execution_id = failed.execution_id";

static void
run(SPIPlanPtr plan, Datum *values)
{
	int			result = SPI_execute_plan(plan, values, NULL, true, 0);

	if (result != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
}

static void
begin_page(GoflowOwnerScope *scope)
{
	static const char *const unwanted[] = {"enable_seqscan", "enable_bitmapscan", "enable_sort",
	"enable_hashjoin", "enable_mergejoin"};

	goflow_owner_begin(scope);
	for (int i = 0; i < lengthof(unwanted); i++)
		(void) set_config_option(unwanted[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
}

static Datum
value_of(int row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	if (isnull)
		elog(ERROR, "unexpected null in column %d", column);
	return value;
}

/* The first three columns of a result. */
static void
read_row(int number, GoflowLiveRow *row)
{
	row->execution_id = *DatumGetUUIDP(value_of(number, 1));
	row->role = DatumGetObjectId(value_of(number, 2));
	row->priority = DatumGetInt16(value_of(number, 3));
}

int
goflow_schedule_live(const pg_uuid_t *after, bool waiting, GoflowLiveRow *rows, int max)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, BOOLOID, INT8OID, OIDOID};
	Datum		values[] = {
		UUIDPGetDatum(after), BoolGetDatum(waiting), Int64GetDatum(max), ObjectIdGetDatum(MyDatabaseId)
	};
	GoflowOwnerScope scope;
	int			n;

	begin_page(&scope);
	run(goflow_owner_plan(&plan, live_query, lengthof(types), types), values);
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
		read_row(i, &rows[i]);
	goflow_owner_end(&scope);
	return n;
}

int
goflow_schedule_due(GoflowDuePosition *position, TimestampTz until, GoflowLiveRow *rows,
					GoflowDuePosition *positions, int max, bool *more)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TIMESTAMPTZOID, UUIDOID, TIMESTAMPTZOID, INT8OID, OIDOID};
	Datum		values[] = {
		TimestampTzGetDatum(position->due_at), UUIDPGetDatum(&position->execution_id),
		TimestampTzGetDatum(until), Int64GetDatum(max), ObjectIdGetDatum(MyDatabaseId)
	};
	GoflowOwnerScope scope;
	GoflowDuePosition last = *position;
	int			n = 0;

	begin_page(&scope);
	run(goflow_owner_plan(&plan, due_query, lengthof(types), types), values);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		last.execution_id = *DatumGetUUIDP(value_of(i, 1));
		last.due_at = DatumGetTimestampTz(value_of(i, 4));
		(void) SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull);
		if (isnull)
			continue;
		read_row(i, &rows[n]);
		positions[n++] = last;
	}
	*more = SPI_processed == max;
	*position = last;
	goflow_owner_end(&scope);
	return n;
}

TimestampTz
goflow_schedule_next_due(TimestampTz after)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		values[] = {TimestampTzGetDatum(after)};
	TimestampTz next = DT_NOEND;
	GoflowOwnerScope scope;

	begin_page(&scope);
	run(goflow_owner_plan(&plan, next_query, lengthof(types), types), values);
	if (SPI_processed > 0)
		next = DatumGetTimestampTz(value_of(0, 1));
	goflow_owner_end(&scope);
	return next;
}

/* Nobody can run it any more: it has failed, and no code of users runs. */
void
goflow_schedule_fail_roleless(const pg_uuid_t *id)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, INT4OID};
	Datum		values[] = {UUIDPGetDatum(id), Int32GetDatum(goflow_journal_next_seq(id))};
	GoflowOwnerScope scope;
	int			result;

	goflow_owner_begin(&scope);
	result = SPI_execute_plan(goflow_owner_plan(&plan, fail_query, lengthof(types), types), values, NULL,
							  false, 0);
	if (result != SPI_OK_DELETE)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
	goflow_owner_end(&scope);
}
