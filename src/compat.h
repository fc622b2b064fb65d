/*
 * compat.h
 *		The only place that knows which server version it is compiled for.
 */
#ifndef GOFLOW_COMPAT_H
#define GOFLOW_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "goflow needs PostgreSQL 15 or later"
#endif

#include "access/tableam.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "postmaster/postmaster.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"

/* For WaitLatch(), which takes no more.  The server's own function sees to that in some versions only. */
#define GoflowMillisecondsUntil(now, moment) Min(TimestampDifferenceMilliseconds(now, moment), (long) INT_MAX)

/* The waiter slots are indexed by a backend's number, from 0. */
#if PG_VERSION_NUM >= 170000
#define GoflowMyBackendNumber() ((int) MyProcNumber)
#else
#define GoflowMyBackendNumber() (MyProc->pgprocno)
#endif

/* Identifies the transaction within a backend's life, also before it has an id. */
#if PG_VERSION_NUM >= 170000
#define GoflowLocalTransactionId() (MyProc->vxid.lxid)
#else
#define GoflowLocalTransactionId() (MyProc->lxid)
#endif

/* A role that may not log in can be connected from 17 on. */
#if PG_VERSION_NUM >= 170000
#define GOFLOW_WORKER_FLAGS BGWORKER_BYPASS_ROLELOGINCHECK
#define GOFLOW_CAN_RUN_NOLOGIN true
#else
#define GOFLOW_WORKER_FLAGS 0
#define GOFLOW_CAN_RUN_NOLOGIN false
#endif

/* Which indexes an update must maintain. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes GoflowUpdateIndexes;
#define goflow_must_update_indexes(u) ((u) != TU_None)
#define goflow_only_summarizing(u) ((u) == TU_Summarizing)
#else
typedef bool GoflowUpdateIndexes;
#define goflow_must_update_indexes(u) (u)
#define goflow_only_summarizing(u) (false)
#endif

/* The locks that this process holds in a partition of the lock table: the first one, and those after it. */
#if PG_VERSION_NUM >= 160000
#define goflow_has_proclocks(i) (!dlist_is_empty(&MyProc->myProcLocks[i]))
#define goflow_next_proclock(i, lock) \
	((lock) == NULL ? \
	 (dlist_is_empty(&MyProc->myProcLocks[i]) ? NULL : \
	  dlist_head_element(PROCLOCK, procLink, &MyProc->myProcLocks[i])) : \
	 (dlist_has_next(&MyProc->myProcLocks[i], &(lock)->procLink) ? \
	  dlist_container(PROCLOCK, procLink, dlist_next_node(&MyProc->myProcLocks[i], &(lock)->procLink)) : NULL))
#else
#define goflow_has_proclocks(i) (!SHMQueueEmpty(&MyProc->myProcLocks[i]))
#define goflow_next_proclock(i, lock) \
	((PROCLOCK *) SHMQueueNext(&MyProc->myProcLocks[i], \
							   (lock) == NULL ? &MyProc->myProcLocks[i] : &(lock)->procLink, \
							   offsetof(PROCLOCK, procLink)))
#endif

/* Runs a portal once, to its end. */
#if PG_VERSION_NUM >= 180000
#define goflow_portal_run(portal, dest, completion) \
	PortalRun(portal, FETCH_ALL, true, dest, dest, completion)
#else
#define goflow_portal_run(portal, dest, completion) \
	PortalRun(portal, FETCH_ALL, true, true, dest, dest, completion)
#endif

/* Extensions can name what they wait for from 17 on. */
#if PG_VERSION_NUM >= 170000
#define goflow_wait_event_new(name) WaitEventExtensionNew(name)
#else
#define goflow_wait_event_new(name) ((void) (name), (uint32) PG_WAIT_EXTENSION)
#endif

/* Virtual generated columns came with 18; triggers do not see their values. */
#if PG_VERSION_NUM >= 180000
#define goflow_is_virtual_column(attgenerated) ((attgenerated) == ATTRIBUTE_GENERATED_VIRTUAL)
#else
#define goflow_is_virtual_column(attgenerated) ((void) (attgenerated), false)
#endif

/* Columns that the server computes when a row is written or read. */
#if PG_VERSION_NUM >= 180000
#define goflow_has_generated(constr) ((constr)->has_generated_stored || (constr)->has_generated_virtual)
#else
#define goflow_has_generated(constr) ((constr)->has_generated_stored)
#endif
/*
 * Makes all of the log durable that has been written.  The position of the next
 * record is behind the header of a page that has none yet, which is not there.
 */
static inline void
goflow_flush_log(void)
{
	XLogRecPtr	next = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(next, wal_segment_size) == SizeOfXLogLongPHD)
		next -= SizeOfXLogLongPHD;
	else if (next % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		next -= SizeOfXLogShortPHD;
	XLogFlush(next);
}

/* Rights on objects: one function per kind of object up to 15. */
static inline bool
goflow_may_connect(Oid database, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(DatabaseRelationId, database, role, ACL_CONNECT) == ACLCHECK_OK;
#else
	return pg_database_aclcheck(database, role, ACL_CONNECT) == ACLCHECK_OK;
#endif
}

static inline bool
goflow_owns_database(Oid database, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, role);
#else
	return pg_database_ownercheck(database, role);
#endif
}

static inline bool
goflow_owns_extension(Oid extension, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(ExtensionRelationId, extension, role);
#else
	return pg_extension_ownercheck(extension, role);
#endif
}

static inline bool
goflow_may_execute(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

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

/* What the executor checks before it runs a statement. */
static inline void
goflow_check_permissions(PlannedStmt *statement)
{
#if PG_VERSION_NUM >= 160000
	(void) ExecCheckPermissions(statement->rtable, statement->permInfos, true);
#else
	(void) ExecCheckRTPerms(statement->rtable, true);
#endif
}

#endif							/* GOFLOW_COMPAT_H */
