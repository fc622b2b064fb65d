/*
 * insert.c
 *		Plain INSERT ... VALUES without the executor.
 *
 * Starting and ending the executor costs as much as the insert itself.  For a
 * statement that puts one row of expressions into one ordinary table, and does
 * nothing else, the row is computed by an expression kept for the transaction,
 * and goes to the table as ExecInsert() would put it there.  "Nothing else" is
 * strict: no triggers (foreign keys are triggers), rules, row security,
 * generated columns, partitions, RETURNING or ON CONFLICT, no exclusion or
 * deferrable constraints, nothing temporary.  CHECK and NOT NULL constraints
 * and indexes are maintained.  Extensions that look at statements through the
 * executor's hooks (statistics, auditing) get to see them: then nothing is
 * plain.
 *
 * What is kept is of one transaction and one user, whose right to insert was
 * checked, and of a plan that is still valid.  The table is locked before that
 * is asked, so no change of it goes unnoticed; it is opened for each row, since
 * an open relation belongs to the subtransaction that opened it.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

struct GoflowInsert
{
	bool		is_checked;		/* is_plain is known, of a plan that is valid */
	bool		is_plain;
	bool		in_use;			/* running, or an error got it out of that */

	/* per transaction and user */
	LocalTransactionId lxid;
	Oid			user;
	MemoryContext context;		/* of what follows; ends with the transaction */
	Oid			relid;
	bool		needs_snapshot;
	ExprContext *econtext;
	ProjectionInfo *row;
	EState	   *estate;
	ResultRelInfo *rri;
	List	   *indexes;
};

/* The executor is watched, or must refuse. */
static bool
must_execute(void)
{
	return ExecutorStart_hook || ExecutorRun_hook || ExecutorFinish_hook || ExecutorEnd_hook ||
		ExecutorCheckPerms_hook || XactReadOnly || IsInParallelMode();
}

/* A plan that puts one row into its only relation, and returns nothing. */
static bool
is_plain_plan(PlannedStmt *statement)
{
	ModifyTable *insert = (ModifyTable *) statement->planTree;
	Plan	   *row;

	if (statement->commandType != CMD_INSERT || !IsA(insert, ModifyTable) ||
		statement->hasReturning || statement->hasModifyingCTE || statement->subplans != NIL ||
		statement->rowMarks != NIL || list_length(insert->resultRelations) != 1 ||
		insert->onConflictAction != ONCONFLICT_NONE || insert->withCheckOptionLists != NIL ||
		insert->plan.initPlan != NIL)
		return false;
	row = outerPlan(insert);
	return row && IsA(row, Result) && outerPlan(row) == NULL && row->qual == NIL &&
		row->initPlan == NIL && ((Result *) row)->resconstantqual == NULL &&
		!expression_returns_set((Node *) row->targetlist);
}

static bool
has_plain_indexes(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		is_plain = index->rd_index->indimmediate && !index->rd_index->indisexclusion;

		index_close(index, NoLock);
		if (!is_plain)
			return false;
	}
	return true;
}

static bool
is_plain_table(Relation rel)
{
	TupleConstr *constraints = RelationGetDescr(rel)->constr;

	return rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP &&
		!rel->rd_rel->relispartition && !rel->rd_rel->relrowsecurity && !rel->rd_rel->relhasrules &&
		rel->trigdesc == NULL && !IsCatalogRelation(rel) &&
		!(constraints && goflow_has_generated(constraints)) && has_plain_indexes(rel);
}

static void
prepare_row(GoflowInsert *insert, Relation rel, PlannedStmt *statement)
{
	List	   *columns = copyObject(outerPlan(statement->planTree)->targetlist);
	TupleConstr *constraints = RelationGetDescr(rel)->constr;

	goflow_check_permissions(statement);
	insert->relid = RelationGetRelid(rel);
	insert->needs_snapshot = (constraints && constraints->num_check > 0) ||
		contain_mutable_functions((Node *) columns);
	insert->estate = CreateExecutorState();
	insert->econtext = CreateExprContext(insert->estate);
	insert->row = ExecBuildProjectionInfo(columns, insert->econtext,
										  MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(rel)),
																   &TTSOpsVirtual),
										  NULL, NULL);
	insert->indexes = NIL;
	insert->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(insert->rri, rel, 0, NULL, 0);
}

static bool
is_insert(SPIPlanPtr spi)
{
	List	   *sources = SPI_plan_get_plan_sources(spi);
	List	   *queries = list_length(sources) == 1 ?
		((CachedPlanSource *) linitial(sources))->query_list : NIL;

	return list_length(queries) == 1 && linitial_node(Query, queries)->commandType == CMD_INSERT;
}

