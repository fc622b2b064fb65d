/*
 * events.c
 *		events(): the history of an execution.
 *
 * Derived from the tables as of one moment (engine/event.c says what follows
 * from which row), sorted by number, and only then filtered: a progress_update
 * needs the counts of all that ended before it.
 */
#include "postgres.h"

#include "api/api.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"

#include "engine/engine.h"

PG_FUNCTION_INFO_V1(goflow_events);

/* ---- collecting ---- */

typedef struct Found
{
	GoflowEvent event;
	const GoflowNodeRow *entry; /* of the end of a node, or NULL */
	const GoflowPastEndRow *past;	/* the execution goes on after it, or NULL */
} Found;

/* A run of a loop: its iterations are frames inside of (frame, node). */
typedef struct LoopRun
{
	int32		frame;
	int16		node;
	int16		attempt;
	int32		seq;
} LoopRun;

typedef struct FrameParent
{
	int32		frame;			/* key */
	int32		parent;
} FrameParent;

typedef struct History
{
	GoflowExecutionRow *row;
	GoflowDefinition *definition;
	Found	   *found;
	int			nfound;
	int			maxfound;
	const GoflowNodeRow *entry; /* whose events are being collected */
	const GoflowPastEndRow *past;	/* the same */
	LoopRun    *loops;			/* sorted */
	int			nloops;
	int			maxloops;
	HTAB	   *parents;		/* FrameParent */
} History;

static void
collect(const GoflowEvent *event, void *arg)
{
	History    *history = arg;

	if (history->nfound == history->maxfound)
	{
		history->maxfound = Max(history->maxfound * 2, 256);
		history->found = history->found ?
			repalloc_huge(history->found, history->maxfound * sizeof(Found)) :
			palloc(history->maxfound * sizeof(Found));
	}
	history->found[history->nfound].event = *event;
	history->found[history->nfound].entry = history->entry;
	history->found[history->nfound++].past = history->past;
}

static void
note_loop(History *history, int32 frame, int16 node, int16 attempt, int32 seq)
{
	LoopRun    *loop;

	if (history->definition->nodes[node]->type != GOFLOW_TYPE_LOOP)
		return;
	if (history->nloops == history->maxloops)
	{
		history->maxloops = Max(history->maxloops * 2, 64);
		history->loops = history->loops ?
			repalloc_huge(history->loops, history->maxloops * sizeof(LoopRun)) :
			palloc(history->maxloops * sizeof(LoopRun));
	}
	loop = &history->loops[history->nloops++];
	loop->frame = frame;
	loop->node = node;
	loop->attempt = attempt;
	loop->seq = seq;
}

static void
note_parent(History *history, int32 frame, int32 parent)
{
	FrameParent *entry = hash_search(history->parents, &frame, HASH_ENTER, NULL);

	entry->parent = parent;
}

static int
compare_loops(const void *a, const void *b)
{
	const LoopRun *left = a;
	const LoopRun *right = b;

	if (left->frame != right->frame)
		return left->frame < right->frame ? -1 : 1;
	if (left->node != right->node)
		return left->node < right->node ? -1 : 1;
	return left->seq < right->seq ? -1 : left->seq > right->seq;
}

