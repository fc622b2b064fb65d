/*
 * parse.c
 *		jsonb to GoflowDefinition: keys, JSON types, ids.
 *
 * Everything that can be said without looking at edges or catalogs is said
 * here.  A node with a problem stays in the graph, marked is_broken: the nodes
 * that name it must not be reported as well.
 *
 * jsonb keeps its keys in an order of its own (by length, then bytes), which
 * never changes.  A node's index is its place in that order.
 */
#include "postgres.h"

#include "definition/parse.h"

#include "common/keywords.h"
#include "miscadmin.h"
#include "utils/memutils.h"

static const GoflowKeyRule workflow_keys[] = {
	{"description", GOFLOW_JSON_STRING},
	{"input", GOFLOW_JSON_OBJECT},
	{"nodes", GOFLOW_JSON_OBJECT, true},
	{"output", GOFLOW_JSON_OBJECT},
	{"priority", GOFLOW_JSON_NUMBER},
	{"security", GOFLOW_JSON_STRING},
	{"settings", GOFLOW_JSON_OBJECT},
	{"title", GOFLOW_JSON_STRING},
	{"variables", GOFLOW_JSON_OBJECT},
	{NULL}
};

static const GoflowKeyRule node_keys[] = {
	{"type", GOFLOW_JSON_STRING, true},
	{"title", GOFLOW_JSON_STRING},
	{"after", GOFLOW_JSON_TEXT},
	{"join", GOFLOW_JSON_STRING | GOFLOW_JSON_NUMBER},
	{"cancel_rest", GOFLOW_JSON_BOOL},
	{"aggregate", GOFLOW_JSON_STRING},
	{"settings", GOFLOW_JSON_OBJECT},
	{NULL}
};

static const GoflowKeyRule entry_keys[] = {
	{"type", GOFLOW_JSON_STRING, true},
	{"title", GOFLOW_JSON_STRING},
	{NULL}
};

/* Keys that hold nodes; none of the types here has them. */
static const char *const body_keys[] = {"body", "branches", "catch", "finally", "nodes", NULL};

/*
 * The id of a node stands before a dot in SQL, so it must be a word that the
 * grammar takes there, and none that means something else.
 */
static void
check_node_id(GoflowParser *parser, const char *id)
{
	static const char *const reserved[] = {
		"input", "vars", "trigger", "error", "execution", "old", "new", "excluded"
	};
	int			keyword;

	if (!goflow_check_identifier(parser, NULL, id, "a node"))
		return;
	keyword = ScanKeywordLookup(id, &ScanKeywords);
	if (keyword >= 0 && (ScanKeywordCategories[keyword] == RESERVED_KEYWORD ||
						 ScanKeywordCategories[keyword] == TYPE_FUNC_NAME_KEYWORD))
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_ID, NULL,
												 psprintf("a node cannot be called \"%s\": it is a keyword of SQL", id)),
							"Choose another id, such as \"%s_1\".", id);
	for (int i = 0; i < lengthof(reserved); i++)
		if (strcmp(id, reserved[i]) == 0)
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_ID, NULL,
													 psprintf("a node cannot be called \"%s\": the name is reserved", id)),
								"Choose another id, such as \"%s_1\".", id);
}

static void
read_settings(GoflowParser *parser, const JsonbValue *value, GoflowSettings *settings)
{
	GoflowObject object;

	if (value == NULL)
		return;
	object = goflow_json_object(value->val.binary.data);
	if (!goflow_check_count(parser, "settings", object.count, GOFLOW_MAX_FIELDS))
		return;
	settings->names = palloc(sizeof(char *) * Max(1, object.count));
	settings->values = palloc(sizeof(char *) * Max(1, object.count));
	for (int i = 0; i < object.count; i++)
	{
		GoflowMember *member = &object.members[i];

		if (!goflow_check_kind(parser, psprintf("settings.%s", member->name), &member->value,
							   GOFLOW_JSON_STRING | GOFLOW_JSON_NUMBER | GOFLOW_JSON_BOOL))
			continue;
		settings->names[settings->count] = member->name;
		settings->values[settings->count++] =
			member->value.type == jbvString ? goflow_json_string(&member->value) :
			member->value.type == jbvNumeric ? goflow_json_number_string(&member->value) :
			pstrdup(member->value.val.boolean ? "on" : "off");
	}
}

