/*
 * store.h
 *		Every access to goflow's tables.  Nobody else reads or writes them.
 *
 * Hot paths (journal, execution, timers) go to the heap directly
 * (store/heap.c): no privileges, no triggers, no planner.  Everything else is
 * SQL run as the extension's owner (store/owner.c).
 */
#ifndef GOFLOW_STORE_H
#define GOFLOW_STORE_H

#include "storage/lockdefs.h"

#include "definition/definition.h"
#include "storage/itemptr.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#include "goflow.h"

/* ---- owner.c: goflow's own SQL ---- */

/*
 * Between begin and end, SPI is connected, the current user is the owner of
 * the extension (SECURITY_LOCAL_USERID_CHANGE), search_path is pinned to
 * pg_catalog, pg_temp.  Fixed statements only.  An error in between undoes all
 * of it as the transaction unwinds.
 */
typedef struct GoflowOwnerScope
{
	Oid			user;
	int			security_context;
	int			nest_level;
} GoflowOwnerScope;
extern void goflow_owner_begin(GoflowOwnerScope *scope);
extern void goflow_owner_end(GoflowOwnerScope *scope);

/* In a scope: the plan of a fixed statement, prepared once and kept. */
extern SPIPlanPtr goflow_owner_plan(SPIPlanPtr *plan, const char *query, int nargs, Oid *types);

/* OID of a table or index of schema goflow, cached; error if the extension is not in this database. */
extern Oid	goflow_relation(const char *name);

/* Another one: what goflow_relation() said before may not be so any more. */
extern uint64 goflow_relations_generation;
extern bool goflow_extension_exists(void);	/* WF119 if it has another version */
extern char *goflow_extension_other_version(void);

/* May a role see and steer what belongs to others?  Who may execute adopt(): see grant_admin(). */
extern bool goflow_is_admin(Oid role);

/* ---- home.c: whose executions are ---- */
extern void goflow_home_get(pg_uuid_t *found);
extern bool goflow_home_is_own(const pg_uuid_t *other);
extern int64 goflow_home_count_foreign(void);
extern char *goflow_home_subscription(void);
extern int64 goflow_home_adopt(void);

/* ---- reassign.c ---- */
extern int64 goflow_role_reassign(Oid from, Oid to, bool finished);

/* ---- workflow.c: versions of workflows ---- */
typedef struct GoflowWorkflowRow
{
	int			workflow_id;
	char	   *name;
	int			version;
	Oid			owner;
	bool		dropped;
} GoflowWorkflowRow;

/*
 * Held to the end of the transaction by who changes a workflow: define() with
 * ShareRowExclusiveLock, drop() and grants with ExclusiveLock.  start() may
 * take RowShareLock to keep a drop() out.
 */
extern void goflow_workflow_lock(const char *name, LOCKMODE mode);

/* version 0: the newest.  False if there is none, or it was dropped (version 0 only). */
extern bool goflow_workflow_find(const char *name, int version, GoflowWorkflowRow *row);

/* Inserts the next version; returns its number, and its id in *workflow_id. */
extern int	goflow_workflow_insert(const char *name, Oid owner, Jsonb *definition, Jsonb *contract,
								   const GoflowSettings *settings, int64 retention, int *workflow_id);

/* Marks all versions, and takes back what was granted. */
extern void goflow_workflow_mark_dropped(const char *name);
extern int64 goflow_workflow_live_executions(const char *name);
extern void goflow_workflow_grant(const char *name, Oid role);
extern void goflow_workflow_revoke(const char *name, Oid role);
extern bool goflow_workflow_may_start(const char *name, Oid owner, Oid role);

/* Its name, without compiling it. */
extern char *goflow_workflow_name(int workflow_id);

/* The definition as it was given to define(). */
extern Jsonb *goflow_workflow_definition(int workflow_id);

/*
 * The compiled form of a stored version (versions are immutable).  Valid to
 * the end of the transaction, or for who calls goflow_workflow_trim() until
 * then.  Raises an error for an unknown id.
 */
extern GoflowDefinition *goflow_workflow_load(int workflow_id);
extern void goflow_workflow_trim(GoflowDefinition *keep);
extern uint64 goflow_workflow_trims;	/* changes whenever one is no longer valid */

