/*
 * task.c
 *		Work for programs outside: the tasks of task nodes.
 *
 * The row is made with the node's pending.  available_at is when it can be
 * claimed: at once, and again when the lease of a claim is over, so a lease
 * that expires needs nobody's doing.  An answered one has none.  A claim gives
 * the task a new, unguessable id, under which alone it can be answered: who
 * held the task before, and answers late, is refused.
 *
 * Claims skip rows that somebody holds, and nobody waits for a worker who
 * keeps a transaction open: a task that is withdrawn at that moment stays as a
 * row without a pending, which nobody can claim or answer any more, and goes
 * when somebody comes across it.
 *
 * Old snapshots.  While somebody keeps one, the index of available_at is full
 * of tasks that are done, the oldest first.  So each backend remembers, for the
 * tasks of a queue and a role, the moment before which it has found nothing,
 * and begins there.  What has come to life below that (a claim that was rolled
 * back, an execution that was resumed) is found by a full look, and the more
 * such a look costs the rarer it is.
 */
#include "postgres.h"

#include "store/store.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

#include "store/table.h"

/* Part of its time, one in so many, that a backend spends on full looks. */
#define FULL_LOOK_SHARE 20

/* ---- the driver's side ---- */

/* Makes a queue known. */
static void
note_queue(const char *queue, Oid run_as)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, OIDOID};
	Datum		values[] = {CStringGetTextDatum(queue), ObjectIdGetDatum(run_as)};
	GoflowOwnerScope scope;

	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, "INSERT INTO goflow.task_queue (queue, run_as)"
										   " SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM goflow.task_queue"
										   "  WHERE queue = $1 AND run_as = $2) ON CONFLICT DO NOTHING",
										   lengthof(types), types), values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not note a queue");
	goflow_owner_end(&scope);
}

void
goflow_tasks_insert(List *rows)
{
	GoflowWriter writer;
	GoflowTaskRow *noted = NULL;
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, rows)
	{
		GoflowTaskRow *row = lfirst(lc);

		if (noted && noted->run_as == row->run_as && strcmp(noted->queue, row->queue) == 0)
			continue;
		noted = row;
		note_queue(row->queue, row->run_as);
	}
	goflow_writer_open(&writer, "task");
	foreach(lc, rows)
	{
		GoflowTaskRow *row = lfirst(lc);
		Datum		values[Natts_task] = {0};
		bool		nulls[Natts_task];

		memset(nulls, true, sizeof(nulls));
		SET(Anum_task_execution_id, UUIDPGetDatum(&row->execution_id));
		SET(Anum_task_frame, Int32GetDatum(row->frame));
		SET(Anum_task_node, Int16GetDatum(row->node));
		SET(Anum_task_attempt, Int16GetDatum(row->attempt));
		SET(Anum_task_queue, CStringGetTextDatum(row->queue));
		SET(Anum_task_run_as, ObjectIdGetDatum(row->run_as));
		SET(Anum_task_path, CStringGetTextDatum(row->path));
		if (row->title)
			SET(Anum_task_title, CStringGetTextDatum(row->title));
		if (row->payload)
			SET(Anum_task_payload, JsonbPGetDatum(row->payload));
		SET(Anum_task_lease, Int64GetDatum(row->lease));
		SET(Anum_task_created_at, TimestampTzGetDatum(row->created_at));
		SET(Anum_task_available_at, TimestampTzGetDatum(now));
		SET(Anum_task_claims, Int32GetDatum(0));
		SET(Anum_task_state, CharGetDatum(GOFLOW_TASK_WAITING));
		goflow_writer_insert(&writer, values, nulls);
	}
	goflow_writer_close(&writer);
}

static void *
read_row(HeapTuple tuple, const Datum *values, const bool *nulls)
{
	GoflowTaskRow *row = palloc0(sizeof(GoflowTaskRow));

	row->state = DatumGetChar(VALUE(Anum_task_state));
	if (!ISNULL(Anum_task_output))
		row->output = DatumGetArrayTypePCopy(VALUE(Anum_task_output));
	if (!ISNULL(Anum_task_error))
		row->error = DatumGetJsonbPCopy(VALUE(Anum_task_error));
	row->tid = tuple->t_self;
	return row;
}