static void
read_after(GoflowParser *parser, GoflowNode *node, const JsonbValue *value)
{
	JsonbValue	single = *value;
	JsonbValue *values = &single;
	int			count = 1;

	if (value->type == jbvBinary)
		values = goflow_json_list(value->val.binary.data, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *key = value->type == jbvBinary ? psprintf("after[%d]", i) : "after";
		GoflowDependency *dependency;
		char	   *colon;

		if (!goflow_check_kind(parser, key, &values[i], GOFLOW_JSON_STRING))
		{
			node->has_unknown_ancestors = true;
			continue;
		}
		dependency = palloc0(sizeof(GoflowDependency));
		dependency->key = key;
		dependency->id = goflow_json_string(&values[i]);
		colon = strchr(dependency->id, ':');
		if (colon)
		{
			*colon = '\0';
			dependency->port = colon + 1;
		}
		node->after = lappend(node->after, dependency);
	}
}

static const GoflowNodeTypeRule *
find_node_type(GoflowParser *parser, GoflowObject *object)
{
	JsonbValue *value = goflow_object_get(object, "type");
	GoflowNearest nearest;
	GoflowProblem *unknown;
	StringInfoData list;
	char	   *name;

	if (value == NULL)
	{
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_MISSING_KEY, "type",
												 "key \"type\" is missing in a node"),
							"Add \"type\", such as \"sql\".");
		return NULL;
	}
	if (!goflow_check_kind(parser, "type", value, GOFLOW_JSON_STRING))
		return NULL;

	name = goflow_json_string(value);
	initStringInfo(&list);
	goflow_nearest_begin(&nearest, name);
	for (int i = 0; i < goflow_node_types_count; i++)
	{
		if (strcmp(goflow_node_types[i].name, name) == 0)
			return &goflow_node_types[i];
		goflow_nearest_offer(&nearest, goflow_node_types[i].name);
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", goflow_node_types[i].name);
	}
	unknown = goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "type",
								   psprintf("unknown node type \"%s\"", name));
	if (nearest.best)
		goflow_problem_hint(unknown, "Did you mean \"%s\"?", nearest.best);
	else
		goflow_problem_hint(unknown, "The types are %s.", list.data);
	return NULL;
}

/* A key that holds nodes, in a type that has none inside. */
static void
check_no_body(GoflowParser *parser, GoflowObject *object, const GoflowNodeTypeRule *rule)
{
	for (int i = 0; i < object->count; i++)
		for (int j = 0; body_keys[j]; j++)
			if (strcmp(object->members[i].name, body_keys[j]) == 0)
			{
				goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_BODY, body_keys[j],
														 psprintf("a %s node has no nodes inside", rule->name)),
									"Move them to the \"nodes\" of the workflow, and name \"%s\" in their \"after\".",
									parser->node);
				object->members[i].hidden = true;
				break;
			}
}

static void
read_join(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	static const char *const words[] = {"all", "any", NULL};
	static const char *const aggregates[] = {"", "merge", "array", "first", "last", NULL};
	static const char *const keys[] = {"join", "cancel_rest", "aggregate"};
	JsonbValue *join = goflow_object_get(object, "join");

	if (join && join->type == jbvNumeric)
	{
		node->join = GOFLOW_JOIN_COUNT;
		if (!goflow_json_integer(join, &node->join_count) || node->join_count < 1)
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "join",
													 "\"join\" must be a whole number from 1"),
								"Write \"all\", \"any\", or how many of the nodes in \"after\" must finish.");
	}
	else if (goflow_object_word(parser, object, "join", words, 0) == 1)
	{
		node->join = GOFLOW_JOIN_COUNT;
		node->join_count = 1;
	}
	node->cancel_rest = goflow_object_bool(object, "cancel_rest");
	if (goflow_object_get(object, "aggregate"))
		node->aggregate = goflow_object_word(parser, object, "aggregate", aggregates + 1, 0) + 1;

	for (int i = 0; i < lengthof(keys) && node->after == NIL; i++)
		if (goflow_object_get(object, keys[i]))
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, keys[i],
													 psprintf("key \"%s\" needs nodes to join", keys[i])),
								"Name them in \"after\", or leave \"%s\" out.", keys[i]);
}

