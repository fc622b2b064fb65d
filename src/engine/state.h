/*
 * state.h
 *		An execution in memory, and what the files of the engine call of each
 *		other.
 *
 *	execution.c	save and restore; pendings; what survives a commit
 *	load.c		made, or loaded from the tables
 *	record.c	journal rows, counts, progress
 *	frame.c		frames: runs of a body
 *	cascade.c	what becomes ready, skipped or cancelled when a node ended
 *	failure.c	what an error does: retry, on_error, unwinding
 *	retry.c		an execution that had finished goes on: retry()
 *	body.c		loop, try and parallel: nodes that run bodies
 *	child.c		workflow nodes
 *	wait.c		signals, approvals and tasks: nodes that wait for somebody outside
 *	signal.c	the inbox of an execution
 *	answer.c	approvals and tasks: what others are shown, and what they answered
 *	compensate.c	undoing what completed
 *	lookup.c	present values of references
 *	plan.c		plans of SQL texts
 *	evaluate.c	values of expressions; coercion
 *	result.c	columns and rows that statements return
 *	contained.c	what a statement does that a rollback would not undo
 *	insert.c	plain INSERT ... VALUES without the executor
 *	node.c		what each simple node type does
 *	history.c	numbers and events: what happened, in order
 *	data.c		map, filter, reduce, merge, split; items of loops
 *	rows.c		rows in chunks, of many-row nodes and loops
 *	value.c		text form of typed values, and jsonb of them
 *	error.c		errors as jsonb and back
 *	fence.c		what has crashed the server does not do so for ever
 *	session.c	settings, hygiene, fuse and timeout around a node
 *	limits.c	what stops a workflow that would go on for ever
 *	activity.c	what pg_stat_activity shows of it
 *	segment.c	runs ready nodes of one execution in a subtransaction
 *	driver.c	batches of executions: whole transactions in a worker
 *	node_mode.c	one node in a transaction of its own
 *	detached.c	statements that must be outside of a transaction
 *	inline.c	run(): an execution in the caller's session and transaction
 *	input.c		inputs of an execution from a jsonb object
 *	row.c		inputs of an execution that a changed row starts
 *
 * Only the process that drives an execution has it in memory, so nothing here
 * is locked.
 *
 * Frames.  A frame is one run of a body: of the workflow's own (frame 0), of a
 * loop's (one per iteration), of a try's or of a parallel's.  Each has a
 * GoflowNodeRun per node of its body.  Frames form a tree; names are looked up
 * from the inside to the outside.  A frame's number is the journal's key.
 *
 * Pendings.  A node that has begun and not ended when its step returns (it
 * waits for a moment, a child execution, somebody outside or the frames of its
 * own bodies) has
 * a GoflowPending.  Frames and pendings that are open at a commit have rows;
 * those that come and go within a batch leave no trace but the journal.
 */
#ifndef GOFLOW_STATE_H
#define GOFLOW_STATE_H

#include "engine/engine.h"
#include "executor/spi.h"
#include "live/live.h"
#include "store/store.h"
#include "utils/tuplestore.h"

/*
 * How a frame, or a node with bodies, is being ended other than by running to
 * its end; also in the tables.
 */
#define GOFLOW_UNWIND_NONE 0
#define GOFLOW_UNWIND_FAIL 'f'
#define GOFLOW_UNWIND_CANCEL 'x'
#define GOFLOW_UNWIND_BREAK 'b'
#define GOFLOW_UNWIND_CONTINUE 'c'

/* What a frame itself is to do next, before any node. */
typedef enum GoflowFrameTask
{
	GOFLOW_FRAME_NOTHING,
	GOFLOW_FRAME_BEGIN,			/* set first values, ready the entries */
	GOFLOW_FRAME_FINISH			/* every node has ended: evaluate its output */
} GoflowFrameTask;

typedef struct GoflowPending GoflowPending;
typedef struct GoflowFrame GoflowFrame;