/* What the driver needs: the answer. */
GoflowTaskRow *
goflow_task_read(const pg_uuid_t *id, int frame, int node, int attempt)
{
	Datum		keys[] = {UUIDPGetDatum(id), Int32GetDatum(frame), Int16GetDatum(node),
	Int16GetDatum(attempt)};
	List	   *rows = goflow_scan_rows("task", "task_pkey", 4, keys, read_row);

	return rows ? linitial(rows) : NULL;
}

static const char withdraw_query[] =
	"DELETE FROM goflow.task WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM goflow.task t"
	"  WHERE (t.execution_id, t.frame, t.node, t.attempt) = ($1, $2, $3, $4) FOR UPDATE SKIP LOCKED))";

void
goflow_task_withdraw(const pg_uuid_t *id, int frame, int node, int attempt)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, INT4OID, INT2OID, INT2OID};
	Datum		values[] = {
		UUIDPGetDatum(id), Int32GetDatum(frame), Int16GetDatum(node), Int16GetDatum(attempt)
	};
	GoflowOwnerScope scope;

	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, withdraw_query, lengthof(types), types), values,
						 NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not withdraw a task");
	goflow_owner_end(&scope);
}

/* Those that somebody holds need not be told of. */
static const char renew_query[] =
	"UPDATE goflow.task SET available_at = $2 WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM goflow.task t"
	"  WHERE t.execution_id = $1 AND t.state = 'w' AND t.available_at <= $2 FOR UPDATE SKIP LOCKED))";

void
goflow_tasks_renew(const pg_uuid_t *id)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, TIMESTAMPTZOID};
	Datum		values[] = {UUIDPGetDatum(id), TimestampTzGetDatum(GetCurrentTimestamp())};
	GoflowOwnerScope scope;

	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, renew_query, lengthof(types), types), values,
						 NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not renew tasks");
	goflow_owner_end(&scope);
}

/* ---- claims ---- */

/* Those of goflow.claim(); the query has one more. */
#define CLAIM_COLUMNS 10

/* Roles whose tasks may be in a queue ($1), and that a user ($2) may claim. */
static const char roles_query[] =
	"SELECT q.run_as FROM goflow.task_queue q WHERE q.queue = $1"
	"  AND (pg_has_role($2, q.run_as, 'USAGE') OR EXISTS (SELECT FROM goflow.queue_grant g"
	"   WHERE g.queue = $1 AND g.owner = q.run_as AND pg_has_role($2, g.grantee, 'USAGE')))"
	" ORDER BY q.run_as";

/*
 * $1 queue, $2 role, $3 how many, $4 now, $5 worker, $6 lease, $7 who claims,
 * $8 this database, $9 where to begin.
 */
static const char claim_query[] =
	"WITH next AS MATERIALIZED (SELECT t.execution_id, t.frame, t.node, t.attempt, t.available_at"
	"  FROM goflow.task t JOIN ONLY goflow.execution e ON e.execution_id = t.execution_id"
	"  WHERE t.queue = $1 AND t.run_as = $2 AND t.available_at >= $9 AND t.available_at <= $4"
	"   AND e.state <> 'p'"
	"   AND e.home = (SELECT h.home FROM goflow.home h WHERE h.database = $8)"
	"   AND EXISTS (SELECT FROM goflow.pending p WHERE p.execution_id = t.execution_id"
	"    AND p.frame = t.frame AND p.node = t.node AND p.attempt = t.attempt AND p.kind = 'k')"
	"  ORDER BY t.available_at LIMIT $3 FOR UPDATE OF t SKIP LOCKED),"
	" claimed AS (UPDATE goflow.task t SET claim = gen_random_uuid(), worker = $5, claimed_by = $7,"
	"   claimed_at = $4, claimed_for = coalesce($6, t.lease), claims = t.claims + 1, progress = NULL,"
	"   heartbeat_at = NULL, available_at = $4 + coalesce($6, t.lease) * interval '1 microsecond'"
	"  FROM next n WHERE t.execution_id = n.execution_id AND t.frame = n.frame AND t.node = n.node"
	"   AND t.attempt = n.attempt"
	"  RETURNING t.*, n.available_at AS was_available_at)"
	" SELECT c.claim, c.queue, c.payload, c.execution_id, w.name, c.path, c.frame, c.attempt::int,"
	"  c.claims, c.available_at, c.was_available_at"
	" FROM claimed c JOIN ONLY goflow.execution e ON e.execution_id = c.execution_id"
	"  JOIN goflow.workflow w ON w.workflow_id = e.workflow_id ORDER BY c.created_at, c.execution_id, c.frame, c.node";

