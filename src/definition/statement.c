/*
 * statement.c
 *		One SQL text at a time: what it may be, and what it gives.
 *
 * A statement of a node must leave the transaction and the connection to
 * goflow, so what steers either is refused.  Statements that the server
 * optimizes (and CALL, EXPLAIN, CREATE TABLE AS around them) are analyzed with
 * the names of the workflow; of other utility statements only the syntax can
 * be known.
 *
 * The condition of a row trigger is analyzed as CREATE TRIGGER does it, since
 * that is where it goes.
 */
#include "postgres.h"

#include "definition/statement.h"

#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parse_clause.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_relation.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

/* errposition() for a byte offset into a text */
static int
text_position(const char *text, int location)
{
	return location < 0 ? 0 : errposition(pg_mbstrlen_with_len(text, location) + 1);
}

/* ---- kinds of statements ---- */

/* Why a statement is refused, NULL if it is not. */
static const char *
refusal(Node *statement, bool is_atomic)
{
	switch (nodeTag(statement))
	{
		case T_TransactionStmt:
			return "Every node is part of a transaction of goflow.";
		case T_ListenStmt:
		case T_UnlistenStmt:
			return "A worker has no client that could hear it.";
		case T_CopyStmt:
			return ((CopyStmt *) statement)->filename ? NULL :
				"A node has no client that could send or take the data.";
		case T_DeclareCursorStmt:
		case T_FetchStmt:
		case T_ClosePortalStmt:
			return "A cursor ends with its node: read the rows with \"rows\": \"many\".";
		case T_PrepareStmt:
		case T_ExecuteStmt:
		case T_DeallocateStmt:
			return "Write the statement itself: goflow prepares it.";
		case T_DiscardStmt:
		case T_LoadStmt:
			return "The session belongs to goflow, and other nodes run in it.";
		case T_VacuumStmt:
			return ((VacuumStmt *) statement)->is_vacuumcmd && is_atomic ?
				"It cannot run inside a transaction: add \"atomic\": false." : NULL;
		case T_IndexStmt:
			return ((IndexStmt *) statement)->concurrent && is_atomic ?
				"It cannot run inside a transaction: leave CONCURRENTLY out, or add \"atomic\": false." : NULL;
		case T_AlterSystemStmt:
		case T_CreatedbStmt:
		case T_CreateTableSpaceStmt:
		case T_DropdbStmt:
		case T_DropTableSpaceStmt:
			return is_atomic ? "It cannot run inside a transaction: add \"atomic\": false." : NULL;
		default:
			return NULL;
	}
}

/* Statements that the server optimizes, which only a transaction of goflow can run. */
static bool
is_optimizable(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_SelectStmt:
		case T_InsertStmt:
		case T_UpdateStmt:
		case T_DeleteStmt:
		case T_MergeStmt:
		case T_ExplainStmt:
		case T_CreateTableAsStmt:
			return true;
		default:
			return false;
	}
}

RawStmt *
goflow_statement_parse(GoflowExpr *expr)
{
	bool		is_atomic = expr->node->is_atomic || expr != expr->node->expr;
	List	   *statements = raw_parser(expr->text, RAW_PARSE_DEFAULT);
	RawStmt    *statement;
	const char *reason;

	if (list_length(statements) != 1)
	{
		int			second = list_length(statements) > 1 ?
			lsecond_node(RawStmt, statements)->stmt_location : 0;

		/* the place of a statement begins behind the semicolon before it */
		second += strspn(expr->text + second, " \t\r\n\f");
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_STATEMENT_REFUSED),
				 errmsg("a node runs one statement, not %d", list_length(statements)),
				 errhint("Make a node of each statement, one after the other."),
				 text_position(expr->text, second)));
	}
	statement = linitial_node(RawStmt, statements);
	reason = refusal(statement->stmt, is_atomic);
	if (!is_atomic && is_optimizable(statement->stmt))
		reason = "Outside of a transaction only CALL and utility statements run: leave \"atomic\" out.";
	if (reason)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_STATEMENT_REFUSED),
				 errmsg("%s cannot be used in a workflow", CreateCommandName(statement->stmt)),
				 errhint("%s", reason),
				 errposition(1)));
	return statement;
}