/* The plan as it is now; false: it is for the executor. */
static bool
prepare(GoflowInsert *insert, SPIPlanPtr spi, ErrorContextCallback *context)
{
	CachedPlan *cached;
	PlannedStmt *statement;
	MemoryContext old;
	Relation	rel;

	insert->is_checked = true;
	insert->is_plain = false;
	insert->lxid = InvalidLocalTransactionId;
	cached = is_insert(spi) ? SPI_plan_get_cached_plan(spi) : NULL;
	if (cached == NULL)
		return false;
	error_context_stack = context;
	statement = linitial_node(PlannedStmt, cached->stmt_list);
	if (list_length(cached->stmt_list) == 1 && is_plain_plan(statement))
	{
		Index		target = linitial_int(((ModifyTable *) statement->planTree)->resultRelations);

		/* planning has locked it */
		rel = table_open(rt_fetch(target, statement->rtable)->relid, NoLock);
		insert->is_plain = is_plain_table(rel);
		if (insert->is_plain)
		{
			insert->context = AllocSetContextCreate(TopTransactionContext, "goflow insert",
													ALLOCSET_SMALL_SIZES);
			old = MemoryContextSwitchTo(insert->context);
			prepare_row(insert, rel, statement);
			MemoryContextSwitchTo(old);
			insert->lxid = GoflowLocalTransactionId();
			insert->user = GetUserId();
		}
		table_close(rel, NoLock);
	}
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	error_context_stack = context->previous;
	return insert->is_plain;
}

static void
put_row(GoflowInsert *insert, Relation rel, ParamListInfo params)
{
	ResultRelInfo *rri = insert->rri;
	TupleTableSlot *slot;

	ResetExprContext(insert->econtext);
	insert->econtext->ecxt_param_list_info = params;
	slot = ExecProject(insert->row);
	insert->econtext->ecxt_param_list_info = NULL;

	rri->ri_RelationDesc = rel;
	slot->tts_tableOid = insert->relid;
	if (RelationGetDescr(rel)->constr)
		ExecConstraints(rri, slot, insert->estate);
	table_tuple_insert(rel, slot, GetCurrentCommandId(true), 0, NULL);
	if (rel->rd_rel->relhasindex)
	{
		MemoryContext old = MemoryContextSwitchTo(insert->context);

		goflow_indexes_open(rri, &insert->indexes);
		MemoryContextSwitchTo(old);
		if (rri->ri_NumIndices > 0)
			(void) goflow_exec_insert_index_tuples(rri, slot, insert->estate, false, false);
		ExecCloseIndices(rri);
	}
	ExecClearTuple(slot);
	ResetPerTupleExprContext(insert->estate);
}

static void
describe_statement(void *arg)
{
	errcontext("SQL statement \"%s\"", (const char *) arg);
}

/*
 * Runs the statement of a plan if it is a plain insert.  False: nothing was
 * done, it is for the executor.  *state is kept by the caller; NULL at first.
 */
bool
goflow_insert_run(GoflowInsert **state, SPIPlanPtr spi, const char *text, ParamListInfo params)
{
	GoflowInsert *insert = *state;
	ErrorContextCallback context = {.callback = describe_statement, .arg = unconstify(char *, text),
	.previous = error_context_stack};
	Relation	rel;
	MemoryContext old;

	if (must_execute())
		return false;
	if (insert == NULL)
		insert = *state = MemoryContextAllocZero(TopMemoryContext, sizeof(GoflowInsert));
	if (insert->lxid == GoflowLocalTransactionId())
	{
		if (insert->in_use)
			return false;
	}
	else
		insert->in_use = false;
	if (insert->is_checked && !insert->is_plain && SPI_plan_is_valid(spi))
		return false;
	if (insert->lxid != GoflowLocalTransactionId() || insert->user != GetUserId())
	{
		if (insert->lxid == GoflowLocalTransactionId())
			MemoryContextDelete(insert->context);
		if (!prepare(insert, spi, &context))
			return false;
	}

	rel = try_table_open(insert->relid, RowExclusiveLock);
	if (rel == NULL || !SPI_plan_is_valid(spi))
	{
		/* it has changed: the next time we see how */
		if (rel)
			table_close(rel, NoLock);
		MemoryContextDelete(insert->context);
		insert->lxid = InvalidLocalTransactionId;
		insert->is_checked = false;
		return false;
	}

	error_context_stack = &context;
	insert->in_use = true;
	old = MemoryContextSwitchTo(insert->econtext->ecxt_per_tuple_memory);
	if (insert->needs_snapshot)
	{
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
	}
	put_row(insert, rel, params);
	if (insert->needs_snapshot)
		PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	insert->in_use = false;
	error_context_stack = context.previous;
	return true;
}

void
goflow_insert_forget(GoflowInsert *insert)
{
	if (insert == NULL)
		return;
	/* outside of a transaction there is none to be in, and its memory has gone */
	if (LocalTransactionIdIsValid(insert->lxid) && insert->lxid == GoflowLocalTransactionId())
		MemoryContextDelete(insert->context);
	pfree(insert);
}