/* ---- row_trigger.c: triggers that define() made on tables ---- */
typedef struct GoflowRowTriggerRow
{
	char	   *node;
	Oid			relation;		/* of the table, which may have gone */
	char	   *trigger;		/* its name */
} GoflowRowTriggerRow;

typedef struct GoflowRowTriggerTarget
{
	Oid			relation;
	int			workflow_id;	/* of the newest version */
	Oid			owner;
} GoflowRowTriggerTarget;

/* What a trigger starts, as of now; false if it is not registered, or the workflow was dropped. */
extern bool goflow_row_trigger_find(const char *name, const char *node, const char *trigger,
									GoflowRowTriggerTarget *target);
extern List *goflow_row_triggers_read(const char *name);	/* of a workflow; GoflowRowTriggerRow * */
extern void goflow_row_trigger_register(const char *name, const GoflowRowTriggerRow *row);
extern void goflow_row_trigger_unregister(const char *name, const char *node);

/* ---- pack.c: texts in few bytes, for columns of type bytea; in the current context ---- */
extern bytea *goflow_texts_pack(const Datum *texts, const bool *nulls, int n);
extern ArrayType *goflow_texts_unpack(const bytea *packed);

/* ---- execution.c: executions ---- */
typedef struct GoflowExecutionRow
{
	pg_uuid_t	id;
	int			workflow_id;
	Oid			run_as;
	char		state;			/* GoflowExecutionState */
	int16		priority;
	int16		entry;			/* node index; -1: every node without "after" */
	TimestampTz created_at;
	TimestampTz started_at;		/* 0: not yet */
	TimestampTz finished_at;	/* 0: not yet */
	pg_uuid_t  *parent;			/* or NULL */
	bytea	   *input;			/* texts, packed */
	ArrayType  *trigger;		/* NULL: nobody changed a row for it */
	int32		last_seq;		/* 0: it has not ended */
	Jsonb	   *output;			/* or NULL */
	Jsonb	   *error;			/* or NULL */
	pg_uuid_t	home;			/* filled in when it is inserted */
	bool		is_foreign;		/* it belongs to another database: see home.c */
	int32		retry_seq;		/* of the last event before its last retry; 0: none */
	ArrayType  *retried;		/* smallint[]: nodes whose journal up to it does not count; or NULL */
	pg_uuid_t  *root;			/* of a child: the one at the top, which nobody's node started; or NULL */
	bytea	   *assigned;		/* assignments of its first transaction (variable.c), or NULL */
	bytea	   *journal;		/* entries of its first transaction (entry.c), or NULL */
	bool		stored;			/* has a row, at tid, */
	bool		stored_finished;	/* which is in goflow.finished */
	ItemPointerData tid;
	bool		is_uncommitted; /* started, or to be retried, by the current transaction */
} GoflowExecutionRow;

extern void goflow_uuid_generate(pg_uuid_t *id);
extern GoflowExecutionRow *goflow_execution_read(const pg_uuid_t *id);	/* NULL: unknown */

/*
 * The same of many at once, for those that have not finished, of which nobody has
 * asked anything (goflow.request), and whose ids are close to each other.  NULL
 * says nothing.
 */
extern void goflow_executions_read_unasked(const pg_uuid_t *ids, int n, GoflowExecutionRow **rows);
extern int	goflow_execution_count_below(const pg_uuid_t *root, int max);	/* counted up to max */

/* The newest completed executions of a version by a role, at most max; returns how many. */
extern int	goflow_execution_last_completed(int workflow_id, Oid role, pg_uuid_t *ids, int max);

/* By number of the node: true where its journal up to row->retry_seq does not count. */
extern bool *goflow_execution_retried(const GoflowExecutionRow *row, int nnodes);
extern void goflow_execution_insert(GoflowExecutionRow *rows, int nrows);

/*
 * Remembers id under an idempotency key; returns true.  False: the key was
 * there, and *id is the execution it stands for.
 */
extern bool goflow_start_key_insert(const char *workflow, Oid role, const char *key, pg_uuid_t *id);

/* ---- heap.c ---- */

/*
 * ExecOpenIndices(), but what it looks up is kept, in the current context:
 * *indexes is NIL at first.  The table must not have changed since.
 */
extern void goflow_indexes_open(struct ResultRelInfo *rri, List **indexes);

