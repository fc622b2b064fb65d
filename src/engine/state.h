/*
 * state.h
 *		An execution in memory, and what the files of the engine call of each
 *		other.
 *
 *	execution.c	load, save and restore; journal rows; values of references
 *	cascade.c	what becomes ready, skipped or cancelled when a node ended
 *	evaluate.c	plans of SQL texts and expressions; coercion
 *	node.c		what each node type does
 *	value.c		text form of typed values, and jsonb of them
 *	error.c		errors as jsonb and back
 *	session.c	settings, hygiene and the fuse around a node
 *	segment.c	runs ready nodes of one execution in a subtransaction
 *	driver.c	batches of executions, node mode: whole transactions in a worker
 *	inline.c	run(): an execution in the caller's session and transaction
 *	row.c		inputs of an execution that a changed row starts
 *
 * Only the process that drives an execution has it in memory, so nothing here
 * is locked.
 */
#ifndef GOFLOW_STATE_H
#define GOFLOW_STATE_H

#include "engine/engine.h"
#include "live/live.h"
#include "store/store.h"
#include "utils/tuplestore.h"

/* One node instance. */
typedef struct GoflowNodeRun
{
	char		state;			/* GoflowNodeState */
	bool		reachable;		/* from the execution's entry */
	bool		to_offer;		/* is to run in node mode: offered after the commit */
	int16		attempt;		/* 1 for the first; 0: none yet */
	int16		port;			/* port taken, -1: none */
	int32		seq;
	TimestampTz ended_at;
	Datum	   *values;			/* of its columns; NULL until decoded or run */
	bool	   *nulls;
	ArrayType  *output;			/* text form, as read from the journal */
	Tuplestorestate *rows;		/* of a many-row node; NULL until read or run */
	GoflowTimerRow *timer;		/* while waiting */
} GoflowNodeRun;

/* What a rolled-back segment undoes. */
typedef struct GoflowVarying
{
	GoflowNodeRun *runs;		/* by position in the body */
	Datum	   *variables;
	bool	   *variable_nulls;
	int16	   *ready;			/* ring of positions, capacity nnodes */
	int			ready_head;
	int			ready_count;
	int			completed;
	int			failed;
	int			skipped;		/* skipped and cancelled */
	int			open;			/* reachable nodes that have not ended */
	int32		seq;
	char		state;			/* GoflowExecutionState it will have */
	Jsonb	   *output;
	Jsonb	   *error;
} GoflowVarying;

typedef struct GoflowExecution
{
	MemoryContext context;
	GoflowExecutionRow *row;
	GoflowDefinition *definition;
	GoflowBody *body;			/* frame 0 */
	GoflowWrites *writes;		/* of the transaction that drives it */
	GoflowTrackerSlot *tracker;

	Datum	   *inputs;
	bool	   *input_nulls;
	char	   *trigger[GOFLOW_TRIGGER_FIELDS]; /* NULL: SQL NULL */
	TupleTableSlot *new_row;	/* NEW and OLD of a row trigger, or NULL (row.c) */
	TupleTableSlot *old_row;
	List	   *tuplestores;	/* to end with the execution */
	int			total;			/* reachable nodes */

	GoflowVarying now;
	GoflowVarying saved;

	bool		careful;		/* a subtransaction per node */
	bool		alone;			/* a transaction per node, after an error of a whole batch */
	bool		is_inline;		/* run() */
	bool		started;		/* first values of the variables are set */
	bool		inactive;		/* was finished or gone when it was loaded */
	List	   *withdrawn;		/* GoflowInstance * cancelled while running, told after commit */
	const char *cancel_reason;	/* with cancel_requested */
	bool		cancel_requested;
} GoflowExecution;

#define goflow_execution_is_done(ex) goflow_execution_is_finished((ex)->now.state)

/* ---- execution.c ---- */

/*
 * Loads an execution that this process has claimed.  NULL if it is unknown.
 * instances: its nodes that were offered or running before the snapshot.
 */
extern GoflowExecution *goflow_execution_load(const pg_uuid_t *id, GoflowWrites *writes,
											  const GoflowInstance *instances, int ninstances);

