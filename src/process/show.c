/*
 * show.c
 *		What the views goflow.workers, queue, tracker and messages show: shared
 *		memory as it is, for who runs the server.
 *
 * Everything is copied under the lock, and looked up after it was released.
 * The names of workflows and nodes are known of the current database only.
 *
 * Who may execute these functions is a matter of rights (70_processes.sql):
 * they show what belongs to anybody, as health() does.
 */
#include "postgres.h"

#include "process/shared.h"

#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "store/store.h"

PG_FUNCTION_INFO_V1(goflow_worker_list);
PG_FUNCTION_INFO_V1(goflow_queue_list);
PG_FUNCTION_INFO_V1(goflow_tracker_show);
PG_FUNCTION_INFO_V1(goflow_message_show);

/* ---- workers ---- */

typedef struct WorkerCopy
{
	GoflowWorkerSlot slot;
	int			claims;
	bool		has_mark;		/* it drives, and runs that node */
	pg_uuid_t	execution_id;
	int			frame;
	int			node;
} WorkerCopy;

static int
count_claims(dlist_head *claims)
{
	dlist_iter	iter;
	int			n = 0;

	dlist_foreach(iter, claims)
		n++;
	return n;
}

static int
copy_workers(WorkerCopy *copies)
{
	GoflowControl *control = goflow_control;
	int			n = 0;

	goflow_lock(LW_SHARED);
	for (int i = 0; i < control->nslots; i++)
	{
		WorkerCopy *copy = &copies[n];

		if (control->slots[i].state == GOFLOW_SLOT_FREE)
			continue;
		copy->slot = control->slots[i];
		copy->claims = count_claims(&control->slots[i].claims);
		copy->has_mark = copy->claims > 0 && !copy->slot.running &&
			goflow_mark_read(i, &copy->execution_id, &copy->frame, &copy->node);
		n++;
	}
	goflow_unlock();
	return n;
}

/* Sets workflow, version and node from values[5] on, if the execution is there. */
static void
set_names(Datum *values, bool *nulls, const pg_uuid_t *execution_id, int node)
{
	GoflowExecutionRow *row = goflow_execution_read(execution_id);
	GoflowDefinition *definition;

	if (row == NULL)
		return;
	definition = goflow_workflow_load(row->workflow_id);
	values[5] = CStringGetTextDatum(definition->name);
	values[6] = Int32GetDatum(definition->version);
	nulls[5] = nulls[6] = false;
	if (node < 0 || node >= definition->nnodes)
		return;
	values[7] = CStringGetTextDatum(definition->nodes[node]->path);
	nulls[7] = false;
}

/*
 * worker_list() returns setof (pid, database, role, state, execution, workflow,
 * version, node, frame, attempt, executions, cancelling, since)
 *
 * One row per worker, also those of other databases.  A worker that drives has
 * the node that it runs at this moment; the attempt is known of nodes in node
 * mode.  since: of the node, or of the state.
 */
