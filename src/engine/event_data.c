/*
 * event_data.c
 *		What an event is about, as JSON, for those who may see it.
 *
 * The same for who is sent an event and for who looks it up later.  Whoever
 * asks must have checked that the data may be seen.  What is not in the event
 * itself is read from the tables by key.  No code of users runs: display.c.
 */
#include "postgres.h"

#include "engine/engine.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"

static void
add(List **members, const char *name, char *json)
{
	GoflowMember *member = palloc(sizeof(GoflowMember));

	member->name = name;
	member->json = json;
	*members = lappend(*members, member);
}

static void
add_text(List **members, const char *name, const char *text)
{
	StringInfoData json;

	if (text == NULL)
		return;
	initStringInfo(&json);
	escape_json(&json, text);
	add(members, name, json.data);
}

static void
add_number(List **members, const char *name, int64 number)
{
	add(members, name, psprintf(INT64_FORMAT, number));
}

static void
add_jsonb(List **members, const char *name, Jsonb *jsonb)
{
	if (jsonb)
		add(members, name, JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb)));
}

/* In seconds. */
static void
add_duration(List **members, int64 microseconds)
{
	add(members, "duration", psprintf(INT64_FORMAT ".%06d", microseconds / USECS_PER_SEC,
									  (int) (microseconds % USECS_PER_SEC)));
}

static char *
show_variable(const GoflowField *variable, const GoflowVariableRow *row)
{
	Jsonb	   *value;

	if (row == NULL || row->value == NULL)
		return "null";
	value = goflow_display_value(variable, text_to_cstring(row->value));
	return JsonbToCString(NULL, &value->root, VARSIZE(value));
}

static void
add_change(List **members, const GoflowExecutionRow *row, GoflowDefinition *definition,
		   const GoflowEvent *event)
{
	const GoflowField *variable = &definition->variables[event->variable];

	add_text(members, "variable", variable->name);
	add(members, "old", show_variable(variable,
									  goflow_variable_read_before(row, event->variable,
																  event->frame, event->number)));
	add(members, "new", show_variable(variable,
									  goflow_variable_read_seq(row, event->variable,
															   event->number)));
}

/* The workflow's own variables as they were after the event. */
static void
add_variables(List **members, const GoflowExecutionRow *row, GoflowDefinition *definition,
			  const GoflowEvent *event)
{
	const GoflowBody *body = definition->body;
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < body->nvariables; i++)
	{
		int			number = body->first_variable + i;
		const GoflowField *variable = &definition->variables[number];

		if (i > 0)
			appendStringInfoChar(&json, ',');
		escape_json(&json, variable->name);
		appendStringInfoChar(&json, ':');
		appendStringInfoString(&json,
							   show_variable(variable,
											 goflow_variable_read_before(row, number, 0,
																		 event->number + 1)));
	}
	appendStringInfoChar(&json, '}');
	add(members, "variables", json.data);
}

static void
add_condition(List **members, const GoflowNode *node, const GoflowEvent *event)
{
	if (node->expr)
		add_text(members, "expression", node->expr->text);
	if (node->type == GOFLOW_TYPE_SWITCH)
		add_text(members, "result", event->port >= 0 ? node->ports[event->port] : NULL);
	else
		add(members, "result", event->port == 1 ? "true" : "false");
}

/* Who has the items of a loop: frame, node and attempt; false: there are none. */
static bool
find_items(const GoflowNode *node, const GoflowEvent *event, int *frame, int *source, int *attempt)
{
	switch (node->loop_kind)
	{
		case GOFLOW_LOOP_NODE:
			*frame = event->source;
			*source = node->loop_source->index;
			*attempt = 0;
			return true;
		case GOFLOW_LOOP_ARRAY:
		case GOFLOW_LOOP_QUERY:
			*frame = event->frame;
			*source = node->index;
			*attempt = event->attempt;
			return true;
		default:
			return false;
	}
}

static void
add_loop(List **members, const GoflowExecutionRow *row, const GoflowNode *node,
		 const GoflowEvent *event)
{
	int			frame;
	int			source;
	int			attempt;

	add_text(members, "over", node->loop_kind == GOFLOW_LOOP_NODE ? node->loop_source->id :
			 node->expr->text);
	if (find_items(node, event, &frame, &source, &attempt))
		add_number(members, "count", event->source < 0 ? 0 :
				   goflow_chunks_count(&row->id, frame, source, attempt));
}

static void
add_item(List **members, const GoflowExecutionRow *row, const GoflowNode *node,
		 const GoflowEvent *event)
{
	int			chunk = (int) ((event->iteration - 1) / GOFLOW_CHUNK_ROWS);
	int			first = (int) ((event->iteration - 1) % GOFLOW_CHUNK_ROWS) * node->nitems;
	int			frame;
	int			source;
	int			attempt;
	ArrayType  *rows;
	Datum	   *elements;
	bool	   *nulls;
	int			nelements;

	add_number(members, "iteration", event->iteration);
	add_number(members, "frame", event->inner);
	if (!find_items(node, event, &frame, &source, &attempt))
		return;
	rows = goflow_chunk_find(&row->id, frame, source, attempt, chunk);
	if (rows == NULL)
		return;
	deconstruct_array(rows, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &nelements);
	if (first + node->nitems <= nelements && node->nitems > 0)
		add_jsonb(members, "item",
				  goflow_display_values(node->items, node->nitems,
										construct_md_array(elements + first, nulls + first, 1,
														   &(int) {node->nitems}, &(int) {1},
														   TEXTOID, -1, false, TYPALIGN_INT)));
}