/* One node instance. */
typedef struct GoflowNodeRun
{
	char		state;			/* GoflowNodeState */
	bool		reachable;		/* from the execution's entry */
	bool		to_offer;		/* is to run in node mode: offered after the commit */
	bool		is_stepping;	/* in the ready list for a step of its pending */
	bool		is_listed;		/* in the ready list, once */
	int16		attempt;		/* 1 for the first; 0: none yet */
	int16		past_attempts;	/* those before the execution was retried */
	int16		port;			/* port taken, -1: none */
	int32		seq;			/* number of its start; 0: none yet */
	int32		end_seq;		/* number of its end */
	GoflowOfferedRow *offered;	/* it was handed to the workers, or NULL */
	GoflowNodeRow *row;			/* as it was read, or NULL */
	TimestampTz began_at;		/* of one that is cancelled while it waits, or 0 */
	TimestampTz ended_at;
	Datum	   *values;			/* of its columns; NULL until decoded or run */
	bool	   *nulls;
	ArrayType  *output;			/* text form, as read from the journal */
	Jsonb	   *error;			/* of a failed one */
	Tuplestorestate *rows;		/* of a many-row node; NULL until read or run */
	GoflowPending *pending;		/* or NULL */

	/* the present item, of map, filter, reduce and split */
	Datum	   *items;
	bool	   *item_nulls;
	int64		index;
	Datum		acc;
	bool		acc_null;
} GoflowNodeRun;

/* What of a pending a rolled-back segment undoes. */
typedef struct GoflowPendingState
{
	GoflowPendingRow row;
	int			live;			/* open frames of its bodies */
	bool		dirty;			/* differs from its row */
} GoflowPendingState;

struct GoflowPending
{
	GoflowFrame *frame;
	GoflowNode *node;			/* NULL: of the execution itself */
	GoflowPendingState now;
	GoflowPendingState saved;
	GoflowApprovalRow *approval;	/* to be stored with it, or NULL */
	GoflowTaskRow *task;		/* the same */

	/* the chunk of items read last */
	int			chunk;			/* -1: none */
	Datum	   *elements;
	bool	   *element_nulls;
	int			nelements;
	MemoryContext chunk_context;
};

/* What of a frame a rolled-back segment undoes. */
typedef struct GoflowFrameState
{
	GoflowNodeRun *runs;		/* by position in the body */
	Datum	   *variables;		/* of this body */
	bool	   *variable_nulls;
	int16	   *ready;			/* ring of positions, capacity nnodes */
	int			ready_head;
	int			ready_count;
	int			open;			/* reachable nodes that have not ended */
	int			completed;
	int			failed;
	int			skipped;		/* skipped and cancelled */
	char		unwind;
	int16		target;			/* the loop of a break or continue */
	Jsonb	   *error;			/* error.* of a catch, or what it is being ended with */
	Jsonb	   *output;			/* "output" of its body, or "collect"; NULL: neither */
	GoflowFrameTask task;
	bool		ended;			/* its owner has been told */
	bool		told;			/* a journal row says whose frame it is */
	bool		dirty;
} GoflowFrameState;

struct GoflowFrame
{
	int32		id;
	GoflowBody *body;
	GoflowFrame *parent;		/* NULL: frame 0 */
	int64		iteration;
	uint64		path;			/* a hash of where it is, up to the root: the same whenever it begins */
	int32		seq;			/* number of its start, of a loop's */
	TimestampTz started_at;		/* the same */
	MemoryContext context;		/* dies with the frame */
	uint64		segment;		/* in which it was made */
	bool		stored;			/* has a row, at tid */
	ItemPointerData tid;
	Datum	   *items;			/* of a loop's iteration; NULL until read */
	bool	   *item_nulls;
	List	   *tuplestores;	/* to end with the frame */
	char	   *room;			/* for columns of nodes to come */
	Size		room_left;
	GoflowFrameState now;
	GoflowFrameState saved;
};

/* What of the execution itself a rolled-back segment undoes. */
typedef struct GoflowVarying
{
	List	   *frames;			/* open ones, frame 0 first */
	List	   *pendings;
	int			total;
	int			completed;		/* of all frames */
	int			failed;
	int			skipped;
	int			past_completed; /* of frames that have gone */
	int			past_failed;
	int			past_skipped;
	int32		seq;			/* number of the last event */
	int			told_total;		/* as the journal has it; -1: not known */
	int			nevents;		/* to be published */
	int			nunsent;		/* to be counted as dropped */
	int32		next_frame;
	int			tasks;			/* frames that have one */
	List	   *inbox;			/* GoflowSignalRow *, not consumed, to be used when it was read */
	bool		inbox_read;
	bool		is_partial;		/* went on after a failure */
	bool		compensating;
	int			compensated;	/* of the list of compensations, from its end */
	char		state;			/* GoflowExecutionState it will have */
	Jsonb	   *output;
	Jsonb	   *error;
} GoflowVarying;

