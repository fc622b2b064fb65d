/*
 * goflow.h
 *		What three or more files share: words, limits, error codes, settings.
 *
 * Everything else is declared in the header of the folder that owns it:
 * definition/definition.h, store/store.h, engine/engine.h,
 * process/process.h and live/live.h.
 */
#ifndef GOFLOW_H
#define GOFLOW_H

#include "compat.h"

#include "utils/errcodes.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define GOFLOW_VERSION "0.1.0"
#define GOFLOW_SCHEMA "goflow"

/* Bounds of a definition; a node's index is a smallint in the journal. */
#define GOFLOW_MAX_NODES 10000
#define GOFLOW_MAX_DEFINITION_BYTES (4 * 1024 * 1024)
#define GOFLOW_MAX_FIELDS 1000
#define GOFLOW_MAX_DEPTH 64

/* Bounds of run-time values; JSON that comes from outside is bounded as it is stored */
#define GOFLOW_MAX_PAYLOAD_BYTES (64 * 1024 * 1024)
#define GOFLOW_MIN_PRIORITY (-100)
#define GOFLOW_MAX_PRIORITY 100

/*
 * States.  The letters are what the tables hold ("char" columns), the words
 * are what users see; goflow_state_name() maps one to the other.
 */
typedef enum GoflowExecutionState
{
	GOFLOW_EXECUTION_QUEUED = 'q',
	GOFLOW_EXECUTION_RUNNING = 'r',
	GOFLOW_EXECUTION_WAITING = 'w',
	GOFLOW_EXECUTION_PAUSED = 'p',
	GOFLOW_EXECUTION_COMPLETED = 'c',
	GOFLOW_EXECUTION_FAILED = 'f',
	GOFLOW_EXECUTION_CANCELLED = 'x',
	GOFLOW_EXECUTION_PARTIAL = 'l'
} GoflowExecutionState;

typedef enum GoflowNodeState
{
	GOFLOW_NODE_IDLE = 'i',
	GOFLOW_NODE_QUEUED = 'q',
	GOFLOW_NODE_RUNNING = 'r',
	GOFLOW_NODE_WAITING = 'w',
	GOFLOW_NODE_RETRYING = 't',
	GOFLOW_NODE_COMPLETED = 'c',
	GOFLOW_NODE_FAILED = 'f',
	GOFLOW_NODE_CANCELLED = 'x',
	GOFLOW_NODE_SKIPPED = 's'
} GoflowNodeState;

#define goflow_execution_is_finished(state) \
	((state) == GOFLOW_EXECUTION_COMPLETED || (state) == GOFLOW_EXECUTION_FAILED || \
	 (state) == GOFLOW_EXECUTION_CANCELLED || (state) == GOFLOW_EXECUTION_PARTIAL)

extern const char *goflow_state_name(char state);

/*
 * SQLSTATEs of goflow's own class, WF.  One table of them, with what each
 * one means and what to do, is in the README; errors of the server's parser
 * and of user SQL keep the server's own codes.
 */
