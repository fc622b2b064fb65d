/*
 * history.c
 *		Numbers and events: what happened in an execution, in order.
 *
 * Everything that can be seen of an execution has a number (event.c has the
 * list).  Only its driver gives numbers, so they have one order, and all that
 * one transaction gave become visible with its commit: whoever has seen the
 * history up to a number misses nothing when he asks for what comes after it.
 *
 * Workers in node mode run beside the driver and beside each other.  So the
 * driver numbers the start of such a node when it hands it over, and stores
 * that (goflow.offered): after a crash it is handed over again under the same
 * number.  The worker leaves the end unnumbered (end_seq 0, and the negative
 * start in rows of variables, which do not count until then).  The next driver,
 * which is woken by it, sees these rows and gives them their numbers.
 *
 * Transactions that store nothing but such notes need not wait for the disk:
 * what a crash takes is noted again.  Nobody has been told the numbers before,
 * since whoever tells flushes them first (api/events.c, process/scheduler.c).
 *
 * If somebody listens, the events of a transaction are kept in memory and go
 * into the ring after its commit.  If it has noted more than may be sent, of its
 * other executions no more is kept than is needed to count what is dropped.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* ---- events to be published ---- */

/* Of the present batch: events noted, and those of them that nobody will be told of. */
static int64 noted = 0;
static int64 unsent = 0;

static bool
is_end(int type)
{
	return (GOFLOW_EVENT_BIT(type) & GOFLOW_EVENTS_END) != 0;
}

/* Room for one more in an array of the execution's. */
static void *
make_room(GoflowExecution *ex, void *array, int *max, int first, Size size)
{
	*max = Max(*max * 2, first);
	return array ? repalloc_huge(array, *max * size) : MemoryContextAlloc(ex->context, *max * size);
}

static void
note_unsent(GoflowExecution *ex, const GoflowEvent *event)
{
	if (ex->now.nunsent == ex->max_unsent)
		ex->unsent = make_room(ex, ex->unsent, &ex->max_unsent, 64, sizeof(GoflowUnsent));
	ex->unsent[ex->now.nunsent++] = (GoflowUnsent) {
		.number = event->number, .node = event->node, .type = event->type
	};
}

static void
note(const GoflowEvent *event, void *arg)
{
	GoflowExecution *ex = arg;
	GoflowEvent *copy;

	if (!(ex->watched & GOFLOW_EVENT_BIT(event->type)) || event->number <= ex->published)
		return;
	if (ex->is_flooded && !is_end(event->type))
	{
		note_unsent(ex, event);
		return;
	}
	noted++;
	if (ex->now.nevents == ex->max_events)
		ex->events = make_room(ex, ex->events, &ex->max_events, ex->is_flooded ? 1 : 64,
							   sizeof(GoflowEvent));
	copy = &ex->events[ex->now.nevents++];
	*copy = *event;
	if (event->type <= GOFLOW_EVENT_EXECUTION_CANCELLED ||
		event->type == GOFLOW_EVENT_PROGRESS_UPDATE)
	{
		copy->total = ex->now.total;
		copy->completed = ex->now.completed;
		copy->failed = ex->now.failed;
		copy->skipped = ex->now.skipped;
	}
}

/* Hundredths that have ended. */
int
goflow_event_percent(const GoflowEvent *event)
{
	int64		ended = (int64) event->completed + event->failed + event->skipped;

	return event->total > 0 ? (int) Min(10000, ended * 10000 / event->total) : 10000;
}

/* The number is the first of both. */
StaticAssertDecl(offsetof(GoflowEvent, number) == 0 && offsetof(GoflowUnsent, number) == 0,
				 "by_number() is for both");

static int
by_number(const void *a, const void *b)
{
	int32		left = *(const int32 *) a;
	int32		right = *(const int32 *) b;

	return left < right ? -1 : left > right;
}

/* In each transaction: finds out which events somebody listens to, and may be told of. */
void
goflow_history_watch(GoflowExecution *ex)
{
	const char *workflow = ex->definition->name;

	ex->to_channels = goflow_channel_watched(&ex->row->id, workflow);
	ex->watched = ex->to_channels |
		goflow_subscription_watched(&ex->row->id, workflow, ex->row->run_as);
	ex->is_flooded = ex->watched != 0 && goflow_rate_room() <= noted;
}

