/*
 * event.c
 *		Events of an execution, from the rows that say what happened.
 *
 * The journal has no row per event.  Every event is derived from the row of
 * what it is about, here, for those who publish (history.c) as for those who
 * look later (api/events.c), so that both see the same under the same number:
 *
 *		seq				node_started, unless it was skipped or never began
 *		end_seq - 1		condition_evaluated; loop_completed
 *		end_seq			node_completed, node_failed or node_skipped
 *		end_seq + 1		progress_update, if no other attempt follows
 *
 *		seq of a loop's frame		loop_iteration
 *		the one before the first	loop_started
 *		seq of an assignment		variable_changed
 *
 * A loop without iterations has loop_started at end_seq - 2.  The execution's
 * own are 1 (started), execution.last_seq, and those in past_end.  A number of which nothing is
 * derived is a gap and means nothing.
 *
 * Most nodes end before anything else happens.  Then end_seq is known from seq
 * and the kind of node, and is not stored.
 */
#include "postgres.h"

#include "engine/engine.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

const char *const goflow_event_names[GOFLOW_EVENT_TYPES] = {
	"execution_started", "execution_completed", "execution_failed", "execution_cancelled",
	"node_started", "node_completed", "node_failed", "node_skipped",
	"variable_changed", "condition_evaluated",
	"loop_started", "loop_iteration", "loop_completed", "progress_update"
};

bool
goflow_event_find(const char *name, GoflowEventType *type)
{
	for (int i = 0; i < GOFLOW_EVENT_TYPES; i++)
		if (strcmp(goflow_event_names[i], name) == 0)
		{
			*type = i;
			return true;
		}
	return false;
}

/* Does the node decide something that an expression of its own says? */
static bool
has_condition(const GoflowNode *node)
{
	switch (node->type)
	{
		case GOFLOW_TYPE_CONDITION:
		case GOFLOW_TYPE_SWITCH:
			return true;
		case GOFLOW_TYPE_BREAK:
		case GOFLOW_TYPE_CONTINUE:
			return node->expr != NULL;
		default:
			return false;
	}
}

/* A loop's first column is the number of its iterations. */
static int64
iterations(const GoflowNodeRow *row)
{
	Datum		first = (Datum) 0;
	bool		isnull = true;
	int			subscript = 1;

	if (row->ncolumns > 0)
	{
		first = row->columns[0];
		isnull = row->column_nulls[0];
	}
	else if (row->output)
		first = array_get_element(PointerGetDatum(row->output), 1, &subscript, -1, -1, false,
								  TYPALIGN_INT, &isnull);
	return isnull ? 0 : strtoll(TextDatumGetCString(first), NULL, 10);
}

/* Numbers that the end of a node takes before its own. */
int
goflow_event_numbers(const GoflowNode *node, const GoflowNodeRow *row)
{
	if (row->state != GOFLOW_NODE_COMPLETED)
		return 0;
	if (node->type == GOFLOW_TYPE_LOOP)
		return iterations(row) > 0 ? 1 : 2;
	return has_condition(node) ? 1 : 0;
}

/* The number of a node's end where nothing else happened since it began.  numbers: goflow_event_numbers() */
int32
goflow_event_next_end(const GoflowNode *node, const GoflowNodeRow *row, int numbers)
{
	switch (row->state)
	{
		case GOFLOW_NODE_COMPLETED:
			return row->seq + numbers + 1 +
				(node->type == GOFLOW_TYPE_SET ? node->nexprs : 0);
		case GOFLOW_NODE_FAILED:
			return row->seq + 1;
		default:
			return row->seq;	/* it did not begin */
	}
}

/* The number of a node's end; 0: its driver has not seen it yet. */
int32
goflow_event_end(const GoflowNode *node, const GoflowNodeRow *row)
{
	return row->end_seq >= 0 ? row->end_seq :
		goflow_event_next_end(node, row, goflow_event_numbers(node, row));
}

static GoflowEvent
make(GoflowEventType type, int32 number, TimestampTz at, char state)
{
	GoflowEvent event;

	memset(&event, 0, sizeof(event));
	event.type = type;
	event.number = number;
	event.at = at;
	event.state = state;
	event.node = -1;
	event.variable = -1;
	return event;
}

static GoflowEvent
make_of_node(GoflowEventType type, int32 number, TimestampTz at, char state, int32 frame, int16 node,
			 int16 attempt)
{
	GoflowEvent event = make(type, number, at, state);

	event.frame = frame;
	event.node = node;
	event.attempt = attempt;
	return event;
}

GoflowEventType
goflow_event_type_of_end(char state)
{
	switch (state)
	{
		case GOFLOW_NODE_COMPLETED:
			return GOFLOW_EVENT_NODE_COMPLETED;
		case GOFLOW_NODE_FAILED:
			return GOFLOW_EVENT_NODE_FAILED;
		default:
			return GOFLOW_EVENT_NODE_SKIPPED;
	}
}

