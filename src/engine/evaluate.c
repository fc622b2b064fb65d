/*
 * evaluate.c
 *		Plans of the definition's SQL texts, and running them.
 *
 * A text is prepared once per process (SPI_prepare_extended with the parser
 * hooks of definition/reference.c) and kept; the server replans it when
 * something it depends on changes.  References are parameters: their values
 * are looked up in the execution's memory, typed.
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
 *
 * Many-row nodes are ephemeral named relations of the SPI connection, as a
 * trigger's transition tables are.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/printtup.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

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

	/* per transaction and user */
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

/* goflow_evaluate_epoch() */
static uint64 epoch = 0;

/* Makes a many-row node known to SPI under its name; rows NULL: to the parser only. */
static void
register_relation(GoflowNode *node, Tuplestorestate *rows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	MemoryContext old;

	enr->md.name = node->id;
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = goflow_node_row_descriptor(node);
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->reldata = rows;
	if (rows)
		enr->md.enrtuples = tuplestore_tuple_count(rows);

	/*
	 * The first one makes the connection's list of relations, in the current
	 * context, and the connection outlives that of a node.
	 */
	old = MemoryContextSwitchTo(CurTransactionContext);
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register relation \"%s\"", node->id);
	MemoryContextSwitchTo(old);
}

static void
register_rows(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr)
{
	ListCell   *lc;

	foreach(lc, expr->relations)
	{
		GoflowNode *node = lfirst(lc);

		register_relation(node, goflow_frame_rows(ex, goflow_frame_of_body(frame, node->body), node));
	}
}

static void
unregister_relations(List *nodes)
{
	ListCell   *lc;

	foreach(lc, nodes)
		SPI_unregister_relation(((GoflowNode *) lfirst(lc))->id);
}

/* The definition ends, or the plan is forgotten before that. */
static void
free_plan(void *arg)
{
	GoflowPlan *plan = arg;

	if (plan->spi)
		SPI_freeplan(plan->spi);
	goflow_insert_forget(plan->insert);
	plan->spi = NULL;
	plan->insert = NULL;
}

static GoflowPlan *
get_plan(GoflowExpr *expr)
{
	GoflowPlan *plan = expr->plan;
	SPIPrepareOptions options;
	List	   *sources;
	List	   *names;
	ListCell   *lc;

	if (plan)
		return plan;

	memset(&options, 0, sizeof(options));
	options.parserSetup = goflow_reference_setup;
	options.parserSetupArg = expr;
	options.parseMode = expr->is_statement ? RAW_PARSE_DEFAULT : RAW_PARSE_PLPGSQL_EXPR;
	options.cursorOptions = CURSOR_OPT_PARALLEL_OK;

	plan = MemoryContextAllocZero(expr->definition->context, sizeof(GoflowPlan));
	names = goflow_reference_relations(expr);
	foreach(lc, names)
		register_relation(lfirst(lc), NULL);
	plan->spi = SPI_prepare_extended(expr->text, &options);
	if (plan->spi == NULL)
		elog(ERROR, "SPI_prepare_extended failed: %s", SPI_result_code_string(SPI_result));
	unregister_relations(names);

	sources = SPI_plan_get_plan_sources(plan->spi);
	foreach(lc, sources)
	{
		CachedPlanSource *source = lfirst(lc);
		ListCell   *lq;

		foreach(lq, source->query_list)
			goflow_reference_collect_relations(expr, lfirst(lq));
	}
	SPI_keepplan(plan->spi);
	if (list_length(sources) == 1)
		plan->source = linitial(sources);
	plan->at_end.func = free_plan;
	plan->at_end.arg = plan;
	MemoryContextRegisterResetCallback(expr->definition->context, &plan->at_end);
	expr->plan = plan;
	return plan;
}

/* Room for the values of an expression's references, which are known once it is parsed; NULL if it has none. */
static ParamListInfo
make_params(const GoflowExpr *expr)
{
	ParamListInfo params;

	if (expr->nrefs == 0)
		return NULL;
	params = makeParamList(expr->nrefs);
	for (int i = 0; i < expr->nrefs; i++)
	{
		params->params[i].ptype = expr->refs[i].type;
		params->params[i].pflags = PARAM_FLAG_CONST;
	}
	return params;
}

static void
set_params(GoflowExecution *ex, GoflowFrame *frame, const GoflowExpr *expr, ParamListInfo params)
{
	for (int i = 0; i < expr->nrefs; i++)
		params->params[i].value = goflow_reference_value(ex, frame, expr->node, &expr->refs[i],
														 &params->params[i].isnull);
}

ParamListInfo
goflow_evaluate_params(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr)
{
	ParamListInfo params = make_params(expr);

	set_params(ex, frame, expr, params);
	return params;
}

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
			plan->params = make_params(expr);
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