/* The attempt of a loop that an iteration belongs to: the last one that began before it. */
static int16
attempt_of(const History *history, int32 frame, int16 node, int32 seq)
{
	LoopRun		key = {.frame = frame, .node = node, .seq = seq};
	int			low = 0;
	int			high = history->nloops;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (compare_loops(&history->loops[middle], &key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || history->loops[low - 1].frame != frame || history->loops[low - 1].node != node)
		return 1;
	return history->loops[low - 1].attempt;
}

/* The frame, this one or one around it, that a node of a body runs in. */
static int32
frame_of_body(const History *history, int32 frame, const GoflowBody *from, const GoflowBody *body)
{
	while (from != body && from->owner)
	{
		FrameParent *entry = hash_search(history->parents, &frame, HASH_FIND, NULL);

		frame = entry ? entry->parent : 0;
		from = from->owner->body;
	}
	return frame;
}

static void
collect_frame(History *history, int32 seq, TimestampTz at, int32 frame, int32 parent,
			  const GoflowNode *owner, int64 iteration)
{
	int32		source = owner->loop_source ?
		frame_of_body(history, parent, owner->body, owner->loop_source->body) : 0;

	goflow_event_of_frame(seq, at, frame, parent, owner->index,
						  attempt_of(history, parent, owner->index, seq), iteration, source,
						  collect, history);
}

/* What is needed to know about frames before their own events can be made. */
static void
look_at_frames(History *history, List *entries, List *frames, List *pendings)
{
	HASHCTL		ctl = {.keysize = sizeof(int32), .entrysize = sizeof(FrameParent), .hcxt = CurrentMemoryContext};
	ListCell   *lc;

	history->parents = hash_create("goflow frames", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	foreach(lc, entries)
	{
		const GoflowNodeRow *entry = lfirst(lc);

		if (entry->parent >= 0)
			note_parent(history, entry->frame, entry->parent);
		note_loop(history, entry->frame, entry->node, entry->attempt, entry->seq);
	}
	foreach(lc, frames)
	{
		const GoflowFrameRow *frame = lfirst(lc);

		if (frame->frame > 0)
			note_parent(history, frame->frame, frame->parent);
	}
	foreach(lc, pendings)
	{
		const GoflowPendingRow *pending = lfirst(lc);

		if (pending->node >= 0)
			note_loop(history, pending->frame, pending->node, pending->attempt, pending->seq);
	}
	if (history->nloops > 0)
		qsort(history->loops, history->nloops, sizeof(LoopRun), compare_loops);
}

static void
collect_ends(History *history)
{
	GoflowExecutionRow *row = history->row;
	List	   *past = goflow_past_ends_read(&row->id);
	TimestampTz started_at = row->started_at;
	ListCell   *lc;

	if (past)
		started_at = ((GoflowPastEndRow *) linitial(past))->started_at;
	goflow_event_of_begin(1, started_at, collect, history);
	foreach(lc, past)
	{
		const GoflowPastEndRow *end = lfirst(lc);

		goflow_event_of_finish(end->seq, end->finished_at, end->state, collect, history);
		history->past = end;
		goflow_event_of_begin(end->restarted_seq, end->restarted_at, collect, history);
		history->past = NULL;
	}
	if (goflow_execution_is_finished(row->state))
		goflow_event_of_finish(row->last_seq, row->finished_at, row->state, collect, history);
}

static void
collect_all(History *history)
{
	const pg_uuid_t *id = &history->row->id;
	List	   *entries = goflow_journal_read(id);
	List	   *frames = goflow_frames_read(id);
	List	   *pendings = goflow_pending_read(id);
	ListCell   *lc;

	look_at_frames(history, entries, frames, pendings);
	collect_ends(history);
	foreach(lc, entries)
	{
		const GoflowNodeRow *entry = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		history->entry = entry;
		goflow_event_of_node(history->definition, entry, collect, history);
		history->entry = NULL;
		if (entry->frame_seq > 0)
			collect_frame(history, entry->frame_seq, entry->frame_at, entry->frame, entry->parent,
						  history->definition->nodes[entry->node]->body->owner, entry->iteration);
	}
	foreach(lc, frames)
	{
		const GoflowFrameRow *frame = lfirst(lc);

		if (frame->seq > 0)
			collect_frame(history, frame->seq, frame->started_at, frame->frame, frame->parent,
						  history->definition->nodes[frame->node], frame->iteration);
	}
	foreach(lc, pendings)
	{
		const GoflowPendingRow *pending = lfirst(lc);

		goflow_event_of_start(pending->seq, pending->started_at, pending->frame, pending->node,
							  pending->attempt, collect, history);
	}
	foreach(lc, goflow_offered_read(id))
	{
		const GoflowOfferedRow *offered = lfirst(lc);

		goflow_event_of_start(offered->seq, offered->offered_at, offered->frame, offered->node,
							  offered->attempt, collect, history);
	}
	foreach(lc, goflow_variables_read(id))
		goflow_event_of_variable(lfirst(lc), collect, history);
}

/* ---- order and counts ---- */

static int
by_number(const void *a, const void *b)
{
	const GoflowEvent *left = &((const Found *) a)->event;
	const GoflowEvent *right = &((const Found *) b)->event;

	if (left->number != right->number)
		return left->number < right->number ? -1 : 1;
	return left->at < right->at ? -1 : left->at > right->at;
}

/*
 * Several rows may say the same: a frame's, and those of its nodes; that of a
 * node that was handed to the workers, the earlier one, and what it waits for.
 */
static void
sort_events(History *history)
{
	int			kept = 0;

	qsort(history->found, history->nfound, sizeof(Found), by_number);
	for (int i = 0; i < history->nfound; i++)
		if (kept == 0 || history->found[i].event.number != history->found[kept - 1].event.number)
			history->found[kept++] = history->found[i];
	history->nfound = kept;
}

/* Counts what had ended up to each event; a retry takes back what runs again. */
static void
count_progress(History *history)
{
	GoflowDefinition *definition = history->definition;
	GoflowEvent counts;
	int			percent = 0;

	memset(&counts, 0, sizeof(counts));
	counts.total = goflow_graph_reach(definition->body, history->row->entry,
									  palloc(Max(definition->body->nnodes, 1) * sizeof(bool)));
	for (int i = 0; i < history->nfound; i++)
	{
		GoflowEvent *event = &history->found[i].event;
		const GoflowNodeRow *entry = history->found[i].entry;
		const GoflowPastEndRow *past = history->found[i].past;

		switch (event->type)
		{
			case GOFLOW_EVENT_EXECUTION_STARTED:
				if (past == NULL)
					break;
				counts.total = past->counts[0];
				counts.completed = past->counts[1];
				counts.failed = past->counts[2];
				counts.skipped = past->counts[3];
				percent = 0;
				break;
			case GOFLOW_EVENT_NODE_COMPLETED:
			case GOFLOW_EVENT_NODE_FAILED:
			case GOFLOW_EVENT_NODE_SKIPPED:
				if (entry->total > 0)
					counts.total = entry->total;
				if (entry->retried)
					break;
				counts.completed += event->type == GOFLOW_EVENT_NODE_COMPLETED;
				counts.failed += event->type == GOFLOW_EVENT_NODE_FAILED;
				counts.skipped += event->type == GOFLOW_EVENT_NODE_SKIPPED;
				break;
			case GOFLOW_EVENT_PROGRESS_UPDATE:
				percent = Max(percent, goflow_event_percent(&counts));
				event->total = counts.total;
				event->completed = counts.completed;
				event->failed = counts.failed;
				event->skipped = counts.skipped;
				event->percent = percent;
				break;
			default:
				break;
		}
	}
}

/* ---- filters ---- */

/* GOFLOW_EVENT_BIT()s of an array of names; NULL: all.  Errors: 22023 for an unknown name. */
uint32
goflow_api_event_types(ArrayType *array)
{
	Datum	   *names;
	bool	   *nulls;
	int			n;
	uint32		types = 0;

	if (array == NULL)
		return GOFLOW_EVENTS_ALL;
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *name = nulls[i] ? "NULL" : TextDatumGetCString(names[i]);
		GoflowEventType type;

		if (!goflow_event_find(name, &type))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("there are no events of type \"%s\"", name),
					 errhint("The types are execution_started, execution_completed, execution_failed, "
							 "execution_cancelled, node_started, node_completed, node_failed, node_skipped, "
							 "variable_changed, condition_evaluated, loop_started, loop_iteration, "
							 "loop_completed and progress_update.")));
		types |= GOFLOW_EVENT_BIT(type);
	}
	return types;
}

