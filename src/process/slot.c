/*
 * slot.c
 *		Worker slots: who runs where, and what node it runs.
 *
 * The launcher reserves a slot before it registers the process, so that the
 * number of workers is bounded and the pool knows that one is coming.  The
 * process finds its slot by (index, generation) and attaches:
 *
 *		FREE -> STARTING -> BUSY <-> IDLE -> WOKEN -> BUSY ...
 *
 * and any state -> FREE, by the process itself as it exits, or by the launcher
 * for one that never came to life.  Every change of state goes through
 * goflow_slot_set_state_locked(), which keeps the pool's counts.
 *
 * Cancelling writes the request into the slot and signals the process under
 * the same lock under which the process clears its slot, so the signal cannot
 * be meant for the node after next.  It can still arrive late, after the node
 * has ended: the engine clears QueryCancelPending before each node.
 */
#include "postgres.h"

#include "process/shared.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"

GoflowWorkerSlot *goflow_my_slot = NULL;
volatile sig_atomic_t goflow_terminated = false;

/* die() leaves no trace by the time the process exits. */
void
goflow_handle_sigterm(SIGNAL_ARGS)
{
	goflow_terminated = true;
	die(postgres_signal_arg);
}

void
goflow_launcher_wake_locked(void)
{
	if (goflow_control->launcher_latch)
		SetLatch(goflow_control->launcher_latch);
}

/* One more failure in a row: the wait doubles. */
void
goflow_trouble_note(GoflowTrouble *trouble, const char *reason)
{
	int64		wait = GOFLOW_MIN_BACKOFF << Min(trouble->failures, 6);

	trouble->failures++;
	trouble->retry_at = GetCurrentTimestamp() + Min(wait, GOFLOW_MAX_BACKOFF);
	strlcpy(trouble->reason, reason, GOFLOW_REASON_LENGTH);
}

void
goflow_trouble_clear(GoflowTrouble *trouble)
{
	trouble->failures = 0;
	trouble->reason[0] = '\0';
}

/*
 * A process is about to exit (0: it never came to life).  If others found no
 * room in the server, they may soon.
 */
void
goflow_process_left_locked(pid_t pid)
{
	GoflowTrouble *no_room = &goflow_control->no_room;

	if (pid == 0)
		return;
	goflow_control->left_at = GetCurrentTimestamp();
	if (no_room->failures == 0)
		return;
	no_room->failures = 1;
	no_room->retry_at = Min(no_room->retry_at, goflow_control->left_at + GOFLOW_EXIT_TIME);
}

const char *
goflow_slot_state_name(GoflowSlotState state)
{
	static const char *const names[] = {
		[GOFLOW_SLOT_FREE] = "free",
		[GOFLOW_SLOT_STARTING] = "starting",
		[GOFLOW_SLOT_IDLE] = "idle",
		[GOFLOW_SLOT_WOKEN] = "woken",
		[GOFLOW_SLOT_BUSY] = "busy",
	};

	return names[state];
}

void
goflow_slot_set_state_locked(GoflowWorkerSlot *slot, GoflowSlotState state)
{
	GoflowPool *pool = &goflow_control->pools[slot->pool];

	if (slot->state == state)
		return;
	if (slot->state == GOFLOW_SLOT_FREE)
		goflow_control->workers++;
	else
		pool->workers[slot->state]--;
	if (state == GOFLOW_SLOT_FREE)
		goflow_control->workers--;
	else
		pool->workers[state]++;
	if (state == GOFLOW_SLOT_BUSY)
		slot->busy_since = GetCurrentTimestamp();
	else if (state == GOFLOW_SLOT_IDLE)
		slot->idle_since = GetCurrentTimestamp();
	slot->state = state;
}

/* A slot for a new worker of the pool, NULL if all are in use. */
GoflowWorkerSlot *
goflow_slot_reserve_locked(GoflowPool *pool)
{
	for (int i = 0; i < goflow_control->nslots; i++)
	{
		GoflowWorkerSlot *slot = &goflow_control->slots[i];

		if (slot->state != GOFLOW_SLOT_FREE)
			continue;
		slot->generation++;
		slot->pool = pool - goflow_control->pools;
		slot->database = pool->database;
		slot->role = pool->role;
		slot->pid = 0;
		slot->latch = NULL;
		slot->leave = false;
		slot->has_connected = false;
		slot->running = false;
		slot->cancel_requested = false;
		slot->bulk_since = 0;
		goflow_slot_set_state_locked(slot, GOFLOW_SLOT_STARTING);
		return slot;
	}
	return NULL;
}

/* Frees a slot; failure says why its worker never could connect (NULL: it could). */
void
goflow_slot_free_locked(GoflowWorkerSlot *slot, const char *failure)
{
	GoflowPool *pool = &goflow_control->pools[slot->pool];

	goflow_queue_lost_locked(slot);
	goflow_queue_give_back_locked(slot);
	if (slot->leave)
	{
		slot->leave = false;
		goflow_control->leaving--;
	}
	goflow_process_left_locked(slot->pid);
	slot->pid = 0;
	slot->latch = NULL;
	goflow_slot_set_state_locked(slot, GOFLOW_SLOT_FREE);
	if (failure)
	{
		goflow_control->launches_failed++;
		goflow_trouble_note(&pool->trouble, failure);
	}
	/* the others of the pool may have counted on this one */
	goflow_pool_wake_locked(pool, 0);
	ConditionVariableBroadcast(&goflow_control->slot_freed);
	goflow_launcher_wake_locked();
}

