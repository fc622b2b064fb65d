/*
 * parse.c
 *		jsonb to GoflowDefinition: keys, JSON types, ids.
 *
 * Everything that can be said without looking at edges or catalogs is said
 * here.  A node with a problem stays in the graph, marked is_broken: the nodes
 * that name it must not be reported as well.
 *
 * Nodes may hold bodies with nodes of their own, so this recurses.  Ids are
 * unique in a body, and different from those in the bodies around it, so that
 * a name in SQL means one thing.
 *
 * jsonb keeps its keys in an order of its own (by length, then bytes), which
 * never changes.  The nodes of a body are numbered in that order, a body's
 * before those of the bodies inside it.
 */
#include "postgres.h"

#include "definition/parse.h"

#include "access/xact.h"
#include "common/keywords.h"
#include "miscadmin.h"
#include "utils/memutils.h"

static const GoflowKeyRule workflow_keys[] = {
	{"description", GOFLOW_JSON_STRING},
	{"input", GOFLOW_JSON_OBJECT},
	{"limits", GOFLOW_JSON_OBJECT},
	{"nodes", GOFLOW_JSON_OBJECT, true},
	{"on_error", GOFLOW_JSON_STRING},
	{"output", GOFLOW_JSON_OBJECT},
	{"priority", GOFLOW_JSON_NUMBER},
	{"retention", GOFLOW_JSON_STRING},
	{"retry", GOFLOW_JSON_OBJECT | GOFLOW_JSON_NUMBER},
	{"security", GOFLOW_JSON_STRING},
	{"settings", GOFLOW_JSON_OBJECT},
	{"timeout", GOFLOW_JSON_STRING},
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
	{"retry", GOFLOW_JSON_OBJECT | GOFLOW_JSON_NUMBER},
	{"timeout", GOFLOW_JSON_STRING},
	{"on_error", GOFLOW_JSON_STRING},
	{"compensate", GOFLOW_JSON_TEXT},
	{"limits", GOFLOW_JSON_OBJECT},
	{NULL}
};

static const GoflowKeyRule entry_keys[] = {
	{"type", GOFLOW_JSON_STRING, true},
	{"title", GOFLOW_JSON_STRING},
	{NULL}
};

static const GoflowKeyRule body_keys[] = {
	{"nodes", GOFLOW_JSON_OBJECT, true},
	{"output", GOFLOW_JSON_OBJECT},
	{"variables", GOFLOW_JSON_OBJECT},
	{NULL}
};

/* Keys that hold nodes; in a type that does not have them they are a mistake of a kind of its own. */
static const char *const nesting_keys[] = {"body", "branches", "catch", "finally", "nodes", NULL};

/*
 * The id of a node, as the name of an item, stands before a dot in SQL, so it
 * must be a word that the grammar takes there, and none that means something
 * else.
 */
bool
goflow_check_word(GoflowParser *parser, const char *key, const char *name, const char *what)
{
	static const char *const reserved[] = {
		"input", "vars", "trigger", "error", "execution", "old", "new", "excluded", "loop", "acc"
	};
	int			keyword;
	const char *reason = NULL;

	if (!goflow_check_identifier(parser, key, name, what))
		return false;
	keyword = ScanKeywordLookup(name, &ScanKeywords);
	if (keyword >= 0 && (ScanKeywordCategories[keyword] == RESERVED_KEYWORD ||
						 ScanKeywordCategories[keyword] == TYPE_FUNC_NAME_KEYWORD))
		reason = "it is a keyword of SQL";
	for (int i = 0; i < lengthof(reserved); i++)
		if (strcmp(name, reserved[i]) == 0)
			reason = "the name is reserved";
	if (reason)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_ID, key,
												 psprintf("%s cannot be called \"%s\": %s", what, name, reason)),
							"Choose another %s, such as \"%s_1\".", key ? "name" : "id", name);
	return reason == NULL;
}

