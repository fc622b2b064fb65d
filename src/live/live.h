/*
 * live.h
 *		What can be watched: progress counters and messages.
 *
 *	tracker.c	a slot per live execution in shared memory, lock-free
 *	ring.c		the bounded ring of messages between workers and the scheduler
 *	rate.c		how many of them there may be
 *	channel.c	who listens: channels somebody asked for
 *	subscription.c	who subscribes to what
 *	ascii.c		messages that every session can receive
 */
#ifndef GOFLOW_LIVE_H
#define GOFLOW_LIVE_H

#include "port/atomics.h"

#include "goflow.h"

typedef struct GoflowProgress
{
	int32		total;
	int32		completed;
	int32		failed;
	int32		skipped;
	int32		current_node;	/* index of the node in the definition; -1: none */
	int32		workflow_id;
	Oid			run_as;
	int32		percent;		/* in hundredths */
} GoflowProgress;

extern Size goflow_tracker_shmem_size(void);
extern void goflow_tracker_shmem_init(void);
extern Size goflow_ring_shmem_size(void);
extern void goflow_ring_shmem_init(void);
extern Size goflow_rate_shmem_size(void);
extern void goflow_rate_shmem_init(void);
extern Size goflow_channel_shmem_size(void);
extern void goflow_channel_shmem_init(void);

/*
 * Tracker.  Whoever drives an execution opens its slot; any number of readers,
 * none of them takes a lock.  A handle may be without a slot (none was free):
 * every function accepts that and does nothing.
 */
typedef enum GoflowTrackerKind
{
	GOFLOW_TRACKER_COMPLETED,
	GOFLOW_TRACKER_FAILED,
	GOFLOW_TRACKER_SKIPPED,
	GOFLOW_TRACKER_KINDS
} GoflowTrackerKind;

typedef struct GoflowTrackerSlot GoflowTrackerSlot;
typedef struct GoflowTracker
{
	GoflowTrackerSlot *slot;	/* NULL: none */
	uint32		generation;
} GoflowTracker;

/* percent: hundredths that were shown before, when it had another slot: one that has begun had. */
extern GoflowTracker goflow_tracker_open(const pg_uuid_t *execution_id, int workflow_id, Oid run_as,
										 int percent, bool has_begun);
extern void goflow_tracker_count(const GoflowTracker *handle, GoflowTrackerKind kind);
extern void goflow_tracker_set(const GoflowTracker *handle, int total, int completed, int failed,
							   int skipped);
extern int	goflow_tracker_percent(const GoflowTracker *handle);
extern void goflow_tracker_node(const GoflowTracker *handle, int node);
extern void goflow_tracker_show_node(const pg_uuid_t *execution_id, int node);
extern void goflow_tracker_close(const pg_uuid_t *execution_id, const GoflowTracker *handle);	/* NULL: it is looked for */

/* The counters as they are; settled: with the percentage, which never falls, and a total that is not less. */
extern bool goflow_tracker_read(const pg_uuid_t *execution_id, GoflowProgress *progress);
extern void goflow_tracker_settle(GoflowProgress *progress);
extern void goflow_tracker_forget(Oid database);
extern int	goflow_tracker_used(void);

/* Of the server; the last two are counted since its start. */
typedef struct GoflowTrackerCounts
{
	int			slots;
	int			used;
	uint64		rebuilt;		/* slots given to executions that had begun before */
	uint64		refused;		/* times that an execution found none: its progress is read from the tables */
} GoflowTrackerCounts;
extern void goflow_tracker_read_counts(GoflowTrackerCounts *counts);

/*
 * Events.  What happens in an execution, numbered from 1 by its driver.
 */
typedef enum GoflowEventType
{
	GOFLOW_EVENT_EXECUTION_STARTED,
	GOFLOW_EVENT_EXECUTION_COMPLETED,
	GOFLOW_EVENT_EXECUTION_FAILED,
	GOFLOW_EVENT_EXECUTION_CANCELLED,
	GOFLOW_EVENT_NODE_STARTED,
	GOFLOW_EVENT_NODE_COMPLETED,
	GOFLOW_EVENT_NODE_FAILED,
	GOFLOW_EVENT_NODE_SKIPPED,
	GOFLOW_EVENT_VARIABLE_CHANGED,
	GOFLOW_EVENT_CONDITION_EVALUATED,
	GOFLOW_EVENT_LOOP_STARTED,
	GOFLOW_EVENT_LOOP_ITERATION,
	GOFLOW_EVENT_LOOP_COMPLETED,
	GOFLOW_EVENT_PROGRESS_UPDATE
} GoflowEventType;

#define GOFLOW_EVENT_TYPES (GOFLOW_EVENT_PROGRESS_UPDATE + 1)
#define GOFLOW_EVENT_BIT(type) (UINT32_C(1) << (type))
#define GOFLOW_EVENTS_ALL (GOFLOW_EVENT_BIT(GOFLOW_EVENT_TYPES) - 1)
#define GOFLOW_EVENTS_LIFECYCLE (GOFLOW_EVENT_BIT(GOFLOW_EVENT_NODE_STARTED) - 1)
#define GOFLOW_EVENTS_END (GOFLOW_EVENTS_LIFECYCLE & ~GOFLOW_EVENT_BIT(GOFLOW_EVENT_EXECUTION_STARTED))

