/*
 * queue.c
 *		Pools, the queue of executions, claims, and offered nodes.
 *
 * A pool is the work and the workers of one role in one database.  Its queue
 * is a heap in order of rank: the moment when the execution was queued, moved
 * back by its priority.  The rank never changes while it is queued, and still
 * nothing starves: what is queued later has, at some point, a later rank at
 * any priority.
 *
 * Workers are counted on in this order: those that are coming (starting, or
 * woken and not yet there), then idle ones, which are woken, then new ones,
 * which the launcher is asked for.  So a burst wakes as many workers as it has
 * executions, once.  But what fast workers are at by the hundred needs no more of
 * them than there are processors (bulk.c).
 *
 * A worker takes its share of the queue, not all of it, or the workers that
 * are on their way would find nothing.
 *
 * Nothing here raises an error with the lock held; the parts that run at
 * commit (wake.c) allocate nothing either, as the hash has a fixed size.
 */
#include "postgres.h"

#include "process/shared.h"

#include "miscadmin.h"
#include "utils/hsearch.h"

static int
compare_rank(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const GoflowEntry *left = pairingheap_const_container(GoflowEntry, node, a);
	const GoflowEntry *right = pairingheap_const_container(GoflowEntry, node, b);

	/* pairing heaps have the largest on top */
	if (left->rank != right->rank)
		return left->rank < right->rank ? 1 : -1;
	/* started in one transaction: their rows are side by side */
	return memcmp(&right->key.execution_id, &left->key.execution_id, UUID_LEN);
}

/* The heap with a comparison function that is valid in this process. */
static pairingheap *
queue_of(GoflowPool *pool)
{
	pool->queue.ph_compare = compare_rank;
	return &pool->queue;
}

/* ---- pools ---- */

int
goflow_pool_workers_locked(const GoflowPool *pool)
{
	return pool->workers[GOFLOW_SLOT_STARTING] + pool->workers[GOFLOW_SLOT_IDLE] +
		pool->workers[GOFLOW_SLOT_WOKEN] + pool->workers[GOFLOW_SLOT_BUSY];
}

static bool
is_disposable(const GoflowPool *pool)
{
	return !OidIsValid(pool->database) ||
		(pool->queued == 0 && pool->claimed == 0 && pool->offered == 0 && !pool->parked &&
		 goflow_pool_workers_locked(pool) == 0);
}

/* Finds or makes a pool; NULL if there are too many of them at work. */
GoflowPool *
goflow_pool_get_locked(Oid database, Oid role)
{
	static int	last = 0;
	GoflowPool *pool = &goflow_control->pools[last];

	if (pool->database == database && pool->role == role)
		return pool;
	for (int i = 0; i < goflow_control->npools; i++)
	{
		pool = &goflow_control->pools[i];
		if (pool->database == database && pool->role == role)
		{
			last = i;
			return pool;
		}
	}
	for (int i = 0; i < GOFLOW_MAX_POOLS; i++)
	{
		pool = &goflow_control->pools[i];
		if (!is_disposable(pool))
			continue;
		memset(pool, 0, sizeof(GoflowPool));
		pool->database = database;
		pool->role = role;
		dlist_init(&pool->offers);
		goflow_control->npools = Max(goflow_control->npools, i + 1);
		last = i;
		return pool;
	}
	goflow_control->pools_refused++;
	return NULL;
}

/* When the pool's oldest work was queued, moved by its priority. */
TimestampTz
goflow_pool_oldest_locked(GoflowPool *pool)
{
	TimestampTz oldest = DT_NOEND;

	if (pool->offered > 0)
		oldest = dlist_head_element(GoflowOffer, link, &pool->offers)->at;
	if (pool->queued > 0)
	{
		pairingheap_node *first = pairingheap_first(queue_of(pool));

		oldest = Min(oldest, pairingheap_container(GoflowEntry, node, first)->rank);
	}
	return oldest;
}

