/*
 * parse.h
 *		What the files of the parsing phase share: json.c, node_types.c, parse.c.
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
	const char *node;			/* id of the node in work, or NULL */
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
	 GOFLOW_SEES(GOFLOW_REF_EXECUTION))

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
extern bool goflow_object_bool(GoflowObject *object, const char *key);
extern char *goflow_read_text(GoflowParser *parser, const char *key, const JsonbValue *value);
extern GoflowExpr *goflow_read_expr(GoflowParser *parser, GoflowNode *node, const char *key,
									const JsonbValue *value, int sees);
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

#endif							/* GOFLOW_DEFINITION_PARSE_H */
