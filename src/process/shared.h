/*
 * shared.h
 *		What goflow's processes share, and the protocol for touching it.
 *		Private to process/.
 *
 * There is one control structure with four tables (databases, pools, worker
 * slots, offers) and one hash (the queue).  Structures refer to each other by
 * index, and by pointer only inside the pairing heaps and lists, which is safe
 * because shared memory is mapped at one address in every process.
 *
 * An execution has at most one entry in the hash.  The entry is QUEUED (a
 * member of its pool's heap) or CLAIMED (a member of its worker's list).
 * Waking a queued execution changes nothing; waking a claimed one sets
 * "woken", and whoever ends the claim queues it again.  No wake-up can get
 * lost between the two, since both happen under one lock.
 *
 * Memory is bounded, so any push can find no room.  Then the database's rescan
 * mark is lowered to the execution's id, and the scheduler reads the live
 * executions from there on in the tables once there is room again.
 *
 * Locks, in the order in which they may be nested:
 *
 *	1.	"goflow queue" (GoflowControl.lock): all of this file's structures but
 *		those named below.  Held for microseconds, never across anything that
 *		can raise an error or wait.  SetLatch() and kill() are called with it
 *		held: that is what makes sure that slot and process still belong
 *		together.
 *	2.	"goflow channels" (live/channel.c): who listens.  Never nested with 1.
 *
 * Without a lock: the tracker and the ring (live/, atomics), waiter slots
 * (waiter.c, atomics), learned speeds (speed.c, a spinlock per bucket), and
 * these unlocked reads, each a hint that is checked again under the lock or
 * belongs to the reader alone: GoflowWorkerSlot.cancel_requested, .leave and
 * .busy_since of one's own slot, GoflowPool.queued and .offered of one's own pool,
 * GoflowControl.surplus, .starving, .poor, .share
 * and .crowded.
 *
 * Processes go away by FATAL or proc_exit() at any moment.  Each registers a
 * before_shmem_exit callback before it connects, so the callback runs after
 * the transaction was aborted: a claim that is given back there is never
 * still being worked on.  A process that dies otherwise takes the server's
 * shared memory with it.
 */
#ifndef GOFLOW_SHARED_H
#define GOFLOW_SHARED_H

#include <signal.h>

#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#include "live/live.h"
#include "process/process.h"

#define GOFLOW_MAX_DATABASES 1024
#define GOFLOW_MAX_POOLS 1024
#define GOFLOW_REASON_LENGTH 128

/* A unit of priority is worth that much age in the queue. */
#define GOFLOW_PRIORITY_AGE (10 * USECS_PER_SEC)

/* How long a worker keeps its place when others need it: at work, and idle. */
#define GOFLOW_TURN USECS_PER_SEC
#define GOFLOW_IDLE_TURN (20 * INT64CONST(1000))	/* some times what it costs to start one */

/* What a worker takes at one time should be done in a batch, and is too much if it lasts longer than so many. */
#define GOFLOW_CLAIM_BATCHES 4

/* Waits between two tries of what failed. */
#define GOFLOW_MIN_BACKOFF USECS_PER_SEC
#define GOFLOW_EXIT_TIME (20 * INT64CONST(1000))	/* that a process needs to exit, as a rule */
#define GOFLOW_MAX_EXIT_TIME (200 * INT64CONST(1000))
#define GOFLOW_MAX_BACKOFF (60 * USECS_PER_SEC)

/* ---- databases ---- */

typedef enum GoflowPresence
{
	GOFLOW_PRESENCE_UNKNOWN,	/* a scheduler has to look */
	GOFLOW_PRESENCE_ABSENT,		/* no goflow there */
	GOFLOW_PRESENCE_PRESENT
} GoflowPresence;

typedef enum GoflowSchedulerState
{
	GOFLOW_SCHEDULER_NONE,
	GOFLOW_SCHEDULER_STARTING,	/* registered, did not run yet */
	GOFLOW_SCHEDULER_RUNNING
} GoflowSchedulerState;

/* Repeated failures of one kind: when to try again, and why it failed. */
typedef struct GoflowTrouble
{
	int			failures;		/* in a row */
	TimestampTz retry_at;
	char		reason[GOFLOW_REASON_LENGTH];
} GoflowTrouble;

