/*
 * definition.h
 *		A workflow's definition: from jsonb to a checked, typed graph.
 *
 * The work has four phases, each in a file of its own.  Every phase reports
 * what it finds to a GoflowReport, so that validate() can return all problems
 * at once and define() can raise the first error.
 *
 *	parse.c		jsonb -> GoflowDefinition.  Keys, JSON types, ids; no catalogs.
 *				With node_types.c, the types of nodes, and json.c, the readers.
 *	graph.c		edges, ports, cycles, reachability, entries, order.
 *	analyze.c	declared types, then every SQL text by the server's parser
 *				(statement.c), with the references of reference.c resolved by
 *				parser hooks.  Gives each node its columns.
 *	contract.c	the columns of every node as jsonb, names only, as define()
 *				saw them; read back when a stored version is loaded, so that
 *				loading needs no SQL analysis.
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
	GOFLOW_TYPE_TRIGGER
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
	GOFLOW_REF_OLD
} GoflowRefKind;

#define GOFLOW_SEES(kind) (1 << (kind))

typedef struct GoflowRef
{
	GoflowRefKind kind;
	GoflowNode *node;			/* for GOFLOW_REF_NODE */
	int			field;			/* 0 of NEW and OLD: the whole row */
	Oid			type;
	int32		typmod;
	Oid			collation;
} GoflowRef;

/*
 * Names of trigger.* and execution.*; the tables of names and types are in
 * reference.c.
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
	GoflowNode *node;			/* NULL: an expression of the workflow itself */
	const char *key;			/* where in the node, "sql", "set.tries", … for messages */
	const char *text;
	bool		is_statement;
	int			index;			/* unique in the definition */
	int			sees;			/* GOFLOW_SEES() of the kinds of names it may use */
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
	char	   *title;			/* or NULL */
	GoflowNodeType type;
	GoflowSettings settings;	/* set around this node, on top of the definition's */
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
	GoflowExpr *expr;			/* sql, condition if, switch on, delay for/until, notify payload */
	GoflowNamedExpr *exprs;		/* switch cases, set, transform, trigger input */
	int			nexprs;
	GoflowRows	rows;			/* sql */
	bool		is_late;		/* sql: not analyzed by define(), columns as declared */
	bool		is_until;		/* delay */
	char	   *channel;		/* notify */
	char	   *table;			/* trigger: as written; NULL: manual */
	int			events;			/* trigger: GOFLOW_EVENT_* */
	List	   *of;				/* trigger: column names (char *) */
	char	   *when;			/* trigger: text of its condition, or NULL */
	void	   *mapping;		/* trigger: engine's prepared form of its input (engine/row.c), or NULL */
};

struct GoflowBody
{
	GoflowDefinition *definition;
	GoflowNode *owner;			/* the node whose body this is; NULL: the workflow's own */
	GoflowNode **nodes;			/* in a topological order; nodes[i]->position == i */
	GoflowNode **by_id;			/* the same, sorted by id */
	int			nnodes;
	int			nordered;		/* those behind it are in or after a cycle */
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
	GoflowField *variables;
	int			nvariables;
	GoflowBody *body;			/* the workflow's own */
	GoflowNode **nodes;			/* all nodes of all bodies, by index */
	int			nnodes;
	GoflowNamedExpr *outputs;
	int			noutputs;
	int			nexprs;

	/*
	 * Set around every node: search_path, DateStyle, … as define() found them,
	 * then the workflow's own "settings".  After parsing alone: the latter.
	 */
	GoflowSettings settings;
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
	int			nerrors;
} GoflowReport;

extern GoflowReport *goflow_report_create(const char *workflow);
extern GoflowProblem *goflow_report_error(GoflowReport *report, int code, const char *node,
										  const char *key, const char *message_format,...) pg_attribute_printf(5, 6);
extern GoflowProblem *goflow_report_warning(GoflowReport *report, int code, const char *node,
											const char *key, const char *message_format,...) pg_attribute_printf(5, 6);
extern void goflow_problem_detail(GoflowProblem *problem, const char *format,...) pg_attribute_printf(2, 3);
extern void goflow_problem_hint(GoflowProblem *problem, const char *format,...) pg_attribute_printf(2, 3);

/* The closest of some names to one that is wrong, for hints. */
typedef struct GoflowNearest
{
	const char *wanted;
	const char *best;			/* or NULL */
	int			distance;
} GoflowNearest;

extern void goflow_nearest_begin(GoflowNearest *nearest, const char *wanted);
extern void goflow_nearest_offer(GoflowNearest *nearest, const char *candidate);

/* Raises the report's first error, with its position at the right character; warnings as WARNING. */
extern void goflow_report_raise(GoflowReport *report);

/* ---- the phases ---- */

/* Returns NULL when nothing useful could be parsed; problems are in the report. */
extern GoflowDefinition *goflow_definition_parse(Jsonb *json, const char *name, GoflowReport *report,
												 MemoryContext parent);
extern void goflow_graph_check(GoflowDefinition *definition, GoflowReport *report);
extern void goflow_definition_analyze(GoflowDefinition *definition, GoflowReport *report);

/* ---- analyze.c: types ---- */

/* Type of a declared field from its type_name; an error, raised, if there is none. */
extern void goflow_field_resolve(GoflowField *field);

/* What the values of expressions become, from the types of inputs and variables. */
extern void goflow_definition_set_targets(GoflowDefinition *definition);

/* The type that a result column of a statement has as a node's column. */
extern Oid	goflow_column_type(Oid type);

/* Puts settings in force until the caller's GUC nest level ends. */
extern void goflow_settings_apply(const GoflowSettings *settings);

/*
 * jsonb of all nodes' columns: {"node": {"columns": [[name, type], …],
 * "rows": [[…]], "on": type of a switch}}
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

/* "sql", "condition", … */
extern const char *goflow_node_type_name(GoflowNodeType type);

extern GoflowNode *goflow_definition_find_node(GoflowBody *body, const char *id);

/* ---- reference.c: names in SQL ---- */

/*
 * Parser setup for SPI_prepare_extended and for analysis: resolves input.x,
 * vars.x, node.column, trigger.x, execution.x and (with a trigger relation) NEW.x, OLD.x.
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

/* Row type of a many-row node. */
extern TupleDesc goflow_node_row_descriptor(GoflowNode *node);

#endif							/* GOFLOW_DEFINITION_H */
