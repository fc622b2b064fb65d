/*
 * execution.c
 *		An execution in memory: made, loaded, saved and restored, written.
 *
 * What an execution knows about itself is its definition, its row, and one
 * GoflowNodeRun per node.  Loading reads the journal and settles every node
 * that has no row: the graph's state needs no row of its own.
 *
 * Everything lives in the execution's memory context.  Results that a
 * rolled-back segment made stay there, unreferenced, until the execution is
 * freed.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

static void
find_reachable(GoflowExecution *ex)
{
	bool	   *reachable = palloc(Max(ex->body->nnodes, 1) * sizeof(bool));

	ex->total = goflow_graph_reach(ex->body, ex->row->entry, reachable);
	ex->now.open = ex->total;
	for (int i = 0; i < ex->body->nnodes; i++)
		ex->now.runs[i].reachable = reachable[i];
	pfree(reachable);
}

static void
allocate_varying(GoflowExecution *ex, GoflowVarying *varying)
{
	int			nnodes = Max(ex->body->nnodes, 1);
	int			nvariables = Max(ex->definition->nvariables, 1);

	varying->runs = palloc0(nnodes * sizeof(GoflowNodeRun));
	varying->variables = palloc0(nvariables * sizeof(Datum));
	varying->variable_nulls = palloc0(nvariables * sizeof(bool));
	varying->ready = palloc0(nnodes * sizeof(int16));
}

static void
copy_varying(GoflowExecution *ex, GoflowVarying *to, const GoflowVarying *from)
{
	GoflowVarying target = *to;

	*to = *from;
	to->runs = target.runs;
	to->variables = target.variables;
	to->variable_nulls = target.variable_nulls;
	to->ready = target.ready;
	memcpy(to->runs, from->runs, ex->body->nnodes * sizeof(GoflowNodeRun));
	memcpy(to->ready, from->ready, ex->body->nnodes * sizeof(int16));
	memcpy(to->variables, from->variables, ex->definition->nvariables * sizeof(Datum));
	memcpy(to->variable_nulls, from->variable_nulls, ex->definition->nvariables * sizeof(bool));
}

void
goflow_execution_save(GoflowExecution *ex)
{
	copy_varying(ex, &ex->saved, &ex->now);
}

void
goflow_execution_restore(GoflowExecution *ex)
{
	copy_varying(ex, &ex->now, &ex->saved);
	ex->withdrawn = NIL;
	goflow_execution_track(ex, -1);
}

static MemoryContext
create_context(void)
{
	return AllocSetContextCreate(TopMemoryContext, "goflow execution", ALLOCSET_DEFAULT_SIZES);
}

static GoflowExecution *
create(GoflowExecutionRow *row, GoflowWrites *writes, MemoryContext context)
{
	GoflowExecution *ex = palloc0(sizeof(GoflowExecution));

	ex->context = context;
	ex->row = row;
	ex->writes = writes;
	ex->definition = goflow_workflow_load(row->workflow_id);
	ex->body = ex->definition->body;
	ex->inputs = palloc0(Max(ex->definition->ninputs, 1) * sizeof(Datum));
	ex->input_nulls = palloc0(Max(ex->definition->ninputs, 1) * sizeof(bool));
	allocate_varying(ex, &ex->now);
	allocate_varying(ex, &ex->saved);
	ex->now.state = row->state;
	for (int i = 0; i < ex->body->nnodes; i++)
		ex->now.runs[i].port = -1;
	if (row->trigger)
	{
		Datum	   *elements;
		bool	   *nulls;
		int			n;

		deconstruct_array(row->trigger, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
		for (int i = 0; i < Min(n, GOFLOW_TRIGGER_FIELDS); i++)
			ex->trigger[i] = nulls[i] ? NULL : TextDatumGetCString(elements[i]);
	}
	find_reachable(ex);
	return ex;
}

/* Decoding runs input functions of user types, so it is part of the first segment. */
static void
decode_inputs(GoflowExecution *ex)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);

	goflow_values_decode(ex->definition->inputs, ex->definition->ninputs, ex->row->input,
						 ex->inputs, ex->input_nulls);
	MemoryContextSwitchTo(old);
}

