/*
 * definition.h
 *		A workflow's definition: from jsonb to a checked, typed graph.
 *
 * The work has four phases, each in a file of its own.  Every phase reports
 * what it finds to a GoflowReport, so that validate() can return all problems
 * at once and define() can raise the first error.
 *
 *	parse.c		jsonb -> GoflowDefinition.  Keys, JSON types, ids; no catalogs.
 *				With node_types.c, flow_types.c, data_types.c and wait_types.c,
 *				the types of nodes, policy.c, retries and the like, limits.c and
 *				json.c, the readers.
 *	graph.c		edges, ports, cycles, reachability, entries, order, of each body.
 *	analyze.c	declared types, then every SQL text by the server's parser
 *				(statement.c), with the references of reference.c resolved by
 *				parser hooks.  Gives each node its columns.  With
 *				analyze_node.c, what each node type asks of its texts,
 *				attempt.c, one text and its error, settings.c and types.c.
 *	contract.c	the columns of every node as jsonb, names only, as define()
 *				saw them; read back when a stored version is loaded, so that
 *				loading needs no SQL analysis.
 *
 * The workflow's nodes are a body; a loop, try or parallel node has bodies of
 * its own, with nodes of theirs.  scope.c says what can be seen from where.
 *
 * A definition lives in one memory context of its own (GoflowDefinition.context).
 * Nothing here reads or writes goflow's tables, and no user code runs here.
 */
#ifndef GOFLOW_DEFINITION_H
#define GOFLOW_DEFINITION_H

#include "executor/spi.h"
#include "nodes/params.h"
#include "nodes/pg_list.h"
#include "parser/parser.h"
#include "parser/parse_node.h"
#include "utils/jsonb.h"
#include "utils/queryenvironment.h"

#include "goflow.h"

typedef struct GoflowDefinition GoflowDefinition;
typedef struct GoflowBody GoflowBody;
typedef struct GoflowNode GoflowNode;
typedef struct GoflowExpr GoflowExpr;

typedef enum GoflowNodeType
{
	GOFLOW_TYPE_SQL,
	GOFLOW_TYPE_CONDITION,
	GOFLOW_TYPE_SWITCH,
	GOFLOW_TYPE_SET,
	GOFLOW_TYPE_TRANSFORM,
	GOFLOW_TYPE_DELAY,
	GOFLOW_TYPE_NOTIFY,
	GOFLOW_TYPE_TRIGGER,
	GOFLOW_TYPE_LOOP,
	GOFLOW_TYPE_BREAK,
	GOFLOW_TYPE_CONTINUE,
	GOFLOW_TYPE_TRY,
	GOFLOW_TYPE_RAISE,
	GOFLOW_TYPE_PARALLEL,
	GOFLOW_TYPE_WORKFLOW,
	GOFLOW_TYPE_MAP,
	GOFLOW_TYPE_FILTER,
	GOFLOW_TYPE_REDUCE,
	GOFLOW_TYPE_MERGE,
	GOFLOW_TYPE_SPLIT,
	GOFLOW_TYPE_SIGNAL,
	GOFLOW_TYPE_APPROVAL,
	GOFLOW_TYPE_TASK
} GoflowNodeType;

typedef enum GoflowRows
{
	GOFLOW_ROWS_ONE,
	GOFLOW_ROWS_MANY,
	GOFLOW_ROWS_NONE
} GoflowRows;

typedef enum GoflowJoin
{
	GOFLOW_JOIN_ALL,
	GOFLOW_JOIN_COUNT			/* "any" is a count of 1 */
} GoflowJoin;

typedef enum GoflowAggregate
{
	GOFLOW_AGGREGATE_NONE,
	GOFLOW_AGGREGATE_MERGE,
	GOFLOW_AGGREGATE_ARRAY,
	GOFLOW_AGGREGATE_FIRST,
	GOFLOW_AGGREGATE_LAST
} GoflowAggregate;

/* Where a loop, or "over" of a map, gets its items from. */
typedef enum GoflowLoopKind
{
	GOFLOW_LOOP_NODE,			/* the rows of a many-row node: loop_source */
	GOFLOW_LOOP_ARRAY,			/* elements of a SQL array or a jsonb array: expr */
	GOFLOW_LOOP_QUERY,			/* rows of a statement: expr */
	GOFLOW_LOOP_WHILE,			/* no items; as long as expr is true */
	GOFLOW_LOOP_REPEAT			/* no items; expr times */
} GoflowLoopKind;

