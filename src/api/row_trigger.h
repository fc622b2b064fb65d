/*
 * row_trigger.h
 *		Triggers on tables: making them, and what they have not written yet.
 */
#ifndef GOFLOW_ROW_TRIGGER_H
#define GOFLOW_ROW_TRIGGER_H

#include "definition/definition.h"

/* Makes the triggers of a version that was just stored, and removes those of the one before. */
extern void goflow_row_trigger_install(GoflowDefinition *definition);

/* Removes a workflow's triggers: nobody is writing to the tables from here to the end of the transaction. */
extern void goflow_row_trigger_remove(const char *name);

/* Executions of a workflow that this transaction has started by triggers, but not written yet. */
extern int64 goflow_row_trigger_unwritten(const char *name);

#endif							/* GOFLOW_ROW_TRIGGER_H */
