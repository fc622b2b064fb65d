/*
 * analyze.c
 *		Every SQL text of a definition, by the server's own parser.
 *
 * Nodes are taken in topological order, so that the columns of what comes
 * before are known; a node's bodies are taken with it.  A text is parsed and
 * analyzed, never planned and never run.  Each is a step of its own
 * (attempt.c): its error does not keep the others from being looked at.
 *
 * A node that fails has no columns (is_typed is false).  An expression that
 * names such a node is given up in silence (is_blocked).
 */
#include "postgres.h"

#include "definition/analysis.h"

#include "definition/statement.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/* ---- expressions ---- */

static void
expression_step(GoflowAnalysis *analysis, void *arg)
{
	goflow_expression_analyze(arg);
}

/* True also if there is none. */
bool
goflow_analyze_expr(GoflowAnalysis *analysis, GoflowExpr *expr)
{
	bool		is_good;

	if (expr == NULL)
		return true;
	is_good = goflow_attempt(analysis, goflow_subject_of(expr), expression_step, expr);

	/* a later analysis must begin with the references that it finds itself */
	if (!is_good)
		expr->nrefs = 0;
	return is_good;
}

bool
goflow_analyze_named_exprs(GoflowAnalysis *analysis, GoflowNamedExpr *exprs, int count)
{
	bool		is_good = true;

	for (int i = 0; i < count; i++)
		is_good &= goflow_analyze_expr(analysis, exprs[i].expr);
	return is_good;
}

static void
analyze_defaults(GoflowAnalysis *analysis, GoflowField *fields, int count)
{
	for (int i = 0; i < count; i++)
		if (fields[i].initial && OidIsValid(fields[i].type))
			goflow_analyze_expr(analysis, fields[i].initial);
}

/* ---- declared fields ---- */

static void
field_step(GoflowAnalysis *analysis, void *arg)
{
	goflow_field_resolve(arg);
}

bool
goflow_analyze_fields(GoflowAnalysis *analysis, const char *node, const char *key,
					  GoflowField *fields, int count)
{
	bool		is_good = true;

	for (int i = 0; i < count; i++)
	{
		GoflowSubject subject = {.node = node, .key = psprintf("%s.%s", key, fields[i].name),
			.text = fields[i].type_name};

		is_good &= goflow_attempt(analysis, subject, field_step, &fields[i]);
	}
	return is_good;
}

/* ---- nodes ---- */

static void
compensate_step(GoflowAnalysis *analysis, void *arg)
{
	(void) goflow_statement_analyze(arg);
}

static void analyze_node(GoflowAnalysis *analysis, GoflowNode *node);

static void
analyze_body(GoflowAnalysis *analysis, GoflowBody *body)
{
	analyze_defaults(analysis, body->variables, body->nvariables);
	for (int i = 0; i < body->nnodes; i++)
		analyze_node(analysis, body->nodes[i]);
	goflow_analyze_named_exprs(analysis, body->outputs, body->noutputs);
}

static void
analyze_node(GoflowAnalysis *analysis, GoflowNode *node)
{
	int			nest_level;

	check_stack_depth();
	if (node->is_broken || node->position >= node->body->nordered)
	{
		analysis->is_complete = false;
		return;
	}
	goflow_analyze_settings(analysis, node->path, &node->settings);
	nest_level = NewGUCNestLevel();
	goflow_settings_apply(&node->settings);
	node->is_typed = goflow_analyze_by_type(analysis, node);
	if (node->is_typed)
		goflow_node_add_columns(analysis, node);
	if (node->compensate)
		goflow_attempt(analysis, goflow_subject_of(node->compensate), compensate_step, node->compensate);
	AtEOXact_GUC(true, nest_level);

	/* nodes inside have settings of their own */
	for (int i = 0; i < node->nbodies; i++)
		analyze_body(analysis, node->bodies[i]);
	goflow_analyze_expr(analysis, node->collect);
}

/* ---- results that nobody reads ---- */

static void
mark_read(const GoflowExpr *expr, Bitmapset **read)
{
	if (expr == NULL)
		return;
	for (int i = 0; i < expr->nrefs; i++)
		if (expr->refs[i].kind == GOFLOW_REF_NODE)
			*read = bms_add_member(*read, expr->refs[i].node->index);
}

/* Nodes that only compute, at the end of the graph, for no reader. */
static void
warn_unused(GoflowAnalysis *analysis)
{
	GoflowDefinition *definition = analysis->definition;
	Bitmapset  *read = NULL;

	for (int i = 0; i < definition->nexprs; i++)
		mark_read(definition->exprs[i], &read);

	for (int i = 0; i < definition->nnodes; i++)
	{
		GoflowNode *node = definition->nodes[i];

		if ((node->type == GOFLOW_TYPE_CONDITION || node->type == GOFLOW_TYPE_SWITCH ||
			 node->type == GOFLOW_TYPE_TRANSFORM || node->type == GOFLOW_TYPE_MAP ||
			 node->type == GOFLOW_TYPE_FILTER || node->type == GOFLOW_TYPE_REDUCE ||
			 node->type == GOFLOW_TYPE_MERGE || node->type == GOFLOW_TYPE_SPLIT) &&
			node->nout == 0 && !bms_is_member(i, read))
			goflow_problem_hint(goflow_report_warning(analysis->report, ERRCODE_GOFLOW_WARNING_UNUSED,
													  node->path, NULL,
													  "nobody can reach the result of node \"%s\"", node->id),
								"Use it in \"output\" or in a later node, or take the node out.");
	}
	bms_free(read);
}

void
goflow_definition_analyze(GoflowDefinition *definition, GoflowReport *report)
{
	GoflowAnalysis analysis = {.definition = definition, .report = report, .is_complete = true};
	MemoryContext old = MemoryContextSwitchTo(definition->context);
	int			nest_level = NewGUCNestLevel();

	analysis.scratch = AllocSetContextCreate(definition->context, "goflow analysis",
											 ALLOCSET_DEFAULT_SIZES);
	goflow_analyze_own_settings(&analysis);
	goflow_analyze_fields(&analysis, NULL, "input", definition->inputs, definition->ninputs);
	for (int i = 0; i < definition->nbodies; i++)
	{
		GoflowBody *body = definition->bodies[i];

		goflow_analyze_fields(&analysis, body->owner ? body->owner->path : NULL, psprintf("%svariables", body->key),
							  body->variables, body->nvariables);
	}
	goflow_definition_set_targets(definition);
	analyze_defaults(&analysis, definition->inputs, definition->ninputs);
	analyze_body(&analysis, definition->body);
	if (analysis.is_complete)
		warn_unused(&analysis);
	MemoryContextDelete(analysis.scratch);
	AtEOXact_GUC(true, nest_level);
	MemoryContextSwitchTo(old);
}
