/*
 * failure.c
 *		What an error of a node does.
 *
 * First the retry policy: the attempt is journaled, and another one follows
 * after a wait that holds no worker.  When attempts are exhausted, "on_error"
 * says what becomes of the body that the node is in: it fails (fail), goes on
 * as if the node had completed without a result (continue), without what hangs
 * on the node (skip), or at another node.  A body that fails is stopped, and
 * its error goes on to the node whose body it is: a try may catch it, for any
 * other it is an error of its own.
 *
 * All of it follows from the journal: a driver that finds a failed attempt it
 * did not see fail (of node mode, or after a crash) comes to the same end.
 */
#include "postgres.h"

#include "engine/state.h"

#include <math.h>

#include "common/pg_prng.h"
#include "utils/timestamp.h"

static GoflowOnError
effective_on_error(const GoflowNode *node)
{
	return node->on_error != GOFLOW_ON_ERROR_DEFAULT ? node->on_error : node->definition->on_error;
}

/* True if edges from the node, once it failed, count as taken. */
bool
goflow_failure_continues(const GoflowNode *node)
{
	return effective_on_error(node) == GOFLOW_ON_ERROR_CONTINUE;
}

/* True if the body goes on when the node fails. */
bool
goflow_failure_is_handled(const GoflowNode *node)
{
	return effective_on_error(node) > GOFLOW_ON_ERROR_FAIL;
}

bool
goflow_failure_makes_partial(const GoflowNode *node)
{
	return effective_on_error(node) == GOFLOW_ON_ERROR_CONTINUE ||
		effective_on_error(node) == GOFLOW_ON_ERROR_SKIP;
}

/* The policy that gives this error another attempt, or NULL. */
static const GoflowRetry *
find_policy(GoflowFrame *frame, GoflowNode *node, Jsonb *error)
{
	const GoflowRetry *retry = node->retry;
	GoflowNodeRun *run = goflow_run(frame, node);

	/* what a body's nodes could not mend, the workflow's default does not repeat as a whole */
	if (retry == NULL && !goflow_node_runs_bodies(node) && node->type != GOFLOW_TYPE_RAISE)
		retry = node->definition->retry;
	if (retry == NULL || frame->now.unwind != GOFLOW_UNWIND_NONE ||
		run->attempt - run->past_attempts >= retry->attempts ||
		!goflow_condition_matches(retry->codes, retry->ncodes, goflow_error_code(error)))
		return NULL;
	return retry;
}

/* Microseconds to wait after so many attempts. */
static int64
wait_time(const GoflowRetry *retry, int attempts)
{
	double		wait = retry->backoff * pow(retry->factor, attempts - 1);

	if (retry->max_delay > 0)
		wait = Min(wait, (double) retry->max_delay);
	if (retry->jitter > 0)
		wait *= 1.0 + retry->jitter * (2.0 * pg_prng_double(&pg_global_prng_state) - 1.0);
	return (int64) Min(Max(wait, 0), (double) (PG_INT64_MAX / 4));
}

/* Prepares the next attempt of a node whose last one is journaled. */
static void
try_again(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, const GoflowRetry *retry)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	int64		wait = wait_time(retry, run->attempt - run->past_attempts);
	GoflowPending *pending;

	run->attempt++;
	run->offered = goflow_history_offered(ex, frame, node, run->attempt);
	run->seq = run->offered ? run->offered->seq : 0;
	run->end_seq = 0;
	run->row = NULL;
	run->values = NULL;
	run->output = NULL;
	run->rows = NULL;
	run->error = NULL;
	run->port = -1;
	if (wait == 0)
	{
		goflow_cascade_make_ready(frame, node);
		return;
	}
	if (ex->is_inline)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_MUST_WAIT),
				 errmsg("run() cannot wait to retry node \"%s\" of workflow \"%s\"",
						node->path, ex->definition->name),
				 errhint("Use goflow.start() for workflows that wait.")));
	pending = goflow_pending_create(ex, frame, node, GOFLOW_PENDING_RETRY);
	pending->now.row.due_at = GetCurrentTimestamp() + wait;
	run->state = GOFLOW_NODE_RETRYING;
	goflow_wake_timer(pending->now.row.due_at);
}

static void
give_up(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);

	switch (effective_on_error(node))
	{
		case GOFLOW_ON_ERROR_CONTINUE:
		case GOFLOW_ON_ERROR_SKIP:
			ex->now.is_partial = true;
			goflow_cascade_ended(ex, frame, node);
			break;
		case GOFLOW_ON_ERROR_NODE:
			goflow_cascade_ended(ex, frame, node);
			break;
		case GOFLOW_ON_ERROR_DEFAULT:
		case GOFLOW_ON_ERROR_FAIL:
			goflow_frame_stop(ex, frame, GOFLOW_UNWIND_FAIL, run->error, -1);
			goflow_frame_check_end(ex, frame);
			break;
	}
}

/*
 * error must live until the journal is written.  Of a failure that the body
 * handles, the body keeps a copy; any other may go on as far as the execution.
 */
void
goflow_node_failed(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, Jsonb *error,
				   TimestampTz started_at, int duration)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	const GoflowRetry *retry;

	if (run->attempt == 0)
		run->attempt = 1;
	retry = find_policy(frame, node, error);
	if (run->pending)
		goflow_pending_end(ex, run->pending);
	if (retry)
	{
		goflow_execution_record_attempt(ex, frame, node, started_at, duration, error);
		try_again(ex, frame, node, retry);
		return;
	}
	goflow_execution_record(ex, frame, node, GOFLOW_NODE_FAILED, started_at, duration, error);
	run->error = goflow_jsonb_copy(goflow_failure_is_handled(node) ? frame->context : ex->context, error);
	give_up(ex, frame, node);
}

/*
 * After loading.  Who goes on after it is settled, and whether the frame has
 * ended is found out, when all failures of the frame have been applied.
 */
void
goflow_failure_apply(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	const GoflowRetry *retry = find_policy(frame, node, run->error);

	if (retry)
	{
		/* loaded as failed for good */
		frame->now.open++;
		frame->now.failed--;
		ex->now.failed--;
		goflow_history_retried(ex, run);
		try_again(ex, frame, node, retry);
	}
	else if (effective_on_error(node) <= GOFLOW_ON_ERROR_FAIL)
		give_up(ex, frame, node);
	else if (effective_on_error(node) != GOFLOW_ON_ERROR_NODE)
		ex->now.is_partial = true;
}
