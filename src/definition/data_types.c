/*
 * data_types.c
 *		The types of nodes that work on many items at once: map, filter, reduce,
 *		merge, split; and what they share with loops, the items.
 *
 * Items come from a many-row node, a query or an array.  A query is told by
 * its first word; whether the text is the id of a node is found out when the
 * graph is known (graph.c).
 */
#include "postgres.h"

#include "definition/parse.h"

/* What stands before the first word of a text: white space and comments. */
static const char *
skip_blank(const char *text)
{
	for (;;)
	{
		text += strspn(text, " \t\r\n\f\v");
		if (strncmp(text, "--", 2) == 0)
			text += strcspn(text, "\r\n");
		else if (strncmp(text, "/*", 2) == 0)
		{
			int			depth = 0;

			do
			{
				if (strncmp(text, "/*", 2) == 0)
				{
					depth++;
					text += 2;
				}
				else if (strncmp(text, "*/", 2) == 0)
				{
					depth--;
					text += 2;
				}
				else
					text++;
			} while (depth > 0 && *text);
		}
		else
			return text;
	}
}

/*
 * True for a text that begins as a statement with rows does.  A call of a
 * function of such a name is none, and neither is a subquery in parentheses.
 */
static bool
is_query(const char *text)
{
	static const char *const words[] = {
		"select", "values", "table", "with", "insert", "update", "delete", "merge"
	};
	const char *end;

	text = skip_blank(text);
	for (end = text; isalnum((unsigned char) *end) || *end == '_' || *end == '$' || IS_HIGHBIT_SET(*end);)
		end++;
	for (int i = 0; i < lengthof(words); i++)
		if (strlen(words[i]) == end - text && pg_strncasecmp(words[i], text, end - text) == 0)
		{
			end = skip_blank(end);
			return *end != '.' && (i < 2 || *end != '(');
		}
	return false;
}

static void
read_item_name(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	bool		is_given = goflow_object_get(object, "as") != NULL;

	node->item_name = is_given ? goflow_object_string(object, "as") : pstrdup("item");
	if (is_given && !goflow_check_word(parser, "as", node->item_name, "an item"))
		return;
	for (const GoflowBody *body = node->body; body; body = body->owner ? body->owner->body : NULL)
		if (goflow_definition_find_node(unconstify(GoflowBody *, body), node->item_name))
		{
			goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_NAME_CONFLICT, "as",
													 psprintf("the items are called \"%s\", as a node is",
															  node->item_name)),
								"Give them another name with \"as\".");
			return;
		}
}

/* The items of a loop ("for") or of one of the types here ("over"). */
void
goflow_read_source(GoflowParser *parser, GoflowNode *node, GoflowObject *object, const char *key)
{
	node->loop_kind = GOFLOW_LOOP_ARRAY;
	node->expr = goflow_read_expr(parser, node, key, goflow_object_get(object, key), GOFLOW_SEES_ANY);
	if (node->expr && is_query(node->expr->text))
	{
		node->loop_kind = GOFLOW_LOOP_QUERY;
		node->expr->is_statement = true;
	}
	read_item_name(parser, node, object);
}

/* An expression that is evaluated for each item. */
static GoflowExpr *
read_item_expr(GoflowParser *parser, GoflowNode *node, GoflowObject *object, const char *key)
{
	GoflowExpr *expr = goflow_read_expr(parser, node, key, goflow_object_get(object, key),
										GOFLOW_SEES_ANY);

	if (expr)
		expr->sees_item = true;
	return expr;
}

const GoflowKeyRule goflow_map_keys[] = {
	{"over", GOFLOW_JSON_TEXT, true},
	{"as", GOFLOW_JSON_STRING},
	{"value", GOFLOW_JSON_TEXT | GOFLOW_JSON_OBJECT, true},
	{NULL}
};

