/*
 * evaluate.c
 *		Values of expressions, coerced to the type that is asked for.
 *
 * An expression without tables, aggregates and sub-selects is "simple": its
 * plan is a Result node, and its expression tree is evaluated directly, as
 * PL/pgSQL does it, at a twentieth of the executor's price.  Such state lives
 * for one transaction and one user at most, since it holds looked-up functions
 * that the user was found to have the right to call; it is made anew when the
 * server says that what it depends on has changed.  It can be in use once at a
 * time: should a function that an expression calls lead to the same expression
 * again, that evaluation gets state of its own.
 *
 * Of the simple ones some are "pure": their value depends on nothing but the
 * references, whoever evaluates them under whatever settings.
 */
#include "postgres.h"

#include "engine/plan.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* goflow_evaluate_epoch() */
static uint64 epoch = 0;

/* A query that is nothing but one expression. */
static bool
is_simple_query(Query *query)
{
	return query->commandType == CMD_SELECT &&
		query->rtable == NIL &&
		!query->hasAggs && !query->hasWindowFuncs && !query->hasTargetSRFs &&
		!query->hasSubLinks && query->cteList == NIL &&
		query->jointree->fromlist == NIL && query->jointree->quals == NULL &&
		query->groupClause == NIL && query->groupingSets == NIL && query->havingQual == NULL &&
		query->windowClause == NIL && query->distinctClause == NIL && query->sortClause == NIL &&
		query->limitOffset == NULL && query->limitCount == NULL && query->setOperations == NULL &&
		list_length(query->targetList) == 1;
}

/*
 * The expression of a simple plan, copied into the current context; NULL if
 * the plan is not simple after all.
 */
static Expr *
get_simple_expression(GoflowPlan *plan)
{
	CachedPlan *cached = SPI_plan_get_cached_plan(plan->spi);
	PlannedStmt *statement;
	Expr	   *result = NULL;

	if (cached == NULL)
		return NULL;
	if (list_length(cached->stmt_list) == 1)
	{
		statement = linitial_node(PlannedStmt, cached->stmt_list);
		if (statement->commandType == CMD_SELECT && IsA(statement->planTree, Result) &&
			outerPlan(statement->planTree) == NULL &&
			((Result *) statement->planTree)->resconstantqual == NULL &&
			list_length(statement->planTree->targetlist) == 1)
			result = copyObject(linitial_node(TargetEntry, statement->planTree->targetlist)->expr);
	}
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	return result;
}

/* Is the per-transaction state that of this transaction and user, and the plan as it was? */
static bool
is_present(const GoflowPlan *plan)
{
	return plan->lxid == GoflowLocalTransactionId() && plan->user == GetUserId() &&
		(plan->source ? CachedPlanIsValid(plan->source) : SPI_plan_is_valid(plan->spi));
}

/* The server says that something has changed which plans may depend on. */
static void
change_epoch_for_relation(Datum arg, Oid relation)
{
	epoch++;
}

static void
change_epoch(Datum arg, int cacheid, uint32 hashvalue)
{
	epoch++;
}

/* Once in a process: asks to be told. */
static pg_noinline void
watch_epoch(void)
{
	static const int caches[] = {PROCOID, TYPEOID, NAMESPACEOID, OPEROID, AMOPOPID};
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterRelcacheCallback(change_epoch_for_relation, (Datum) 0);
	for (int i = 0; i < lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], change_epoch, (Datum) 0);
	registered = true;
}

uint64
goflow_evaluate_epoch(void)
{
	static LocalTransactionId lxid = InvalidLocalTransactionId;
	static Oid	user = InvalidOid;

	if (lxid != GoflowLocalTransactionId() || user != GetUserId())
	{
		watch_epoch();
		lxid = GoflowLocalTransactionId();
		user = GetUserId();
		epoch++;
	}
	return epoch;
}

