/*
 * plan.c
 *		Plans of the definition's SQL texts.
 *
 * A text is prepared once per process (SPI_prepare_extended with the parser
 * hooks of definition/reference.c) and kept; the server replans it when
 * something it depends on changes.  References are parameters: their values
 * are looked up in the execution's memory, typed.
 *
 * Many-row nodes are ephemeral named relations of the SPI connection, as a
 * trigger's transition tables are.
 */
#include "postgres.h"

#include "engine/plan.h"

#include "utils/memutils.h"

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

GoflowPlan *
goflow_plan_make(GoflowExpr *expr)
{
	GoflowPlan *plan;
	SPIPrepareOptions options;
	List	   *sources;
	List	   *names;
	ListCell   *lc;

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

/* Frees the plan; whoever runs it next begins with the text. */
void
goflow_plan_forget(GoflowExpr *expr)
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

void
goflow_plan_prepare(GoflowExpr *expr)
{
	(void) goflow_plan_get(expr);
}

/* True if a rollback undoes all that the statement does.  Needs SPI. */
bool
goflow_plan_is_contained(GoflowExpr *expr)
{
	return goflow_is_contained(goflow_plan_get(expr)->spi);
}

ParamListInfo
goflow_params_make(const GoflowExpr *expr)
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

void
goflow_params_set(GoflowExecution *ex, GoflowFrame *frame, const GoflowExpr *expr, ParamListInfo params)
{
	for (int i = 0; i < expr->nrefs; i++)
		params->params[i].value = goflow_reference_value(ex, frame, expr->node, &expr->refs[i],
														 &params->params[i].isnull);
}

ParamListInfo
goflow_params_get(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr)
{
	ParamListInfo params = goflow_params_make(expr);

	goflow_params_set(ex, frame, expr, params);
	return params;
}

static void
execute(GoflowPlan *plan, SPIExecuteOptions *options)
{
	int			rc = SPI_execute_plan_extended(plan->spi, options);

	if (rc < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(rc));
}

void
goflow_plan_run(GoflowExecution *ex, GoflowFrame *frame, GoflowExpr *expr, SPIExecuteOptions *options)
{
	GoflowPlan *plan = goflow_plan_get(expr);

	if (options->params == NULL)
		options->params = goflow_params_get(ex, frame, expr);
	register_rows(ex, frame, expr);
	execute(plan, options);
	unregister_relations(expr->relations);
}

/* Runs a statement for its effect, with parameters of the caller's. */
void
goflow_plan_run_with(GoflowExpr *expr, ParamListInfo params)
{
	SPIExecuteOptions options = {.params = params};

	execute(goflow_plan_get(expr), &options);
}