typedef struct GoflowDatabase
{
	Oid			oid;			/* InvalidOid: the entry is free */
	GoflowPresence presence;
	bool		was_shut;		/* it let nobody in: that is not to be without goflow */

	/* recovery and rescans */
	bool		recovered;		/* read in full since the server's start */
	bool		rescan;			/* ids after rescan_after must be read again */
	pg_uuid_t	rescan_after;
	bool		scanning;		/* the scheduler has read up to scan_position */
	bool		reading;		/* and reads a page that nobody knows the end of */
	pg_uuid_t	scan_position;
	bool		wants_room;		/* it waits for room in the queue */
	TimestampTz scanned_at;

	/* timers: those due up to timers_done were queued; none due before next_due */
	TimestampTz timers_done;
	TimestampTz next_due;
	bool		reading_timers; /* if it is left in the middle, all has to be read again */

	/* messages: where this database's scheduler is in the ring */
	pg_atomic_uint64 ring_position;
	pg_atomic_uint32 ring_pending;	/* there may be some */

	/* its scheduler */
	GoflowSchedulerState scheduler;
	uint32		generation;
	pid_t		pid;
	Latch	   *latch;
	GoflowTrouble trouble;

	/* transactions that need the database to themselves */
	int			holds;
} GoflowDatabase;

/* ---- pools: the work and the workers of one role in one database ---- */

typedef struct GoflowPool
{
	Oid			database;		/* InvalidOid: the entry is free */
	Oid			role;
	pairingheap queue;			/* GoflowEntry.node, oldest rank first */
	int			queued;
	int			claimed;
	dlist_head	offers;			/* GoflowOffer.link, oldest first */
	int			offered;
	int			workers[5];		/* by GoflowSlotState */
	bool		want;			/* the launcher knows that a worker is missing */
	bool		parked;			/* cannot run now: nothing of it is queued (launcher.c) */
	GoflowTrouble trouble;
} GoflowPool;

/* ---- the queue ---- */

typedef struct GoflowKey
{
	Oid			database;
	pg_uuid_t	execution_id;
} GoflowKey;

typedef struct GoflowEntry
{
	GoflowKey	key;
	bool		claimed;
	bool		woken;			/* while it was claimed */
	bool		alone;			/* a worker that drove it was lost */
	int16		priority;
	int			pool;
	int			owner;			/* worker slot, if claimed */
	TimestampTz rank;			/* when it was queued, moved by its priority */
	pairingheap_node node;		/* in its pool's heap, if queued */
	dlist_node	link;			/* in its worker's list, if claimed */
} GoflowEntry;

/* A node that any worker of the pool may run. */
typedef struct GoflowOffer
{
	int			pool;			/* -1: free */
	TimestampTz at;
	GoflowInstance instance;
	dlist_node	link;			/* in its pool's list */
} GoflowOffer;

/* A node that was lost with its worker, and runs again after a pause. */
#define GOFLOW_MAX_LOST_NODES 64	/* remembered */
#define GOFLOW_FIRST_LOSS_PAUSE (100 * INT64CONST(1000))

typedef struct GoflowLoss
{
	int			count;			/* 0: free */
	Oid			database;
	Oid			role;
	GoflowInstance instance;
	TimestampTz at;				/* of the last loss */
	TimestampTz retry_at;		/* 0: it may run */
} GoflowLoss;

/* ---- worker slots ---- */

typedef enum GoflowSlotState
{
	GOFLOW_SLOT_FREE,
	GOFLOW_SLOT_STARTING,		/* registered or connecting */
	GOFLOW_SLOT_IDLE,			/* waits on its latch */
	GOFLOW_SLOT_WOKEN,			/* its latch was set, it will take work */
	GOFLOW_SLOT_BUSY
} GoflowSlotState;

typedef struct GoflowWorkerSlot
{
	GoflowSlotState state;
	uint32		generation;		/* of the slot: tells its users apart */
	int			pool;
	Oid			database;
	Oid			role;
	pid_t		pid;			/* 0: did not run yet */
	Latch	   *latch;
	bool		leave;			/* asked to exit at the next opportunity */
	bool		has_connected;
	TimestampTz busy_since;		/* without having been idle */
	TimestampTz idle_since;
	TimestampTz bulk_since;		/* when it took many executions at one time (bulk.c); 0: it took others since */

	bool		running;		/* instance is valid */
	GoflowInstance instance;
	bool		cancel_requested;
	TimestampTz cancel_at;		/* when it was */

	dlist_head	claims;			/* GoflowEntry.link */
} GoflowWorkerSlot;