/* The worker of the pool that was busy last: it may still be awake, and others may leave.  NULL: none is idle. */
static GoflowWorkerSlot *
last_idle(const GoflowPool *pool)
{
	GoflowWorkerSlot *last = NULL;

	for (int i = 0; pool->workers[GOFLOW_SLOT_IDLE] > 0 && i < goflow_control->nslots; i++)
	{
		GoflowWorkerSlot *slot = &goflow_control->slots[i];

		if (slot->state == GOFLOW_SLOT_IDLE && slot->pool == pool - goflow_control->pools &&
			(last == NULL || slot->idle_since > last->idle_since))
			last = slot;
	}
	return last;
}

/*
 * Sees to it that somebody takes the pool's work.  coming: workers that will
 * take some in any case, beside those that the pool knows of.
 */
void
goflow_pool_wake_locked(GoflowPool *pool, int coming)
{
	int			work = pool->queued + pool->offered;
	GoflowWorkerSlot *slot;

	/* who rests looks again of its own */
	if (pool->workers[GOFLOW_SLOT_IDLE] > 0 && goflow_bulk_is_served_locked(pool))
		work = pool->offered;
	coming += pool->workers[GOFLOW_SLOT_STARTING] + pool->workers[GOFLOW_SLOT_WOKEN];
	while (work > coming && (slot = last_idle(pool)) != NULL)
	{
		goflow_slot_set_state_locked(slot, GOFLOW_SLOT_WOKEN);
		SetLatch(slot->latch);
		coming++;
	}

	if (work <= coming)
		pool->want = false;
	else if (!pool->want)
	{
		pool->want = true;
		goflow_launcher_wake_locked();
	}
}

/* ---- the queue ---- */

static GoflowEntry *
find_entry(Oid database, const pg_uuid_t *execution_id)
{
	GoflowKey	key = {database, *execution_id};

	return hash_search(goflow_queue, &key, HASH_FIND, NULL);
}

/* Forgets an entry that is in no heap or list any more. */
static void
remove_entry(GoflowEntry *entry)
{
	GoflowKey	key = entry->key;

	entry->claimed = false;		/* who had claimed it still has its address: see my_claim() */
	hash_search(goflow_queue, &key, HASH_REMOVE, NULL);
	goflow_control->entries--;

	/* schedulers that could not queue all there is go on when half is free */
	if (goflow_control->wants_room && goflow_control->entries <= goflow_queue_size / 2)
	{
		goflow_control->wants_room = false;
		for (int i = 0; i < goflow_control->ndatabases; i++)
		{
			GoflowDatabase *db = &goflow_control->databases[i];

			if (db->wants_room && db->latch)
				SetLatch(db->latch);
		}
	}
}

static void
enqueue(GoflowEntry *entry, TimestampTz now)
{
	GoflowPool *pool = &goflow_control->pools[entry->pool];

	entry->claimed = false;
	entry->woken = false;
	entry->rank = now - entry->priority * GOFLOW_PRIORITY_AGE;
	pairingheap_add(queue_of(pool), &entry->node);
	pool->queued++;
}

static GoflowEntry *
dequeue(GoflowPool *pool)
{
	pairingheap_node *first = pairingheap_remove_first(queue_of(pool));

	pool->queued--;
	return pairingheap_container(GoflowEntry, node, first);
}

/*
 * Queues an execution.  False if there is no room for it.  What a pool that
 * cannot run is given is dropped: all of it is read again when it can.
 */
bool
goflow_queue_push_locked(Oid database, const pg_uuid_t *execution_id, Oid role, int priority,
						 TimestampTz now, int coming)
{
	GoflowEntry *entry = find_entry(database, execution_id);
	GoflowPool *pool;
	GoflowKey	key = {database, *execution_id};

	if (entry)
	{
		pool = &goflow_control->pools[entry->pool];
		if (entry->claimed)
			entry->woken = true;
		else if (priority > entry->priority)
		{
			pairingheap_remove(queue_of(pool), &entry->node);
			pool->queued--;
			entry->priority = priority;
			enqueue(entry, now);
		}
		return true;
	}

	/* too many pools at work: the periodic rescan finds it */
	pool = goflow_pool_get_locked(database, role);
	if (pool == NULL || pool->parked)
		return true;

	if (goflow_control->entries >= goflow_queue_size)
		return false;
	entry = hash_search(goflow_queue, &key, HASH_ENTER_NULL, NULL);
	if (entry == NULL)
		return false;
	goflow_control->entries++;
	entry->alone = false;
	entry->pool = pool - goflow_control->pools;
	entry->priority = priority;
	enqueue(entry, now);
	goflow_pool_wake_locked(pool, coming);
	return true;
}

