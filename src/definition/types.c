/*
 * types.c
 *		Types: of declared fields, of what expressions become, and of the
 *		columns that a node has for others.
 */
#include "postgres.h"

#include "definition/analysis.h"

#include "catalog/pg_type.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* ---- declared types ---- */

void
goflow_field_resolve(GoflowField *field)
{
	ParseState *pstate = make_parsestate(NULL);
	TypeName   *name;

	/* as parseTypeString() does it, but with positions */
	pstate->p_sourcetext = field->type_name;
	name = linitial_node(TypeName, raw_parser(field->type_name, RAW_PARSE_TYPE_NAME));
	if (name->setof)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
				 errmsg("\"%s\" cannot be a set", field->name),
				 errhint("Use an array.")));
	typenameTypeIdAndMod(pstate, name, &field->type, &field->typmod);
	if (get_typtype(field->type) == TYPTYPE_PSEUDO)
	{
		char	   *type = format_type_be(field->type);

		field->type = InvalidOid;
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
				 errmsg("\"%s\" cannot have pseudo-type %s", field->name, type),
				 errhint("Declare a type that values can have, such as text or jsonb."),
				 parser_errposition(pstate, 0)));
	}
	field->collation = get_typcollation(field->type);
	free_parsestate(pstate);
}

void
goflow_expr_set_target(GoflowExpr *expr, Oid type, int32 typmod)
{
	if (expr == NULL)
		return;
	expr->target = type;
	expr->target_typmod = typmod;
}

static void
set_field_targets(GoflowField *fields, int count)
{
	for (int i = 0; i < count; i++)
		goflow_expr_set_target(fields[i].initial, fields[i].type, fields[i].typmod);
}

static void
set_named_targets(GoflowNode *node, const GoflowField *fields)
{
	for (int i = 0; i < node->nexprs; i++)
		if (node->exprs[i].field >= 0)
			goflow_expr_set_target(node->exprs[i].expr, fields[node->exprs[i].field].type,
								   fields[node->exprs[i].field].typmod);
}

void
goflow_definition_set_targets(GoflowDefinition *definition)
{
	set_field_targets(definition->inputs, definition->ninputs);
	set_field_targets(definition->variables, definition->nvariables);
	for (int i = 0; i < definition->nnodes; i++)
	{
		GoflowNode *node = definition->nodes[i];

		switch (node->type)
		{
			case GOFLOW_TYPE_CONDITION:
				goflow_expr_set_target(node->expr, BOOLOID, -1);
				break;
			case GOFLOW_TYPE_SWITCH:
				/* with "on", the cases are of its type, known after analysis */
				for (int j = 0; j < node->nexprs && node->expr == NULL; j++)
					goflow_expr_set_target(node->exprs[j].expr, BOOLOID, -1);
				break;
			case GOFLOW_TYPE_SET:
				set_named_targets(node, definition->variables);
				break;
			case GOFLOW_TYPE_DELAY:
				goflow_expr_set_target(node->expr, node->is_until ? TIMESTAMPTZOID : INTERVALOID, -1);
				break;
			case GOFLOW_TYPE_NOTIFY:
				goflow_expr_set_target(node->expr, TEXTOID, -1);
				break;
			case GOFLOW_TYPE_TRIGGER:
				set_named_targets(node, definition->inputs);
				break;
			case GOFLOW_TYPE_LOOP:
				if (node->loop_kind == GOFLOW_LOOP_WHILE)
					goflow_expr_set_target(node->expr, BOOLOID, -1);
				if (node->loop_kind == GOFLOW_LOOP_REPEAT)
					goflow_expr_set_target(node->expr, INT8OID, -1);
				break;
			case GOFLOW_TYPE_BREAK:
			case GOFLOW_TYPE_CONTINUE:
				goflow_expr_set_target(node->expr, BOOLOID, -1);
				break;
			case GOFLOW_TYPE_RAISE:
				goflow_expr_set_target(node->message, TEXTOID, -1);
				goflow_expr_set_target(node->detail, TEXTOID, -1);
				break;
			case GOFLOW_TYPE_FILTER:
				goflow_expr_set_target(node->where, BOOLOID, -1);
				break;
			case GOFLOW_TYPE_SPLIT:
				goflow_expr_set_target(node->size, INT4OID, -1);
				break;
			case GOFLOW_TYPE_REDUCE:
				/* "value" is of the type of "initial", known after analysis */
			case GOFLOW_TYPE_SQL:
			case GOFLOW_TYPE_TRANSFORM:
			case GOFLOW_TYPE_TRY:
			case GOFLOW_TYPE_PARALLEL:
			case GOFLOW_TYPE_WORKFLOW:
			case GOFLOW_TYPE_MAP:
			case GOFLOW_TYPE_MERGE:
			case GOFLOW_TYPE_SIGNAL:
			case GOFLOW_TYPE_APPROVAL:
			case GOFLOW_TYPE_TASK:
				break;
		}
	}
}