/* Copies a value into the frame's memory, detoasted. */
static Datum
keep_value(GoflowExecution *ex, GoflowFrame *frame, Oid type, Datum value)
{
	MemoryContext old = MemoryContextSwitchTo(frame ? frame->context : ex->context);

	value = goflow_value_copy(type, value);
	MemoryContextSwitchTo(old);
	return value;
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

	set_params(ex, frame, expr, plan->params);
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
evaluate_by_executor(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, GoflowPlan *plan,
					 bool *isnull, Oid *type, int32 *typmod)
{
	SPIExecuteOptions options;
	int			rc;

	memset(&options, 0, sizeof(options));
	options.params = goflow_evaluate_params(ex, frame, expr);
	options.must_return_tuples = true;
	options.tcount = 2;
	register_rows(ex, frame, expr);
	rc = SPI_execute_plan_extended(plan->spi, &options);
	unregister_relations(expr->relations);
	if (rc < 0 || SPI_tuptable == NULL)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(rc));
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
	set_params(ex, frame, expr, plan->params);
	value = ExecEvalExprSwitchContext(plan->state, plan->econtext, isnull);
	if (unlikely(plan->type == UNKNOWNOID))
		value = read_literal(expr, value, *isnull, NULL, NULL);
	value = cast_value(plan, value, isnull);
	if (!plan->is_by_value && !*isnull)
		value = keep_value(ex, frame, plan->result_type, value);
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
		value = evaluate_by_executor(ex, frame, expr, plan, isnull, &result_type, &result_typmod);

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
		value = keep_value(ex, frame, result_type, value);
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
	GoflowPlan *plan = get_plan(expr);
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

/* Frees the plan; the next evaluation begins with the text. */
void
goflow_evaluate_forget(GoflowExpr *expr)
{
	GoflowPlan *plan = expr->plan;

	if (plan == NULL)
		return;
	free_plan(plan);			/* its memory is the definition's */
	if (expr->refs)
		pfree(expr->refs);
	expr->plan = NULL;
	expr->refs = NULL;
	expr->nrefs = expr->maxrefs = 0;
}

/* True if evaluating it can neither take long nor have an effect.  Needs SPI. */
bool
goflow_evaluate_is_simple(GoflowExpr *expr)
{
	GoflowPlan *plan = get_plan(expr);

	begin_transaction(plan, expr);
	return plan->state != NULL && plan->is_fast;
}

/* True if a rollback undoes all that the statement does.  Needs SPI. */
bool
goflow_evaluate_is_contained(GoflowExpr *expr)
{
	return goflow_is_contained(get_plan(expr)->spi);
}

static void
raise_outdated(GoflowExpr *expr, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_DEFINITION_OUTDATED),
			 errmsg("node \"%s\" does not return what it did when the workflow was defined",
					expr->node->path),
			 errdetail_internal("%s", detail),
			 errhint("Define the workflow again.")));
}

/*
 * Where the definition's columns are in a result.  Columns are compared by
 * name and type; others are ignored.
 */
static int *
map_columns(GoflowExpr *expr, const GoflowField *fields, int nfields, TupleDesc tupdesc)
{
	int		   *map = palloc(nfields * sizeof(int));

	for (int i = 0; i < nfields; i++)
	{
		int			found = -1;

		for (int j = 0; j < tupdesc->natts && found < 0; j++)
			if (strcmp(NameStr(TupleDescAttr(tupdesc, j)->attname), fields[i].name) == 0)
				found = j;
		if (found < 0)
			raise_outdated(expr, psprintf("Column \"%s\" is missing.", fields[i].name));
		if (goflow_column_type(TupleDescAttr(tupdesc, found)->atttypid) != fields[i].type)
			raise_outdated(expr, psprintf("Column \"%s\" is of type %s, it was %s.", fields[i].name,
										  format_type_be(TupleDescAttr(tupdesc, found)->atttypid),
										  format_type_be(fields[i].type)));
		map[i] = found;
	}
	return map;
}

/* A result's value as the node's column has it: void and unknown are text. */
static Datum
column_value(Oid type, Datum value, bool isnull)
{
	if (isnull)
		return (Datum) 0;
	switch (type)
	{
		case VOIDOID:
			return CStringGetTextDatum("");
		case UNKNOWNOID:
			return CStringGetTextDatum(DatumGetCString(value));
		default:
			return value;
	}
}

