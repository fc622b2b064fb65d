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

/* OID of a table or index of schema goflow, cached; error if the extension is not in this database. */
extern Oid	goflow_relation(const char *name);
extern bool goflow_extension_exists(void);

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
								   const GoflowSettings *settings, int *workflow_id);

/* Marks all versions, and takes back what was granted. */
extern void goflow_workflow_mark_dropped(const char *name);
extern int64 goflow_workflow_live_executions(const char *name);
extern void goflow_workflow_grant(const char *name, Oid role);
extern void goflow_workflow_revoke(const char *name, Oid role);
extern bool goflow_workflow_may_start(const char *name, Oid owner, Oid role);

/* The definition as it was given to define(). */
extern Jsonb *goflow_workflow_definition(int workflow_id);

/*
 * The compiled form of a stored version, kept for the life of the backend
 * (versions are immutable).  Raises an error for an unknown id.
 */
extern GoflowDefinition *goflow_workflow_load(int workflow_id);

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
	ArrayType  *input;
	ArrayType  *trigger;		/* or NULL */
	Jsonb	   *output;			/* or NULL */
	Jsonb	   *error;			/* or NULL */
	bool		stored;			/* has a row, at tid */
	ItemPointerData tid;
	bool		is_uncommitted; /* made by the current transaction */
} GoflowExecutionRow;

extern void goflow_uuid_generate(pg_uuid_t *id);
extern GoflowExecutionRow *goflow_execution_read(const pg_uuid_t *id);	/* NULL: unknown */
extern void goflow_execution_insert(GoflowExecutionRow *rows, int nrows);

/*
 * Remembers id under an idempotency key; returns true.  False: the key was
 * there, and *id is the execution it stands for.
 */
extern bool goflow_start_key_insert(const char *workflow, Oid role, const char *key, pg_uuid_t *id);

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
	ArrayType  *output;			/* or NULL */
	Jsonb	   *error;			/* or NULL */
} GoflowNodeRow;

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
} GoflowVariableRow;

typedef struct GoflowTimerRow
{
	pg_uuid_t	execution_id;
	int32		frame;
	int16		node;
	int16		attempt;
	TimestampTz started_at;
	TimestampTz due_at;
	ItemPointerData tid;		/* of a row that was read */
} GoflowTimerRow;

typedef struct GoflowRequestRow
{
	char		kind;			/* 'x': cancel */
	Oid			role;
	char	   *reason;			/* or NULL */
} GoflowRequestRow;

/*
 * Writes wait in memory until they are flushed, so that a straight run that is
 * rolled back costs no dead rows: take a mark, go back to it.
 */
typedef struct GoflowWrites
{
	MemoryContext context;
	List	   *nodes;			/* GoflowNodeRow * */
	List	   *chunks;			/* GoflowChunkRow * */
	List	   *variables;		/* GoflowVariableRow * */
	List	   *timers;			/* GoflowTimerRow * to insert */
	List	   *fired;			/* GoflowTimerRow * to delete */
	List	   *executions;		/* GoflowExecutionRow * to insert or, if stored, update */
} GoflowWrites;

/* Adds a row to one of the lists. */
static inline void
goflow_writes_add(GoflowWrites *writes, List **list, void *row)
{
	MemoryContext old = MemoryContextSwitchTo(writes->context);

	*list = lappend(*list, row);
	MemoryContextSwitchTo(old);
}

typedef struct GoflowWritesMark
{
	int			nodes;
	int			chunks;
	int			variables;
	int			timers;
	int			fired;
	int			executions;
} GoflowWritesMark;

extern GoflowWrites *goflow_writes_create(MemoryContext context);
extern GoflowWritesMark goflow_writes_mark(const GoflowWrites *writes);
extern void goflow_writes_go_back(GoflowWrites *writes, const GoflowWritesMark *mark);
extern void goflow_writes_flush(GoflowWrites *writes);

/* The journal of one execution, in the order of its key; allocated in the current context. */
extern List *goflow_journal_read(const pg_uuid_t *id);	/* GoflowNodeRow * */
extern List *goflow_variables_read(const pg_uuid_t *id);	/* GoflowVariableRow *, by variable and seq */
extern List *goflow_timers_read(const pg_uuid_t *id);	/* GoflowTimerRow * */
extern List *goflow_requests_read(const pg_uuid_t *id); /* GoflowRequestRow * */
extern List *goflow_chunks_read(const pg_uuid_t *id, int frame, int node, int attempt); /* ArrayType * */

/* Inserts a request of the current user; effective at commit. */
extern void goflow_request_insert(const pg_uuid_t *id, char kind, const char *reason);

/* True if an error came from a journal row that was already there: somebody else decided first. */
extern bool goflow_journal_is_duplicate(const ErrorData *error);

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
 * A page of live executions that have a timer after *position and due until a
 * moment, in that order; positions[i] is the place of rows[i].
 */
extern int	goflow_schedule_due(const GoflowDuePosition *position, TimestampTz until,
								GoflowLiveRow *rows, GoflowDuePosition *positions, int max);

/* The first due time after a moment; DT_NOEND if there is none. */
extern TimestampTz goflow_schedule_next_due(TimestampTz after);

/* Ends an execution whose role was dropped. */
extern void goflow_schedule_fail_roleless(const pg_uuid_t *id);

#endif							/* GOFLOW_STORE_H */