static void
load_journal(GoflowExecution *ex)
{
	ListCell   *lc;

	foreach(lc, goflow_journal_read(&ex->row->id))
	{
		GoflowNodeRow *row = lfirst(lc);
		GoflowNode *node = ex->definition->nodes[row->node];
		GoflowNodeRun *run = &ex->now.runs[node->position];

		/* in the key's order: the last attempt is the one that counts */
		run->state = row->state;
		run->attempt = row->attempt;
		run->port = row->port;
		run->seq = row->seq;
		run->ended_at = row->finished_at;
		run->output = row->output;
		ex->now.seq = Max(ex->now.seq, row->seq);
		switch (row->state)
		{
			case GOFLOW_NODE_COMPLETED:
				ex->now.completed++;
				break;
			case GOFLOW_NODE_FAILED:
				ex->now.failed++;
				ex->now.error = row->error;
				break;
			default:
				ex->now.skipped++;
				break;
		}
		ex->now.open--;
	}
}

static void
load_variables(GoflowExecution *ex)
{
	ListCell   *lc;

	foreach(lc, goflow_variables_read(&ex->row->id))
	{
		GoflowVariableRow *row = lfirst(lc);

		ex->now.seq = Max(ex->now.seq, row->seq);
		ex->now.variable_nulls[row->variable] = row->value == NULL;
		ex->now.variables[row->variable] = row->value == NULL ? (Datum) 0 :
			goflow_value_decode(&ex->definition->variables[row->variable],
								text_to_cstring(row->value));
	}
}

GoflowExecution *
goflow_execution_load(const pg_uuid_t *id, GoflowWrites *writes,
					  const GoflowInstance *instances, int ninstances)
{
	MemoryContext context = create_context();
	MemoryContext old = MemoryContextSwitchTo(context);
	GoflowExecutionRow *row = goflow_execution_read(id);
	GoflowExecution *ex;
	ListCell   *lc;

	if (row == NULL)
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		return NULL;
	}
	ex = create(row, writes, context);
	ex->inactive = goflow_execution_is_finished(row->state);
	if (ex->inactive)
	{
		MemoryContextSwitchTo(old);
		return ex;
	}

	foreach(lc, goflow_requests_read(id))
	{
		GoflowRequestRow *request = lfirst(lc);

		if (!ex->cancel_requested)
			ex->cancel_reason = request->reason;
		ex->cancel_requested = true;
	}

	if (row->state != GOFLOW_EXECUTION_QUEUED)
	{
		TimestampTz now = GetCurrentTransactionStartTimestamp();

		ex->started = true;
		load_journal(ex);
		load_variables(ex);
		for (int i = 0; i < ninstances; i++)
		{
			GoflowNode *node = ex->definition->nodes[instances[i].node];
			GoflowNodeRun *run = &ex->now.runs[node->position];

			ex->now.seq = Max(ex->now.seq, instances[i].seq);
			if (run->state != 0)
				continue;
			run->state = GOFLOW_NODE_RUNNING;
			run->attempt = instances[i].attempt;
			run->seq = instances[i].seq;
		}
		foreach(lc, goflow_timers_read(id))
		{
			GoflowTimerRow *timer = lfirst(lc);
			GoflowNode *node = ex->definition->nodes[timer->node];
			GoflowNodeRun *run = &ex->now.runs[node->position];

			run->timer = timer;
			run->attempt = timer->attempt;
			run->state = GOFLOW_NODE_WAITING;
			if (timer->due_at <= now)
			{
				run->state = GOFLOW_NODE_QUEUED;
				ex->now.ready[ex->now.ready_count++] = node->position;
			}
			else
				goflow_wake_timer(timer->due_at);	/* the scheduler has passed it */
		}
	}
	for (int i = 0; i < ex->body->nnodes; i++)
		if (ex->now.runs[i].state == 0)
			ex->now.runs[i].state = GOFLOW_NODE_IDLE;

	decode_inputs(ex);
	ex->tracker = goflow_tracker_open(id, row->workflow_id);
	MemoryContextSwitchTo(old);
	return ex;
}

