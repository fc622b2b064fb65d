/*
 * engine.h
 *		Runs nodes and decides what comes next.
 */
#ifndef GOFLOW_ENGINE_H
#define GOFLOW_ENGINE_H

#include "definition/definition.h"
#include "process/process.h"

/*
 * Worker entry points.  Each runs whole transactions and returns outside of
 * one, with every claim it was given released.
 */
extern void goflow_engine_drive(const pg_uuid_t *executions, int nexecutions);
extern void goflow_engine_run_node(const GoflowInstance *instance);

#endif							/* GOFLOW_ENGINE_H */
