/*
 * compensate.c
 *		Undoing what completed, when the execution fails or is cancelled.
 *
 * A node with "compensate" leaves a row when it completes, with the values
 * that its undo statement refers to: at the time of undoing, the frame that
 * they came from may be long gone.  When frame 0 has been stopped, the rows
 * are undone in reverse order of completion, each in a subtransaction of its
 * own together with the mark that it is done, so none is undone twice.  An
 * undo that fails leaves its error in its row and in that of the execution, and
 * the others go on.
 */
#include "postgres.h"

#include "engine/state.h"

#include "executor/spi.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* The parameters of an expression as fields, for their text form. */
static GoflowField *
param_fields(GoflowExpr *expr)
{
	GoflowField *fields = palloc0(Max(expr->nrefs, 1) * sizeof(GoflowField));

	for (int i = 0; i < expr->nrefs; i++)
	{
		fields[i].type = expr->refs[i].type;
		fields[i].typmod = expr->refs[i].typmod;
	}
	return fields;
}

/* A node completed: keeps what its undo will need. */
void
goflow_compensate_note(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowExpr *expr = node->compensate;
	MemoryContext old;
	GoflowCompensationRow *row;
	Datum	   *values;
	bool	   *nulls;

	goflow_plan_prepare(expr);
	old = MemoryContextSwitchTo(ex->writes->context);
	values = palloc(Max(expr->nrefs, 1) * sizeof(Datum));
	nulls = palloc(Max(expr->nrefs, 1) * sizeof(bool));
	for (int i = 0; i < expr->nrefs; i++)
		values[i] = goflow_reference_value(ex, frame, node, &expr->refs[i], &nulls[i]);
	row = palloc0(sizeof(GoflowCompensationRow));
	row->execution_id = ex->row->id;
	row->seq = Max(goflow_run(frame, node)->seq, goflow_run(frame, node)->end_seq);
	row->frame = frame->id;
	row->node = node->index;
	row->completed_at = goflow_run(frame, node)->ended_at;
	row->params = goflow_values_encode(param_fields(expr), expr->nrefs, values, nulls);
	goflow_writes_add(ex->writes, GOFLOW_WRITE_COMPENSATION, row);
	MemoryContextSwitchTo(old);
}

/* Does the definition undo anything at all? */
bool
goflow_compensate_needed(GoflowExecution *ex)
{
	for (int i = 0; i < ex->definition->nnodes; i++)
		if (ex->definition->nodes[i]->compensate)
			return true;
	return false;
}

/* Nodes that run side by side are numbered as they begin, so the clock says who was first. */
static int
compare_completed(const ListCell *a, const ListCell *b)
{
	const GoflowCompensationRow *x = lfirst(a);
	const GoflowCompensationRow *y = lfirst(b);

	if (x->completed_at != y->completed_at)
		return x->completed_at < y->completed_at ? -1 : 1;
	return x->seq < y->seq ? -1 : 1;
}

/* The node that completed last of those that are not undone; NULL: none is left. */
GoflowCompensationRow *
goflow_compensate_next(GoflowExecution *ex)
{
	if (!ex->compensations_read)
	{
		MemoryContext old = MemoryContextSwitchTo(ex->context);
		ListCell   *lc;

		foreach(lc, goflow_compensations_read(&ex->row->id))
			if (((GoflowCompensationRow *) lfirst(lc))->done_at == 0)
				ex->compensations = lappend(ex->compensations, lfirst(lc));
		list_sort(ex->compensations, compare_completed);
		ex->compensations_read = true;
		MemoryContextSwitchTo(old);
	}
	if (ex->now.compensated >= list_length(ex->compensations))
		return NULL;
	return list_nth(ex->compensations, list_length(ex->compensations) - 1 - ex->now.compensated);
}

void
goflow_compensate_run(GoflowExecution *ex, GoflowCompensationRow *row)
{
	GoflowExpr *expr = ex->definition->nodes[row->node]->compensate;
	ParamListInfo params;
	Datum	   *values;
	bool	   *nulls;

	goflow_plan_prepare(expr);
	values = palloc(Max(expr->nrefs, 1) * sizeof(Datum));
	nulls = palloc(Max(expr->nrefs, 1) * sizeof(bool));
	goflow_values_decode(param_fields(expr), expr->nrefs, row->params, values, nulls);
	params = goflow_params_make(expr);
	for (int i = 0; i < expr->nrefs; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = nulls[i];
	}
	goflow_plan_run_with(expr, params);
}

/* It is undone, or (error) could not be; not to be tried again. */
void
goflow_compensate_done(GoflowExecution *ex, GoflowCompensationRow *row, Jsonb *error)
{
	row->done_at = GetCurrentTimestamp();
	row->error = error;
	if (error)
	{
		MemoryContext old = MemoryContextSwitchTo(ex->context);
		GoflowFrameState *root = &ex->root->now;

		root->error = goflow_error_with_undo(root->error, error);
		MemoryContextSwitchTo(old);
	}
	goflow_writes_add(ex->writes, GOFLOW_WRITE_COMPENSATION, row);
	ex->now.compensated++;
}