static void
worker_exit(int code, Datum arg)
{
	GoflowWorkerSlot *slot = goflow_my_slot;
	bool		failed;

	if (slot == NULL)
		return;
	goflow_mark_clear();
	goflow_turn_end();
	goflow_lock(LW_EXCLUSIVE);
	/* one that was terminated while it connected did not fail */
	failed = !slot->has_connected && !goflow_terminated;
	goflow_slot_free_locked(slot, failed ? "a worker could not connect, see the server's log" : NULL);
	goflow_unlock();
	goflow_my_slot = NULL;
}

/*
 * Makes this process the owner of its slot, if the launcher still expects it
 * and nobody needs the database to itself.  Called with signals blocked.
 */
bool
goflow_slot_attach(int index, uint32 generation)
{
	GoflowWorkerSlot *slot = &goflow_control->slots[index];
	GoflowDatabase *db;
	bool		accepted;

	goflow_lock(LW_EXCLUSIVE);
	accepted = slot->state == GOFLOW_SLOT_STARTING && slot->generation == generation &&
		slot->pid == 0;
	if (accepted)
	{
		db = goflow_database_find_locked(slot->database);
		if (db && db->holds > 0)
		{
			goflow_slot_free_locked(slot, NULL);
			accepted = false;
		}
	}
	if (accepted)
	{
		slot->pid = MyProcPid;
		slot->latch = MyLatch;
		goflow_my_slot = slot;
	}
	goflow_unlock();
	if (accepted)
	{
		goflow_mark_attach();
		before_shmem_exit(worker_exit, (Datum) 0);
	}
	return accepted;
}

/* This worker is connected and will take work: its pool is able to run. */
void
goflow_slot_connected(void)
{
	GoflowPool *pool;
	GoflowDatabase *db;

	goflow_lock(LW_EXCLUSIVE);
	goflow_my_slot->has_connected = true;
	pool = &goflow_control->pools[goflow_my_slot->pool];
	goflow_trouble_clear(&pool->trouble);
	if (pool->parked)
	{
		pool->parked = false;
		db = goflow_database_find_locked(pool->database);
		if (db)
			goflow_database_rescan_locked(db, NULL);
	}
	goflow_unlock();
}

/* An idle worker's time is over.  False if work was given to it meanwhile. */
bool
goflow_slot_try_leave(void)
{
	bool		idle;

	goflow_lock(LW_EXCLUSIVE);
	idle = goflow_my_slot->state == GOFLOW_SLOT_IDLE;
	if (idle)
		goflow_slot_ask_to_leave_locked(goflow_my_slot);
	goflow_unlock();
	return idle;
}

/* The worker will exit after what it does now, and is no longer counted on. */
void
goflow_slot_ask_to_leave_locked(GoflowWorkerSlot *slot)
{
	if (slot->leave)
		return;
	slot->leave = true;
	goflow_control->leaving++;
	if (slot->state == GOFLOW_SLOT_IDLE)
		goflow_slot_set_state_locked(slot, GOFLOW_SLOT_BUSY);
	if (slot->latch)
		SetLatch(slot->latch);
}

void
goflow_worker_leave(void)
{
	goflow_lock(LW_EXCLUSIVE);
	goflow_slot_ask_to_leave_locked(goflow_my_slot);
	goflow_unlock();
}

/* ---- the node in a slot ---- */

void
goflow_slot_set_instance_locked(GoflowWorkerSlot *slot, const GoflowInstance *instance)
{
	if (!slot->running)
		goflow_control->running++;
	slot->running = true;
	slot->instance = *instance;
	slot->instance.started_at = GetCurrentTimestamp();
	slot->cancel_requested = false;
}

void
goflow_slot_clear_instance_locked(GoflowWorkerSlot *slot)
{
	if (slot->running)
		goflow_control->running--;
	slot->running = false;
	slot->cancel_requested = false;
}

void
goflow_slot_cancel_locked(GoflowWorkerSlot *slot)
{
	if (!slot->running || slot->pid == 0)
		return;
	if (!slot->cancel_requested)
	{
		slot->cancel_requested = true;
		slot->cancel_at = GetCurrentTimestamp();
		/* it watches that the worker reacts */
		goflow_launcher_wake_locked();
	}
	kill(slot->pid, SIGINT);
}

/* Interrupts every node of an execution that runs in a slot now. */
void
goflow_slot_cancel_execution(Oid database, const pg_uuid_t *execution_id)
{
	goflow_lock(LW_EXCLUSIVE);
	for (int i = 0; i < goflow_control->nslots; i++)
	{
		GoflowWorkerSlot *slot = &goflow_control->slots[i];

		if (slot->state != GOFLOW_SLOT_FREE && slot->running && slot->database == database &&
			goflow_uuid_equal(&slot->instance.execution_id, execution_id))
			goflow_slot_cancel_locked(slot);
	}
	goflow_unlock();
}

bool
goflow_worker_cancel_requested(void)
{
	return goflow_my_slot && ((volatile GoflowWorkerSlot *) goflow_my_slot)->cancel_requested;
}