typedef enum GoflowMergeMode
{
	GOFLOW_MERGE_OBJECTS,		/* the later one's keys win */
	GOFLOW_MERGE_ARRAYS,		/* one after the other */
	GOFLOW_MERGE_ZIP			/* the first elements of all, the second ones, … */
} GoflowMergeMode;

/* What becomes of the workflow when a node has failed for good. */
typedef enum GoflowOnError
{
	GOFLOW_ON_ERROR_DEFAULT,	/* of a node: as the workflow says; of a workflow: fail */
	GOFLOW_ON_ERROR_FAIL,
	GOFLOW_ON_ERROR_CONTINUE,	/* as if it had completed, its columns NULL */
	GOFLOW_ON_ERROR_SKIP,		/* what hangs on it alone is skipped */
	GOFLOW_ON_ERROR_NODE		/* go on at on_error_node */
} GoflowOnError;

/* Times are in microseconds. */
typedef struct GoflowRetry
{
	int			attempts;		/* in all, the first one too */
	int64		backoff;		/* before the second attempt */
	double		factor;			/* each later wait is so much longer, */
	int64		max_delay;		/* but not longer than this; 0: no limit */
	double		jitter;			/* a wait varies by this part of it, 0 to 1 */
	int		   *codes;			/* errors that are worth it, as in GoflowCatch */
	int			ncodes;			/* 0: any */
} GoflowRetry;

/*
 * Errors are named by SQLSTATE (MAKE_SQLSTATE form) or by class, which is the
 * code that ends with 000 (ERRCODE_IS_CATEGORY).
 */
typedef struct GoflowCatch
{
	int		   *codes;
	int			ncodes;			/* 0: any */
	GoflowBody *body;
} GoflowCatch;

/* A named value with a PostgreSQL type: an input, a variable, a node's column. */
typedef struct GoflowField
{
	char	   *name;
	char	   *type_name;		/* as declared, or by format_type for a column */
	Oid			type;
	int32		typmod;
	Oid			collation;
	GoflowExpr *initial;		/* default of an input, first value of a variable; or NULL */
} GoflowField;

/* Where a parameter of an expression gets its value from. */
typedef enum GoflowRefKind
{
	GOFLOW_REF_INPUT,			/* field: index into definition->inputs */
	GOFLOW_REF_VARIABLE,		/* field: index into definition->variables */
	GOFLOW_REF_NODE,			/* node's column number field */
	GOFLOW_REF_TRIGGER,			/* field: GOFLOW_TRIGGER_* */
	GOFLOW_REF_EXECUTION,		/* field: GOFLOW_EXECUTION_* */
	GOFLOW_REF_NEW,				/* field: attribute number of the trigger's table */
	GOFLOW_REF_OLD,
	GOFLOW_REF_ITEM,			/* field: index into node->items */
	GOFLOW_REF_LOOP_INDEX,		/* bigint, from 1: the loop node's present iteration */
	GOFLOW_REF_ACC,				/* of a reduce node; its type is that of the node's column */
	GOFLOW_REF_ERROR			/* of a try node; field: GOFLOW_ERROR_* */
} GoflowRefKind;

#define GOFLOW_SEES(kind) (1 << (kind))

typedef struct GoflowRef
{
	GoflowRefKind kind;
	GoflowNode *node;			/* of NODE, ITEM, LOOP_INDEX, ACC, ERROR: who gives it */
	int			field;			/* 0 of NEW and OLD: the whole row */
	Oid			type;
	int32		typmod;
	Oid			collation;
} GoflowRef;

/*
 * Names of trigger.*, execution.* and error.*; the tables of names and types
 * are in reference.c.
 */
enum
{
	GOFLOW_TRIGGER_NODE,		/* text: the trigger node, NULL when started by hand */
	GOFLOW_TRIGGER_EVENT,		/* text: insert, update, delete, manual */
	GOFLOW_TRIGGER_TABLE,		/* text: schema.table, or NULL */
	GOFLOW_TRIGGER_FIELDS
};
enum
{
	GOFLOW_EXECUTION_ID,		/* uuid */
	GOFLOW_EXECUTION_WORKFLOW,	/* text */
	GOFLOW_EXECUTION_VERSION,	/* integer */
	GOFLOW_EXECUTION_RUN_AS,	/* text: role name */
	GOFLOW_EXECUTION_CREATED_AT,	/* timestamptz */
	GOFLOW_EXECUTION_FIELDS
};
enum
{
	GOFLOW_ERROR_CODE,			/* text: SQLSTATE */
	GOFLOW_ERROR_MESSAGE,		/* text */
	GOFLOW_ERROR_DETAIL,		/* text, or NULL */
	GOFLOW_ERROR_HINT,			/* text, or NULL */
	GOFLOW_ERROR_NODE,			/* text: path of the node that failed */
	GOFLOW_ERROR_ATTEMPT,		/* integer: attempts that it had */
	GOFLOW_ERROR_FIELDS
};