/* The largest id below an execution's own. */
static pg_uuid_t
id_before(const pg_uuid_t *execution_id)
{
	pg_uuid_t	id = *execution_id;

	for (int i = UUID_LEN - 1; i >= 0; i--)
		if (id.data[i]-- != 0)
			break;
	return id;
}

/* Queues an execution, or leaves it to the scheduler if there is no room. */
void
goflow_queue_wake_locked(Oid database, const pg_uuid_t *execution_id, Oid role, int priority,
						 TimestampTz now, int coming)
{
	GoflowDatabase *db = goflow_database_get_locked(database);

	if (db && db->presence != GOFLOW_PRESENCE_PRESENT)
	{
		/* the first sign of goflow there: it also needs to be recovered */
		db->presence = GOFLOW_PRESENCE_PRESENT;
		goflow_database_notify_locked(db);
	}
	if (!goflow_queue_push_locked(database, execution_id, role, priority, now, coming) && db)
	{
		pg_uuid_t	after = id_before(execution_id);

		goflow_database_rescan_locked(db, &after);
	}
}

/* The age of one that is queued stays what it is. */
void
goflow_queue_set_priority_locked(Oid database, const pg_uuid_t *execution_id, Oid role, int priority,
								 TimestampTz now)
{
	GoflowEntry *entry = find_entry(database, execution_id);
	GoflowPool *pool;

	if (entry == NULL)
	{
		goflow_queue_wake_locked(database, execution_id, role, priority, now, 0);
		return;
	}
	if (entry->claimed)
	{
		entry->priority = priority;
		entry->woken = true;
		return;
	}
	pool = &goflow_control->pools[entry->pool];
	pairingheap_remove(queue_of(pool), &entry->node);
	entry->rank += (entry->priority - priority) * GOFLOW_PRIORITY_AGE;
	entry->priority = priority;
	pairingheap_add(queue_of(pool), &entry->node);
}

/* Drops what is queued and offered in a pool; the tables still have it. */
void
goflow_pool_empty_locked(GoflowPool *pool)
{
	while (pool->queued > 0)
		remove_entry(dequeue(pool));
	while (!dlist_is_empty(&pool->offers))
	{
		GoflowOffer *offer = dlist_container(GoflowOffer, link, dlist_pop_head_node(&pool->offers));

		offer->pool = -1;
		pool->offered--;
		goflow_control->offered--;
	}
	pool->want = false;
}

/* ---- a worker takes work ---- */

static GoflowPool *
my_pool(void)
{
	return &goflow_control->pools[goflow_my_slot->pool];
}

/* Whoever has come for work, or was woken for it, does some first. */
static bool
had_its_turn(TimestampTz now)
{
	return goflow_my_slot->state == GOFLOW_SLOT_BUSY &&
		(goflow_pool_workers_locked(my_pool()) > 1 || now >= goflow_my_slot->busy_since + GOFLOW_TURN);
}

/* Has this worker's pool more than its share while others have less, and had the worker a turn? */
static bool
owes_its_place(TimestampTz now)
{
	return goflow_my_slot->state == GOFLOW_SLOT_BUSY && now >= goflow_my_slot->busy_since + GOFLOW_TURN &&
		goflow_pool_workers_locked(my_pool()) > ((volatile GoflowControl *) goflow_control)->share;
}

/*
 * Must this worker make room for others?  Then it is marked as leaving.  Who
 * has nothing to do need not have had his turn.
 */
static bool
leave_for_others(bool has_work)
{
	GoflowControl *control = goflow_control;

	if (!goflow_my_slot->leave)
	{
		if (control->surplus > 0)
			control->surplus--;
		else if (control->starving > 0 && (!has_work || had_its_turn(GetCurrentTimestamp())))
			control->starving--;
		else if (control->poor > 0 && owes_its_place(GetCurrentTimestamp()))
			control->poor--;
		else
			return false;
		goflow_slot_ask_to_leave_locked(goflow_my_slot);
	}
	return true;
}