Datum
goflow_worker_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WorkerCopy *copies;
	int			n;

	goflow_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	copies = palloc0(goflow_control->nslots * sizeof(WorkerCopy));
	n = copy_workers(copies);
	for (int i = 0; i < n; i++)
	{
		GoflowWorkerSlot *slot = &copies[i].slot;
		char	   *database = get_database_name(slot->database);
		pg_uuid_t  *execution = slot->running ? &slot->instance.execution_id :
			copies[i].has_mark ? &copies[i].execution_id : NULL;
		TimestampTz since = slot->running ? slot->instance.started_at :
			slot->state == GOFLOW_SLOT_IDLE || slot->state == GOFLOW_SLOT_WOKEN ? slot->idle_since :
			slot->state == GOFLOW_SLOT_BUSY ? slot->busy_since : 0;
		Datum		values[13] = {0};
		bool		nulls[13];

		CHECK_FOR_INTERRUPTS();
		memset(nulls, true, sizeof(nulls));
		values[0] = Int32GetDatum(slot->pid);
		nulls[0] = slot->pid == 0;
		if (database)
			values[1] = CStringGetTextDatum(database);
		nulls[1] = database == NULL;
		values[2] = ObjectIdGetDatum(slot->role);
		values[3] = CStringGetTextDatum(goflow_slot_state_name(slot->state));
		nulls[2] = nulls[3] = false;
		if (execution)
		{
			values[4] = UUIDPGetDatum(execution);
			nulls[4] = false;
			if (slot->database == MyDatabaseId)
				set_names(values, nulls, execution,
						  slot->running ? slot->instance.node : copies[i].node);
		}
		values[8] = Int32GetDatum(slot->running ? slot->instance.frame : copies[i].frame);
		nulls[8] = execution == NULL;
		values[9] = Int32GetDatum(slot->instance.attempt);
		nulls[9] = !slot->running;
		values[10] = Int32GetDatum(copies[i].claims);
		values[11] = BoolGetDatum(slot->running && slot->cancel_requested);
		nulls[10] = nulls[11] = false;
		values[12] = TimestampTzGetDatum(since);
		nulls[12] = since == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- the queue ---- */

typedef enum WorkKind
{
	WORK_QUEUED,
	WORK_DRIVEN,
	WORK_OFFERED
} WorkKind;

/* Something in the queue of this database. */
typedef struct WorkCopy
{
	pg_uuid_t	execution_id;
	WorkKind	kind;
	int			priority;
	Oid			role;
	TimestampTz at;				/* since when it waits; of what is driven: 0 */
} WorkCopy;

typedef struct WorkKey
{
	int			workflow_id;
	int			priority;
	Oid			role;
} WorkKey;

typedef struct WorkGroup
{
	WorkKey		key;
	int64		counts[WORK_OFFERED + 1];
	TimestampTz oldest;			/* DT_NOEND: nothing waits */
} WorkGroup;

/* At most goflow.queue_size entries and GOFLOW_MAX_INSTANCES offers. */
static int
copy_work(WorkCopy *copies, int max)
{
	GoflowControl *control = goflow_control;
	HASH_SEQ_STATUS status;
	GoflowEntry *entry;
	int			n = 0;

	goflow_lock(LW_SHARED);
	hash_seq_init(&status, goflow_queue);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.database != MyDatabaseId || n == max)
			continue;
		copies[n++] = (WorkCopy) {
			.execution_id = entry->key.execution_id,
			.kind = entry->claimed ? WORK_DRIVEN : WORK_QUEUED,
			.priority = entry->priority,
			.role = control->pools[entry->pool].role,
			.at = entry->claimed ? 0 : entry->rank + entry->priority * GOFLOW_PRIORITY_AGE,
		};
	}
	for (int i = 0; control->offered > 0 && i < control->noffers && n < max; i++)
	{
		GoflowOffer *offer = &control->offers[i];

		if (offer->pool < 0 || control->pools[offer->pool].database != MyDatabaseId)
			continue;
		copies[n++] = (WorkCopy) {
			.execution_id = offer->instance.execution_id,
			.kind = WORK_OFFERED,
			.role = control->pools[offer->pool].role,
			.at = offer->at,
		};
	}
	goflow_unlock();
	return n;
}

static void
add_work(HTAB *groups, const WorkCopy *work)
{
	GoflowExecutionRow *row = goflow_execution_read(&work->execution_id);
	WorkKey		key;
	WorkGroup  *group;
	bool		found;

	if (row == NULL)
		return;
	memset(&key, 0, sizeof(key));
	key.workflow_id = row->workflow_id;
	key.priority = work->kind == WORK_OFFERED ? row->priority : work->priority;
	key.role = work->role;
	group = hash_search(groups, &key, HASH_ENTER, &found);
	if (!found)
	{
		memset(group->counts, 0, sizeof(group->counts));
		group->oldest = DT_NOEND;
	}
	group->counts[work->kind]++;
	if (work->at != 0)
		group->oldest = Min(group->oldest, work->at);
}

