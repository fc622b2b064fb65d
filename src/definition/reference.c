/*
 * reference.c
 *		Names in SQL: input.x, vars.x, <node>.<column>, trigger.x, execution.x,
 *		the columns of an item, loop.index, acc.value, error.x, NEW.x, OLD.x,
 *		and many-row nodes as relations.
 *
 * The server's parser calls resolve_column() for every column reference, after
 * it has looked itself.  What names one of ours becomes a parameter of its
 * type; what names both a column and one of ours is an error, as in PL/pgSQL.
 * The parser setup is the same when define() analyzes a text, when it is
 * prepared, and when its plan is made anew, so all three agree.
 *
 * The reference list of an expression only grows, and is searched before it
 * grows: a reference keeps its parameter number for life.
 */
#include "postgres.h"

#include "definition/definition.h"

#include "access/tupdesc.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_relation.h"
#include "utils/lsyscache.h"

typedef struct SystemField
{
	const char *name;
	Oid			type;
} SystemField;

static const SystemField trigger_fields[GOFLOW_TRIGGER_FIELDS] = {
	[GOFLOW_TRIGGER_NODE] = {"node", TEXTOID},
	[GOFLOW_TRIGGER_EVENT] = {"event", TEXTOID},
	[GOFLOW_TRIGGER_TABLE] = {"table", TEXTOID},
};

static const SystemField execution_fields[GOFLOW_EXECUTION_FIELDS] = {
	[GOFLOW_EXECUTION_ID] = {"id", UUIDOID},
	[GOFLOW_EXECUTION_WORKFLOW] = {"workflow", TEXTOID},
	[GOFLOW_EXECUTION_VERSION] = {"version", INT4OID},
	[GOFLOW_EXECUTION_RUN_AS] = {"run_as", TEXTOID},
	[GOFLOW_EXECUTION_CREATED_AT] = {"created_at", TIMESTAMPTZOID},
};

static const SystemField error_fields[GOFLOW_ERROR_FIELDS] = {
	[GOFLOW_ERROR_CODE] = {"code", TEXTOID},
	[GOFLOW_ERROR_MESSAGE] = {"message", TEXTOID},
	[GOFLOW_ERROR_DETAIL] = {"detail", TEXTOID},
	[GOFLOW_ERROR_HINT] = {"hint", TEXTOID},
	[GOFLOW_ERROR_NODE] = {"node", TEXTOID},
	[GOFLOW_ERROR_ATTEMPT] = {"attempt", INT4OID},
};

static const SystemField loop_field = {"index", INT8OID};

/* By GoflowRefKind; a node's name is its id, an item's what "as" says. */
static const char *const kind_names[] = {
	[GOFLOW_REF_INPUT] = "input",
	[GOFLOW_REF_VARIABLE] = "vars",
	[GOFLOW_REF_NODE] = NULL,
	[GOFLOW_REF_TRIGGER] = "trigger",
	[GOFLOW_REF_EXECUTION] = "execution",
	[GOFLOW_REF_NEW] = "new",
	[GOFLOW_REF_OLD] = "old",
	[GOFLOW_REF_ITEM] = NULL,
	[GOFLOW_REF_LOOP_INDEX] = "loop",
	[GOFLOW_REF_ACC] = "acc",
	[GOFLOW_REF_ERROR] = "error",
};

/* ---- what a name has ---- */

/* Kinds whose fields belong to a node that the expression is inside of. */
#define has_giver(kind) \
	((kind) == GOFLOW_REF_LOOP_INDEX || (kind) == GOFLOW_REF_ACC || (kind) == GOFLOW_REF_ERROR)