/* The columns of an approval before those of its form. */
enum
{
	GOFLOW_APPROVAL_DECISION,	/* text: approved or rejected */
	GOFLOW_APPROVAL_DECIDED_BY, /* text: the role */
	GOFLOW_APPROVAL_LOGIN,		/* text: the role that the session was logged in as */
	GOFLOW_APPROVAL_DECIDED_AT, /* timestamptz */
	GOFLOW_APPROVAL_COMMENT,	/* text, or NULL */
	GOFLOW_APPROVAL_FIELDS
};

/* Which nodes of its own body an expression comes after. */
typedef enum GoflowPlace
{
	GOFLOW_PLACE_NODE,			/* the ancestors of expr->node */
	GOFLOW_PLACE_BEGIN,			/* none: first values of variables */
	GOFLOW_PLACE_END			/* all: "output" of the body, "collect" of a loop */
} GoflowPlace;

/*
 * One SQL text of a definition.  A statement ("sql") is parsed with
 * RAW_PARSE_DEFAULT, an expression with RAW_PARSE_PLPGSQL_EXPR, so that
 * positions are those of the text itself.  Its references become parameters
 * $1 … $n in the order in which they are met; the same reference is the same
 * parameter.  That numbering is stable: a later analysis of the same text
 * (SPI_prepare, a replan) finds the same references.
 */
struct GoflowExpr
{
	GoflowDefinition *definition;
	GoflowNode *node;			/* whose key it is; NULL: an expression of the workflow itself */
	const char *key;			/* where in the node, "sql", "set.tries", … for messages */
	const char *text;
	bool		is_statement;
	int			index;			/* unique in the definition */
	int			sees;			/* GOFLOW_SEES() of the kinds of names it may use */

	/*
	 * Where it stands: names are those of this body, as far as "place" says,
	 * then those before its owner in the body around it, and so on outward.
	 */
	GoflowBody *body;
	GoflowPlace place;
	bool		sees_item;		/* the node's own item, index and accumulator too */
	bool		sees_self;		/* the node's own columns too: "compensate" */
	bool		is_json;		/* its value becomes jsonb: it may be a record */

	bool		is_blocked;		/* analysis met a name whose columns are unknown: the
								 * problem elsewhere that made them so explains it */

	GoflowRef  *refs;
	int			nrefs;
	int			maxrefs;
	List	   *relations;		/* many-row nodes (GoflowNode *) read as relations */
	Oid			trigger_relation;	/* gives NEW and OLD their columns, or InvalidOid */

	/*
	 * Result of an expression, known after analysis (not after a load): its
	 * type.  A value that is stored elsewhere is coerced by assignment to
	 * target (InvalidOid: kept as it is); then a bare literal stays of type
	 * unknown, as in an INSERT, and coerce_to_target_type() reads it as a
	 * value of the target's type.
	 */
	Oid			type;
	int32		typmod;
	Oid			target;
	int32		target_typmod;

	void	   *plan;			/* engine's prepared form (engine/evaluate.c), or NULL */
};

/* An element of "after", as written; graph.c makes the edges from it. */
typedef struct GoflowDependency
{
	char	   *id;
	char	   *port;			/* or NULL */
	char	   *key;			/* for messages: after[0], … */
} GoflowDependency;

/* (name, value) pairs of settings. */
typedef struct GoflowSettings
{
	char	  **names;
	char	  **values;
	int			count;
} GoflowSettings;

typedef struct GoflowNamedExpr
{
	char	   *name;			/* port of a switch case, variable, output name, input name */
	int			field;			/* variable or input index where the name is one; else -1 */
	GoflowExpr *expr;
} GoflowNamedExpr;