/* What this worker took last, in that order, and where it looked last. */
static GoflowEntry *taken[GOFLOW_MAX_CLAIMS];
static int	ntaken = 0;
static int	last_taken = 0;

static void
claim(GoflowEntry *entry, pg_uuid_t *execution_id)
{
	taken[ntaken++] = entry;
	entry->claimed = true;
	entry->woken = false;
	entry->owner = goflow_my_slot - goflow_control->slots;
	dlist_push_tail(&goflow_my_slot->claims, &entry->link);
	goflow_control->pools[entry->pool].claimed++;
	*execution_id = entry->key.execution_id;
}

GoflowWorkKind
goflow_queue_take(pg_uuid_t *executions, int max, int *nexecutions, GoflowInstance *instance)
{
	GoflowPool *pool = my_pool();
	GoflowWorkKind kind = GOFLOW_WORK_NONE;
	bool		has_executions;

	Assert(max <= GOFLOW_MAX_CLAIMS);
	*nexecutions = 0;
	goflow_lock(LW_EXCLUSIVE);
	goflow_bulk_taken_locked(0);
	has_executions = pool->queued > 0 && !goflow_bulk_is_served_locked(pool);
	if (leave_for_others(pool->offered > 0 || has_executions))
	{
		/* goflow_slot_free_locked() finds somebody else for the work */
	}
	else if (pool->offered > 0)
	{
		GoflowOffer *offer = dlist_container(GoflowOffer, link, dlist_pop_head_node(&pool->offers));

		*instance = offer->instance;
		offer->pool = -1;
		pool->offered--;
		goflow_control->offered--;
		goflow_slot_set_instance_locked(goflow_my_slot, instance);
		goflow_slot_set_state_locked(goflow_my_slot, GOFLOW_SLOT_BUSY);
		kind = GOFLOW_WORK_NODE;
	}
	else if (has_executions)
	{
		int			workers = goflow_pool_workers_locked(pool);
		int			share = (pool->queued + workers - 1) / workers;

		share = Min(share, max);
		ntaken = last_taken = 0;
		while (*nexecutions < share)
			claim(dequeue(pool), &executions[(*nexecutions)++]);
		goflow_slot_set_state_locked(goflow_my_slot, GOFLOW_SLOT_BUSY);
		goflow_bulk_taken_locked(share);
		kind = GOFLOW_WORK_DRIVE;
	}
	else
		goflow_slot_set_state_locked(goflow_my_slot, GOFLOW_SLOT_IDLE);

	/*
	 * Others may have left work to this worker that it did not take, and what
	 * it did take may be long.
	 */
	if (pool->want || pool->queued + pool->offered > 0)
		goflow_pool_wake_locked(pool, 0);
	goflow_unlock();
	return kind;
}

bool
goflow_queue_should_yield(void)
{
	volatile GoflowControl *control = goflow_control;

	if (goflow_my_slot == NULL)
		return false;
	return ((volatile GoflowWorkerSlot *) goflow_my_slot)->leave || control->surplus > 0 ||
		(control->starving > 0 && had_its_turn(GetCurrentTimestamp())) ||
		(control->poor > 0 && owes_its_place(GetCurrentTimestamp()));
}

/* Have others waited long enough for this worker, which drives since then? */
bool
goflow_queue_turn_is_over(TimestampTz since)
{
	volatile GoflowPool *pool;
	TimestampTz now;

	if (goflow_queue_should_yield())
		return true;
	if (goflow_my_slot == NULL)
		return false;
	pool = my_pool();
	if (pool->queued + pool->offered == 0)
		return false;
	now = GetCurrentTimestamp();
	return now >= since + GOFLOW_TURN || now < since;	/* the clock may be set back */
}

/* ---- claims ---- */

static void
end_claim(GoflowEntry *entry, bool requeue, TimestampTz now)
{
	dlist_delete(&entry->link);
	goflow_control->pools[entry->pool].claimed--;
	if (requeue || entry->woken)
		enqueue(entry, now);
	else
		remove_entry(entry);
}

/*
 * The entry of an execution that this worker has claimed, or NULL.  They are
 * asked for in the order in which they were taken.
 */