/* Also when the member was reported and hidden. */
static bool
has_member(const GoflowObject *object, const char *name)
{
	for (int i = 0; i < object->count; i++)
		if (strcmp(object->members[i].name, name) == 0)
			return true;
	return false;
}

static void
parse_node(GoflowParser *parser, GoflowNode *node, const JsonbValue *value)
{
	int			nerrors = parser->report->nerrors;
	const GoflowNodeTypeRule *rule = NULL;
	GoflowObject object;
	JsonbValue *after;

	parser->node = node->id;
	check_node_id(parser, node->id);
	if (goflow_json_kind(value) != GOFLOW_JSON_OBJECT)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, NULL,
												 psprintf("a node must be an object, not %s",
														  goflow_json_kinds_name(goflow_json_kind(value)))),
							"Write {\"type\": …}.");
	else
	{
		object = goflow_json_object(value->val.binary.data);
		rule = find_node_type(parser, &object);
	}
	if (rule)
	{
		node->type = rule->type;
		check_no_body(parser, &object, rule);
		goflow_check_keys(parser, &object, "", psprintf("a %s node", rule->name), rule->keys,
						  rule->is_entry ? entry_keys : node_keys);
		node->title = goflow_object_string(&object, "title");
		read_settings(parser, goflow_object_get(&object, "settings"), &node->settings);
		after = goflow_object_get(&object, "after");
		if (after)
			read_after(parser, node, after);
		else
			node->has_unknown_ancestors = has_member(&object, "after");
		read_join(parser, node, &object);
		rule->parse(parser, node, &object);
	}
	else
		node->has_unknown_ancestors = true;
	node->is_broken = parser->report->nerrors > nerrors;
	parser->node = NULL;
}

static int
compare_id(const void *a, const void *b)
{
	return strcmp((*(GoflowNode *const *) a)->id, (*(GoflowNode *const *) b)->id);
}

static void
parse_nodes(GoflowParser *parser, const JsonbValue *value)
{
	GoflowDefinition *definition = parser->definition;
	GoflowBody *body = definition->body;
	GoflowObject object = goflow_json_object(value->val.binary.data);
	GoflowNode *nodes;

	if (object.count == 0)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_BODY, "nodes",
												 "the workflow has no nodes"),
							"Write \"nodes\": {id: {\"type\": …}}.");
	if (!goflow_check_count(parser, "nodes", object.count, GOFLOW_MAX_NODES))
		object.count = 0;
	nodes = palloc0(sizeof(GoflowNode) * Max(1, object.count));
	definition->nodes = palloc(sizeof(GoflowNode *) * Max(1, object.count));
	body->nodes = palloc(sizeof(GoflowNode *) * Max(1, object.count));
	for (int i = 0; i < object.count; i++)
	{
		GoflowNode *node = &nodes[i];

		CHECK_FOR_INTERRUPTS();
		node->definition = definition;
		node->body = body;
		node->index = node->position = i;
		node->id = object.members[i].name;
		definition->nodes[definition->nnodes++] = node;
		body->nodes[body->nnodes++] = node;
		parse_node(parser, node, &object.members[i].value);
	}
	body->by_id = palloc(sizeof(GoflowNode *) * Max(1, body->nnodes));
	memcpy(body->by_id, body->nodes, sizeof(GoflowNode *) * body->nnodes);
	qsort(body->by_id, body->nnodes, sizeof(GoflowNode *), compare_id);
}