/*
 * Its number is the first, but only who commits knows that it has begun.  It
 * goes before the others, which mostly are in order: then they need no sorting.
 */
static void
note_begin(GoflowExecution *ex)
{
	int			nevents = ex->now.nevents;
	int			nunsent = ex->now.nunsent;

	goflow_event_of_begin(1, ex->row->started_at, note, ex);
	if (ex->now.nevents > nevents)
	{
		GoflowEvent begin = ex->events[nevents];

		memmove(&ex->events[1], &ex->events[0], nevents * sizeof(GoflowEvent));
		ex->events[0] = begin;
	}
	if (ex->now.nunsent > nunsent)
	{
		GoflowUnsent begin = ex->unsent[nunsent];

		memmove(&ex->unsent[1], &ex->unsent[0], nunsent * sizeof(GoflowUnsent));
		ex->unsent[0] = begin;
	}
}

/* Puts the events in order; one progress per commit; what began and ended in it was noted twice. */
static void
tidy_events(GoflowExecution *ex)
{
	int			last_progress = -1;
	int			kept = 0;

	qsort(ex->events, ex->now.nevents, sizeof(GoflowEvent), by_number);
	for (int i = ex->now.nevents - 1; i >= 0 && last_progress < 0; i--)
		if (ex->events[i].type == GOFLOW_EVENT_PROGRESS_UPDATE)
			last_progress = i;
	for (int i = 0; i < ex->now.nevents; i++)
	{
		GoflowEvent *event = &ex->events[i];
		bool		is_progress = event->type == GOFLOW_EVENT_PROGRESS_UPDATE;

		if ((is_progress && i != last_progress) || event->number <= ex->published)
			continue;
		ex->published = event->number;
		if (is_progress)
			event->percent = Max(goflow_event_percent(event), goflow_execution_percent(ex));
		else if (event->type <= GOFLOW_EVENT_EXECUTION_CANCELLED)
			event->percent = goflow_execution_is_done(ex) ? 10000 : goflow_execution_percent(ex);
		if (kept != i)
			ex->events[kept] = *event;
		kept++;
	}
	ex->now.nevents = kept;
}

/* Sets whom an event is to be told to; returns how many they are. */
static int
address(GoflowExecution *ex, GoflowEventType type, int node, GoflowMessage *message)
{
	message->event.type = type;
	return goflow_subscription_targets(message, node >= 0 ? ex->definition->nodes[node]->path : NULL) +
		((ex->to_channels & GOFLOW_EVENT_BIT(type)) != 0);
}

/* The same with the event itself. */
static int
write_message(GoflowExecution *ex, const GoflowEvent *event, GoflowMessage *message)
{
	message->event = *event;
	message->has_values = event->type == GOFLOW_EVENT_EXECUTION_STARTED ?
		ex->definition->ninputs > 0 : ex->row->output || ex->row->error;
	return address(ex, event->type, event->node, message);
}

/* What all messages of an execution have, and to whom they go. */
static void
begin_message(GoflowExecution *ex, GoflowMessage *message)
{
	memset(message, 0, sizeof(*message));
	message->database = MyDatabaseId;
	message->workflow_id = ex->definition->workflow_id;
	message->execution_id = ex->row->id;
	message->run_as = ex->row->run_as;
	message->started_at = ex->row->started_at;
	strlcpy(message->workflow, ex->definition->name, NAMEDATALEN);
	goflow_subscription_match(&ex->row->id, ex->definition->name);
}

/* An event that nobody is told of, unless it is taken back (-1). */
static void
tally(const GoflowMessage *message, int targets, int change)
{
	if (targets == 0)
		return;
	unsent += change;
	goflow_subscription_tally(message, change);
}