/* What cannot be claimed any more is taken out of the way of the next claims. */
static const char sweep_query[] =
	"DELETE FROM goflow.task WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM goflow.task t"
	"  WHERE t.queue = $1 AND t.run_as = $2 AND t.available_at >= $4 AND t.available_at <= $3"
	"   AND NOT EXISTS (SELECT FROM goflow.pending p WHERE p.execution_id = t.execution_id"
	"    AND p.frame = t.frame AND p.node = t.node AND p.attempt = t.attempt AND p.kind = 'k')"
	"  ORDER BY t.available_at LIMIT 100 FOR UPDATE SKIP LOCKED))";

/* Roles that have tasks in a queue which the current user may claim, in the current context. */
static List *
find_roles(const char *queue)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[] = {TEXTOID, OIDOID};
	Datum		values[] = {CStringGetTextDatum(queue), ObjectIdGetDatum(GetUserId())};
	GoflowOwnerScope scope;
	List	   *roles = NIL;

	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, roles_query, lengthof(types), types), values,
						 NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the roles of a queue");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Oid			role = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
														  SPI_tuptable->tupdesc, 1, &isnull));
		MemoryContext old = MemoryContextSwitchTo(caller);

		roles = lappend_oid(roles, role);
		MemoryContextSwitchTo(old);
	}
	goflow_owner_end(&scope);
	return roles;
}

/* Where this backend begins to look for tasks. */
typedef struct Mark
{
	NameData	queue;			/* key */
	Oid			role;
	TimestampTz from;
	TimestampTz full_look_at;	/* when the next look is a full one */
} Mark;

static HTAB *marks = NULL;