#define ERRCODE_GOFLOW_INVALID_DEFINITION	MAKE_SQLSTATE('W','F','0','0','1')
#define ERRCODE_GOFLOW_UNKNOWN_KEY			MAKE_SQLSTATE('W','F','0','0','2')
#define ERRCODE_GOFLOW_MISSING_KEY			MAKE_SQLSTATE('W','F','0','0','3')
#define ERRCODE_GOFLOW_INVALID_ID			MAKE_SQLSTATE('W','F','0','0','4')
#define ERRCODE_GOFLOW_MISSING_DEPENDENCY	MAKE_SQLSTATE('W','F','0','0','5')
#define ERRCODE_GOFLOW_CIRCULAR_DEPENDENCY	MAKE_SQLSTATE('W','F','0','0','6')
#define ERRCODE_GOFLOW_UNREACHABLE_NODE		MAKE_SQLSTATE('W','F','0','0','7')
#define ERRCODE_GOFLOW_UNKNOWN_PORT			MAKE_SQLSTATE('W','F','0','0','8')
#define ERRCODE_GOFLOW_INVALID_BODY			MAKE_SQLSTATE('W','F','0','0','9')
#define ERRCODE_GOFLOW_UNKNOWN_REFERENCE	MAKE_SQLSTATE('W','F','0','1','0')
#define ERRCODE_GOFLOW_REFERENCE_NOT_READY	MAKE_SQLSTATE('W','F','0','1','1')
#define ERRCODE_GOFLOW_TYPE_MISMATCH		MAKE_SQLSTATE('W','F','0','1','2')
#define ERRCODE_GOFLOW_NAME_CONFLICT		MAKE_SQLSTATE('W','F','0','1','3')
#define ERRCODE_GOFLOW_STATEMENT_REFUSED	MAKE_SQLSTATE('W','F','0','1','4')
#define ERRCODE_GOFLOW_LIMIT_EXCEEDED		MAKE_SQLSTATE('W','F','0','1','5')
#define ERRCODE_GOFLOW_DEFINITION_OUTDATED	MAKE_SQLSTATE('W','F','0','1','6')
#define ERRCODE_GOFLOW_WARNING_ORPHAN		MAKE_SQLSTATE('W','F','0','2','0')
#define ERRCODE_GOFLOW_WARNING_UNUSED		MAKE_SQLSTATE('W','F','0','2','1')
#define ERRCODE_GOFLOW_UNKNOWN_WORKFLOW		MAKE_SQLSTATE('W','F','1','0','1')
#define ERRCODE_GOFLOW_UNKNOWN_EXECUTION	MAKE_SQLSTATE('W','F','1','0','2')
#define ERRCODE_GOFLOW_INVALID_INPUT		MAKE_SQLSTATE('W','F','1','0','3')
#define ERRCODE_GOFLOW_UNKNOWN_ENTRY		MAKE_SQLSTATE('W','F','1','0','4')
#define ERRCODE_GOFLOW_INVALID_STATE		MAKE_SQLSTATE('W','F','1','0','5')
#define ERRCODE_GOFLOW_WORKFLOW_IN_USE		MAKE_SQLSTATE('W','F','1','0','6')
#define ERRCODE_GOFLOW_MUST_WAIT			MAKE_SQLSTATE('W','F','1','0','7')
#define ERRCODE_GOFLOW_ROLE_CANNOT_RUN		MAKE_SQLSTATE('W','F','1','0','8')
#define ERRCODE_GOFLOW_NOT_PRELOADED		MAKE_SQLSTATE('W','F','1','0','9')
#define ERRCODE_GOFLOW_CONCURRENCY_CONFLICT	MAKE_SQLSTATE('W','F','1','1','0')
#define ERRCODE_GOFLOW_UNKNOWN_SIGNAL		MAKE_SQLSTATE('W','F','1','1','1')
#define ERRCODE_GOFLOW_INVALID_PAYLOAD		MAKE_SQLSTATE('W','F','1','1','2')
#define ERRCODE_GOFLOW_UNKNOWN_APPROVAL		MAKE_SQLSTATE('W','F','1','1','3')
#define ERRCODE_GOFLOW_ALREADY_DECIDED		MAKE_SQLSTATE('W','F','1','1','4')
#define ERRCODE_GOFLOW_LEASE_LOST			MAKE_SQLSTATE('W','F','1','1','5')
#define ERRCODE_GOFLOW_VERSION_MISMATCH		MAKE_SQLSTATE('W','F','1','1','9')
#define ERRCODE_GOFLOW_NODE_FAILED			MAKE_SQLSTATE('W','F','2','0','1')
#define ERRCODE_GOFLOW_EXECUTION_CANCELLED	MAKE_SQLSTATE('W','F','2','0','2')
#define ERRCODE_GOFLOW_EXECUTION_TIMEOUT	MAKE_SQLSTATE('W','F','2','0','3')
#define ERRCODE_GOFLOW_NO_BRANCH			MAKE_SQLSTATE('W','F','2','0','4')
#define ERRCODE_GOFLOW_TOO_MANY_ROWS		MAKE_SQLSTATE('W','F','2','0','5')
#define ERRCODE_GOFLOW_ROLE_MISSING			MAKE_SQLSTATE('W','F','2','0','6')
#define ERRCODE_GOFLOW_WORKER_LOST			MAKE_SQLSTATE('W','F','2','0','7')
#define ERRCODE_GOFLOW_SERVER_CRASHED		MAKE_SQLSTATE('W','F','2','0','8')

/* Of the machine, when the library was loaded (guc.c). */
extern int	goflow_processors;

/* Settings (guc.c); units are in the names' descriptions there. */
extern int	goflow_max_workers;
extern int	goflow_worker_idle_timeout;
extern int	goflow_scheduler_idle_timeout;
extern int	goflow_queue_size;
extern int	goflow_tracker_slots;
extern int	goflow_batch_nodes;
extern int	goflow_batch_time;
extern int	goflow_fuse;
extern int	goflow_cancel_grace;
extern int	goflow_rescan_interval;
extern int	goflow_retention;
extern bool goflow_early_start;
extern bool goflow_public_events;
extern int	goflow_max_subscriptions;
extern int	goflow_max_message_rate;
extern double goflow_notification_queue_limit;

/* True when the library was loaded by shared_preload_libraries. */
extern bool goflow_is_preloaded;

/* Raises ERRCODE_GOFLOW_NOT_PRELOADED unless the library was preloaded. */
extern void goflow_require_preloaded(void);

extern void goflow_guc_define(void);

/* What is waited for (wait_event.c): an argument of WaitLatch() and the like. */
typedef enum GoflowWait
{
	GOFLOW_WAIT_LAUNCHER,
	GOFLOW_WAIT_SCHEDULER,
	GOFLOW_WAIT_WORKER,
	GOFLOW_WAIT_TURN,			/* while others store their batches */
	GOFLOW_WAIT_EXIT,			/* of goflow's processes, before DROP DATABASE and the like */
	GOFLOW_WAIT_CONFLICT,		/* before a node runs again that met a deadlock */
	GOFLOW_WAIT_ROOM,			/* for room on a full disk, to store what became of a node */
	GOFLOW_WAIT_EXECUTION,		/* wait() */
	GOFLOW_WAIT_PROGRESS,		/* follow() */
	GOFLOW_WAITS
} GoflowWait;

extern uint32 goflow_wait_event(GoflowWait wait);

#endif							/* GOFLOW_H */
