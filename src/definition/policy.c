/*
 * policy.c
 *		What a node, or the workflow, says about its failures: retry, timeout,
 *		on_error, and the errors that are meant.
 *
 * Errors are named by SQLSTATE, by class (its first two characters) or by
 * condition name, as in PL/pgSQL; goflow's own have the names of their macros.
 */
#include "postgres.h"

#include "definition/parse.h"

#include "common/int.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

/* What a retry does when it does not say otherwise. */
#define DEFAULT_ATTEMPTS 3
#define DEFAULT_BACKOFF USECS_PER_SEC
#define DEFAULT_FACTOR 2.0
#define DEFAULT_MAX_DELAY USECS_PER_HOUR

#define MAX_ATTEMPTS 1000
#define MAX_FACTOR 100.0

/* ---- names of errors ---- */

static const struct
{
	const char *name;
	const char *code;
}			server_conditions[] = {
#include "definition/condition_names.h"
};

static const struct
{
	const char *name;
	int			code;
}			own_conditions[] = {
	{"unknown_workflow", ERRCODE_GOFLOW_UNKNOWN_WORKFLOW},
	{"invalid_input", ERRCODE_GOFLOW_INVALID_INPUT},
	{"invalid_state", ERRCODE_GOFLOW_INVALID_STATE},
	{"must_wait", ERRCODE_GOFLOW_MUST_WAIT},
	{"role_cannot_run", ERRCODE_GOFLOW_ROLE_CANNOT_RUN},
	{"concurrency_conflict", ERRCODE_GOFLOW_CONCURRENCY_CONFLICT},
	{"unknown_signal", ERRCODE_GOFLOW_UNKNOWN_SIGNAL},
	{"invalid_payload", ERRCODE_GOFLOW_INVALID_PAYLOAD},
	{"unknown_approval", ERRCODE_GOFLOW_UNKNOWN_APPROVAL},
	{"already_decided", ERRCODE_GOFLOW_ALREADY_DECIDED},
	{"lease_lost", ERRCODE_GOFLOW_LEASE_LOST},
	{"type_mismatch", ERRCODE_GOFLOW_TYPE_MISMATCH},
	{"limit_exceeded", ERRCODE_GOFLOW_LIMIT_EXCEEDED},
	{"definition_outdated", ERRCODE_GOFLOW_DEFINITION_OUTDATED},
	{"node_failed", ERRCODE_GOFLOW_NODE_FAILED},
	{"execution_cancelled", ERRCODE_GOFLOW_EXECUTION_CANCELLED},
	{"execution_timeout", ERRCODE_GOFLOW_EXECUTION_TIMEOUT},
	{"no_branch", ERRCODE_GOFLOW_NO_BRANCH},
	{"too_many_rows", ERRCODE_GOFLOW_TOO_MANY_ROWS},
	{"role_missing", ERRCODE_GOFLOW_ROLE_MISSING},
};

static int
make_code(const char *code)
{
	return MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]);
}

/* Digits and capital letters, as SQLSTATEs have them. */
static bool
is_code(const char *text, int length)
{
	return strlen(text) == length &&
		strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == length;
}

/* Codes of success and of warnings: no error has one. */
static bool
is_no_error(const char *code)
{
	return code[0] == '0' && code[1] >= '0' && code[1] <= '2';
}

/* Appends what a word stands for to codes; the number of codes then, 0 if it is none. */
static int
find_conditions(const char *word, int **codes, int count)
{
	int			before = count;

	/* room for one more, and for a name with several */
	*codes = count == 0 ? palloc(sizeof(int) * 8) : repalloc(*codes, sizeof(int) * (count + 8));
	if (is_code(word, 2) && !is_no_error(word))
		(*codes)[count++] = MAKE_SQLSTATE(word[0], word[1], '0', '0', '0');
	if (is_code(word, 5) && !is_no_error(word))
		(*codes)[count++] = make_code(word);
	for (int i = 0; i < lengthof(server_conditions); i++)
		if (strcmp(server_conditions[i].name, word) == 0)
			(*codes)[count++] = make_code(server_conditions[i].code);
	for (int i = 0; i < lengthof(own_conditions); i++)
		if (strcmp(own_conditions[i].name, word) == 0)
			(*codes)[count++] = own_conditions[i].code;
	return count == before ? 0 : count;
}