/* That node, NULL if there is none. */
static GoflowNode *
find_giver(const GoflowExpr *expr, GoflowRefKind kind)
{
	switch (kind)
	{
		case GOFLOW_REF_LOOP_INDEX:
			return expr->sees_item && expr->node->type == GOFLOW_TYPE_LOOP ? expr->node :
				goflow_scope_loop(expr->body);
		case GOFLOW_REF_ACC:
			return expr->sees_item && expr->node->type == GOFLOW_TYPE_REDUCE ? expr->node : NULL;
		case GOFLOW_REF_ERROR:
			return goflow_scope_catch(expr->body);
		default:
			return NULL;
	}
}

static bool
find_name(const GoflowExpr *expr, const char *name, GoflowRef *ref)
{
	for (int i = 0; i < lengthof(kind_names); i++)
		if (kind_names[i] && strcmp(kind_names[i], name) == 0)
		{
			/* without a trigger's row, these two mean nothing of ours */
			if ((i == GOFLOW_REF_NEW || i == GOFLOW_REF_OLD) && !OidIsValid(expr->trigger_relation))
				return false;
			ref->kind = i;
			ref->node = find_giver(expr, i);
			return true;
		}
	ref->kind = GOFLOW_REF_ITEM;
	ref->node = goflow_scope_item(expr, name);
	if (ref->node)
		return true;
	ref->kind = GOFLOW_REF_NODE;
	ref->node = goflow_scope_find_node(expr->body, name);
	return ref->node != NULL;
}

/* The fields of a name that are kept in memory: all but those of NEW and OLD. */
static int
count_fields(const GoflowExpr *expr, const GoflowRef *ref)
{
	switch (ref->kind)
	{
		case GOFLOW_REF_INPUT:
			return expr->definition->ninputs;
		case GOFLOW_REF_VARIABLE:
			{
				int			count = 0;

				while (goflow_scope_variable(expr, count) >= 0)
					count++;
				return count;
			}
		case GOFLOW_REF_NODE:
			return ref->node->ncolumns;
		case GOFLOW_REF_ITEM:
			return ref->node->nitems;
		case GOFLOW_REF_LOOP_INDEX:
		case GOFLOW_REF_ACC:
			return 1;
		case GOFLOW_REF_ERROR:
			return GOFLOW_ERROR_FIELDS;
		case GOFLOW_REF_TRIGGER:
			return GOFLOW_TRIGGER_FIELDS;
		case GOFLOW_REF_EXECUTION:
			return GOFLOW_EXECUTION_FIELDS;
		case GOFLOW_REF_NEW:
		case GOFLOW_REF_OLD:
			return 0;
	}
	return 0;
}

/* The number-th field; of variables, the number-th that is seen. */
static GoflowField
get_field(const GoflowExpr *expr, const GoflowRef *ref, int field)
{
	const SystemField *system;

	switch (ref->kind)
	{
		case GOFLOW_REF_INPUT:
			return expr->definition->inputs[field];
		case GOFLOW_REF_VARIABLE:
			return expr->definition->variables[goflow_scope_variable(expr, field)];
		case GOFLOW_REF_NODE:
			return ref->node->columns[field];
		case GOFLOW_REF_ITEM:
			return ref->node->items[field];
		case GOFLOW_REF_ACC:
			return ref->node->columns[0];
		case GOFLOW_REF_LOOP_INDEX:
			system = &loop_field;
			break;
		case GOFLOW_REF_ERROR:
			system = &error_fields[field];
			break;
		case GOFLOW_REF_TRIGGER:
			system = &trigger_fields[field];
			break;
		case GOFLOW_REF_EXECUTION:
			system = &execution_fields[field];
			break;
		default:
			elog(ERROR, "reference of kind %d has no fields in memory", ref->kind);
	}
	return (GoflowField){.name = unconstify(char *, system->name), .type = system->type,
		.typmod = -1, .collation = get_typcollation(system->type)};
}