static GoflowEntry *
my_claim(const pg_uuid_t *execution_id)
{
	for (int i = 0; i < ntaken; i++)
	{
		GoflowEntry *entry = taken[last_taken];

		if (goflow_uuid_equal(&entry->key.execution_id, execution_id))
			return entry->claimed && entry->owner == goflow_my_slot - goflow_control->slots ? entry : NULL;
		last_taken = (last_taken + 1) % ntaken;
	}
	return NULL;
}

void
goflow_queue_release(const pg_uuid_t *executions, int n, bool requeue)
{
	GoflowPool *pool = my_pool();
	TimestampTz now = GetCurrentTimestamp();

	goflow_lock(LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		GoflowEntry *entry = my_claim(&executions[i]);

		if (entry)
			end_claim(entry, requeue, now);
	}
	/*
	 * Idle workers may have what is queued at once; else this one comes back for
	 * it, unless it has a node to run first.
	 */
	if (pool->queued > 0)
		goflow_pool_wake_locked(pool, pool->workers[GOFLOW_SLOT_IDLE] > 0 ||
								goflow_my_slot->running ? 0 : 1);
	goflow_unlock();
}

void
goflow_queue_pass_on(const pg_uuid_t *execution_id, Oid role, int priority)
{
	TimestampTz now = GetCurrentTimestamp();
	GoflowEntry *entry;

	goflow_lock(LW_EXCLUSIVE);
	entry = my_claim(execution_id);
	if (entry)
	{
		entry->woken = false;
		end_claim(entry, false, now);
	}
	goflow_queue_wake_locked(MyDatabaseId, execution_id, role, priority, now, 0);
	goflow_unlock();
}

void
goflow_queue_look(const pg_uuid_t *executions, int n, GoflowLook *looks)
{
	GoflowControl *control = goflow_control;
	bool		has_instances;

	goflow_lock(LW_EXCLUSIVE);
	has_instances = control->offered > 0 || control->lost > 0 || control->running > 0;
	for (int i = 0; i < n; i++)
	{
		GoflowEntry *entry = my_claim(&executions[i]);

		looks[i].was_woken = entry == NULL || entry->woken;
		looks[i].is_alone = entry &&
			(entry->alone || goflow_mark_is_suspect_locked(MyDatabaseId, &executions[i]));
		looks[i].has_instances = has_instances;
		if (entry)
			entry->woken = false;
	}
	goflow_unlock();
}

bool
goflow_queue_was_woken(const pg_uuid_t *execution_id)
{
	GoflowEntry *entry;
	bool		woken;

	goflow_lock(LW_SHARED);
	entry = my_claim(execution_id);
	woken = entry && entry->woken;
	goflow_unlock();
	return woken;
}

static bool
same_instance(const GoflowInstance *a, const GoflowInstance *b)
{
	return a->frame == b->frame && a->node == b->node && a->attempt == b->attempt &&
		goflow_uuid_equal(&a->execution_id, &b->execution_id);
}

/* ---- nodes lost with their workers ---- */

/* What this worker runs as a driver; only its own exit asks for it. */
static GoflowInstance driven;
static bool is_driving = false;

static GoflowLoss *
find_loss(Oid database, const GoflowInstance *instance)
{
	for (int i = 0; goflow_control->lost > 0 && i < GOFLOW_MAX_LOST_NODES; i++)
	{
		GoflowLoss *loss = &goflow_control->losses[i];

		if (loss->count > 0 && loss->database == database && same_instance(&loss->instance, instance))
			return loss;
	}
	return NULL;
}

static void
forget_loss(GoflowLoss *loss)
{
	if (loss == NULL)
		return;
	loss->count = 0;
	goflow_control->lost--;
}

/* The pause is over: whoever drives the execution finds the node ready. */
static void
end_pause(GoflowLoss *loss, TimestampTz now)
{
	loss->retry_at = 0;
	goflow_queue_wake_locked(loss->database, &loss->instance.execution_id, loss->role, 0, now, 0);
}

/* A free place, or that of the node whose loss is the longest ago. */
static GoflowLoss *
get_loss(TimestampTz now)
{
	GoflowLoss *oldest = &goflow_control->losses[0];

	for (int i = 0; i < GOFLOW_MAX_LOST_NODES; i++)
	{
		GoflowLoss *loss = &goflow_control->losses[i];

		if (loss->count == 0)
			return loss;
		if (loss->at < oldest->at)
			oldest = loss;
	}
	if (oldest->retry_at != 0)
		end_pause(oldest, now);
	forget_loss(oldest);
	return oldest;
}