GoflowExecution *
goflow_execution_create(GoflowExecutionRow *row, GoflowWrites *writes)
{
	MemoryContext old = MemoryContextSwitchTo(create_context());
	GoflowExecution *ex = create(row, writes, CurrentMemoryContext);

	for (int i = 0; i < ex->body->nnodes; i++)
		ex->now.runs[i].state = GOFLOW_NODE_IDLE;
	decode_inputs(ex);
	MemoryContextSwitchTo(old);
	return ex;
}

void
goflow_execution_free(GoflowExecution *ex)
{
	ListCell   *lc;

	/* they may hold temporary files */
	foreach(lc, ex->tuplestores)
		tuplestore_end(lfirst(lc));
	MemoryContextDelete(ex->context);
}

/* Shows where the execution is; node -1: no current node. */
void
goflow_execution_track(GoflowExecution *ex, int node)
{
	goflow_tracker_set(ex->tracker, ex->total, ex->now.completed, ex->now.failed, ex->now.skipped);
	goflow_tracker_node(ex->tracker, node);
}

void
goflow_execution_begin(GoflowExecution *ex)
{
	ex->now.state = GOFLOW_EXECUTION_RUNNING;
	if (ex->row->started_at == 0)
		ex->row->started_at = GetCurrentTimestamp();
	for (int i = 0; i < ex->definition->nvariables; i++)
	{
		GoflowExpr *initial = ex->definition->variables[i].initial;
		bool		isnull = true;
		Datum		value = (Datum) 0;

		if (initial)
			value = goflow_evaluate(ex, initial, &isnull, NULL, NULL);
		goflow_execution_assign(ex, i, NULL, value, isnull);
	}
	goflow_cascade_settle_all(ex);
}

/*
 * Writes the journal row of a node instance that has ended, in state; counts
 * it.  started_at 0: it never ran.  duration: microseconds.
 */
void
goflow_execution_record(GoflowExecution *ex, GoflowNode *node, char state,
						TimestampTz started_at, int duration, Jsonb *error)
{
	GoflowNodeRun *run = &ex->now.runs[node->position];
	MemoryContext old = MemoryContextSwitchTo(ex->writes->context);
	GoflowNodeRow *row = palloc0(sizeof(GoflowNodeRow));
	TimestampTz now = GetCurrentTimestamp();

	run->state = state;
	run->ended_at = now;
	if (run->attempt == 0)
		run->attempt = 1;
	if (run->seq == 0)
		run->seq = ++ex->now.seq;

	row->execution_id = ex->row->id;
	row->node = node->index;
	row->attempt = run->attempt;
	row->state = state;
	row->port = run->port;
	row->seq = run->seq;
	row->started_at = started_at ? started_at : now;
	row->finished_at = now;
	row->duration = duration;
	row->error = error;
	if (state == GOFLOW_NODE_COMPLETED && node->ncolumns > 0)
		row->output = goflow_values_encode(node->columns, node->ncolumns, run->values, run->nulls);
	goflow_writes_add(ex->writes, &ex->writes->nodes, row);

	if (state == GOFLOW_NODE_COMPLETED && run->rows)
	{
		int			number = 0;
		ListCell   *lc;

		foreach(lc, goflow_rows_encode(node, run->rows))
		{
			GoflowChunkRow *chunk = palloc0(sizeof(GoflowChunkRow));

			chunk->execution_id = ex->row->id;
			chunk->node = node->index;
			chunk->attempt = run->attempt;
			chunk->chunk = number++;
			chunk->rows = lfirst(lc);
			goflow_writes_add(ex->writes, &ex->writes->chunks, chunk);
		}
	}
	MemoryContextSwitchTo(old);

	switch (state)
	{
		case GOFLOW_NODE_COMPLETED:
			ex->now.completed++;
			break;
		case GOFLOW_NODE_FAILED:
			ex->now.failed++;
			break;
		default:
			ex->now.skipped++;
			break;
	}
	ex->now.open--;
	goflow_execution_track(ex, -1);
}

