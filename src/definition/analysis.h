/*
 * analysis.h
 *		What the files of the analysis phase share: analyze.c, analyze_node.c,
 *		attempt.c, settings.c and types.c.
 */
#ifndef GOFLOW_DEFINITION_ANALYSIS_H
#define GOFLOW_DEFINITION_ANALYSIS_H

#include "definition/definition.h"

typedef struct GoflowAnalysis
{
	GoflowDefinition *definition;
	GoflowReport *report;
	MemoryContext scratch;		/* reset after every step */
	bool		is_complete;	/* every expression's references are known */
} GoflowAnalysis;

/* ---- attempt.c ---- */

/* What a step is about, for the report. */
typedef struct GoflowSubject
{
	const char *node;
	const char *key;
	const char *text;
	GoflowExpr *expr;			/* or NULL */
} GoflowSubject;

typedef void (*GoflowStep) (GoflowAnalysis *analysis, void *arg);

/* Runs a step; true if it went through. */
extern bool goflow_attempt(GoflowAnalysis *analysis, GoflowSubject subject, GoflowStep step, void *arg);
extern GoflowSubject goflow_subject_of(const GoflowExpr *expr);

/* ---- settings.c ---- */

/* Drops the settings that cannot be set. */
extern void goflow_analyze_settings(GoflowAnalysis *analysis, const char *node, GoflowSettings *settings);

/* The complete settings of the workflow, in force from here to the end of the nest level. */
extern void goflow_analyze_own_settings(GoflowAnalysis *analysis);

/* ---- types.c ---- */

extern void goflow_expr_set_target(GoflowExpr *expr, Oid type, int32 typmod);
extern void goflow_field_add(GoflowField **fields, int *count, const char *name, Oid type, int32 typmod);

/* The columns that do not come from a statement. */
extern void goflow_node_add_columns(GoflowAnalysis *analysis, GoflowNode *node);

/* ---- analyze_node.c ---- */

/* The texts of a node that its type has; true if all is well with them. */
extern bool goflow_analyze_by_type(GoflowAnalysis *analysis, GoflowNode *node);

/* ---- analyze.c; true if it, or all of them, are well ---- */

extern bool goflow_analyze_expr(GoflowAnalysis *analysis, GoflowExpr *expr);	/* true also if there is none */
extern bool goflow_analyze_named_exprs(GoflowAnalysis *analysis, GoflowNamedExpr *exprs, int count);
extern bool goflow_analyze_fields(GoflowAnalysis *analysis, const char *node, const char *key,
								  GoflowField *fields, int count);

#endif							/* GOFLOW_DEFINITION_ANALYSIS_H */
