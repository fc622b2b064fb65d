/*
 * value.c
 *		Typed values as text and as jsonb.
 *
 * Between nodes of one process values stay typed.  In the journal they are in
 * text form, made under the workflow's own settings (DateStyle and the like),
 * because jsonb loses infinity, NaN, bytea, and the difference between SQL
 * NULL and JSON null.  jsonb is for what users see.
 *
 * These functions call user code (output functions of domains, casts to json),
 * so they run only where that user's code may run: in a worker of the role, or
 * in run().
 */
#include "postgres.h"

#include "engine/state.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/syscache.h"

typedef struct TypeEntry
{
	Oid			type;			/* key */
	Oid			ioparam;
	FmgrInfo	input;
	FmgrInfo	output;
} TypeEntry;

static HTAB *types = NULL;

static void
forget_types(Datum arg, int cacheid, uint32 hashvalue)
{
	if (types)
	{
		hash_destroy(types);
		types = NULL;
	}
}

static TypeEntry *
lookup_type(Oid type)
{
	TypeEntry  *entry;
	bool		found;
	Oid			input;
	Oid			output;
	Oid			ioparam;
	bool		is_varlena;
	static bool registered = false;

	if (types && (entry = hash_search(types, &type, HASH_FIND, NULL)) != NULL)
		return entry;
	if (!registered)
	{
		CacheRegisterSyscacheCallback(TYPEOID, forget_types, (Datum) 0);
		registered = true;
	}

	/* catalog look-ups first: they may throw the table away */
	getTypeInputInfo(type, &input, &ioparam);
	getTypeOutputInfo(type, &output, &is_varlena);
	if (types == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(TypeEntry),
		.hcxt = CacheMemoryContext};

		types = hash_create("goflow types", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(types, &type, HASH_ENTER, &found);
	entry->ioparam = ioparam;
	fmgr_info_cxt(input, &entry->input, CacheMemoryContext);
	fmgr_info_cxt(output, &entry->output, CacheMemoryContext);
	return entry;
}

/* A text among what is to be written, or (NULL) in the current context. */
static text *
make_text(GoflowWrites *writes, const char *string, int length)
{
	text	   *result = writes ? goflow_writes_alloc(writes, VARHDRSZ + length) : palloc(VARHDRSZ + length);

	SET_VARSIZE(result, VARHDRSZ + length);
	memcpy(VARDATA(result), string, length);
	return result;
}

/* The text form of the commonest types, which needs no settings and no look-up; NULL: of another one. */
static text *
encode_plain(GoflowWrites *writes, Oid type, Datum value)
{
	char		digits[MAXINT8LEN + 1];
	text	   *string;

	switch (type)
	{
		case BOOLOID:
			return make_text(writes, DatumGetBool(value) ? "t" : "f", 1);
		case INT2OID:
			return make_text(writes, digits, pg_ltoa(DatumGetInt16(value), digits));
		case INT4OID:
			return make_text(writes, digits, pg_ltoa(DatumGetInt32(value), digits));
		case INT8OID:
			return make_text(writes, digits, pg_lltoa(DatumGetInt64(value), digits));
		case TEXTOID:
		case VARCHAROID:
			string = DatumGetTextPP(value);
			return make_text(writes, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
		default:
			return NULL;
	}
}

static pg_noinline text *
encode_other(const GoflowField *field, Datum value)
{
	TypeEntry  *type = lookup_type(field->type);
	text	   *result;
	int			level = 0;

	/* below 1, floats lose digits */
	if (extra_float_digits < 1)
	{
		level = NewGUCNestLevel();
		(void) set_config_option("extra_float_digits", "1", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	}
	result = cstring_to_text(OutputFunctionCall(&type->output, value));
	if (level > 0)
		AtEOXact_GUC(true, level);
	return result;
}

text *
goflow_value_encode(const GoflowField *field, Datum value)
{
	text	   *result = encode_plain(NULL, field->type, value);

	return result ? result : encode_other(field, value);
}

text *
goflow_value_write(GoflowWrites *writes, const GoflowField *field, Datum value)
{
	text	   *result = encode_plain(writes, field->type, value);

	if (result == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writes->context);

		result = encode_other(field, value);
		MemoryContextSwitchTo(old);
	}
	return result;
}

Datum
goflow_value_decode(const GoflowField *field, const char *string)
{
	TypeEntry  *type = lookup_type(field->type);

	return InputFunctionCall(&type->input, unconstify(char *, string), type->ioparam, field->typmod);
}

ArrayType *
goflow_text_array(Datum *elements, bool *nulls, int nrows, int ncolumns)
{
	int			dims[2] = {nrows, ncolumns};
	int			lower[2] = {1, 1};

	if (nrows * ncolumns == 0)
		return construct_empty_array(TEXTOID);
	if (nrows == 1)
		return construct_md_array(elements, nulls, 1, &dims[1], lower, TEXTOID, -1, false, TYPALIGN_INT);
	return construct_md_array(elements, nulls, 2, dims, lower, TEXTOID, -1, false, TYPALIGN_INT);
}

ArrayType *
goflow_values_encode(const GoflowField *fields, int nfields, const Datum *values, const bool *nulls)
{
	Datum	   *texts = palloc(nfields * sizeof(Datum));

	for (int i = 0; i < nfields; i++)
		texts[i] = nulls[i] ? (Datum) 0 : PointerGetDatum(goflow_value_encode(&fields[i], values[i]));
	return goflow_text_array(texts, unconstify(bool *, nulls), 1, nfields);
}

void
goflow_values_decode(const GoflowField *fields, int nfields, ArrayType *array,
					 Datum *values, bool *nulls)
{
	Datum	   *elements;
	bool	   *element_nulls;
	int			nelements;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &element_nulls, &nelements);
	if (nelements != nfields)
		elog(ERROR, "expected %d stored values, found %d", nfields, nelements);
	for (int i = 0; i < nfields; i++)
	{
		nulls[i] = element_nulls[i];
		values[i] = nulls[i] ? (Datum) 0 :
			goflow_value_decode(&fields[i], TextDatumGetCString(elements[i]));
	}
}

bool
goflow_type_is_by_value(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case DATEOID:
			return true;
		case INT8OID:
		case FLOAT8OID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return FLOAT8PASSBYVAL;
		case TEXTOID:
		case NUMERICOID:
		case JSONBOID:
			return false;
		default:
			return get_typbyval(type);
	}
}

