/*
 * analyze.c
 *		Every SQL text of a definition, by the server's own parser.
 *
 * Nodes are taken in topological order, so that the columns of what comes
 * before are known; a node's bodies are taken with it.  A text is parsed and analyzed, never planned and never
 * run.  Each step runs in a subtransaction that is always rolled back: an
 * error becomes a problem of the report with the server's own code, message
 * and position, the next text goes on, and no lock stays behind.  What a step
 * finds out is copied into the definition's context.
 *
 * A node that fails has no columns (is_typed is false).  An expression that
 * names such a node is given up in silence (is_blocked).
 */
#include "postgres.h"

#include "definition/definition.h"
#include "definition/statement.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/typcache.h"

typedef struct Analysis
{
	GoflowDefinition *definition;
	GoflowReport *report;
	MemoryContext scratch;		/* reset after every step */
	bool		is_complete;	/* every expression's references are known */
} Analysis;

/* What a step is about, for the report. */
typedef struct Subject
{
	const char *node;
	const char *key;
	const char *text;
	GoflowExpr *expr;			/* or NULL */
} Subject;

typedef void (*Step) (Analysis *analysis, void *arg);

/* ---- steps and their errors ---- */

/* Errors that are not about the definition. */
static bool
is_foreign_error(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return true;
		default:
			return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

/*
 * A relation that does not exist, but a node does: the node does not come
 * before, or gives no rows.  The server reports the place of the name, so the
 * name is read from there.  NULL if it is none of a node.
 */
static GoflowNode *
find_missing_relation(const ErrorData *error, const Subject *subject)
{
	const char *start = subject->text;
	char		name[NAMEDATALEN];
	int			length = 0;

	if (error->sqlerrcode != ERRCODE_UNDEFINED_TABLE || error->cursorpos <= 0 ||
		subject->expr == NULL || !(subject->expr->sees & GOFLOW_SEES(GOFLOW_REF_NODE)))
		return NULL;
	start += pg_mbcharcliplen(start, strlen(start), error->cursorpos - 1);
	while (length < NAMEDATALEN - 1 && (isalnum((unsigned char) start[length]) || start[length] == '_'))
	{
		name[length] = pg_tolower((unsigned char) start[length]);
		length++;
	}
	name[length] = '\0';
	if (start[length] == '.')
		return NULL;
	return goflow_scope_find_node(subject->expr->body, name);
}

static void
report_relation(Analysis *analysis, const Subject *subject, const GoflowNode *node, int position)
{
	bool		is_before = goflow_scope_is_before(subject->expr, node);
	bool		has_rows = goflow_node_is_relation(node);
	GoflowProblem *problem;

	if (node->is_broken || (has_rows && is_before) ||
		(has_rows && goflow_scope_is_blurred(subject->expr, node)))
		return;
	problem = goflow_report_error(analysis->report,
								  has_rows ? ERRCODE_GOFLOW_REFERENCE_NOT_READY :
								  ERRCODE_GOFLOW_UNKNOWN_REFERENCE,
								  subject->node, subject->key,
								  !has_rows ? "node \"%s\" is not a relation" :
								  node == subject->expr->node ? "node \"%s\" cannot read its own result" :
								  "node \"%s\" does not run before this one", node->id);
	problem->text = MemoryContextStrdup(analysis->report->context, subject->text);
	problem->position = position;
	if (!has_rows)
		goflow_problem_hint(problem, "Only a sql node with \"rows\": \"many\" is one; others are read by column, as %s.<column>.",
							node->id);
	else if (node != subject->expr->node)
		goflow_problem_hint(problem, "Add \"%s\" to the \"after\" of node \"%s\", or of a node before it.",
							node->id, subject->expr->node->id);
}

static void
report_error(Analysis *analysis, const Subject *subject, const ErrorData *error)
{
	GoflowProblem *problem;
	GoflowNode *relation;

	analysis->is_complete = false;
	if (subject->expr && subject->expr->is_blocked)
		return;
	relation = find_missing_relation(error, subject);
	if (relation)
	{
		report_relation(analysis, subject, relation, error->cursorpos);
		return;
	}
	problem = goflow_report_error(analysis->report, error->sqlerrcode, subject->node, subject->key,
								  "%s", error->message);
	if (error->detail)
		goflow_problem_detail(problem, "%s", error->detail);
	if (error->hint)
		goflow_problem_hint(problem, "%s", error->hint);

	/* a position in another text, such as a function's body, is of no use here */
	if (subject->text && error->cursorpos > 0 && error->internalquery == NULL)
	{
		problem->text = MemoryContextStrdup(analysis->report->context, subject->text);
		problem->position = error->cursorpos;
	}
}

/* Runs a step; true if it went through. */
static bool
attempt(Analysis *analysis, Subject subject, Step step, void *arg)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	CHECK_FOR_INTERRUPTS();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(analysis->scratch);
	PG_TRY();
	{
		/* callers, such as a SQL function, would take the position for one in their text */
		error_context_stack = NULL;
		step(analysis, arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(analysis->scratch);
		error = CopyErrorData();
		if (is_foreign_error(error))
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;

	if (error)
		report_error(analysis, &subject, error);
	MemoryContextReset(analysis->scratch);
	return error == NULL;
}

static Subject
subject_of(const GoflowExpr *expr)
{
	return (Subject){.node = expr->node ? expr->node->path : NULL, .key = expr->key,
		.text = expr->text, .expr = (GoflowExpr *) expr};
}

/* ---- settings ---- */

void
goflow_settings_apply(const GoflowSettings *settings)
{
	GucContext	context = superuser() ? PGC_SUSET : PGC_USERSET;

	for (int i = 0; i < settings->count; i++)
	{
		const char *present = GetConfigOption(settings->names[i], true, false);

		/* setting search_path makes the server look it up anew */
		if (present == NULL || strcmp(present, settings->values[i]) != 0)
			(void) set_config_option(settings->names[i], settings->values[i], context,
									 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
}

typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

static void
check_setting(Analysis *analysis, void *arg)
{
	static const char *const refused[] = {
		"role", "session_authorization", "transaction_isolation", "transaction_read_only",
		"transaction_deferrable"
	};
	Setting    *setting = arg;

	for (int i = 0; i < lengthof(refused); i++)
		if (pg_strcasecmp(setting->name, refused[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_STATEMENT_REFUSED),
					 errmsg("setting \"%s\" cannot be given by a workflow", setting->name),
					 errhint("A node runs as the role of its execution, in a transaction of goflow.")));
	(void) set_config_option(setting->name, setting->value,
							 superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* Drops the settings that cannot be set. */
static void
check_settings(Analysis *analysis, const char *node, GoflowSettings *settings)
{
	int			count = 0;

	for (int i = 0; i < settings->count; i++)
	{
		Setting		setting = {settings->names[i], settings->values[i]};
		Subject		subject = {.node = node, .key = psprintf("settings.%s", setting.name)};

		if (!attempt(analysis, subject, check_setting, &setting))
			continue;
		settings->names[count] = settings->names[i];
		settings->values[count++] = settings->values[i];
	}
	settings->count = count;
}

/*
 * The search path as it is now: schemas that exist, "$user" resolved, and the
 * temporary one last, so that nobody's temporary table stands in for another.
 */
static char *
resolved_search_path(void)
{
	StringInfoData path;
	ListCell   *lc;

	initStringInfo(&path);
	foreach(lc, fetch_search_path(false))
	{
		char	   *schema = get_namespace_name(lfirst_oid(lc));

		if (schema && !isAnyTempNamespace(lfirst_oid(lc)))
			appendStringInfo(&path, "%s, ", quote_identifier(schema));
	}
	appendStringInfoString(&path, "pg_temp");
	return path.data;
}

/* The complete settings of the workflow, in force from here to the end of the nest level. */
static void
record_settings(Analysis *analysis)
{
	static const char *const recorded[] = {"DateStyle", "IntervalStyle", "TimeZone"};
	GoflowDefinition *definition = analysis->definition;
	GoflowSettings own;
	GoflowSettings all;

	check_settings(analysis, NULL, &definition->settings);
	own = definition->settings;
	goflow_settings_apply(&own);

	all.count = 0;
	all.names = palloc(sizeof(char *) * (own.count + lengthof(recorded) + 1));
	all.values = palloc(sizeof(char *) * (own.count + lengthof(recorded) + 1));
	all.names[all.count] = pstrdup("search_path");
	all.values[all.count++] = resolved_search_path();
	for (int i = 0; i < lengthof(recorded); i++)
	{
		all.names[all.count] = pstrdup(recorded[i]);
		all.values[all.count++] = pstrdup(GetConfigOption(recorded[i], false, false));
	}
	for (int i = 0; i < own.count; i++)
	{
		bool		is_recorded = false;

		for (int j = 0; j <= lengthof(recorded); j++)
			is_recorded |= pg_strcasecmp(own.names[i], all.names[j]) == 0;
		if (is_recorded)
			continue;
		all.names[all.count] = own.names[i];
		all.values[all.count++] = own.values[i];
	}
	definition->settings = all;
	goflow_settings_apply(&all);
}

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

static void
field_step(Analysis *analysis, void *arg)
{
	goflow_field_resolve(arg);
}

static bool
resolve_fields(Analysis *analysis, const char *node, const char *key, GoflowField *fields, int count)
{
	bool		is_good = true;

	for (int i = 0; i < count; i++)
	{
		Subject		subject = {.node = node, .key = psprintf("%s.%s", key, fields[i].name),
			.text = fields[i].type_name};

		is_good &= attempt(analysis, subject, field_step, &fields[i]);
	}
	return is_good;
}

static void
set_target(GoflowExpr *expr, Oid type, int32 typmod)
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
		set_target(fields[i].initial, fields[i].type, fields[i].typmod);
}

static void
set_named_targets(GoflowNode *node, const GoflowField *fields)
{
	for (int i = 0; i < node->nexprs; i++)
		if (node->exprs[i].field >= 0)
			set_target(node->exprs[i].expr, fields[node->exprs[i].field].type,
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
				set_target(node->expr, BOOLOID, -1);
				break;
			case GOFLOW_TYPE_SWITCH:
				/* with "on", the cases are of its type, known after analysis */
				for (int j = 0; j < node->nexprs && node->expr == NULL; j++)
					set_target(node->exprs[j].expr, BOOLOID, -1);
				break;
			case GOFLOW_TYPE_SET:
				set_named_targets(node, definition->variables);
				break;
			case GOFLOW_TYPE_DELAY:
				set_target(node->expr, node->is_until ? TIMESTAMPTZOID : INTERVALOID, -1);
				break;
			case GOFLOW_TYPE_NOTIFY:
				set_target(node->expr, TEXTOID, -1);
				break;
			case GOFLOW_TYPE_TRIGGER:
				set_named_targets(node, definition->inputs);
				break;
			case GOFLOW_TYPE_LOOP:
				if (node->loop_kind == GOFLOW_LOOP_WHILE)
					set_target(node->expr, BOOLOID, -1);
				if (node->loop_kind == GOFLOW_LOOP_REPEAT)
					set_target(node->expr, INT8OID, -1);
				break;
			case GOFLOW_TYPE_BREAK:
			case GOFLOW_TYPE_CONTINUE:
				set_target(node->expr, BOOLOID, -1);
				break;
			case GOFLOW_TYPE_RAISE:
				set_target(node->message, TEXTOID, -1);
				set_target(node->detail, TEXTOID, -1);
				break;
			case GOFLOW_TYPE_FILTER:
				set_target(node->where, BOOLOID, -1);
				break;
			case GOFLOW_TYPE_SPLIT:
				set_target(node->size, INT4OID, -1);
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

static void
add_column(GoflowField **columns, int *count, const char *name, Oid type, int32 typmod)
{
	GoflowField *fields = palloc0(sizeof(GoflowField) * (*count + 1));

	if (*count > 0)
		memcpy(fields, *columns, sizeof(GoflowField) * *count);
	fields[*count] = (GoflowField){.name = pstrdup(name), .type = type, .typmod = typmod,
		.type_name = format_type_with_typemod(type, typmod), .collation = get_typcollation(type)};
	*columns = fields;
	(*count)++;
}

/* ---- expressions ---- */

static void
expression_step(Analysis *analysis, void *arg)
{
	goflow_expression_analyze(arg);
}

/* True also if there is none. */
static bool
analyze_expr(Analysis *analysis, GoflowExpr *expr)
{
	bool		is_good;

	if (expr == NULL)
		return true;
	is_good = attempt(analysis, subject_of(expr), expression_step, expr);

	/* a later analysis must begin with the references that it finds itself */
	if (!is_good)
		expr->nrefs = 0;
	return is_good;
}

static bool
analyze_named_exprs(Analysis *analysis, GoflowNamedExpr *exprs, int count)
{
	bool		is_good = true;

	for (int i = 0; i < count; i++)
		is_good &= analyze_expr(analysis, exprs[i].expr);
	return is_good;
}

static void
analyze_defaults(Analysis *analysis, GoflowField *fields, int count)
{
	for (int i = 0; i < count; i++)
		if (fields[i].initial && OidIsValid(fields[i].type))
			analyze_expr(analysis, fields[i].initial);
}

/* ---- nodes ---- */

static void
equality_step(Analysis *analysis, void *arg)
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
analyze_switch(Analysis *analysis, GoflowNode *node)
{
	if (node->expr)
	{
		if (!analyze_expr(analysis, node->expr) ||
			!attempt(analysis, subject_of(node->expr), equality_step, node->expr))
			return false;
		for (int i = 0; i < node->nexprs; i++)
			set_target(node->exprs[i].expr, node->expr->type, node->expr->typmod);
	}
	return analyze_named_exprs(analysis, node->exprs, node->nexprs);
}

static void
statement_step(Analysis *analysis, void *arg)
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
				add_column(&node->row_columns, &node->nrow_columns, NameStr(column->attname), type,
						   column->atttypmod);
			else
				add_column(&node->columns, &node->ncolumns, NameStr(column->attname), type,
						   column->atttypmod);
		}
	if (node->rows != GOFLOW_ROWS_ONE || result == NULL)
		add_column(&node->columns, &node->ncolumns, "count", INT8OID, -1);
	MemoryContextSwitchTo(old);
}

static void
late_step(Analysis *analysis, void *arg)
{
	GoflowNode *node = arg;
	MemoryContext old;

	(void) goflow_statement_parse(node->expr);
	old = MemoryContextSwitchTo(analysis->definition->context);
	if (node->rows != GOFLOW_ROWS_ONE || node->ncolumns == 0)
		add_column(&node->columns, &node->ncolumns, "count", INT8OID, -1);
	MemoryContextSwitchTo(old);
}

static void
relation_name_step(Analysis *analysis, void *arg)
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
analyze_sql(Analysis *analysis, GoflowNode *node)
{
	Subject		name = {.node = node->path};
	bool		is_good;

	if (node->rows == GOFLOW_ROWS_MANY &&
		!attempt(analysis, name, relation_name_step, node))
		return false;
	if (!node->is_late)
		return attempt(analysis, subject_of(node->expr), statement_step, node);
	is_good = resolve_fields(analysis, node->path, "columns", node->columns, node->ncolumns);
	is_good &= resolve_fields(analysis, node->path, "columns", node->row_columns, node->nrow_columns);
	is_good &= attempt(analysis, subject_of(node->expr), late_step, node);
	return is_good;
}

static void
trigger_table_step(Analysis *analysis, void *arg)
{
	GoflowNode *node = arg;
	Oid			relation = goflow_trigger_table_resolve(node, AccessShareLock);

	for (int i = 0; i < node->nexprs; i++)
		node->exprs[i].expr->trigger_relation = relation;
}

static void
trigger_of_step(Analysis *analysis, void *arg)
{
	goflow_trigger_columns_check(arg);
}

static void
trigger_when_step(Analysis *analysis, void *arg)
{
	goflow_trigger_when_analyze(arg);
}

static bool
analyze_trigger(Analysis *analysis, GoflowNode *node)
{
	Subject		table = {.node = node->path, .key = "table"};
	Subject		of = {.node = node->path, .key = "of"};
	Subject		when = {.node = node->path, .key = "when", .text = node->when};
	bool		is_good;

	if (node->table == NULL)
		return true;
	if (!attempt(analysis, table, trigger_table_step, node))
		return false;
	is_good = attempt(analysis, of, trigger_of_step, node);
	if (node->when)
		is_good &= attempt(analysis, when, trigger_when_step, node);
	is_good &= analyze_named_exprs(analysis, node->exprs, node->nexprs);
	return is_good;
}

/* ---- items ---- */

static void
query_step(Analysis *analysis, void *arg)
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

		add_column(&node->items, &node->nitems, NameStr(column->attname),
				   goflow_column_type(column->atttypid), column->atttypmod);
	}
	MemoryContextSwitchTo(old);
}

static void
array_step(Analysis *analysis, void *arg)
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
		add_column(&node->items, &node->nitems, "value", element, node->expr->typmod);
	else
		add_column(&node->items, &node->nitems, "value", JSONBOID, -1);
	MemoryContextSwitchTo(old);
}

/* What a loop, or "over", goes through: sets the columns of an item. */
static bool
analyze_source(Analysis *analysis, GoflowNode *node)
{
	switch (node->loop_kind)
	{
		case GOFLOW_LOOP_NODE:
			node->is_item_typed = node->loop_source->is_typed;
			analysis->is_complete &= node->is_item_typed;
			for (int i = 0; i < node->loop_source->nrow_columns && node->is_item_typed; i++)
			{
				GoflowField *column = &node->loop_source->row_columns[i];

				add_column(&node->items, &node->nitems, column->name, column->type, column->typmod);
			}
			break;
		case GOFLOW_LOOP_QUERY:
			node->is_item_typed = attempt(analysis, subject_of(node->expr), query_step, node);
			break;
		case GOFLOW_LOOP_ARRAY:
			node->is_item_typed = analyze_expr(analysis, node->expr) &&
				attempt(analysis, subject_of(node->expr), array_step, node);
			break;
		case GOFLOW_LOOP_WHILE:
		case GOFLOW_LOOP_REPEAT:
			return analyze_expr(analysis, node->expr);
	}
	return node->is_item_typed;
}

/* The value so far is of the type of "initial"; acc.value is the node's column. */
static bool
analyze_reduce(Analysis *analysis, GoflowNode *node)
{
	bool		is_good = analyze_source(analysis, node);

	if (!analyze_expr(analysis, node->initial))
	{
		analysis->is_complete = false;
		return false;
	}
	add_column(&node->columns, &node->ncolumns, "value", goflow_column_type(node->initial->type),
			   node->initial->typmod);
	set_target(node->value, node->columns[0].type, node->columns[0].typmod);
	return analyze_expr(analysis, node->value) && is_good;
}

static bool
analyze_split(Analysis *analysis, GoflowNode *node)
{
	bool		is_good = analyze_source(analysis, node);

	is_good &= analyze_expr(analysis, node->size);
	if (node->by)
		is_good &= analyze_expr(analysis, node->by) &&
			attempt(analysis, subject_of(node->by), equality_step, node->by);
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
harmless_step(Analysis *analysis, void *arg)
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
role_step(Analysis *analysis, void *arg)
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
same_signal_step(Analysis *analysis, void *arg)
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
analyze_wait(Analysis *analysis, GoflowNode *node)
{
	const char *key = node->type == GOFLOW_TYPE_SIGNAL ? "payload" :
		node->type == GOFLOW_TYPE_APPROVAL ? "form" : "output";
	GoflowField *fields = goflow_node_fields(node);
	bool		is_good = resolve_fields(analysis, node->path, key, node->columns, node->ncolumns);

	for (int i = 0; i < node->nfields && is_good; i++)
	{
		Subject		subject = {.node = node->path, .key = psprintf("%s.%s", key, fields[i].name)};

		is_good &= attempt(analysis, subject, harmless_step, &fields[i]);
	}
	if (node->type == GOFLOW_TYPE_SIGNAL && is_good)
		is_good = attempt(analysis, (Subject) {.node = node->path, .key = key}, same_signal_step, node);
	if (node->role)
		is_good &= attempt(analysis, (Subject) {.node = node->path, .key = "role"}, role_step,
						   node->role);
	if (node->escalate_to)
		is_good &= attempt(analysis, (Subject) {.node = node->path, .key = "escalate.role"},
						   role_step, node->escalate_to);
	is_good &= analyze_named_exprs(analysis, node->exprs, node->nexprs);
	return is_good;
}

static bool
analyze_by_type(Analysis *analysis, GoflowNode *node)
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
			is_good &= analyze_expr(analysis, node->where);
			return is_good;
		case GOFLOW_TYPE_MAP:
			is_good = analyze_source(analysis, node);
			is_good &= analyze_named_exprs(analysis, node->exprs, node->nexprs);
			return is_good;
		case GOFLOW_TYPE_RAISE:
			is_good = analyze_expr(analysis, node->message);
			is_good &= analyze_expr(analysis, node->detail);
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
			is_good = analyze_expr(analysis, node->expr);
			is_good &= analyze_named_exprs(analysis, node->exprs, node->nexprs);
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

bool
goflow_try_has_output(const GoflowNode *node)
{
	for (int i = 0; i < node->nbodies; i++)
		if (node->bodies[i]->noutputs > 0)
			return true;
	return false;
}

/* The columns that do not come from a statement. */
static void
add_type_columns(Analysis *analysis, GoflowNode *node)
{
	MemoryContext old = MemoryContextSwitchTo(analysis->definition->context);
	GoflowField **columns = &node->columns;
	int		   *count = &node->ncolumns;

	switch (node->type)
	{
		case GOFLOW_TYPE_CONDITION:
			add_column(columns, count, "result", BOOLOID, -1);
			break;
		case GOFLOW_TYPE_SWITCH:
			add_column(columns, count, "case", TEXTOID, -1);
			break;
		case GOFLOW_TYPE_TRANSFORM:
			for (int i = 0; i < node->nexprs; i++)
				add_column(columns, count, node->exprs[i].name,
						   goflow_column_type(node->exprs[i].expr->type),
						   node->exprs[i].expr->typmod);
			break;
		case GOFLOW_TYPE_DELAY:
			add_column(columns, count, "woke_at", TIMESTAMPTZOID, -1);
			break;
		case GOFLOW_TYPE_LOOP:
			add_column(columns, count, "iterations", INT4OID, -1);
			add_column(columns, count, "results", JSONBOID, -1);
			break;
		case GOFLOW_TYPE_TRY:
			add_column(columns, count, "ok", BOOLOID, -1);
			add_column(columns, count, "error", JSONBOID, -1);
			if (goflow_try_has_output(node))
				add_column(columns, count, "output", JSONBOID, -1);
			break;
		case GOFLOW_TYPE_PARALLEL:
			add_column(columns, count, "results", JSONBOID, -1);
			break;
		case GOFLOW_TYPE_WORKFLOW:
			add_column(columns, count, "execution", UUIDOID, -1);
			add_column(columns, count, "output", JSONBOID, -1);
			break;
		case GOFLOW_TYPE_MAP:
		case GOFLOW_TYPE_FILTER:
			add_column(columns, count, "items", JSONBOID, -1);
			add_column(columns, count, "count", INT8OID, -1);
			break;
		case GOFLOW_TYPE_MERGE:
			add_column(columns, count, "value", JSONBOID, -1);
			break;
		case GOFLOW_TYPE_SPLIT:
			add_column(columns, count, "parts", JSONBOID, -1);
			add_column(columns, count, "count", INT8OID, -1);
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
		add_column(columns, count, "joined", JSONBOID, -1);
	}
	MemoryContextSwitchTo(old);
}

static void
compensate_step(Analysis *analysis, void *arg)
{
	(void) goflow_statement_analyze(arg);
}

static void analyze_node(Analysis *analysis, GoflowNode *node);

static void
analyze_body(Analysis *analysis, GoflowBody *body)
{
	analyze_defaults(analysis, body->variables, body->nvariables);
	for (int i = 0; i < body->nnodes; i++)
		analyze_node(analysis, body->nodes[i]);
	analyze_named_exprs(analysis, body->outputs, body->noutputs);
}

static void
analyze_node(Analysis *analysis, GoflowNode *node)
{
	int			nest_level;

	check_stack_depth();
	if (node->is_broken || node->position >= node->body->nordered)
	{
		analysis->is_complete = false;
		return;
	}
	check_settings(analysis, node->path, &node->settings);
	nest_level = NewGUCNestLevel();
	goflow_settings_apply(&node->settings);
	node->is_typed = analyze_by_type(analysis, node);
	if (node->is_typed)
		add_type_columns(analysis, node);
	if (node->compensate)
		attempt(analysis, subject_of(node->compensate), compensate_step, node->compensate);
	AtEOXact_GUC(true, nest_level);

	/* nodes inside have settings of their own */
	for (int i = 0; i < node->nbodies; i++)
		analyze_body(analysis, node->bodies[i]);
	analyze_expr(analysis, node->collect);
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
warn_unused(Analysis *analysis)
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
	Analysis	analysis = {.definition = definition, .report = report, .is_complete = true};
	MemoryContext old = MemoryContextSwitchTo(definition->context);
	int			nest_level = NewGUCNestLevel();

	analysis.scratch = AllocSetContextCreate(definition->context, "goflow analysis",
											 ALLOCSET_DEFAULT_SIZES);
	record_settings(&analysis);
	resolve_fields(&analysis, NULL, "input", definition->inputs, definition->ninputs);
	for (int i = 0; i < definition->nbodies; i++)
	{
		GoflowBody *body = definition->bodies[i];

		resolve_fields(&analysis, body->owner ? body->owner->path : NULL, psprintf("%svariables", body->key),
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
