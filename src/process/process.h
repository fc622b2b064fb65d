/*
 * process.h
 *		Processes and what they share: queue, claims, workers, databases.
 *
 * Shared memory holds where to look, never the truth: all of it can be thrown
 * away and rebuilt from the tables (recovery does so after every crash).
 *
 *	shmem.c		size and layout; attach
 *	database.c	what is known of each database; who needs it to itself
 *	queue.c		pools, the queue, claims, offered nodes
 *	slot.c		worker slots and the nodes in them; cancelling
 *	wake.c		what a transaction will push or wake when it commits
 *	early.c		executions that begin while the commit that started them is flushed
 *	launcher.c	the one static process: starts schedulers and workers
 *	scheduler.c	one per database: recovery, timers
 *	send.c		the scheduler's sending of messages
 *	worker.c	main loop of a worker: takes work from its pool, calls the engine
 *	bulk.c		workers that are more than the processors rest
 *	turn.c		workers that store their batches take turns
 *	waiter.c	backends that wait for an execution
 *	speed.c		learned speed of nodes
 *	mark.c		what each worker ran when the server crashed
 *	health.c	goflow.health() and goflow.installed()
 *	show.c		the views goflow.workers, queue, tracker, messages
 *	utility.c	ProcessUtility hook: statements that goflow must know of
 */
#ifndef GOFLOW_PROCESS_H
#define GOFLOW_PROCESS_H

#include "goflow.h"

/*
 * A node instance that runs, or is to run, in a transaction of its own: in
 * "node mode".  Its key is that of the journal.
 */
typedef struct GoflowInstance
{
	pg_uuid_t	execution_id;
	int32		frame;
	int16		node;
	int16		attempt;
	int32		seq;			/* place in the journal's order, given by the driver */
	TimestampTz started_at;		/* when a worker took it; 0: none has */
} GoflowInstance;

typedef enum GoflowWorkKind
{
	GOFLOW_WORK_NONE,
	GOFLOW_WORK_DRIVE,			/* executions to drive */
	GOFLOW_WORK_NODE			/* one node to run */
} GoflowWorkKind;

/* ---- lifecycle, called by init.c ---- */
extern void goflow_shmem_request(void); /* in shmem_request_hook */
extern void goflow_shmem_startup(void); /* in shmem_startup_hook */
extern void goflow_launcher_register(void); /* static background worker */
extern void goflow_wake_init(void); /* registers transaction and resource callbacks */
extern void goflow_utility_init(void);	/* ProcessUtility hook */

/* ---- wake.c: effective at commit of the current (sub)transaction ---- */

/* This execution has something to do: queue it and wake or launch a worker. */
extern void goflow_wake_execution(const pg_uuid_t *execution_id, Oid role, int priority);

/* The same for the parent of an execution that has ended; NULL: it has none. */
extern void goflow_wake_parent(const pg_uuid_t *parent);

/* Its priority is to change: move it in the queue, and let its driver know. */
extern void goflow_wake_priority(const pg_uuid_t *execution_id, Oid role, int priority);

/* A timer was inserted: the scheduler must look at due_at at the latest. */
extern void goflow_wake_timer(TimestampTz due_at);

/* Interrupt whatever node of this execution runs right now, in any worker. */
extern void goflow_wake_cancel(const pg_uuid_t *execution_id);

/* goflow was created in this database. */
extern void goflow_wake_database(void);

/* ---- early.c: around the insertion of executions; if nobody else writes, they begin before the commit is flushed ---- */
extern void goflow_early_begin(void);
extern void goflow_early_end(void);

/*
 * The next commit, if it is such a one, need not be flushed before catch_up():
 * the caller answers nobody in between.
 */
extern void goflow_early_put_off(void);
extern void goflow_early_catch_up(void);

/* ---- queue.c, for a worker: its own pool is (MyDatabaseId, its role) ---- */

/*
 * Takes work.  Offered nodes come first, then up to max executions in order of
 * priority and age; a share only, when other workers of the pool are idle, and none
 * while others have enough to do with them (bulk.c).
 * Each execution is now claimed by this worker; a node is in its slot.
 */
#define GOFLOW_MAX_CLAIMS 768		/* executions that a worker takes at one time */
#define GOFLOW_FIRST_CLAIMS 128		/* at first: how many fit into a batch is learned */
extern GoflowWorkKind goflow_queue_take(pg_uuid_t *executions, int max, int *nexecutions,
										GoflowInstance *instance);

/*
 * Ends claims.  If somebody woke an execution meanwhile (or requeue is true)
 * it goes back to the queue.
 */
extern void goflow_queue_release(const pg_uuid_t *executions, int n, bool requeue);

/* Ends the claim of an execution that belongs to another role by now (reassign()): its pool has it next. */
extern void goflow_queue_pass_on(const pg_uuid_t *execution_id, Oid role, int priority);

/* What the queue knows of a claim. */
typedef struct GoflowLook
{
	bool		was_woken;		/* since the last look: what was read before is old */
	bool		is_alone;		/* a worker was lost that drove it: its nodes are to run one by one */
	bool		has_instances;	/* some of its nodes may be offered or running */
} GoflowLook;

/*
 * Looks at claims, and clears their "somebody woke it" flags; call before taking
 * the snapshot that loads them.
 */
extern void goflow_queue_look(const pg_uuid_t *executions, int n, GoflowLook *looks);

/*
 * How often a worker was lost (terminated from outside, or by the node itself)
 * while it ran this node instance.
 */