/* An edge as its target sees it (in[]) and as its source sees it (out[]). */
typedef struct GoflowEdge
{
	GoflowNode *from;
	GoflowNode *to;
	int			port;			/* index into from->ports; -1: whatever port was taken */
} GoflowEdge;

#define GOFLOW_EVENT_INSERT 0x01
#define GOFLOW_EVENT_UPDATE 0x02
#define GOFLOW_EVENT_DELETE 0x04

struct GoflowNode
{
	GoflowDefinition *definition;
	GoflowBody *body;
	int16		index;			/* number in the workflow: what the journal stores */
	int16		position;		/* number in its body */
	char	   *id;
	char	   *path;			/* unique in the workflow: "reserve/take", "try:catch 1/log" */
	char	   *title;			/* or NULL */
	GoflowNodeType type;
	GoflowSettings settings;	/* set around this node, on top of the definition's */
	uint64		pure_epoch;		/* kept by the engine: when it was found to be pure; 0: never */
	void	   *speed;			/* the same: where its speed was found last, or NULL */
	bool		is_broken;		/* has a problem of its own; its expressions may be NULL */
	bool		is_typed;		/* its columns are known */

	/* graph */
	List	   *after;			/* GoflowDependency * */
	bool		has_unknown_ancestors;	/* a cycle or a missing node comes before it */
	GoflowEdge *in;
	int			nin;
	GoflowEdge *out;
	int			nout;
	GoflowJoin	join;
	int			join_count;		/* of GOFLOW_JOIN_COUNT */
	bool		cancel_rest;
	GoflowAggregate aggregate;
	char	  **ports;			/* condition: false, true; switch: cases, then default */
	int			nports;
	Bitmapset  *ancestors;		/* positions of all nodes that come before, by any path */
	List	   *failures;		/* nodes whose on_error_node it is: then it is no entry */

	/* errors */
	GoflowRetry *retry;			/* or NULL: as the workflow says */
	int64		timeout;		/* of an attempt, microseconds; 0: none */
	int			max_rows;		/* "limits" */
	int			max_result;		/* bytes, of all columns as text */
	GoflowOnError on_error;
	GoflowNode *on_error_node;	/* of the same body, with GOFLOW_ON_ERROR_NODE */
	char	   *on_error_id;	/* its id, as written */
	GoflowExpr *compensate;		/* statement that undoes it, or NULL */

	/*
	 * What the node gives to others, <id>.<column>.  A many-row sql node has
	 * the columns of its rows in row_columns and one column, count.  A node
	 * with "aggregate" has a last column "joined jsonb".
	 */
	GoflowField *columns;
	int			ncolumns;
	GoflowField *row_columns;
	int			nrow_columns;

	/* by type */
	GoflowExpr *expr;			/* sql, condition if, switch on, delay for/until, notify payload,
								 * loop for/while/repeat, over, break and continue if */
	GoflowNamedExpr *exprs;		/* switch cases, set, transform, trigger input, workflow input,
								 * merge of, map value (a single one has no name), payload */
	int			nexprs;
	bool		is_atomic;		/* sql: runs in a transaction */
	int			isolation;		/* sql: of that transaction, XACT_READ_COMMITTED or above */
	GoflowRows	rows;			/* sql */
	bool		is_late;		/* sql: not analyzed by define(), columns as declared */
	bool		is_until;		/* delay */
	char	   *channel;		/* notify */
	char	   *table;			/* trigger: as written; NULL: manual */
	int			events;			/* trigger: GOFLOW_EVENT_* */
	List	   *of;				/* trigger: column names (char *) */
	char	   *when;			/* trigger: text of its condition, or NULL */

	/*
	 * Nodes inside.  loop: bodies[0].  try: the body, the catches in their
	 * order, then the "finally" if there is one.  parallel: a body per branch,
	 * by name; join, join_count, cancel_rest and aggregate are about them, and
	 * what is in its "after" is joined by all.
	 */
	GoflowBody **bodies;
	int			nbodies;

	/* loop, and "over" of map, filter, reduce, split */
	GoflowLoopKind loop_kind;
	GoflowNode *loop_source;	/* GOFLOW_LOOP_NODE; expr is NULL then */
	char	   *item_name;		/* "as"; NULL without items */
	GoflowField *items;			/* columns of an item; an array's is "value" */
	int			nitems;
	bool		is_item_typed;	/* items are known */

