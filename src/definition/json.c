/*
 * json.c
 *		Reading the JSON of a definition: objects, keys, texts, fields.
 *
 * The readers of parse.c and node_types.c are made of these.  Each takes the
 * path of what it reads ("cases[1].when") for the report.
 */
#include "postgres.h"

#include "definition/parse.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

/* ---- JSON ---- */

int
goflow_json_kind(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return GOFLOW_JSON_STRING;
		case jbvNumeric:
			return GOFLOW_JSON_NUMBER;
		case jbvBool:
			return GOFLOW_JSON_BOOL;
		case jbvNull:
			return GOFLOW_JSON_NULL;
		case jbvBinary:
			return JsonContainerIsObject(value->val.binary.data) ?
				GOFLOW_JSON_OBJECT : GOFLOW_JSON_LIST;
		default:
			elog(ERROR, "unexpected jsonb value type %d", value->type);
	}
}

const char *
goflow_json_kinds_name(int kinds)
{
	const struct
	{
		int			kind;
		const char *name;
	}			names[] = {
		{GOFLOW_JSON_STRING, "a string"},
		{GOFLOW_JSON_LIST, kinds & GOFLOW_JSON_STRING ? "a list of strings" : "a list"},
		{GOFLOW_JSON_NUMBER, "a number"},
		{GOFLOW_JSON_OBJECT, "an object"},
		{GOFLOW_JSON_NULL, "null"},
		{GOFLOW_JSON_BOOL, "true or false"},
	};
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < lengthof(names); i++)
	{
		bool		is_last = true;

		if (!(kinds & names[i].kind))
			continue;
		for (int j = i + 1; j < lengthof(names); j++)
			is_last &= !(kinds & names[j].kind);
		if (list.len > 0)
			appendStringInfoString(&list, is_last && names[i].kind != GOFLOW_JSON_BOOL ? " or " : ", ");
		appendStringInfoString(&list, names[i].name);
	}
	return list.data;
}

char *
goflow_json_string(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

char *
goflow_json_number_string(const JsonbValue *value)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
}

/* True if the value is a whole number of int's range, which is then in *result. */
bool
goflow_json_integer(const JsonbValue *value, int *result)
{
	char	   *text = goflow_json_number_string(value);
	char	   *end;
	long		number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (errno != 0 || *end != '\0' || number < PG_INT32_MIN || number > PG_INT32_MAX)
		return false;
	*result = (int) number;
	return true;
}

JsonbValue *
goflow_json_list(const JsonbContainer *container, int *count)
{
	JsonbValue *values = palloc(sizeof(JsonbValue) * Max(1, JsonContainerSize(container)));
	JsonbIterator *iterator = JsonbIteratorInit((JsonbContainer *) container);
	JsonbValue	value;
	JsonbIteratorToken token;

	*count = 0;
	(void) JsonbIteratorNext(&iterator, &value, true);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			values[(*count)++] = value;
	return values;
}

GoflowObject
goflow_json_object(const JsonbContainer *container)
{
	GoflowObject object = {NULL, 0};
	JsonbIterator *iterator = JsonbIteratorInit((JsonbContainer *) container);
	JsonbValue	value;
	JsonbIteratorToken token;

	object.members = palloc0(sizeof(GoflowMember) * Max(1, JsonContainerSize(container)));
	(void) JsonbIteratorNext(&iterator, &value, true);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			object.members[object.count].name = goflow_json_string(&value);
		else if (token == WJB_VALUE)
			object.members[object.count++].value = value;
	}
	return object;
}

JsonbValue *
goflow_object_get(GoflowObject *object, const char *name)
{
	for (int i = 0; i < object->count; i++)
		if (!object->members[i].hidden && strcmp(object->members[i].name, name) == 0)
			return &object->members[i].value;
	return NULL;
}

char *
goflow_object_string(GoflowObject *object, const char *name)
{
	JsonbValue *value = goflow_object_get(object, name);

	return value ? goflow_json_string(value) : NULL;
}

/* ---- keys ---- */

GoflowProblem *
goflow_parse_problem(GoflowParser *parser, int code, const char *key, const char *message)
{
	return goflow_report_error(parser->report, code, parser->node, key, "%s", message);
}

