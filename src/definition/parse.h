/*
 * parse.h
 *		What the files of the parsing phase share: json.c, parse.c, policy.c and
 *		those of the node types.
 *
 * What keys an object may have, and of which JSON type, is written in tables
 * of GoflowKeyRule.  goflow_check_keys() compares an object with its tables,
 * reports what does not fit and hides it, so that the code after it only ever
 * sees values of the right type, or none.
 */
#ifndef GOFLOW_DEFINITION_PARSE_H
#define GOFLOW_DEFINITION_PARSE_H

#include "definition/definition.h"

/* JSON types, as bits */
#define GOFLOW_JSON_STRING 0x01
#define GOFLOW_JSON_NUMBER 0x02
#define GOFLOW_JSON_BOOL 0x04
#define GOFLOW_JSON_LIST 0x08
#define GOFLOW_JSON_OBJECT 0x10
#define GOFLOW_JSON_NULL 0x20
#define GOFLOW_JSON_TEXT (GOFLOW_JSON_STRING | GOFLOW_JSON_LIST)	/* a text or its lines */

typedef struct GoflowMember
{
	char	   *name;
	JsonbValue	value;
	bool		hidden;			/* was reported */
} GoflowMember;

typedef struct GoflowObject
{
	GoflowMember *members;
	int			count;
} GoflowObject;

/* Tables of these end with a NULL name. */
typedef struct GoflowKeyRule
{
	const char *name;
	int			kinds;
	bool		required;
} GoflowKeyRule;

typedef struct GoflowParser
{
	GoflowDefinition *definition;
	GoflowReport *report;
	const char *node;			/* path of the node in work, or NULL */
	GoflowBody *body;			/* whose nodes are in work */
	int			inner_errors;	/* of the bodies of the node in work */
	int			maxnodes;		/* room in definition->nodes, bodies, exprs */
	int			maxbodies;
	int			maxexprs;
} GoflowParser;

/* One per node type: a new type is a line in node_types.c. */
typedef struct GoflowNodeTypeRule
{
	const char *name;
	GoflowNodeType type;
	const GoflowKeyRule *keys;	/* beside those of every node */
	bool		is_entry;		/* nothing comes before it: no after, join, … */
	void		(*parse) (GoflowParser *parser, GoflowNode *node, GoflowObject *object);
} GoflowNodeTypeRule;

extern const GoflowNodeTypeRule goflow_node_types[];
extern const int goflow_node_types_count;

/* What an expression of a node, or of the output, may use */
#define GOFLOW_SEES_ANY \
	(GOFLOW_SEES(GOFLOW_REF_INPUT) | GOFLOW_SEES(GOFLOW_REF_VARIABLE) | \
	 GOFLOW_SEES(GOFLOW_REF_NODE) | GOFLOW_SEES(GOFLOW_REF_TRIGGER) | \
	 GOFLOW_SEES(GOFLOW_REF_EXECUTION) | GOFLOW_SEES(GOFLOW_REF_ITEM) | \
	 GOFLOW_SEES(GOFLOW_REF_LOOP_INDEX) | GOFLOW_SEES(GOFLOW_REF_ACC) | \
	 GOFLOW_SEES(GOFLOW_REF_ERROR))

/* ---- json.c ---- */

extern int goflow_json_kind(const JsonbValue *value);
extern const char *goflow_json_kinds_name(int kinds);
extern char *goflow_json_string(const JsonbValue *value);
extern char *goflow_json_number_string(const JsonbValue *value);
extern bool goflow_json_integer(const JsonbValue *value, int *result);
extern JsonbValue *goflow_json_list(const JsonbContainer *container, int *count);
extern GoflowObject goflow_json_object(const JsonbContainer *container);
extern JsonbValue *goflow_object_get(GoflowObject *object, const char *name);
extern char *goflow_object_string(GoflowObject *object, const char *name);
extern GoflowProblem *goflow_parse_problem(GoflowParser *parser, int code, const char *key,
										   const char *message);
extern bool goflow_check_kind(GoflowParser *parser, const char *key, const JsonbValue *value,
							  int kinds);
extern void goflow_check_keys(GoflowParser *parser, GoflowObject *object, const char *prefix,
							  const char *what, const GoflowKeyRule *rules,
							  const GoflowKeyRule *more);
extern int goflow_object_word(GoflowParser *parser, GoflowObject *object, const char *key,
							  const char *const *words, int fallback);
