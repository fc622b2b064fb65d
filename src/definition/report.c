/*
 * report.c
 *		Problems of a definition: collected, then returned or raised.
 *
 * validate() returns all of them; define() raises the first error in the form
 * that psql and other clients know from functions: the SQL text and the
 * position in it go out as the internal query, so the client marks the
 * character, and the context line names node and key.
 *
 * Only so many are kept.  The others are counted, and cost next to nothing: a
 * definition of some other program's may have tens of thousands.
 */
#include "postgres.h"

#include "definition/definition.h"

#include "utils/memutils.h"
#include "utils/varlena.h"

/* Names that differ in more characters than this are no typing errors. */
#define MAX_DISTANCE 3

/*
 * Names that are compared in one definition, which takes a fraction of a second.  Each
 * of many wrong names is compared with each of many right ones: a large
 * definition with a systematic mistake would take minutes.
 */
#define MAX_COMPARED 100000

GoflowReport *
goflow_report_create(const char *workflow)
{
	GoflowReport *report = palloc0(sizeof(GoflowReport));

	report->context = CurrentMemoryContext;
	report->workflow = workflow ? pstrdup(workflow) : NULL;
	report->surplus = palloc0(sizeof(GoflowProblem));
	return report;
}

/*
 * Formats into the report's context.  The macro (and not a function) because
 * a va_list can't be restarted when the first buffer is too small.
 */
#define format_into(result, format) \
	do { \
		StringInfoData buf_; \
		initStringInfo(&buf_); \
		for (;;) \
		{ \
			va_list		args_; \
			int			needed_; \
			va_start(args_, format); \
			needed_ = appendStringInfoVA(&buf_, format, args_); \
			va_end(args_); \
			if (needed_ == 0) \
				break; \
			enlargeStringInfo(&buf_, needed_); \
		} \
		(result) = buf_.data; \
	} while (0)

bool
goflow_problem_is_kept(const GoflowProblem *problem)
{
	return problem->message != NULL;
}

static GoflowProblem *
add_problem(GoflowReport *report, bool is_warning, int code, const char *node, const char *key,
			char *message)
{
	MemoryContext old = MemoryContextSwitchTo(report->context);
	GoflowProblem *problem = palloc0(sizeof(GoflowProblem));

	problem->is_warning = is_warning;
	problem->code = code;
	problem->node = node ? pstrdup(node) : NULL;
	problem->key = key ? pstrdup(key) : NULL;
	problem->message = pstrdup(message);
	report->problems = lappend(report->problems, problem);
	MemoryContextSwitchTo(old);
	return problem;
}

GoflowProblem *
goflow_report_error(GoflowReport *report, int code, const char *node, const char *key,
					const char *message_format,...)
{
	char	   *message;

	if (report->nerrors++ >= GOFLOW_MAX_PROBLEMS)
		return report->surplus;
	format_into(message, message_format);
	return add_problem(report, false, code, node, key, message);
}

GoflowProblem *
goflow_report_warning(GoflowReport *report, int code, const char *node, const char *key,
					  const char *message_format,...)
{
	char	   *message;

	if (report->nwarnings++ >= GOFLOW_MAX_PROBLEMS)
		return report->surplus;
	format_into(message, message_format);
	return add_problem(report, true, code, node, key, message);
}

static void
add_rest(GoflowReport *report, bool is_warning, int rest)
{
	const char *what = is_warning ? "warning" : "error";

	if (rest <= 0)
		return;
	goflow_problem_hint(add_problem(report, is_warning, ERRCODE_GOFLOW_LIMIT_EXCEEDED, NULL, NULL,
									rest == 1 ? psprintf("there is 1 more %s", what) :
									psprintf("there are %d more %ss", rest, what)),
						"Mend those above first.");
}

void
goflow_report_end(GoflowReport *report)
{
	add_rest(report, false, report->nerrors - GOFLOW_MAX_PROBLEMS);
	add_rest(report, true, report->nwarnings - GOFLOW_MAX_PROBLEMS);
}

/* A problem lives where its report does; that of those which are only counted gets no text. */
#define store_text(problem, text) MemoryContextStrdup(GetMemoryChunkContext(problem), text)

void
goflow_problem_detail(GoflowProblem *problem, const char *format,...)
{
	char	   *text;

	if (!goflow_problem_is_kept(problem))
		return;
	format_into(text, format);
	problem->detail = store_text(problem, text);
}

void
goflow_problem_hint(GoflowProblem *problem, const char *format,...)
{
	char	   *text;

	if (!goflow_problem_is_kept(problem))
		return;
	format_into(text, format);
	problem->hint = store_text(problem, text);
}

/* "node "x", key "sql" of workflow "w"", with what of it is known */
static int
add_context(const GoflowReport *report, const GoflowProblem *problem)
{
	const char *of = report->workflow ? psprintf(" of workflow \"%s\"", report->workflow) : "";

	if (problem->node && problem->key)
		errcontext("node \"%s\", key \"%s\"%s", problem->node, problem->key, of);
	else if (problem->node)
		errcontext("node \"%s\"%s", problem->node, of);
	else if (problem->key)
		errcontext("key \"%s\"%s", problem->key, of);
	else if (report->workflow)
		errcontext("workflow \"%s\"", report->workflow);
	return 0;
}

static void
raise_problem(const GoflowReport *report, const GoflowProblem *problem)
{
	ereport(problem->is_warning ? WARNING : ERROR,
			(errcode(problem->code),
			 errmsg_internal("%s", problem->message),
			 problem->detail ? errdetail_internal("%s", problem->detail) : 0,
			 problem->hint ? errhint("%s", problem->hint) : 0,
			 problem->position > 0 ? internalerrposition(problem->position) : 0,
			 problem->position > 0 ? internalerrquery(problem->text) : 0,
			 add_context(report, problem)));
}

void
goflow_report_raise(GoflowReport *report)
{
	ListCell   *lc;

	foreach(lc, report->problems)
	{
		GoflowProblem *problem = lfirst(lc);

		/* of a definition that is refused, only the error matters */
		if (problem->is_warning == (report->nerrors == 0))
			raise_problem(report, problem);
	}
}

void
goflow_nearest_begin(GoflowNearest *nearest, GoflowDefinition *definition, const char *wanted)
{
	nearest->definition = definition;
	nearest->wanted = wanted;
	nearest->best = NULL;
	nearest->distance = MAX_DISTANCE + 1;
}

void
goflow_nearest_offer(GoflowNearest *nearest, const char *candidate)
{
	int			wanted_length;
	int			candidate_length;
	int			distance;

	if (nearest->definition->ncompared >= MAX_COMPARED)
		return;
	wanted_length = strlen(nearest->wanted);
	candidate_length = strlen(candidate);
	if (Max(wanted_length, candidate_length) >= NAMEDATALEN)
		return;
	nearest->definition->ncompared++;
	distance = varstr_levenshtein_less_equal(nearest->wanted, wanted_length,
											 candidate, candidate_length,
											 1, 1, 1, nearest->distance, true);

	/* half of a short name replaced is another name */
	if (distance < nearest->distance && distance <= Max(1, wanted_length / 2))
	{
		nearest->best = candidate;
		nearest->distance = distance;
	}
}