typedef struct GoflowControl
{
	LWLock	   *lock;
	Latch	   *launcher_latch;
	pid_t		launcher_pid;
	TimestampTz launcher_started_at;	/* the last one, also when it is gone */
	int64		clock_ahead;	/* of the monotonic clock, in microseconds (clock.c); 0: not known */
	ConditionVariable slot_freed;	/* a worker or scheduler is gone */
	ConditionVariable stored;	/* see turn.c */
	pg_atomic_uint32 storing;	/* workers whose turn it is */

	int			entries;		/* in the hash */
	int			workers;		/* slots not free */
	int			leaving;		/* slots with leave set */
	int			surplus;		/* workers that should leave: too many of them */
	int			starving;		/* pools that have work but no worker at all */
	int			poor;			/* workers that pools lack which have less than their share */
	int			share;			/* of the workers, that each pool with work may have then */
	bool		crowded;		/* max_worker_processes is too small: leave when idle */
	GoflowTrouble no_room;		/* processes that the server had no room for */
	TimestampTz left_at;		/* when a process of goflow left for the last time */
	bool		wants_room;		/* some database does */
	int			running;		/* slots with running set */
	int			offered;		/* offers in use */

	int			lost;			/* losses in use */
	GoflowLoss	losses[GOFLOW_MAX_LOST_NODES];

	/* counts since the server's start, for health() */
	uint64		launches_failed;
	uint64		messages_sent;
	uint64		messages_unsent;	/* the notification queue was filling up */
	uint64		pools_refused;

	int			ndatabases;		/* entries ever used */
	int			npools;
	int			nslots;
	int			noffers;
	GoflowDatabase databases[GOFLOW_MAX_DATABASES];
	GoflowPool	pools[GOFLOW_MAX_POOLS];
	GoflowOffer *offers;
	GoflowWorkerSlot *slots;
} GoflowControl;

extern GoflowControl *goflow_control;
extern HTAB *goflow_queue;

/* This worker's slot, NULL in other processes; this scheduler's database. */
extern GoflowWorkerSlot *goflow_my_slot;
extern GoflowDatabase *goflow_my_database;

static inline void
goflow_lock(LWLockMode mode)
{
	LWLockAcquire(goflow_control->lock, mode);
}

static inline void
goflow_unlock(void)
{
	LWLockRelease(goflow_control->lock);
}

static inline bool
goflow_uuid_equal(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN) == 0;
}

/* Sizes and initialisation of the parts (shmem.c calls them). */
extern Size goflow_waiter_shmem_size(void);
extern void goflow_waiter_shmem_init(void);
extern Size goflow_speed_shmem_size(void);
extern void goflow_speed_shmem_init(void);

/*
 * Functions below that end in _locked want the lock held exclusively (reading
 * ones: in any mode).
 */

/* ---- database.c ---- */
extern GoflowDatabase *goflow_database_find_locked(Oid oid);
extern GoflowDatabase *goflow_database_get_locked(Oid oid);
extern void goflow_database_lower_due_locked(GoflowDatabase *db, TimestampTz due_at);
extern void goflow_database_rescan_locked(GoflowDatabase *db, const pg_uuid_t *after);
extern void goflow_database_notify_locked(GoflowDatabase *db);
extern bool goflow_database_due_locked(GoflowDatabase *db, TimestampTz now, TimestampTz *next);
extern void goflow_database_forget(Oid oid);
extern void goflow_database_hold(Oid oid);
extern void goflow_database_unhold(Oid oid, bool changed);
extern bool goflow_scheduler_attach(int index, uint32 generation);
extern void goflow_scheduler_detach_locked(GoflowDatabase *db, bool failed);

/* ---- queue.c ---- */
extern GoflowPool *goflow_pool_get_locked(Oid database, Oid role);
extern void goflow_pool_wake_locked(GoflowPool *pool, int coming);
extern void goflow_pool_empty_locked(GoflowPool *pool);
extern int	goflow_pool_workers_locked(const GoflowPool *pool);
extern TimestampTz goflow_pool_oldest_locked(GoflowPool *pool);
extern bool goflow_queue_push_locked(Oid database, const pg_uuid_t *execution_id, Oid role,
									 int priority, TimestampTz now, int coming);
