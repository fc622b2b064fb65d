/*
 * row_trigger.c
 *		row_trigger(): a changed row starts an execution.
 *
 * The function does something only for a trigger that is registered for the
 * workflow it names, on that table or on a partition of it: anybody may make a
 * trigger that calls it.  What was looked up is kept by the trigger's OID until
 * the server says that the table has changed, which every change of its
 * triggers is too.  define() and drop() always change the triggers, so it also
 * says when there is another version of the workflow, or none.
 *
 * For each row the inputs are computed (engine/row.c) and put into a buffer.
 * The buffer is written in one go
 *
 *	-	before the transaction commits or is prepared, after its deferred
 *		triggers, which may change rows themselves;
 *	-	when it is full: by the trigger, within the statement.
 *
 * So the executions need not be visible to the transaction that started them.
 *
 * What a subtransaction put into the buffer goes with it when it is rolled
 * back, and becomes its parent's when it commits.  Subtransactions nest, and
 * a parent adds nothing while a child is open, so what belongs to one is
 * contiguous: the buffer has a stack of levels.  Rows can be written only by
 * the subtransaction that they belong to, as its rollback must undo it.
 *
 * A full buffer has BUFFER_ROWS rows or BUFFER_BYTES of values at one level.
 */
#include "postgres.h"

#include "api/row_trigger.h"

#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "engine/engine.h"

PG_FUNCTION_INFO_V1(goflow_row_trigger);

#define BUFFER_ROWS 16384
#define BUFFER_BYTES (32 * 1024 * 1024)

/* ---- what a trigger starts ---- */

typedef struct KnownTrigger
{
	Oid			trigger;		/* key: pg_trigger.oid */
	uint64		layout;			/* of its table when it was looked up */
	GoflowNode *node;			/* NULL: nothing */
	Oid			relation;		/* the table it is registered for */
	uint64		trims;			/* goflow_workflow_trims when node was found */
	Oid			executions;		/* goflow.execution: tells one extension from the next */
} KnownTrigger;

static HTAB *known = NULL;

static GoflowNode *
look_up(Relation rel, const Trigger *trigger, Oid *relation)
{
	const char *workflow = trigger->tgargs[0];
	const char *id = trigger->tgargs[1];
	GoflowRowTriggerTarget target;
	GoflowDefinition *definition;
	GoflowNode *node;
	Oid			user;
	int			security_context;

	if (!goflow_row_trigger_find(workflow, id, trigger->tgname, &target))
		return NULL;
	if (target.relation != RelationGetRelid(rel) &&
		!(rel->rd_rel->relispartition &&
		  list_member_oid(get_partition_ancestors(RelationGetRelid(rel)), target.relation)))
		return NULL;

	/* the definition's settings and types are its owner's to use, maybe not the writer's */
	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(target.owner, security_context | SECURITY_LOCAL_USERID_CHANGE);
	definition = goflow_workflow_load(target.workflow_id);
	SetUserIdAndSecContext(user, security_context);

	node = goflow_definition_find_node(definition->body, id);
	if (node == NULL || node->type != GOFLOW_TYPE_TRIGGER || node->table == NULL)
		return NULL;
	*relation = target.relation;
	return node;
}

