/*
 * child.c
 *		Workflow nodes: an execution that starts another and waits for it.
 *
 * The child is an execution like any other, with "parent" in its row.  It is
 * started in the transaction of the node, and wakes its parent when it ends
 * (driver.c).  The parent waits without a worker: a pending with the child's
 * id is all that is left of it.  In run() the child runs inline, too, and has
 * ended when the parent looks for the first time.
 *
 * A child whose parent does not need it any more, or waited too long, is asked
 * to end, and then waited for: it may complete before it hears of that, and
 * what has completed has to be undone.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

/*
 * Children run inline within each other, and their ancestors are not stored
 * yet: how many levels more there may be below the one in work, and which
 * workflow says so.
 */
static struct
{
	int			levels;
	GoflowDefinition *definition;
}			inline_limit;

/* Runs a child to its end, and stores it; how it ended is in its row. */
static void
run_inline(GoflowExecution *ex, GoflowExecutionRow *row)
{
	int			outer_levels = inline_limit.levels;
	GoflowDefinition *outer_definition = inline_limit.definition;

	if (ex->row->parent == NULL || ex->definition->limits.depth < inline_limit.levels)
	{
		inline_limit.levels = ex->definition->limits.depth;
		inline_limit.definition = ex->definition;
	}
	inline_limit.levels--;
	PG_TRY();
	{
		goflow_engine_run_inline(row, false);
	}
	PG_FINALLY();
	{
		inline_limit.levels = outer_levels;
		inline_limit.definition = outer_definition;
	}
	PG_END_TRY();
	CommandCounterIncrement();
}

static void
raise_too_deep(const char *workflow, const GoflowDefinition *above)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_LIMIT_EXCEEDED),
			 errmsg("workflow \"%s\" is nested too deeply", workflow),
			 errdetail("Workflow \"%s\" may have %d levels of executions below it.", above->name,
					   above->limits.depth),
			 errhint("Does it start itself without an end?")));
}

/* Refuses a chain of parents that is too long for one of them. */
static void
check_depth(GoflowExecution *ex, GoflowNode *node)
{
	GoflowExecutionRow *row = ex->row;
	GoflowDefinition *definition = ex->definition;

	if (ex->is_inline && ex->row->parent && inline_limit.levels < 1)
		raise_too_deep(node->workflow_name, inline_limit.definition);
	for (int distance = 1;; distance++)
	{
		if (distance > definition->limits.depth)
			raise_too_deep(node->workflow_name, definition);
		if (row->parent == NULL || (row = goflow_execution_read(row->parent)) == NULL)
			break;
		definition = goflow_workflow_load(row->workflow_id);
	}
}

static GoflowExecutionRow *
make_row(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	MemoryContext old;
	GoflowWorkflowRow workflow;
	GoflowDefinition *definition;
	GoflowExecutionRow *row;
	Jsonb	   *input;
	int			level;

	goflow_workflow_lock(node->workflow_name, RowShareLock);
	if (!goflow_workflow_find(node->workflow_name, node->workflow_version, &workflow))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
				 errmsg("workflow \"%s\" does not exist", node->workflow_name)));
	if (!goflow_workflow_may_start(node->workflow_name, workflow.owner, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to start workflow \"%s\"", node->workflow_name)));
	check_depth(ex, node);
	goflow_limit_check_tree(ex, node->workflow_name);
	input = goflow_evaluate_object(ex, frame, node->exprs, node->nexprs);

	definition = goflow_workflow_load(workflow.workflow_id);
	old = MemoryContextSwitchTo(ex->context);
	row = palloc0(sizeof(GoflowExecutionRow));
	goflow_uuid_generate(&row->id);
	row->workflow_id = workflow.workflow_id;
	row->run_as = definition->security_definer ? workflow.owner : GetUserId();
	row->state = GOFLOW_EXECUTION_QUEUED;
	row->priority = ex->row->priority;
	row->entry = goflow_default_entry(definition);
	row->created_at = GetCurrentTimestamp();
	row->parent = &ex->row->id;
	row->root = ex->row->root ? ex->row->root : &ex->row->id;
	level = goflow_input_settings_begin(definition);
	row->input = goflow_input_convert(definition, input, row);
	goflow_input_settings_end(level);
	MemoryContextSwitchTo(old);
	return row;
}