extern int goflow_read_integer(GoflowParser *parser, const char *key, const JsonbValue *value,
							   int low, int high, int fallback, const char *hint);
extern bool goflow_object_bool(GoflowObject *object, const char *key);
extern char *goflow_read_text(GoflowParser *parser, const char *key, const JsonbValue *value);
extern GoflowExpr *goflow_read_expr(GoflowParser *parser, GoflowNode *node, const char *key,
									const JsonbValue *value, int sees);
extern GoflowExpr *goflow_make_expr(GoflowParser *parser, GoflowNode *node, const char *key,
									const char *text, int sees);
extern bool goflow_check_identifier(GoflowParser *parser, const char *key, const char *name,
									const char *what);
extern bool goflow_check_count(GoflowParser *parser, const char *key, int count, int limit);
extern GoflowField *goflow_read_fields(GoflowParser *parser, const char *key,
									   const JsonbValue *value, bool has_default, int sees, int *count);
extern void goflow_read_named_exprs(GoflowParser *parser, GoflowNode *node, const char *key,
									const JsonbValue *value, int sees, bool is_name,
									GoflowNamedExpr **exprs, int *count);
extern void goflow_match_fields(GoflowParser *parser, const char *key, GoflowNamedExpr *exprs,
								int nexprs, const GoflowField *fields, int nfields, const char *what);

/* ---- parse.c ---- */

/* A name that stands before a dot in SQL: an id, or the name of an item. */
extern bool goflow_check_word(GoflowParser *parser, const char *key, const char *name,
							  const char *what);

/* The next of the owner's bodies; what is wrong inside is reported for the nodes there. */
extern GoflowBody *goflow_parse_body(GoflowParser *parser, GoflowNode *owner, const char *name,
									 const char *key, const JsonbValue *value);

/* "all", "any" or a number, of what "after" or the branches are. */
extern void goflow_read_join(GoflowParser *parser, GoflowNode *node, GoflowObject *object);

/* ---- policy.c ---- */

extern int64 goflow_read_interval(GoflowParser *parser, const char *key, const JsonbValue *value,
								  bool may_be_zero);
extern void goflow_read_policy(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_read_workflow_policy(GoflowParser *parser, GoflowObject *object);
extern void goflow_read_conditions(GoflowParser *parser, const char *key, const JsonbValue *value,
								   int **codes, int *ncodes);
extern char *goflow_read_condition(GoflowParser *parser, const char *key, const char *word);

/* ---- limits.c ---- */

extern void goflow_read_workflow_limits(GoflowParser *parser, GoflowObject *object);
extern void goflow_read_node_limits(GoflowParser *parser, GoflowNode *node, GoflowObject *object);

/* ---- flow_types.c ---- */

extern const GoflowKeyRule goflow_loop_keys[];
extern const GoflowKeyRule goflow_break_keys[];
extern const GoflowKeyRule goflow_try_keys[];
extern const GoflowKeyRule goflow_raise_keys[];
extern const GoflowKeyRule goflow_parallel_keys[];
extern const GoflowKeyRule goflow_workflow_keys[];
extern void goflow_parse_loop(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_parse_break(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_parse_try(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_parse_raise(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_parse_parallel(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_parse_workflow(GoflowParser *parser, GoflowNode *node, GoflowObject *object);

/* ---- wait_types.c ---- */

extern const GoflowKeyRule goflow_signal_keys[];
extern const GoflowKeyRule goflow_approval_keys[];
extern const GoflowKeyRule goflow_task_keys[];
extern void goflow_parse_signal(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_parse_approval(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_parse_task(GoflowParser *parser, GoflowNode *node, GoflowObject *object);

/* ---- data_types.c ---- */

extern const GoflowKeyRule goflow_map_keys[];
extern const GoflowKeyRule goflow_filter_keys[];
extern const GoflowKeyRule goflow_reduce_keys[];
extern const GoflowKeyRule goflow_merge_keys[];
extern const GoflowKeyRule goflow_split_keys[];
extern void goflow_read_source(GoflowParser *parser, GoflowNode *node, GoflowObject *object,
							   const char *key);
extern void goflow_parse_map(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_parse_filter(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_parse_reduce(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_parse_merge(GoflowParser *parser, GoflowNode *node, GoflowObject *object);
extern void goflow_parse_split(GoflowParser *parser, GoflowNode *node, GoflowObject *object);

#endif							/* GOFLOW_DEFINITION_PARSE_H */