/* Completes the reference with a field by its name; false if there is none. */
static bool
find_field(const GoflowExpr *expr, GoflowRef *ref, const char *name)
{
	int			count = count_fields(expr, ref);

	if (ref->kind == GOFLOW_REF_NEW || ref->kind == GOFLOW_REF_OLD)
	{
		AttrNumber	attnum = get_attnum(expr->trigger_relation, name);

		if (attnum <= 0)
			return false;
		if (goflow_is_virtual_column(get_attgenerated(expr->trigger_relation, attnum)))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("\"%s\" is a virtual generated column", name),
					 errdetail("Its value is not known to triggers."),
					 errhint("Write its expression, or make it a stored column.")));
		ref->field = attnum;
		get_atttypetypmodcoll(expr->trigger_relation, attnum, &ref->type, &ref->typmod,
							  &ref->collation);
		return true;
	}
	for (int i = 0; i < count; i++)
	{
		GoflowField field = get_field(expr, ref, i);

		if (strcmp(field.name, name) == 0)
		{
			ref->field = ref->kind == GOFLOW_REF_VARIABLE ? goflow_scope_variable(expr, i) : i;
			ref->type = field.type;
			ref->typmod = field.typmod;
			ref->collation = field.collation;
			return true;
		}
	}
	return false;
}

static int
add_reference(GoflowExpr *expr, const GoflowRef *ref)
{
	for (int i = 0; i < expr->nrefs; i++)
		if (expr->refs[i].kind == ref->kind && expr->refs[i].node == ref->node &&
			expr->refs[i].field == ref->field)
			return i;
	if (expr->nrefs == expr->maxrefs)
	{
		int			max = Max(4, expr->maxrefs * 2);
		GoflowRef  *refs = MemoryContextAlloc(expr->definition->context, sizeof(GoflowRef) * max);

		if (expr->nrefs > 0)
			memcpy(refs, expr->refs, sizeof(GoflowRef) * expr->nrefs);
		expr->refs = refs;
		expr->maxrefs = max;
	}
	expr->refs[expr->nrefs] = *ref;
	return expr->nrefs++;
}

static Node *
make_parameter(GoflowExpr *expr, const GoflowRef *ref, int location)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = add_reference(expr, ref) + 1;
	param->paramtype = ref->type;
	param->paramtypmod = ref->typmod;
	param->paramcollid = ref->collation;
	param->location = location;
	return (Node *) param;
}

/* ---- errors ---- */

static void
raise_unknown_field(ParseState *pstate, const GoflowExpr *expr, const GoflowRef *ref,
					const char *name, const char *field, int location)
{
	int			count = count_fields(expr, ref);
	GoflowNearest nearest;
	StringInfoData list;
	const char *hint;

	initStringInfo(&list);
	goflow_nearest_begin(&nearest, expr->definition, field);
	for (int i = 0; i < count; i++)
	{
		const char *candidate = get_field(expr, ref, i).name;

		goflow_nearest_offer(&nearest, candidate);
		if (i < 20)
			appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", candidate);
		else if (i == 20)
			appendStringInfoString(&list, ", ...");
	}

	if (ref->kind == GOFLOW_REF_NODE && goflow_node_is_relation(ref->node))
		hint = psprintf("It gives many rows: read it as a relation, FROM %s.", name);
	else if (nearest.best)
		hint = psprintf("Did you mean \"%s.%s\"?", name, nearest.best);
	else if (count > 0)
		hint = psprintf("It has %s.", list.data);
	else if (ref->kind == GOFLOW_REF_INPUT || ref->kind == GOFLOW_REF_VARIABLE)
		hint = psprintf("Declare it under \"%s\" of the workflow.",
						ref->kind == GOFLOW_REF_INPUT ? "input" : "variables");
	else if (ref->kind == GOFLOW_REF_NODE)
		hint = "It gives nothing to others.";
	else
		hint = "Use a column of the trigger's table.";

	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_UNKNOWN_REFERENCE),
			 ref->kind == GOFLOW_REF_NODE ?
			 errmsg("node \"%s\" has no column \"%s\"", name, field) :
			 errmsg("\"%s\" has no field \"%s\"", name, field),
			 errhint("%s", hint),
			 parser_errposition(pstate, location)));
}

