/*
 * plan.h
 *		The plan of a definition's SQL text, for those who run it: evaluate.c an
 *		expression, result.c a statement.
 */
#ifndef GOFLOW_PLAN_H
#define GOFLOW_PLAN_H

#include "engine/state.h"

#include "utils/plancache.h"

typedef struct GoflowPlan
{
	SPIPlanPtr	spi;
	CachedPlanSource *source;	/* of spi, if it has but one; else NULL */
	GoflowInsert *insert;		/* of a statement (insert.c) */
	MemoryContextCallback at_end;	/* of the definition */
	bool		is_checked;		/* is_simple and is_fast are known */
	bool		is_simple;		/* to be evaluated directly */
	bool		is_fast;		/* simple, and calls built-in functions without effects only */
	bool		is_mutable;		/* needs a snapshot */

	/* evaluate.c: per transaction and user */
	LocalTransactionId lxid;
	Oid			user;
	bool		in_use;			/* being evaluated, or an error got it out of that */
	MemoryContext context;		/* of what follows; ends with the transaction */
	ExprState  *state;			/* of a simple expression */
	Oid			type;			/* of its value */
	int32		typmod;
	ParamListInfo params;		/* that it is evaluated with; NULL: it has no references */
	ExprContext *econtext;
	Oid			source_type;	/* of cast */
	ExprState  *cast;			/* from the result's type to the target; NULL: none needed */
	bool		cast_ready;
	bool		is_cast_pure;
	bool		is_pure;		/* known after the first evaluation, and then: */
	bool		is_by_value;	/* its result, */
	Oid			result_type;	/* which is of this type */
	int32		result_typmod;
} GoflowPlan;

extern GoflowPlan *goflow_plan_make(GoflowExpr *expr);

/* The plan of a text, made if need be.  Needs SPI. */
static inline GoflowPlan *
goflow_plan_get(GoflowExpr *expr)
{
	return expr->plan ? expr->plan : goflow_plan_make(expr);
}

/* Runs it, with the many-row nodes that it reads, and the values of its references if there are no params. */
extern void goflow_plan_run(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr,
							SPIExecuteOptions *options);

extern void goflow_params_set(GoflowExecution *ex, GoflowFrame *frame, const GoflowExpr *expr,
							  ParamListInfo params);

#endif