/* Tallies what is not to be sent: each event once, and of progress the first. */
static void
tally_unsent(GoflowExecution *ex, GoflowMessage *message)
{
	bool		has_progress = false;

	qsort(ex->unsent, ex->now.nunsent, sizeof(GoflowUnsent), by_number);
	for (int i = 0; i < ex->now.nunsent; i++)
	{
		const GoflowUnsent *event = &ex->unsent[i];

		if (event->number <= ex->published)
			continue;
		ex->published = event->number;
		if (event->type == GOFLOW_EVENT_PROGRESS_UPDATE)
		{
			if (has_progress)
				continue;
			has_progress = true;
		}
		tally(message, address(ex, event->type, event->node, message), 1);
	}
}

/* Publishes as many of the events as there may be; false: none. */
static bool
publish(GoflowExecution *ex, GoflowMessage *message)
{
	int64		wanted = 0;
	int64		granted;
	bool		any = false;

	message->lsn = XactLastCommitEnd;
	for (int i = 0; i < ex->now.nevents; i++)
	{
		const GoflowEvent *event = &ex->events[i];
		int			n = address(ex, event->type, event->node, message);

		tally(message, n, 1);
		if (!is_end(event->type))
			wanted += n;
	}
	granted = goflow_rate_take(wanted, false);
	for (int i = 0; i < ex->now.nevents; i++)
	{
		const GoflowEvent *event = &ex->events[i];
		int			n;

		if (granted == 0 && !is_end(event->type))
			continue;
		n = write_message(ex, event, message);
		if (n == 0 || (is_end(event->type) ? goflow_rate_take(n, true) : granted) < n)
			continue;
		if (!is_end(event->type))
			granted -= n;
		tally(message, n, -1);
		goflow_message_publish(message);
		any = true;
	}
	return any;
}

/* Notes where it began and ended, which is known last, and puts all in order.  Begins the message, too. */
static void
complete_events(GoflowExecution *ex, char old_state, GoflowMessage *message)
{
	begin_message(ex, message);
	if (old_state == GOFLOW_EXECUTION_QUEUED)
		note_begin(ex);
	if (goflow_execution_is_done(ex))
		goflow_event_of_finish(ex->row->last_seq, ex->row->finished_at, ex->row->state, note, ex);
	if (ex->now.nunsent > 0)
		tally_unsent(ex, message);
	tidy_events(ex);
}

void
goflow_history_publish(GoflowExecution *ex, char old_state)
{
	if (ex->watched != 0)
	{
		GoflowMessage message;

		complete_events(ex, old_state, &message);
		if (ex->now.nevents > 0 && publish(ex, &message))
			goflow_scheduler_wake_message(MyDatabaseId);
	}
	ex->now.nevents = ex->now.nunsent = 0;
	ex->published = ex->now.seq;
}

/*
 * The same before the commit, of a flooded one that has finished and is let go
 * of.  Returns the message of its end, for goflow_history_publish_ended(); NULL:
 * nobody is told.
 */
GoflowMessage *
goflow_history_settle(GoflowExecution *ex, char old_state, MemoryContext context)
{
	GoflowMessage message;
	GoflowMessage *result;
	int			n;

	complete_events(ex, old_state, &message);
	if (ex->now.nevents == 0)
		return NULL;
	n = write_message(ex, &ex->events[ex->now.nevents - 1], &message);
	if (n == 0 || goflow_rate_take(n, true) < n)
	{
		tally(&message, n, 1);
		return NULL;
	}
	result = MemoryContextAlloc(context, sizeof(GoflowMessage));
	*result = message;
	return result;
}

/* A batch has been published, or rolled back: counts what was not sent. */
void
goflow_history_batch_ended(bool committed)
{
	if (unsent > 0)
	{
		goflow_subscription_end_tally(committed);
		if (committed)
			goflow_message_count_dropped(unsent);
	}
	noted = unsent = 0;
}

/*
 * The end of an execution that nobody could drive to it, where somebody listens
 * to it.  The first is called in its transaction, the other one after it.
 */
