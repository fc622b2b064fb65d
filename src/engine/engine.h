/*
 * engine.h
 *		Runs nodes and decides what comes next.
 */
#ifndef GOFLOW_ENGINE_H
#define GOFLOW_ENGINE_H

#include "definition/definition.h"
#include "process/process.h"
#include "store/store.h"

/*
 * Worker entry points.  Each runs whole transactions and returns outside of
 * one, with every claim it was given released.
 */
extern void goflow_engine_drive(const pg_uuid_t *executions, int nexecutions);
extern void goflow_engine_run_node(const GoflowInstance *instance);

/*
 * Runs an execution that is not stored yet to its end in the caller's session
 * and transaction, and stores it.  With raise, its error is raised; without,
 * row->state and row->error tell.
 */
extern void goflow_engine_run_inline(GoflowExecutionRow *row, bool raise);

/* The default of an input that was not given, in text form; NULL: SQL NULL. */
extern text *goflow_engine_default(GoflowDefinition *definition, const GoflowField *field,
								   GoflowExecutionRow *row);

/* Raises the error that an execution of this workflow ended with. */
extern void goflow_error_raise(Jsonb *error, const char *workflow);

#endif							/* GOFLOW_ENGINE_H */
