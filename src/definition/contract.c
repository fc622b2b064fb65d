/*
 * contract.c
 *		What define() found out about the columns of nodes, kept as jsonb.
 *
 * A stored version is compiled from its definition and this: parsing, the
 * graph and declared types are done again, the analysis of SQL is not.  It
 * happens later, when a text is prepared, and then has to agree with the
 * contract.  Types are kept by qualified name, so that they mean the same
 * under any search path, and in any copy of the database.
 */
#include "postgres.h"

#include "definition/parse.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

static char *
qualified_type(Oid type, int32 typmod)
{
	return format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

static void
append_fields(StringInfo json, const char *key, const GoflowField *fields, int count)
{
	appendStringInfo(json, "\"%s\": [", key);
	for (int i = 0; i < count; i++)
	{
		appendStringInfoString(json, i > 0 ? ", [" : "[");
		escape_json(json, fields[i].name);
		appendStringInfoString(json, ", ");
		escape_json(json, qualified_type(fields[i].type, fields[i].typmod));
		appendStringInfoChar(json, ']');
	}
	appendStringInfoChar(json, ']');
}

Jsonb *
goflow_contract_build(GoflowDefinition *definition)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < definition->nnodes; i++)
	{
		GoflowNode *node = definition->nodes[i];

		CHECK_FOR_INTERRUPTS();
		appendStringInfoString(&json, i > 0 ? ", " : "");
		escape_json(&json, node->path);
		appendStringInfoString(&json, ": {");
		append_fields(&json, "columns", node->columns, node->ncolumns);
		if (node->nrow_columns > 0)
		{
			appendStringInfoString(&json, ", ");
			append_fields(&json, "rows", node->row_columns, node->nrow_columns);
		}
		if (node->nitems > 0)
		{
			appendStringInfoString(&json, ", ");
			append_fields(&json, "items", node->items, node->nitems);
		}
		if (node->type == GOFLOW_TYPE_SWITCH && node->expr)
		{
			appendStringInfoString(&json, ", \"on\": ");
			escape_json(&json, qualified_type(node->expr->type, node->expr->typmod));
		}
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

/* [[name, type], …] */
static GoflowField *
load_fields(const JsonbValue *value, int *count)
{
	JsonbValue *pairs = goflow_json_list(value->val.binary.data, count);
	GoflowField *fields = palloc0(sizeof(GoflowField) * Max(1, *count));

	for (int i = 0; i < *count; i++)
	{
		int			length;
		JsonbValue *pair = goflow_json_list(pairs[i].val.binary.data, &length);

		Assert(length == 2);
		fields[i].name = goflow_json_string(&pair[0]);
		fields[i].type_name = goflow_json_string(&pair[1]);
		goflow_field_resolve(&fields[i]);
	}
	return fields;
}

static void
load_node(GoflowNode *node, const JsonbValue *contract)
{
	GoflowObject object = goflow_json_object(contract->val.binary.data);
	JsonbValue *value;

	value = goflow_object_get(&object, "columns");
	node->columns = load_fields(value, &node->ncolumns);
	value = goflow_object_get(&object, "rows");
	if (value)
		node->row_columns = load_fields(value, &node->nrow_columns);
	value = goflow_object_get(&object, "on");
	if (value)
	{
		GoflowField on = {.name = "on", .type_name = goflow_json_string(value)};

		goflow_field_resolve(&on);
		for (int i = 0; i < node->nexprs; i++)
		{
			node->exprs[i].expr->target = on.type;
			node->exprs[i].expr->target_typmod = on.typmod;
		}
	}
	value = goflow_object_get(&object, "items");
	if (value)
		node->items = load_fields(value, &node->nitems);
	if (node->type == GOFLOW_TYPE_REDUCE)
	{
		node->value->target = node->columns[0].type;
		node->value->target_typmod = node->columns[0].typmod;
	}
	node->is_item_typed = true;
	node->is_typed = true;
}

GoflowDefinition *
goflow_definition_load(Jsonb *json, Jsonb *contract, const char *name, MemoryContext parent)
{
	GoflowReport *report = goflow_report_create(name);
	GoflowDefinition *definition = goflow_definition_parse(json, name, report, parent);
	MemoryContext old;

	/* it was good when it was stored; a later goflow may be stricter */
	if (definition)
		goflow_graph_check(definition, report);
	if (report->nerrors > 0)
		goflow_report_raise(report);

	old = MemoryContextSwitchTo(definition->context);
	for (int i = 0; i < definition->ninputs; i++)
		goflow_field_resolve(&definition->inputs[i]);
	for (int i = 0; i < definition->nvariables; i++)
		goflow_field_resolve(&definition->variables[i]);
	goflow_definition_set_targets(definition);

	for (int i = 0; i < definition->nnodes; i++)
	{
		GoflowNode *node = definition->nodes[i];
		JsonbValue	value;

		CHECK_FOR_INTERRUPTS();
		if (getKeyJsonValueFromContainer(&contract->root, node->path, strlen(node->path), &value) == NULL)
			elog(ERROR, "contract of workflow \"%s\" has no node \"%s\"", name, node->path);
		load_node(node, &value);
	}
	MemoryContextSwitchTo(old);
	return definition;
}
