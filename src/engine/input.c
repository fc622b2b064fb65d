/*
 * input.c
 *		Inputs of an execution: from a jsonb object to typed values.
 *
 * Every declared input is given or has a default; every given one is declared.
 * A value is converted as jsonb_populate_record() does it, so that arrays and
 * composite types work, and kept in text form under the workflow's settings.
 */
#include "postgres.h"

#include "engine/engine.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

/* The value of one field by jsonb_populate_record() on a row type of that field alone. */
static Datum
populate(const GoflowField *field, Jsonb *object, bool *isnull)
{
	TupleDesc	tupdesc = CreateTemplateTupleDesc(1);
	Datum		null_value = (Datum) 0;
	bool		null_flag = true;
	HeapTuple	base;
	FmgrInfo	function;
	Datum		record;
	HeapTupleHeader header;
	HeapTupleData tuple;
	Datum		value;
	List	   *args;

	TupleDescInitEntry(tupdesc, 1, field->name, field->type, field->typmod, 0);
	tupdesc = BlessTupleDesc(tupdesc);
	base = heap_form_tuple(tupdesc, &null_value, &null_flag);

	fmgr_info(F_JSONB_POPULATE_RECORD, &function);
	args = list_make2(makeNullConst(RECORDOID, -1, InvalidOid), makeNullConst(JSONBOID, -1, InvalidOid));
	fmgr_info_set_expr((Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, RECORDOID, args,
											 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
					   &function);
	record = FunctionCall2(&function, HeapTupleGetDatum(base), JsonbPGetDatum(object));

	header = DatumGetHeapTupleHeader(record);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, tupdesc, &value, isnull);
	return value;
}

/* Adds which input it was to an error of a type's input function. */
static void
raise_bad_value(const char *workflow, const GoflowField *field, ErrorData *error)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_INVALID_INPUT),
			 errmsg("invalid value for input \"%s\" of workflow \"%s\"", field->name, workflow),
			 errdetail_internal("%s", error->message),
			 errhint("It must be a value of type %s.", field->type_name)));
}

static bool
is_bad_value(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_DATA_EXCEPTION ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION);
}

/*
 * The text form of a JSON value for a field; NULL: SQL NULL.  A value that is
 * none of the field's type is no error here: *bad says what is wrong with it.
 */
text *
goflow_field_convert(const GoflowField *field, JsonbValue *given, ErrorData **bad)
{
	MemoryContext caller = CurrentMemoryContext;
	text	   *volatile result = NULL;
	ErrorData  *volatile error = NULL;

	*bad = NULL;
	if (given->type == jbvNull && field->type != JSONBOID && field->type != JSONOID &&
		get_typtype(field->type) != TYPTYPE_DOMAIN)
		return NULL;

	PG_TRY();
	{
		bool		isnull = false;
		Datum		value;

		if (given->type == jbvString && field->type == TEXTOID)
			result = cstring_to_text_with_len(given->val.string.val, given->val.string.len);
		else
		{
			JsonbParseState *state = NULL;
			JsonbValue	key;
			JsonbValue *object;

			pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
			key.type = jbvString;
			key.val.string.val = field->name;
			key.val.string.len = strlen(field->name);
			pushJsonbValue(&state, WJB_KEY, &key);
			pushJsonbValue(&state, WJB_VALUE, given);
			object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);

			value = populate(field, JsonbValueToJsonb(object), &isnull);
			if (!isnull)
				result = goflow_value_encode(field, value);
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		if (!is_bad_value(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	*bad = error;
	return result;
}

static text *
convert_input(const char *workflow, const GoflowField *field, JsonbValue *given)
{
	ErrorData  *bad;
	text	   *value = goflow_field_convert(field, given, &bad);

	if (bad)
		raise_bad_value(workflow, field, bad);
	return value;
}

/* Names of the declared inputs, for a hint. */
static char *
list_inputs(GoflowDefinition *definition)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < definition->ninputs; i++)
		appendStringInfo(&names, "%s%s %s", i ? ", " : "", definition->inputs[i].name,
						 definition->inputs[i].type_name);
	return names.data;
}

static void
check_names(GoflowDefinition *definition, Jsonb *input)
{
	JsonbIterator *it = JsonbIteratorInit(&input->root);
	JsonbValue	value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		bool		known = false;

		if (token != WJB_KEY)
			continue;
		for (int i = 0; i < definition->ninputs && !known; i++)
			known = strlen(definition->inputs[i].name) == value.val.string.len &&
				memcmp(definition->inputs[i].name, value.val.string.val, value.val.string.len) == 0;
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_INVALID_INPUT),
					 errmsg("workflow \"%s\" has no input \"%s\"", definition->name,
							pnstrdup(value.val.string.val, value.val.string.len)),
					 definition->ninputs > 0 ?
					 errhint("Its inputs are: %s.", list_inputs(definition)) :
					 errhint("It has no inputs.")));
	}
}