/* Names from around a body mean the same inside of it. */
static void
check_shadowing(GoflowParser *parser, const GoflowBody *body, const char *id)
{
	for (const GoflowNode *owner = body->owner; owner; owner = owner->body->owner)
	{
		if (owner->item_name && strcmp(owner->item_name, id) == 0)
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_NAME_CONFLICT, NULL,
													 psprintf("\"%s\" is the name of the items of node \"%s\"",
															  id, owner->path)),
								"Choose another id, or give the items another name with \"as\".");
		else if (goflow_definition_find_node(owner->body, id))
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_NAME_CONFLICT, NULL,
													 psprintf("the id \"%s\" is taken", id)),
								"A node around this one has it: choose another id.");
		else
			continue;
		return;
	}
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
	for (int i = 0; i < goflow_node_types_count; i++)
		if (strcmp(goflow_node_types[i].name, name) == 0)
			return &goflow_node_types[i];

	initStringInfo(&list);
	goflow_nearest_begin(&nearest, parser->definition, name);
	for (int i = 0; i < goflow_node_types_count; i++)
	{
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

/* A key that holds nodes, in a type that does not have it. */
static void
check_no_body(GoflowParser *parser, GoflowObject *object, const GoflowNodeTypeRule *rule)
{
	for (int i = 0; i < object->count; i++)
		for (int j = 0; nesting_keys[j]; j++)
		{
			const char *key = nesting_keys[j];
			bool		is_known = false;

			if (strcmp(object->members[i].name, key) != 0)
				continue;
			for (const GoflowKeyRule *known = rule->keys; known->name; known++)
				is_known |= strcmp(known->name, key) == 0;
			if (is_known)
				continue;
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_BODY, key,
													 psprintf("a %s node has no \"%s\"", rule->name, key)),
								"Move the nodes to those around it, and name \"%s\" in their \"after\".",
								parser->node);
			object->members[i].hidden = true;
		}
}

void
goflow_read_join(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
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
								"Write \"all\", \"any\", or how many of %s must finish.",
								node->type == GOFLOW_TYPE_PARALLEL ? "the branches" : "the nodes in \"after\"");
	}
	else if (goflow_object_word(parser, object, "join", words, 0) == 1)
	{
		node->join = GOFLOW_JOIN_COUNT;
		node->join_count = 1;
	}
	node->cancel_rest = goflow_object_bool(object, "cancel_rest");
	if (goflow_object_get(object, "aggregate"))
		node->aggregate = goflow_object_word(parser, object, "aggregate", aggregates + 1, 0) + 1;

	if (node->type == GOFLOW_TYPE_PARALLEL || node->after != NIL)
		return;
	for (int i = 0; i < lengthof(keys); i++)
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

static char *
make_path(const GoflowBody *body, const char *id)
{
	if (body->owner == NULL)
		return pstrdup(id);
	if (strcmp(body->name, "body") == 0)
		return psprintf("%s/%s", body->owner->path, id);
	return psprintf("%s:%s/%s", body->owner->path, body->name, id);
}

static void
parse_node(GoflowParser *parser, GoflowNode *node, const JsonbValue *value)
{
	int			nerrors = parser->report->nerrors;
	const char *outer_node = parser->node;
	int			outer_errors = parser->inner_errors;
	const GoflowNodeTypeRule *rule = NULL;
	GoflowObject object;
	JsonbValue *after;

	parser->node = node->path;
	parser->inner_errors = 0;
	if (goflow_check_word(parser, NULL, node->id, "a node"))
		check_shadowing(parser, node->body, node->id);
	if (goflow_json_kind(value) != GOFLOW_JSON_OBJECT)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, NULL,
												 psprintf("a node must be an object, not %s",
														  goflow_json_kinds_name(goflow_json_kind(value)))),
							"Write {\"type\": ...}.");
	else
	{
		object = goflow_json_object(value->val.binary.data);
		rule = find_node_type(parser, &object);
	}
	if (rule)
	{
		node->type = rule->type;
		check_no_body(parser, &object, rule);
		goflow_check_keys(parser, &object, "", psprintf("%s %s node", strchr("aeiou", rule->name[0]) ? "an" : "a", rule->name), rule->keys,
						  rule->is_entry ? entry_keys : node_keys);
		node->title = goflow_object_string(&object, "title");
		read_settings(parser, goflow_object_get(&object, "settings"), &node->settings);
		after = goflow_object_get(&object, "after");
		if (after)
			read_after(parser, node, after);
		else
			node->has_unknown_ancestors = has_member(&object, "after");
		goflow_read_join(parser, node, &object);
		goflow_read_policy(parser, node, &object);
		goflow_read_node_limits(parser, node, &object);
		rule->parse(parser, node, &object);
	}
	else
		node->has_unknown_ancestors = true;
	node->is_broken = parser->report->nerrors - parser->inner_errors > nerrors;
	parser->node = outer_node;
	parser->inner_errors = outer_errors + parser->report->nerrors - nerrors;
}