/* ---- scan.c ---- */

/* What is read between the two is of one moment; the second also after an error. */
extern void goflow_scan_hold(void);
extern void goflow_scan_release(void);

/*
 * Between the two, scans outside of subtransactions stay open to be used
 * again: by who reads many executions in one transaction.  After an error
 * there is nothing to close.
 */
extern void goflow_scans_keep(void);
extern void goflow_scans_close(void);

/* ---- journal.c: what a driver writes, buffered ---- */
typedef struct GoflowNodeRow
{
	pg_uuid_t	execution_id;
	int32		frame;
	int16		node;
	int16		attempt;
	char		state;			/* GoflowNodeState */
	int16		port;			/* -1: none */
	int32		seq;
	TimestampTz started_at;
	TimestampTz finished_at;
	int32		duration;		/* microseconds */
	int32		end_seq;		/* -1: it follows its start; 0: not seen yet */
	int32		total;			/* 0: as before */
	TimestampTz queued_at;		/* 0: never was */
	bool		retried;
	int32		parent;			/* of its frame; -1: not told here */
	int64		iteration;
	int32		frame_seq;		/* 0: none */
	TimestampTz frame_at;
	ArrayType  *output;			/* as it was read, or NULL */
	Datum	   *columns;		/* output as it is to be written: texts */
	bool	   *column_nulls;
	int			ncolumns;
	Jsonb	   *error;			/* or NULL */
	bool		of_ended_frame; /* nothing will ask for this frame's entries again */
	bool		is_changed;		/* is to be stored again */
	ItemPointerData tid;		/* of one that was read */
} GoflowNodeRow;

#define GOFLOW_PAST_COUNTS 4

/* An end that was not the last; see the table. */
typedef struct GoflowPastEndRow
{
	pg_uuid_t	execution_id;
	int32		seq;
	char		state;
	TimestampTz started_at;		/* 0: it had not begun */
	TimestampTz finished_at;
	Jsonb	   *output;			/* or NULL */
	Jsonb	   *error;			/* or NULL */
	int32		restarted_seq;
	TimestampTz restarted_at;
	int32		counts[GOFLOW_PAST_COUNTS]; /* then: total, completed, failed, skipped */
} GoflowPastEndRow;

/* A node that was handed to the workers; see the table. */
typedef struct GoflowOfferedRow
{
	pg_uuid_t	execution_id;
	int32		seq;
	int32		frame;
	int16		node;
	int16		attempt;
	TimestampTz offered_at;
	bool		stored;			/* has a row, at tid */
	ItemPointerData tid;
} GoflowOfferedRow;

typedef struct GoflowChunkRow
{
	pg_uuid_t	execution_id;
	int32		frame;
	int16		node;
	int16		attempt;
	int32		chunk;
	ArrayType  *rows;			/* rows by columns; no elements: no rows */
} GoflowChunkRow;

typedef struct GoflowVariableRow
{
	pg_uuid_t	execution_id;
	int16		variable;
	int32		seq;
	int32		frame;
	int16		node;			/* -1: its first value */
	TimestampTz assigned_at;
	text	   *value;			/* NULL: SQL NULL */
	ItemPointerData tid;		/* of one that was read */
} GoflowVariableRow;

/* A node instance that has begun and not ended; see the table. */
typedef struct GoflowPendingRow
{
	pg_uuid_t	execution_id;
	int32		frame;
	int16		node;
	int16		attempt;
	char		kind;
	TimestampTz started_at;
	int32		seq;			/* of its start */
	TimestampTz due_at;			/* 0: none */
	pg_uuid_t  *child;			/* or NULL */
	int64		count;
	int64		next;
	int64		ended;
	int16		phase;
	char		unwind;			/* 0: nothing */
	int16		target;			/* -1: none */
	Jsonb	   *error;			/* or NULL */
	bool		stored;			/* has a row, at tid */
	ItemPointerData tid;
} GoflowPendingRow;

#define GOFLOW_PENDING_DELAY 'd'
#define GOFLOW_PENDING_RETRY 'r'
#define GOFLOW_PENDING_BODIES 'b'
#define GOFLOW_PENDING_WORKFLOW 'w'
#define GOFLOW_PENDING_TIMEOUT 't'
#define GOFLOW_PENDING_SIGNAL 's'
#define GOFLOW_PENDING_APPROVAL 'a'
#define GOFLOW_PENDING_TASK 'k'