static Mark *
find_mark(const char *queue, Oid role)
{
	struct
	{
		NameData	queue;
		Oid			role;
	}			key;
	Mark	   *mark;
	bool		found;

	if (marks == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(key), .entrysize = sizeof(Mark)};

		marks = hash_create("goflow task marks", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	memset(&key, 0, sizeof(key));
	namestrcpy(&key.queue, queue);
	key.role = role;
	mark = hash_search(marks, &key, HASH_ENTER, &found);
	if (!found)
		mark->from = mark->full_look_at = DT_NOBEGIN;
	return mark;
}

static void
sweep(const char *queue, Oid role, TimestampTz from, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, OIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {
		CStringGetTextDatum(queue), ObjectIdGetDatum(role), TimestampTzGetDatum(now),
		TimestampTzGetDatum(from)
	};

	if (SPI_execute_plan(goflow_owner_plan(&plan, sweep_query, lengthof(types), types), values,
						 NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not sweep a queue");
}

/* Claims up to max of the tasks of one role. */
static int
claim_of_role(const char *queue, Oid role, const char *worker, int64 lease, int max,
			  Tuplestorestate *result, TupleDesc tupdesc, TimestampTz *lease_until)
{
	static SPIPlanPtr plan = NULL;
	TimestampTz now = GetCurrentTimestamp();
	Mark	   *mark = find_mark(queue, role);
	bool		is_full = now >= mark->full_look_at;
	TimestampTz from = is_full ? DT_NOBEGIN : mark->from;
	TimestampTz oldest = now;
	Oid			types[] = {TEXTOID, OIDOID, INT8OID, TIMESTAMPTZOID, TEXTOID, INT8OID, OIDOID, OIDOID,
	TIMESTAMPTZOID};
	Datum		values[] = {
		CStringGetTextDatum(queue), ObjectIdGetDatum(role), Int64GetDatum(max),
		TimestampTzGetDatum(now), worker ? CStringGetTextDatum(worker) : (Datum) 0,
		Int64GetDatum(lease), ObjectIdGetDatum(GetUserId()), ObjectIdGetDatum(MyDatabaseId),
		TimestampTzGetDatum(from)
	};
	char		nulls[] = "         ";
	GoflowOwnerScope scope;
	int			claimed;

	nulls[4] = worker ? ' ' : 'n';
	nulls[5] = lease > 0 ? ' ' : 'n';
	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, claim_query, lengthof(types), types), values,
						 nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not claim tasks");
	claimed = (int) SPI_processed;
	for (int i = 0; i < claimed; i++)
	{
		Datum		row[CLAIM_COLUMNS + 1];
		bool		row_nulls[CLAIM_COLUMNS + 1];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row, row_nulls);
		*lease_until = Min(*lease_until, DatumGetTimestampTz(row[CLAIM_COLUMNS - 1]));
		oldest = Min(oldest, DatumGetTimestampTz(row[CLAIM_COLUMNS]));
		tuplestore_putvalues(result, tupdesc, row, row_nulls);
	}
	if (claimed < max)
		sweep(queue, role, from, now);
	goflow_owner_end(&scope);

	/* the older ones are others' by now, or were none */
	if (is_full || oldest - GOFLOW_COMMIT_LAG > mark->from)
		mark->from = oldest - GOFLOW_COMMIT_LAG;
	if (is_full)
		mark->full_look_at = GetCurrentTimestamp() + FULL_LOOK_SHARE * (GetCurrentTimestamp() - now);
	return claimed;
}

int
goflow_tasks_claim(const char *queue, const char *worker, int64 lease, int max,
				   Tuplestorestate *result, TupleDesc tupdesc, TimestampTz *lease_until)
{
	int			claimed = 0;
	ListCell   *lc;

	foreach(lc, find_roles(queue))
	{
		if (claimed == max)
			break;
		claimed += claim_of_role(queue, lfirst_oid(lc), worker, lease, max - claimed, result,
								 tupdesc, lease_until);
	}
	return claimed;
}

static const char claim_read_query[] =
	"SELECT t.execution_id, e.workflow_id, t.node, t.queue, t.run_as, e.priority, t.state,"
	"  coalesce(t.available_at <= clock_timestamp(), false)"
	" FROM goflow.task t JOIN goflow.execution e ON e.execution_id = t.execution_id WHERE t.claim = $1";

GoflowTaskClaim *
goflow_task_claim_read(const pg_uuid_t *claim)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[] = {UUIDOID};
	Datum		values[] = {UUIDPGetDatum(claim)};
	GoflowOwnerScope scope;
	GoflowTaskClaim *found = NULL;

	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, claim_read_query, lengthof(types), types), values,
						 NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read a claim");
	if (SPI_processed > 0)
	{
		Datum		row[8];
		bool		isnull;

		for (int i = 0; i < lengthof(row); i++)
			row[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &isnull);
		found = MemoryContextAlloc(caller, sizeof(GoflowTaskClaim));
		found->execution_id = *DatumGetUUIDP(row[0]);
		found->workflow_id = DatumGetInt32(row[1]);
		found->node = DatumGetInt16(row[2]);
		found->queue = MemoryContextStrdup(caller, TextDatumGetCString(row[3]));
		found->run_as = DatumGetObjectId(row[4]);
		found->priority = DatumGetInt16(row[5]);
		found->state = DatumGetChar(row[6]);
		found->is_expired = DatumGetBool(row[7]);
	}
	goflow_owner_end(&scope);
	return found;
}

#define CLAIM_IS_GOOD \
	" WHERE t.claim = $1 AND t.state = 'w' AND t.available_at > clock_timestamp()" \
	"  AND EXISTS (SELECT FROM goflow.pending p WHERE p.execution_id = t.execution_id" \
	"   AND p.frame = t.frame AND p.node = t.node AND p.attempt = t.attempt AND p.kind = 'k')"

