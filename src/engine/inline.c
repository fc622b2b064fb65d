/*
 * inline.c
 *		run(): an execution in the caller's session and transaction.
 *
 * The same engine without its processes: no claims, no batches, no node mode,
 * no fuse, and nothing of the session is cleaned up, since it is the caller's.
 * A workflow that has to wait is refused when it comes to waiting.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/* Then the journal is written, and what is not needed any more is forgotten. */
#define NODES_AT_ONCE 1000

/* Can an error of a node be anything but the caller's? */
static bool
handles_errors(GoflowDefinition *definition)
{
	if (definition->retry || definition->on_error > GOFLOW_ON_ERROR_FAIL)
		return true;
	for (int i = 0; i < definition->nnodes; i++)
	{
		GoflowNode *node = definition->nodes[i];

		if (node->type == GOFLOW_TYPE_TRY || node->type == GOFLOW_TYPE_PARALLEL ||
			node->retry || node->on_error > GOFLOW_ON_ERROR_FAIL)
			return true;
	}
	return false;
}

/*
 * Runs an execution that is not stored yet to its end, and stores it.  With
 * raise, its error is raised (and its journal rolls back with it); without,
 * row->state and row->error tell.
 */
void
goflow_engine_run_inline(GoflowExecutionRow *row, bool raise)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "goflow run",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext segment_context = AllocSetContextCreate(context, "goflow run segment",
														  ALLOCSET_DEFAULT_SIZES);
	GoflowWrites *writes;
	GoflowExecution *ex;
	bool		is_raising;
	bool		is_first = true;
	int			nest_level;

	check_stack_depth();		/* a node may call run() again */
	MemoryContextSwitchTo(context);
	writes = goflow_writes_create(segment_context);
	nest_level = NewGUCNestLevel();
	goflow_settings_apply(&goflow_workflow_load(row->workflow_id)->settings);

	ex = goflow_execution_create(row, writes);
	ex->is_inline = true;
	is_raising = raise && !handles_errors(ex->definition);

	while (!goflow_execution_is_done(ex))
	{
		GoflowBudget budget = {.nodes = NODES_AT_ONCE};
		GoflowSegmentEnd end;

		MemoryContextSwitchTo(segment_context);
		ex->careful = false;
		end = is_raising ? goflow_segment_run_raising(ex, &budget) : goflow_segment_run(ex, &budget);
		if (is_first)
		{
			goflow_variables_keep(row, writes, caller);
			goflow_entries_keep(row, writes, caller);
		}
		is_first = false;
		goflow_execution_mark_entries(ex);
		goflow_writes_flush(writes, NULL);
		CommandCounterIncrement();	/* what was written is read again */
		MemoryContextSwitchTo(context);
		MemoryContextReset(segment_context);
		writes = ex->writes = goflow_writes_create(segment_context);
		if (ex->withdrawn)
			elog(ERROR, "a node of run() is not in this process");
		if (end == GOFLOW_SEGMENT_BLOCKED && !ex->must_commit)
			elog(ERROR, "run() cannot go on with workflow \"%s\"", ex->definition->name);
		ex->must_commit = false;
	}
	AtEOXact_GUC(true, nest_level);
	if (raise && ex->now.state != GOFLOW_EXECUTION_COMPLETED &&
		ex->now.state != GOFLOW_EXECUTION_PARTIAL)
		goflow_error_raise(ex->now.error, ex->definition->name);

	MemoryContextSwitchTo(caller);
	row->state = ex->now.state;
	row->started_at = ex->row->started_at;
	row->finished_at = GetCurrentTimestamp();
	row->last_seq = ++ex->now.seq;
	if (ex->now.output)
		row->output = DatumGetJsonbPCopy(JsonbPGetDatum(ex->now.output));
	if (ex->now.error)
		row->error = DatumGetJsonbPCopy(JsonbPGetDatum(ex->now.error));
	goflow_writes_add(writes, GOFLOW_WRITE_EXECUTION, row);
	goflow_execution_mark_entries(ex);
	goflow_writes_flush(writes, NULL);
	goflow_execution_free(ex);
	MemoryContextDelete(context);
}