static bool
is_named(ArrayType *array, const char *name)
{
	Datum	   *names;
	bool	   *nulls;
	int			n;

	if (array == NULL)
		return true;
	if (name == NULL)
		return false;
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i] && strcmp(TextDatumGetCString(names[i]), name) == 0)
			return true;
	return false;
}

/* By number of the node; the last one is for events of no node. */
static bool *
wanted_nodes(GoflowDefinition *definition, ArrayType *nodes)
{
	bool	   *wanted = palloc((definition->nnodes + 1) * sizeof(bool));

	for (int i = 0; i < definition->nnodes; i++)
		wanted[i] = is_named(nodes, definition->nodes[i]->path);
	wanted[definition->nnodes] = nodes == NULL;
	return wanted;
}

/* ---- the function ---- */

static void
put(ReturnSetInfo *rsinfo, History *history, const GoflowEvent *event, bool variables)
{
	GoflowDefinition *definition = history->definition;
	StringInfoData json;
	Datum		values[8] = {0};
	bool		nulls[8] = {0};

	initStringInfo(&json);
	goflow_members_append(&json, goflow_event_data(history->row, definition, event, variables), NIL);
	values[0] = Int64GetDatum(event->number);
	values[1] = CStringGetTextDatum(goflow_event_names[event->type]);
	values[2] = TimestampTzGetDatum(event->at);
	values[3] = UUIDPGetDatum(&history->row->id);
	nulls[4] = nulls[5] = event->node < 0;
	if (event->node >= 0)
	{
		values[4] = CStringGetTextDatum(definition->nodes[event->node]->path);
		values[5] = Int32GetDatum(event->frame);
	}
	values[6] = CStringGetTextDatum(goflow_state_name(event->state));
	values[7] = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
read_history(History *history, const pg_uuid_t *id)
{
	goflow_scan_hold();
	PG_TRY();
	{
		history->row = goflow_execution_read(id);
		collect_all(history);
	}
	PG_FINALLY();
	{
		goflow_scan_release();
	}
	PG_END_TRY();
}

/*
 * events(execution uuid, types text[], nodes text[], after bigint, variables
 * boolean) returns setof (seq, event, at, execution, node, frame, state, data)
 *
 * Errors: WF102 unknown execution, 22023 unknown type.
 */
Datum
goflow_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	History		history = {0};
	uint32		types = goflow_api_event_types(PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1));
	int64		after = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	bool		variables = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	bool	   *wanted;
	MemoryContext context;
	MemoryContext old;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	history.row = goflow_api_execution(PG_GETARG_UUID_P(0));
	history.definition = goflow_workflow_load(history.row->workflow_id);
	wanted = wanted_nodes(history.definition, PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2));

	/* a crash must not take back what is seen here (engine/history.c) */
	if (!RecoveryInProgress())
		goflow_flush_log();
	read_history(&history, PG_GETARG_UUID_P(0));
	sort_events(&history);
	count_progress(&history);

	context = AllocSetContextCreate(CurrentMemoryContext, "goflow events", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	for (int i = 0; i < history.nfound; i++)
	{
		const GoflowEvent *event = &history.found[i].event;

		if (event->number <= after || !(types & GOFLOW_EVENT_BIT(event->type)) ||
			!wanted[event->node >= 0 ? event->node : history.definition->nnodes])
			continue;
		CHECK_FOR_INTERRUPTS();
		put(rsinfo, &history, event, variables);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	return (Datum) 0;
}
