/*
 * attempt.c
 *		One step of an analysis, whose error is a problem of the definition.
 *
 * A step runs in a subtransaction that is always rolled back: an error becomes
 * a problem of the report with the server's own code, message and position, the
 * next step goes on, and no lock stays behind.  What a step finds out it copies
 * into the definition's context.
 */
#include "postgres.h"

#include "definition/analysis.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Errors that are not about the definition. */
static bool
is_foreign_error(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return true;
		default:
			return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

/*
 * A relation that does not exist, but a node does: the node does not come
 * before, or gives no rows.  The server reports the place of the name, so the
 * name is read from there.  NULL if it is none of a node.
 */
static GoflowNode *
find_missing_relation(const ErrorData *error, const GoflowSubject *subject)
{
	const char *start = subject->text;
	char		name[NAMEDATALEN];
	int			length = 0;

	if (error->sqlerrcode != ERRCODE_UNDEFINED_TABLE || error->cursorpos <= 0 ||
		subject->expr == NULL || !(subject->expr->sees & GOFLOW_SEES(GOFLOW_REF_NODE)))
		return NULL;
	start += pg_mbcharcliplen(start, strlen(start), error->cursorpos - 1);
	while (length < NAMEDATALEN - 1 && (isalnum((unsigned char) start[length]) || start[length] == '_'))
	{
		name[length] = pg_tolower((unsigned char) start[length]);
		length++;
	}
	name[length] = '\0';
	if (start[length] == '.')
		return NULL;
	return goflow_scope_find_node(subject->expr->body, name);
}

static void
report_relation(GoflowAnalysis *analysis, const GoflowSubject *subject, const GoflowNode *node, int position)
{
	bool		is_before = goflow_scope_is_before(subject->expr, node);
	bool		has_rows = goflow_node_is_relation(node);
	GoflowProblem *problem;

	if (node->is_broken || (has_rows && is_before) ||
		(has_rows && goflow_scope_is_blurred(subject->expr, node)))
		return;
	problem = goflow_report_error(analysis->report,
								  has_rows ? ERRCODE_GOFLOW_REFERENCE_NOT_READY :
								  ERRCODE_GOFLOW_UNKNOWN_REFERENCE,
								  subject->node, subject->key,
								  !has_rows ? "node \"%s\" is not a relation" :
								  node == subject->expr->node ? "node \"%s\" cannot read its own result" :
								  "node \"%s\" does not run before this one", node->id);
	problem->text = MemoryContextStrdup(analysis->report->context, subject->text);
	problem->position = position;
	if (!has_rows)
		goflow_problem_hint(problem, "Only a sql node with \"rows\": \"many\" is one; others are read by column, as %s.<column>.",
							node->id);
	else if (node != subject->expr->node)
		goflow_problem_hint(problem, "Add \"%s\" to the \"after\" of node \"%s\", or of a node before it.",
							node->id, subject->expr->node->id);
}

static void
report_error(GoflowAnalysis *analysis, const GoflowSubject *subject, const ErrorData *error)
{
	GoflowProblem *problem;
	GoflowNode *relation;

	analysis->is_complete = false;
	if (subject->expr && subject->expr->is_blocked)
		return;
	relation = find_missing_relation(error, subject);
	if (relation)
	{
		report_relation(analysis, subject, relation, error->cursorpos);
		return;
	}
	problem = goflow_report_error(analysis->report, error->sqlerrcode, subject->node, subject->key,
								  "%s", error->message);
	if (error->detail)
		goflow_problem_detail(problem, "%s", error->detail);
	if (error->hint)
		goflow_problem_hint(problem, "%s", error->hint);

	/* a position in another text, such as a function's body, is of no use here */
	if (subject->text && error->cursorpos > 0 && error->internalquery == NULL)
	{
		problem->text = MemoryContextStrdup(analysis->report->context, subject->text);
		problem->position = error->cursorpos;
	}
}

/* Runs a step; true if it went through. */
bool
goflow_attempt(GoflowAnalysis *analysis, GoflowSubject subject, GoflowStep step, void *arg)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	CHECK_FOR_INTERRUPTS();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(analysis->scratch);
	PG_TRY();
	{
		/* callers, such as a SQL function, would take the position for one in their text */
		error_context_stack = NULL;
		step(analysis, arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(analysis->scratch);
		error = CopyErrorData();
		if (is_foreign_error(error))
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;

	if (error)
		report_error(analysis, &subject, error);
	MemoryContextReset(analysis->scratch);
	return error == NULL;
}

GoflowSubject
goflow_subject_of(const GoflowExpr *expr)
{
	return (GoflowSubject){.node = expr->node ? expr->node->path : NULL, .key = expr->key,
		.text = expr->text, .expr = (GoflowExpr *) expr};
}