/* Brings the per-transaction state up to date. */
static void
begin_transaction(GoflowPlan *plan, GoflowExpr *expr)
{
	LocalTransactionId lxid = GoflowLocalTransactionId();
	MemoryContext old;
	Expr	   *tree;

	if (plan->lxid == lxid)
	{
		if (plan->in_use || is_present(plan))
			return;
		MemoryContextDelete(plan->context);
		epoch++;
	}
	plan->lxid = InvalidLocalTransactionId;
	plan->user = GetUserId();
	plan->in_use = false;
	plan->state = NULL;
	plan->cast = NULL;
	plan->cast_ready = false;
	plan->is_pure = false;

	if (!plan->is_checked)
	{
		plan->is_simple = plan->source && list_length(plan->source->query_list) == 1 &&
			is_simple_query(linitial(plan->source->query_list));
		plan->is_checked = true;
	}

	plan->context = AllocSetContextCreate(TopTransactionContext, "goflow expression",
										  ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(plan->context);
	plan->econtext = CreateStandaloneExprContext();
	if (plan->is_simple)
	{
		tree = get_simple_expression(plan);
		if (tree)
		{
			plan->is_mutable = contain_mutable_functions((Node *) tree);
			plan->is_fast = !contain_volatile_functions((Node *) tree) &&
				!goflow_calls_user_code((Node *) tree, NULL);
			plan->state = ExecInitExpr(tree, NULL);
			plan->type = exprType((Node *) tree);
			plan->typmod = exprTypmod((Node *) tree);
			plan->params = goflow_params_make(expr);
			plan->econtext->ecxt_param_list_info = plan->params;
		}
	}
	MemoryContextSwitchTo(old);
	plan->lxid = lxid;
}

/*
 * Assignment cast between two types, as PL/pgSQL's assignments have it.  The
 * state is of this transaction.
 */
static void
prepare_cast(GoflowPlan *plan, GoflowExpr *expr, Oid source, int32 source_typmod)
{
	CaseTestExpr *placeholder;
	Node	   *cast;
	MemoryContext old;

	if (plan->cast_ready && plan->source_type == source)
		return;
	plan->cast = NULL;
	plan->source_type = source;
	plan->is_cast_pure = true;
	plan->cast_ready = !OidIsValid(expr->target) ||
		(source == expr->target && (expr->target_typmod < 0 || expr->target_typmod == source_typmod));
	if (plan->cast_ready)
		return;

	old = MemoryContextSwitchTo(plan->context);
	placeholder = makeNode(CaseTestExpr);
	placeholder->typeId = source;
	placeholder->typeMod = source_typmod;
	placeholder->collation = get_typcollation(source);
	cast = coerce_to_target_type(NULL, (Node *) placeholder, source,
								 expr->target, expr->target_typmod,
								 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (cast == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
				 errmsg("\"%s\" is of type %s but must be %s", expr->key,
						format_type_be(source), format_type_be(expr->target)),
				 errhint("Cast it to %s.", format_type_be(expr->target))));
	if (!IsA(cast, CaseTestExpr))
	{
		plan->is_cast_pure = !contain_mutable_functions(cast) && !goflow_calls_user_code(cast, NULL);
		plan->cast = ExecInitExpr(expression_planner((Expr *) cast), NULL);
	}
	plan->cast_ready = true;
	MemoryContextSwitchTo(old);
}

/* A bare literal is read as a value of the target's type, or as text. */
static pg_noinline Datum
read_literal(GoflowExpr *expr, Datum value, bool isnull, Oid *type, int32 *typmod)
{
	Oid			literal_type = OidIsValid(expr->target) ? getBaseType(expr->target) : TEXTOID;
	Oid			input;
	Oid			ioparam;

	if (type)
		*type = literal_type;
	if (typmod)
		*typmod = -1;
	if (isnull)
		return (Datum) 0;
	getTypeInputInfo(literal_type, &input, &ioparam);
	return OidInputFunctionCall(input, DatumGetCString(value), ioparam, -1);
}

/* True if reading a literal as a value of a type is the same for everybody. */
static bool
is_literal_pure(Oid type)
{
	Oid			input;
	Oid			ioparam;

	getTypeInputInfo(type, &input, &ioparam);
	return input < FirstNormalObjectId && func_volatile(input) == PROVOLATILE_IMMUTABLE;
}

/* The value of a simple expression; it lives until the next evaluation. */
static Datum
evaluate_directly(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, GoflowPlan *plan,
				  bool *isnull)
{
	Datum		value;

	goflow_params_set(ex, frame, expr, plan->params);
	if (plan->is_mutable)
	{
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
	}
	value = ExecEvalExprSwitchContext(plan->state, plan->econtext, isnull);
	if (plan->is_mutable)
		PopActiveSnapshot();
	return value;
}

/* The value of any other one: that of the row it gives, if there is one.  The caller frees SPI_tuptable. */
static Datum
evaluate_by_executor(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, bool *isnull,
					 Oid *type, int32 *typmod)
{
	SPIExecuteOptions options = {.must_return_tuples = true, .tcount = 2};

	goflow_plan_run(ex, frame, expr, &options);
	if (SPI_tuptable == NULL)
		elog(ERROR, "expression \"%s\" returned no rows", expr->key);
	if (SPI_processed > 1)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_TOO_MANY_ROWS),
				 errmsg("expression \"%s\" returned more than one row", expr->key)));
	*type = TupleDescAttr(SPI_tuptable->tupdesc, 0)->atttypid;
	*typmod = TupleDescAttr(SPI_tuptable->tupdesc, 0)->atttypmod;
	*isnull = SPI_processed == 0;
	return *isnull ? (Datum) 0 :
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, isnull);
}