bool
goflow_check_kind(GoflowParser *parser, const char *key, const JsonbValue *value, int kinds)
{
	int			kind = goflow_json_kind(value);

	if (kind & kinds)
		return true;
	goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, key,
						 psprintf("key \"%s\" must be %s, not %s", key,
								  goflow_json_kinds_name(kinds), goflow_json_kinds_name(kind)));
	return false;
}

static const GoflowKeyRule *
find_rule(const GoflowKeyRule *rules, const char *name)
{
	for (; rules && rules->name; rules++)
		if (strcmp(rules->name, name) == 0)
			return rules;
	return NULL;
}

static void
list_keys(StringInfo list, GoflowNearest *nearest, const GoflowKeyRule *rules)
{
	for (; rules && rules->name; rules++)
	{
		appendStringInfo(list, "%s%s", list->len > 0 ? ", " : "", rules->name);
		goflow_nearest_offer(nearest, rules->name);
	}
}

static void
report_unknown_key(GoflowParser *parser, const char *key, const char *path, const char *what,
				   const GoflowKeyRule *rules, const GoflowKeyRule *more)
{
	GoflowProblem *found = goflow_report_error(parser->report, ERRCODE_GOFLOW_UNKNOWN_KEY, parser->node, path,
											   "unknown key \"%s\" in %s", key, what);
	GoflowNearest nearest;
	StringInfoData list;

	if (!goflow_problem_is_kept(found))
		return;
	goflow_nearest_begin(&nearest, parser->definition, key);
	initStringInfo(&list);
	list_keys(&list, &nearest, rules);
	list_keys(&list, &nearest, more);
	if (nearest.best)
		goflow_problem_hint(found, "Did you mean \"%s\"?", nearest.best);
	else
		goflow_problem_hint(found, "Its keys are %s.", list.data);
}

/*
 * Compares an object with one or two tables of keys and hides the members that
 * do not fit.  "what" names the object, "prefix" is the path to it ("" or
 * ending with a dot).
 */
void
goflow_check_keys(GoflowParser *parser, GoflowObject *object, const char *prefix, const char *what,
				  const GoflowKeyRule *rules, const GoflowKeyRule *more)
{
	const GoflowKeyRule *tables[] = {rules, more};

	for (int i = 0; i < object->count; i++)
	{
		GoflowMember *member = &object->members[i];
		char	   *path = psprintf("%s%s", prefix, member->name);
		const GoflowKeyRule *rule = find_rule(rules, member->name);

		if (member->hidden)
			continue;
		if (rule == NULL)
			rule = find_rule(more, member->name);
		if (rule == NULL)
			report_unknown_key(parser, member->name, path, what, rules, more);
		member->hidden = rule == NULL || !goflow_check_kind(parser, path, &member->value, rule->kinds);
	}

	for (int t = 0; t < lengthof(tables); t++)
		for (const GoflowKeyRule *rule = tables[t]; rule && rule->name; rule++)
		{
			bool		found = !rule->required;

			for (int i = 0; i < object->count && !found; i++)
				found = strcmp(object->members[i].name, rule->name) == 0;
			if (!found)
			{
				GoflowProblem *missing =
					goflow_parse_problem(parser, ERRCODE_GOFLOW_MISSING_KEY,
										 psprintf("%s%s", prefix, rule->name),
										 psprintf("key \"%s\" is missing in %s", rule->name, what));

				goflow_problem_hint(missing, "Add \"%s\": it is %s.", rule->name,
									goflow_json_kinds_name(rule->kinds));
			}
		}
}

/* One of a few words, or fallback when the key is absent; words end with NULL. */
int
goflow_object_word(GoflowParser *parser, GoflowObject *object, const char *key,
				   const char *const *words, int fallback)
{
	char	   *word = goflow_object_string(object, key);
	StringInfoData list;

	if (word == NULL)
		return fallback;
	initStringInfo(&list);
	for (int i = 0; words[i]; i++)
	{
		if (strcmp(words[i], word) == 0)
			return i;
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? ", " : "", words[i]);
	}
	goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, key,
											 psprintf("key \"%s\" cannot be \"%s\"", key, word)),
						"It is one of %s.", list.data);
	return fallback;
}