/* Makes one that is not stored yet: run(). */
extern GoflowExecution *goflow_execution_create(GoflowExecutionRow *row, GoflowWrites *writes);
extern void goflow_execution_free(GoflowExecution *ex);
extern void goflow_execution_save(GoflowExecution *ex);
extern void goflow_execution_restore(GoflowExecution *ex);
extern void goflow_execution_track(GoflowExecution *ex, int node);

/* Sets first values of variables and readies the entry nodes, once in an execution's life. */
extern void goflow_execution_begin(GoflowExecution *ex);

/* A node instance ended: journal row, counters. */
extern void goflow_execution_record(GoflowExecution *ex, GoflowNode *node, char state,
									TimestampTz started_at, int duration, Jsonb *error);
extern void goflow_execution_assign(GoflowExecution *ex, int variable, GoflowNode *node,
									Datum value, bool isnull);
extern Datum goflow_execution_value(GoflowExecution *ex, const GoflowRef *ref, bool *isnull);
extern Tuplestorestate *goflow_execution_rows(GoflowExecution *ex, GoflowNode *node);
extern void goflow_execution_keep_rows(GoflowExecution *ex, GoflowNode *node, Tuplestorestate *rows);

/* ---- cascade.c ---- */
extern void goflow_cascade_ended(GoflowExecution *ex, GoflowNode *node);
extern void goflow_cascade_settle_all(GoflowExecution *ex);
extern GoflowNode *goflow_cascade_next(GoflowExecution *ex);
extern void goflow_cascade_put_back(GoflowExecution *ex, GoflowNode *node);
extern void goflow_cascade_stop(GoflowExecution *ex, char state, Jsonb *error);
extern Jsonb *goflow_cascade_aggregate(GoflowExecution *ex, GoflowNode *node);

/* ---- evaluate.c ---- */
extern Datum goflow_evaluate(GoflowExecution *ex, GoflowExpr *expr, bool *isnull, Oid *type, int32 *typmod);
extern void goflow_evaluate_statement(GoflowExecution *ex, GoflowExpr *expr, GoflowNodeRun *run);
extern bool goflow_evaluate_is_simple(GoflowExpr *expr);
extern bool goflow_evaluate_is_pure(GoflowExpr *expr);
extern void goflow_evaluate_forget(GoflowExpr *expr);

/* ---- node.c ---- */

/* Runs a node.  False: it waits (its timer is set). */
extern bool goflow_node_execute(GoflowExecution *ex, GoflowNode *node);
extern bool goflow_node_is_fast(GoflowNode *node);

/* ---- value.c ---- */
extern ArrayType *goflow_values_encode(const GoflowField *fields, int nfields,
									   const Datum *values, const bool *nulls);
extern void goflow_values_decode(const GoflowField *fields, int nfields, ArrayType *array,
								 Datum *values, bool *nulls);
extern Datum goflow_value_decode(const GoflowField *field, const char *string);
extern Jsonb *goflow_values_to_jsonb(const GoflowField *fields, int nfields,
									 const Datum *values, const bool *nulls);
extern Jsonb *goflow_fields_to_jsonb(char **names, Oid *types, int n, const Datum *values, const bool *nulls);
extern List *goflow_rows_encode(GoflowNode *node, Tuplestorestate *rows);
extern void goflow_rows_decode(GoflowNode *node, List *chunks, Tuplestorestate *rows);

/* ---- error.c ---- */
extern Jsonb *goflow_error_to_jsonb(const ErrorData *error, GoflowNode *node, int attempt);
extern Jsonb *goflow_error_make(int code, const char *message, const char *detail);

/* ---- session.c ---- */
extern void goflow_session_init(void);
extern void goflow_session_apply(GoflowDefinition *definition);
extern void goflow_session_transaction_ended(bool is_committed);
extern void goflow_session_node_begin(const GoflowSettings *settings, bool fuse);
extern void goflow_session_node_end(void);
extern void goflow_session_fuse_off(void);
extern void goflow_session_allow_cancel(bool allow);
extern bool goflow_session_fuse_burnt(void);
extern bool goflow_session_must_run_alone(void);
extern void goflow_session_clean(void);

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
extern void goflow_segment_run_raising(GoflowExecution *ex);

#endif							/* GOFLOW_STATE_H */