/* node NULL: the variable's first value.  The value is in the execution's memory. */
void
goflow_execution_assign(GoflowExecution *ex, int variable, GoflowNode *node, Datum value, bool isnull)
{
	MemoryContext old = MemoryContextSwitchTo(ex->writes->context);
	GoflowVariableRow *row = palloc0(sizeof(GoflowVariableRow));

	row->execution_id = ex->row->id;
	row->variable = variable;
	row->seq = ++ex->now.seq;
	row->node = node ? node->index : -1;
	row->assigned_at = GetCurrentTimestamp();
	if (!isnull)
		row->value = goflow_value_encode(&ex->definition->variables[variable], value);
	goflow_writes_add(ex->writes, &ex->writes->variables, row);
	MemoryContextSwitchTo(old);

	ex->now.variables[variable] = value;
	ex->now.variable_nulls[variable] = isnull;
}

static Datum
value_of_node(GoflowExecution *ex, GoflowNode *node, int column, bool *isnull)
{
	GoflowNodeRun *run = &ex->now.runs[node->position];

	*isnull = true;
	if (run->state != GOFLOW_NODE_COMPLETED)
		return (Datum) 0;		/* skipped, or not reached from this entry */
	if (run->values == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(ex->context);
		Datum	   *values = palloc(node->ncolumns * sizeof(Datum));
		bool	   *nulls = palloc(node->ncolumns * sizeof(bool));

		if (run->output == NULL)
			elog(ERROR, "node \"%s\" has no stored output", node->id);
		goflow_values_decode(node->columns, node->ncolumns, run->output, values, nulls);
		run->values = values;
		run->nulls = nulls;
		MemoryContextSwitchTo(old);
	}
	*isnull = run->nulls[column];
	return run->values[column];
}

static Datum
text_or_null(const char *string, bool *isnull)
{
	*isnull = string == NULL;
	return string ? CStringGetTextDatum(string) : (Datum) 0;
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

/* The present value of a reference; valid as long as the execution's memory or the caller's. */
Datum
goflow_execution_value(GoflowExecution *ex, const GoflowRef *ref, bool *isnull)
{
	switch (ref->kind)
	{
		case GOFLOW_REF_INPUT:
			*isnull = ex->input_nulls[ref->field];
			return ex->inputs[ref->field];
		case GOFLOW_REF_VARIABLE:
			*isnull = ex->now.variable_nulls[ref->field];
			return ex->now.variables[ref->field];
		case GOFLOW_REF_NODE:
			return value_of_node(ex, ref->node, ref->field, isnull);
		case GOFLOW_REF_TRIGGER:
			return text_or_null(ex->trigger[ref->field], isnull);
		case GOFLOW_REF_EXECUTION:
			return value_of_execution(ex, ref->field, isnull);
		case GOFLOW_REF_NEW:
			return value_of_row(ex->new_row, ref->field, isnull);
		case GOFLOW_REF_OLD:
			return value_of_row(ex->old_row, ref->field, isnull);
	}
	elog(ERROR, "unexpected reference kind %d", (int) ref->kind);
}

/* The rows of a many-row node: none if it did not complete. */
Tuplestorestate *
goflow_execution_rows(GoflowExecution *ex, GoflowNode *node)
{
	GoflowNodeRun *run = &ex->now.runs[node->position];

	if (run->rows == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(ex->context);
		Tuplestorestate *rows = tuplestore_begin_heap(true, true, work_mem);

		MemoryContextSwitchTo(old);
		goflow_execution_keep_rows(ex, node, rows);
		if (run->state == GOFLOW_NODE_COMPLETED)
			goflow_rows_decode(node, goflow_chunks_read(&ex->row->id, 0, node->index, run->attempt), rows);
	}
	return run->rows;
}

void
goflow_execution_keep_rows(GoflowExecution *ex, GoflowNode *node, Tuplestorestate *rows)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);

	ex->tuplestores = lappend(ex->tuplestores, rows);
	ex->now.runs[node->position].rows = rows;
	MemoryContextSwitchTo(old);
}