/*
 * queue_list() returns setof (workflow, role, priority, queued, driven, nodes,
 * oldest)
 *
 * Of this database: executions that wait for a worker or have one, and nodes
 * that wait for one.  Looks every execution up that is in the queue, so
 * goflow.queue_size bounds what it costs; versions of a workflow have a row each.
 */
Datum
goflow_queue_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	HASHCTL		ctl = {.keysize = sizeof(WorkKey), .entrysize = sizeof(WorkGroup), .hcxt = CurrentMemoryContext};
	HTAB	   *groups = hash_create("goflow queue groups", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	MemoryContext lookups = AllocSetContextCreate(CurrentMemoryContext, "goflow lookups", ALLOCSET_DEFAULT_SIZES);
	HASH_SEQ_STATUS status;
	WorkGroup  *group;
	WorkCopy   *copies;
	int			max;
	int			n;

	goflow_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	max = goflow_queue_size + GOFLOW_MAX_INSTANCES;
	copies = MemoryContextAllocHuge(CurrentMemoryContext, max * sizeof(WorkCopy));
	n = copy_work(copies, max);
	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(lookups);

		CHECK_FOR_INTERRUPTS();
		add_work(groups, &copies[i]);
		MemoryContextSwitchTo(old);
		MemoryContextReset(lookups);
	}

	hash_seq_init(&status, groups);
	while ((group = hash_seq_search(&status)) != NULL)
	{
		Datum		values[7];
		bool		nulls[7] = {0};

		values[0] = CStringGetTextDatum(goflow_workflow_name(group->key.workflow_id));
		values[1] = ObjectIdGetDatum(group->key.role);
		values[2] = Int32GetDatum(group->key.priority);
		for (int kind = WORK_QUEUED; kind <= WORK_OFFERED; kind++)
			values[3 + kind] = Int64GetDatum(group->counts[kind]);
		values[6] = TimestampTzGetDatum(group->oldest);
		nulls[6] = group->oldest == DT_NOEND;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- tracker and messages ---- */

static Datum
make_record(FunctionCallInfo fcinfo, Datum *values)
{
	TupleDesc	tupdesc;
	bool		nulls[8] = {0};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}

/* tracker_show() returns (slots, used, free, rebuilt, refused): of the server, counted since its start */
Datum
goflow_tracker_show(PG_FUNCTION_ARGS)
{
	GoflowTrackerCounts counts;
	Datum		values[5];

	goflow_require_preloaded();
	goflow_tracker_read_counts(&counts);
	values[0] = Int32GetDatum(counts.slots);
	values[1] = Int32GetDatum(counts.used);
	values[2] = Int32GetDatum(Max(counts.slots - counts.used, 0));
	values[3] = Int64GetDatum((int64) counts.rebuilt);
	values[4] = Int64GetDatum((int64) counts.refused);
	PG_RETURN_DATUM(make_record(fcinfo, values));
}

/*
 * message_show() returns (sent, overwritten, unsent, dropped, subscriptions,
 * max_subscriptions): of the server, counted since its start
 */
Datum
goflow_message_show(PG_FUNCTION_ARGS)
{
	Datum		values[6];
	uint64		overwritten;
	uint64		sent;
	uint64		unsent;
	int			subscriptions = 0;

	goflow_require_preloaded();
	overwritten = goflow_message_dropped();
	goflow_lock(LW_SHARED);
	sent = goflow_control->messages_sent;
	unsent = goflow_control->messages_unsent;
	goflow_unlock();
	for (int i = 0; i < goflow_subscription_slots(); i++)
	{
		GoflowSubscription sub;
		uint64		to;
		uint64		dropped;

		subscriptions += goflow_subscription_read(i, &sub, &to, &dropped);
	}
	values[0] = Int64GetDatum((int64) sent);
	values[1] = Int64GetDatum((int64) overwritten);
	values[2] = Int64GetDatum((int64) unsent);
	values[3] = Int64GetDatum((int64) (overwritten + unsent));
	values[4] = Int32GetDatum(subscriptions);
	values[5] = Int32GetDatum(goflow_max_subscriptions);
	PG_RETURN_DATUM(make_record(fcinfo, values));
}