static void
report_unknown_condition(GoflowParser *parser, const char *key, const char *word)
{
	GoflowProblem *unknown =
		goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, key,
							 psprintf("\"%s\" is no error that SQL knows", word));
	GoflowNearest nearest;

	goflow_nearest_begin(&nearest, parser->definition, word);
	for (int i = 0; i < lengthof(server_conditions); i++)
		goflow_nearest_offer(&nearest, server_conditions[i].name);
	for (int i = 0; i < lengthof(own_conditions); i++)
		goflow_nearest_offer(&nearest, own_conditions[i].name);
	if (nearest.best)
		goflow_problem_hint(unknown, "Did you mean \"%s\"?", nearest.best);
	else
		goflow_problem_hint(unknown, "Write a SQLSTATE such as \"23505\", a class such as \"23\", or a name such as \"unique_violation\".");
}

/* One error or a list of them; none means any. */
void
goflow_read_conditions(GoflowParser *parser, const char *key, const JsonbValue *value, int **codes,
					   int *ncodes)
{
	JsonbValue	single;
	JsonbValue *values = &single;
	int			count = 1;

	*codes = NULL;
	*ncodes = 0;
	if (value == NULL)
		return;
	single = *value;
	if (value->type == jbvBinary)
		values = goflow_json_list(value->val.binary.data, &count);
	if (count == 0)
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, key,
												 psprintf("key \"%s\" names no error", key)),
							"Leave it out for any error.");
	for (int i = 0; i < count; i++)
	{
		char	   *path = value->type == jbvBinary ? psprintf("%s[%d]", key, i) : pstrdup(key);
		char	   *word;
		int			found;

		CHECK_FOR_INTERRUPTS();
		if (!goflow_check_kind(parser, path, &values[i], GOFLOW_JSON_STRING))
			continue;
		word = goflow_json_string(&values[i]);
		found = find_conditions(word, codes, *ncodes);
		if (found > 0)
			*ncodes = found;
		else
			report_unknown_condition(parser, path, word);
	}
}

/* The SQLSTATE of a code or a name, NULL (reported) if it is neither. */
char *
goflow_read_condition(GoflowParser *parser, const char *key, const char *word)
{
	int		   *codes;

	if (!is_code(word, 2) && find_conditions(word, &codes, 0) > 0)
		return pstrdup(unpack_sql_state(codes[0]));
	if (is_code(word, 2))
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, key,
												 psprintf("\"%s\" is a class of errors", word)),
							"A SQLSTATE has five characters, such as \"%s000\".", word);
	else
		report_unknown_condition(parser, key, word);
	return NULL;
}

bool
goflow_condition_matches(const int *codes, int ncodes, int code)
{
	for (int i = 0; i < ncodes; i++)
		if (codes[i] == code ||
			(ERRCODE_IS_CATEGORY(codes[i]) && ERRCODE_TO_CATEGORY(code) == codes[i]))
			return true;
	return ncodes == 0;
}

/* ---- times ---- */

/* As interval_in() reads it, but a bad one is no error to be caught. */
static bool
parse_interval(const char *text, struct pg_itm_in *result)
{
	char		buffer[256];
	char	   *fields[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	int			nfields;
	int			kind;
	int			failed;

	memset(result, 0, sizeof(*result));
	failed = ParseDateTime(text, buffer, sizeof(buffer), fields, types, MAXDATEFIELDS, &nfields);
	if (failed == 0)
		failed = DecodeInterval(fields, types, nfields, INTERVAL_FULL_RANGE, &kind, result);
	if (failed == DTERR_BAD_FORMAT)
		failed = DecodeISO8601Interval(pstrdup(text), &kind, result);
	return failed == 0 && kind == DTK_DELTA;
}

/* A length of time, in microseconds; 0 (reported) if it is none, or negative, or zero and may not be. */
int64
goflow_read_interval(GoflowParser *parser, const char *key, const JsonbValue *value, bool may_be_zero)
{
	struct pg_itm_in interval;
	Interval	span;
	char	   *text;
	int64		days;
	int64		result;

	if (value == NULL || !goflow_check_kind(parser, key, value, GOFLOW_JSON_STRING))
		return 0;
	text = goflow_json_string(value);
	if (!parse_interval(text, &interval) || itmin2interval(&interval, &span) != 0)
	{
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, key,
												 psprintf("\"%s\" is not an interval", text)),
							"Write one such as \"200 ms\", \"5 min\" or \"2 days\".");
		return 0;
	}
	if (span.month != 0)
	{
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, key,
												 psprintf("key \"%s\" cannot be in months or years", key)),
							"They have no fixed length: write days.");
		return 0;
	}
	if (pg_mul_s64_overflow(span.day, USECS_PER_DAY, &days) ||
		pg_add_s64_overflow(span.time, days, &result) || result < 0 || (result == 0 && !may_be_zero))
	{
		goflow_problem_hint(goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, key,
												 psprintf("key \"%s\" cannot be %s", key, text)),
							"It is a length of time%s.", may_be_zero ? "" : "; leave it out for none");
		return 0;
	}
	return result;
}

