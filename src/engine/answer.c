/*
 * answer.c
 *		Approvals and tasks: what others are shown, and what they answered.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"

/* Names and types of the fields of a form. */
static Jsonb *
make_form(GoflowNode *node)
{
	int			n = node->nfields;
	char	  **names = palloc(Max(n, 1) * sizeof(char *));
	Oid		   *types = palloc(Max(n, 1) * sizeof(Oid));
	Datum	   *values = palloc(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc0(Max(n, 1) * sizeof(bool));

	for (int i = 0; i < n; i++)
	{
		GoflowField *field = &goflow_node_fields(node)[i];

		names[i] = field->name;
		types[i] = TEXTOID;
		values[i] = CStringGetTextDatum(format_type_with_typemod(field->type, field->typmod));
	}
	return goflow_fields_to_jsonb(names, types, n, values, nulls);
}

static GoflowApprovalRow *
make_approval(GoflowExecution *ex, GoflowNode *node, const GoflowPendingRow *pending, Jsonb *payload)
{
	GoflowApprovalRow *row = palloc0(sizeof(GoflowApprovalRow));

	row->execution_id = ex->row->id;
	row->frame = pending->frame;
	row->node = node->index;
	row->attempt = pending->attempt;
	row->path = node->path;
	row->title = node->title;
	row->run_as = ex->row->run_as;
	row->role = get_role_oid(node->role, false);
	row->created_at = pending->started_at;
	if (node->escalate_to)
	{
		row->escalate_to = get_role_oid(node->escalate_to, false);
		row->escalate_at = row->created_at + node->escalate_after;
	}
	row->payload = payload;
	row->form = make_form(node);
	row->remind = node->remind;
	row->due_at = pending->due_at;
	return row;
}

static GoflowTaskRow *
make_task(GoflowExecution *ex, GoflowNode *node, const GoflowPendingRow *pending, Jsonb *payload)
{
	GoflowTaskRow *row = palloc0(sizeof(GoflowTaskRow));

	row->execution_id = ex->row->id;
	row->frame = pending->frame;
	row->node = node->index;
	row->attempt = pending->attempt;
	row->queue = node->queue;
	row->run_as = ex->row->run_as;
	row->path = node->path;
	row->title = node->title;
	row->payload = payload;
	row->lease = node->lease;
	row->created_at = pending->started_at;
	return row;
}

/* Makes the row that others are to see. */
void
goflow_answer_begin(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, GoflowPending *pending)
{
	Jsonb	   *payload = goflow_evaluate_object(ex, frame, node->exprs, node->nexprs);
	MemoryContext old = MemoryContextSwitchTo(ex->context);

	payload = DatumGetJsonbPCopy(JsonbPGetDatum(payload));
	if (node->type == GOFLOW_TYPE_APPROVAL)
		pending->approval = make_approval(ex, node, &pending->now.row, payload);
	else
	{
		pending->task = make_task(ex, node, &pending->now.row, payload);
		ForceSyncCommit();		/* what is done outside cannot be undone by a crash */
	}
	MemoryContextSwitchTo(old);
}

/* Buffers it.  The scheduler, woken at the commit, tells those who listen. */
void
goflow_answer_persist(GoflowExecution *ex, GoflowPending *pending)
{
	if (pending->approval)
		goflow_writes_add(ex->writes, GOFLOW_WRITE_APPROVAL, pending->approval);
	else if (pending->task)
		goflow_writes_add(ex->writes, GOFLOW_WRITE_TASK, pending->task);
	else
		return;
	pending->approval = NULL;
	pending->task = NULL;
	goflow_wake_timer(pending->now.row.started_at);
}

void
goflow_answer_withdraw(GoflowPending *pending)
{
	const GoflowPendingRow *row = &pending->now.row;

	if (!row->stored)
		return;
	if (row->kind == GOFLOW_PENDING_TASK)
		goflow_task_withdraw(&row->execution_id, row->frame, row->node, row->attempt);
	else
		goflow_approval_withdraw(&row->execution_id, row->frame, row->node, row->attempt);
}

static void
set_text(GoflowNodeRun *run, int column, const char *value)
{
	run->nulls[column] = value == NULL;
	run->values[column] = value ? CStringGetTextDatum(value) : (Datum) 0;
}

/* True if the decision has come: sets the node's columns. */
bool
goflow_approval_take(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	MemoryContext old = MemoryContextSwitchTo(ex->writes->context);
	GoflowApprovalRow *row = goflow_approval_read(&ex->row->id, frame->id, node->index, run->attempt);

	MemoryContextSwitchTo(old);
	if (row == NULL || row->decision == 0)
		return false;
	old = MemoryContextSwitchTo(frame->context);
	set_text(run, GOFLOW_APPROVAL_DECISION, row->decision == GOFLOW_APPROVED ? "approved" : "rejected");
	set_text(run, GOFLOW_APPROVAL_DECIDED_BY, row->decided_by);
	set_text(run, GOFLOW_APPROVAL_LOGIN, row->login);
	run->nulls[GOFLOW_APPROVAL_DECIDED_AT] = false;
	run->values[GOFLOW_APPROVAL_DECIDED_AT] = TimestampTzGetDatum(row->decided_at);
	set_text(run, GOFLOW_APPROVAL_COMMENT, row->comment);
	goflow_values_decode(goflow_node_fields(node), node->nfields, row->fields,
						 run->values + node->first_field, run->nulls + node->first_field);
	MemoryContextSwitchTo(old);
	goflow_writes_add(ex->writes, GOFLOW_WRITE_APPROVAL_END, row);
	return true;
}

/* True if a result has come: sets the node's columns.  *error: it failed. */
bool
goflow_task_take(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, Jsonb **error)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	MemoryContext old = MemoryContextSwitchTo(ex->writes->context);
	GoflowTaskRow *row = goflow_task_read(&ex->row->id, frame->id, node->index, run->attempt);

	MemoryContextSwitchTo(old);
	*error = NULL;
	if (row == NULL || row->state == GOFLOW_TASK_WAITING)
		return false;
	goflow_writes_add(ex->writes, GOFLOW_WRITE_TASK_END, row);
	if (row->state == GOFLOW_TASK_COMPLETED)
	{
		old = MemoryContextSwitchTo(frame->context);
		goflow_values_decode(goflow_node_fields(node), node->nfields, row->output, run->values,
							 run->nulls);
		MemoryContextSwitchTo(old);
		return true;
	}
	old = MemoryContextSwitchTo(ex->context);
	*error = goflow_error_make(goflow_error_code(row->error),
							   goflow_error_field(row->error, GOFLOW_ERROR_MESSAGE),
							   goflow_error_field(row->error, GOFLOW_ERROR_DETAIL), node, run->attempt);
	MemoryContextSwitchTo(old);
	return false;
}
