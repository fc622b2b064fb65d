/*
 * calls.c
 *		What define() and validate() know of the workflows that a definition
 *		starts.
 *
 * The definition itself is checked without tables (definition/); whether a
 * named workflow exists, takes these inputs, and ever comes to an end is asked
 * of the store here.  A workflow may be defined, or defined again, after the
 * one that names it, and the version that counts is that of the start: so what
 * does not fit now is a warning.  Waiting for each other without an end is an
 * error.
 */
#include "postgres.h"

#include "api/calls.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "store/store.h"

static GoflowField *
find_input(GoflowDefinition *definition, const char *name)
{
	for (int i = 0; i < definition->ninputs; i++)
		if (strcmp(definition->inputs[i].name, name) == 0)
			return &definition->inputs[i];
	return NULL;
}

/* Values travel as jsonb, which can become anything, but not everything makes sense. */
static bool
fits(GoflowExpr *expr, GoflowField *input)
{
	Oid			type = expr->type;

	if (!OidIsValid(type) || type == UNKNOWNOID || type == JSONBOID || type == JSONOID ||
		input->type == JSONBOID || input->type == JSONOID)
		return true;
	return can_coerce_type(1, &type, &input->type, COERCION_ASSIGNMENT);
}

static void
check_inputs(GoflowNode *node, GoflowDefinition *callee, GoflowReport *report)
{
	GoflowProblem *problem;

	for (int i = 0; i < node->nexprs; i++)
	{
		GoflowNamedExpr *given = &node->exprs[i];
		GoflowField *input = find_input(callee, given->name);
		char	   *key = psprintf("input.%s", given->name);

		if (input == NULL)
			(void) goflow_report_warning(report, ERRCODE_GOFLOW_UNKNOWN_REFERENCE, node->path, key,
									   "workflow \"%s\" has no input \"%s\"", callee->name,
									   given->name);
		else if (!fits(given->expr, input))
		{
			problem = goflow_report_warning(report, ERRCODE_GOFLOW_TYPE_MISMATCH, node->path, key,
										  "the expression has type %s, but input \"%s\" of workflow \"%s\" is %s",
										  format_type_be(given->expr->type), input->name,
										  callee->name, input->type_name);
			goflow_problem_hint(problem, "Cast it to %s.", input->type_name);
		}
	}
	for (int i = 0; i < callee->ninputs; i++)
	{
		bool		is_given = callee->inputs[i].initial != NULL;

		for (int j = 0; j < node->nexprs && !is_given; j++)
			is_given = strcmp(node->exprs[j].name, callee->inputs[i].name) == 0;
		if (!is_given)
			(void) goflow_report_warning(report, ERRCODE_GOFLOW_MISSING_KEY, node->path, "input",
									   "input \"%s\" of workflow \"%s\" is missing",
									   callee->inputs[i].name, callee->name);
	}
}

static void
check_node(GoflowNode *node, GoflowReport *report)
{
	GoflowWorkflowRow row;
	GoflowProblem *problem;

	/* a workflow that calls itself has no version of its own yet */
	if (node->definition->name && strcmp(node->workflow_name, node->definition->name) == 0)
	{
		if (node->workflow_version == 0)
			check_inputs(node, node->definition, report);
		return;
	}
	if (!goflow_workflow_find(node->workflow_name, node->workflow_version, &row))
	{
		problem = goflow_report_warning(report, ERRCODE_GOFLOW_UNKNOWN_WORKFLOW, node->path, "workflow",
										"workflow \"%s\" does not exist", node->workflow_name);
		goflow_problem_hint(problem, "Define it before this one is started.");
		return;
	}
	if (goflow_workflow_may_start(node->workflow_name, row.owner, GetUserId()))
		check_inputs(node, goflow_workflow_load(row.workflow_id), report);
}

/*
 * Follows the workflows that certainly wait for each other, looking for one
 * that is met again; path is the chain of names so far.
 */
static bool
find_cycle(const char *wanted, List *calls, List *path, List **seen, List **cycle)
{
	ListCell   *lc;

	check_stack_depth();
	foreach(lc, calls)
	{
		const char *name = lfirst(lc);
		GoflowWorkflowRow row;
		ListCell   *ls;
		bool		known = false;
		List	   *longer = lappend(list_copy(path), unconstify(char *, name));

		CHECK_FOR_INTERRUPTS();
		if (strcmp(name, wanted) == 0)
		{
			*cycle = longer;
			return true;
		}
		foreach(ls, *seen)
			known |= strcmp(lfirst(ls), name) == 0;
		if (known || !goflow_workflow_find(name, 0, &row))
			continue;
		*seen = lappend(*seen, unconstify(char *, name));
		if (find_cycle(wanted, goflow_graph_certain_calls(goflow_workflow_load(row.workflow_id)),
					   longer, seen, cycle))
			return true;
	}
	return false;
}

static void
check_cycles(GoflowDefinition *definition, GoflowReport *report)
{
	List	   *seen = NIL;
	List	   *cycle = NIL;
	StringInfoData chain;
	GoflowProblem *problem;
	ListCell   *lc;

	if (definition->name == NULL ||
		!find_cycle(definition->name, goflow_graph_certain_calls(definition),
					list_make1(definition->name), &seen, &cycle))
		return;
	initStringInfo(&chain);
	foreach(lc, cycle)
		appendStringInfo(&chain, "%s%s", chain.len ? " -> " : "", (char *) lfirst(lc));
	problem = goflow_report_error(report, ERRCODE_GOFLOW_CIRCULAR_DEPENDENCY, NULL, "nodes",
								  "workflows wait for each other without an end: %s", chain.data);
	goflow_problem_hint(problem, "Let one of them start the next under a condition, or with \"wait\": false.");
}

void
goflow_calls_check(GoflowDefinition *definition, GoflowReport *report)
{
	/* a broken definition has problems enough */
	if (report->nerrors > 0)
		return;
	for (int i = 0; i < definition->nnodes; i++)
		if (definition->nodes[i]->type == GOFLOW_TYPE_WORKFLOW)
			check_node(definition->nodes[i], report);
	check_cycles(definition, report);
}