static int
compare_id(const void *a, const void *b)
{
	return strcmp((*(GoflowNode *const *) a)->id, (*(GoflowNode *const *) b)->id);
}

/* Room for more nodes in the definition; false (reported) if they are too many. */
static bool
reserve_nodes(GoflowParser *parser, const char *key, int count)
{
	GoflowDefinition *definition = parser->definition;
	int			total = definition->nnodes + count;

	if (!goflow_check_count(parser, key, count, GOFLOW_MAX_NODES))
		return false;
	if (total > GOFLOW_MAX_NODES)
	{
		goflow_problem_detail(goflow_parse_problem(parser, ERRCODE_GOFLOW_LIMIT_EXCEEDED, key,
												   "the workflow has too many nodes"),
							  "At most %d are allowed, those inside of others counted.", GOFLOW_MAX_NODES);
		return false;
	}
	if (total > parser->maxnodes || definition->nodes == NULL)
	{
		parser->maxnodes = Max(total, Max(16, parser->maxnodes * 2));
		definition->nodes = definition->nodes == NULL ?
			palloc(sizeof(GoflowNode *) * parser->maxnodes) :
			repalloc(definition->nodes, sizeof(GoflowNode *) * parser->maxnodes);
	}
	return true;
}

static void
parse_nodes(GoflowParser *parser, GoflowBody *body, const JsonbValue *value)
{
	GoflowDefinition *definition = parser->definition;
	GoflowObject object = goflow_json_object(value->val.binary.data);
	char	   *key = psprintf("%snodes", body->key);
	GoflowNode *nodes;

	if (object.count == 0)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_BODY, key,
												 body->owner ? psprintf("\"%s\" has no nodes", body->name) :
												 "the workflow has no nodes"),
							"Write \"nodes\": {id: {\"type\": ...}}.");
	if (!reserve_nodes(parser, key, object.count))
		object.count = 0;
	nodes = palloc0(sizeof(GoflowNode) * Max(1, object.count));
	body->nodes = palloc(sizeof(GoflowNode *) * Max(1, object.count));
	for (int i = 0; i < object.count; i++)
	{
		GoflowNode *node = &nodes[i];

		node->definition = definition;
		node->body = body;
		node->index = definition->nnodes;
		node->position = i;
		node->id = object.members[i].name;
		node->path = make_path(body, node->id);
		node->parallel = 1;
		node->is_atomic = true;
		node->isolation = XACT_READ_COMMITTED;
		definition->nodes[definition->nnodes++] = node;
		body->nodes[body->nnodes++] = node;
	}
	body->by_id = palloc(sizeof(GoflowNode *) * Max(1, body->nnodes));
	memcpy(body->by_id, body->nodes, sizeof(GoflowNode *) * body->nnodes);
	qsort(body->by_id, body->nnodes, sizeof(GoflowNode *), compare_id);

	/* all ids are known: those inside of the nodes must differ */
	for (int i = 0; i < object.count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		parse_node(parser, &nodes[i], &object.members[i].value);
	}
}

/*
 * What the workflow and a body have in common.  The variables of a body are
 * copied to the definition's when all are known.
 */
static void
parse_scope(GoflowParser *parser, GoflowBody *body, GoflowObject *object)
{
	GoflowDefinition *definition = parser->definition;
	GoflowBody *outer = parser->body;
	int			sees = body->owner ? GOFLOW_SEES_ANY :
		GOFLOW_SEES(GOFLOW_REF_INPUT) | GOFLOW_SEES(GOFLOW_REF_EXECUTION);
	JsonbValue *value;

	parser->body = body;
	body->first_variable = definition->nvariables;
	value = goflow_object_get(object, "variables");
	if (value)
		body->variables = goflow_read_fields(parser, psprintf("%svariables", body->key), value, true,
											 sees, &body->nvariables);
	definition->nvariables += body->nvariables;

	value = goflow_object_get(object, "nodes");
	if (value)
		parse_nodes(parser, body, value);

	value = goflow_object_get(object, "output");
	if (value)
		goflow_read_named_exprs(parser, NULL, psprintf("%soutput", body->key), value, GOFLOW_SEES_ANY,
								false, &body->outputs, &body->noutputs);
	for (int i = 0; i < body->noutputs; i++)
	{
		body->outputs[i].expr->place = GOFLOW_PLACE_END;
		body->outputs[i].expr->is_json = true;
	}
	parser->body = outer;
}

