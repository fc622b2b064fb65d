/*
 * lookup.c
 *		Present values of the names in a definition's SQL.
 *
 * Names are looked up from the frame of the expression outward: a node's
 * columns are those of its run in the nearest frame of its body.
 */
#include "postgres.h"

#include "engine/state.h"

#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* The nearest frame of a body, this one or one around it. */
GoflowFrame *
goflow_frame_of_body(GoflowFrame *frame, GoflowBody *body)
{
	while (frame && frame->body != body)
		frame = frame->parent;
	if (frame == NULL)
		elog(ERROR, "no frame of body \"%s\"", body->name ? body->name : "");
	return frame;
}

/* The nearest frame of any of a node's bodies. */
static GoflowFrame *
frame_within(GoflowFrame *frame, const GoflowNode *owner)
{
	while (frame && frame->body->owner != owner)
		frame = frame->parent;
	return frame;
}

static GoflowFrame *
frame_of_variable(GoflowFrame *frame, int variable)
{
	while (frame && (variable < frame->body->first_variable ||
					 variable >= frame->body->first_variable + frame->body->nvariables))
		frame = frame->parent;
	if (frame == NULL)
		elog(ERROR, "no frame of variable %d", variable);
	return frame;
}

/* Makes values of what was read of a node from the journal; false: there is nothing. */
static pg_noinline bool
decode_columns(GoflowFrame *frame, const GoflowNode *node, GoflowNodeRun *run)
{
	MemoryContext old;
	Datum	   *values;
	bool	   *nulls;

	if (run->output == NULL)
		return false;
	old = MemoryContextSwitchTo(frame->context);
	values = palloc(node->ncolumns * sizeof(Datum));
	nulls = palloc(node->ncolumns * sizeof(bool));
	goflow_values_decode(node->columns, node->ncolumns, run->output, values, nulls);
	run->values = values;
	run->nulls = nulls;
	MemoryContextSwitchTo(old);
	return true;
}

static Datum
value_of_node(GoflowFrame *frame, GoflowNode *node, int column, bool *isnull)
{
	GoflowNodeRun *run;

	frame = goflow_frame_of_body(frame, node->body);
	run = goflow_run(frame, node);

	/* it may have been skipped, or have failed, or not be reached from this entry */
	if ((run->state != GOFLOW_NODE_COMPLETED && run->state != GOFLOW_NODE_RUNNING) ||
		(run->values == NULL && !decode_columns(frame, node, run)))
	{
		*isnull = true;
		return (Datum) 0;
	}
	*isnull = run->nulls[column];
	return run->values[column];
}

static Datum
value_of_item(GoflowExecution *ex, GoflowFrame *frame, const GoflowRef *ref, bool *isnull)
{
	GoflowFrame *iteration = frame_within(frame, ref->node);

	if (iteration)
	{
		if (iteration->items == NULL)
			goflow_loop_read_item(ex, iteration);
		*isnull = iteration->item_nulls[ref->field];
		return iteration->items[ref->field];
	}
	if (ref->node->type != GOFLOW_TYPE_LOOP)
	{
		GoflowNodeRun *run = goflow_run(goflow_frame_of_body(frame, ref->node->body), ref->node);

		if (run->items)
		{
			*isnull = run->item_nulls[ref->field];
			return run->items[ref->field];
		}
	}
	*isnull = true;
	return (Datum) 0;
}

/* In an iteration its number; in a loop's own condition that of the one to come. */
static Datum
value_of_index(GoflowFrame *frame, GoflowNode *node)
{
	GoflowFrame *iteration = frame_within(frame, node);
	GoflowNodeRun *run;

	if (iteration)
		return Int64GetDatum(iteration->iteration);
	run = goflow_run(goflow_frame_of_body(frame, node->body), node);
	return Int64GetDatum(run->pending ? run->pending->now.row.next : run->index);
}

static Datum
text_or_null(const char *string, bool *isnull)
{
	*isnull = string == NULL;
	return string ? CStringGetTextDatum(string) : (Datum) 0;
}

static Datum
value_of_error(GoflowFrame *frame, const GoflowRef *ref, bool *isnull)
{
	GoflowFrame *handler = frame_within(frame, ref->node);
	Jsonb	   *error = handler ? handler->now.error : NULL;

	if (error == NULL)
	{
		*isnull = true;
		return (Datum) 0;
	}
	if (ref->field == GOFLOW_ERROR_ATTEMPT)
	{
		*isnull = goflow_error_attempt(error) == 0;
		return Int32GetDatum(goflow_error_attempt(error));
	}
	return text_or_null(goflow_error_field(error, ref->field), isnull);
}

static Datum
value_of_execution(GoflowExecution *ex, int field, bool *isnull)
{
	*isnull = false;
	switch (field)
	{
		case GOFLOW_EXECUTION_ID:
			return UUIDPGetDatum(&ex->row->id);
		case GOFLOW_EXECUTION_WORKFLOW:
			return CStringGetTextDatum(ex->definition->name);
		case GOFLOW_EXECUTION_VERSION:
			return Int32GetDatum(ex->definition->version);
		case GOFLOW_EXECUTION_RUN_AS:
			return CStringGetTextDatum(GetUserNameFromId(ex->row->run_as, false));
		case GOFLOW_EXECUTION_CREATED_AT:
			return TimestampTzGetDatum(ex->row->created_at);
		default:
			elog(ERROR, "unknown execution field %d", field);
	}
}