/* An open frame; see the table. */
typedef struct GoflowFrameRow
{
	pg_uuid_t	execution_id;
	int32		frame;
	int32		parent;
	int16		node;
	int16		part;
	int64		iteration;
	int32		seq;			/* of its start; 0: none */
	TimestampTz started_at;		/* 0: none */
	char		unwind;
	int16		target;			/* -1: none */
	Jsonb	   *error;			/* or NULL */
	ArrayType  *counters;		/* or NULL */
	bool		stored;
	ItemPointerData tid;
	void	   *source;			/* the caller's own; see goflow_writes_flush() */
} GoflowFrameRow;

typedef struct GoflowCompensationRow
{
	pg_uuid_t	execution_id;
	int32		seq;
	int32		frame;
	int16		node;
	ArrayType  *params;
	TimestampTz completed_at;	/* of the node */
	TimestampTz done_at;		/* 0: not yet */
	Jsonb	   *error;			/* or NULL */
	bool		stored;
	ItemPointerData tid;
} GoflowCompensationRow;

typedef struct GoflowRequestRow
{
	char		kind;			/* GOFLOW_REQUEST_* */
	Oid			role;
	char	   *argument;		/* reason, node or priority; or NULL */
	ItemPointerData tid;
	bool		is_uncommitted; /* made by the current transaction */
} GoflowRequestRow;

/*
 * Writes wait in memory until they are flushed, so that a straight run that is
 * rolled back costs no dead rows: take a mark, go back to it.
 */
typedef enum GoflowWriteKind
{
	GOFLOW_WRITE_NODE,			/* GoflowNodeRow: insert */
	GOFLOW_WRITE_PAST_END,		/* GoflowPastEndRow: insert */
	GOFLOW_WRITE_NODE_SEEN,		/* GoflowNodeRow: update what the driver adds */
	GOFLOW_WRITE_OFFERED,		/* GoflowOfferedRow: insert */
	GOFLOW_WRITE_OFFERED_END,	/* GoflowOfferedRow: delete */
	GOFLOW_WRITE_VARIABLE,		/* GoflowVariableRow: insert */
	GOFLOW_WRITE_VARIABLE_END,	/* GoflowVariableRow: delete */
	GOFLOW_WRITE_PENDING,		/* GoflowPendingRow: insert or update */
	GOFLOW_WRITE_PENDING_END,	/* GoflowPendingRow: delete */
	GOFLOW_WRITE_FRAME,			/* GoflowFrameRow: insert or update */
	GOFLOW_WRITE_FRAME_END,		/* GoflowFrameRow: delete */
	GOFLOW_WRITE_COMPENSATION,	/* GoflowCompensationRow: insert or update */
	GOFLOW_WRITE_REQUEST_END,	/* GoflowRequestRow: delete */
	GOFLOW_WRITE_SIGNAL_END,	/* GoflowSignalRow: delete */
	GOFLOW_WRITE_APPROVAL,		/* GoflowApprovalRow: insert */
	GOFLOW_WRITE_APPROVAL_END,	/* GoflowApprovalRow: delete */
	GOFLOW_WRITE_TASK,			/* GoflowTaskRow: insert */
	GOFLOW_WRITE_TASK_END,		/* GoflowTaskRow: delete */
	GOFLOW_WRITE_WAITS_END,		/* pg_uuid_t: delete what others have sent to an execution, or see of it */
	GOFLOW_WRITE_EXECUTION,		/* GoflowExecutionRow: insert or update */
	GOFLOW_WRITE_KINDS
} GoflowWriteKind;

typedef struct GoflowWrites
{
	MemoryContext context;
	char	   *room;			/* for rows to come (goflow_writes_alloc()) */
	Size		room_left;
	List	   *rows[GOFLOW_WRITE_KINDS];
} GoflowWrites;

typedef struct GoflowWritesMark
{
	int			length[GOFLOW_WRITE_KINDS];
	char	   *room;
	Size		room_left;
} GoflowWritesMark;

extern void goflow_writes_add(GoflowWrites *writes, GoflowWriteKind kind, void *row);
extern GoflowWrites *goflow_writes_create(MemoryContext context);

