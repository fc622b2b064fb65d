/*
 * contained.c
 *		Does a statement do anything that a rollback would not undo?
 *
 * A statement that nobody has run yet may take long.  It may be tried in a
 * batch, whose fuse stops it, if that leaves no trace: then it has cost a few
 * milliseconds.  So everything that it calls must be known: built-in functions
 * without effects, and tables without triggers but for the checks of foreign
 * keys.  Whatever else is found, or not understood, makes the answer no; the
 * statement's first run is then in node mode, once.
 *
 * Looked at is what the rewriter made of it, views and row security expanded.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"

static bool
is_user_function(Oid function, void *context)
{
	return function >= FirstNormalObjectId;
}

/* Does an expression call what is not built in? */
bool
goflow_calls_user_code(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_user_function, NULL))
		return true;
	if (IsA(node, CoerceToDomain) || IsA(node, SubPlan))
		return true;
	return expression_tree_walker(node, goflow_calls_user_code, context);
}

/* Volatile ones that do no more than they return; a number of a sequence may be lost at any time. */
static bool
is_harmless(Oid function)
{
	static const char *const names[] = {"clock_timestamp", "gen_random_uuid", "nextval", "random"};
	char	   *name = get_func_name(function);

	for (int i = 0; name && i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* Those that may not run in parallel workers may well run other statements. */
static bool
reaches_out(Oid function, void *context)
{
	if (is_user_function(function, NULL))
		return true;
	if (func_volatile(function) == PROVOLATILE_VOLATILE)
		return !is_harmless(function);
	return func_parallel(function) != PROPARALLEL_SAFE;
}

static bool walk(Node *node, void *context);

/* events: TRIGGER_TYPE_INSERT and others. */
static bool
trigger_reaches_out(const Trigger *trigger, int16 events)
{
	if ((trigger->tgtype & events) == 0)
		return false;
	switch (trigger->tgfoid)
	{
		case F_RI_FKEY_CHECK_INS:
		case F_RI_FKEY_CHECK_UPD:
		case F_RI_FKEY_NOACTION_DEL:
		case F_RI_FKEY_NOACTION_UPD:
		case F_RI_FKEY_RESTRICT_DEL:
		case F_RI_FKEY_RESTRICT_UPD:
			return trigger->tginitdeferred;
		default:
			return true;
	}
}

static bool
indexes_reach_out(Relation rel)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		found = !index->rd_index->indimmediate ||
			walk((Node *) RelationGetIndexExpressions(index), NULL) ||
			walk((Node *) RelationGetIndexPredicate(index), NULL);

		index_close(index, AccessShareLock);
		if (found)
			return true;
	}
	return false;
}

/* A table that is written to, and how: TRIGGER_TYPE_INSERT and others. */
static bool
target_reaches_out(Oid relid, int16 events)
{
	Relation	rel = try_table_open(relid, AccessShareLock);
	TupleConstr *constraints;
	bool		found;

	if (rel == NULL)
		return true;
	constraints = RelationGetDescr(rel)->constr;
	/* partitions and children may have triggers of their own */
	found = rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relhassubclass ||
		(constraints && goflow_has_generated(constraints)) || indexes_reach_out(rel);
	for (int i = 0; !found && constraints && i < constraints->num_check; i++)
		found = walk(stringToNode(constraints->check[i].ccbin), NULL);
	for (int i = 0; !found && rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
		found = trigger_reaches_out(&rel->trigdesc->triggers[i], events);
	table_close(rel, AccessShareLock);
	return found;
}

static bool
query_reaches_out(Query *query)
{
	int16		events = 0;

	switch (query->commandType)
	{
		case CMD_SELECT:
			break;
		case CMD_INSERT:
			events = TRIGGER_TYPE_INSERT;
			if (query->onConflict && query->onConflict->action == ONCONFLICT_UPDATE)
				events |= TRIGGER_TYPE_UPDATE;
			break;
		case CMD_UPDATE:
			events = TRIGGER_TYPE_UPDATE;
			break;
		case CMD_DELETE:
			events = TRIGGER_TYPE_DELETE;
			break;
		default:
			return true;
	}
	if (events && target_reaches_out(rt_fetch(query->resultRelation, query->rtable)->relid, events))
		return true;
	return query_tree_walker(query, walk, NULL, QTW_EXAMINE_RTES_BEFORE);
}

static bool
walk(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_reaches_out((Query *) node);
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *) node)->relkind == RELKIND_FOREIGN_TABLE;
	if (IsA(node, TableSampleClause) && ((TableSampleClause *) node)->tsmhandler >= FirstNormalObjectId)
		return true;
	if (IsA(node, CoerceToDomain) || check_functions_in_node(node, reaches_out, NULL))
		return true;
	check_stack_depth();
	return expression_tree_walker(node, walk, context);
}

/* plan: of one statement. */
bool
goflow_is_contained(SPIPlanPtr plan)
{
	List	   *sources = SPI_plan_get_plan_sources(plan);
	CachedPlanSource *source = list_length(sources) == 1 ? linitial(sources) : NULL;
	ListCell   *lc;

	if (source == NULL || !source->is_valid || source->query_list == NIL)
		return false;
	foreach(lc, source->query_list)
		if (walk(lfirst(lc), NULL))
			return false;
	return true;
}