#define GOFLOW_MAX_LOSSES 3
extern int	goflow_queue_losses(const GoflowInstance *instance);

/*
 * What code of users this worker runs as a driver, so that a loss has a name;
 * returns how often a worker was lost with it before.  A node of -1 stands for
 * a frame itself.  NULL: none.
 */
extern int	goflow_queue_set_driven(const GoflowInstance *instance);

/* It ended without the worker being lost. */
extern void goflow_queue_forget_losses(const GoflowInstance *instance);

/* True if somebody woke the execution since the last look. */
extern bool goflow_queue_was_woken(const pg_uuid_t *execution_id);

/* Node instances of an execution that are offered or running; returns how many were stored. */
extern int	goflow_queue_instances(const pg_uuid_t *execution_id, GoflowInstance *instances, int max);
#define GOFLOW_MAX_INSTANCES 1024	/* offered and running in the whole server, at most */

/*
 * Offers a node to the pool's workers (idle ones are woken, missing ones
 * launched).  False when there is no room: the execution will be woken again
 * when one of its nodes ends, or the caller runs the node itself.
 */
extern bool goflow_queue_offer(const GoflowInstance *instance);

/* Puts a node into this worker's own slot without offering it. */
extern void goflow_queue_adopt(const GoflowInstance *instance);

/*
 * Withdraws the offer of a node that nobody has taken (true), or interrupts
 * the worker that runs it (false).
 */
extern bool goflow_queue_withdraw(const GoflowInstance *instance);

/* The node in this worker's slot ended (committed or rolled back): clear the slot, wake the execution. */
extern void goflow_queue_node_done(Oid role, int priority);

/* True when other work waits that this worker keeps from running: end the batch soon. */
extern bool goflow_queue_should_yield(void);
extern bool goflow_queue_turn_is_over(TimestampTz since);

/* Somebody asked for the node in this worker's slot to be interrupted. */
extern bool goflow_worker_cancel_requested(void);

/* Settings and user of the session are as they were when this worker had connected. */
extern void goflow_worker_reset_session(void);

/* This worker is to exit after what it does now. */
extern void goflow_worker_leave(void);

/* Role this worker runs as, fixed for life. */
extern Oid	goflow_worker_role(void);

/* True in a goflow worker or scheduler. */
extern bool goflow_in_worker(void);

/* ---- learned speed of nodes (speed.c): shared, lossy ---- */
typedef enum GoflowSpeed
{
	GOFLOW_SPEED_UNKNOWN,
	GOFLOW_SPEED_FAST,			/* may join a batch */
	GOFLOW_SPEED_SLOW,			/* runs in node mode */
	GOFLOW_SPEED_ALONE			/* must never be batched (utility command, temporary table, failed at commit) */
} GoflowSpeed;
/* hint: where this node was found last, in this process; NULL to begin with. */
extern GoflowSpeed goflow_speed_get(int workflow_id, int node, void **hint);
extern void goflow_speed_learn(int workflow_id, int node, void **hint, int64 microseconds);
extern void goflow_speed_set(int workflow_id, int node, GoflowSpeed speed);

/* ---- bulk.c: by a worker, how long a batch took to commit ---- */
extern void goflow_bulk_committed(double milliseconds);

/* ---- turn.c: who stores a batch now; a hint, by workers ---- */
extern void goflow_turn_begin(void);
extern void goflow_turn_end(void);

/* ---- waiter.c: backends that wait for an execution ---- */
extern void goflow_waiter_begin(const pg_uuid_t *execution_id); /* then look, then WaitLatch */
extern void goflow_waiter_end(void);
extern void goflow_waiter_wake(const pg_uuid_t *executions, int n);	/* by the driver after commit; cheap with no waiters */

/*
 * mark.c: what a worker runs, should the server crash, and how often it crashed
 * while this ran.  An instance with a node of -1 is a frame itself, one
 * with a negative attempt a compensation.  path: that of the frame, since its
 * number may be another one when it runs again.
 */
typedef struct GoflowCrashes
{
	int			own;			/* of the server, while this ran */
	int			executions;		/* in a row that failed for that at this node */
	bool		is_fenced;		/* it must not run */
} GoflowCrashes;
extern void goflow_mark_run(const GoflowInstance *instance, int workflow_id, uint64 path);
extern void goflow_mark_commit(void);
extern bool goflow_mark_has_crashes(void);	/* of anything: a hint */
extern GoflowCrashes goflow_mark_crashes(const GoflowInstance *instance, int workflow_id, uint64 path);
extern void goflow_mark_acquit(const GoflowInstance *instance);
extern void goflow_mark_try_again(int workflow_id);
extern void goflow_mark_forget(Oid database, const pg_uuid_t *execution_id);

/* ---- utility.c ---- */

/*
 * Set when this backend ran a utility command, at any depth, other than SET,
 * SHOW, NOTIFY, EXPLAIN and CALL.  The engine clears it before each node.
 */
extern bool goflow_utility_seen;

/* ---- what others call of the processes ---- */

/* There are messages of this database in the ring (live/ring.c). */
extern void goflow_scheduler_wake_message(Oid database);

extern PGDLLEXPORT void goflow_launcher_main(Datum arg);
extern PGDLLEXPORT void goflow_scheduler_main(Datum arg);
extern PGDLLEXPORT void goflow_worker_main(Datum arg);

/* True if a role can be connected by a worker; else why not (for HINTs) in *reason. */
extern bool goflow_role_can_run(Oid role, const char **reason);

#endif							/* GOFLOW_PROCESS_H */
