/*
 * node_types.c
 *		The types of nodes: what keys each has and what they mean.
 *
 * A type is a line of goflow_node_types[], a table of its keys and a function
 * that takes them over into the node.  Those that hold or steer other nodes
 * are in flow_types.c, those that work on many items in data_types.c, those
 * that wait for somebody outside in wait_types.c.
 */
#include "postgres.h"

#include "definition/parse.h"

#include "access/xact.h"

static const GoflowKeyRule sql_keys[] = {
	{"sql", GOFLOW_JSON_TEXT, true},
	{"rows", GOFLOW_JSON_STRING},
	{"check", GOFLOW_JSON_STRING},
	{"columns", GOFLOW_JSON_OBJECT},
	{"atomic", GOFLOW_JSON_BOOL},
	{"isolation", GOFLOW_JSON_STRING},
	{NULL}
};

static void
parse_sql(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	static const char *const rows[] = {"one", "many", "none", NULL};
	static const char *const checks[] = {"define", "late", NULL};
	static const char *const isolations[] = {"read committed", "repeatable read", "serializable", NULL};
	JsonbValue *columns = goflow_object_get(object, "columns");

	node->expr = goflow_read_expr(parser, node, "sql", goflow_object_get(object, "sql"),
								  GOFLOW_SEES_ANY);
	if (node->expr)
		node->expr->is_statement = true;
	node->rows = goflow_object_word(parser, object, "rows", rows, GOFLOW_ROWS_ONE);
	node->is_late = goflow_object_word(parser, object, "check", checks, 0) == 1;
	node->is_atomic = goflow_object_get(object, "atomic") == NULL || goflow_object_bool(object, "atomic");
	node->isolation = XACT_READ_COMMITTED + goflow_object_word(parser, object, "isolation", isolations, 0);
	if (!node->is_atomic && goflow_object_get(object, "isolation"))
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "isolation",
												 "a node outside of a transaction has no isolation"),
							"Leave \"isolation\" out, or \"atomic\".");

	if (columns && (!node->is_late || node->rows == GOFLOW_ROWS_NONE))
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "columns",
												 "columns are declared only where define() cannot find them"),
							"They belong to \"check\": \"late\", with \"rows\" of \"one\" or \"many\".");
	else if (columns)
	{
		int			count;
		GoflowField *fields = goflow_read_fields(parser, "columns", columns, false, 0, &count);

		if (node->rows == GOFLOW_ROWS_MANY)
		{
			node->row_columns = fields;
			node->nrow_columns = count;
		}
		else
		{
			node->columns = fields;
			node->ncolumns = count;
		}
	}
	else if (node->is_late && node->rows == GOFLOW_ROWS_MANY)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_MISSING_KEY, "columns",
												 "key \"columns\" is missing in a sql node that is checked late"),
							"Declare the columns of its rows: {\"name\": \"type\"}.");
}

static const GoflowKeyRule condition_keys[] = {
	{"if", GOFLOW_JSON_TEXT, true},
	{NULL}
};

static void
parse_condition(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	node->expr = goflow_read_expr(parser, node, "if", goflow_object_get(object, "if"), GOFLOW_SEES_ANY);
	node->nports = 2;
	node->ports = palloc(sizeof(char *) * 2);
	node->ports[0] = pstrdup("false");
	node->ports[1] = pstrdup("true");
}

static const GoflowKeyRule switch_keys[] = {
	{"on", GOFLOW_JSON_TEXT},
	{"cases", GOFLOW_JSON_LIST, true},
	{NULL}
};

static const GoflowKeyRule case_keys[] = {
	{"port", GOFLOW_JSON_STRING, true},
	{"when", GOFLOW_JSON_TEXT, true},
	{NULL}
};

