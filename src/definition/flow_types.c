/*
 * flow_types.c
 *		The types of nodes that hold other nodes or steer them: loop, break,
 *		continue, try, raise, parallel, workflow.
 */
#include "postgres.h"

#include "definition/parse.h"

#include "utils/builtins.h"

#define MAX_PARALLEL 1000

/* ---- loop, break, continue ---- */

const GoflowKeyRule goflow_loop_keys[] = {
	{"for", GOFLOW_JSON_TEXT},
	{"while", GOFLOW_JSON_TEXT},
	{"repeat", GOFLOW_JSON_TEXT | GOFLOW_JSON_NUMBER},
	{"as", GOFLOW_JSON_STRING},
	{"body", GOFLOW_JSON_OBJECT, true},
	{"parallel", GOFLOW_JSON_NUMBER},
	{"collect", GOFLOW_JSON_TEXT},
	{"max_iterations", GOFLOW_JSON_NUMBER},
	{NULL}
};

static void
read_loop_kind(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *each = goflow_object_get(object, "for");
	JsonbValue *condition = goflow_object_get(object, "while");
	JsonbValue *repeat = goflow_object_get(object, "repeat");

	if ((each != NULL) + (condition != NULL) + (repeat != NULL) != 1)
	{
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_MISSING_KEY, NULL,
												 "a loop needs one of \"for\", \"while\" and \"repeat\""),
							"Write \"for\": a many-row node, an array or a query, \"while\": a condition, or \"repeat\": a number.");
		return;
	}
	if (each)
	{
		goflow_read_source(parser, node, object, "for");
		return;
	}
	if (goflow_object_get(object, "as"))
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "as",
												 "only a loop with \"for\" has items to name"),
							"Leave \"as\" out; loop.index is the number of the iteration.");
	if (condition)
	{
		node->loop_kind = GOFLOW_LOOP_WHILE;
		node->expr = goflow_read_expr(parser, node, "while", condition, GOFLOW_SEES_ANY);
		if (node->expr)
			node->expr->sees_item = true;
		if (goflow_object_get(object, "parallel"))
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "parallel",
													 "a loop with \"while\" cannot be parallel"),
								"Its condition looks at what the iteration before has done.");
		return;
	}
	node->loop_kind = GOFLOW_LOOP_REPEAT;
	node->expr = repeat->type == jbvNumeric ?
		goflow_make_expr(parser, node, "repeat", goflow_json_number_string(repeat), GOFLOW_SEES_ANY) :
		goflow_read_expr(parser, node, "repeat", repeat, GOFLOW_SEES_ANY);
}

void
goflow_parse_loop(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *body = goflow_object_get(object, "body");

	read_loop_kind(parser, node, object);
	node->parallel = goflow_read_integer(parser, "parallel", goflow_object_get(object, "parallel"),
										 1, MAX_PARALLEL, 1,
										 "It is how many iterations may run side by side.");
	node->max_iterations = goflow_read_integer(parser, "max_iterations",
											   goflow_object_get(object, "max_iterations"),
											   1, PG_INT32_MAX, parser->definition->limits.iterations,
											   "A loop that has more fails.");
	if (body)
		(void) goflow_parse_body(parser, node, "body", "body", body);
	node->collect = goflow_read_expr(parser, node, "collect", goflow_object_get(object, "collect"),
									 GOFLOW_SEES_ANY);
	if (node->collect && node->nbodies > 0)
	{
		if (node->bodies[0]->noutputs > 0)
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_BODY, "collect",
													 "a loop has both \"collect\" and a body with \"output\""),
								"Either of them makes the loop's \"results\": leave one out.");
		node->collect->body = node->bodies[0];
		node->collect->place = GOFLOW_PLACE_END;
		node->collect->is_json = true;
	}
}

const GoflowKeyRule goflow_break_keys[] = {
	{"if", GOFLOW_JSON_TEXT},
	{NULL}
};

/* break and continue */
void
goflow_parse_break(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	const char *type = goflow_node_type_name(node->type);

	node->expr = goflow_read_expr(parser, node, "if", goflow_object_get(object, "if"), GOFLOW_SEES_ANY);
	node->loop = goflow_scope_loop(node->body);
	if (node->loop == NULL)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_BODY, NULL,
												 psprintf("a %s node can only be inside of a loop", type)),
							"Put it into the \"body\" of a loop, at any depth.");
}

/* ---- try, raise ---- */

const GoflowKeyRule goflow_try_keys[] = {
	{"body", GOFLOW_JSON_OBJECT, true},
	{"catch", GOFLOW_JSON_LIST},
	{"finally", GOFLOW_JSON_OBJECT},
	{NULL}
};

static const GoflowKeyRule catch_keys[] = {
	{"on", GOFLOW_JSON_TEXT},
	{"body", GOFLOW_JSON_OBJECT, true},
	{NULL}
};

static void
parse_catches(GoflowParser *parser, GoflowNode *node, const JsonbValue *list)
{
	int			count;
	JsonbValue *values = goflow_json_list(list->val.binary.data, &count);
	bool		takes_all = false;

	if (!goflow_check_count(parser, "catch", count, GOFLOW_MAX_FIELDS))
		return;
	node->catches = palloc0(sizeof(GoflowCatch) * Max(1, count));
	for (int i = 0; i < count; i++)
	{
		char	   *path = psprintf("catch[%d]", i);
		GoflowCatch each = {0};
		GoflowObject object;
		JsonbValue *body;

		if (!goflow_check_kind(parser, path, &values[i], GOFLOW_JSON_OBJECT))
			continue;
		object = goflow_json_object(values[i].val.binary.data);
		goflow_check_keys(parser, &object, psprintf("%s.", path), "a catch", catch_keys, NULL);
		goflow_read_conditions(parser, psprintf("%s.on", path), goflow_object_get(&object, "on"),
							   &each.codes, &each.ncodes);
		body = goflow_object_get(&object, "body");
		if (body == NULL)
			continue;

		/* counted before its nodes are read: they see error.* */
		node->ncatches++;
		each.body = goflow_parse_body(parser, node, psprintf("catch %d", i + 1),
									  psprintf("%s.body", path), body);
		node->catches[node->ncatches - 1] = each;
		if (takes_all)
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_UNREACHABLE_NODE, path,
													 psprintf("catch %d can never run", i + 1)),
								"One before it takes every error: put that one last.");
		takes_all |= goflow_object_get(&object, "on") == NULL;
	}
}

