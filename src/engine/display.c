/*
 * display.c
 *		Stored values as jsonb, for people.
 *
 * Whoever looks at an execution must not run code of the one who owns it, so
 * no input function of a type is called here: booleans, numbers and JSON are
 * shown as such, everything else is a string in its text form.
 */
#include "postgres.h"

#include "engine/engine.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "lib/stringinfo.h"

static void
append_value(StringInfo json, Oid type, const char *string)
{
	switch (type)
	{
		case BOOLOID:
			appendStringInfoString(json, string[0] == 't' ? "true" : "false");
			return;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			appendStringInfoString(json, string);
			return;
		case JSONOID:
		case JSONBOID:
			appendStringInfoString(json, string);
			return;
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
			/* NaN and infinity are no JSON numbers */
			if (strspn(string, "0123456789+-.eE") == strlen(string))
			{
				appendStringInfoString(json, string);
				return;
			}
			break;
		default:
			break;
	}
	escape_json(json, string);
}

static Jsonb *
make_jsonb(StringInfo json)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json->data)));
}

Jsonb *
goflow_display_value(const GoflowField *field, const char *string)
{
	StringInfoData json;

	initStringInfo(&json);
	append_value(&json, field->type, string);
	return make_jsonb(&json);
}

Jsonb *
goflow_display_values(const GoflowField *fields, int nfields, ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	StringInfoData json;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < Min(n, nfields); i++)
	{
		if (i > 0)
			appendStringInfoChar(&json, ',');
		escape_json(&json, fields[i].name);
		appendStringInfoChar(&json, ':');
		if (nulls[i])
			appendStringInfoString(&json, "null");
		else
			append_value(&json, fields[i].type, TextDatumGetCString(elements[i]));
	}
	appendStringInfoChar(&json, '}');
	return make_jsonb(&json);
}