static void
parse_switch(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *on = goflow_object_get(object, "on");
	JsonbValue *list = goflow_object_get(object, "cases");
	JsonbValue *cases = NULL;
	int			count = 0;

	if (on)
		node->expr = goflow_read_expr(parser, node, "on", on, GOFLOW_SEES_ANY);
	if (list)
		cases = goflow_json_list(list->val.binary.data, &count);
	if (list && count == 0)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "cases",
												 "a switch needs a case"),
							"Write \"cases\": [{\"port\": name, \"when\": expression}].");
	if (!goflow_check_count(parser, "cases", count, GOFLOW_MAX_FIELDS))
		count = 0;
	node->ports = palloc(sizeof(char *) * (count + 1));
	node->exprs = palloc0(sizeof(GoflowNamedExpr) * Max(1, count));
	for (int i = 0; i < count; i++)
	{
		char	   *path = psprintf("cases[%d]", i);
		GoflowObject each;
		char	   *port;
		GoflowExpr *when;

		if (!goflow_check_kind(parser, path, &cases[i], GOFLOW_JSON_OBJECT))
			continue;
		each = goflow_json_object(cases[i].val.binary.data);
		goflow_check_keys(parser, &each, psprintf("%s.", path), "a case", case_keys, NULL);
		port = goflow_object_string(&each, "port");
		when = goflow_read_expr(parser, node, psprintf("%s.when", path),
								goflow_object_get(&each, "when"), GOFLOW_SEES_ANY);
		if (port == NULL || when == NULL ||
			!goflow_check_identifier(parser, psprintf("%s.port", path), port, "a port"))
			continue;
		for (int j = 0; j <= node->nports; j++)
			if (strcmp(j < node->nports ? node->ports[j] : "default", port) == 0)
				goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_NAME_CONFLICT,
														 psprintf("%s.port", path),
														 psprintf("port \"%s\" exists twice", port)),
									"Each case has a port of its own; \"default\" is taken when no case is.");
		node->exprs[node->nexprs++] = (GoflowNamedExpr){port, -1, when};
		node->ports[node->nports++] = port;
	}
	node->ports[node->nports++] = pstrdup("default");
}

static const GoflowKeyRule set_keys[] = {
	{"set", GOFLOW_JSON_OBJECT, true},
	{NULL}
};

static void
parse_set(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *set = goflow_object_get(object, "set");
	GoflowField *fields;
	int		   *numbers;
	int			count = 0;

	if (set == NULL)
		return;
	goflow_read_named_exprs(parser, node, "set", set, GOFLOW_SEES_ANY, false, &node->exprs,
							&node->nexprs);

	/* those of the bodies around, the inner first: it hides an outer one of its name */
	for (const GoflowBody *body = node->body; body; body = goflow_scope_outer(body))
		count += body->nvariables;
	fields = palloc(sizeof(GoflowField) * Max(1, count));
	numbers = palloc(sizeof(int) * Max(1, count));
	count = 0;
	for (const GoflowBody *body = node->body; body; body = goflow_scope_outer(body))
		for (int i = 0; i < body->nvariables; i++)
		{
			fields[count] = body->variables[i];
			numbers[count++] = body->first_variable + i;
		}
	goflow_match_fields(parser, "variables", node->exprs, node->nexprs, fields, count, "variable");
	for (int i = 0; i < node->nexprs; i++)
		if (node->exprs[i].field >= 0)
			node->exprs[i].field = numbers[node->exprs[i].field];
}

static const GoflowKeyRule transform_keys[] = {
	{"value", GOFLOW_JSON_OBJECT, true},
	{NULL}
};

static void
parse_transform(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *value = goflow_object_get(object, "value");

	if (value)
		goflow_read_named_exprs(parser, node, "value", value, GOFLOW_SEES_ANY, true, &node->exprs,
								&node->nexprs);
}

static const GoflowKeyRule delay_keys[] = {
	{"for", GOFLOW_JSON_TEXT},
	{"until", GOFLOW_JSON_TEXT},
	{NULL}
};

static void
parse_delay(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *duration = goflow_object_get(object, "for");
	JsonbValue *until = goflow_object_get(object, "until");

	if ((duration == NULL) == (until == NULL))
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_MISSING_KEY, NULL,
												 "a delay needs one of \"for\" and \"until\""),
							"Write \"for\": an interval, or \"until\": a timestamptz.");
	node->is_until = until != NULL;
	node->expr = goflow_read_expr(parser, node, until ? "until" : "for", until ? until : duration,
								  GOFLOW_SEES_ANY);
}