extern void goflow_queue_wake_locked(Oid database, const pg_uuid_t *execution_id, Oid role,
									 int priority, TimestampTz now, int coming);
extern void goflow_queue_set_priority_locked(Oid database, const pg_uuid_t *execution_id, Oid role,
											 int priority, TimestampTz now);
extern void goflow_queue_give_back_locked(GoflowWorkerSlot *slot);
extern void goflow_queue_give_back(void);
extern void goflow_queue_lost_locked(GoflowWorkerSlot *slot);
extern void goflow_queue_retry_lost_locked(TimestampTz now, TimestampTz *next);

/* ---- bulk.c ---- */
extern void goflow_bulk_taken_locked(int nexecutions);
extern bool goflow_bulk_is_served_locked(const GoflowPool *pool);
extern bool goflow_bulk_is_resting(void);

/* ---- slot.c ---- */
extern volatile sig_atomic_t goflow_terminated; /* somebody sent SIGTERM */
extern void goflow_handle_sigterm(SIGNAL_ARGS);	/* of workers and schedulers */
extern const char *goflow_slot_state_name(GoflowSlotState state);
extern void goflow_slot_set_state_locked(GoflowWorkerSlot *slot, GoflowSlotState state);
extern GoflowWorkerSlot *goflow_slot_reserve_locked(GoflowPool *pool);
extern void goflow_slot_ask_to_leave_locked(GoflowWorkerSlot *slot);
extern void goflow_slot_set_instance_locked(GoflowWorkerSlot *slot, const GoflowInstance *instance);
extern void goflow_slot_clear_instance_locked(GoflowWorkerSlot *slot);
extern void goflow_slot_cancel_locked(GoflowWorkerSlot *slot);
extern void goflow_slot_cancel_execution(Oid database, const pg_uuid_t *execution_id);
extern bool goflow_slot_attach(int index, uint32 generation);
extern void goflow_slot_connected(void);
extern bool goflow_slot_try_leave(void);
extern void goflow_slot_free_locked(GoflowWorkerSlot *slot, const char *failure);
extern void goflow_launcher_wake_locked(void);
extern void goflow_process_left_locked(pid_t pid);
extern void goflow_trouble_note(GoflowTrouble *trouble, const char *reason);
extern void goflow_trouble_clear(GoflowTrouble *trouble);

/* ---- mark.c ---- */
extern void goflow_mark_startup(void);
extern void goflow_mark_attach(void);
extern void goflow_mark_claims(const pg_uuid_t *executions, int n);
extern void goflow_mark_clear(void);
extern bool goflow_mark_read(int slot, pg_uuid_t *execution_id, int *frame, int *node);
extern bool goflow_mark_is_suspect_locked(Oid database, const pg_uuid_t *execution_id);
extern void goflow_mark_acquit_locked(const GoflowInstance *instance);

/* ---- wake.c: used by utility.c ---- */
extern void goflow_wake_channel(const GoflowChannelKey *key, bool listen);
extern void goflow_wake_no_channels(void);

/* ---- early.c: used by wake.c ---- */
extern void goflow_early_before_commit(void);
extern void goflow_early_forget(void);
extern void goflow_early_flush(void);

/* ---- utility.c ---- */
extern void goflow_utility_before_prepare(void);
extern void goflow_utility_end_transaction(bool committed);

/* ---- retention.c: used by scheduler.c ---- */
extern void goflow_retention_due(void);
extern bool goflow_retention_wants_page(void);
extern void goflow_retention_page(void);

/* ---- scheduler.c: a transaction of its own; the first exits if goflow has gone ---- */
extern void goflow_scheduler_begin(const char *activity);
extern void goflow_scheduler_end(void);

/* ---- send.c ---- */
extern bool goflow_send_messages(void);
extern TimestampTz goflow_send_due(void);
extern TimestampTz goflow_send_announcements(TimestampTz since, TimestampTz now);

/* ---- clock.c: used by launcher.c ---- */
extern int64 goflow_clock_follow(void);

/* ---- launcher.c ---- */
extern bool goflow_role_can_connect(Oid database, Oid role, const char **reason);

#endif							/* GOFLOW_SHARED_H */