/*
 * Memory for a row, or what it points to: it goes with all that is to be
 * written, never by itself.  Rows are many and small: they are cut from blocks,
 * at a fifth of the price of a chunk each.
 */
extern void *goflow_writes_alloc_block(GoflowWrites *writes, Size size);

static inline void *
goflow_writes_alloc(GoflowWrites *writes, Size size)
{
	char	   *result = writes->room;

	size = MAXALIGN(size);
	if (size > writes->room_left)
		return goflow_writes_alloc_block(writes, size);
	writes->room += size;
	writes->room_left -= size;
	return result;
}

/*
 * Where the last rows of a kind begin that are an execution's own, which stand
 * together.  Of kinds whose rows begin with the execution's id.
 */
extern int	goflow_writes_find(const GoflowWrites *writes, GoflowWriteKind kind,
							   const pg_uuid_t *execution_id);
extern GoflowWritesMark goflow_writes_mark(const GoflowWrites *writes);
extern void goflow_writes_go_back(GoflowWrites *writes, const GoflowWritesMark *mark);

/*
 * Frees what was allocated since the mark if no rows have come since then but of
 * one kind, which point to none of it.  False: there are others.
 */
extern bool goflow_writes_rewind(GoflowWrites *writes, const GoflowWritesMark *mark, GoflowWriteKind but);

/* stored: called for each frame's row with its new place, or NULL. */
extern void goflow_writes_flush(GoflowWrites *writes, void (*stored) (GoflowFrameRow *row));

/*
 * entry.c: moves an execution's buffered entries, the first that it ever made,
 * into its row (in memory of the context), if they fit.
 */
extern void goflow_entries_keep(GoflowExecutionRow *execution, GoflowWrites *writes, MemoryContext context);

/* Packed entries, without their execution; moments begin with start.  GoflowNodeRow *, in the current context. */
extern List *goflow_entries_unpack(const bytea *packed, TimestampTz start);

/* The journal of one execution, in no order; allocated in the current context. */
extern List *goflow_journal_read(const GoflowExecutionRow *row);	/* GoflowNodeRow * */

/* The entries of a frame that is open. */
extern List *goflow_journal_read_frame(const GoflowExecutionRow *row, int frame);

/* Calls each for every entry of the journal, in no order; an entry lives for that call only. */
extern void goflow_journal_each(const GoflowExecutionRow *row,
								void (*each) (const GoflowNodeRow *row, void *arg), void *arg);

/* The entry of a node that failed, or NULL. */
extern GoflowNodeRow *goflow_journal_read_failed(const pg_uuid_t *id, int frame, int node, int attempt);
extern List *goflow_past_ends_read(const pg_uuid_t *id); /* GoflowPastEndRow *, by seq */
extern List *goflow_offered_read(const pg_uuid_t *id);	/* GoflowOfferedRow *, by seq */

/* True if what is buffered are only the driver's own notes, which it could make again after a crash. */
extern bool goflow_writes_are_notes(const GoflowWrites *writes);

extern List *goflow_pending_read(const pg_uuid_t *id);	/* GoflowPendingRow * */
extern List *goflow_frames_read(const pg_uuid_t *id);	/* GoflowFrameRow *, by frame */
extern List *goflow_compensations_read(const pg_uuid_t *id);	/* GoflowCompensationRow *, by seq */

#define GOFLOW_CHUNK_ROWS 256

/* Rows of many-row nodes, written at once: a loop may read them in the same transaction. */
extern void goflow_chunks_write(List *chunks);	/* GoflowChunkRow * */

/* Calls take for each chunk in order, in memory that is gone afterwards. */
extern void goflow_chunks_each(const pg_uuid_t *id, int frame, int node, int attempt,
							   void (*take) (ArrayType *chunk, void *arg), void *arg);

/* A chunk, or NULL; attempt 0: of the last one that has any. */
extern ArrayType *goflow_chunk_find(const pg_uuid_t *id, int frame, int node, int attempt, int chunk);

/* How many rows there are; attempt 0: of the last one that has any. */
extern int64 goflow_chunks_count(const pg_uuid_t *id, int frame, int node, int attempt);
extern ArrayType *goflow_chunk_read(const pg_uuid_t *id, int frame, int node, int attempt, int chunk);