/* Another loss of what ran. */
static GoflowLoss *
count_loss(const GoflowWorkerSlot *slot, const GoflowInstance *instance, TimestampTz now)
{
	GoflowLoss *loss = find_loss(slot->database, instance);

	if (loss == NULL)
	{
		loss = get_loss(now);
		loss->database = slot->database;
		loss->role = slot->role;
		loss->instance = *instance;
		loss->retry_at = 0;
		goflow_control->lost++;
	}
	loss->count++;
	loss->at = now;
	return loss;
}

/*
 * A worker was lost, and what it had goes back.  A node that it ran waits
 * longer each time, and is failed the third time (engine): it may be what
 * terminates the worker.  So may a node of the executions that it drove: they
 * go on with a worker for each node, and what only a driver can run (bodies,
 * expressions around nodes) is counted by its name in the same way.  Nobody is
 * to blame when the database is held, or the node did not react to a cancel.
 */
void
goflow_queue_lost_locked(GoflowWorkerSlot *slot)
{
	GoflowDatabase *db = goflow_database_find_locked(slot->database);
	TimestampTz now = GetCurrentTimestamp();
	GoflowLoss *loss;
	dlist_iter	iter;

	if (db && db->holds > 0)
		return;
	dlist_foreach(iter, &slot->claims)
		dlist_container(GoflowEntry, link, iter.cur)->alone = true;
	if (slot == goflow_my_slot && is_driving)
		(void) count_loss(slot, &driven, now);
	if (!slot->running || slot->cancel_requested)
		return;
	loss = count_loss(slot, &slot->instance, now);
	loss->retry_at = now + (loss->count == 1 ? GOFLOW_FIRST_LOSS_PAUSE : GOFLOW_MIN_BACKOFF);
	goflow_slot_clear_instance_locked(slot);
	goflow_launcher_wake_locked();
}

/* By the launcher. */
void
goflow_queue_retry_lost_locked(TimestampTz now, TimestampTz *next)
{
	for (int i = 0; goflow_control->lost > 0 && i < GOFLOW_MAX_LOST_NODES; i++)
	{
		GoflowLoss *loss = &goflow_control->losses[i];

		if (loss->count == 0 || loss->retry_at == 0)
			continue;
		if (loss->retry_at <= now)
			end_pause(loss, now);
		else
			*next = Min(*next, loss->retry_at);
	}
}

int
goflow_queue_losses(const GoflowInstance *instance)
{
	GoflowLoss *loss;
	int			count;

	goflow_lock(LW_SHARED);
	loss = find_loss(MyDatabaseId, instance);
	count = loss ? loss->count : 0;
	goflow_unlock();
	return count;
}

int
goflow_queue_set_driven(const GoflowInstance *instance)
{
	is_driving = instance != NULL;
	if (instance == NULL)
		return 0;
	driven = *instance;

	/* without a lock: at worst one more attempt */
	return ((volatile GoflowControl *) goflow_control)->lost > 0 ? goflow_queue_losses(instance) : 0;
}

void
goflow_queue_forget_losses(const GoflowInstance *instance)
{
	goflow_lock(LW_EXCLUSIVE);
	forget_loss(find_loss(MyDatabaseId, instance));
	goflow_unlock();
}

/* All that a worker has goes back: its node's execution and its claims are queued. */
void
goflow_queue_give_back_locked(GoflowWorkerSlot *slot)
{
	TimestampTz now = GetCurrentTimestamp();

	while (!dlist_is_empty(&slot->claims))
		end_claim(dlist_head_element(GoflowEntry, link, &slot->claims), true, now);
	if (slot->running)
	{
		pg_uuid_t	execution_id = slot->instance.execution_id;

		goflow_slot_clear_instance_locked(slot);
		goflow_queue_wake_locked(slot->database, &execution_id, slot->role, 0, now, 0);
	}
}

void
goflow_queue_give_back(void)
{
	goflow_lock(LW_EXCLUSIVE);
	goflow_queue_give_back_locked(goflow_my_slot);
	goflow_pool_wake_locked(my_pool(), 1);
	goflow_unlock();
}