static GoflowBody *
make_body(GoflowParser *parser, GoflowNode *owner, const char *name, const char *key)
{
	GoflowDefinition *definition = parser->definition;
	GoflowBody *body = palloc0(sizeof(GoflowBody));

	if (definition->nbodies == parser->maxbodies)
	{
		parser->maxbodies = Max(8, parser->maxbodies * 2);
		definition->bodies = definition->nbodies == 0 ?
			palloc(sizeof(GoflowBody *) * parser->maxbodies) :
			repalloc(definition->bodies, sizeof(GoflowBody *) * parser->maxbodies);
	}
	body->definition = definition;
	body->owner = owner;
	body->name = pstrdup(name);
	body->key = key[0] ? psprintf("%s.", key) : "";
	body->index = definition->nbodies;
	body->depth = owner ? owner->body->depth + 1 : 0;
	definition->bodies[definition->nbodies++] = body;
	return body;
}

GoflowBody *
goflow_parse_body(GoflowParser *parser, GoflowNode *owner, const char *name, const char *key,
				  const JsonbValue *value)
{
	GoflowBody *body;
	GoflowObject object;

	check_stack_depth();
	if (!goflow_check_kind(parser, key, value, GOFLOW_JSON_OBJECT))
		return NULL;
	body = make_body(parser, owner, name, key);
	body->part = owner->nbodies;
	owner->bodies = owner->nbodies == 0 ? palloc(sizeof(GoflowBody *)) :
		repalloc(owner->bodies, sizeof(GoflowBody *) * (owner->nbodies + 1));
	owner->bodies[owner->nbodies++] = body;
	if (body->depth > GOFLOW_MAX_DEPTH)
	{
		goflow_problem_detail(goflow_parse_problem(parser, ERRCODE_GOFLOW_LIMIT_EXCEEDED, key,
												   "the nodes are nested too deeply"),
							  "At most %d levels are allowed.", GOFLOW_MAX_DEPTH);
		return body;
	}
	object = goflow_json_object(value->val.binary.data);
	goflow_check_keys(parser, &object, body->key, psprintf("\"%s\"", name), body_keys, NULL);
	parse_scope(parser, body, &object);
	return body;
}

/* The variables of all bodies, one after the other. */
static void
join_variables(GoflowDefinition *definition)
{
	definition->variables = palloc0(sizeof(GoflowField) * Max(1, definition->nvariables));
	for (int i = 0; i < definition->nbodies; i++)
	{
		GoflowBody *body = definition->bodies[i];
		GoflowField *variables = &definition->variables[body->first_variable];

		if (body->nvariables > 0)
			memcpy(variables, body->variables, sizeof(GoflowField) * body->nvariables);
		body->variables = variables;
	}
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

	definition->priority = goflow_read_integer(parser, "priority", goflow_object_get(object, "priority"),
											   GOFLOW_MIN_PRIORITY, GOFLOW_MAX_PRIORITY, 0,
											   "Leave it out for 0; higher runs first.");
	value = goflow_object_get(object, "input");
	if (value)
		definition->inputs = goflow_read_fields(parser, "input", value, true,
												GOFLOW_SEES(GOFLOW_REF_EXECUTION), &definition->ninputs);
	goflow_read_workflow_policy(parser, object);
	goflow_read_workflow_limits(parser, object);
	parse_scope(parser, definition->body, object);
	join_variables(definition);
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
							"Write {\"nodes\": {id: {\"type\": ...}}}.");
		return NULL;
	}

	context = AllocSetContextCreate(parent, "goflow definition", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	definition = palloc0(sizeof(GoflowDefinition));
	definition->context = context;
	definition->name = name ? pstrdup(name) : NULL;
	parser.definition = definition;
	definition->body = make_body(&parser, NULL, "body", "");
	parser.body = definition->body;
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

	if (body->nnodes == 0)
		return NULL;
	found = bsearch(&wanted, body->by_id, body->nnodes, sizeof(GoflowNode *), compare_id);
	return found ? *found : NULL;
}