void
goflow_history_ended(const GoflowExecutionRow *row, const char *workflow, GoflowMessage *message)
{
	uint32		bit = GOFLOW_EVENT_BIT(GOFLOW_EVENT_EXECUTION_FAILED);
	bool		to_channels = (goflow_channel_watched(&row->id, workflow) & bit) != 0;

	memset(message, 0, sizeof(*message));
	message->execution_id = row->id;
	message->workflow_id = row->workflow_id;
	message->run_as = row->run_as;
	message->has_values = true;
	message->started_at = row->started_at;
	message->event.type = GOFLOW_EVENT_EXECUTION_FAILED;
	message->event.number = row->last_seq;
	message->event.at = row->finished_at;
	message->event.state = row->state;
	message->event.node = message->event.variable = -1;
	strlcpy(message->workflow, workflow, NAMEDATALEN);
	(void) goflow_subscription_watched(&row->id, workflow, row->run_as);
	goflow_subscription_match(&row->id, workflow);
	if (goflow_subscription_targets(message, NULL) + to_channels > 0)
		message->database = MyDatabaseId;
}

void
goflow_history_publish_ended(GoflowMessage *message)
{
	if (!OidIsValid(message->database))
		return;
	message->lsn = XactLastCommitEnd;
	goflow_message_publish(message);
	goflow_scheduler_wake_message(message->database);
}

/* ---- numbers ---- */

static bool
is_helper(const GoflowExecution *ex)
{
	return !ex->is_driver && !ex->is_inline;
}

void
goflow_history_start(GoflowExecution *ex, GoflowNodeRun *run)
{
	if (run->seq == 0)
		run->seq = ++ex->now.seq;
}

/* One row of each frame at least says whose frame it is: frames leave no row of their own. */
static void
tell_frame(GoflowFrame *frame, GoflowNodeRow *row)
{
	row->parent = -1;
	if (frame->parent == NULL || frame->now.told)
		return;
	frame->now.told = true;
	row->parent = frame->parent->id;
	row->iteration = frame->iteration;
	row->frame_seq = frame->seq;
	row->frame_at = frame->started_at;
}

static void
tell_total(GoflowExecution *ex, GoflowNodeRow *row)
{
	if (ex->now.total == ex->now.told_total)
		return;
	ex->now.told_total = ex->now.total;
	row->total = ex->now.total;
}

static void
end_offer(GoflowExecution *ex, GoflowOfferedRow *offered)
{
	goflow_writes_add(ex->writes, GOFLOW_WRITE_OFFERED_END, offered);
}

void
goflow_history_end(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, GoflowNodeRow *row)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	bool		has_begun = run->seq != 0 || row->state == GOFLOW_NODE_COMPLETED ||
		row->state == GOFLOW_NODE_FAILED;
	int			numbers = goflow_event_numbers(node, row);

	tell_frame(frame, row);
	if (is_helper(ex))
	{
		row->seq = run->seq;
		row->end_seq = 0;
		row->retried = false;	/* the driver decides */
		return;
	}
	goflow_history_start(ex, run);
	row->seq = run->seq;
	run->end_seq = run->seq;
	if (has_begun)
		run->end_seq = ex->now.seq += numbers + 1;
	row->end_seq = run->end_seq == goflow_event_next_end(node, row, numbers) ? -1 : run->end_seq;
	ex->now.seq++;
	if (!row->retried)
		tell_total(ex, row);
	row->queued_at = run->began_at;
	if (run->offered)
	{
		row->queued_at = run->offered->offered_at;
		end_offer(ex, run->offered);
		run->offered = NULL;
	}
	if (ex->watched)
		goflow_event_of_node(ex->definition, row, note, ex);
}

/* A frame is to begin.  attempt: of the node whose it is. */
void
goflow_history_frame(GoflowExecution *ex, GoflowFrame *frame, int attempt)
{
	GoflowNode *owner = frame->body->owner;

	if (owner->type != GOFLOW_TYPE_LOOP)
		return;
	if (frame->iteration == 1)
		ex->now.seq++;
	frame->seq = ++ex->now.seq;
	frame->started_at = GetCurrentTimestamp();
	if (ex->watched)
		goflow_event_of_frame(frame->seq, frame->started_at, frame->id, frame->parent->id,
							  owner->index, attempt, frame->iteration,
							  owner->loop_source ?
							  goflow_frame_of_body(frame->parent, owner->loop_source->body)->id : 0,
							  note, ex);
}

