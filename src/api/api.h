/*
 * api.h
 *		What the SQL-callable functions share.
 */
#ifndef GOFLOW_API_H
#define GOFLOW_API_H

#include "engine/engine.h"
#include "live/live.h"
#include "store/store.h"

/* May the current user see and steer executions of this role? */
extern bool goflow_api_may_see(Oid run_as);

/* The row of an execution that the current user may see; else ERRCODE_GOFLOW_UNKNOWN_EXECUTION. */
extern GoflowExecutionRow *goflow_api_execution(const pg_uuid_t *id);

/* The same, and whether it is over: finished, and nobody asked for a retry. */
extern GoflowExecutionRow *goflow_api_execution_over(const pg_uuid_t *id, bool *is_over);

/* The same, for one that the current user may steer: no live one of another database. */
extern GoflowExecutionRow *goflow_api_own_execution(const pg_uuid_t *id);

/* Raises an error for an execution of another database. */
extern void goflow_api_require_own(const GoflowExecutionRow *row);

/* Refuses a function that writes on a standby and in a read-only transaction. */
extern void goflow_api_require_writable(const char *function);

/* The journal of an execution, and what waits or runs: GoflowNodeRow *, in no order. */
extern List *goflow_api_entries(GoflowExecutionRow *row);

/* Refuses to wait in a node, and for what goes on only when this transaction has committed. */
extern void goflow_api_require_waiting(const pg_uuid_t *id);
extern void goflow_api_refuse_to_wait_in_node(void);

/* Waits for its end, or until then; DT_NOEND: for ever. */
extern GoflowExecutionRow *goflow_api_wait(const pg_uuid_t *id, TimestampTz deadline);

/* When a timeout that begins now is over; NULL: never (DT_NOEND). */
extern TimestampTz goflow_api_deadline(const Interval *timeout);

/* Microseconds as an interval. */
extern Datum goflow_api_interval(int64 microseconds);

/* Progress of an execution, live or not; false: there is none yet. */
extern bool goflow_api_progress(GoflowExecutionRow *row, GoflowProgress *progress);

/* How long an execution will go on; false: nobody knows. */
extern bool goflow_api_estimate(GoflowExecutionRow *row, int64 *microseconds);

/* GOFLOW_EVENT_BIT()s of an array of names, NULL: all; error 22023 for an unknown name. */
extern uint32 goflow_api_event_types(ArrayType *array);

#endif							/* GOFLOW_API_H */