static void
add_error(List **members, const GoflowExecutionRow *row, const GoflowEvent *event)
{
	GoflowNodeRow *entry = goflow_journal_read_failed(&row->id, event->frame, event->node,
													  event->attempt);

	if (entry)
		add_jsonb(members, "error", entry->error);
}

static void
add_counts(List **members, const GoflowEvent *event)
{
	add_number(members, "total", event->total);
	add_number(members, "completed", event->completed);
	add_number(members, "failed", event->failed);
	add_number(members, "skipped", event->skipped);
	add(members, "percent", psprintf("%d.%02d", event->percent / 100, event->percent % 100));
}

/* The execution has been retried since: its row has another end, or none. */
static GoflowExecutionRow *
past_row(const GoflowExecutionRow *row, int32 number)
{
	GoflowExecutionRow *past = palloc(sizeof(GoflowExecutionRow));
	ListCell   *lc;

	*past = *row;
	foreach(lc, goflow_past_ends_read(&row->id))
	{
		GoflowPastEndRow *end = lfirst(lc);

		if (end->seq != number)
			continue;
		past->started_at = end->started_at;
		past->finished_at = end->finished_at;
		past->output = end->output;
		past->error = end->error;
	}
	return past;
}

/* Members (GoflowMember *) of the object; variables: with a snapshot of them. */
List *
goflow_event_data(const GoflowExecutionRow *row, GoflowDefinition *definition,
				  const GoflowEvent *event, bool variables)
{
	GoflowNode *node = event->node >= 0 ? definition->nodes[event->node] : NULL;
	List	   *members = NIL;

	switch (event->type)
	{
		case GOFLOW_EVENT_EXECUTION_STARTED:
			add_number(&members, "version", definition->version);
			add_jsonb(&members, "input",
					  goflow_display_values(definition->inputs, definition->ninputs,
											goflow_texts_unpack(row->input)));
			break;
		case GOFLOW_EVENT_EXECUTION_COMPLETED:
		case GOFLOW_EVENT_EXECUTION_FAILED:
		case GOFLOW_EVENT_EXECUTION_CANCELLED:
			if (row->last_seq != event->number || !goflow_execution_is_finished(row->state))
				row = past_row(row, event->number);
			if (row->started_at != 0)
				add_duration(&members, Max(row->finished_at - row->started_at, 0));
			add_jsonb(&members, "output", row->output);
			add_jsonb(&members, "error", row->error);
			break;
		case GOFLOW_EVENT_NODE_STARTED:
			add_text(&members, "type", goflow_node_type_name(node->type));
			add_number(&members, "attempt", event->attempt);
			break;
		case GOFLOW_EVENT_NODE_COMPLETED:
		case GOFLOW_EVENT_NODE_FAILED:
		case GOFLOW_EVENT_NODE_SKIPPED:
			add_text(&members, "type", goflow_node_type_name(node->type));
			if (event->duration >= 0)
			{
				add_number(&members, "attempt", event->attempt);
				add_duration(&members, event->duration);
			}
			if (event->type == GOFLOW_EVENT_NODE_FAILED)
				add_error(&members, row, event);
			break;
		case GOFLOW_EVENT_VARIABLE_CHANGED:
			add_change(&members, row, definition, event);
			break;
		case GOFLOW_EVENT_CONDITION_EVALUATED:
			add_condition(&members, node, event);
			break;
		case GOFLOW_EVENT_LOOP_STARTED:
			add_loop(&members, row, node, event);
			break;
		case GOFLOW_EVENT_LOOP_ITERATION:
			add_item(&members, row, node, event);
			break;
		case GOFLOW_EVENT_LOOP_COMPLETED:
			add_number(&members, "iterations", event->iteration);
			break;
		case GOFLOW_EVENT_PROGRESS_UPDATE:
			add_counts(&members, event);
			break;
	}
	if (variables)
		add_variables(&members, row, definition, event);
	return members;
}

/* Appends an object of members; those in the list "without" are left out. */
void
goflow_members_append(StringInfo json, List *members, List *without)
{
	bool		first = true;
	ListCell   *lc;

	appendStringInfoChar(json, '{');
	foreach(lc, members)
	{
		GoflowMember *member = lfirst(lc);

		if (list_member_ptr(without, member))
			continue;
		if (!first)
			appendStringInfoChar(json, ',');
		first = false;
		escape_json(json, member->name);
		appendStringInfoChar(json, ':');
		appendStringInfoString(json, member->json);
	}
	appendStringInfoChar(json, '}');
}
