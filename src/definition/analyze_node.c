/*
 * analyze_node.c
 *		What each node type asks of its SQL texts, and the columns that it gets
 *		from them.
 */
#include "postgres.h"

#include "definition/analysis.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "definition/statement.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* ---- switch, sql, trigger ---- */

static void
equality_step(GoflowAnalysis *analysis, void *arg)
{
	GoflowExpr *expr = arg;
	Oid			type = goflow_column_type(expr->type);

	if (!OidIsValid(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
				 errmsg("values of type %s cannot be compared", format_type_be(type)),
				 expr->node->type == GOFLOW_TYPE_SWITCH ?
				 errhint("Leave \"on\" out, and write a boolean expression in each case.") :
				 errhint("Cast it to a type that can, such as text."),
				 errposition(1)));
}

static bool
analyze_switch(GoflowAnalysis *analysis, GoflowNode *node)
{
	if (node->expr)
	{
		if (!goflow_analyze_expr(analysis, node->expr) ||
			!goflow_attempt(analysis, goflow_subject_of(node->expr), equality_step, node->expr))
			return false;
		for (int i = 0; i < node->nexprs; i++)
			goflow_expr_set_target(node->exprs[i].expr, node->expr->type, node->expr->typmod);
	}
	return goflow_analyze_named_exprs(analysis, node->exprs, node->nexprs);
}

static void
statement_step(GoflowAnalysis *analysis, void *arg)
{
	GoflowNode *node = arg;
	TupleDesc	result = goflow_statement_analyze(node->expr);
	MemoryContext old = MemoryContextSwitchTo(analysis->definition->context);

	if (node->rows == GOFLOW_ROWS_MANY && result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
				 errmsg("the statement returns no rows"),
				 errhint("Add RETURNING, or leave \"rows\": \"many\" out."),
				 errposition(1)));
	if (node->rows != GOFLOW_ROWS_NONE && result)
		for (int i = 0; i < result->natts; i++)
		{
			Form_pg_attribute column = TupleDescAttr(result, i);
			Oid			type = goflow_column_type(column->atttypid);

			if (node->rows == GOFLOW_ROWS_MANY)
				goflow_field_add(&node->row_columns, &node->nrow_columns, NameStr(column->attname), type,
								 column->atttypmod);
			else
				goflow_field_add(&node->columns, &node->ncolumns, NameStr(column->attname), type,
								 column->atttypmod);
		}
	if (node->rows != GOFLOW_ROWS_ONE || result == NULL)
		goflow_field_add(&node->columns, &node->ncolumns, "count", INT8OID, -1);
	MemoryContextSwitchTo(old);
}

static void
late_step(GoflowAnalysis *analysis, void *arg)
{
	GoflowNode *node = arg;
	MemoryContext old;

	(void) goflow_statement_parse(node->expr);
	old = MemoryContextSwitchTo(analysis->definition->context);
	if (node->rows != GOFLOW_ROWS_ONE || node->ncolumns == 0)
		goflow_field_add(&node->columns, &node->ncolumns, "count", INT8OID, -1);
	MemoryContextSwitchTo(old);
}

static void
relation_name_step(GoflowAnalysis *analysis, void *arg)
{
	GoflowNode *node = arg;

	if (OidIsValid(RelnameGetRelid(node->id)))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_NAME_CONFLICT),
				 errmsg("node \"%s\" gives many rows, but a relation \"%s\" exists", node->id, node->id),
				 errdetail("In the SQL of later nodes the name could mean either."),
				 errhint("Give the node another id.")));
}

static bool
analyze_sql(GoflowAnalysis *analysis, GoflowNode *node)
{
	GoflowSubject name = {.node = node->path};
	bool		is_good;

	if (node->rows == GOFLOW_ROWS_MANY &&
		!goflow_attempt(analysis, name, relation_name_step, node))
		return false;
	if (!node->is_late)
		return goflow_attempt(analysis, goflow_subject_of(node->expr), statement_step, node);
	is_good = goflow_analyze_fields(analysis, node->path, "columns", node->columns, node->ncolumns);
	is_good &= goflow_analyze_fields(analysis, node->path, "columns", node->row_columns, node->nrow_columns);
	is_good &= goflow_attempt(analysis, goflow_subject_of(node->expr), late_step, node);
	return is_good;
}

static void
trigger_table_step(GoflowAnalysis *analysis, void *arg)
{
	GoflowNode *node = arg;
	Oid			relation = goflow_trigger_table_resolve(node, AccessShareLock);

	for (int i = 0; i < node->nexprs; i++)
		node->exprs[i].expr->trigger_relation = relation;
}

static void
trigger_of_step(GoflowAnalysis *analysis, void *arg)
{
	goflow_trigger_columns_check(arg);
}

static void
trigger_when_step(GoflowAnalysis *analysis, void *arg)
{
	goflow_trigger_when_analyze(arg);
}