/* An event that nobody is told of, since there are too many. */
typedef struct GoflowUnsent
{
	int32		number;
	int16		node;
	uint8		type;			/* GoflowEventType */
} GoflowUnsent;

typedef struct GoflowExecution
{
	MemoryContext context;
	GoflowExecutionRow *row;
	GoflowDefinition *definition;
	GoflowFrame *root;
	GoflowWrites *writes;		/* of the transaction that drives it */
	GoflowTracker tracker;		/* of the driver */
	int			shown_total;	/* what it shows now */
	int64		shown_ended;
	int			percent;		/* in hundredths: not less than this has been shown */

	Datum	   *inputs;
	bool	   *input_nulls;
	char	   *trigger[GOFLOW_TRIGGER_FIELDS]; /* NULL: SQL NULL */
	TupleTableSlot *new_row;	/* NEW and OLD of a row trigger, or NULL (row.c) */
	TupleTableSlot *old_row;

	uint64		segment;		/* counts goflow_execution_save() */
	List	   *gone_frames;	/* ended, to be forgotten when the segment is safe */
	List	   *gone_pendings;
	List	   *gone_values;	/* of variables that were assigned again */
	List	   *compensations;	/* GoflowCompensationRow *, to be done when they were read */
	bool		compensations_read;
	GoflowVarying now;
	GoflowVarying saved;

	TimestampTz bare_since;		/* what runs since then is pure, and goes without what surrounds others; or 0 */
	bool		careful;		/* a subtransaction per node */
	bool		alone;			/* a transaction per node, after an error of a whole batch */
	bool		is_inline;		/* run() */
	bool		is_hidden;		/* the tracker does not have it yet */
	bool		started;		/* its first segment is done */
	bool		is_others;		/* belongs to another database, or to another role by now */
	bool		inactive;		/* that, or was finished, when it was loaded */
	bool		is_driver;		/* this process has the claim */
	bool		must_commit;	/* nothing more may run before what is buffered is stored */
	List	   *offered;		/* GoflowOfferedRow *, read or made */
	List	   *unseen;			/* GoflowNodeRow * that no driver has numbered */
	uint32		watched;		/* GOFLOW_EVENT_BIT() of what somebody listens to */
	uint32		to_channels;	/* the same, on public channels */
	GoflowEvent *events;		/* to be published after the commit */
	int			max_events;
	bool		is_flooded;		/* in this transaction only its end may be told */
	GoflowUnsent *unsent;		/* the rest */
	int			max_unsent;
	int32		published;		/* events up to this number have been, or were not wanted */
	List	   *withdrawn;		/* GoflowInstance * cancelled while running, told after commit */
	const char *cancel_reason;	/* with cancel_requested */
	bool		cancel_requested;
	bool		has_requests;	/* rows to be deleted at its end */
	List	   *retry_from;		/* char *, or NULL: retries that were asked for, of one that has finished */
	List	   *met_requests;	/* GoflowRequestRow * that the driver meets by loading it */
	bool		row_changed;	/* its row is to be written, whatever its state */
	bool		paused;			/* nothing new begins */
} GoflowExecution;

#define goflow_execution_is_done(ex) goflow_execution_is_finished((ex)->now.state)

/* A node in a frame: what most of the engine's functions are about. */
#define goflow_run(frame, node) (&(frame)->now.runs[(node)->position])

/* ---- history.c ---- */

/* Numbers the start of a node, once. */
extern void goflow_history_start(GoflowExecution *ex, GoflowNodeRun *run);

/* Numbers the end of a node; its row is complete but for that. */
extern void goflow_history_end(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
							   GoflowNodeRow *row);
