/*
 * wait.c
 *		What waits for somebody outside, of whatever kind: what is told of it,
 *		and its end.
 *
 * Nobody is told of an approval or a task by who makes it: the scheduler looks
 * for what is new, and for what a moment that has come makes worth telling
 * (a reminder, a lease that is over), and sends messages.  They are hints.  It
 * looks no further back than it must: the indexes may be full of what is done,
 * as long as somebody keeps an old snapshot.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/json.h"

/* ---- the end of an execution ---- */

static void
delete_rows(SPIPlanPtr *plan, const char *query, const pg_uuid_t *id)
{
	Oid			types[] = {UUIDOID};
	Datum		values[] = {UUIDPGetDatum(id)};

	if (SPI_execute_plan(goflow_owner_plan(plan, query, lengthof(types), types), values, NULL,
						 false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete what an execution waited for");
}

/*
 * What is left of executions that have ended: signals that nobody has
 * consumed, and what was withdrawn while somebody held it.  What somebody still
 * holds goes when he lets go, and wakes the execution.
 */
void
goflow_waits_delete(List *ids)
{
	static SPIPlanPtr signals = NULL;
	static SPIPlanPtr approvals = NULL;
	static SPIPlanPtr tasks = NULL;
	GoflowOwnerScope scope;
	ListCell   *lc;

	/* what was consumed in this transaction has gone already */
	CommandCounterIncrement();
	goflow_owner_begin(&scope);
	foreach(lc, ids)
	{
		const pg_uuid_t *id = lfirst(lc);

		delete_rows(&signals, "DELETE FROM goflow.signal WHERE execution_id = $1", id);
		delete_rows(&approvals, "DELETE FROM goflow.approval WHERE ctid = ANY (ARRAY("
					"SELECT ctid FROM goflow.approval WHERE execution_id = $1 FOR UPDATE SKIP LOCKED))", id);
		delete_rows(&tasks, "DELETE FROM goflow.task WHERE ctid = ANY (ARRAY("
					"SELECT ctid FROM goflow.task WHERE execution_id = $1 FOR UPDATE SKIP LOCKED))", id);
	}
	goflow_owner_end(&scope);
}

/* ---- announcements ---- */

/*
 * Approvals to be told of, and when they are to be told of again.  Rows that
 * somebody holds are being decided; those without a pending are forgotten.
 */
static const char approvals_query[] =
	"WITH due AS MATERIALIZED (SELECT a.execution_id, a.frame, a.node, a.attempt, a.announced_at,"
	"   EXISTS (SELECT FROM goflow.pending p WHERE p.execution_id = a.execution_id"
	"    AND p.frame = a.frame AND p.node = a.node AND p.attempt = a.attempt AND p.kind = 'a') AS waits"
	"  FROM goflow.approval a WHERE a.announce_at >= $3 AND a.announce_at <= $1 AND a.decision IS NULL"
	"  ORDER BY a.announce_at LIMIT $2 FOR UPDATE OF a SKIP LOCKED),"
	" told AS (UPDATE goflow.approval a SET announced_at = $1,"
	"   announce_at = least(CASE WHEN a.remind > 0 THEN $1 + a.remind * interval '1 microsecond' END,"
	"    CASE WHEN a.escalate_at > $1 THEN a.escalate_at END)"
	"  FROM due d WHERE (a.execution_id, a.frame, a.node, a.attempt) = (d.execution_id, d.frame, d.node, d.attempt)"
	"   AND d.waits"
	"  RETURNING a.*, d.announced_at AS before),"
	" gone AS (DELETE FROM goflow.approval a USING due d"
	"  WHERE (a.execution_id, a.frame, a.node, a.attempt) = (d.execution_id, d.frame, d.node, d.attempt)"
	"   AND NOT d.waits)"
	" SELECT t.execution_id::text, t.frame::text, t.path, pg_get_userbyid(t.role), pg_get_userbyid(t.escalate_to),"
	"  CASE WHEN t.before IS NULL THEN 'approval_waiting'"
	"   WHEN t.escalate_at <= $1 AND t.before < t.escalate_at THEN 'approval_escalated'"
	"   ELSE 'approval_reminder' END,"
	"  coalesce(t.escalate_at <= $1, false)::text"
	" FROM told t";

static const char approvals_next_query[] =
	"SELECT announce_at FROM goflow.approval WHERE announce_at > $1 ORDER BY announce_at LIMIT 1";

/* Queues, whether tasks could be claimed since a moment, and when there will be more. */
static const char queues_query[] =
	"SELECT q.queue, bool_or(EXISTS (SELECT FROM goflow.task t WHERE t.queue = q.queue"
	"    AND t.run_as = q.run_as AND t.available_at >= $2 AND t.available_at <= $1)),"
	"  min((SELECT t.available_at FROM goflow.task t WHERE t.queue = q.queue AND t.run_as = q.run_as"
	"    AND t.available_at > $1 ORDER BY t.available_at LIMIT 1))"
	" FROM goflow.task_queue q GROUP BY q.queue";

/* Approvals that are told of in one transaction. */
#define PAGE 500

static GoflowAnnouncement *
make_approval(HeapTuple tuple, TupleDesc tupdesc, char *role, const char *event)
{
	GoflowAnnouncement *announcement = palloc(sizeof(GoflowAnnouncement));
	StringInfoData payload;

	initStringInfo(&payload);
	appendStringInfo(&payload, "{\"event\":\"%s\",\"execution\":\"%s\",\"frame\":%s,\"node\":", event,
					 SPI_getvalue(tuple, tupdesc, 1), SPI_getvalue(tuple, tupdesc, 2));
	escape_json(&payload, SPI_getvalue(tuple, tupdesc, 3));
	appendStringInfoString(&payload, ",\"role\":");
	escape_json(&payload, role);
	appendStringInfoChar(&payload, '}');
	announcement->is_public = true;
	announcement->channel = "goflow_approvals";
	announcement->payload = payload.data;
	return announcement;
}

static List *
announce_approvals(TimestampTz since, TimestampTz now, TimestampTz *next, MemoryContext context)
{
	static SPIPlanPtr plan = NULL;
	static SPIPlanPtr next_plan = NULL;
	Oid			types[] = {TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID};
	Datum		values[] = {
		TimestampTzGetDatum(now), Int64GetDatum(PAGE), TimestampTzGetDatum(since)
	};
	List	   *announcements = NIL;
	bool		isnull;

	if (SPI_execute_plan(goflow_owner_plan(&plan, approvals_query, lengthof(types), types), values,
						 NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the approvals to be announced");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		MemoryContext old = MemoryContextSwitchTo(context);
		char	   *event = SPI_getvalue(tuple, tupdesc, 6);
		bool		is_escalated = strcmp(event, "approval_escalated") == 0;
		bool		both = strcmp(SPI_getvalue(tuple, tupdesc, 7), "true") == 0;

		if (!is_escalated)
			announcements = lappend(announcements, make_approval(tuple, tupdesc,
																 SPI_getvalue(tuple, tupdesc, 4), event));
		if (both)
			announcements = lappend(announcements, make_approval(tuple, tupdesc,
																 SPI_getvalue(tuple, tupdesc, 5), event));
		MemoryContextSwitchTo(old);
	}
	if (SPI_processed == PAGE)
	{
		*next = Min(*next, now);	/* there are more */
		return announcements;
	}
	if (SPI_execute_plan(goflow_owner_plan(&next_plan, approvals_next_query, 1, types), values, NULL,
						 true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the next approval to be announced");
	if (SPI_processed > 0)
		*next = Min(*next, DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
															 SPI_tuptable->tupdesc, 1, &isnull)));
	return announcements;
}

static List *
announce_queues(TimestampTz since, TimestampTz now, TimestampTz *next, MemoryContext context)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {TimestampTzGetDatum(now), TimestampTzGetDatum(since)};
	List	   *announcements = NIL;

	if (SPI_execute_plan(goflow_owner_plan(&plan, queues_query, lengthof(types), types), values,
						 NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the queues to be announced");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		later = SPI_getbinval(tuple, tupdesc, 3, &isnull);

		if (!isnull)
			*next = Min(*next, DatumGetTimestampTz(later));
		if (DatumGetBool(SPI_getbinval(tuple, tupdesc, 2, &isnull)))
		{
			MemoryContext old = MemoryContextSwitchTo(context);
			GoflowAnnouncement *announcement = palloc(sizeof(GoflowAnnouncement));

			announcement->is_public = false;
			announcement->channel = psprintf("goflow_tasks_%s", SPI_getvalue(tuple, tupdesc, 1));
			announcement->payload = "";
			announcements = lappend(announcements, announcement);
			MemoryContextSwitchTo(old);
		}
	}
	return announcements;
}

List *
goflow_waits_announce(TimestampTz since, TimestampTz now, TimestampTz *next)
{
	MemoryContext context = CurrentMemoryContext;
	GoflowOwnerScope scope;
	List	   *approvals;
	List	   *queues;

	*next = DT_NOEND;
	goflow_owner_begin(&scope);
	approvals = announce_approvals(since, now, next, context);
	queues = announce_queues(since, now, next, context);
	goflow_owner_end(&scope);
	return list_concat(approvals, queues);
}

/* ---- what has waited longest ---- */

/*
 * One row per kind that there is: two short reads of an index each, the second
 * of which ends at $1 waits.
 */
static const char oldest_query[] =
	"SELECT k.kind, n.waits, p.execution_id, p.node, p.started_at, p.due_at"
	" FROM unnest('{d,r,w,s,a,k}'::\"char\"[]) WITH ORDINALITY AS k(kind, place)"
	"  CROSS JOIN LATERAL (SELECT p.* FROM goflow.pending p"
	"   WHERE p.kind IN ('d', 'r', 'w', 's', 'a', 'k') AND p.kind = k.kind ORDER BY p.started_at LIMIT 1) p"
	"  CROSS JOIN LATERAL (SELECT count(*) AS waits FROM (SELECT FROM goflow.pending p"
	"   WHERE p.kind IN ('d', 'r', 'w', 's', 'a', 'k') AND p.kind = k.kind LIMIT $1) p) n"
	" ORDER BY k.place";

List *
goflow_waits_read_oldest(int64 max)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT8OID};
	Datum		args[] = {Int64GetDatum(max)};
	MemoryContext context = CurrentMemoryContext;
	List	   *waits = NIL;
	GoflowOwnerScope scope;

	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, oldest_query, lengthof(types), types), args, NULL,
						 true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read what waits");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		MemoryContext old = MemoryContextSwitchTo(context);
		GoflowOldestWait *wait = palloc0(sizeof(GoflowOldestWait));
		Datum		due_at;
		bool		isnull;

		wait->kind = DatumGetChar(SPI_getbinval(tuple, tupdesc, 1, &isnull));
		wait->waits = DatumGetInt64(SPI_getbinval(tuple, tupdesc, 2, &isnull));
		wait->execution_id = *DatumGetUUIDP(SPI_getbinval(tuple, tupdesc, 3, &isnull));
		wait->node = DatumGetInt16(SPI_getbinval(tuple, tupdesc, 4, &isnull));
		wait->started_at = DatumGetTimestampTz(SPI_getbinval(tuple, tupdesc, 5, &isnull));
		due_at = SPI_getbinval(tuple, tupdesc, 6, &isnull);
		wait->due_at = isnull ? 0 : DatumGetTimestampTz(due_at);
		waits = lappend(waits, wait);
		MemoryContextSwitchTo(old);
	}
	goflow_owner_end(&scope);
	return waits;
}