static void
set_result(GoflowFrame *frame, GoflowNode *node, const pg_uuid_t *id, Jsonb *output)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	MemoryContext old = MemoryContextSwitchTo(frame->context);
	pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

	*copy = *id;
	goflow_node_make_columns(frame, node, run);
	memset(run->values, 0, node->ncolumns * sizeof(Datum));
	memset(run->nulls, true, node->ncolumns * sizeof(bool));
	run->values[0] = UUIDPGetDatum(copy);
	run->nulls[0] = false;
	run->nulls[1] = output == NULL;
	if (output)
		run->values[1] = PointerGetDatum(DatumGetJsonbPCopy(JsonbPGetDatum(output)));
	MemoryContextSwitchTo(old);
}

/* The child's error, as one of this node. */
static Jsonb *
adopt_error(GoflowNode *node, int attempt, Jsonb *error)
{
	Jsonb	   *own = goflow_error_make(goflow_error_code(error),
										goflow_error_field(error, GOFLOW_ERROR_MESSAGE), NULL, node,
										attempt);

	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(error),
											  JsonbPGetDatum(own)));
}

/* The node waits for an execution. */
static void
wait_for(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, pg_uuid_t *child)
{
	GoflowPending *pending = goflow_pending_create(ex, frame, node, GOFLOW_PENDING_WORKFLOW);

	pending->now.row.child = child;
	if (ex->is_inline)
		goflow_cascade_make_step(frame, node);
	else if (node->timeout > 0)
	{
		pending->now.row.due_at = GetCurrentTimestamp() + node->timeout;
		goflow_wake_timer(pending->now.row.due_at);
	}
}

/* Does the node run again only because what is before it does? */
static bool
follows_retried(GoflowExecution *ex, GoflowNode *node)
{
	bool	   *retried = goflow_execution_retried(ex->row, ex->definition->nnodes);
	ListCell   *lc;

	for (int i = 0; i < node->nin; i++)
		if (retried[node->in[i].from->index])
			return true;
	foreach(lc, node->failures)
		if (retried[((GoflowNode *) lfirst(lc))->index])
			return true;
	return false;
}

/*
 * The execution is retried, and this is the first attempt since then of a node
 * whose child failed or was cancelled: that child is retried, too, unless its
 * input may be another by now.  NULL: it is not so.
 */
static GoflowExecutionRow *
find_failed_child(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	GoflowExecutionRow *child = NULL;
	GoflowWorkflowRow workflow;
	GoflowDefinition *definition;
	ListCell   *lc;

	if (!node->wait || run->past_attempts == 0 || run->attempt != run->past_attempts + 1 ||
		follows_retried(ex, node))
		return NULL;
	foreach(lc, goflow_journal_read_frame(ex->row, frame->id))
	{
		GoflowNodeRow *entry = lfirst(lc);
		Datum	   *values;
		bool	   *nulls;

		if (entry->node != node->index || entry->attempt != run->past_attempts || entry->output == NULL)
			continue;
		values = palloc(node->ncolumns * sizeof(Datum));
		nulls = palloc(node->ncolumns * sizeof(bool));
		goflow_values_decode(node->columns, node->ncolumns, entry->output, values, nulls);
		child = goflow_execution_read(DatumGetUUIDP(values[0]));
	}
	if (child == NULL ||
		(child->state != GOFLOW_EXECUTION_FAILED && child->state != GOFLOW_EXECUTION_CANCELLED))
		return NULL;
	definition = goflow_workflow_load(child->workflow_id);
	return goflow_workflow_find(definition->name, definition->version, &workflow) && !workflow.dropped ?
		child : NULL;
}

/* True: the node has ended.  False: it waits for its child. */
bool
goflow_child_begin(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);
	GoflowExecutionRow *row = find_failed_child(ex, frame, node);

	MemoryContextSwitchTo(old);
	if (row)
	{
		goflow_request_insert(&row->id, GOFLOW_REQUEST_RETRY, NULL);
		goflow_wake_execution(&row->id, row->run_as, row->priority);
		wait_for(ex, frame, node, &row->id);
		return false;
	}

	row = make_row(ex, frame, node);
	check_stack_depth();
	if (ex->is_inline)
	{
		if (row->run_as != GetUserId())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("run() cannot run workflow \"%s\" as its owner", node->workflow_name)));
		run_inline(ex, row);
	}
	else
	{
		goflow_execution_insert(row, 1);
		goflow_wake_execution(&row->id, row->run_as, row->priority);
	}
	if (!node->wait)
	{
		set_result(frame, node, &row->id, NULL);
		return true;
	}
	wait_for(ex, frame, node, &row->id);
	return false;
}

