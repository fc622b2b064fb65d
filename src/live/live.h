/*
 * live.h
 *		What can be watched: progress counters and messages.
 *
 *	tracker.c	a slot per live execution in shared memory, lock-free
 *	ring.c		the bounded ring of messages between workers and the scheduler
 *	channel.c	who listens: channels somebody asked for
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

/* percent: hundredths that were shown before, when it had another slot. */
extern GoflowTracker goflow_tracker_open(const pg_uuid_t *execution_id, int workflow_id, Oid run_as,
										 int percent);
extern void goflow_tracker_count(const GoflowTracker *handle, GoflowTrackerKind kind);
extern void goflow_tracker_set(const GoflowTracker *handle, int total, int completed, int failed,
							   int skipped);
extern int	goflow_tracker_percent(const GoflowTracker *handle);
extern void goflow_tracker_node(const GoflowTracker *handle, int node);
extern void goflow_tracker_show_node(const pg_uuid_t *execution_id, int node);
extern void goflow_tracker_close(const pg_uuid_t *execution_id);

/* The counters as they are; settled: with the percentage, which never falls, and a total that is not less. */
extern bool goflow_tracker_read(const pg_uuid_t *execution_id, GoflowProgress *progress);
extern void goflow_tracker_settle(GoflowProgress *progress);
extern void goflow_tracker_forget(Oid database);
extern int	goflow_tracker_used(void);

/*
 * Messages.  After its commit a driver publishes what changed; nothing is made
 * when nobody listens.  The scheduler drains the ring and sends.
 */
typedef enum GoflowEventType
{
	GOFLOW_EVENT_EXECUTION_STARTED,
	GOFLOW_EVENT_EXECUTION_COMPLETED,
	GOFLOW_EVENT_EXECUTION_FAILED,
	GOFLOW_EVENT_EXECUTION_CANCELLED,
	GOFLOW_EVENT_PROGRESS_UPDATE
} GoflowEventType;

typedef struct GoflowMessage
{
	Oid			database;
	pg_uuid_t	execution_id;
	int32		workflow_id;
	GoflowEventType type;
	char		state;			/* GoflowExecutionState */
	TimestampTz at;
	int32		total;
	int32		completed;
	int32		failed;
	int32		skipped;
	int32		percent;		/* in hundredths */
} GoflowMessage;

/* ---- ring.c: publish never blocks; it drops and counts ---- */
extern void goflow_message_publish(const GoflowMessage *message);
extern uint64 goflow_message_position(void);
extern bool goflow_message_take(pg_atomic_uint64 *position, Oid database, GoflowMessage *message);
extern uint64 goflow_message_dropped(void);

/* ---- channel.c: an id of zeros stands for the public channel ---- */
#define GOFLOW_PUBLIC_CHANNEL "goflow"
#define GOFLOW_CHANNEL_TRANCHE "goflow channels"

/* Anybody in this database listening to this execution, or to all of them? */
extern bool goflow_channel_wanted(const pg_uuid_t *execution_id);
extern bool goflow_channel_execution_wanted(const pg_uuid_t *execution_id);
extern bool goflow_channel_public_wanted(Oid database);

extern bool goflow_channel_parse(const char *channel, pg_uuid_t *execution_id);
extern void goflow_channel_name(const pg_uuid_t *execution_id, char name[NAMEDATALEN]);
extern void goflow_channel_prepare(void);	/* before the commit of a LISTEN */
extern void goflow_channel_listen(const pg_uuid_t *execution_id);	/* at its commit */
extern void goflow_channel_unlisten(const pg_uuid_t *execution_id); /* NULL: all */

#endif							/* GOFLOW_LIVE_H */