	int			parallel;		/* loop: iterations side by side, from 1 */
	GoflowExpr *collect;		/* loop: a value per iteration, or NULL */
	int64		max_iterations; /* loop */
	GoflowNode *loop;			/* break, continue: the one that they belong to */

	GoflowCatch *catches;		/* try */
	int			ncatches;
	bool		has_finally;

	char	   *raise_code;		/* raise: SQLSTATE, or NULL */
	GoflowExpr *message;		/* raise: text, or NULL */
	GoflowExpr *detail;			/* raise: text, or NULL; none of the three: re-raise */

	char	   *workflow_name;	/* workflow; its time limit is the node's timeout */
	int			workflow_version;	/* 0: the newest */
	bool		wait;

	GoflowExpr *where;			/* filter */
	GoflowExpr *initial;		/* reduce */
	GoflowExpr *value;			/* reduce: the next acc.value */
	GoflowExpr *size;			/* split, or NULL */
	GoflowExpr *by;				/* split, or NULL */
	GoflowMergeMode merge_mode;

	/*
	 * signal, approval, task: what somebody outside of the workflow gives, in
	 * columns from first_field on.  What approvers and workers are shown is in
	 * exprs.  Intervals are in microseconds.
	 */
	int			first_field;
	int			nfields;
	char	   *signal_name;
	char	   *role;			/* approval: who decides */
	int64		remind;			/* approval; 0: not */
	char	   *escalate_to;	/* approval: who decides, too, when it took so long; or NULL */
	int64		escalate_after;
	char	   *queue;			/* task */
	int64		lease;			/* task */

	void	   *mapping;		/* trigger: engine's prepared form of its input (engine/row.c), or NULL */
	char	   *activity;		/* what pg_stat_activity shows (engine/activity.c), or NULL */
};

/*
 * "limits": what a definition may say at most, and what holds if it says
 * nothing.  Counts of nodes are int32, and so are the numbers of events, of
 * which a node has two at least.
 */
#define GOFLOW_MAX_EXECUTION_NODES 500000000
#define GOFLOW_MAX_ITERATIONS 1000000000
#define GOFLOW_DEFAULT_ITERATIONS 10000000
#define GOFLOW_MAX_EXECUTIONS 10000000
#define GOFLOW_DEFAULT_EXECUTIONS 100000
#define GOFLOW_MAX_ROWS 1000000000
#define GOFLOW_DEFAULT_ROWS 10000000
#define GOFLOW_MAX_RESULT_BYTES (512 * 1024 * 1024)
#define GOFLOW_DEFAULT_RESULT_BYTES (256 * 1024 * 1024)

typedef struct GoflowLimits
{
	int			nodes;			/* that end in an execution, skipped ones too */
	int			iterations;		/* of a loop that has no "max_iterations" */
	int			executions;		/* below an execution that no node started */
	int			depth;			/* levels of sub-workflows below an execution */
	int			rows;			/* of a node that says nothing */
	int			result;			/* bytes: the same, and of an output and of a variable */
} GoflowLimits;

struct GoflowBody
{
	GoflowDefinition *definition;
	GoflowNode *owner;			/* the node whose body this is; NULL: the workflow's own */
	int			part;			/* owner->bodies[part]; 0 of the workflow's own */
	char	   *name;			/* "body", "catch 1", "finally", a branch's name */
	char	   *key;			/* where in the owner, with a dot at the end: "body.", "branches.a.", "" */
	int			index;			/* definition->bodies[index] */
	int			depth;			/* 0: the workflow's own */
	GoflowNode **nodes;			/* in a topological order; nodes[i]->position == i */
	GoflowNode **by_id;			/* the same, sorted by id */
	int			nnodes;
	int			nordered;		/* those behind it are in or after a cycle */
	bool	   *reachable;		/* what its own entries reach, by position; NULL: it has errors */
	int			nreachable;

	/* its own; they are definition->variables from first_variable */
	GoflowField *variables;
	int			nvariables;
	int			first_variable;

	/* what a run of it results in, as jsonb */
	GoflowNamedExpr *outputs;
	int			noutputs;
};

struct GoflowDefinition
{
	MemoryContext context;
	int			workflow_id;	/* 0 until stored */
	char	   *name;
	int			version;
	Oid			owner;
	bool		security_definer;
	char	   *title;
	char	   *description;
	int			priority;