typedef struct GoflowEvent
{
	int32		number;
	GoflowEventType type;
	char		state;			/* of what it is about */
	TimestampTz at;
	int32		frame;
	int16		node;			/* index in the definition; -1: none */
	int16		attempt;		/* of the node; 0: none */
	int16		variable;		/* index in the definition; -1: none */
	int16		port;			/* condition_evaluated: the one taken */
	int32		duration;		/* of a node that ended, in microseconds; -1: it did not begin */
	int32		inner;			/* loop_iteration: the frame of the iteration */
	int32		source;			/* the same: the frame of the node that gives the items */
	int64		iteration;		/* the same: from 1; loop_completed: how many there were */
	int32		total;			/* progress_update */
	int32		completed;
	int32		failed;
	int32		skipped;
	int32		percent;		/* in hundredths */
} GoflowEvent;

extern const char *const goflow_event_names[GOFLOW_EVENT_TYPES];

/*
 * Messages.  After its commit a driver publishes the events that somebody
 * listens to.  The scheduler drains the ring and sends.
 */
#define GOFLOW_MAX_SUBSCRIPTIONS 256

typedef struct GoflowMessage
{
	Oid			database;
	int32		workflow_id;
	pg_uuid_t	execution_id;
	Oid			run_as;
	bool		has_values;		/* its row has an input, output or error to be told */
	TimestampTz started_at;		/* the execution; 0: it never was */
	char		workflow[NAMEDATALEN];	/* its name */
	uint64		ticket;			/* its place in the ring, given there */
	uint64		lsn;			/* of the commit that it tells of */
	uint64		targets[GOFLOW_MAX_SUBSCRIPTIONS / 64];	/* slots of subscriptions */
	GoflowEvent event;
} GoflowMessage;

/* ---- ring.c: publish never blocks; it drops and counts ---- */

/* Who has published wakes the scheduler then: goflow_scheduler_wake_message(). */
extern void goflow_message_publish(GoflowMessage *message);
extern uint64 goflow_message_position(void);
extern bool goflow_message_take(pg_atomic_uint64 *position, Oid database, GoflowMessage *message);
extern uint64 goflow_message_dropped(void);
extern void goflow_message_count_dropped(uint64 n);

/* ---- rate.c ---- */
extern int	goflow_listeners(void);
extern int64 goflow_rate_take(int64 wanted, bool is_end);
extern int64 goflow_rate_room(void);
extern bool goflow_rate_is_short(void);

/*
 * ---- channel.c ----
 *
 * Public channels: "goflow", "goflow_" and an execution's id, and
 * "goflow_workflow_" and a workflow's name.  A key of zeros is the first one.
 */
#define GOFLOW_PUBLIC_CHANNEL "goflow"
#define GOFLOW_CHANNEL_TRANCHE "goflow channels"

typedef struct GoflowChannelKey
{
	uint8		data[UUID_LEN];
} GoflowChannelKey;

extern GoflowChannelKey goflow_channel_of_all(void);
extern GoflowChannelKey goflow_channel_of_execution(const pg_uuid_t *execution_id);
extern GoflowChannelKey goflow_channel_of_workflow(const char *workflow);
extern bool goflow_channel_parse(const char *channel, GoflowChannelKey *key);
extern void goflow_channel_execution_name(const pg_uuid_t *execution_id, char name[NAMEDATALEN]);
extern void goflow_channel_workflow_name(const char *workflow, char name[NAMEDATALEN]);

/* How many LISTENs there are, in all databases. */
extern int	goflow_channel_listens(void);

/* Does anybody in this database listen to it? */
extern bool goflow_channel_wanted(GoflowChannelKey key);

/* The types of events of an execution that go to channels somebody listens to. */
extern uint32 goflow_channel_watched(const pg_uuid_t *execution_id, const char *workflow);

extern void goflow_channel_prepare(void);	/* before the commit of a LISTEN */
extern void goflow_channel_listen(const GoflowChannelKey *key); /* at its commit */
extern void goflow_channel_unlisten(const GoflowChannelKey *key);	/* NULL: all */

/* ---- subscription.c ---- */
#define GOFLOW_SUBSCRIPTION_NODES 1024

typedef struct GoflowSubscription
{
	int			pid;			/* of its session */
	bool		is_active;
	Oid			database;
	Oid			role;			/* it sees what this role may see */
	char		channel[NAMEDATALEN];
	TimestampTz created_at;
	uint64		first_ticket;	/* messages before it are not for it */

	/* what it wants */
	bool		has_execution;
	pg_uuid_t	execution_id;
	char		workflow[NAMEDATALEN];	/* "": any */
	uint32		types;			/* GOFLOW_EVENT_BIT() */
	bool		variables;		/* with a snapshot of the variables */
	char		nodes[GOFLOW_SUBSCRIPTION_NODES];	/* paths, each with a zero byte; "": any */
} GoflowSubscription;

extern Size goflow_subscription_shmem_size(void);
extern void goflow_subscription_shmem_init(void);
extern void goflow_subscription_open(GoflowSubscription *wanted);
extern bool goflow_subscription_close(const char *channel);
extern uint32 goflow_subscription_watched(const pg_uuid_t *execution_id, const char *workflow,
										  Oid run_as);
extern void goflow_subscription_match(const pg_uuid_t *execution_id, const char *workflow);
extern int	goflow_subscription_targets(GoflowMessage *message, const char *node);
extern void goflow_subscription_tally(const GoflowMessage *message, int change);
extern void goflow_subscription_end_tally(bool committed);
extern int	goflow_subscription_slots(void);
extern uint32 goflow_subscription_version(void);
extern int	goflow_subscription_active(void);
extern bool goflow_subscription_read(int slot, GoflowSubscription *sub, uint64 *sent, uint64 *dropped);
extern void goflow_subscription_count(int slot, uint64 sent, uint64 dropped);
extern void goflow_subscription_count_dropped(const GoflowMessage *message);

/* JSON in ASCII, which every client encoding has; in place if it is. */
extern char *goflow_json_to_ascii(char *json);

#endif							/* GOFLOW_LIVE_H */