Datum
goflow_value_copy(Oid type, Datum value)
{
	int			length;

	if (goflow_type_is_by_value(type))
		return value;
	length = type == TEXTOID ? -1 : get_typlen(type);
	return length == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) :
		datumCopy(value, false, length);
}

/* A number as the integer type that a column has. */
Datum
goflow_integer(Oid type, int64 number)
{
	return type == INT8OID ? Int64GetDatum(number) : Int32GetDatum((int32) number);
}

/*
 * A value as to_jsonb() has it, if its type is one of the commonest: these need
 * no text on the way.
 */
static bool
simple_json(Oid type, Datum value, JsonbValue *json)
{
	text	   *string;

	switch (type)
	{
		case BOOLOID:
			json->type = jbvBool;
			json->val.boolean = DatumGetBool(value);
			return true;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			json->type = jbvNumeric;
			json->val.numeric = int64_to_numeric(type == INT8OID ? DatumGetInt64(value) :
												 type == INT4OID ? DatumGetInt32(value) : DatumGetInt16(value));
			return true;
		case TEXTOID:
		case VARCHAROID:
			string = DatumGetTextPP(value);
			json->type = jbvString;
			json->val.string.val = VARDATA_ANY(string);
			json->val.string.len = VARSIZE_ANY_EXHDR(string);
			return json->val.string.len <= JENTRY_OFFLENMASK;	/* else to_jsonb() has an error for it */
		default:
			return false;
	}
}

bool
goflow_json_is_plain(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case TEXTOID:
		case VARCHAROID:
		case JSONBOID:
			return true;
		default:
			return false;
	}
}

Jsonb *
goflow_datum_to_jsonb(Oid type, Datum value, bool isnull)
{
	FmgrInfo	to_jsonb;
	JsonbValue	simple = {.type = jbvNull};
	Node	   *arg;

	if (isnull || simple_json(type, value, &simple))
		return JsonbValueToJsonb(&simple);
	if (type == JSONBOID)
		return DatumGetJsonbP(value);
	arg = (Node *) makeNullConst(type, -1, InvalidOid);
	fmgr_info(F_TO_JSONB, &to_jsonb);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(arg),
											 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
					   &to_jsonb);
	return DatumGetJsonbP(FunctionCall1(&to_jsonb, value));
}

static void
push(JsonbParseState **state, JsonbIteratorToken token, Jsonb *json)
{
	JsonbValue	value;

	if (json == NULL)
		value.type = jbvNull;
	else if (JB_ROOT_IS_SCALAR(json))
		(void) JsonbExtractScalar(&json->root, &value);
	else
		JsonbToJsonbValue(json, &value);
	pushJsonbValue(state, token, &value);
}

/* An object of named values, each as to_jsonb() makes it. */
Jsonb *
goflow_fields_to_jsonb(char **names, Oid *column_types, int n, const Datum *values, const bool *nulls)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
	{
		JsonbValue	json = {.type = jbvString,.val.string = {.len = strlen(names[i]),.val = names[i]}};

		pushJsonbValue(&state, WJB_KEY, &json);
		json.type = jbvNull;
		if (nulls[i] || simple_json(column_types[i], values[i], &json))
			pushJsonbValue(&state, WJB_VALUE, &json);
		else
			push(&state, WJB_VALUE, goflow_datum_to_jsonb(column_types[i], values[i], false));
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Jsonb *
goflow_values_to_jsonb(const GoflowField *fields, int nfields, const Datum *values, const bool *nulls)
{
	char	  **names = palloc(nfields * sizeof(char *));
	Oid		   *column_types = palloc(nfields * sizeof(Oid));

	for (int i = 0; i < nfields; i++)
	{
		names[i] = fields[i].name;
		column_types[i] = fields[i].type;
	}
	return goflow_fields_to_jsonb(names, column_types, nfields, values, nulls);
}

Jsonb *
goflow_jsonb_copy(MemoryContext context, Jsonb *json)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Jsonb	   *copy = DatumGetJsonbPCopy(JsonbPGetDatum(json));

	MemoryContextSwitchTo(old);
	return copy;
}

Jsonb *
goflow_jsonb_array(List *values)
{
	JsonbParseState *state = NULL;
	ListCell   *lc;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, values)
	{
		CHECK_FOR_INTERRUPTS();
		push(&state, WJB_ELEM, lfirst(lc));
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

Jsonb *
goflow_jsonb_only_value(Jsonb *object)
{
	JsonbIterator *it = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		is_outer = true;

	while ((token = JsonbIteratorNext(&it, &value, !is_outer)) != WJB_DONE)
	{
		is_outer = false;
		if (token == WJB_VALUE)
			return JsonbValueToJsonb(&value);
	}
	elog(ERROR, "object without a key");
}