void
goflow_parse_try(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *body = goflow_object_get(object, "body");
	JsonbValue *catches = goflow_object_get(object, "catch");
	JsonbValue *finally = goflow_object_get(object, "finally");

	if (body)
		(void) goflow_parse_body(parser, node, "body", "body", body);
	if (catches && node->nbodies == 1)
		parse_catches(parser, node, catches);
	if (finally)
	{
		GoflowBody *last = goflow_parse_body(parser, node, "finally", "finally", finally);

		if (last && last->noutputs > 0)
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_BODY,
													 "finally.output",
													 "a finally gives nothing to others"),
								"The output of a try is that of its \"body\", or of the catch that ran.");
		node->has_finally = true;
	}
	if (catches == NULL && finally == NULL)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_MISSING_KEY, NULL,
												 "a try needs \"catch\" or \"finally\""),
							"Write \"catch\": [{\"on\": [errors], \"body\": {...}}], or \"finally\": {...}.");
}

const GoflowKeyRule goflow_raise_keys[] = {
	{"code", GOFLOW_JSON_STRING},
	{"message", GOFLOW_JSON_TEXT},
	{"detail", GOFLOW_JSON_TEXT},
	{NULL}
};

void
goflow_parse_raise(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *message = goflow_object_get(object, "message");
	JsonbValue *detail = goflow_object_get(object, "detail");
	char	   *code = goflow_object_string(object, "code");

	if (code)
		node->raise_code = goflow_read_condition(parser, "code", code);
	node->message = goflow_read_expr(parser, node, "message", message, GOFLOW_SEES_ANY);
	node->detail = goflow_read_expr(parser, node, "detail", detail, GOFLOW_SEES_ANY);
	if (code == NULL && message == NULL && detail == NULL && goflow_scope_catch(node->body) == NULL)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_BODY, NULL,
												 "there is no error to raise again"),
							"Add \"code\" or \"message\"; only inside of a catch they can be left out.");
}

/* ---- parallel ---- */

const GoflowKeyRule goflow_parallel_keys[] = {
	{"branches", GOFLOW_JSON_OBJECT, true},
	{NULL}
};

static int
compare_member(const void *a, const void *b)
{
	return strcmp(((const GoflowMember *) a)->name, ((const GoflowMember *) b)->name);
}

void
goflow_parse_parallel(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *value = goflow_object_get(object, "branches");
	GoflowObject branches;

	if (value == NULL)
		return;
	branches = goflow_json_object(value->val.binary.data);
	if (branches.count == 0)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_BODY, "branches",
												 "a parallel node needs a branch"),
							"Write \"branches\": {name: {\"nodes\": {...}}}.");
	if (!goflow_check_count(parser, "branches", branches.count, GOFLOW_MAX_FIELDS))
		return;
	qsort(branches.members, branches.count, sizeof(GoflowMember), compare_member);
	for (int i = 0; i < branches.count; i++)
	{
		GoflowMember *branch = &branches.members[i];
		char	   *key = psprintf("branches.%s", branch->name);

		/* those two names stand for other parts of a node in its path */
		if (strcmp(branch->name, "body") == 0)
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_ID, key,
													 "a branch cannot be called \"body\""),
								"Choose another name.");
		else if (goflow_check_identifier(parser, key, branch->name, "a branch"))
			(void) goflow_parse_body(parser, node, branch->name, key, &branch->value);
	}
	if (node->join == GOFLOW_JOIN_COUNT && node->join_count > branches.count && branches.count > 0)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "join",
												 psprintf("node \"%s\" waits for %d of %d branches", node->id,
														  node->join_count, branches.count)),
							"\"join\" can be at most the number of branches.");
}

/* ---- workflow ---- */

const GoflowKeyRule goflow_workflow_keys[] = {
	{"workflow", GOFLOW_JSON_STRING, true},
	{"version", GOFLOW_JSON_NUMBER},
	{"input", GOFLOW_JSON_OBJECT},
	{"wait", GOFLOW_JSON_BOOL},
	{NULL}
};

void
goflow_parse_workflow(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *input = goflow_object_get(object, "input");

	node->workflow_name = goflow_object_string(object, "workflow");
	if (node->workflow_name &&
		(node->workflow_name[0] == '\0' || strlen(node->workflow_name) >= NAMEDATALEN))
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "workflow",
												 psprintf("the name of a workflow has from 1 to %d bytes",
														  NAMEDATALEN - 1)),
							"Write the name that it was defined with.");
	node->workflow_version = goflow_read_integer(parser, "version", goflow_object_get(object, "version"),
												 1, PG_INT32_MAX, 0, "Leave it out for the newest.");
	if (input)
		goflow_read_named_exprs(parser, node, "input", input, GOFLOW_SEES_ANY, true, &node->exprs,
								&node->nexprs);
	node->wait = goflow_object_get(object, "wait") == NULL || goflow_object_bool(object, "wait");
	if (!node->wait && node->timeout > 0)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "timeout",
												 "a node that does not wait has no time limit"),
							"Leave \"timeout\" out, or wait.");
}
