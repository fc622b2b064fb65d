/*
 * events.c
 *		events(): the history of an execution.
 *
 * Derived from the tables as of one moment (engine/event.c says what follows
 * from which row), sorted by number, and only then filtered: a progress_update
 * needs the counts of all that ended before it.  Of what ended long before the
 * number that was asked for only that much is kept, so that whoever asks again
 * and again pays for little more than what is new.
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
	int32		total;			/* end of a node: nodes of the execution, 0: as before */
	bool		retried;		/* the same: another attempt follows */
	const GoflowPastEndRow *past;	/* the execution goes on after it, or NULL */
} Found;

/* The end of a node that is counted, but not to be told. */
typedef struct Ended
{
	int32		number;
	int32		total;
	GoflowEventType type;
	bool		retried;
} Ended;

/* A frame that has ended, and told when it began. */
typedef struct PastFrame
{
	int32		seq;
	int32		frame;
	int32		parent;
	int16		node;			/* whose it was */
	int64		iteration;
	TimestampTz at;
} PastFrame;

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
	int64		after;			/* events up to this number are only counted */
	Found	   *found;
	int			nfound;
	int			maxfound;
	Ended	   *ended;
	int			nended;
	int			maxended;
	PastFrame  *frames;
	int			nframes;
	int			maxframes;
	const GoflowNodeRow *entry; /* whose events are being collected */
	const GoflowPastEndRow *past;	/* the same */
	LoopRun    *loops;			/* sorted */
	int			nloops;
	int			maxloops;
	HTAB	   *parents;		/* FrameParent */
} History;

/* Makes room for one more element of an array. */
#define GROW(array, n, max) \
	do { \
		if ((n) == (max)) \
		{ \
			(max) = Max((max) * 2, 64); \
			(array) = (array) ? repalloc_huge(array, (max) * sizeof(*(array))) : \
				palloc((max) * sizeof(*(array))); \
		} \
	} while (0)

static void
collect(const GoflowEvent *event, void *arg)
{
	History    *history = arg;
	Found	   *found;

	GROW(history->found, history->nfound, history->maxfound);
	found = &history->found[history->nfound++];
	found->event = *event;
	found->total = history->entry ? history->entry->total : 0;
	found->retried = history->entry && history->entry->retried;
	found->past = history->past;
}

static void
note_loop(History *history, int32 frame, int16 node, int16 attempt, int32 seq)
{
	LoopRun    *loop;

	if (history->definition->nodes[node]->type != GOFLOW_TYPE_LOOP)
		return;
	GROW(history->loops, history->nloops, history->maxloops);
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
look_at_frames(History *history, List *frames, List *pendings)
{
	ListCell   *lc;

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

/* A node that ended before all that is to be told. */
static void
count_later(History *history, const GoflowNodeRow *entry, int32 end)
{
	Ended	   *ended;

	GROW(history->ended, history->nended, history->maxended);
	ended = &history->ended[history->nended++];
	ended->number = end;
	ended->total = entry->total;
	ended->type = goflow_event_type_of_end(entry->state);
	ended->retried = entry->retried;
}

static void
collect_entry(const GoflowNodeRow *entry, void *arg)
{
	History    *history = arg;
	const GoflowNode *node = history->definition->nodes[entry->node];
	int32		end = goflow_event_end(node, entry);

	if (entry->parent >= 0)
		note_parent(history, entry->frame, entry->parent);
	note_loop(history, entry->frame, entry->node, entry->attempt, entry->seq);
	/* its last event is the progress after its end; its frame began before */
	if (end > 0 && end + 1 <= history->after)
	{
		count_later(history, entry, end);
		return;
	}
	history->entry = entry;
	goflow_event_of_node(history->definition, entry, collect, history);
	history->entry = NULL;
	if (entry->frame_seq > 0)
	{
		PastFrame  *frame;

		GROW(history->frames, history->nframes, history->maxframes);
		frame = &history->frames[history->nframes++];
		frame->seq = entry->frame_seq;
		frame->at = entry->frame_at;
		frame->frame = entry->frame;
		frame->parent = entry->parent;
		frame->node = node->body->owner->index;
		frame->iteration = entry->iteration;
	}
}

static void
collect_ends(History *history, List *past)
{
	GoflowExecutionRow *row = history->row;
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
	HASHCTL		ctl = {.keysize = sizeof(int32), .entrysize = sizeof(FrameParent), .hcxt = CurrentMemoryContext};
	List	   *past = goflow_past_ends_read(id);
	List	   *frames = goflow_frames_read(id);
	List	   *pendings = goflow_pending_read(id);
	ListCell   *lc;

	/* a retry takes back what had been counted: the long way */
	if (past)
		history->after = 0;
	history->parents = hash_create("goflow frames", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	collect_ends(history, past);
	goflow_journal_each(history->row, collect_entry, history);
	look_at_frames(history, frames, pendings);
	for (int i = 0; i < history->nframes; i++)
	{
		const PastFrame *frame = &history->frames[i];

		collect_frame(history, frame->seq, frame->at, frame->frame, frame->parent,
					  history->definition->nodes[frame->node], frame->iteration);
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
	foreach(lc, goflow_variables_read(history->row, (int32) Min(history->after, PG_INT32_MAX)))
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

static int
compare_ended(const void *a, const void *b)
{
	int32		left = ((const Ended *) a)->number;
	int32		right = ((const Ended *) b)->number;

	return left < right ? -1 : left > right;
}

/* A node has ended; total: of the execution from now on, or 0. */
static void
count_end(GoflowEvent *counts, GoflowEventType type, int32 total, bool retried)
{
	if (total > 0)
		counts->total = total;
	if (retried)
		return;
	counts->completed += type == GOFLOW_EVENT_NODE_COMPLETED;
	counts->failed += type == GOFLOW_EVENT_NODE_FAILED;
	counts->skipped += type == GOFLOW_EVENT_NODE_SKIPPED;
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
	if (history->nended > 0)
		qsort(history->ended, history->nended, sizeof(Ended), compare_ended);
	for (int i = 0; i < history->nended; i++)
	{
		const Ended *ended = &history->ended[i];

		count_end(&counts, ended->type, ended->total, ended->retried);
		if (!ended->retried)
			percent = Max(percent, goflow_event_percent(&counts));
	}
	for (int i = 0; i < history->nfound; i++)
	{
		GoflowEvent *event = &history->found[i].event;
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
				count_end(&counts, event->type, history->found[i].total, history->found[i].retried);
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
	if (goflow_execution_is_finished(history.row->state) && after >= history.row->last_seq)
		return (Datum) 0;		/* its end has the last number */
	history.definition = goflow_workflow_load(history.row->workflow_id);
	history.after = Max(after, 0);
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