/* Values that iterations of a loop gave. */
extern void goflow_collected_write(const pg_uuid_t *id, int frame, int node, int attempt,
								   int64 iteration, Jsonb *value);
extern List *goflow_collected_read(const pg_uuid_t *id, int frame, int node, int attempt); /* Jsonb *, or NULL */

#define GOFLOW_REQUEST_CANCEL 'x'
#define GOFLOW_REQUEST_PAUSE 'p'
#define GOFLOW_REQUEST_RESUME 'u'
#define GOFLOW_REQUEST_RETRY 't'
#define GOFLOW_REQUEST_PRIORITY 'n'

/* ---- variable.c: assignments to variables ---- */

/*
 * Moves buffered assignments, the first that the execution ever made, into its
 * row (in memory of the context), as many as fit.
 */
extern void goflow_variables_keep(GoflowExecutionRow *execution, GoflowWrites *writes,
								  MemoryContext context);

/* GoflowVariableRow * of assignments with numbers after one (from 0), by variable and seq. */
extern List *goflow_variables_read(const GoflowExecutionRow *execution, int32 after);

/* An assignment by its number, or NULL. */
extern GoflowVariableRow *goflow_variable_read_seq(const GoflowExecutionRow *execution, int variable,
												   int seq);

/* The last assignment to a variable of a frame, or NULL; one with a number below seq. */
extern GoflowVariableRow *goflow_variable_read(const GoflowExecutionRow *execution, int variable,
											   int frame);
extern GoflowVariableRow *goflow_variable_read_before(const GoflowExecutionRow *execution, int variable,
													  int frame, int seq);

/* The last one by a node that is wanted; -1: a first value. */
extern GoflowVariableRow *goflow_variable_read_if(const GoflowExecutionRow *execution, int variable,
												  int frame, bool (*wanted) (int node, void *arg),
												  void *arg);

/* The highest seq of an assignment; 0: there is none. */
extern int32 goflow_variable_last_seq(const GoflowExecutionRow *execution);

/* ---- request.c: what is asked of executions ---- */
extern List *goflow_requests_read(const pg_uuid_t *id); /* GoflowRequestRow *, in order */

/* Inserts a request of the current user, effective at commit: for one execution, for many in one go. */
extern void goflow_request_insert(const pg_uuid_t *id, char kind, const char *argument);
extern void goflow_request_insert_all(const pg_uuid_t *ids, int nids, char kind, const char *argument);

/* The request for which an execution that has finished is to go on, or NULL. */
extern GoflowRequestRow *goflow_request_find_retry(const pg_uuid_t *id);

/*
 * The row of an execution, or NULL, and whether it is over: finished, and no
 * retry of it is asked for.
 */
extern GoflowExecutionRow *goflow_execution_read_over(const pg_uuid_t *id, bool *is_over);

/* Which executions of a workflow. */
typedef struct GoflowFilter
{
	const char *workflow;
	char	   *states;			/* letters, as in the table */
	const char *key;			/* pattern of LIKE for the key of start(); NULL: any */
	Datum		created;		/* tstzrange */
	bool		has_created;	/* false: at any time */
} GoflowFilter;

typedef struct GoflowFoundExecution
{
	pg_uuid_t	id;
	Oid			run_as;
} GoflowFoundExecution;

/* Those that fit and belong to the current user's roles, by id; returns how many. */
extern int	goflow_execution_find(const GoflowFilter *filter, GoflowFoundExecution **found);

/* A number that is greater than all of an execution, whose definition need not be known. */
extern int32 goflow_journal_next_seq(const pg_uuid_t *id);

/* True if an error came from a journal row that was already there: somebody else decided first. */
extern bool goflow_journal_is_duplicate(const ErrorData *error);

/* ---- signal.c: inboxes ---- */
typedef struct GoflowSignalRow
{
	int64		number;			/* order in which they were sent */
	char	   *name;
	ArrayType  *payload;		/* the fields in text form */
	Oid			role;			/* who sent it */
	TimestampTz sent_at;
	ItemPointerData tid;
} GoflowSignalRow;

extern List *goflow_signals_read(const pg_uuid_t *id);	/* GoflowSignalRow *, in order */

/* Puts a signal of the current user into an inbox; effective at commit. */
extern void goflow_signal_insert(const pg_uuid_t *id, const char *name, ArrayType *payload);

