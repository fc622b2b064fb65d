/*
 * engine.h
 *		Runs nodes and decides what comes next.
 */
#ifndef GOFLOW_ENGINE_H
#define GOFLOW_ENGINE_H

#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "utils/relcache.h"

#include "definition/definition.h"
#include "live/live.h"
#include "process/process.h"
#include "store/store.h"

/*
 * Worker entry points.  Each runs whole transactions and returns outside of
 * one, with every claim it was given released.
 */
extern void goflow_engine_drive(const pg_uuid_t *executions, int nexecutions);
extern void goflow_engine_run_node(const GoflowInstance *instance);

/* A worker's handler for SIGINT: a cancel reaches nodes, and nothing else. */
extern void goflow_session_handle_cancel(SIGNAL_ARGS);

/*
 * Runs an execution that is not stored yet to its end in the caller's session
 * and transaction, and stores it.  With raise, its error is raised; without,
 * row->state and row->error tell.
 */
extern void goflow_engine_run_inline(GoflowExecutionRow *row, bool raise);

/*
 * Around conversions of inputs: puts the workflow's settings in force, if some type
 * or default asks for them (sessions that start one execution after the other
 * would look their search path up anew each time).  Returns what ends it.
 */
extern int	goflow_input_settings_begin(GoflowDefinition *definition);
extern void goflow_input_settings_end(int level);

/* Typed inputs of a workflow from a jsonb object, in text form, in declared order, packed. */
extern bytea *goflow_input_convert(GoflowDefinition *definition, Jsonb *input, GoflowExecutionRow *row);

/* One value of a jsonb object in text form; *bad: it is no value of the field's type. */
extern text *goflow_field_convert(const GoflowField *field, JsonbValue *given, ErrorData **bad);

/* WF015 if JSON from outside is larger than GOFLOW_MAX_PAYLOAD_BYTES; what names it in the message. */
extern void goflow_limit_check_payload(const char *what, const Jsonb *payload);

/*
 * What somebody outside gives a node, in text form.  subject is for messages,
 * as in 'signal "paid"'; need_all: a field that is missing is an error, not a
 * null.
 */
extern ArrayType *goflow_payload_convert(GoflowNode *node, Jsonb *payload, const char *subject,
										 bool need_all);

/* The node an execution enters at when none is named; -1: all without "after". */
extern int16 goflow_default_entry(GoflowDefinition *definition);

/* The text form in which a typed value is stored. */
extern text *goflow_value_encode(const GoflowField *field, Datum value);

/* The default of an input that was not given, in text form; NULL: SQL NULL. */
extern text *goflow_engine_default(GoflowDefinition *definition, const GoflowField *field,
								   GoflowExecutionRow *row);

/* ---- row.c: inputs of an execution that a changed row starts ---- */

/*
 * How a trigger node makes inputs of a row; kept from one row to the next.
 * One that was got in a transaction is valid to its end.
 */
typedef struct GoflowRowMapping
{
	GoflowDefinition *definition;
	GoflowNode *node;
	Oid			relation;		/* the trigger's table; rows come from it or its partitions */
	char	   *table;			/* its qualified name */
	bool	   *by_value;		/* of the inputs' values */
} GoflowRowMapping;

extern GoflowRowMapping *goflow_row_mapping(GoflowNode *node, Oid relation);

/*
 * Computes the inputs, as the workflow's owner.  The rows are of rel; old_row
 * or new_row can be NULL.  Values by reference are in context, each in a chunk
 * of its own.
 */
extern void goflow_row_evaluate(GoflowRowMapping *mapping, GoflowExecutionRow *row, Relation rel,
								TupleTableSlot *new_row, TupleTableSlot *old_row,
								MemoryContext context, NullableDatum *inputs);

/* Sets the row's input from what goflow_row_evaluate() gave, between begin and end. */
typedef struct GoflowRowScope
{
	Oid			user;
	int			security_context;
	int			nest_level;
} GoflowRowScope;
extern void goflow_row_begin(GoflowRowMapping *mapping, GoflowRowScope *scope);
extern void goflow_row_end(GoflowRowScope *scope);
extern void goflow_row_encode(GoflowRowMapping *mapping, const NullableDatum *inputs,
							  GoflowExecutionRow *row);

/* Adds what the driver had counted when it stored frame 0: the total, and what ended in frames that have gone. */
extern void goflow_engine_stored_progress(ArrayType *counters, GoflowProgress *progress);

/* ---- event.c: events, derived from rows ---- */
typedef void (*GoflowEventSink) (const GoflowEvent *event, void *arg);

extern bool goflow_event_find(const char *name, GoflowEventType *type);
extern int	goflow_event_numbers(const GoflowNode *node, const GoflowNodeRow *row);
extern int32 goflow_event_next_end(const GoflowNode *node, const GoflowNodeRow *row, int numbers);
extern int32 goflow_event_end(const GoflowNode *node, const GoflowNodeRow *row);
extern void goflow_event_of_node(const GoflowDefinition *definition, const GoflowNodeRow *row,
								 GoflowEventSink sink, void *arg);
extern void goflow_event_of_start(int32 number, TimestampTz at, int32 frame, int16 node,
								  int16 attempt, GoflowEventSink sink, void *arg);
extern void goflow_event_of_frame(int32 number, TimestampTz at, int32 frame, int32 parent, int16 loop,
								  int16 attempt, int64 iteration, int32 source,
								  GoflowEventSink sink, void *arg);
extern void goflow_event_of_variable(const GoflowVariableRow *row, GoflowEventSink sink, void *arg);
extern void goflow_event_of_begin(int32 number, TimestampTz at, GoflowEventSink sink, void *arg);
extern void goflow_event_of_finish(int32 number, TimestampTz at, char state, GoflowEventSink sink,
								   void *arg);
extern GoflowEventType goflow_event_type_of_end(char state);
extern int	goflow_event_percent(const GoflowEvent *event);

/* ---- event_data.c ---- */
typedef struct GoflowMember
{
	const char *name;
	char	   *json;
} GoflowMember;

extern List *goflow_event_data(const GoflowExecutionRow *row, GoflowDefinition *definition,
							   const GoflowEvent *event, bool variables);
extern void goflow_members_append(StringInfo json, List *members, List *without);

/* ---- history.c ---- */

/* Publishes the end of an execution that was not driven to it; in a transaction, then after it. */
extern void goflow_history_ended(const GoflowExecutionRow *row, const char *workflow,
								 GoflowMessage *message);
extern void goflow_history_publish_ended(GoflowMessage *message);

/* ---- display.c ---- */

/* Values in text form as jsonb for people: runs no code of the values' types. */
extern Jsonb *goflow_display_values(const GoflowField *fields, int nfields, ArrayType *array);
extern Jsonb *goflow_display_value(const GoflowField *field, const char *string);

/* Raises the error that an execution of this workflow ended with. */
extern void goflow_error_raise(Jsonb *error, const char *workflow);

#endif							/* GOFLOW_ENGINE_H */