/* A node is to be handed to the workers. */
void
goflow_history_offer(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node)
{
	GoflowNodeRun *run = goflow_run(frame, node);
	MemoryContext old;
	GoflowOfferedRow *row;

	if (run->offered)
		return;					/* it has been, and was lost with its worker */
	goflow_history_start(ex, run);
	old = MemoryContextSwitchTo(ex->context);
	row = palloc0(sizeof(GoflowOfferedRow));
	row->execution_id = ex->row->id;
	row->seq = run->seq;
	row->frame = frame->id;
	row->node = node->index;
	row->attempt = run->attempt;
	row->offered_at = GetCurrentTimestamp();
	ex->offered = lappend(ex->offered, row);
	MemoryContextSwitchTo(old);
	run->offered = row;
	goflow_writes_add(ex->writes, GOFLOW_WRITE_OFFERED, row);
	if (ex->watched)
		goflow_event_of_start(row->seq, row->offered_at, row->frame, row->node, row->attempt, note, ex);
}

/* A node has begun, and waits for something. */
void
goflow_history_begun(GoflowExecution *ex, const GoflowPendingRow *row)
{
	if (ex->watched)
		goflow_event_of_start(row->seq, row->started_at, row->frame, row->node, row->attempt, note, ex);
}

void
goflow_history_assigned(GoflowExecution *ex, const GoflowVariableRow *row)
{
	if (ex->watched)
		goflow_event_of_variable(row, note, ex);
}

/* The execution has ended; its row is complete but for the number. */
void
goflow_history_finish(GoflowExecution *ex)
{
	ListCell   *lc;

	ex->row->last_seq = ++ex->now.seq;
	foreach(lc, ex->offered)
		end_offer(ex, lfirst(lc));
}

void
goflow_history_restart(GoflowExecution *ex, TimestampTz started_at)
{
	GoflowPastEndRow *row = MemoryContextAllocZero(ex->writes->context, sizeof(GoflowPastEndRow));

	row->execution_id = ex->row->id;
	row->seq = ex->row->last_seq;
	row->state = ex->row->state;
	row->started_at = started_at;
	row->finished_at = ex->row->finished_at;
	row->output = ex->row->output;
	row->error = ex->row->error;
	row->restarted_seq = ++ex->now.seq;
	row->restarted_at = GetCurrentTimestamp();
	row->counts[0] = ex->now.total;
	row->counts[1] = ex->now.completed;
	row->counts[2] = ex->now.failed;
	row->counts[3] = ex->now.skipped;
	ex->now.told_total = ex->now.total;
	goflow_writes_add(ex->writes, GOFLOW_WRITE_PAST_END, row);
	goflow_event_of_begin(row->restarted_seq, row->restarted_at, note, ex);
}

/* ---- what ended in node mode ---- */

GoflowOfferedRow *
goflow_history_offered(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node, int attempt)
{
	ListCell   *lc;

	foreach(lc, ex->offered)
	{
		GoflowOfferedRow *row = lfirst(lc);

		if (row->frame == frame->id && row->node == node->index && row->attempt == attempt)
			return row;
	}
	return NULL;
}

/* What a node in node mode assigned counts from now on. */
static void
see_variables(GoflowExecution *ex, GoflowNode *node, const GoflowNodeRow *row)
{
	for (int i = 0; i < node->nexprs; i++)
	{
		int			number = node->exprs[i].field;
		GoflowField *field = &ex->definition->variables[number];
		GoflowVariableRow *assigned = goflow_variable_read_seq(ex->row, number, -row->seq);
		GoflowVariableRow *seen;
		GoflowFrame *frame;
		int			position;

		ex->now.seq++;
		if (assigned == NULL)
			continue;
		seen = palloc(sizeof(GoflowVariableRow));
		*seen = *assigned;
		seen->seq = ex->now.seq;
		goflow_writes_add(ex->writes, GOFLOW_WRITE_VARIABLE_END, assigned);
		goflow_writes_add(ex->writes, GOFLOW_WRITE_VARIABLE, seen);
		goflow_history_assigned(ex, seen);
		frame = goflow_frame_find(ex, seen->frame);
		if (frame == NULL)
			continue;
		position = number - frame->body->first_variable;
		frame->now.variable_nulls[position] = seen->value == NULL;
		if (seen->value)
		{
			MemoryContext old = MemoryContextSwitchTo(frame->context);

			frame->now.variables[position] = goflow_value_decode(field, text_to_cstring(seen->value));
			MemoryContextSwitchTo(old);
		}
	}
}