/* Takes the rows of a result one by one, as declared columns. */
typedef struct RowReceiver
{
	DestReceiver pub;
	GoflowExpr *expr;
	const GoflowField *fields;
	int			nfields;
	Tuplestorestate *rows;
	TupleDesc	tupdesc;		/* of rows */
	TupleDesc	source;			/* of the result; NULL: it has no rows */
	int		   *map;
	Datum	   *values;
	bool	   *nulls;
	int64		received;
	MemoryContext context;		/* of one row */
} RowReceiver;

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc source)
{
	RowReceiver *receiver = (RowReceiver *) self;

	receiver->source = source;
	receiver->map = map_columns(receiver->expr, receiver->fields, receiver->nfields, source);
}

static void
receiver_put(RowReceiver *receiver, const Datum *values, const bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(receiver->context);

	goflow_limit_check_rows(receiver->expr->node, ++receiver->received);
	for (int i = 0; i < receiver->nfields; i++)
	{
		int			from = receiver->map[i];

		receiver->nulls[i] = nulls[from];
		receiver->values[i] = column_value(TupleDescAttr(receiver->source, from)->atttypid,
										   values[from], nulls[from]);
	}
	tuplestore_putvalues(receiver->rows, receiver->tupdesc, receiver->values, receiver->nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(receiver->context);
}

static bool
receiver_receive(TupleTableSlot *slot, DestReceiver *self)
{
	slot_getallattrs(slot);
	receiver_put((RowReceiver *) self, slot->tts_values, slot->tts_isnull);
	return true;
}

static void
receiver_nothing(DestReceiver *self)
{
}

static void
receiver_begin(RowReceiver *receiver, GoflowExpr *expr, const GoflowField *fields, int nfields,
			   Tuplestorestate *rows)
{
	memset(receiver, 0, sizeof(*receiver));
	receiver->pub.receiveSlot = receiver_receive;
	receiver->pub.rStartup = receiver_startup;
	receiver->pub.rShutdown = receiver_nothing;
	receiver->pub.rDestroy = receiver_nothing;
	receiver->pub.mydest = DestTuplestore;
	receiver->expr = expr;
	receiver->fields = fields;
	receiver->nfields = nfields;
	receiver->rows = rows;
	receiver->tupdesc = goflow_items_descriptor(fields, nfields);
	receiver->values = palloc(Max(nfields, 1) * sizeof(Datum));
	receiver->nulls = palloc(Max(nfields, 1) * sizeof(bool));
	receiver->context = AllocSetContextCreate(CurrentMemoryContext, "goflow row",
											  ALLOCSET_SMALL_SIZES);
}

static void
receiver_end(RowReceiver *receiver)
{
	if (receiver->source == NULL)
		raise_outdated(receiver->expr, "It returns no rows.");
	MemoryContextDelete(receiver->context);
}

/* Runs a statement for its rows, however many. */
static void
fetch_rows(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, const GoflowField *fields,
		   int nfields, Tuplestorestate *rows)
{
	GoflowPlan *plan = get_plan(expr);
	SPIExecuteOptions options;
	RowReceiver receiver;
	int			rc;

	receiver_begin(&receiver, expr, fields, nfields, rows);
	memset(&options, 0, sizeof(options));
	options.params = goflow_evaluate_params(ex, frame, expr);
	options.dest = &receiver.pub;
	register_rows(ex, frame, expr);
	rc = SPI_execute_plan_extended(plan->spi, &options);
	unregister_relations(expr->relations);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(rc));
	receiver_end(&receiver);
}

/* Rows of a result that has been fetched already; table NULL: it had none. */
static void
put_rows(GoflowExpr *expr, const GoflowField *fields, int nfields, SPITupleTable *table,
		 Tuplestorestate *rows)
{
	RowReceiver receiver;

	receiver_begin(&receiver, expr, fields, nfields, rows);
	if (table)
	{
		Datum	   *values = palloc(table->tupdesc->natts * sizeof(Datum));
		bool	   *nulls = palloc(table->tupdesc->natts * sizeof(bool));

		receiver_startup(&receiver.pub, 0, table->tupdesc);
		for (uint64 r = 0; r < table->numvals; r++)
		{
			CHECK_FOR_INTERRUPTS();
			heap_deform_tuple(table->vals[r], table->tupdesc, values, nulls);
			receiver_put(&receiver, values, nulls);
		}
	}
	receiver_end(&receiver);
}

/* Runs a query for its rows; the caller ends the tuplestore. */
Tuplestorestate *
goflow_evaluate_rows(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr,
					 const GoflowField *fields, int nfields)
{
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, work_mem);

	fetch_rows(ex, frame, expr, fields, nfields, rows);
	return rows;
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

/* Makes expr->refs known. */
void
goflow_evaluate_prepare(GoflowExpr *expr)
{
	(void) get_plan(expr);
}