static const char heartbeat_query[] =
	"UPDATE goflow.task t SET heartbeat_at = clock_timestamp(), progress = coalesce($2, t.progress),"
	"  available_at = clock_timestamp() + t.claimed_for * interval '1 microsecond'"
	CLAIM_IS_GOOD " RETURNING t.available_at";

bool
goflow_task_heartbeat(const pg_uuid_t *claim, Jsonb *progress, TimestampTz *lease_until)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, JSONBOID};
	Datum		values[] = {UUIDPGetDatum(claim), JsonbPGetDatum(progress)};
	const char *nulls = progress ? "  " : " n";
	GoflowOwnerScope scope;
	bool		is_good;

	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, heartbeat_query, lengthof(types), types), values,
						 nulls, false, 0) != SPI_OK_UPDATE_RETURNING)
		elog(ERROR, "could not extend a lease");
	is_good = SPI_processed > 0;
	if (is_good)
	{
		bool		isnull;

		*lease_until = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
														 1, &isnull));
	}
	goflow_owner_end(&scope);
	return is_good;
}

static const char answer_query[] =
	"UPDATE goflow.task t SET state = $2, output = $3, error = $4, available_at = NULL" CLAIM_IS_GOOD;

bool
goflow_task_answer(const pg_uuid_t *claim, char state, ArrayType *output, Jsonb *error)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, CHAROID, TEXTARRAYOID, JSONBOID};
	Datum		values[] = {
		UUIDPGetDatum(claim), CharGetDatum(state), PointerGetDatum(output), JsonbPGetDatum(error)
	};
	char		nulls[] = "    ";
	GoflowOwnerScope scope;
	bool		is_good;

	nulls[2] = output ? ' ' : 'n';
	nulls[3] = error ? ' ' : 'n';
	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, answer_query, lengthof(types), types), values,
						 nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not store the answer to a task");
	is_good = SPI_processed > 0;
	goflow_owner_end(&scope);
	return is_good;
}

/* ---- who may claim ---- */

static const char may_claim_query[] =
	"SELECT FROM goflow.queue_grant g"
	" WHERE g.queue = $1 AND g.owner = $2 AND pg_has_role($3, g.grantee, 'USAGE')";

bool
goflow_queue_may_claim(const char *queue, Oid run_as)
{
	static SPIPlanPtr plan = NULL;
	Oid			user = GetUserId();
	Oid			types[] = {TEXTOID, OIDOID, OIDOID};
	Datum		values[] = {
		CStringGetTextDatum(queue), ObjectIdGetDatum(run_as), ObjectIdGetDatum(user)
	};
	GoflowOwnerScope scope;
	bool		may;

	if (has_privs_of_role(user, run_as))
		return true;
	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, may_claim_query, lengthof(types), types), values,
						 NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the grants of a queue");
	may = SPI_processed > 0;
	goflow_owner_end(&scope);
	return may;
}

static void
change_grant(const char *query, int expected, const char *queue, Oid role)
{
	Oid			types[] = {TEXTOID, OIDOID, OIDOID};
	Datum		values[] = {
		CStringGetTextDatum(queue), ObjectIdGetDatum(GetUserId()), ObjectIdGetDatum(role)
	};
	GoflowOwnerScope scope;

	goflow_owner_begin(&scope);
	if (SPI_execute_with_args(query, lengthof(types), types, values, NULL, false, 0) != expected)
		elog(ERROR, "could not change the grants of a queue");
	goflow_owner_end(&scope);
}

void
goflow_queue_grant(const char *queue, Oid role)
{
	change_grant("INSERT INTO goflow.queue_grant (queue, owner, grantee) VALUES ($1, $2, $3)"
				 " ON CONFLICT DO NOTHING", SPI_OK_INSERT, queue, role);
}

void
goflow_queue_revoke(const char *queue, Oid role)
{
	change_grant("DELETE FROM goflow.queue_grant WHERE queue = $1 AND owner = $2 AND grantee = $3",
				 SPI_OK_DELETE, queue, role);
}