void
goflow_parse_map(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *value = goflow_object_get(object, "value");

	goflow_read_source(parser, node, object, "over");
	if (value == NULL)
		return;
	if (goflow_json_kind(value) == GOFLOW_JSON_OBJECT)
		goflow_read_named_exprs(parser, node, "value", value, GOFLOW_SEES_ANY, false, &node->exprs,
								&node->nexprs);
	else
	{
		GoflowExpr *expr = goflow_read_expr(parser, node, "value", value, GOFLOW_SEES_ANY);

		node->exprs = palloc0(sizeof(GoflowNamedExpr));
		if (expr)
			node->exprs[node->nexprs++] = (GoflowNamedExpr){NULL, -1, expr};
	}
	for (int i = 0; i < node->nexprs; i++)
	{
		node->exprs[i].expr->sees_item = true;
		node->exprs[i].expr->is_json = true;
	}
}

const GoflowKeyRule goflow_filter_keys[] = {
	{"over", GOFLOW_JSON_TEXT, true},
	{"as", GOFLOW_JSON_STRING},
	{"where", GOFLOW_JSON_TEXT, true},
	{NULL}
};

void
goflow_parse_filter(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	goflow_read_source(parser, node, object, "over");
	node->where = read_item_expr(parser, node, object, "where");
}

const GoflowKeyRule goflow_reduce_keys[] = {
	{"over", GOFLOW_JSON_TEXT, true},
	{"as", GOFLOW_JSON_STRING},
	{"initial", GOFLOW_JSON_TEXT, true},
	{"value", GOFLOW_JSON_TEXT, true},
	{NULL}
};

void
goflow_parse_reduce(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	goflow_read_source(parser, node, object, "over");
	node->initial = goflow_read_expr(parser, node, "initial", goflow_object_get(object, "initial"),
									 GOFLOW_SEES_ANY);
	node->value = read_item_expr(parser, node, object, "value");
}

const GoflowKeyRule goflow_merge_keys[] = {
	{"of", GOFLOW_JSON_LIST, true},
	{"mode", GOFLOW_JSON_STRING},
	{NULL}
};

void
goflow_parse_merge(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	static const char *const modes[] = {"objects", "arrays", "zip", NULL};
	JsonbValue *list = goflow_object_get(object, "of");
	JsonbValue *values;
	int			count;

	node->merge_mode = goflow_object_word(parser, object, "mode", modes, GOFLOW_MERGE_OBJECTS);
	if (list == NULL)
		return;
	values = goflow_json_list(list->val.binary.data, &count);
	if (count == 0)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, "of",
												 "a merge needs something to merge"),
							"Write \"of\": [expression, ...].");
	if (!goflow_check_count(parser, "of", count, GOFLOW_MAX_FIELDS))
		return;
	node->exprs = palloc0(sizeof(GoflowNamedExpr) * Max(1, count));
	for (int i = 0; i < count; i++)
	{
		GoflowExpr *expr = goflow_read_expr(parser, node, psprintf("of[%d]", i), &values[i],
											GOFLOW_SEES_ANY);

		if (expr == NULL)
			continue;
		expr->is_json = true;
		node->exprs[node->nexprs++] = (GoflowNamedExpr){NULL, -1, expr};
	}
}

const GoflowKeyRule goflow_split_keys[] = {
	{"over", GOFLOW_JSON_TEXT, true},
	{"as", GOFLOW_JSON_STRING},
	{"size", GOFLOW_JSON_TEXT | GOFLOW_JSON_NUMBER},
	{"by", GOFLOW_JSON_TEXT},
	{NULL}
};

void
goflow_parse_split(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *size = goflow_object_get(object, "size");

	goflow_read_source(parser, node, object, "over");
	if (size && size->type == jbvNumeric)
		node->size = goflow_make_expr(parser, node, "size", goflow_json_number_string(size), GOFLOW_SEES_ANY);
	else
		node->size = goflow_read_expr(parser, node, "size", size, GOFLOW_SEES_ANY);
	node->by = read_item_expr(parser, node, object, "by");
	if ((size == NULL) == (goflow_object_get(object, "by") == NULL))
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_MISSING_KEY, NULL,
												 "a split needs one of \"size\" and \"by\""),
							"Write \"size\": how many items a part has, or \"by\": an expression over the item.");
}