/*
 * The same for all live executions of a version that the current user may
 * steer, or those of them that were started with a key; GoflowLiveRow *.
 */
extern List *goflow_signal_insert_all(int workflow_id, const char *workflow, const char *key,
									  const char *name, ArrayType *payload);

/* Versions of a workflow that have live executions, and the newest one, which comes first. */
extern List *goflow_signal_versions(const char *workflow);	/* int: workflow_id */

/* ---- approval.c: decisions that are waited for ---- */
#define GOFLOW_APPROVED 'a'
#define GOFLOW_REJECTED 'r'

typedef struct GoflowApprovalRow
{
	pg_uuid_t	execution_id;
	int32		frame;
	int16		node;
	int16		attempt;
	char	   *path;			/* of the node */
	char	   *title;			/* or NULL */
	Oid			run_as;
	Oid			role;			/* who decides */
	Oid			escalate_to;	/* who does, too, from escalate_at on; or InvalidOid */
	TimestampTz escalate_at;
	Jsonb	   *payload;		/* what they are shown; or NULL */
	Jsonb	   *form;			/* names and types of the fields */
	int64		remind;			/* microseconds; 0: not */
	TimestampTz created_at;
	TimestampTz due_at;			/* 0: none */
	char		decision;		/* 0: none yet */
	char	   *decided_by;
	char	   *login;
	TimestampTz decided_at;
	char	   *comment;		/* or NULL */
	ArrayType  *fields;			/* of the form, in text form */
	ItemPointerData tid;
} GoflowApprovalRow;

extern void goflow_approvals_insert(List *rows);
extern List *goflow_approvals_read(const pg_uuid_t *id);	/* GoflowApprovalRow * */
extern GoflowApprovalRow *goflow_approval_read(const pg_uuid_t *id, int frame, int node, int attempt);

/* Stores row's decision as the current user's; false: it does not wait for one any more. */
extern bool goflow_approval_decide(const GoflowApprovalRow *row);

/* Takes it back, unless somebody is deciding just now: then what he says is not read. */
extern void goflow_approval_withdraw(const pg_uuid_t *id, int frame, int node, int attempt);

/* Between the moment that a row is made with and its commit, at most, for who looks for new ones only. */
#define GOFLOW_COMMIT_LAG (2 * USECS_PER_SEC)

/* ---- task.c: work for programs outside ---- */
#define GOFLOW_TASK_WAITING 'w'
#define GOFLOW_TASK_COMPLETED 'c'
#define GOFLOW_TASK_FAILED 'f'

typedef struct GoflowTaskRow
{
	pg_uuid_t	execution_id;
	int32		frame;
	int16		node;
	int16		attempt;
	char	   *queue;
	Oid			run_as;
	char	   *path;			/* of the node */
	char	   *title;			/* or NULL */
	Jsonb	   *payload;		/* or NULL */
	int64		lease;			/* microseconds */
	TimestampTz created_at;
	char		state;			/* GOFLOW_TASK_* */
	ArrayType  *output;			/* of a completed one, in text form */
	Jsonb	   *error;			/* of a failed one */
	ItemPointerData tid;
} GoflowTaskRow;

extern void goflow_tasks_insert(List *rows);
extern GoflowTaskRow *goflow_task_read(const pg_uuid_t *id, int frame, int node, int attempt);
extern void goflow_task_withdraw(const pg_uuid_t *id, int frame, int node, int attempt);

/* The execution goes on after a pause: its tasks can be claimed again, from now on. */
extern void goflow_tasks_renew(const pg_uuid_t *id);

/*
 * Claims up to max tasks of a queue for the current user, the oldest first;
 * appends them to result, in the columns of goflow.claim(), and lowers
 * *lease_until to the end of their leases.  lease (microseconds) 0: as the
 * nodes say.  worker: a name for people, or NULL.  Returns how many.
 */
extern int	goflow_tasks_claim(const char *queue, const char *worker, int64 lease, int max,
							   Tuplestorestate *result, TupleDesc tupdesc, TimestampTz *lease_until);

/* A claim that is good, or was: what is known of its task. */
typedef struct GoflowTaskClaim
{
	pg_uuid_t	execution_id;
	int			workflow_id;
	int16		node;
	char	   *queue;
	Oid			run_as;
	int			priority;		/* of the execution */
	char		state;
	bool		is_expired;		/* its lease is over */
} GoflowTaskClaim;