/* A whole number of a range; fallback when the value is NULL (absent), or reported, with the hint if there is one. */
int
goflow_read_integer(GoflowParser *parser, const char *key, const JsonbValue *value, int low, int high,
					int fallback, const char *hint)
{
	GoflowProblem *problem;
	int			number;

	if (value == NULL)
		return fallback;
	if (goflow_json_integer(value, &number) && number >= low && number <= high)
		return number;
	problem = goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, key,
								   psprintf("\"%s\" must be a whole number from %d to %d", key, low, high));
	if (hint)
		goflow_problem_hint(problem, "%s", hint);
	return fallback;
}

bool
goflow_object_bool(GoflowObject *object, const char *key)
{
	JsonbValue *value = goflow_object_get(object, key);

	return value && value->val.boolean;
}

/* A text, or its lines; NULL (reported) when it is neither or empty. */
char *
goflow_read_text(GoflowParser *parser, const char *key, const JsonbValue *value)
{
	StringInfoData text;

	if (!goflow_check_kind(parser, key, value, GOFLOW_JSON_TEXT))
		return NULL;
	initStringInfo(&text);
	if (value->type == jbvString)
		appendBinaryStringInfo(&text, value->val.string.val, value->val.string.len);
	else
	{
		int			count;
		JsonbValue *lines = goflow_json_list(value->val.binary.data, &count);

		for (int i = 0; i < count; i++)
		{
			if (!goflow_check_kind(parser, psprintf("%s[%d]", key, i), &lines[i], GOFLOW_JSON_STRING))
				return NULL;
			if (i > 0)
				appendStringInfoChar(&text, '\n');
			appendBinaryStringInfo(&text, lines[i].val.string.val, lines[i].val.string.len);
		}
	}
	if (strspn(text.data, " \t\r\n\f") == text.len)
	{
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, key,
												 psprintf("key \"%s\" is empty", key)),
							"Write a SQL text.");
		return NULL;
	}
	return text.data;
}

/*
 * An expression of a node stands behind the node's ancestors; one of a body,
 * with no node, before the body's first node unless its reader says otherwise.
 */
GoflowExpr *
goflow_make_expr(GoflowParser *parser, GoflowNode *node, const char *key, const char *text, int sees)
{
	GoflowDefinition *definition = parser->definition;
	GoflowExpr *expr = palloc0(sizeof(GoflowExpr));

	if (definition->nexprs == parser->maxexprs)
	{
		parser->maxexprs = Max(64, parser->maxexprs * 2);
		definition->exprs = definition->nexprs == 0 ?
			palloc(sizeof(GoflowExpr *) * parser->maxexprs) :
			repalloc(definition->exprs, sizeof(GoflowExpr *) * parser->maxexprs);
	}
	expr->definition = definition;
	expr->node = node ? node : parser->body->owner;
	expr->body = parser->body;
	expr->place = node ? GOFLOW_PLACE_NODE : GOFLOW_PLACE_BEGIN;
	expr->key = pstrdup(key);
	expr->text = text;
	expr->index = definition->nexprs;
	definition->exprs[definition->nexprs++] = expr;
	expr->sees = sees;
	expr->typmod = expr->target_typmod = -1;
	return expr;
}

GoflowExpr *
goflow_read_expr(GoflowParser *parser, GoflowNode *node, const char *key,
				 const JsonbValue *value, int sees)
{
	char	   *text = value ? goflow_read_text(parser, key, value) : NULL;

	return text ? goflow_make_expr(parser, node, key, text, sees) : NULL;
}

/* ---- names ---- */

static bool
is_identifier(const char *name)
{
	const char *c = name;

	if (!((*c >= 'a' && *c <= 'z') || *c == '_'))
		return false;
	while ((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_')
		c++;
	return *c == '\0' && c - name < NAMEDATALEN;
}

bool
goflow_check_identifier(GoflowParser *parser, const char *key, const char *name, const char *what)
{
	if (is_identifier(name))
		return true;
	goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_ID, key,
											 psprintf("\"%s\" is not a valid name of %s", name, what)),
						"Use lower-case letters, digits and underscores, not a digit first, at most %d characters.",
						NAMEDATALEN - 1);
	return false;
}

bool
goflow_check_count(GoflowParser *parser, const char *key, int count, int limit)
{
	if (count <= limit)
		return true;
	goflow_problem_detail(goflow_parse_problem(parser, ERRCODE_GOFLOW_LIMIT_EXCEEDED, key,
											   psprintf("key \"%s\" has too many members", key)),
						  "There are %d, at most %d are allowed.", count, limit);
	return false;
}