/* ---- statements ---- */

/* The columns of a node are read by name, and kept as values. */
static void
check_columns(const GoflowExpr *expr, TupleDesc desc, List *targets)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		TargetEntry *target = i < list_length(targets) ? list_nth(targets, i) : NULL;
		int			location = target ? exprLocation((Node *) target->expr) : -1;
		Oid			type = goflow_column_type(column->atttypid);

		if (strcmp(NameStr(column->attname), "?column?") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_NAME_CONFLICT),
					 errmsg("column %d of the result has no name", i + 1),
					 errhint("Give it one with AS."),
					 text_position(expr->text, location)));
		for (int j = 0; j < i; j++)
			if (strcmp(NameStr(column->attname), NameStr(TupleDescAttr(desc, j)->attname)) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_GOFLOW_NAME_CONFLICT),
						 errmsg("column \"%s\" exists twice in the result", NameStr(column->attname)),
						 errhint("Give one of them another name with AS."),
						 text_position(expr->text, location)));
		if (get_typtype(type) == TYPTYPE_PSEUDO)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
					 errmsg("column \"%s\" of the result has pseudo-type %s",
							NameStr(column->attname), format_type_be(type)),
					 type == RECORDOID ?
					 errhint("Give its fields as columns, or cast it to a composite type.") :
					 errhint("Cast it to a type that values can have, such as text."),
					 text_position(expr->text, location)));
	}
}

TupleDesc
goflow_statement_analyze(GoflowExpr *expr)
{
	RawStmt    *statement = goflow_statement_parse(expr);
	List	   *targets = NIL;
	TupleDesc	result = NULL;
	Query	   *query;

	query = parse_analyze_withcb(statement, expr->text, goflow_reference_setup, expr,
								 goflow_reference_environment(expr));
	goflow_reference_collect_relations(expr, query);

	if (query->commandType == CMD_UTILITY)
	{
		if (UtilityReturnsTuples(query->utilityStmt))
			result = UtilityTupleDescriptor(query->utilityStmt);
	}
	else
	{
		targets = query->commandType == CMD_SELECT ? query->targetList : query->returningList;
		if (targets)
			result = ExecCleanTypeFromTL(targets);
	}
	/* of what undoes a node, nobody reads the result */
	if (result && expr != expr->node->compensate && expr->node->rows != GOFLOW_ROWS_NONE)
		check_columns(expr, result, targets);
	return result;
}

/* ---- expressions ---- */

static TargetEntry *
single_target(const GoflowExpr *expr, const Query *query)
{
	TargetEntry *result = NULL;
	int			count = 0;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, lc);

		if (!target->resjunk)
		{
			result = target;
			count++;
		}
	}
	if (count != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("an expression must give one value, not %d", count),
				 errposition(1)));
	if (query->hasTargetSRFs)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
				 errmsg("an expression must not return a set"),
				 errhint("Write a subquery that gives one value, such as (SELECT array_agg(...) FROM ...)."),
				 errposition(1)));
	return result;
}

static void
check_target(GoflowExpr *expr, Node *value)
{
	ParseState *pstate = make_parsestate(NULL);

	pstate->p_sourcetext = expr->text;
	/* a row of no type could be coerced here, but not the value that it gives */
	if (expr->type == RECORDOID ||
		coerce_to_target_type(pstate, value, expr->type, expr->target, expr->target_typmod,
							  COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
				 errmsg("the expression has type %s, but %s is needed",
						format_type_be(expr->type), format_type_be(expr->target)),
				 expr->target == BOOLOID ?
				 errhint("Write a comparison.") :
				 errhint("Cast it to %s, or write another expression.",
						 format_type_be(expr->target)),
				 errposition(1)));
	free_parsestate(pstate);
}