/* Runs a statement for its effect, with parameters of the caller's. */
void
goflow_evaluate_with(GoflowExpr *expr, ParamListInfo params)
{
	SPIExecuteOptions options;
	int			rc;

	memset(&options, 0, sizeof(options));
	options.params = params;
	rc = SPI_execute_plan_extended(get_plan(expr)->spi, &options);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(rc));
}

/* The rows of a many-row node, to be filled. */
static Tuplestorestate *
make_rows(GoflowFrame *frame, GoflowNode *node)
{
	MemoryContext old = MemoryContextSwitchTo(frame->context);
	Tuplestorestate *rows = tuplestore_begin_heap(true, true, work_mem);

	MemoryContextSwitchTo(old);
	goflow_frame_keep_rows(frame, node, rows);
	return rows;
}

static void
set_count(GoflowNodeRun *run, uint64 count)
{
	run->values[0] = Int64GetDatum((int64) count);
	run->nulls[0] = false;
}

/* Sets the columns of a sql node (in the execution's context) and its rows; table NULL: it returns none. */
void
goflow_evaluate_take_result(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr,
							GoflowNodeRun *run, SPITupleTable *table, uint64 processed)
{
	GoflowNode *node = expr->node;

	if (node->rows == GOFLOW_ROWS_MANY)
	{
		put_rows(expr, node->row_columns, node->nrow_columns, table, make_rows(frame, node));
		set_count(run, processed);
	}
	else if (node->rows == GOFLOW_ROWS_NONE || table == NULL)
	{
		if (strcmp(node->columns[0].name, "count") != 0)
			raise_outdated(expr, "It returns no row.");
		set_count(run, processed);
	}
	else
	{
		int			ncolumns = node->ncolumns - (node->aggregate != GOFLOW_AGGREGATE_NONE ? 1 : 0);
		int		   *map;

		if (processed > 1)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_TOO_MANY_ROWS),
					 errmsg("node \"%s\" returned " UINT64_FORMAT " rows", node->id, processed),
					 errhint("Set \"rows\" to \"many\", or make the statement return one row.")));
		map = map_columns(expr, node->columns, ncolumns, table->tupdesc);
		for (int i = 0; i < ncolumns; i++)
		{
			run->nulls[i] = true;
			run->values[i] = (Datum) 0;
			if (processed == 0)
				continue;
			run->values[i] = SPI_getbinval(table->vals[0], table->tupdesc, map[i] + 1, &run->nulls[i]);
			run->values[i] = column_value(TupleDescAttr(table->tupdesc, map[i])->atttypid,
										  run->values[i], run->nulls[i]);
			if (!run->nulls[i])
				run->values[i] = keep_value(ex, frame, node->columns[i].type, run->values[i]);
		}
	}
}

/*
 * Of a result that is to have one row at most, what is more than that is
 * counted, and not kept: there may be any number of rows.
 */
typedef struct FirstReceiver
{
	DestReceiver pub;
	int			kept;
	int			keep;
} FirstReceiver;

static bool
first_receive(TupleTableSlot *slot, DestReceiver *self)
{
	FirstReceiver *receiver = (FirstReceiver *) self;

	return receiver->kept++ >= receiver->keep || spi_printtup(slot, self);
}

/*
 * Runs the statement of a sql node and takes its result.
 */
void
goflow_evaluate_statement(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr,
						  GoflowNodeRun *run)
{
	GoflowPlan *plan = get_plan(expr);
	SPIExecuteOptions options;
	FirstReceiver first = {
		.pub = {first_receive, spi_dest_startup, receiver_nothing, receiver_nothing, DestTuplestore},
		.keep = expr->node->rows == GOFLOW_ROWS_NONE ? 0 : 1,
	};
	int			rc;

	if (expr->node->rows == GOFLOW_ROWS_MANY)
	{
		Tuplestorestate *rows = make_rows(frame, expr->node);

		fetch_rows(ex, frame, expr, expr->node->row_columns, expr->node->nrow_columns, rows);
		set_count(run, tuplestore_tuple_count(rows));
		return;
	}
	memset(&options, 0, sizeof(options));
	options.params = goflow_evaluate_params(ex, frame, expr);
	options.allow_nonatomic = false;
	if (expr->relations == NIL &&
		goflow_insert_run(&plan->insert, plan->spi, expr->text, options.params))
	{
		goflow_evaluate_take_result(ex, frame, expr, run, NULL, 1);
		return;
	}
	options.dest = &first.pub;
	register_rows(ex, frame, expr);
	SPI_tuptable = NULL;
	rc = SPI_execute_plan_extended(plan->spi, &options);
	unregister_relations(expr->relations);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(rc));
	goflow_evaluate_take_result(ex, frame, expr, run, SPI_tuptable, SPI_processed);
	if (SPI_tuptable)
		SPI_freetuptable(SPI_tuptable);
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