/* A column of NEW or OLD, by its number; 0: the whole row. */
static Datum
value_of_row(TupleTableSlot *row, int column, bool *isnull)
{
	*isnull = row == NULL;
	if (row == NULL)
		return (Datum) 0;		/* OLD of an insert, NEW of a delete */
	if (column == 0)
		return ExecFetchSlotHeapTupleDatum(row);
	return slot_getattr(row, column, isnull);
}

static pg_noinline Datum
value_of_other(GoflowExecution *ex, GoflowFrame *frame, const GoflowRef *ref, bool *isnull)
{
	GoflowNodeRun *run;

	*isnull = false;
	switch (ref->kind)
	{
		case GOFLOW_REF_INPUT:
		case GOFLOW_REF_VARIABLE:
		case GOFLOW_REF_NODE:
			break;				/* the commonest are the caller's */
		case GOFLOW_REF_TRIGGER:
			return text_or_null(ex->trigger[ref->field], isnull);
		case GOFLOW_REF_EXECUTION:
			return value_of_execution(ex, ref->field, isnull);
		case GOFLOW_REF_ITEM:
			return value_of_item(ex, frame, ref, isnull);
		case GOFLOW_REF_LOOP_INDEX:
			return value_of_index(frame, ref->node);
		case GOFLOW_REF_ACC:
			run = goflow_run(goflow_frame_of_body(frame, ref->node->body), ref->node);
			*isnull = run->acc_null;
			return run->acc;
		case GOFLOW_REF_ERROR:
			return value_of_error(frame, ref, isnull);
		case GOFLOW_REF_NEW:
			return value_of_row(ex->new_row, ref->field, isnull);
		case GOFLOW_REF_OLD:
			return value_of_row(ex->old_row, ref->field, isnull);
	}
	elog(ERROR, "unexpected reference kind %d", (int) ref->kind);
}

/*
 * The present value of a reference, seen by a node's expression in a frame;
 * valid as long as the frame's memory or the caller's.
 */
Datum
goflow_reference_value(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
					   const GoflowRef *ref, bool *isnull)
{
	switch (ref->kind)
	{
		case GOFLOW_REF_INPUT:
			*isnull = ex->input_nulls[ref->field];
			return ex->inputs[ref->field];
		case GOFLOW_REF_VARIABLE:
			frame = frame_of_variable(frame, ref->field);
			*isnull = frame->now.variable_nulls[ref->field - frame->body->first_variable];
			return frame->now.variables[ref->field - frame->body->first_variable];
		case GOFLOW_REF_NODE:
			return value_of_node(frame, ref->node, ref->field, isnull);
		default:
			return value_of_other(ex, frame, ref, isnull);
	}
}

/* node NULL: the variable's first value.  The value is in the memory of some frame; it is copied. */
void
goflow_variable_assign(GoflowExecution *ex, GoflowFrame *frame, int variable, GoflowNode *node,
					   Datum value, bool isnull)
{
	GoflowField *field = &ex->definition->variables[variable];
	GoflowFrame *owner = frame_of_variable(frame, variable);
	int			at = variable - owner->body->first_variable;
	bool		is_by_value = goflow_type_is_by_value(field->type);
	GoflowVariableRow *row = goflow_writes_alloc(ex->writes, sizeof(GoflowVariableRow));
	MemoryContext old;

	memset(row, 0, sizeof(*row));
	row->execution_id = ex->row->id;
	row->variable = variable;
	/* in node mode: its driver will give it a number */
	row->seq = ex->is_driver || ex->is_inline ? ++ex->now.seq : -goflow_run(frame, node)->seq;
	row->frame = owner->id;
	row->node = node ? node->index : -1;
	/* what is pure takes no longer than a look at the clock */
	row->assigned_at = ex->bare_since ? ex->bare_since : GetCurrentTimestamp();
	if (!isnull)
	{
		row->value = goflow_value_write(ex->writes, field, value);
		goflow_limit_check_size(ex->definition, "variable", field->name, VARSIZE_ANY_EXHDR(row->value));
	}
	goflow_writes_add(ex->writes, GOFLOW_WRITE_VARIABLE, row);
	goflow_history_assigned(ex, row);

	/* a loop may assign it for ever; but a rolled-back segment has the old value again */
	old = MemoryContextSwitchTo(ex->context);
	if (!is_by_value && !owner->now.variable_nulls[at])
		ex->gone_values = lappend(ex->gone_values, DatumGetPointer(owner->now.variables[at]));
	MemoryContextSwitchTo(owner->context);
	owner->now.variables[at] = isnull ? (Datum) 0 : goflow_value_copy(field->type, value);
	owner->now.variable_nulls[at] = isnull;
	MemoryContextSwitchTo(old);
}