static const char *
giver_hint(GoflowRefKind kind)
{
	switch (kind)
	{
		case GOFLOW_REF_LOOP_INDEX:
			return "It is the number of the iteration inside of a loop.";
		case GOFLOW_REF_ACC:
			return "It is the value so far in the \"value\" of a reduce node.";
		default:
			return "It is what a catch has caught, for the nodes inside.";
	}
}

/*
 * Raises an error unless the expression may use the name at all.  A node that
 * comes before it, but whose columns or place could not be found out, blocks
 * the expression: what made it so is reported already.
 */
static void
check_visible(ParseState *pstate, GoflowExpr *expr, const GoflowRef *ref, const char *name,
			  int location)
{
	const GoflowNode *later;

	if (!(expr->sees & GOFLOW_SEES(ref->kind)))
	{
		StringInfoData list;

		initStringInfo(&list);
		for (int i = 0; i < lengthof(kind_names); i++)
			if (expr->sees & GOFLOW_SEES(i))
				appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "",
								 kind_names[i] ? kind_names[i] : "nodes");
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_REFERENCE),
				 errmsg("\"%s\" cannot be used here", name),
				 list.len > 0 ? errhint("Names that can be used here: %s.", list.data) : 0,
				 parser_errposition(pstate, location)));
	}
	if (has_giver(ref->kind) && ref->node == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_REFERENCE),
				 errmsg("\"%s\" cannot be used here", name),
				 errhint("%s", giver_hint(ref->kind)),
				 parser_errposition(pstate, location)));
	if (ref->kind == GOFLOW_REF_ITEM && !ref->node->is_item_typed)
	{
		expr->is_blocked = true;
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_REFERENCE_NOT_READY),
				 errmsg("the columns of \"%s\" are not known", name),
				 parser_errposition(pstate, location)));
	}
	if (ref->kind != GOFLOW_REF_NODE)
		return;
	if (!goflow_scope_is_before(expr, ref->node))
	{
		expr->is_blocked = goflow_scope_is_blurred(expr, ref->node);
		if (ref->node->body == expr->body && expr->place == GOFLOW_PLACE_BEGIN)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_REFERENCE_NOT_READY),
					 errmsg("node \"%s\" runs after the variables have their first values", name),
					 errhint("Set the variable with a node of type \"set\"."),
					 parser_errposition(pstate, location)));
		later = goflow_scope_within(expr, ref->node->body);
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_REFERENCE_NOT_READY),
				 ref->node == later ?
				 errmsg("node \"%s\" cannot read its own result", name) :
				 errmsg("node \"%s\" does not run before node \"%s\"", name, later->id),
				 ref->node == later ?
				 errhint("Keep values in a variable, and read vars.<name>.") :
				 errhint("Add \"%s\" to the \"after\" of node \"%s\", or of a node before it.",
						 name, later->id),
				 parser_errposition(pstate, location)));
	}
	if (!ref->node->is_typed)
	{
		expr->is_blocked = true;
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_REFERENCE_NOT_READY),
				 errmsg("the columns of node \"%s\" are not known", name),
				 parser_errposition(pstate, location)));
	}
}

/* A node of that id which is inside of another node; or NULL. */
static const GoflowNode *
find_inside(const GoflowExpr *expr, const char *name)
{
	for (int i = 0; i < expr->definition->nbodies; i++)
	{
		GoflowNode *node = goflow_definition_find_node(expr->definition->bodies[i], name);

		if (node)
			return node;
	}
	return NULL;
}