static const GoflowKeyRule notify_keys[] = {
	{"channel", GOFLOW_JSON_STRING, true},
	{"payload", GOFLOW_JSON_TEXT},
	{NULL}
};

static void
parse_notify(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	node->channel = goflow_object_string(object, "channel");
	node->expr = goflow_read_expr(parser, node, "payload", goflow_object_get(object, "payload"),
								  GOFLOW_SEES_ANY);
	if (node->channel && (node->channel[0] == '\0' || strlen(node->channel) >= NAMEDATALEN))
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "channel",
												 "the name of a channel has from 1 to 63 bytes"),
							"Shorten it.");
}

static const GoflowKeyRule trigger_keys[] = {
	{"table", GOFLOW_JSON_STRING},
	{"events", GOFLOW_JSON_LIST},
	{"of", GOFLOW_JSON_LIST},
	{"when", GOFLOW_JSON_TEXT},
	{"input", GOFLOW_JSON_OBJECT},
	{NULL}
};

static void
read_events(GoflowParser *parser, GoflowNode *node, const JsonbValue *list)
{
	static const struct
	{
		const char *name;
		int			event;
	}			known[] = {
		{"insert", GOFLOW_EVENT_INSERT},
		{"update", GOFLOW_EVENT_UPDATE},
		{"delete", GOFLOW_EVENT_DELETE},
	};
	int			count;
	JsonbValue *values = goflow_json_list(list->val.binary.data, &count);

	for (int i = 0; i < count; i++)
	{
		char	   *key = psprintf("events[%d]", i);
		int			event = 0;

		if (!goflow_check_kind(parser, key, &values[i], GOFLOW_JSON_STRING))
			continue;
		for (int j = 0; j < lengthof(known); j++)
			if (strcmp(known[j].name, goflow_json_string(&values[i])) == 0)
				event = known[j].event;
		if (event == 0)
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, key,
													 psprintf("unknown event \"%s\"", goflow_json_string(&values[i]))),
								"Events of a table are \"insert\", \"update\" and \"delete\".");
		node->events |= event;
	}
	if (count == 0)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "events",
												 "a table trigger needs an event"),
							"Events of a table are \"insert\", \"update\" and \"delete\".");
}

/* Every input that has no default must get its value from the changed row. */
static void
check_trigger_inputs(GoflowParser *parser, GoflowNode *node)
{
	GoflowDefinition *definition = parser->definition;

	goflow_match_fields(parser, "input", node->exprs, node->nexprs, definition->inputs,
						definition->ninputs, "input");
	for (int i = 0; i < definition->ninputs; i++)
	{
		bool		found = definition->inputs[i].initial != NULL;

		for (int j = 0; j < node->nexprs && !found; j++)
			found = node->exprs[j].field == i;
		if (!found)
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_MISSING_KEY, "input",
													 psprintf("the trigger gives no value to input \"%s\"",
															  definition->inputs[i].name)),
								"Map it: \"input\": {\"%s\": expression over NEW and OLD}, or give it a default.",
								definition->inputs[i].name);
	}
}