/* Asks a child to end, if it has not (row is NULL); unwind says what becomes of the node then, unless the child completes. */
static void
end_child(GoflowPending *pending, GoflowExecutionRow *row, char unwind, const char *reason)
{
	bool		is_asked = pending->now.row.unwind != GOFLOW_UNWIND_NONE;

	pending->now.row.unwind = unwind;
	pending->now.dirty = true;
	if (is_asked || row == NULL)
		return;
	goflow_request_insert(&row->id, GOFLOW_REQUEST_CANCEL, reason);
	goflow_wake_execution(&row->id, row->run_as, GOFLOW_MAX_PRIORITY);
	goflow_wake_cancel(&row->id);
}

/* The node is to end.  It does when its child has. */
void
goflow_child_cancel(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowPending *pending = goflow_run(frame, node)->pending;
	bool		is_over;
	GoflowExecutionRow *row = goflow_execution_read_over(pending->now.row.child, &is_over);

	end_child(pending, is_over ? NULL : row, GOFLOW_UNWIND_CANCEL, "its parent does not need it any more");
	goflow_cascade_make_step(frame, node);
}

/* What is asked of an execution is asked of those that it waits for, too. */
void
goflow_child_pass_on(GoflowExecution *ex, char request, const char *argument)
{
	ListCell   *lc;

	foreach(lc, ex->now.pendings)
	{
		GoflowPending *pending = lfirst(lc);
		GoflowExecutionRow *row;

		if (pending->now.row.kind != GOFLOW_PENDING_WORKFLOW)
			continue;
		row = goflow_execution_read(pending->now.row.child);
		if (row == NULL || goflow_execution_is_finished(row->state))
			continue;
		goflow_request_insert(&row->id, request, argument);
		goflow_wake_execution(&row->id, row->run_as, GOFLOW_MAX_PRIORITY);
	}
}

/* The parent was woken: has the child ended, or is the time over? */
void
goflow_child_step(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	GoflowPending *pending = run->pending;
	TimestampTz started_at = pending->now.row.started_at;
	int			duration = (int) Min(GetCurrentTimestamp() - started_at, PG_INT32_MAX);
	bool		is_over;
	GoflowExecutionRow *row = goflow_execution_read_over(pending->now.row.child, &is_over);
	char		unwind = pending->now.row.unwind;
	MemoryContext old;
	Jsonb	   *error = NULL;

	run->is_stepping = false;
	if (row && !is_over)
	{
		if (unwind == GOFLOW_UNWIND_NONE && pending->now.row.due_at != 0 &&
			pending->now.row.due_at <= GetCurrentTimestamp())
			end_child(pending, row, GOFLOW_UNWIND_FAIL, "its parent has waited too long");
		return;
	}
	if (row && (row->state == GOFLOW_EXECUTION_COMPLETED || row->state == GOFLOW_EXECUTION_PARTIAL))
	{
		set_result(frame, node, &row->id, row->output);
		goflow_cascade_completed(ex, frame, node);
		return;
	}
	set_result(frame, node, pending->now.row.child, NULL);
	if (unwind == GOFLOW_UNWIND_CANCEL)
	{
		goflow_pending_end(ex, pending);
		goflow_execution_record(ex, frame, node, GOFLOW_NODE_CANCELLED, started_at, duration, NULL);
		goflow_cascade_ended(ex, frame, node);
		return;
	}

	old = MemoryContextSwitchTo(ex->context);
	if (row == NULL)
		error = goflow_error_make(ERRCODE_GOFLOW_UNKNOWN_EXECUTION, "the execution that it started has gone",
								  NULL, node, run->attempt);
	else if (unwind == GOFLOW_UNWIND_FAIL)
		error = goflow_error_make(ERRCODE_GOFLOW_EXECUTION_TIMEOUT,
								  psprintf("node \"%s\" timed out", node->path), NULL, node, run->attempt);
	else
		error = row->error ? adopt_error(node, run->attempt, row->error) :
			goflow_error_make(ERRCODE_GOFLOW_NODE_FAILED, "the execution that it started failed",
							  NULL, node, run->attempt);
	MemoryContextSwitchTo(old);
	goflow_node_failed(ex, frame, node, error, started_at, duration);
}