/* A name that nobody knows here, but elsewhere, or close to one of ours: likely a mistake. */
static void
check_near_name(ParseState *pstate, const GoflowExpr *expr, const char *name, int location)
{
	const GoflowNode *inside;
	GoflowNearest nearest;

	if (!(expr->sees & GOFLOW_SEES(GOFLOW_REF_NODE)))
		inside = NULL;
	else if ((inside = find_inside(expr, name)) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_REFERENCE),
				 errmsg("node \"%s\" cannot be read from here", name),
				 errdetail("It is inside of node \"%s\".", inside->body->owner->path),
				 errhint("Keep its value in a variable of the workflow, or give it out of a loop with \"collect\"."),
				 parser_errposition(pstate, location)));

	goflow_nearest_begin(&nearest, expr->definition, name);
	for (int i = 0; i < lengthof(kind_names); i++)
		if (kind_names[i] && (expr->sees & GOFLOW_SEES(i)) &&
			(!has_giver(i) || find_giver(expr, i) != NULL))
			goflow_nearest_offer(&nearest, kind_names[i]);
	if (expr->sees & GOFLOW_SEES(GOFLOW_REF_NODE))
	{
		if (expr->sees_item && expr->node->item_name)
			goflow_nearest_offer(&nearest, expr->node->item_name);
		for (const GoflowBody *body = expr->body; body; body = goflow_scope_outer(body))
		{
			for (int i = 0; i < body->nnodes; i++)
				if (goflow_scope_is_before(expr, body->nodes[i]))
					goflow_nearest_offer(&nearest, body->nodes[i]->id);
			if (body->owner && body->owner->item_name)
				goflow_nearest_offer(&nearest, body->owner->item_name);
		}
	}
	if (nearest.best)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_REFERENCE),
				 errmsg("unknown name \"%s\"", name),
				 errhint("Did you mean \"%s\"?", nearest.best),
				 parser_errposition(pstate, location)));
}

/* ---- the hook ---- */

/* NEW and OLD as a whole, for functions that take a row. */
static Node *
resolve_row(GoflowExpr *expr, const char *name, int location)
{
	GoflowRef	ref = {0};

	if (!find_name(expr, name, &ref) ||
		(ref.kind != GOFLOW_REF_NEW && ref.kind != GOFLOW_REF_OLD) ||
		!(expr->sees & GOFLOW_SEES(ref.kind)))
		return NULL;
	ref.type = get_rel_type_id(expr->trigger_relation);
	ref.typmod = -1;
	return make_parameter(expr, &ref, location);
}

static Node *
resolve_column(ParseState *pstate, ColumnRef *column, Node *found)
{
	GoflowExpr *expr = pstate->p_ref_hook_state;
	GoflowRef	ref = {0};
	const char *name;
	const char *field;
	int			levels_up;
	bool		is_relation;

	name = strVal(linitial(column->fields));
	if (list_length(column->fields) == 1)
		return found ? NULL : resolve_row(expr, name, column->location);
	if (list_length(column->fields) != 2)
		return NULL;

	/* a relation of that name in the statement has the first word */
	is_relation = refnameNamespaceItem(pstate, NULL, name, column->location, &levels_up) != NULL;
	if (!find_name(expr, name, &ref))
	{
		if (found == NULL && !is_relation)
			check_near_name(pstate, expr, name, column->location);
		return NULL;
	}
	if (IsA(lsecond(column->fields), A_Star))
	{
		if (is_relation)
			return NULL;
		if (ref.kind == GOFLOW_REF_NEW || ref.kind == GOFLOW_REF_OLD)
			return resolve_row(expr, name, column->location);
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_REFERENCE),
				 errmsg("\"%s.*\" cannot be used as a row", name),
				 errhint("Write its columns one by one."),
				 parser_errposition(pstate, column->location)));
	}
	field = strVal(lsecond(column->fields));

	/* a many-row node that is read as a relation means its rows */
	if (is_relation && ref.kind == GOFLOW_REF_NODE && goflow_node_is_relation(ref.node))
		return NULL;
	if (is_relation)
	{
		bool		is_visible = (expr->sees & GOFLOW_SEES(ref.kind)) != 0;

		if (ref.kind == GOFLOW_REF_NODE)
			is_visible &= goflow_scope_is_before(expr, ref.node) && ref.node->is_typed;
		else if (ref.kind == GOFLOW_REF_ITEM)
			is_visible &= ref.node->is_item_typed;
		else if (has_giver(ref.kind))
			is_visible &= ref.node != NULL;

		if (!is_visible || !find_field(expr, &ref, field))
			return NULL;
	}
	else
	{
		check_visible(pstate, expr, &ref, name, column->location);
		if (!find_field(expr, &ref, field))
			raise_unknown_field(pstate, expr, &ref, name, field, column->location);
	}
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_COLUMN),
				 errmsg("column reference \"%s\" is ambiguous", NameListToString(column->fields)),
				 errdetail("It could refer to either a name of the workflow or a table column."),
				 errhint("Give the table an alias of another name."),
				 parser_errposition(pstate, column->location)));

	/* a field whose declared type does not exist */
	if (!OidIsValid(ref.type))
	{
		expr->is_blocked = true;
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_REFERENCE_NOT_READY),
				 errmsg("the type of \"%s.%s\" is not known", name, field),
				 parser_errposition(pstate, column->location)));
	}
	return make_parameter(expr, &ref, column->location);
}