/* ---- columns ---- */

Oid
goflow_column_type(Oid type)
{
	return type == UNKNOWNOID || type == VOIDOID ? TEXTOID : type;
}

void
goflow_field_add(GoflowField **columns, int *count, const char *name, Oid type, int32 typmod)
{
	GoflowField *fields = palloc0(sizeof(GoflowField) * (*count + 1));

	if (*count > 0)
		memcpy(fields, *columns, sizeof(GoflowField) * *count);
	fields[*count] = (GoflowField){.name = pstrdup(name), .type = type, .typmod = typmod,
		.type_name = format_type_with_typemod(type, typmod), .collation = get_typcollation(type)};
	*columns = fields;
	(*count)++;
}

bool
goflow_try_has_output(const GoflowNode *node)
{
	for (int i = 0; i < node->nbodies; i++)
		if (node->bodies[i]->noutputs > 0)
			return true;
	return false;
}

/* The columns that do not come from a statement. */
void
goflow_node_add_columns(GoflowAnalysis *analysis, GoflowNode *node)
{
	MemoryContext old = MemoryContextSwitchTo(analysis->definition->context);
	GoflowField **columns = &node->columns;
	int		   *count = &node->ncolumns;

	switch (node->type)
	{
		case GOFLOW_TYPE_CONDITION:
			goflow_field_add(columns, count, "result", BOOLOID, -1);
			break;
		case GOFLOW_TYPE_SWITCH:
			goflow_field_add(columns, count, "case", TEXTOID, -1);
			break;
		case GOFLOW_TYPE_TRANSFORM:
			for (int i = 0; i < node->nexprs; i++)
				goflow_field_add(columns, count, node->exprs[i].name,
								 goflow_column_type(node->exprs[i].expr->type),
								 node->exprs[i].expr->typmod);
			break;
		case GOFLOW_TYPE_DELAY:
			goflow_field_add(columns, count, "woke_at", TIMESTAMPTZOID, -1);
			break;
		case GOFLOW_TYPE_LOOP:
			goflow_field_add(columns, count, "iterations", INT4OID, -1);
			goflow_field_add(columns, count, "results", JSONBOID, -1);
			break;
		case GOFLOW_TYPE_TRY:
			goflow_field_add(columns, count, "ok", BOOLOID, -1);
			goflow_field_add(columns, count, "error", JSONBOID, -1);
			if (goflow_try_has_output(node))
				goflow_field_add(columns, count, "output", JSONBOID, -1);
			break;
		case GOFLOW_TYPE_PARALLEL:
			goflow_field_add(columns, count, "results", JSONBOID, -1);
			break;
		case GOFLOW_TYPE_WORKFLOW:
			goflow_field_add(columns, count, "execution", UUIDOID, -1);
			goflow_field_add(columns, count, "output", JSONBOID, -1);
			break;
		case GOFLOW_TYPE_MAP:
		case GOFLOW_TYPE_FILTER:
			goflow_field_add(columns, count, "items", JSONBOID, -1);
			goflow_field_add(columns, count, "count", INT8OID, -1);
			break;
		case GOFLOW_TYPE_MERGE:
			goflow_field_add(columns, count, "value", JSONBOID, -1);
			break;
		case GOFLOW_TYPE_SPLIT:
			goflow_field_add(columns, count, "parts", JSONBOID, -1);
			goflow_field_add(columns, count, "count", INT8OID, -1);
			break;
		case GOFLOW_TYPE_SQL:
		case GOFLOW_TYPE_SET:
		case GOFLOW_TYPE_NOTIFY:
		case GOFLOW_TYPE_TRIGGER:
		case GOFLOW_TYPE_BREAK:
		case GOFLOW_TYPE_CONTINUE:
		case GOFLOW_TYPE_RAISE:
		case GOFLOW_TYPE_REDUCE:
		case GOFLOW_TYPE_SIGNAL:
		case GOFLOW_TYPE_APPROVAL:
		case GOFLOW_TYPE_TASK:
			break;
	}
	if (node->aggregate != GOFLOW_AGGREGATE_NONE && node->type != GOFLOW_TYPE_PARALLEL)
	{
		for (int i = 0; i < node->ncolumns; i++)
			if (strcmp(node->columns[i].name, "joined") == 0)
				goflow_problem_hint(goflow_report_error(analysis->report, ERRCODE_GOFLOW_NAME_CONFLICT,
														node->path, "aggregate",
														"column \"joined\" exists twice"),
									"\"aggregate\" adds it; give the other one another name.");
		goflow_field_add(columns, count, "joined", JSONBOID, -1);
	}
	MemoryContextSwitchTo(old);
}