static void
parse_trigger(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	static const char *const table_keys[] = {"events", "of", "when", "input"};
	JsonbValue *value;
	int			sees = 0;

	if (node->body->owner)
	{
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_BODY, NULL,
												 "a trigger cannot be inside of another node"),
							"It starts the workflow: put it into the \"nodes\" of the workflow itself.");
		return;
	}
	node->table = goflow_object_string(object, "table");
	if (node->table == NULL)
	{
		for (int i = 0; i < lengthof(table_keys); i++)
			if (goflow_object_get(object, table_keys[i]))
				goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, table_keys[i],
														 psprintf("key \"%s\" belongs to the trigger of a table",
																  table_keys[i])),
									"Add \"table\", or leave \"%s\" out: then the trigger is started by hand.",
									table_keys[i]);
		return;
	}

	value = goflow_object_get(object, "events");
	if (value)
		read_events(parser, node, value);
	else
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_MISSING_KEY, "events",
												 "key \"events\" is missing in a trigger node"),
							"Add \"events\": a list of \"insert\", \"update\" and \"delete\".");

	value = goflow_object_get(object, "of");
	if (value)
	{
		int			count;
		JsonbValue *names = goflow_json_list(value->val.binary.data, &count);

		for (int i = 0; i < count; i++)
			if (goflow_check_kind(parser, psprintf("of[%d]", i), &names[i], GOFLOW_JSON_STRING))
				node->of = lappend(node->of, goflow_json_string(&names[i]));
		if (!(node->events & GOFLOW_EVENT_UPDATE))
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "of",
													 "a list of columns is for updates only"),
								"Add \"update\" to the events, or leave \"of\" out.");
	}

	value = goflow_object_get(object, "when");
	if (value)
		node->when = goflow_read_text(parser, "when", value);

	if (node->events & (GOFLOW_EVENT_INSERT | GOFLOW_EVENT_UPDATE))
		sees |= GOFLOW_SEES(GOFLOW_REF_NEW);
	if (node->events & (GOFLOW_EVENT_UPDATE | GOFLOW_EVENT_DELETE))
		sees |= GOFLOW_SEES(GOFLOW_REF_OLD);
	value = goflow_object_get(object, "input");
	if (value)
		goflow_read_named_exprs(parser, node, "input", value, sees, false, &node->exprs, &node->nexprs);
	check_trigger_inputs(parser, node);
}

const GoflowNodeTypeRule goflow_node_types[] = {
	{"sql", GOFLOW_TYPE_SQL, sql_keys, false, parse_sql},
	{"condition", GOFLOW_TYPE_CONDITION, condition_keys, false, parse_condition},
	{"switch", GOFLOW_TYPE_SWITCH, switch_keys, false, parse_switch},
	{"set", GOFLOW_TYPE_SET, set_keys, false, parse_set},
	{"transform", GOFLOW_TYPE_TRANSFORM, transform_keys, false, parse_transform},
	{"delay", GOFLOW_TYPE_DELAY, delay_keys, false, parse_delay},
	{"notify", GOFLOW_TYPE_NOTIFY, notify_keys, false, parse_notify},
	{"trigger", GOFLOW_TYPE_TRIGGER, trigger_keys, true, parse_trigger},
	{"loop", GOFLOW_TYPE_LOOP, goflow_loop_keys, false, goflow_parse_loop},
	{"break", GOFLOW_TYPE_BREAK, goflow_break_keys, false, goflow_parse_break},
	{"continue", GOFLOW_TYPE_CONTINUE, goflow_break_keys, false, goflow_parse_break},
	{"try", GOFLOW_TYPE_TRY, goflow_try_keys, false, goflow_parse_try},
	{"raise", GOFLOW_TYPE_RAISE, goflow_raise_keys, false, goflow_parse_raise},
	{"parallel", GOFLOW_TYPE_PARALLEL, goflow_parallel_keys, false, goflow_parse_parallel},
	{"workflow", GOFLOW_TYPE_WORKFLOW, goflow_workflow_keys, false, goflow_parse_workflow},
	{"map", GOFLOW_TYPE_MAP, goflow_map_keys, false, goflow_parse_map},
	{"filter", GOFLOW_TYPE_FILTER, goflow_filter_keys, false, goflow_parse_filter},
	{"reduce", GOFLOW_TYPE_REDUCE, goflow_reduce_keys, false, goflow_parse_reduce},
	{"merge", GOFLOW_TYPE_MERGE, goflow_merge_keys, false, goflow_parse_merge},
	{"split", GOFLOW_TYPE_SPLIT, goflow_split_keys, false, goflow_parse_split},
	{"signal", GOFLOW_TYPE_SIGNAL, goflow_signal_keys, false, goflow_parse_signal},
	{"approval", GOFLOW_TYPE_APPROVAL, goflow_approval_keys, false, goflow_parse_approval},
	{"task", GOFLOW_TYPE_TASK, goflow_task_keys, false, goflow_parse_task},
};

const int	goflow_node_types_count = lengthof(goflow_node_types);

const char *
goflow_node_type_name(GoflowNodeType type)
{
	for (int i = 0; i < goflow_node_types_count; i++)
		if (goflow_node_types[i].type == type)
			return goflow_node_types[i].name;
	elog(ERROR, "unknown node type %d", (int) type);
}
