/*
 * detached.c
 *		Nodes with "atomic": false: statements that PostgreSQL refuses in a
 *		transaction block.
 *
 * VACUUM, CREATE INDEX CONCURRENTLY and procedures that commit make
 * transactions of their own, and want to be what a client has sent.  So such a
 * statement runs as the server runs a client's: in a portal, at top level, with
 * no transaction around it but the one that every command begins.
 *
 * It has therefore committed when its result is stored.  If the server, or the
 * worker, goes down in between, the node runs again: at least once.
 *
 * What must live across the statement's own commits (its tree, arguments and
 * result) is in the caller's context, which belongs to no transaction.
 */
#include "postgres.h"

#include "engine/state.h"

#include "access/xact.h"
#include "definition/statement.h"
#include "parser/analyze.h"
#include "tcop/cmdtag.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

/* Keeps what the statement returns. */
typedef struct Receiver
{
	DestReceiver pub;
	MemoryContext context;
	SPITupleTable *table;
} Receiver;

static void
receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	Receiver   *receiver = (Receiver *) self;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);

	receiver->table = palloc0(sizeof(SPITupleTable));
	receiver->table->tupdesc = CreateTupleDescCopy(desc);
	MemoryContextSwitchTo(old);
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;
	SPITupleTable *table = receiver->table;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);

	if (table->numvals == table->alloced)
	{
		table->alloced = Max(16, table->alloced * 2);
		table->vals = table->vals == NULL ? palloc(table->alloced * sizeof(HeapTuple)) :
			repalloc(table->vals, table->alloced * sizeof(HeapTuple));
	}
	table->vals[table->numvals++] = ExecCopySlotHeapTuple(slot);
	MemoryContextSwitchTo(old);
	return true;
}

static void
receive_end(DestReceiver *self)
{
}

/* The statement, ready to be run by a portal.  Needs a transaction. */
static PlannedStmt *
plan_statement(GoflowExpr *expr)
{
	RawStmt    *statement;
	Query	   *query;
	PlannedStmt *result;

	PushActiveSnapshot(GetTransactionSnapshot());
	statement = goflow_statement_parse(expr);
	query = parse_analyze_withcb(statement, expr->text, goflow_reference_setup, expr,
								 goflow_reference_environment(expr));
	Assert(query->commandType == CMD_UTILITY);
	result = linitial_node(PlannedStmt, pg_plan_queries(list_make1(query), expr->text, 0, NULL));
	PopActiveSnapshot();
	return result;
}

SPITupleTable *
goflow_detached_run(GoflowExecution *ex, GoflowFrame *frame, GoflowNode *node,
					MemoryContext context, uint64 *processed)
{
	GoflowExpr *expr = node->expr;
	Receiver	receiver = {.pub = {.receiveSlot = receive_row, .rStartup = receive_startup,
	.rShutdown = receive_end, .rDestroy = receive_end, .mydest = DestNone}, .context = context};
	QueryCompletion completion;
	PlannedStmt *statement;
	ParamListInfo params;
	Portal		portal;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	statement = plan_statement(expr);
	params = goflow_params_get(ex, frame, expr);

	portal = CreateNewPortal();
	portal->visible = false;
	PortalDefineQuery(portal, NULL, expr->text, CreateCommandTag(statement->utilityStmt),
					  list_make1(statement), NULL);
	PortalStart(portal, params, 0, InvalidSnapshot);
	InitializeQueryCompletion(&completion);
	(void) goflow_portal_run(portal, &receiver.pub, &completion);
	PortalDrop(portal, false);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	*processed = receiver.table ? receiver.table->numvals : completion.nprocessed;
	return receiver.table;
}