static int
find_field(const GoflowField *fields, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(fields[i].name, name) == 0)
			return i;
	return -1;
}

/* ---- parts that several objects have ---- */

/* Where "= default" begins in a declaration, outside of quotes and parentheses; or NULL. */
static char *
find_default(char *declaration)
{
	bool		quoted = false;
	int			depth = 0;

	for (char *c = declaration; *c; c++)
	{
		if (*c == '"')
			quoted = !quoted;
		else if (!quoted && *c == '(')
			depth++;
		else if (!quoted && *c == ')')
			depth--;
		else if (!quoted && depth == 0 && *c == '=')
			return c;
	}
	return NULL;
}

/* {"name": "type = default"}: the default is optional, and "sees" what it may use. */
GoflowField *
goflow_read_fields(GoflowParser *parser, const char *key, const JsonbValue *value,
				   bool has_default, int sees, int *count)
{
	GoflowObject object = goflow_json_object(value->val.binary.data);
	GoflowField *fields = palloc0(sizeof(GoflowField) * Max(1, object.count));

	*count = 0;
	if (!goflow_check_count(parser, key, object.count, GOFLOW_MAX_FIELDS))
		return fields;
	for (int i = 0; i < object.count; i++)
	{
		GoflowMember *member = &object.members[i];
		char	   *path = psprintf("%s.%s", key, member->name);
		GoflowField *field = &fields[*count];
		char	   *text;
		char	   *initial;

		if (!goflow_check_identifier(parser, path, member->name, "a field") ||
			!goflow_check_kind(parser, path, &member->value, GOFLOW_JSON_STRING))
			continue;
		field->name = member->name;
		field->typmod = -1;
		text = goflow_json_string(&member->value);
		initial = has_default ? find_default(text) : NULL;
		if (initial)
		{
			char	   *end = initial++;

			while (end > text && strchr(" \t\r\n", end[-1]))
				end--;
			*end = '\0';
			initial += strspn(initial, " \t\r\n");
			field->initial = goflow_make_expr(parser, NULL, path, initial, sees);
		}
		field->type_name = text;
		(*count)++;
	}
	return fields;
}

/* {"name": expr}; with is_name, names must be identifiers. */
void
goflow_read_named_exprs(GoflowParser *parser, GoflowNode *node, const char *key,
						const JsonbValue *value, int sees, bool is_name, GoflowNamedExpr **exprs, int *count)
{
	GoflowObject object = goflow_json_object(value->val.binary.data);

	*exprs = palloc0(sizeof(GoflowNamedExpr) * Max(1, object.count));
	*count = 0;
	if (!goflow_check_count(parser, key, object.count, GOFLOW_MAX_FIELDS))
		return;
	for (int i = 0; i < object.count; i++)
	{
		GoflowMember *member = &object.members[i];
		char	   *path = psprintf("%s.%s", key, member->name);
		GoflowExpr *expr;

		if (is_name && !goflow_check_identifier(parser, path, member->name, "a field"))
			continue;
		expr = goflow_read_expr(parser, node, path, &member->value, sees);
		if (expr)
			(*exprs)[(*count)++] = (GoflowNamedExpr){member->name, -1, expr};
	}
}

/* Finds the field that each expression is for; an unknown name is reported. */
void
goflow_match_fields(GoflowParser *parser, const char *key, GoflowNamedExpr *exprs, int nexprs,
					const GoflowField *fields, int nfields, const char *what)
{
	for (int i = 0; i < nexprs; i++)
	{
		GoflowNearest nearest;
		GoflowProblem *unknown;

		exprs[i].field = find_field(fields, nfields, exprs[i].name);
		if (exprs[i].field >= 0)
			continue;
		unknown = goflow_parse_problem(parser, ERRCODE_GOFLOW_UNKNOWN_REFERENCE, exprs[i].expr->key,
									   psprintf("%s \"%s\" is not declared", what, exprs[i].name));
		goflow_nearest_begin(&nearest, parser->definition, exprs[i].name);
		for (int j = 0; j < nfields; j++)
			goflow_nearest_offer(&nearest, fields[j].name);
		if (nearest.best)
			goflow_problem_hint(unknown, "Did you mean \"%s\"?", nearest.best);
		else
			goflow_problem_hint(unknown, "Declare it under \"%s\" of the workflow.", key);
	}
}