static void
parse_workflow(GoflowParser *parser, GoflowObject *object)
{
	static const char *const securities[] = {"invoker", "definer", NULL};
	GoflowDefinition *definition = parser->definition;
	JsonbValue *value;

	goflow_check_keys(parser, object, "", "the workflow", workflow_keys, NULL);
	definition->title = goflow_object_string(object, "title");
	definition->description = goflow_object_string(object, "description");
	definition->security_definer = goflow_object_word(parser, object, "security", securities, 0) == 1;
	read_settings(parser, goflow_object_get(object, "settings"), &definition->settings);

	value = goflow_object_get(object, "priority");
	if (value && (!goflow_json_integer(value, &definition->priority) ||
				  definition->priority < GOFLOW_MIN_PRIORITY ||
				  definition->priority > GOFLOW_MAX_PRIORITY))
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "priority",
												 psprintf("\"priority\" must be a whole number from %d to %d",
														  GOFLOW_MIN_PRIORITY, GOFLOW_MAX_PRIORITY)),
							"Leave it out for 0; higher runs first.");
	value = goflow_object_get(object, "input");
	if (value)
		definition->inputs = goflow_read_fields(parser, "input", value, true,
												GOFLOW_SEES(GOFLOW_REF_EXECUTION), &definition->ninputs);
	value = goflow_object_get(object, "variables");
	if (value)
		definition->variables = goflow_read_fields(parser, "variables", value, true,
												   GOFLOW_SEES(GOFLOW_REF_INPUT) |
												   GOFLOW_SEES(GOFLOW_REF_EXECUTION),
												   &definition->nvariables);
	value = goflow_object_get(object, "nodes");
	if (value)
		parse_nodes(parser, value);
	value = goflow_object_get(object, "output");
	if (value)
		goflow_read_named_exprs(parser, NULL, "output", value, GOFLOW_SEES_ANY, false,
								&definition->outputs,
								&definition->noutputs);
}

GoflowDefinition *
goflow_definition_parse(Jsonb *json, const char *name, GoflowReport *report, MemoryContext parent)
{
	MemoryContext context;
	MemoryContext old;
	GoflowDefinition *definition;
	GoflowParser parser = {.report = report};
	GoflowObject root;

	if (VARSIZE_ANY_EXHDR(json) > GOFLOW_MAX_DEFINITION_BYTES)
	{
		goflow_problem_detail(goflow_parse_problem(&parser, ERRCODE_GOFLOW_LIMIT_EXCEEDED, NULL,
												   "the definition is too large"),
							  "It has %zu bytes, at most %d are allowed.",
							  (Size) VARSIZE_ANY_EXHDR(json), GOFLOW_MAX_DEFINITION_BYTES);
		return NULL;
	}
	if (!JB_ROOT_IS_OBJECT(json))
	{
		goflow_problem_hint(goflow_parse_problem(&parser, ERRCODE_GOFLOW_INVALID_DEFINITION, NULL,
												 "a definition must be a JSON object"),
							"Write {\"nodes\": {id: {\"type\": …}}}.");
		return NULL;
	}

	context = AllocSetContextCreate(parent, "goflow definition", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	definition = palloc0(sizeof(GoflowDefinition));
	definition->context = context;
	definition->name = name ? pstrdup(name) : NULL;
	definition->body = palloc0(sizeof(GoflowBody));
	definition->body->definition = definition;
	parser.definition = definition;
	root = goflow_json_object(&json->root);
	parse_workflow(&parser, &root);
	MemoryContextSwitchTo(old);
	return definition;
}

GoflowNode *
goflow_definition_find_node(GoflowBody *body, const char *id)
{
	GoflowNode	key = {.id = unconstify(char *, id)};
	GoflowNode *wanted = &key;
	GoflowNode **found;

	found = bsearch(&wanted, body->by_id, body->nnodes, sizeof(GoflowNode *), compare_id);
	return found ? *found : NULL;
}