	GoflowField *inputs;
	int			ninputs;
	GoflowField *variables;		/* of all bodies, the workflow's own first */
	int			nvariables;
	GoflowBody *body;			/* the workflow's own */
	GoflowBody **bodies;		/* all, a body before those inside of it */
	int			nbodies;
	GoflowNode **nodes;			/* all nodes of all bodies, by index */
	int			nnodes;
	GoflowExpr **exprs;			/* by index; NULL: it was the name of a loop_source */
	int			nexprs;
	bool		has_signals;	/* nodes that wait for somebody outside */
	bool		has_approvals;
	bool		has_tasks;

	int64		timeout;		/* microseconds; 0: none */
	int64		retention;		/* microseconds; 0: as the setting says */
	GoflowRetry *retry;			/* of nodes that have none; or NULL */
	GoflowOnError on_error;		/* of nodes that say nothing: fail, continue, skip */
	GoflowLimits limits;

	/*
	 * Set around every node: search_path, DateStyle, … as define() found them,
	 * then the workflow's own "settings".  After parsing alone: the latter.
	 */
	GoflowSettings settings;

	char	   *activity;		/* as a node's */
	int			ncompared;		/* names, for suggestions */
};

/* ---- report.c: problems ---- */

typedef struct GoflowProblem
{
	bool		is_warning;
	int			code;			/* SQLSTATE, MAKE_SQLSTATE form */
	char	   *node;			/* id, or NULL */
	char	   *key;			/* where in the node or workflow, or NULL */
	char	   *text;			/* the SQL text position refers to, or NULL */
	int			position;		/* character in text from 1; 0: none */
	char	   *message;
	char	   *detail;
	char	   *hint;
} GoflowProblem;

typedef struct GoflowReport
{
	const char *workflow;		/* name for messages, or NULL */
	MemoryContext context;
	List	   *problems;		/* GoflowProblem * */
	int			nerrors;		/* counted on when there are too many to be kept */
	int			nwarnings;
	GoflowProblem *surplus;		/* stands for each of those that are not kept */
} GoflowReport;

/* Errors that a report keeps, and warnings. */
#define GOFLOW_MAX_PROBLEMS 100

extern GoflowReport *goflow_report_create(const char *workflow);

/* When all are known: adds how many were not kept. */
extern void goflow_report_end(GoflowReport *report);
extern GoflowProblem *goflow_report_error(GoflowReport *report, int code, const char *node,
										  const char *key, const char *message_format,...) pg_attribute_printf(5, 6);
extern GoflowProblem *goflow_report_warning(GoflowReport *report, int code, const char *node,
											const char *key, const char *message_format,...) pg_attribute_printf(5, 6);

/* False: it is only counted, so that there need be no hint. */
extern bool goflow_problem_is_kept(const GoflowProblem *problem);
extern void goflow_problem_detail(GoflowProblem *problem, const char *format,...) pg_attribute_printf(2, 3);
extern void goflow_problem_hint(GoflowProblem *problem, const char *format,...) pg_attribute_printf(2, 3);

/*
 * The closest of some names to one that is wrong, for hints.  In all of a
 * definition only so many are compared: beyond that there is none.
 */
typedef struct GoflowNearest
{
	GoflowDefinition *definition;
	const char *wanted;
	const char *best;			/* or NULL */
	int			distance;
} GoflowNearest;

extern void goflow_nearest_begin(GoflowNearest *nearest, GoflowDefinition *definition, const char *wanted);
extern void goflow_nearest_offer(GoflowNearest *nearest, const char *candidate);

/* Raises the report's first error, with its position at the right character; warnings as WARNING. */
extern void goflow_report_raise(GoflowReport *report);

/* ---- the phases ---- */

/* Returns NULL when nothing useful could be parsed; problems are in the report. */
extern GoflowDefinition *goflow_definition_parse(Jsonb *json, const char *name, GoflowReport *report,
												 MemoryContext parent);
extern void goflow_graph_check(GoflowDefinition *definition, GoflowReport *report);
extern void goflow_definition_analyze(GoflowDefinition *definition, GoflowReport *report);

/* ---- types.c ---- */

/* Type of a declared field from its type_name; an error, raised, if there is none. */
extern void goflow_field_resolve(GoflowField *field);

/* What the values of expressions become, from the types of inputs and variables. */
extern void goflow_definition_set_targets(GoflowDefinition *definition);

/* The type that a result column of a statement has as a node's column. */
extern Oid	goflow_column_type(Oid type);

/* ---- settings.c ---- */