extern GoflowTaskClaim *goflow_task_claim_read(const pg_uuid_t *claim); /* NULL: unknown */

/* These are false if the claim is good no more. */
extern bool goflow_task_heartbeat(const pg_uuid_t *claim, Jsonb *progress, TimestampTz *lease_until);
extern bool goflow_task_answer(const pg_uuid_t *claim, char state, ArrayType *output, Jsonb *error);

/* May the current user claim tasks of a queue that belong to a role's executions? */
extern bool goflow_queue_may_claim(const char *queue, Oid run_as);
extern void goflow_queue_grant(const char *queue, Oid role);
extern void goflow_queue_revoke(const char *queue, Oid role);

/* ---- wait.c: what waits for somebody outside, of whatever kind ---- */
extern void goflow_waits_delete(List *ids); /* pg_uuid_t * */

/* Per kind of wait (GOFLOW_PENDING_*), the node that has waited longest, and how many wait, counted up to max. */
typedef struct GoflowOldestWait
{
	char		kind;
	int64		waits;
	pg_uuid_t	execution_id;
	int16		node;			/* index in the definition */
	TimestampTz started_at;
	TimestampTz due_at;			/* 0: none */
} GoflowOldestWait;
extern List *goflow_waits_read_oldest(int64 max);

/* A hint for those who listen. */
typedef struct GoflowAnnouncement
{
	bool		is_public;		/* says whose execution it is */
	char	   *channel;
	char	   *payload;
} GoflowAnnouncement;

/*
 * Approvals to be told of, and queues with tasks that could be claimed, since a
 * moment; GoflowAnnouncement *.  *next: when there may be more.
 */
extern List *goflow_waits_announce(TimestampTz since, TimestampTz now, TimestampTz *next);

/* ---- schedule.c: what the scheduler reads ---- */
typedef struct GoflowLiveRow
{
	pg_uuid_t	execution_id;
	Oid			role;
	int			priority;
} GoflowLiveRow;

/*
 * A page of live (not finished, not paused) executions with ids after *after,
 * in order of id.  Those that wait are left out unless asked for.
 */
extern int	goflow_schedule_live(const pg_uuid_t *after, bool waiting, GoflowLiveRow *rows,
								 int max);

/* A place in the order in which timers are due. */
typedef struct GoflowDuePosition
{
	TimestampTz due_at;
	pg_uuid_t	execution_id;
} GoflowDuePosition;

/*
 * The live executions of a page of timers after *position and due until a
 * moment, in that order; positions[i] is the place of rows[i], *position then
 * that of the page's last timer.
 */
extern int	goflow_schedule_due(GoflowDuePosition *position, TimestampTz until, GoflowLiveRow *rows,
								GoflowDuePosition *positions, int max, bool *more);

/* The first due time after a moment; DT_NOEND if there is none. */
extern TimestampTz goflow_schedule_next_due(TimestampTz after);

/* Ends an execution whose role was dropped. */
extern void goflow_schedule_fail_roleless(const pg_uuid_t *id);

/* ---- purge.c: what finished executions have left ---- */
typedef struct GoflowPurge
{
	MemoryContext context;		/* of what follows: the caller's at its begin */
	ArrayType  *workflows;		/* ids */
	ArrayType  *cutoffs;		/* and for each: what finished later stays */
	TimestampTz newest;			/* cutoff */
	Oid			role;			/* only what this one has the rights on; InvalidOid: all */
	pg_uuid_t	position;		/* the last one that was looked at */
	bool		is_done;
} GoflowPurge;

/*
 * All workflows that have a retention; those without get the given one
 * (microseconds; 0: none).  False: there are none.
 */
extern bool goflow_purge_begin(GoflowPurge *purge, int64 retention);

/* One workflow, or with NULL all. */
extern bool goflow_purge_begin_named(GoflowPurge *purge, const char *workflow,
									 const Interval *older_than, Oid role);

/* Looks at so many more executions and deletes those that may go, up to max; their number. */
extern int	goflow_purge_page(GoflowPurge *purge, int page, int64 max);

#endif							/* GOFLOW_STORE_H */
