/*
 * statement.h
 *		One SQL text at a time: what analyze.c, and who makes row triggers, ask
 *		of statement.c.
 *
 * All of these raise errors, with positions in the text.
 */
#ifndef GOFLOW_DEFINITION_STATEMENT_H
#define GOFLOW_DEFINITION_STATEMENT_H

#include "access/tupdesc.h"
#include "storage/lockdefs.h"

#include "definition/definition.h"

/* The one statement of a text, which must be of a kind that a node may run. */
extern RawStmt *goflow_statement_parse(GoflowExpr *expr);

/*
 * Analyzes a statement: fills the references and relations of expr.  Returns
 * the row type of its result, NULL if it returns no rows.
 */
extern TupleDesc goflow_statement_analyze(GoflowExpr *expr);

/* The same for an expression; sets its type, and checks it against its target. */
extern void goflow_expression_analyze(GoflowExpr *expr);

/* The table of a trigger node, locked: one that can have it, and where the user may. */
extern Oid	goflow_trigger_table_resolve(GoflowNode *node, LOCKMODE mode);

/* Every column in "of" exists. */
extern void goflow_trigger_columns_check(GoflowNode *node);

/* The expression of its condition, not analyzed. */
extern Node *goflow_trigger_when_parse(GoflowNode *node);

/* Checks the condition of a trigger node, as CREATE TRIGGER does it. */
extern void goflow_trigger_when_analyze(GoflowNode *node);

#endif							/* GOFLOW_DEFINITION_STATEMENT_H */