static bool
analyze_trigger(GoflowAnalysis *analysis, GoflowNode *node)
{
	GoflowSubject table = {.node = node->path, .key = "table"};
	GoflowSubject of = {.node = node->path, .key = "of"};
	GoflowSubject when = {.node = node->path, .key = "when", .text = node->when};
	bool		is_good;

	if (node->table == NULL)
		return true;
	if (!goflow_attempt(analysis, table, trigger_table_step, node))
		return false;
	is_good = goflow_attempt(analysis, of, trigger_of_step, node);
	if (node->when)
		is_good &= goflow_attempt(analysis, when, trigger_when_step, node);
	is_good &= goflow_analyze_named_exprs(analysis, node->exprs, node->nexprs);
	return is_good;
}

/* ---- items ---- */

static void
query_step(GoflowAnalysis *analysis, void *arg)
{
	GoflowNode *node = arg;
	TupleDesc	result = goflow_statement_analyze(node->expr);
	MemoryContext old;

	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
				 errmsg("the statement returns no rows"),
				 errhint("Add RETURNING."),
				 errposition(1)));
	old = MemoryContextSwitchTo(analysis->definition->context);
	for (int i = 0; i < result->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(result, i);

		goflow_field_add(&node->items, &node->nitems, NameStr(column->attname),
						 goflow_column_type(column->atttypid), column->atttypmod);
	}
	MemoryContextSwitchTo(old);
}

static void
array_step(GoflowAnalysis *analysis, void *arg)
{
	GoflowNode *node = arg;
	Oid			type = getBaseType(node->expr->type);
	Oid			element = get_element_type(type);
	MemoryContext old;

	if (!OidIsValid(element) && type != JSONBOID)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
				 errmsg("the expression has type %s, but an array is needed",
						type == UNKNOWNOID ? "text" : format_type_be(node->expr->type)),
				 errhint("Write an array or a jsonb array, a query, or the id of a node with \"rows\": \"many\"."),
				 errposition(1)));
	old = MemoryContextSwitchTo(analysis->definition->context);
	if (OidIsValid(element))
		goflow_field_add(&node->items, &node->nitems, "value", element, node->expr->typmod);
	else
		goflow_field_add(&node->items, &node->nitems, "value", JSONBOID, -1);
	MemoryContextSwitchTo(old);
}

/* What a loop, or "over", goes through: sets the columns of an item. */
static bool
analyze_source(GoflowAnalysis *analysis, GoflowNode *node)
{
	switch (node->loop_kind)
	{
		case GOFLOW_LOOP_NODE:
			node->is_item_typed = node->loop_source->is_typed;
			analysis->is_complete &= node->is_item_typed;
			for (int i = 0; i < node->loop_source->nrow_columns && node->is_item_typed; i++)
			{
				GoflowField *column = &node->loop_source->row_columns[i];

				goflow_field_add(&node->items, &node->nitems, column->name, column->type, column->typmod);
			}
			break;
		case GOFLOW_LOOP_QUERY:
			node->is_item_typed = goflow_attempt(analysis, goflow_subject_of(node->expr), query_step, node);
			break;
		case GOFLOW_LOOP_ARRAY:
			node->is_item_typed = goflow_analyze_expr(analysis, node->expr) &&
				goflow_attempt(analysis, goflow_subject_of(node->expr), array_step, node);
			break;
		case GOFLOW_LOOP_WHILE:
		case GOFLOW_LOOP_REPEAT:
			return goflow_analyze_expr(analysis, node->expr);
	}
	return node->is_item_typed;
}

/* The value so far is of the type of "initial"; acc.value is the node's column. */
static bool
analyze_reduce(GoflowAnalysis *analysis, GoflowNode *node)
{
	bool		is_good = analyze_source(analysis, node);

	if (!goflow_analyze_expr(analysis, node->initial))
	{
		analysis->is_complete = false;
		return false;
	}
	goflow_field_add(&node->columns, &node->ncolumns, "value", goflow_column_type(node->initial->type),
					 node->initial->typmod);
	goflow_expr_set_target(node->value, node->columns[0].type, node->columns[0].typmod);
	return goflow_analyze_expr(analysis, node->value) && is_good;
}

static bool
analyze_split(GoflowAnalysis *analysis, GoflowNode *node)
{
	bool		is_good = analyze_source(analysis, node);

	is_good &= goflow_analyze_expr(analysis, node->size);
	if (node->by)
		is_good &= goflow_analyze_expr(analysis, node->by) &&
			goflow_attempt(analysis, goflow_subject_of(node->by), equality_step, node->by);
	return is_good;
}

/* ---- what somebody outside gives ---- */

/*
 * A value that somebody sends is checked in his session, as himself, so
 * reading it must run no code of whoever owns the workflow.
 */
static bool
is_harmless_type(Oid type)
{
	Oid			element = get_element_type(type);

	if (OidIsValid(element))
		return is_harmless_type(element);
	return type < FirstNormalObjectId || get_typtype(type) == TYPTYPE_ENUM;
}

static void
harmless_step(GoflowAnalysis *analysis, void *arg)
{
	GoflowField *field = arg;

	if (!is_harmless_type(field->type))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
				 errmsg("\"%s\" cannot be of type %s", field->name, format_type_be(field->type)),
				 errdetail("Whoever sends the value would run what the type does to check it."),
				 errhint("Use a built-in type, an enum, or an array of these.")));
}

