/*
 * payload.c
 *		What somebody outside of a workflow gives one of its nodes: from a jsonb
 *		object to typed values.
 *
 * It is checked in the session of whoever gives it, so that he has the error.
 * Of the workflow's settings those alone are in force that say how values are
 * read, and define() has seen to it that the types run no code of users.
 */
#include "postgres.h"

#include "engine/engine.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/guc.h"

static char *
field_type(const GoflowField *field)
{
	return format_type_with_typemod(field->type, field->typmod);
}

static char *
list_fields(GoflowNode *node)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < node->nfields; i++)
		appendStringInfo(&names, "%s%s %s", i ? ", " : "", goflow_node_fields(node)[i].name,
						 field_type(&goflow_node_fields(node)[i]));
	return names.data;
}

static int
hint_fields(GoflowNode *node)
{
	return node->nfields > 0 ? errhint("Its fields are: %s.", list_fields(node)) :
		errhint("It has no fields.");
}

static void
check_names(GoflowNode *node, Jsonb *payload, const char *subject)
{
	JsonbIterator *it = JsonbIteratorInit(&payload->root);
	JsonbValue	value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		bool		is_known = false;

		if (token != WJB_KEY)
			continue;
		for (int i = 0; i < node->nfields && !is_known; i++)
		{
			const char *name = goflow_node_fields(node)[i].name;

			is_known = strlen(name) == value.val.string.len &&
				memcmp(name, value.val.string.val, value.val.string.len) == 0;
		}
		if (!is_known)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_INVALID_PAYLOAD),
					 errmsg("%s has no field \"%s\"", subject,
							pnstrdup(value.val.string.val, value.val.string.len)),
					 hint_fields(node)));
	}
}

/* How dates and the like are written, as it was when the workflow was defined. */
static void
apply_formats(const GoflowSettings *settings)
{
	static const char *const formats[] = {"DateStyle", "IntervalStyle", "TimeZone"};

	for (int i = 0; i < settings->count; i++)
		for (int j = 0; j < lengthof(formats); j++)
			if (pg_strcasecmp(settings->names[i], formats[j]) == 0)
				(void) set_config_option(settings->names[i], settings->values[i], PGC_USERSET,
										 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

ArrayType *
goflow_payload_convert(GoflowNode *node, Jsonb *payload, const char *subject, bool need_all)
{
	int			n = node->nfields;
	Datum	   *elements = palloc0(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc0(Max(n, 1) * sizeof(bool));
	int			lower = 1;
	int			level;

	if (!JB_ROOT_IS_OBJECT(payload))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_PAYLOAD),
				 errmsg("what is given to %s must be a JSON object", subject),
				 hint_fields(node)));
	goflow_limit_check_payload(psprintf("what is given to %s", subject), payload);
	check_names(node, payload, subject);

	level = NewGUCNestLevel();
	apply_formats(&node->definition->settings);
	for (int i = 0; i < n; i++)
	{
		GoflowField *field = &goflow_node_fields(node)[i];
		JsonbValue	buffer;
		JsonbValue *given = getKeyJsonValueFromContainer(&payload->root, field->name,
														 strlen(field->name), &buffer);
		ErrorData  *bad = NULL;
		text	   *value = given ? goflow_field_convert(field, given, &bad) : NULL;

		if (given == NULL && need_all)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_INVALID_PAYLOAD),
					 errmsg("field \"%s\" of %s is missing", field->name, subject),
					 hint_fields(node)));
		if (bad)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_INVALID_PAYLOAD),
					 errmsg("invalid value for field \"%s\" of %s", field->name, subject),
					 errdetail_internal("%s", bad->message),
					 errhint("It must be a value of type %s.", field_type(field))));
		nulls[i] = value == NULL;
		elements[i] = PointerGetDatum(value);
	}
	AtEOXact_GUC(true, level);
	if (n == 0)
		return construct_empty_array(TEXTOID);
	return construct_md_array(elements, nulls, 1, &n, &lower, TEXTOID, -1, false, TYPALIGN_INT);
}