/* Can no setting change what a value of the type is converted to and from? */
static bool
is_plain_type(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case UUIDOID:
		case JSONBOID:
			return true;
		default:
			return false;
	}
}

int
goflow_input_settings_begin(GoflowDefinition *definition)
{
	for (int i = 0; i < definition->ninputs; i++)
		if (definition->inputs[i].initial || !is_plain_type(definition->inputs[i].type))
		{
			int			level = NewGUCNestLevel();

			goflow_settings_apply(&definition->settings);
			return level;
		}
	return 0;
}

void
goflow_input_settings_end(int level)
{
	if (level > 0)
		AtEOXact_GUC(true, level);
}

bytea *
goflow_input_convert(GoflowDefinition *definition, Jsonb *input, GoflowExecutionRow *row)
{
	int			n = definition->ninputs;
	Datum	   *elements = palloc0(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc0(Max(n, 1) * sizeof(bool));

	if (!JB_ROOT_IS_OBJECT(input))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_INVALID_INPUT),
				 errmsg("input of workflow \"%s\" must be a JSON object", definition->name)));
	goflow_limit_check_payload(psprintf("input of workflow \"%s\"", definition->name), input);
	check_names(definition, input);

	for (int i = 0; i < n; i++)
	{
		GoflowField *field = &definition->inputs[i];
		JsonbValue	buffer;
		JsonbValue *given = getKeyJsonValueFromContainer(&input->root, field->name,
														 strlen(field->name), &buffer);
		text	   *value;

		if (given)
			value = convert_input(definition->name, field, given);
		else if (field->initial)
			value = goflow_engine_default(definition, field, row);
		else
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_INVALID_INPUT),
					 errmsg("input \"%s\" of workflow \"%s\" is missing", field->name,
							definition->name),
					 errhint("Its inputs are: %s.", list_inputs(definition))));
		nulls[i] = value == NULL;
		elements[i] = PointerGetDatum(value);
	}
	return goflow_texts_pack(elements, nulls, n);
}

int16
goflow_default_entry(GoflowDefinition *definition)
{
	GoflowBody *body = definition->body;
	GoflowNode *manual = NULL;
	GoflowNode *trigger = NULL;
	int			ntriggers = 0;
	int			nmanual = 0;

	for (int i = 0; i < body->nnodes; i++)
		if (body->nodes[i]->type == GOFLOW_TYPE_TRIGGER)
		{
			trigger = body->nodes[i];
			ntriggers++;
			if (trigger->table == NULL)
			{
				manual = trigger;
				nmanual++;
			}
		}
	if (ntriggers == 0)
		return -1;
	if (nmanual == 1)
		return manual->index;
	if (ntriggers == 1)
		return trigger->index;
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_UNKNOWN_ENTRY),
			 errmsg("workflow \"%s\" has several triggers to enter at", definition->name),
			 errhint("Name one of them in \"entry\".")));
}