static void
see_node(GoflowExecution *ex, GoflowNodeRow *row)
{
	GoflowNode *node = ex->definition->nodes[row->node];
	GoflowFrame *frame = goflow_frame_find(ex, row->frame);
	GoflowNodeRun *run = goflow_run(frame, node);
	GoflowOfferedRow *offered = goflow_history_offered(ex, frame, node, row->attempt);

	if (node->type == GOFLOW_TYPE_SET && row->state == GOFLOW_NODE_COMPLETED)
		see_variables(ex, node, row);
	row->end_seq = ex->now.seq += goflow_event_numbers(node, row) + 1;
	ex->now.seq++;
	tell_total(ex, row);
	if (offered)
	{
		row->queued_at = offered->offered_at;
		end_offer(ex, offered);
		ex->offered = list_delete_ptr(ex->offered, offered);
	}
	if (run->row == row)
		run->end_seq = row->end_seq;
	row->is_changed = true;
	goflow_writes_add(ex->writes, GOFLOW_WRITE_NODE_SEEN, row);
	if (ex->watched)
		goflow_event_of_node(ex->definition, row, note, ex);
}

/* Nodes that were handed over and have not ended keep the number of their start. */
static void
see_offers(GoflowExecution *ex)
{
	List	   *offered = list_copy(ex->offered);
	ListCell   *lc;

	foreach(lc, offered)
	{
		GoflowOfferedRow *row = lfirst(lc);
		GoflowNode *node = ex->definition->nodes[row->node];
		GoflowFrame *frame = goflow_frame_find(ex, row->frame);
		GoflowNodeRun *run = frame ? goflow_run(frame, node) : NULL;

		if (run == NULL || (goflow_node_has_ended(run) && run->attempt >= row->attempt))
		{
			end_offer(ex, row);
			ex->offered = list_delete_ptr(ex->offered, row);
		}
		else if (run->attempt == row->attempt || run->state == GOFLOW_NODE_IDLE)
		{
			run->offered = row;
			run->seq = row->seq;
		}
	}
	list_free(offered);
}

static int
by_end(const ListCell *a, const ListCell *b)
{
	const GoflowNodeRow *left = lfirst(a);
	const GoflowNodeRow *right = lfirst(b);

	if (left->finished_at != right->finished_at)
		return left->finished_at < right->finished_at ? -1 : 1;
	return left->seq < right->seq ? -1 : left->seq > right->seq;
}

void
goflow_history_see(GoflowExecution *ex)
{
	MemoryContext old = MemoryContextSwitchTo(ex->context);
	ListCell   *lc;

	list_sort(ex->unseen, by_end);
	foreach(lc, ex->unseen)
		see_node(ex, lfirst(lc));
	ex->unseen = NIL;
	see_offers(ex);
	MemoryContextSwitchTo(old);
}

/* The last attempt of a node, which failed and was loaded, is followed by another one. */
void
goflow_history_retried(GoflowExecution *ex, GoflowNodeRun *run)
{
	GoflowNodeRow *row = run->row;
	int			kept = 0;

	if (row == NULL || row->retried)
		return;
	row->retried = true;
	if (!row->is_changed)
		goflow_writes_add(ex->writes, GOFLOW_WRITE_NODE_SEEN, row);
	row->is_changed = true;
	/* it has changed no count */
	for (int i = 0; i < ex->now.nevents; i++)
		if (ex->events[i].type != GOFLOW_EVENT_PROGRESS_UPDATE ||
			ex->events[i].number != row->end_seq + 1)
			ex->events[kept++] = ex->events[i];
	ex->now.nevents = kept;
}