void
goflow_event_of_node(const GoflowDefinition *definition, const GoflowNodeRow *row,
					 GoflowEventSink sink, void *arg)
{
	const GoflowNode *node = definition->nodes[row->node];
	int32		end = goflow_event_end(node, row);
	int32		number;
	GoflowEvent event;

#define EMIT(type, number, at, state) \
	(event = make_of_node(type, number, at, state, row->frame, row->node, row->attempt), \
	 event.port = row->port, \
	 event.duration = end == row->seq ? -1 : row->duration, \
	 event.source = (type) == GOFLOW_EVENT_LOOP_STARTED ? -1 : 0, \
	 event.iteration = (type) == GOFLOW_EVENT_LOOP_COMPLETED ? iterations(row) : 0, \
	 sink(&event, arg))

	if (end != row->seq)
		EMIT(GOFLOW_EVENT_NODE_STARTED, row->seq, row->queued_at ? row->queued_at : row->started_at,
			 GOFLOW_NODE_RUNNING);
	if (end == 0)
		return;
	number = end - goflow_event_numbers(node, row);
	if (row->state == GOFLOW_NODE_COMPLETED)
	{
		if (has_condition(node))
			EMIT(GOFLOW_EVENT_CONDITION_EVALUATED, number, row->finished_at, row->state);
		if (node->type == GOFLOW_TYPE_LOOP)
		{
			if (iterations(row) == 0)
				EMIT(GOFLOW_EVENT_LOOP_STARTED, number++, row->finished_at, GOFLOW_NODE_RUNNING);
			EMIT(GOFLOW_EVENT_LOOP_COMPLETED, number, row->finished_at, row->state);
		}
	}
	EMIT(goflow_event_type_of_end(row->state), end, row->finished_at, row->state);
	if (!row->retried)
	{
		event = make(GOFLOW_EVENT_PROGRESS_UPDATE, end + 1, row->finished_at, GOFLOW_EXECUTION_RUNNING);
		sink(&event, arg);
	}
#undef EMIT
}

/* A node has begun and not ended; number 0: it is to begin again. */
void
goflow_event_of_start(int32 number, TimestampTz at, int32 frame, int16 node, int16 attempt,
					  GoflowEventSink sink, void *arg)
{
	GoflowEvent event = make_of_node(GOFLOW_EVENT_NODE_STARTED, number, at, GOFLOW_NODE_RUNNING,
									 frame, node, attempt);

	if (number > 0 && node >= 0)
		sink(&event, arg);
}

/*
 * An iteration of a loop has begun: a frame inside of the loop's own.  source:
 * the frame of the node whose rows it is over.
 */
void
goflow_event_of_frame(int32 number, TimestampTz at, int32 frame, int32 parent, int16 loop,
					  int16 attempt, int64 iteration, int32 source, GoflowEventSink sink, void *arg)
{
	GoflowEvent event;

	if (number == 0)
		return;
	if (iteration == 1)
	{
		event = make_of_node(GOFLOW_EVENT_LOOP_STARTED, number - 1, at, GOFLOW_NODE_RUNNING, parent,
							 loop, attempt);
		event.source = source;
		sink(&event, arg);
	}
	event = make_of_node(GOFLOW_EVENT_LOOP_ITERATION, number, at, GOFLOW_NODE_RUNNING, parent, loop,
						 attempt);
	event.inner = frame;
	event.iteration = iteration;
	event.source = source;
	sink(&event, arg);
}

void
goflow_event_of_variable(const GoflowVariableRow *row, GoflowEventSink sink, void *arg)
{
	GoflowEvent event = make(GOFLOW_EVENT_VARIABLE_CHANGED, row->seq, row->assigned_at,
							 GOFLOW_NODE_RUNNING);

	event.frame = row->frame;
	event.node = row->node;
	event.variable = row->variable;
	if (row->seq > 0)
		sink(&event, arg);
}

void
goflow_event_of_begin(int32 number, TimestampTz at, GoflowEventSink sink, void *arg)
{
	GoflowEvent event = make(GOFLOW_EVENT_EXECUTION_STARTED, number, at, GOFLOW_EXECUTION_RUNNING);

	if (at != 0)
		sink(&event, arg);
}

void
goflow_event_of_finish(int32 number, TimestampTz at, char state, GoflowEventSink sink, void *arg)
{
	GoflowEvent event = make(state == GOFLOW_EXECUTION_FAILED ? GOFLOW_EVENT_EXECUTION_FAILED :
							 state == GOFLOW_EXECUTION_CANCELLED ? GOFLOW_EVENT_EXECUTION_CANCELLED :
							 GOFLOW_EVENT_EXECUTION_COMPLETED,
							 number, at, state);

	sink(&event, arg);
}
