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

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

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
	GoflowWrites *writes;
	GoflowExecution *ex;
	int			nest_level;

	check_stack_depth();		/* a node may call run() again */
	MemoryContextSwitchTo(context);
	writes = goflow_writes_create(context);
	nest_level = NewGUCNestLevel();
	goflow_settings_apply(&goflow_workflow_load(row->workflow_id)->settings);

	ex = goflow_execution_create(row, writes);
	ex->is_inline = true;

	/* an error frees the execution with the caller's memory */
	MemoryContextSetParent(ex->context, caller);
	if (raise)
		goflow_segment_run_raising(ex);
	else
	{
		GoflowBudget budget = {.nodes = PG_INT32_MAX};

		(void) goflow_segment_run(ex, &budget);
	}
	AtEOXact_GUC(true, nest_level);

	Assert(goflow_execution_is_done(ex));
	MemoryContextSwitchTo(caller);
	row->state = ex->now.state;
	row->started_at = ex->row->started_at;
	row->finished_at = GetCurrentTimestamp();
	if (ex->now.output)
		row->output = DatumGetJsonbPCopy(JsonbPGetDatum(ex->now.output));
	if (ex->now.error)
		row->error = DatumGetJsonbPCopy(JsonbPGetDatum(ex->now.error));
	goflow_writes_add(writes, &writes->executions, row);
	goflow_writes_flush(writes);
	goflow_execution_free(ex);
	MemoryContextDelete(context);
}