static Datum
cast_value(GoflowPlan *plan, Datum value, bool *isnull)
{
	if (plan->cast == NULL)
		return value;
	plan->econtext->caseValue_datum = value;
	plan->econtext->caseValue_isNull = *isnull;
	return ExecEvalExprSwitchContext(plan->cast, plan->econtext, isnull);
}

/*
 * The value of a pure one, all about which is known.  Should the server have
 * said since its node began that it is to be planned anew, this one still is
 * what it was when the node began.
 */
static Datum
evaluate_pure(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, GoflowPlan *plan, bool *isnull,
			  Oid *type, int32 *typmod)
{
	Datum		value;

	ResetExprContext(plan->econtext);
	goflow_params_set(ex, frame, expr, plan->params);
	value = ExecEvalExprSwitchContext(plan->state, plan->econtext, isnull);
	if (unlikely(plan->type == UNKNOWNOID))
		value = read_literal(expr, value, *isnull, NULL, NULL);
	value = cast_value(plan, value, isnull);
	if (!plan->is_by_value && !*isnull)
		value = goflow_frame_keep_value(ex, frame, plan->result_type, value);
	if (type)
		*type = plan->result_type;
	if (typmod)
		*typmod = plan->result_typmod;
	return value;
}

static Datum
evaluate(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, GoflowPlan *plan, bool *isnull,
		 Oid *type, int32 *typmod)
{
	Datum		value;
	Oid			result_type = plan->type;
	int32		result_typmod = plan->typmod;
	bool		is_literal;
	bool		becomes_pure;

	ResetExprContext(plan->econtext);
	if (plan->state)
		value = evaluate_directly(ex, frame, expr, plan, isnull);
	else
		value = evaluate_by_executor(ex, frame, expr, isnull, &result_type, &result_typmod);

	is_literal = result_type == UNKNOWNOID;
	if (is_literal)
		value = read_literal(expr, value, *isnull, &result_type, &result_typmod);

	/* NULL is coerced too: a domain may refuse it */
	prepare_cast(plan, expr, result_type, result_typmod);
	value = cast_value(plan, value, isnull);
	becomes_pure = !plan->is_pure && plan->state && plan->is_fast && !plan->is_mutable && plan->is_cast_pure &&
		(!is_literal || is_literal_pure(result_type));
	if (OidIsValid(expr->target))
	{
		result_type = expr->target;
		result_typmod = expr->target_typmod;
	}

	if (!*isnull && !goflow_type_is_by_value(result_type))
		value = goflow_frame_keep_value(ex, frame, result_type, value);
	if (!plan->state && SPI_tuptable)
		SPI_freetuptable(SPI_tuptable);
	if (becomes_pure)
	{
		plan->is_by_value = goflow_type_is_by_value(result_type);
		plan->result_type = result_type;
		plan->result_typmod = result_typmod;
		plan->is_pure = true;
	}
	if (type)
		*type = result_type;
	if (typmod)
		*typmod = result_typmod;
	return value;
}