/* ---- retry ---- */

static const GoflowKeyRule retry_keys[] = {
	{"attempts", GOFLOW_JSON_NUMBER},
	{"backoff", GOFLOW_JSON_STRING},
	{"factor", GOFLOW_JSON_NUMBER},
	{"max_delay", GOFLOW_JSON_STRING},
	{"jitter", GOFLOW_JSON_NUMBER},
	{"on", GOFLOW_JSON_TEXT},
	{NULL}
};

static int
read_attempts(GoflowParser *parser, const char *key, const JsonbValue *value)
{
	return goflow_read_integer(parser, key, value, 1, MAX_ATTEMPTS, DEFAULT_ATTEMPTS,
							   "The first attempt counts too: 1 is no retry.");
}

static double
read_number(GoflowParser *parser, GoflowObject *object, const char *name, double low, double high,
			double fallback)
{
	JsonbValue *value = goflow_object_get(object, name);
	double		number;

	if (value == NULL)
		return fallback;
	number = strtod(goflow_json_number_string(value), NULL);
	if (number >= low && number <= high)
		return number;
	goflow_parse_problem(parser, ERRCODE_GOFLOW_INVALID_DEFINITION, psprintf("retry.%s", name),
						 psprintf("\"retry.%s\" must be from %g to %g", name, low, high));
	return fallback;
}

static GoflowRetry *
read_retry(GoflowParser *parser, const JsonbValue *value)
{
	GoflowRetry *retry = palloc0(sizeof(GoflowRetry));
	GoflowObject object;
	JsonbValue *member;

	retry->backoff = DEFAULT_BACKOFF;
	retry->factor = DEFAULT_FACTOR;
	retry->max_delay = DEFAULT_MAX_DELAY;
	if (value->type == jbvNumeric)
	{
		retry->attempts = read_attempts(parser, "retry", value);
		return retry;
	}
	object = goflow_json_object(value->val.binary.data);
	goflow_check_keys(parser, &object, "retry.", "a retry", retry_keys, NULL);
	retry->attempts = read_attempts(parser, "retry.attempts", goflow_object_get(&object, "attempts"));
	member = goflow_object_get(&object, "backoff");
	if (member)
		retry->backoff = goflow_read_interval(parser, "retry.backoff", member, true);
	member = goflow_object_get(&object, "max_delay");
	if (member)
		retry->max_delay = goflow_read_interval(parser, "retry.max_delay", member, true);
	retry->factor = read_number(parser, &object, "factor", 1, MAX_FACTOR, DEFAULT_FACTOR);
	retry->jitter = read_number(parser, &object, "jitter", 0, 1, 0);
	goflow_read_conditions(parser, "retry.on", goflow_object_get(&object, "on"), &retry->codes,
						   &retry->ncodes);
	return retry;
}

/* ---- nodes and the workflow ---- */

static const char *const on_error_words[] = {"", "fail", "continue", "skip", NULL};

void
goflow_read_policy(GoflowParser *parser, GoflowNode *node, GoflowObject *object)
{
	JsonbValue *value = goflow_object_get(object, "retry");

	if (value)
		node->retry = read_retry(parser, value);
	node->timeout = goflow_read_interval(parser, "timeout", goflow_object_get(object, "timeout"), false);
	node->compensate = goflow_read_expr(parser, node, "compensate",
										goflow_object_get(object, "compensate"), GOFLOW_SEES_ANY);
	if (node->compensate)
	{
		node->compensate->is_statement = true;
		node->compensate->sees_self = true;
	}

	node->on_error_id = goflow_object_string(object, "on_error");
	if (node->on_error_id == NULL)
		return;
	for (int i = GOFLOW_ON_ERROR_FAIL; on_error_words[i]; i++)
		if (strcmp(on_error_words[i], node->on_error_id) == 0)
		{
			node->on_error = i;
			node->on_error_id = NULL;
			return;
		}

	/* graph.c finds the node */
	node->on_error = GOFLOW_ON_ERROR_NODE;
}

void
goflow_read_workflow_policy(GoflowParser *parser, GoflowObject *object)
{
	GoflowDefinition *definition = parser->definition;
	JsonbValue *value = goflow_object_get(object, "retry");

	if (value)
		definition->retry = read_retry(parser, value);
	definition->timeout = goflow_read_interval(parser, "timeout", goflow_object_get(object, "timeout"), false);
	definition->retention = goflow_read_interval(parser, "retention", goflow_object_get(object, "retention"), false);
	if (goflow_object_get(object, "on_error"))
		definition->on_error = goflow_object_word(parser, object, "on_error", on_error_words + 1, 0) + 1;
}
