/*
 * utility.c
 *		Statements that goflow must know of.
 *
 *	-	COMMIT PREPARED: the transaction's wake-ups were lost when it was
 *		prepared, so the scheduler searches the tables.
 *	-	LISTEN and UNLISTEN of goflow's channels, effective at commit.  UNLISTEN
 *		of a subscription's channel ends it.
 *	-	Statements that need the database to themselves.  A connected process
 *		would make DROP DATABASE, its RENAME and SET TABLESPACE, and CREATE
 *		DATABASE ... TEMPLATE fail, and DROP EXTENSION goflow and its
 *		ALTER EXTENSION wait; and it has no business where ALLOW_CONNECTIONS is
 *		turned off.  Before
 *		such a statement goflow's processes in that database are stopped; what
 *		they ran is rolled back, and runs again if the database is still there.
 *		They stay out until the transaction has ended, either way.  Only who
 *		has the right to run the statement can stop anything.
 *	-	Anything that may leave traces which a subtransaction's end does not
 *		clean up: it sets goflow_utility_seen for the engine.
 */
#include "postgres.h"

#include "process/shared.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "live/live.h"

bool		goflow_utility_seen = false;

static ProcessUtility_hook_type next_hook = NULL;

/* Databases that this transaction holds. */
static List *held = NIL;

static void
hold(Oid database)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	/* noted first: if the wait is interrupted the hold ends with the transaction */
	held = lappend_oid(held, database);
	MemoryContextSwitchTo(old);
	goflow_database_hold(database);
}

/*
 * By wake.c.  A hold belongs to this process and ends with its transaction; a
 * prepared one would go on to hold the tables alone, and every process of
 * goflow would wait for them until somebody ends it.
 */
void
goflow_utility_before_prepare(void)
{
	if (held != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has dropped or altered goflow or its database"),
				 errhint("End it with COMMIT instead.")));
}

/* By wake.c, when a commit is done and known to all, or as the transaction aborts. */
void
goflow_utility_end_transaction(bool committed)
{
	ListCell   *lc;

	if (held == NIL)
		return;
	foreach(lc, held)
		goflow_database_unhold(lfirst_oid(lc), committed);
	list_free(held);
	held = NIL;
}

static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		result = superuser();

	if (result)
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return result;
}

static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0)
			return option;
	}
	return NULL;
}

static void
hold_own_database(const char *name)
{
	Oid			database = get_database_oid(name, true);

	if (OidIsValid(database) && goflow_owns_database(database, GetUserId()))
		hold(database);
}

static void
hold_template(CreatedbStmt *stmt)
{
	DefElem    *option = find_option(stmt->options, "template");
	Oid			database;

	database = get_database_oid(option && option->arg ? defGetString(option) : "template1", true);
	if (OidIsValid(database) && may_create_databases())
		hold(database);
}

/*
 * goflow is to be dropped or altered, if this is its name: a script's ALTER
 * TABLE, too, would wait for every node that runs.
 */
static void
hold_extension(const char *name, const char *verb)
{
	Oid			extension;

	if (strcmp(name, GOFLOW_SCHEMA) != 0)
		return;
	if (goflow_in_worker())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a node cannot %s goflow", verb),
				 errdetail("Its own result could not be stored."),
				 errhint("Do it in a session of a client.")));
	extension = get_extension_oid(GOFLOW_SCHEMA, true);
	if (OidIsValid(extension) && goflow_owns_extension(extension, GetUserId()))
		hold(MyDatabaseId);
}

static void
before_statement(Node *statement)
{
	ListCell   *lc;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			hold_own_database(((DropdbStmt *) statement)->dbname);
			break;
		case T_CreatedbStmt:
			hold_template((CreatedbStmt *) statement);
			break;
		case T_AlterDatabaseStmt:
			if (find_option(((AlterDatabaseStmt *) statement)->options, "tablespace") ||
				find_option(((AlterDatabaseStmt *) statement)->options, "allow_connections"))
				hold_own_database(((AlterDatabaseStmt *) statement)->dbname);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				hold_own_database(((RenameStmt *) statement)->subname);
			break;
		case T_AlterExtensionStmt:
			hold_extension(((AlterExtensionStmt *) statement)->extname, "alter");
			break;
		case T_DropStmt:
			if (((DropStmt *) statement)->removeType == OBJECT_EXTENSION)
				foreach(lc, ((DropStmt *) statement)->objects)
					hold_extension(strVal(lfirst(lc)), "drop");
			break;
		default:
			break;
	}
}

/* Wake-ups of a prepared transaction are lost; all that is live is looked at. */
static void
rescan_database(void)
{
	GoflowDatabase *db;

	goflow_lock(LW_EXCLUSIVE);
	db = goflow_database_get_locked(MyDatabaseId);
	if (db)
	{
		if (db->presence == GOFLOW_PRESENCE_ABSENT)
			db->presence = GOFLOW_PRESENCE_UNKNOWN;
		goflow_database_rescan_locked(db, NULL);
	}
	goflow_unlock();
}

/*
 * What is to be done after the statement.  It is decided before, because the
 * end of a transaction may free the statement's tree.
 */
typedef struct Afterwards
{
	bool		rescan;
	bool		listen;
	bool		unlisten;
	bool		unlisten_all;
	GoflowChannelKey channel;
	char	   *unlistened;		/* its name, or NULL */
} Afterwards;

static void
decide(Node *statement, Afterwards *todo)
{
	const char *channel;

	switch (nodeTag(statement))
	{
		case T_TransactionStmt:
			todo->rescan =
				((TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED;
			break;
		case T_ListenStmt:
			channel = ((ListenStmt *) statement)->conditionname;
			todo->listen = goflow_channel_parse(channel, &todo->channel);
			break;
		case T_UnlistenStmt:
			channel = ((UnlistenStmt *) statement)->conditionname;
			todo->unlisten_all = channel == NULL;
			todo->unlistened = channel ? pstrdup(channel) : NULL;
			todo->unlisten = channel && goflow_channel_parse(channel, &todo->channel);
			break;
		case T_DiscardStmt:
			todo->unlisten_all = ((DiscardStmt *) statement)->target == DISCARD_ALL;
			break;
		default:
			break;
	}
}

static void
do_afterwards(const Afterwards *todo)
{
	if (todo->rescan)
		rescan_database();
	if (todo->listen)
		goflow_channel_prepare();
	if (todo->listen || todo->unlisten)
		goflow_wake_channel(&todo->channel, todo->listen);
	if (todo->unlisten_all || todo->unlistened)
		(void) goflow_subscription_close(todo->unlistened);
	if (todo->unlisten_all)
		goflow_wake_no_channels();
}

static void
see(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_VariableSetStmt:
		case T_VariableShowStmt:
		case T_NotifyStmt:
		case T_ExplainStmt:
		case T_CallStmt:
			break;
		default:
			goflow_utility_seen = true;
	}
}

static void
process_utility(PlannedStmt *planned, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	Node	   *statement = planned->utilityStmt;
	Afterwards	todo = {0};

	see(statement);
	before_statement(statement);
	decide(statement, &todo);
	if (next_hook)
		next_hook(planned, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(planned, query, read_only_tree, context, params, environment,
								dest, completion);

	do_afterwards(&todo);
}

void
goflow_utility_init(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