static KnownTrigger *
find_known(Relation rel, const Trigger *trigger)
{
	uint64		layout = assign_record_type_identifier(rel->rd_rel->reltype, -1);
	KnownTrigger found = {.trigger = trigger->tgoid, .layout = layout};
	KnownTrigger *entry;

	if (known == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(KnownTrigger)};

		known = hash_create("goflow row triggers", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(known, &trigger->tgoid, HASH_FIND, NULL);
	if (entry && entry->layout == layout && entry->trims == goflow_workflow_trims)
		return entry;

	found.trims = goflow_workflow_trims;
	found.node = look_up(rel, trigger, &found.relation);
	found.executions = goflow_relation("execution");
	entry = hash_search(known, &trigger->tgoid, HASH_ENTER, NULL);
	*entry = found;
	return entry;
}

/* ---- the buffer ---- */

/* An execution to be. */
typedef struct Start
{
	GoflowRowMapping *mapping;
	Oid			executions;		/* as of KnownTrigger */
	int			event;			/* GOFLOW_EVENT_* */
	pg_uuid_t	id;
	TimestampTz created_at;
	NullableDatum inputs[FLEXIBLE_ARRAY_MEMBER];
} Start;

typedef struct Level
{
	SubTransactionId subid;
	int			first;			/* its starts: from here to the next level's, or the end */
	Size		bytes;
} Level;

/*
 * Everything is in context, a child of TopTransactionContext.  What leaves the
 * buffer is freed piece by piece: the values of a row that is being evaluated
 * are in context, too.
 */
typedef struct StartBuffer
{
	MemoryContext context;		/* NULL: nothing yet in this transaction */
	Start	  **starts;
	int			nstarts;
	int			max_starts;
	Level	   *levels;
	int			nlevels;
	int			max_levels;
	Size		bytes;			/* of all levels */
} StartBuffer;

static StartBuffer buffer = {0};

#define last_level() (&buffer.levels[buffer.nlevels - 1])

/* Takes the last level out of the buffer, with all that belongs to it. */
static void
drop_level(void)
{
	Level	   *level = last_level();

	while (buffer.nstarts > level->first)
	{
		Start	   *start = buffer.starts[--buffer.nstarts];

		for (int i = 0; i < start->mapping->definition->ninputs; i++)
			if (!start->inputs[i].isnull && !start->mapping->by_value[i])
				pfree(DatumGetPointer(start->inputs[i].value));
		pfree(start);
	}
	buffer.bytes -= level->bytes;
	buffer.nlevels--;
}

/* ---- writing it ---- */

static const char *
event_name(int event)
{
	switch (event)
	{
		case GOFLOW_EVENT_INSERT:
			return "insert";
		case GOFLOW_EVENT_UPDATE:
			return "update";
		case GOFLOW_EVENT_DELETE:
			return "delete";
		default:
			elog(ERROR, "unknown event %d", event);
	}
}

/* What trigger.* is for a node and event. */
static ArrayType *
describe(const GoflowRowMapping *mapping, int event)
{
	Datum		elements[GOFLOW_TRIGGER_FIELDS];

	elements[GOFLOW_TRIGGER_NODE] = CStringGetTextDatum(mapping->node->id);
	elements[GOFLOW_TRIGGER_EVENT] = CStringGetTextDatum(event_name(event));
	elements[GOFLOW_TRIGGER_TABLE] = CStringGetTextDatum(mapping->table);
	return construct_array(elements, GOFLOW_TRIGGER_FIELDS, TEXTOID, -1, false, TYPALIGN_INT);
}

/* Fills the rows of one mapping, which is that of starts[0]. */
static void
fill_rows(GoflowExecutionRow *rows, Start **starts, int n)
{
	GoflowRowMapping *mapping = starts[0]->mapping;
	ArrayType  *descriptions[GOFLOW_EVENT_DELETE + 1] = {NULL};
	GoflowRowScope scope;

	goflow_row_begin(mapping, &scope);
	for (int i = 0; i < n; i++)
	{
		Start	   *start = starts[i];

		if (start->mapping != mapping)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (descriptions[start->event] == NULL)
			descriptions[start->event] = describe(mapping, start->event);
		rows[i].id = start->id;
		rows[i].workflow_id = mapping->definition->workflow_id;
		rows[i].run_as = mapping->definition->owner;
		rows[i].state = GOFLOW_EXECUTION_QUEUED;
		rows[i].priority = mapping->definition->priority;
		rows[i].entry = mapping->node->index;
		rows[i].created_at = start->created_at;
		rows[i].trigger = descriptions[start->event];
		goflow_row_encode(mapping, start->inputs, &rows[i]);
	}
	goflow_row_end(&scope);
}

/* Writes what is the last level's; it must be the current subtransaction's. */
static void
write_level(void)
{
	Oid			executions = goflow_extension_exists() ? goflow_relation("execution") : InvalidOid;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "goflow row trigger rows",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int			capacity = buffer.nstarts - last_level()->first;
	Start	  **starts = palloc(capacity * sizeof(Start *));
	GoflowExecutionRow *rows = palloc0(capacity * sizeof(GoflowExecutionRow));
	int			n = 0;

	Assert(last_level()->subid == GetCurrentSubTransactionId());

	/* the extension may have been dropped since, and been created again */
	for (int i = last_level()->first; i < buffer.nstarts; i++)
		if (buffer.starts[i]->executions == executions)
			starts[n++] = buffer.starts[i];

	PushActiveSnapshot(GetTransactionSnapshot());

	/* rows of several triggers take turns: settings change once for each trigger */
	for (int i = 0; i < n; i++)
		if (rows[i].input == NULL)
			fill_rows(&rows[i], &starts[i], n - i);
	if (n > 0)
		goflow_execution_insert(rows, n);
	for (int i = 0; i < n; i++)
		goflow_wake_execution(&rows[i].id, rows[i].run_as, rows[i].priority);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	drop_level();
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			Assert(buffer.nlevels <= 1);
			if (buffer.nlevels > 0)
				write_level();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			/* its memory goes with the transaction's */
			memset(&buffer, 0, sizeof(buffer));
			break;
		default:
			break;
	}
}