/* The same with state of its own: that of the plan is in use. */
static pg_noinline Datum
evaluate_nested(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, const GoflowPlan *plan,
				bool *isnull, Oid *type, int32 *typmod)
{
	GoflowPlan	nested = *plan;
	Datum		value;

	nested.lxid = InvalidLocalTransactionId;
	begin_transaction(&nested, expr);
	value = evaluate(ex, frame, expr, &nested, isnull, type, typmod);
	MemoryContextDelete(nested.context);
	return value;
}

/*
 * Evaluates an expression, coerced to its target if it has one.  The result
 * is in the execution's memory.  Needs an active snapshot and, unless the
 * expression is pure, SPI.
 */
Datum
goflow_evaluate(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, bool *isnull,
				Oid *type, int32 *typmod)
{
	GoflowPlan *plan = goflow_plan_get(expr);
	Datum		value;

	if (ex->bare_since != 0)
		return evaluate_pure(ex, frame, expr, plan, isnull, type, typmod);
	if (!is_present(plan))
		begin_transaction(plan, expr);
	if (plan->in_use)
		return evaluate_nested(ex, frame, expr, plan, isnull, type, typmod);
	plan->in_use = true;
	value = evaluate(ex, frame, expr, plan, isnull, type, typmod);
	plan->in_use = false;
	return value;
}

/*
 * True if the current user has evaluated the expression in this transaction,
 * and it was found to be pure.
 */
bool
goflow_evaluate_is_pure(GoflowExpr *expr)
{
	GoflowPlan *plan = expr->plan;

	return plan && plan->is_pure && is_present(plan);
}

bool
goflow_evaluate_is_pure_json(GoflowExpr *expr)
{
	return goflow_evaluate_is_pure(expr) &&
		goflow_json_is_plain(((GoflowPlan *) expr->plan)->result_type);
}

/* True if evaluating it can neither take long nor have an effect.  Needs SPI. */
bool
goflow_evaluate_is_simple(GoflowExpr *expr)
{
	GoflowPlan *plan = goflow_plan_get(expr);

	begin_transaction(plan, expr);
	return plan->state != NULL && plan->is_fast;
}

/* NULL is false. */
bool
goflow_evaluate_boolean(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr)
{
	bool		isnull;
	Datum		value = goflow_evaluate(ex, frame, expr, &isnull, NULL, NULL);

	return !isnull && DatumGetBool(value);
}

/* NULL is JSON null. */
Jsonb *
goflow_evaluate_jsonb(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr)
{
	bool		isnull;
	Oid			type;
	Datum		value = goflow_evaluate(ex, frame, expr, &isnull, &type, NULL);

	return goflow_datum_to_jsonb(type, value, isnull);
}

Jsonb *
goflow_evaluate_object(GoflowExecution *ex, GoflowFrame *frame, const GoflowNamedExpr *exprs, int n)
{
	Datum	   *values = palloc(Max(n, 1) * (sizeof(Datum) + sizeof(char *) + sizeof(Oid) + sizeof(bool)));
	char	  **names = (char **) (values + n);
	Oid		   *types = (Oid *) (names + n);
	bool	   *nulls = (bool *) (types + n);

	for (int i = 0; i < n; i++)
	{
		names[i] = exprs[i].name;
		values[i] = goflow_evaluate(ex, frame, exprs[i].expr, &nulls[i], &types[i], NULL);
	}
	return goflow_fields_to_jsonb(names, types, n, values, nulls);
}

/*
 * Evaluates the default of an input for an execution that is about to start,
 * in the session of the one who starts it.
 */
text *
goflow_engine_default(GoflowDefinition *definition, const GoflowField *field, GoflowExecutionRow *row)
{
	MemoryContext caller = CurrentMemoryContext;
	GoflowExecution ex = {.context = caller, .definition = definition,
	.row = row};
	Datum		value;
	bool		isnull;
	text	   *result = NULL;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	value = goflow_evaluate(&ex, NULL, field->initial, &isnull, NULL, NULL);
	MemoryContextSwitchTo(caller);
	if (!isnull)
		result = goflow_value_encode(field, value);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	MemoryContextSwitchTo(caller);
	return result;
}