/* ---- nodes ---- */

int
goflow_queue_instances(const pg_uuid_t *execution_id, GoflowInstance *instances, int max)
{
	GoflowControl *control = goflow_control;
	int			n = 0;

	goflow_lock(LW_SHARED);
	for (int i = 0; control->offered > 0 && i < control->noffers && n < max; i++)
	{
		GoflowOffer *offer = &control->offers[i];

		if (offer->pool >= 0 && control->pools[offer->pool].database == MyDatabaseId &&
			goflow_uuid_equal(&offer->instance.execution_id, execution_id))
			instances[n++] = offer->instance;
	}
	for (int i = 0; control->lost > 0 && i < GOFLOW_MAX_LOST_NODES && n < max; i++)
	{
		GoflowLoss *loss = &control->losses[i];

		if (loss->count > 0 && loss->retry_at != 0 && loss->database == MyDatabaseId &&
			goflow_uuid_equal(&loss->instance.execution_id, execution_id))
			instances[n++] = loss->instance;
	}
	for (int i = 0; control->running > 0 && i < control->nslots && n < max; i++)
	{
		GoflowWorkerSlot *slot = &control->slots[i];

		if (slot->running && slot->database == MyDatabaseId &&
			goflow_uuid_equal(&slot->instance.execution_id, execution_id))
			instances[n++] = slot->instance;
	}
	goflow_unlock();
	return n;
}

bool
goflow_queue_offer(const GoflowInstance *instance)
{
	GoflowPool *pool = my_pool();
	GoflowOffer *offer = NULL;

	goflow_lock(LW_EXCLUSIVE);
	for (int i = 0; i < goflow_control->noffers && offer == NULL; i++)
		if (goflow_control->offers[i].pool < 0)
			offer = &goflow_control->offers[i];
	if (offer)
	{
		offer->pool = pool - goflow_control->pools;
		offer->at = GetCurrentTimestamp();
		offer->instance = *instance;
		dlist_push_tail(&pool->offers, &offer->link);
		pool->offered++;
		goflow_control->offered++;
		goflow_pool_wake_locked(pool, 0);
	}
	goflow_unlock();
	return offer != NULL;
}

void
goflow_queue_adopt(const GoflowInstance *instance)
{
	goflow_lock(LW_EXCLUSIVE);
	goflow_slot_set_instance_locked(goflow_my_slot, instance);
	goflow_unlock();
}

bool
goflow_queue_withdraw(const GoflowInstance *instance)
{
	GoflowPool *pool = my_pool();
	bool		withdrawn = false;
	dlist_iter	iter;

	goflow_lock(LW_EXCLUSIVE);
	forget_loss(find_loss(MyDatabaseId, instance));
	dlist_foreach(iter, &pool->offers)
	{
		GoflowOffer *offer = dlist_container(GoflowOffer, link, iter.cur);

		if (!same_instance(&offer->instance, instance))
			continue;
		dlist_delete(&offer->link);
		offer->pool = -1;
		pool->offered--;
		goflow_control->offered--;
		withdrawn = true;
		break;
	}
	for (int i = 0; !withdrawn && i < goflow_control->nslots; i++)
	{
		GoflowWorkerSlot *slot = &goflow_control->slots[i];

		if (slot->running && slot->database == MyDatabaseId &&
			same_instance(&slot->instance, instance))
			goflow_slot_cancel_locked(slot);
	}
	goflow_unlock();
	return withdrawn;
}

void
goflow_queue_node_done(Oid role, int priority)
{
	goflow_lock(LW_EXCLUSIVE);
	if (goflow_my_slot->running)
	{
		pg_uuid_t	execution_id = goflow_my_slot->instance.execution_id;

		forget_loss(find_loss(MyDatabaseId, &goflow_my_slot->instance));
		goflow_mark_acquit_locked(&goflow_my_slot->instance);
		goflow_slot_clear_instance_locked(goflow_my_slot);
		/* this worker looks for work next, and may drive the execution itself */
		goflow_queue_wake_locked(MyDatabaseId, &execution_id, role, priority,
								 GetCurrentTimestamp(), 1);
	}
	goflow_unlock();
}