void
goflow_expression_analyze(GoflowExpr *expr)
{
	List	   *statements = raw_parser(expr->text, RAW_PARSE_PLPGSQL_EXPR);
	Query	   *query;
	TargetEntry *target;

	query = parse_analyze_withcb(linitial_node(RawStmt, statements), expr->text,
								 goflow_reference_setup, expr, goflow_reference_environment(expr));
	goflow_reference_collect_relations(expr, query);
	target = single_target(expr, query);
	expr->type = exprType((Node *) target->expr);
	expr->typmod = exprTypmod((Node *) target->expr);
	if (OidIsValid(expr->target))
		check_target(expr, (Node *) target->expr);
	else
	{
		/* jsonb can hold a record */
		bool		is_record = expr->type == RECORDOID && expr->is_json;

		if (!is_record && get_typtype(goflow_column_type(expr->type)) == TYPTYPE_PSEUDO)
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_TYPE_MISMATCH),
					 errmsg("the expression has pseudo-type %s", format_type_be(expr->type)),
					 errhint("Cast it to a type that values can have, such as jsonb."),
					 errposition(1)));
	}
}

/* ---- row triggers ---- */

Oid
goflow_trigger_table_resolve(GoflowNode *node, LOCKMODE mode)
{
	RangeVar   *name = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(node->table)));
	Oid			relation = RangeVarGetRelid(name, mode, false);
	char		kind = get_rel_relkind(relation);
	AclResult	right;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", node->table),
				 errhint("A row trigger needs a plain or a partitioned table.")));
	if (get_rel_persistence(relation) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a temporary table", node->table),
				 errdetail("No worker could see its rows."),
				 errhint("Use a permanent table.")));
	if (IsCatalogRelationOid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied: \"%s\" is a system catalog", node->table)));
	right = pg_class_aclcheck(relation, GetUserId(), ACL_TRIGGER);
	if (right != ACLCHECK_OK)
		aclcheck_error(right, OBJECT_TABLE, node->table);
	return relation;
}

void
goflow_trigger_columns_check(GoflowNode *node)
{
	Oid			relation = goflow_trigger_table_resolve(node, AccessShareLock);
	ListCell   *lc;

	foreach(lc, node->of)
		if (get_attnum(relation, lfirst(lc)) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist",
							(char *) lfirst(lc), node->table)));
}

Node *
goflow_trigger_when_parse(GoflowNode *node)
{
	RawStmt    *statement = linitial_node(RawStmt, raw_parser(node->when, RAW_PARSE_PLPGSQL_EXPR));
	SelectStmt *select = castNode(SelectStmt, statement->stmt);

	if (list_length(select->targetList) != 1 || select->fromClause || select->whereClause)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the condition of a trigger must be one expression"),
				 errposition(1)));
	return linitial_node(ResTarget, select->targetList)->val;
}

void
goflow_trigger_when_analyze(GoflowNode *node)
{
	Relation	table = table_open(goflow_trigger_table_resolve(node, AccessShareLock), NoLock);
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item;
	Node	   *condition;
	ListCell   *lc;

	pstate->p_sourcetext = node->when;
	item = addRangeTableEntryForRelation(pstate, table, AccessShareLock, makeAlias("old", NIL),
										 false, false);
	addNSItemToQuery(pstate, item, false, true, true);
	item = addRangeTableEntryForRelation(pstate, table, AccessShareLock, makeAlias("new", NIL),
										 false, false);
	addNSItemToQuery(pstate, item, false, true, true);

	condition = transformWhereClause(pstate, goflow_trigger_when_parse(node),
									 EXPR_KIND_TRIGGER_WHEN, "WHEN");
	assign_expr_collations(pstate, condition);

	foreach(lc, pull_var_clause(condition, 0))
	{
		Var		   *var = lfirst_node(Var, lc);
		bool		is_old = var->varno == 1;

		if (node->events & (is_old ? GOFLOW_EVENT_INSERT : GOFLOW_EVENT_DELETE))
			ereport(ERROR,
					(errcode(ERRCODE_GOFLOW_UNKNOWN_REFERENCE),
					 errmsg("the condition of a trigger on %s cannot use %s",
							is_old ? "insert" : "delete", is_old ? "OLD" : "NEW"),
					 errhint("Make a trigger node of its own for that event."),
					 parser_errposition(pstate, var->location)));
		if (!is_old && var->varattno < 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the condition of a trigger cannot use system columns of NEW"),
					 parser_errposition(pstate, var->location)));
	}
	free_parsestate(pstate);
	table_close(table, NoLock);
}