/* Puts settings in force until the caller's GUC nest level ends. */
extern void goflow_settings_apply(const GoflowSettings *settings);

/* ---- contract.c ---- */

/*
 * jsonb of all nodes' columns, by path: {"node": {"columns": [[name, type], …],
 * "rows": [[…]], "items": [[…]], "on": type of a switch}}
 */
extern Jsonb *goflow_contract_build(GoflowDefinition *definition);

/*
 * Makes a usable definition of a stored one: parse, graph, declared types and
 * the contract's columns.  Raises an error if a type has gone.  The caller has
 * set the definition's settings (search_path) in force.
 */
extern GoflowDefinition *goflow_definition_load(Jsonb *json, Jsonb *contract, const char *name,
												MemoryContext parent);

/* Marks the positions that an entry (a node's index; -1: all nodes without "after") reaches; counts them. */
extern int	goflow_graph_reach(GoflowBody *body, int entry, bool *reachable);

/*
 * Names of the workflows (char *) whose end every execution waits for, unless
 * something fails before: a circle of these can never end.
 */
extern List *goflow_graph_certain_calls(const GoflowDefinition *definition);

/* "sql", "condition", … */
extern const char *goflow_node_type_name(GoflowNodeType type);

/* Has one of a try's bodies "output"?  Then the try has a column of that name. */
extern bool goflow_try_has_output(const GoflowNode *node);

extern GoflowNode *goflow_definition_find_node(GoflowBody *body, const char *id);

/* What somebody outside of the workflow gives a signal, approval or task node. */
#define goflow_node_fields(node) ((node)->columns + (node)->first_field)

/* True if its rows can be read as a relation by its id. */
#define goflow_node_is_relation(node) \
	((node)->type == GOFLOW_TYPE_SQL && (node)->rows == GOFLOW_ROWS_MANY)

/* ---- scope.c: who can be seen from where ---- */

/* The body around a body, NULL of the workflow's own. */
extern GoflowBody *goflow_scope_outer(const GoflowBody *body);

/* A node of the body or of those around it. */
extern GoflowNode *goflow_scope_find_node(GoflowBody *body, const char *id);

/* True if a node, of the expression's body or of one around it, has ended when the expression is evaluated. */
extern bool goflow_scope_is_before(const GoflowExpr *expr, const GoflowNode *node);
extern bool goflow_scope_is_blurred(const GoflowExpr *expr, const GoflowNode *node);

/* The node of a body that the expression belongs to or is inside of; NULL if none. */
extern const GoflowNode *goflow_scope_within(const GoflowExpr *expr, const GoflowBody *body);

/* The innermost node whose items have the name; loop; try with a catch; or NULL. */
extern GoflowNode *goflow_scope_item(const GoflowExpr *expr, const char *name);
extern GoflowNode *goflow_scope_loop(const GoflowBody *body);
extern GoflowNode *goflow_scope_catch(const GoflowBody *body);

/* The number-th variable that an expression sees, the innermost first; -1: no more. */
extern int	goflow_scope_variable(const GoflowExpr *expr, int number);

/* True if an error is one of those: equal, or of a class that is one of them.  None stands for any. */
extern bool goflow_condition_matches(const int *codes, int ncodes, int code);

/* ---- reference.c: names in SQL ---- */

/*
 * Parser setup for SPI_prepare_extended and for analysis: resolves input.x,
 * vars.x, node.column, trigger.x, execution.x, an item's columns, loop.index,
 * acc.value, error.x and (with a trigger relation) NEW.x, OLD.x.
 * arg is the GoflowExpr, which must live as long as the plan.
 */
extern void goflow_reference_setup(ParseState *pstate, void *arg);

/* The relations (many-row nodes) an expression may read, as ephemeral named relations without data. */
extern QueryEnvironment *goflow_reference_environment(GoflowExpr *expr);

/*
 * Fills expr->relations from an analyzed query.  define() does so; for a
 * loaded definition, whoever prepares the text must (a plan source has the
 * queries).
 */
extern void goflow_reference_collect_relations(GoflowExpr *expr, Query *query);

/*
 * Many-row nodes (GoflowNode *) whose names a text of this place may use as
 * relations: what to register before it is prepared.
 */
extern List *goflow_reference_relations(const GoflowExpr *expr);

/* Row type of a many-row node. */
extern TupleDesc goflow_node_row_descriptor(GoflowNode *node);

#endif							/* GOFLOW_DEFINITION_H */
