/*
 * store.h
 *		Every access to goflow's tables.  Nobody else reads or writes them.
 *
 * Hot paths (journal, execution, timers) go to the heap directly
 * (store/heap.c): no privileges, no triggers, no planner.  Everything else is
 * SQL run as the extension's owner (store/owner.c).
 */
#ifndef GOFLOW_STORE_H
#define GOFLOW_STORE_H

#include "definition/definition.h"
#include "goflow.h"

/* ---- owner.c: goflow's own SQL ---- */

/*
 * Between begin and end, SPI is connected, the current user is the owner of
 * the extension (SECURITY_LOCAL_USERID_CHANGE), search_path is pinned to
 * pg_catalog, pg_temp.  Fixed statements only.  An error in between undoes all
 * of it as the transaction unwinds.
 */
typedef struct GoflowOwnerScope
{
	Oid			user;
	int			security_context;
	int			nest_level;
} GoflowOwnerScope;
extern void goflow_owner_begin(GoflowOwnerScope *scope);
extern void goflow_owner_end(GoflowOwnerScope *scope);

/* OID of a table or index of schema goflow, cached; error if the extension is not in this database. */
extern Oid	goflow_relation(const char *name);
extern bool goflow_extension_exists(void);

/* ---- workflow.c: versions of workflows ---- */
typedef struct GoflowWorkflowRow
{
	int			workflow_id;
	char	   *name;
	int			version;
	Oid			owner;
	bool		dropped;
} GoflowWorkflowRow;

/* version 0: the newest.  False if there is none, or it was dropped (version 0 only). */
extern bool goflow_workflow_find(const char *name, int version, GoflowWorkflowRow *row);

/* Inserts the next version; returns its number, and its id in *workflow_id. */
extern int	goflow_workflow_insert(const char *name, Oid owner, Jsonb *definition, Jsonb *contract,
								   char **settings, int nsettings, int *workflow_id);
extern void goflow_workflow_mark_dropped(const char *name);
extern int64 goflow_workflow_live_executions(const char *name);
extern bool goflow_workflow_may_start(const char *name, Oid owner, Oid role);

/*
 * The compiled form of a stored version, kept for the life of the backend
 * (versions are immutable).  Raises an error for an unknown id.
 */
extern GoflowDefinition *goflow_workflow_load(int workflow_id);

/* ---- schedule.c: what the scheduler reads ---- */
typedef struct GoflowLiveRow
{
	pg_uuid_t	execution_id;
	Oid			role;
	int			priority;
} GoflowLiveRow;

/* A page of live (not finished, not paused) executions with ids after *after, in order of id. */
extern int	goflow_schedule_live(const pg_uuid_t *after, GoflowLiveRow *rows, int max);

/* Executions that have a timer due in (after, until]; the newest due time seen in *last. */
extern int	goflow_schedule_due(TimestampTz after, TimestampTz until, GoflowLiveRow *rows, int max,
								TimestampTz *last);

/* The first due time after a moment; DT_NOEND if there is none. */
extern TimestampTz goflow_schedule_next_due(TimestampTz after);

#endif							/* GOFLOW_STORE_H */
