/*
 * compat.h
 *		The only place that knows which server version it is compiled for.
 */
#ifndef GOFLOW_COMPAT_H
#define GOFLOW_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "goflow needs PostgreSQL 15 or later"
#endif

#include "executor/executor.h"
#include "postmaster/postmaster.h"

/* The waiter slots are indexed by a backend's number, from 0. */
#if PG_VERSION_NUM >= 170000
#define GoflowMyBackendNumber() ((int) MyProcNumber)
#else
#define GoflowMyBackendNumber() (MyProc->pgprocno)
#endif

/* A role that may not log in can be connected from 17 on. */
#if PG_VERSION_NUM >= 170000
#define GOFLOW_WORKER_FLAGS BGWORKER_BYPASS_ROLELOGINCHECK
#define GOFLOW_CAN_RUN_NOLOGIN true
#else
#define GOFLOW_WORKER_FLAGS 0
#define GOFLOW_CAN_RUN_NOLOGIN false
#endif

static inline List *
goflow_exec_insert_index_tuples(ResultRelInfo *rri, TupleTableSlot *slot, EState *estate,
								bool update, bool only_summarizing)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(rri, slot, estate, update, false, NULL, NIL, only_summarizing);
#else
	return ExecInsertIndexTuples(rri, slot, estate, update, false, NULL, NIL);
#endif
}

#endif							/* GOFLOW_COMPAT_H */