static void
at_end_of_subtransaction(SubXactEvent event, SubTransactionId subid,
						 SubTransactionId parent, void *arg)
{
	Level	   *level;

	if (buffer.nlevels == 0 || last_level()->subid != subid)
		return;
	level = last_level();
	switch (event)
	{
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			/* only here: the parent could have any number of such children */
			if (buffer.nstarts > BUFFER_ROWS || buffer.bytes > BUFFER_BYTES)
				write_level();
			break;
		case SUBXACT_EVENT_COMMIT_SUB:
			if (buffer.nlevels > 1 && level[-1].subid == parent)
			{
				level[-1].bytes += level->bytes;
				buffer.nlevels--;
			}
			else
				level->subid = parent;
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			drop_level();
			break;
		default:
			break;
	}
}

/* ---- filling it ---- */

static MemoryContext
get_context(void)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(at_end_of_transaction, NULL);
		RegisterSubXactCallback(at_end_of_subtransaction, NULL);
		registered = true;
	}
	if (buffer.context == NULL)
	{
		MemoryContext context = AllocSetContextCreate(TopTransactionContext, "goflow row triggers",
													  ALLOCSET_DEFAULT_SIZES);

		buffer.starts = MemoryContextAlloc(context, 64 * sizeof(Start *));
		buffer.max_starts = 64;
		buffer.levels = MemoryContextAlloc(context, 8 * sizeof(Level));
		buffer.max_levels = 8;
		buffer.context = context;
	}
	return buffer.context;
}

/* The current subtransaction's level. */
static Level *
get_level(void)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	if (buffer.nlevels > 0 && last_level()->subid == subid)
		return last_level();
	if (buffer.nlevels == buffer.max_levels)
	{
		buffer.levels = repalloc(buffer.levels, 2 * buffer.max_levels * sizeof(Level));
		buffer.max_levels *= 2;
	}
	buffer.nlevels++;
	*last_level() = (Level){.subid = subid, .first = buffer.nstarts};
	return last_level();
}

static void
add_start(Start *start)
{
	Level	   *level = get_level();
	Size		bytes = GetMemoryChunkSpace(start);

	for (int i = 0; i < start->mapping->definition->ninputs; i++)
		if (!start->inputs[i].isnull && !start->mapping->by_value[i])
			bytes += GetMemoryChunkSpace(DatumGetPointer(start->inputs[i].value));
	if (buffer.nstarts == buffer.max_starts)
	{
		buffer.starts = repalloc(buffer.starts, 2 * buffer.max_starts * sizeof(Start *));
		buffer.max_starts *= 2;
	}
	buffer.starts[buffer.nstarts++] = start;
	level->bytes += bytes;
	buffer.bytes += bytes;
	if (buffer.nstarts - level->first >= BUFFER_ROWS || level->bytes > BUFFER_BYTES)
		write_level();
}

static void
start_execution(KnownTrigger *trigger, int event, Relation rel,
				TupleTableSlot *new_row, TupleTableSlot *old_row)
{
	GoflowRowMapping *mapping = goflow_row_mapping(trigger->node, trigger->relation);
	GoflowDefinition *definition = mapping->definition;
	MemoryContext context = get_context();
	Start	   *start = MemoryContextAlloc(context, offsetof(Start, inputs) +
										   definition->ninputs * sizeof(NullableDatum));
	GoflowExecutionRow row = {0};

	start->mapping = mapping;
	start->executions = trigger->executions;
	start->event = event;
	start->created_at = GetCurrentTimestamp();
	goflow_uuid_generate(&start->id);

	/* what defaults may refer to as execution.* */
	row.id = start->id;
	row.workflow_id = definition->workflow_id;
	row.run_as = definition->owner;
	row.created_at = start->created_at;
	goflow_row_evaluate(mapping, &row, rel, new_row, old_row, context, start->inputs);
	add_start(start);
}

int64
goflow_row_trigger_unwritten(const char *name)
{
	int64		count = 0;

	for (int i = 0; i < buffer.nstarts; i++)
		if (strcmp(buffer.starts[i]->mapping->definition->name, name) == 0)
			count++;
	return count;
}

/* row_trigger() returns trigger, with two arguments: workflow and node. */
Datum
goflow_row_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	KnownTrigger *trigger;

	goflow_require_preloaded();
	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) || data->tg_trigger->tgnargs != 2)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("goflow.row_trigger() cannot be used in this way"),
				 errhint("Define a workflow with a trigger node: goflow.define() makes the trigger.")));

	trigger = find_known(data->tg_relation, data->tg_trigger);
	if (trigger->node == NULL)
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		start_execution(trigger, GOFLOW_EVENT_INSERT, data->tg_relation, data->tg_trigslot, NULL);
	else if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		start_execution(trigger, GOFLOW_EVENT_UPDATE, data->tg_relation, data->tg_newslot,
						data->tg_trigslot);
	else
		start_execution(trigger, GOFLOW_EVENT_DELETE, data->tg_relation, NULL, data->tg_trigslot);
	return PointerGetDatum(NULL);
}