extern void goflow_history_frame(GoflowExecution *ex, GoflowFrame *frame, int attempt);
extern void goflow_history_offer(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern void goflow_history_begun(GoflowExecution *ex, const GoflowPendingRow *row);
extern void goflow_history_assigned(GoflowExecution *ex, const GoflowVariableRow *row);
extern void goflow_history_finish(GoflowExecution *ex);

/* It has finished and goes on: what its row has of the end is kept.  started_at: before. */
extern void goflow_history_restart(GoflowExecution *ex, TimestampTz started_at);

/* By the driver, after loading: numbers what ended in node mode since it was driven last. */
extern void goflow_history_see(GoflowExecution *ex);
extern void goflow_history_retried(GoflowExecution *ex, GoflowNodeRun *run);
extern GoflowOfferedRow *goflow_history_offered(GoflowExecution *ex, GoflowFrame *frame,
												GoflowNode *node, int attempt);

extern void goflow_history_watch(GoflowExecution *ex);

/* After the commit: hands to the ring what somebody listens to. */
extern void goflow_history_publish(GoflowExecution *ex, char old_state);
extern GoflowMessage *goflow_history_settle(GoflowExecution *ex, char old_state, MemoryContext context);
extern void goflow_history_batch_ended(bool committed);

/* ---- load.c ---- */

/*
 * Loads an execution that this process has claimed.  NULL if it is unknown.
 * instances: its nodes that were offered or running before the snapshot.
 * unasked: its row, if it was read before and nobody has asked anything of the
 * execution since; it must live as long as the execution.
 */
extern GoflowExecution *goflow_execution_load(const pg_uuid_t *id, GoflowWrites *writes,
											  const GoflowInstance *instances, int ninstances,
											  GoflowExecutionRow *unasked);

/* Reads what an execution needs to go on; for one that was loaded as finished: before it is retried. */
extern void goflow_execution_load_state(GoflowExecution *ex, const GoflowInstance *instances,
										int ninstances);

/* After loading, by the driver: decides about everything that happened meanwhile. */
extern void goflow_execution_resume(GoflowExecution *ex);

/* Makes one that is not stored yet: run(). */
extern GoflowExecution *goflow_execution_create(GoflowExecutionRow *row, GoflowWrites *writes);

/* What frame 0's row keeps of the counts, for load.c to read again. */
extern ArrayType *goflow_execution_counters(GoflowExecution *ex);

/* ---- execution.c ---- */

extern void goflow_execution_free(GoflowExecution *ex);
extern void goflow_execution_save(GoflowExecution *ex);
extern void goflow_execution_restore(GoflowExecution *ex);
extern GoflowPending *goflow_pending_create(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
											char kind);
extern void goflow_pending_end(GoflowExecution *ex, GoflowPending *pending);

/* Between who begins a node with bodies or a child in node mode, and who cancels it. */
extern bool goflow_execution_lock_begun(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern void goflow_execution_lock_cancelled(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);

/* Once in an execution's life. */
extern void goflow_execution_begin(GoflowExecution *ex);
extern void goflow_execution_begin_timeout(GoflowExecution *ex);

/* Buffers the rows of frames and pendings that are to survive the commit. */
extern void goflow_execution_persist(GoflowExecution *ex);
extern void goflow_execution_mark_entries(GoflowExecution *ex);
extern void goflow_execution_end_frame(GoflowExecution *ex, GoflowFrame *frame);

/* ---- record.c ---- */

/* A node instance ended: journal row, counters. */
extern void goflow_execution_record(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
									char state, TimestampTz started_at, int duration, Jsonb *error);

/* The journal row of an attempt that is not the last. */
extern void goflow_execution_record_attempt(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
											TimestampTz started_at, int duration, Jsonb *error);

/*
 * Progress, shown by who drives it.  node: the current one, -1: none.  The
 * last one is for when counts may have changed only by nodes that ended.
 */
extern void goflow_execution_show(GoflowExecution *ex);
extern void goflow_execution_track(GoflowExecution *ex, int node);
extern void goflow_execution_track_node(GoflowExecution *ex, int node);
extern int	goflow_execution_percent(const GoflowExecution *ex);	/* in hundredths, never falls */

/* ---- frame.c ---- */
extern GoflowFrame *goflow_frame_create(GoflowExecution *ex, GoflowFrame *parent, GoflowBody *body,
										int32 id, int64 iteration);
extern GoflowFrame *goflow_frame_start(GoflowExecution *ex, GoflowFrame *parent, GoflowNode *owner,
									   int part, int64 iteration, Jsonb *error);

/* At once, or by a task that is done before the next commit. */
extern void goflow_frame_begin(GoflowExecution *ex, GoflowFrame *frame);

/* A frame that has a task, or NULL. */
extern GoflowFrame *goflow_frame_next(GoflowExecution *ex);
extern void goflow_frame_do_task(GoflowExecution *ex, GoflowFrame *frame);

/* True if all that its task evaluates is pure, as goflow_node_is_pure() says of a node. */
extern bool goflow_frame_task_is_pure(const GoflowFrame *frame);

/* Its task failed, and has been undone. */
extern void goflow_frame_failed(GoflowExecution *ex, GoflowFrame *frame, Jsonb *error);
extern GoflowFrame *goflow_frame_find(GoflowExecution *ex, int32 id);
extern void goflow_frame_gone(GoflowExecution *ex, GoflowFrame *frame);
extern void goflow_frame_free(GoflowFrame *frame);

/* Tells the owner if nothing is open any more. */
extern void goflow_frame_check_end(GoflowExecution *ex, GoflowFrame *frame);

/* Ends a frame early: what has not ended is cancelled, "finally" bodies still run. */
extern void goflow_frame_stop(GoflowExecution *ex, GoflowFrame *frame, char unwind, Jsonb *error,
							  int16 target);

extern Tuplestorestate *goflow_frame_rows(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern Tuplestorestate *goflow_frame_make_rows(GoflowFrame *frame, GoflowNode *node);
extern Datum goflow_frame_keep_value(GoflowExecution *ex, GoflowFrame *frame, Oid type, Datum value);

/* ---- lookup.c ---- */
extern Datum goflow_reference_value(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
									const GoflowRef *ref, bool *isnull);
extern GoflowFrame *goflow_frame_of_body(GoflowFrame *frame, GoflowBody *body);
extern void goflow_variable_assign(GoflowExecution *ex, GoflowFrame *frame, int variable,
								   GoflowNode *node, Datum value, bool isnull);

/* ---- cascade.c ---- */
static inline bool
goflow_node_has_ended(const GoflowNodeRun *run)
{
	return run->state == GOFLOW_NODE_COMPLETED || run->state == GOFLOW_NODE_FAILED ||
		run->state == GOFLOW_NODE_CANCELLED || run->state == GOFLOW_NODE_SKIPPED;
}

extern void goflow_cascade_ended(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);

/* A node that has a pending has completed: its result is complete but for "aggregate". */
extern void goflow_cascade_completed(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern void goflow_cascade_leave(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern void goflow_cascade_enter(GoflowExecution *ex, GoflowFrame *frame);
extern void goflow_cascade_settle_all(GoflowExecution *ex, GoflowFrame *frame);
extern void goflow_cascade_make_ready(GoflowFrame *frame, GoflowNode *node);
extern void goflow_cascade_make_step(GoflowFrame *frame, GoflowNode *node);
extern GoflowNode *goflow_cascade_next(GoflowExecution *ex, GoflowFrame **frame);
extern void goflow_cascade_cancel_node(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern Jsonb *goflow_cascade_aggregate(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);

/* ---- failure.c ---- */

/* A node's attempt failed.  started_at 0: it never ran. */
extern void goflow_node_failed(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, Jsonb *error,
							   TimestampTz started_at, int duration);

/* The same for one whose journal row is there already. */
extern void goflow_failure_apply(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern bool goflow_failure_continues(const GoflowNode *node);
extern bool goflow_failure_is_handled(const GoflowNode *node);
extern bool goflow_failure_makes_partial(const GoflowNode *node);

/* ---- retry.c ---- */

/* By the driver, instead of goflow_execution_resume(): one that has finished and has retry_from. */
extern void goflow_retry_begin(GoflowExecution *ex);

/* ---- body.c ---- */

/* Begins a loop, try or parallel: evaluates what it is about.  Its first step starts frames. */
extern void goflow_body_begin(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);

/* A step: frames of it have ended, or it has just begun.  True if the node has ended. */
extern void goflow_body_step(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern void goflow_body_wind(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, char unwind,
							 Jsonb *error, int16 target);
extern void goflow_body_leave(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);

/* Reads the item of a loop's iteration. */
extern void goflow_loop_read_item(GoflowExecution *ex, GoflowFrame *iteration);

/* ---- child.c ---- */
extern bool goflow_child_begin(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern void goflow_child_step(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern void goflow_child_cancel(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern void goflow_child_pass_on(GoflowExecution *ex, char request, const char *argument);

/* ---- wait.c ---- */

/* Begins a signal, approval or task.  True: a signal was there, the node has ended. */
extern bool goflow_wait_begin(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);

/* A step: something may have come. */
extern void goflow_wait_step(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern void goflow_wait_cancel(GoflowExecution *ex, GoflowPending *pending);

/* Buffers the row of a pending, and what others are to see of it. */
extern void goflow_wait_persist(GoflowExecution *ex, GoflowPending *pending);

/* The execution goes on after a pause: whoever works for it is told. */
extern void goflow_wait_renew(GoflowExecution *ex);

/* The execution has ended: nothing that others have sent, or see, of it is left. */
extern void goflow_wait_forget(const pg_uuid_t *id, GoflowDefinition *definition,
							   GoflowWrites *writes);

/* ---- signal.c ---- */

/* Takes the signal that the node is to have, if it has come: sets its columns. */
extern bool goflow_signal_take(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern void goflow_signal_left(GoflowExecution *ex, GoflowPending *pending);

/* ---- answer.c ---- */
extern void goflow_answer_begin(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
								GoflowPending *pending);
extern void goflow_answer_persist(GoflowExecution *ex, GoflowPending *pending);
extern void goflow_answer_withdraw(GoflowPending *pending);
extern bool goflow_approval_take(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern bool goflow_task_take(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, Jsonb **error);

/* ---- compensate.c ---- */
extern void goflow_compensate_note(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern bool goflow_compensate_needed(GoflowExecution *ex);

/* Undoes one node; false when none is left. */
extern GoflowCompensationRow *goflow_compensate_next(GoflowExecution *ex);
extern void goflow_compensate_run(GoflowExecution *ex, GoflowCompensationRow *row);
extern void goflow_compensate_done(GoflowExecution *ex, GoflowCompensationRow *row, Jsonb *error);

/* ---- contained.c ---- */
extern bool goflow_is_contained(SPIPlanPtr plan);
extern bool goflow_calls_user_code(Node *node, void *context);

/* ---- insert.c ---- */
typedef struct GoflowInsert GoflowInsert;
extern bool goflow_insert_run(GoflowInsert **state, SPIPlanPtr spi, const char *text,
							  ParamListInfo params);
extern void goflow_insert_forget(GoflowInsert *insert);

/* ---- plan.c ---- */

/* Makes the references of an expression known. */
extern void goflow_plan_prepare(GoflowExpr *expr);

/* Room for their values, and the values themselves; NULL if there are none. */
extern ParamListInfo goflow_params_make(const GoflowExpr *expr);
extern ParamListInfo goflow_params_get(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr);

/* Runs a statement for its effect, with parameters of the caller's. */
extern void goflow_plan_run_with(GoflowExpr *expr, ParamListInfo params);
extern bool goflow_plan_is_contained(GoflowExpr *expr);
extern void goflow_plan_forget(GoflowExpr *expr);

/* ---- evaluate.c ---- */

/*
 * The value of an expression for a node in a frame, in the frame's memory.
 * Needs SPI and an active snapshot.
 */
extern Datum goflow_evaluate(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, bool *isnull,
							 Oid *type, int32 *typmod);
extern bool goflow_evaluate_boolean(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr);
extern Jsonb *goflow_evaluate_jsonb(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr);

/* An object of named expressions. */
extern Jsonb *goflow_evaluate_object(GoflowExecution *ex, GoflowFrame *frame,
									 const GoflowNamedExpr *exprs, int n);
extern bool goflow_evaluate_is_simple(GoflowExpr *expr);
extern bool goflow_evaluate_is_pure(GoflowExpr *expr);

/*
 * What was found to be pure remains so until this changes: with the transaction
 * and the user, and when the server says that a plan may have to be made anew.
 */
extern uint64 goflow_evaluate_epoch(void);
extern bool goflow_evaluate_is_pure_json(GoflowExpr *expr); /* as jsonb, too */

/* ---- result.c ---- */

/* Runs the statement of a sql node and takes its result. */
extern void goflow_result_run(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr,
							  GoflowNodeRun *run);

/* Sets the columns of a sql node and its rows; table NULL: it returns none. */
extern void goflow_result_take(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr,
							   GoflowNodeRun *run, SPITupleTable *table, uint64 processed);

/* Runs a query for its rows; the caller ends the tuplestore. */
extern Tuplestorestate *goflow_result_rows(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr,
										   const GoflowField *fields, int nfields);

/* ---- node.c ---- */

/* Runs a node.  False: it has begun, and has a pending. */
extern bool goflow_node_execute(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern bool goflow_node_may_be_tried(GoflowNode *node);

/*
 * True if all that the node evaluates is pure, as this transaction has found
 * before: it needs no settings, sees no clock and leaves nothing.
 */
extern bool goflow_node_is_pure(GoflowNode *node);

/* Column "joined", if the node has one: the results of the nodes before it. */
extern void goflow_node_set_aggregate(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);

/* Has bodies, or waits for something: never itself in node mode. */
extern bool goflow_node_runs_bodies(const GoflowNode *node);

/* May begin in node mode, and then have a pending and no row in the journal. */
extern bool goflow_node_may_wait(const GoflowNode *node);

/* Bytes of values and nulls of a node's columns. */
#define GOFLOW_COLUMNS_SIZE(node) \
	MAXALIGN(Max((node)->ncolumns, 1) * (sizeof(Datum) + sizeof(bool)))

/* Its columns, to be set; then the last one, if it has "aggregate". */
extern void goflow_node_make_columns(GoflowFrame *frame, GoflowNode *node, GoflowNodeRun *run);

/* What goflow_node_execute() does, for a sql node whose statement has run already. */
extern void goflow_node_take_result(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
									SPITupleTable *table, uint64 processed);

/* ---- detached.c ---- */

/*
 * Runs the statement of a node with "atomic": false, outside of a transaction.
 * Its result is in context; NULL: it returned no rows.
 */
extern SPITupleTable *goflow_detached_run(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
										  MemoryContext context, uint64 *processed);

/* ---- data.c ---- */
extern void goflow_data_execute(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern Tuplestorestate *goflow_items_collect(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node);
extern TupleDesc goflow_items_descriptor(const GoflowField *fields, int nfields);

/* ---- rows.c ---- */
extern void goflow_rows_store(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, int attempt,
							  const GoflowField *fields, int nfields, Tuplestorestate *rows);
extern void goflow_rows_load(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, int attempt,
							 const GoflowField *fields, int nfields, Tuplestorestate *rows);

/* ---- value.c ---- */

/* The text form of a value, in the memory of what is to be written; goflow_value_encode(): in the current context. */
extern text *goflow_value_write(GoflowWrites *writes, const GoflowField *field, Datum value);
extern ArrayType *goflow_values_encode(const GoflowField *fields, int nfields,
									   const Datum *values, const bool *nulls);
extern void goflow_values_decode(const GoflowField *fields, int nfields, ArrayType *array,
								 Datum *values, bool *nulls);
extern Datum goflow_value_decode(const GoflowField *field, const char *string);

extern bool goflow_type_is_by_value(Oid type);	/* the commonest without a look-up */

/* A copy in the current context, detoasted. */
extern Datum goflow_value_copy(Oid type, Datum value);
extern Jsonb *goflow_values_to_jsonb(const GoflowField *fields, int nfields,
									 const Datum *values, const bool *nulls);
extern Jsonb *goflow_fields_to_jsonb(char **names, Oid *types, int n, const Datum *values, const bool *nulls);

/* One value as to_jsonb() makes it; NULL becomes JSON null.  No code of users is called for a plain type. */
extern bool goflow_json_is_plain(Oid type);
extern Jsonb *goflow_datum_to_jsonb(Oid type, Datum value, bool isnull);

/* A number as the integer type that a column has. */
extern Datum goflow_integer(Oid type, int64 number);
extern Jsonb *goflow_jsonb_copy(MemoryContext context, Jsonb *json);
extern Jsonb *goflow_jsonb_array(List *values);	/* Jsonb *, NULL: JSON null */
extern Jsonb *goflow_jsonb_only_value(Jsonb *object);	/* of an object with one key */

/* Rows of as many columns, row by row, as they are stored. */
extern ArrayType *goflow_text_array(Datum *elements, bool *nulls, int nrows, int ncolumns);

/* ---- error.c ---- */
extern Jsonb *goflow_error_to_jsonb(const ErrorData *error, GoflowNode *node, int attempt);
extern Jsonb *goflow_error_make(int code, const char *message, const char *detail, GoflowNode *node,
								int attempt);
extern char *goflow_error_field(Jsonb *error, int field);	/* GOFLOW_ERROR_*; NULL: none */
extern int	goflow_error_code(Jsonb *error);
extern int	goflow_error_attempt(Jsonb *error);
extern void goflow_error_lost(GoflowDefinition *definition, GoflowNode *node, int losses);
extern Jsonb *goflow_error_with_cause(Jsonb *error, Jsonb *cause);
extern Jsonb *goflow_error_with_undo(Jsonb *error, Jsonb *undo);
extern bool goflow_error_is_conflict(const ErrorData *error);
extern bool goflow_error_is_disk_full(const ErrorData *error);

/* ---- fence.c ---- */
extern bool goflow_fence_check(const GoflowInstance *instance, GoflowDefinition *definition,
							   GoflowNode *node, uint64 path);

/* ---- session.c ---- */
extern void goflow_session_init(void);
extern void goflow_session_apply(GoflowDefinition *definition);
extern GoflowDefinition *goflow_session_definition(void);
extern void goflow_session_transaction_ended(bool is_committed);
extern void goflow_session_node_begin(const GoflowSettings *settings, bool fuse, int64 timeout);
extern void goflow_session_node_end(void);
extern void goflow_session_pure_begin(TimestampTz now, bool fuse);
extern void goflow_session_pure_end(void);
extern void goflow_session_detached_begin(const GoflowSettings *settings, int64 timeout);
extern void goflow_session_detached_end(void);
extern void goflow_session_timeouts_off(void);
extern void goflow_session_allow_cancel(bool allow);
extern bool goflow_session_fuse_burnt(void);
extern bool goflow_session_timed_out(void);
extern bool goflow_session_must_run_alone(void);
extern bool goflow_session_holds_advisory_lock(void);
extern void goflow_session_clean(void);

/* ---- limits.c ---- */

/* Nodes, and numbers of events, that an execution may have before it is ended; then it has a reserve. */
#define GOFLOW_MAX_SEQ 2000000000
#define GOFLOW_SEQ_RESERVE 100000000

extern bool goflow_limit_is_reached(const GoflowExecution *ex);
extern void goflow_limit_stop(GoflowExecution *ex);
extern void goflow_limit_check_rest(GoflowExecution *ex);
extern void goflow_limit_check_tree(GoflowExecution *ex, const char *workflow);
extern void goflow_limit_check_rows(const GoflowNode *node, int64 rows);
extern void goflow_limit_check_size(const GoflowDefinition *definition, const char *what, const char *name,
									Size size);
extern void goflow_limit_check_result(const GoflowNode *node, const Datum *texts, const bool *nulls);

/* ---- activity.c ---- */
extern void goflow_activity_show(GoflowDefinition *definition, GoflowNode *node);

/* ---- segment.c ---- */
typedef enum GoflowSegmentEnd
{
	GOFLOW_SEGMENT_BLOCKED,		/* nothing more to run here now */
	GOFLOW_SEGMENT_FULL,		/* the batch's bounds were met; more is ready */
	GOFLOW_SEGMENT_DONE			/* the execution is finished */
} GoflowSegmentEnd;

typedef struct GoflowBudget
{
	int			nodes;			/* nodes left in this transaction */
	int			ran;			/* nodes run in it: one at least, also past the deadline */
	TimestampTz deadline;		/* 0: none */
} GoflowBudget;

extern GoflowSegmentEnd goflow_segment_run(GoflowExecution *ex, GoflowBudget *budget);
extern GoflowSegmentEnd goflow_segment_run_raising(GoflowExecution *ex, GoflowBudget *budget);

/* ---- driver.c ---- */

/* What lives as long as one transaction of a worker; errors and retries of it included. */
extern MemoryContext goflow_batch_context;

/* Makes what the worker needs for its transactions; more than one call does no harm. */
extern void goflow_driver_prepare(void);

#endif							/* GOFLOW_STATE_H */