static void
role_step(GoflowAnalysis *analysis, void *arg)
{
	(void) get_role_oid(arg, false);
}

static bool
is_same_field(const GoflowField *a, const GoflowField *b)
{
	return strcmp(a->name, b->name) == 0 && a->type == b->type && a->typmod == b->typmod;
}

/* A signal that comes early is for whichever node of its name is the first to wait. */
static void
same_signal_step(GoflowAnalysis *analysis, void *arg)
{
	GoflowNode *node = arg;

	for (int i = 0; i < analysis->definition->nnodes; i++)
	{
		GoflowNode *other = analysis->definition->nodes[i];
		bool		is_same = other->nfields == node->nfields;

		/* those that come later are compared with this one */
		if (other->type != GOFLOW_TYPE_SIGNAL || !other->is_typed ||
			strcmp(other->signal_name, node->signal_name) != 0)
			continue;
		for (int j = 0; j < node->nfields && is_same; j++)
			is_same = is_same_field(&goflow_node_fields(node)[j], &goflow_node_fields(other)[j]);
		if (!is_same)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
					 errmsg("signal \"%s\" has another payload in node \"%s\"", node->signal_name,
							other->path),
					 errhint("Give both nodes the same payload, or one of them another name.")));
	}
}

static bool
analyze_wait(GoflowAnalysis *analysis, GoflowNode *node)
{
	const char *key = node->type == GOFLOW_TYPE_SIGNAL ? "payload" :
		node->type == GOFLOW_TYPE_APPROVAL ? "form" : "output";
	GoflowField *fields = goflow_node_fields(node);
	bool		is_good = goflow_analyze_fields(analysis, node->path, key, node->columns, node->ncolumns);

	for (int i = 0; i < node->nfields && is_good; i++)
	{
		GoflowSubject subject = {.node = node->path, .key = psprintf("%s.%s", key, fields[i].name)};

		is_good &= goflow_attempt(analysis, subject, harmless_step, &fields[i]);
	}
	if (node->type == GOFLOW_TYPE_SIGNAL && is_good)
		is_good = goflow_attempt(analysis, (GoflowSubject) {.node = node->path, .key = key}, same_signal_step, node);
	if (node->role)
		is_good &= goflow_attempt(analysis, (GoflowSubject) {.node = node->path, .key = "role"}, role_step,
								  node->role);
	if (node->escalate_to)
		is_good &= goflow_attempt(analysis, (GoflowSubject) {.node = node->path, .key = "escalate.role"},
								  role_step, node->escalate_to);
	is_good &= goflow_analyze_named_exprs(analysis, node->exprs, node->nexprs);
	return is_good;
}

/* ---- all types ---- */

bool
goflow_analyze_by_type(GoflowAnalysis *analysis, GoflowNode *node)
{
	bool		is_good;

	switch (node->type)
	{
		case GOFLOW_TYPE_SQL:
			return analyze_sql(analysis, node);
		case GOFLOW_TYPE_SWITCH:
			return analyze_switch(analysis, node);
		case GOFLOW_TYPE_TRIGGER:
			return analyze_trigger(analysis, node);
		case GOFLOW_TYPE_REDUCE:
			return analyze_reduce(analysis, node);
		case GOFLOW_TYPE_SPLIT:
			return analyze_split(analysis, node);
		case GOFLOW_TYPE_LOOP:
			return analyze_source(analysis, node);
		case GOFLOW_TYPE_FILTER:
			is_good = analyze_source(analysis, node);
			is_good &= goflow_analyze_expr(analysis, node->where);
			return is_good;
		case GOFLOW_TYPE_MAP:
			is_good = analyze_source(analysis, node);
			is_good &= goflow_analyze_named_exprs(analysis, node->exprs, node->nexprs);
			return is_good;
		case GOFLOW_TYPE_RAISE:
			is_good = goflow_analyze_expr(analysis, node->message);
			is_good &= goflow_analyze_expr(analysis, node->detail);
			return is_good;
		case GOFLOW_TYPE_CONDITION:
		case GOFLOW_TYPE_DELAY:
		case GOFLOW_TYPE_NOTIFY:
		case GOFLOW_TYPE_SET:
		case GOFLOW_TYPE_TRANSFORM:
		case GOFLOW_TYPE_BREAK:
		case GOFLOW_TYPE_CONTINUE:
		case GOFLOW_TYPE_WORKFLOW:
		case GOFLOW_TYPE_MERGE:
			is_good = goflow_analyze_expr(analysis, node->expr);
			is_good &= goflow_analyze_named_exprs(analysis, node->exprs, node->nexprs);
			return is_good;
		case GOFLOW_TYPE_SIGNAL:
		case GOFLOW_TYPE_APPROVAL:
		case GOFLOW_TYPE_TASK:
			return analyze_wait(analysis, node);
		case GOFLOW_TYPE_TRY:
		case GOFLOW_TYPE_PARALLEL:
			return true;
	}
	return true;
}
