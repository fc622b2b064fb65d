/*
 * calls.h
 *		What define() and validate() know of the workflows that a definition
 *		starts.
 */
#ifndef GOFLOW_API_CALLS_H
#define GOFLOW_API_CALLS_H

#include "definition/definition.h"

/* Reports unknown workflows, inputs that do not fit, and endless waiting. */
extern void goflow_calls_check(GoflowDefinition *definition, GoflowReport *report);

#endif							/* GOFLOW_API_CALLS_H */
