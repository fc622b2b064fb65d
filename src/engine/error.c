/*
 * error.c
 *		Errors as they are kept in the journal (jsonb), and raised again.
 *
 * Keys: code (SQLSTATE), message, detail, hint, context, node, attempt; those
 * without a value are left out.  The error of an execution can have two more:
 * undo_errors, of compensations that failed, and cause, the error that it was
 * failing with when it was cancelled.
 */
#include "postgres.h"

#include "engine/state.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

enum
{
	KEY_CODE, KEY_MESSAGE, KEY_DETAIL, KEY_HINT, KEY_CONTEXT, KEY_NODE, KEY_ATTEMPT, KEYS
};

static char *keys[KEYS] = {"code", "message", "detail", "hint", "context", "node", "attempt"};
static Oid	key_types[KEYS] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID};

static Jsonb *
make(const char **strings, int attempt)
{
	Datum		values[KEYS];
	bool		nulls[KEYS];
	Jsonb	   *json;

	for (int i = 0; i < KEY_ATTEMPT; i++)
	{
		nulls[i] = strings[i] == NULL;
		values[i] = strings[i] ? CStringGetTextDatum(strings[i]) : (Datum) 0;
	}
	nulls[KEY_ATTEMPT] = attempt <= 0;
	values[KEY_ATTEMPT] = Int32GetDatum(attempt);
	json = goflow_fields_to_jsonb(keys, key_types, KEYS, values, nulls);
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_strip_nulls, JsonbPGetDatum(json)));
}

/* node: where it happened, or NULL; attempt 0: none. */
Jsonb *
goflow_error_to_jsonb(const ErrorData *error, GoflowNode *node, int attempt)
{
	const char *strings[KEYS] = {0};

	strings[KEY_CODE] = unpack_sql_state(error->sqlerrcode);
	strings[KEY_MESSAGE] = error->message;
	strings[KEY_DETAIL] = error->detail;
	strings[KEY_HINT] = error->hint;
	strings[KEY_CONTEXT] = error->context;
	strings[KEY_NODE] = node ? node->path : NULL;
	return make(strings, attempt);
}

Jsonb *
goflow_error_make(int code, const char *message, const char *detail, GoflowNode *node, int attempt)
{
	const char *strings[KEYS] = {0};

	strings[KEY_CODE] = unpack_sql_state(code);
	strings[KEY_MESSAGE] = message;
	strings[KEY_DETAIL] = detail;
	strings[KEY_NODE] = node ? node->path : NULL;
	return make(strings, attempt);
}

static char *
get(Jsonb *error, int key)
{
	JsonbValue	buffer;
	JsonbValue *value = getKeyJsonValueFromContainer(&error->root, keys[key], strlen(keys[key]), &buffer);

	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

int
goflow_error_code(Jsonb *error)
{
	char	   *code = get(error, KEY_CODE);

	return code && strlen(code) == 5 ? MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]) :
		ERRCODE_GOFLOW_NODE_FAILED;
}

/* A field of error.* that is text; NULL if it has no value. */
char *
goflow_error_field(Jsonb *error, int field)
{
	static const int key_of[] = {
		[GOFLOW_ERROR_CODE] = KEY_CODE,
		[GOFLOW_ERROR_MESSAGE] = KEY_MESSAGE,
		[GOFLOW_ERROR_DETAIL] = KEY_DETAIL,
		[GOFLOW_ERROR_HINT] = KEY_HINT,
		[GOFLOW_ERROR_NODE] = KEY_NODE,
	};

	return get(error, key_of[field]);
}

/* The same error with one more key. */
static Jsonb *
with_key(Jsonb *error, char *key, Jsonb *value)
{
	Datum		datum = JsonbPGetDatum(value);
	Oid			type = JSONBOID;
	bool		isnull = false;
	Jsonb	   *more = goflow_fields_to_jsonb(&key, &type, 1, &datum, &isnull);

	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(error),
											  JsonbPGetDatum(more)));
}

Jsonb *
goflow_error_with_cause(Jsonb *error, Jsonb *cause)
{
	return with_key(error, "cause", cause);
}

/* Adds the error of a compensation to that of its execution. */
Jsonb *
goflow_error_with_undo(Jsonb *error, Jsonb *undo)
{
	static const char *const key = "undo_errors";
	JsonbValue	buffer;
	JsonbValue *known = getKeyJsonValueFromContainer(&error->root, key, strlen(key), &buffer);
	Jsonb	   *list = goflow_jsonb_array(list_make1(undo));

	if (known)
		list = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
												  JsonbPGetDatum(JsonbValueToJsonb(known)),
												  JsonbPGetDatum(list)));
	return with_key(error, unconstify(char *, key), list);
}

/* 0: none */
int
goflow_error_attempt(Jsonb *error)
{
	JsonbValue	buffer;
	JsonbValue *value = getKeyJsonValueFromContainer(&error->root, keys[KEY_ATTEMPT],
													 strlen(keys[KEY_ATTEMPT]), &buffer);

	if (value == NULL || value->type != jbvNumeric)
		return 0;
	return DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(value->val.numeric)));
}

/* Raises that workers were lost with a node, or (NULL) with the workflow's own expressions. */
void
goflow_error_lost(GoflowDefinition *definition, GoflowNode *node, int losses)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_WORKER_LOST),
			 node ? errmsg("node \"%s\" was lost %d times together with its worker", node->path, losses) :
			 errmsg("workflow \"%s\" was lost %d times together with its worker", definition->name, losses),
			 errdetail("Each time the worker was terminated while the node ran."),
			 errhint("See whether the node terminates its own process, and the server's log.")));
}

/* Raises the error that an execution of this workflow ended with. */
void
goflow_error_raise(Jsonb *error, const char *workflow)
{
	char	   *message = get(error, KEY_MESSAGE);
	char	   *detail = get(error, KEY_DETAIL);
	char	   *hint = get(error, KEY_HINT);
	char	   *context = get(error, KEY_CONTEXT);
	char	   *node = get(error, KEY_NODE);

	ereport(ERROR,
			(errcode(goflow_error_code(error)),
			 errmsg_internal("%s", message ? message : "execution failed"),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0,
			 context ? errcontext_msg("%s", context) :
			 node ? errcontext_msg("node \"%s\" of workflow \"%s\"", node, workflow) :
			 errcontext_msg("workflow \"%s\"", workflow)));
}

/* The victim of a conflict with another transaction, which has ended by now: again may succeed. */
bool
goflow_error_is_conflict(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE;
}

/*
 * The disk is full.  That is an error of the statement that needs more of it,
 * and nobody's if goflow has to write something: it is written when there is room.
 */
bool
goflow_error_is_disk_full(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_DISK_FULL;
}