void
goflow_reference_setup(ParseState *pstate, void *arg)
{
	GoflowExpr *expr = arg;

	pstate->p_post_columnref_hook = resolve_column;
	pstate->p_ref_hook_state = expr;

	/* a literal for a target of known type is read as one of that type */
	if (OidIsValid(expr->target) && !expr->is_statement)
		pstate->p_resolve_unknowns = false;
}

/* ---- relations ---- */

TupleDesc
goflow_node_row_descriptor(GoflowNode *node)
{
	TupleDesc	desc = CreateTemplateTupleDesc(node->nrow_columns);

	for (int i = 0; i < node->nrow_columns; i++)
	{
		GoflowField *field = &node->row_columns[i];

		TupleDescInitEntry(desc, i + 1, field->name, field->type, field->typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, field->collation);
	}
	return desc;
}

QueryEnvironment *
goflow_reference_environment(GoflowExpr *expr)
{
	QueryEnvironment *environment = create_queryEnv();
	ListCell   *lc;

	foreach(lc, goflow_reference_relations(expr))
	{
		GoflowNode *node = lfirst(lc);
		EphemeralNamedRelation relation;

		relation = palloc0(sizeof(EphemeralNamedRelationData));
		relation->md.name = node->id;
		relation->md.reliddesc = InvalidOid;
		relation->md.tupdesc = goflow_node_row_descriptor(node);
		relation->md.enrtype = ENR_NAMED_TUPLESTORE;
		register_ENR(environment, relation);
	}
	return environment;
}

static bool
collect_relations(Node *node, GoflowExpr *expr)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;
		MemoryContext old = MemoryContextSwitchTo(expr->definition->context);

		if (rte->rtekind == RTE_NAMEDTUPLESTORE)
			expr->relations =
				list_append_unique_ptr(expr->relations,
									   goflow_scope_find_node(expr->body, rte->enrname));
		MemoryContextSwitchTo(old);
		return false;
	}
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		if (query->utilityStmt && IsA(query->utilityStmt, ExplainStmt))
			return collect_relations(((ExplainStmt *) query->utilityStmt)->query, expr);
		if (query->utilityStmt && IsA(query->utilityStmt, CreateTableAsStmt))
			return collect_relations(((CreateTableAsStmt *) query->utilityStmt)->query, expr);
		return query_tree_walker(query, collect_relations, expr, QTW_EXAMINE_RTES_BEFORE);
	}
	return expression_tree_walker(node, collect_relations, expr);
}

void
goflow_reference_collect_relations(GoflowExpr *expr, Query *query)
{
	(void) collect_relations((Node *) query, expr);
}
