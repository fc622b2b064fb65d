/*
 * trigger_ddl.c
 *		Makes and removes the triggers of workflows.
 *
 * A trigger node with a table becomes a row trigger of that table, made as
 * CREATE TRIGGER makes it: WHEN and OF are the server's own, partitions get
 * clones.  Its arguments are the names of workflow and node; which version and
 * which inputs that means is looked up when it fires, so that a dump of the
 * table says nothing that is true only here.  goflow.row_trigger registers it
 * as the workflow's.
 *
 * Who defines the workflow needs the TRIGGER privilege on the table.  Removing
 * needs none: the triggers belong to the workflow.  The table's owner may drop
 * or disable them at any time; the registration that stays behind does no
 * harm.  They depend on the extension, automatically: DROP EXTENSION takes
 * them along.
 *
 * When a workflow is defined again, a trigger that stays on its table is
 * replaced in place.  That locks out writers, as a first definition does, but
 * not readers; dropping a trigger locks out both.
 */
#include "postgres.h"

#include "api/row_trigger.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_trigger.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "definition/statement.h"
#include "process/process.h"
#include "store/store.h"

static List *
function_name(void)
{
	return list_make2(makeString(GOFLOW_SCHEMA), makeString("row_trigger"));
}

/* A trigger by its name; function: one that calls it, or InvalidOid for any. */
static Oid
find_trigger(Oid relation, const char *name, Oid function)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	ScanKeyInit(&keys[0], Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relation));
	ScanKeyInit(&keys[1], Anum_pg_trigger_tgname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(name));
	scan = systable_beginscan(catalog, TriggerRelidNameIndexId, true, NULL, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (!OidIsValid(function) || trigger->tgfoid == function)
			result = trigger->oid;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

/* ---- removing ---- */

static void
remove_trigger(const char *name, const GoflowRowTriggerRow *row, Oid function)
{
	/* looked for twice: the table may be dropped while its lock is waited for */
	if (OidIsValid(find_trigger(row->relation, row->trigger, function)))
	{
		ObjectAddress trigger = {.classId = TriggerRelationId};

		LockRelationOid(row->relation, AccessExclusiveLock);
		trigger.objectId = find_trigger(row->relation, row->trigger, function);
		if (OidIsValid(trigger.objectId))
			performDeletion(&trigger, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	}
	goflow_row_trigger_unregister(name, row->node);
}

void
goflow_row_trigger_remove(const char *name)
{
	List	   *registered = goflow_row_triggers_read(name);
	Oid			function;
	ListCell   *lc;

	if (registered == NIL)
		return;
	function = LookupFuncName(function_name(), 0, NULL, false);
	foreach(lc, registered)
		remove_trigger(name, lfirst(lc), function);
}

/* ---- making ---- */

/* goflow_<workflow>_<node>, shortened and numbered as the names of indexes are. */
static char *
choose_name(const GoflowDefinition *definition, const GoflowNode *node, Oid relation)
{
	char	   *prefix = psprintf("%s_%s", GOFLOW_SCHEMA, definition->name);
	char	   *name = makeObjectName(prefix, node->id, NULL);

	for (int i = 1; OidIsValid(find_trigger(relation, name, InvalidOid)); i++)
		name = makeObjectName(prefix, node->id, psprintf("%d", i));
	return name;
}

static void
make_trigger(const GoflowDefinition *definition, GoflowNode *node, Oid relation, Oid function,
			 const char *name, bool replace)
{
	CreateTrigStmt *stmt = makeNode(CreateTrigStmt);
	ObjectAddress trigger;
	ObjectAddress extension;
	ListCell   *lc;

	stmt->replace = replace;
	stmt->trigname = pstrdup(name);
	stmt->relation = makeRangeVar(get_namespace_name(get_rel_namespace(relation)),
								  get_rel_name(relation), -1);
	stmt->funcname = function_name();
	stmt->args = list_make2(makeString(definition->name), makeString(node->id));
	stmt->row = true;
	stmt->timing = TRIGGER_TYPE_AFTER;
	if (node->events & GOFLOW_EVENT_INSERT)
		stmt->events |= TRIGGER_TYPE_INSERT;
	if (node->events & GOFLOW_EVENT_UPDATE)
		stmt->events |= TRIGGER_TYPE_UPDATE;
	if (node->events & GOFLOW_EVENT_DELETE)
		stmt->events |= TRIGGER_TYPE_DELETE;
	foreach(lc, node->of)
		stmt->columns = lappend(stmt->columns, makeString(lfirst(lc)));
	if (node->when)
		stmt->whenClause = goflow_trigger_when_parse(node);

	trigger = CreateTrigger(stmt, node->when, relation, InvalidOid, InvalidOid, InvalidOid,
							function, InvalidOid, NULL, false, false);
	ObjectAddressSet(extension, ExtensionRelationId, get_extension_oid(GOFLOW_SCHEMA, false));
	recordDependencyOn(&trigger, &extension, DEPENDENCY_AUTO_EXTENSION);

	/* the next one's name must not be this one's */
	CommandCounterIncrement();
}

static bool
is_row_trigger(const GoflowNode *node)
{
	return node->type == GOFLOW_TYPE_TRIGGER && node->table != NULL;
}

static bool
has_row_trigger(const GoflowDefinition *definition)
{
	for (int i = 0; i < definition->nnodes; i++)
		if (is_row_trigger(definition->nodes[i]))
			return true;
	return false;
}

/* The node's table, under the settings that its name was analyzed with. */
static Oid
lock_table(GoflowNode *node)
{
	int			nest_level = NewGUCNestLevel();
	Oid			relation;

	goflow_settings_apply(&node->settings);
	relation = goflow_trigger_table_resolve(node, ShareRowExclusiveLock);
	AtEOXact_GUC(true, nest_level);
	return relation;
}

static bool
is_still_wanted(GoflowDefinition *definition, const GoflowRowTriggerRow *row)
{
	GoflowNode *node = goflow_definition_find_node(definition->body, row->node);

	return node && is_row_trigger(node) && lock_table(node) == row->relation;
}

/* The name of the trigger that a node has on this table already, or NULL. */
static const char *
find_present(List *registered, const GoflowNode *node, Oid relation, Oid function)
{
	ListCell   *lc;

	foreach(lc, registered)
	{
		GoflowRowTriggerRow *row = lfirst(lc);

		if (strcmp(row->node, node->id) == 0 && row->relation == relation &&
			OidIsValid(find_trigger(relation, row->trigger, function)))
			return row->trigger;
	}
	return NULL;
}

static void
install_trigger(const GoflowDefinition *definition, GoflowNode *node, List *registered, Oid function)
{
	Oid			relation = lock_table(node);
	const char *present = find_present(registered, node, relation, function);
	const char *name = present ? present : choose_name(definition, node, relation);
	GoflowRowTriggerRow row = {.node = node->id, .relation = relation,
	.trigger = unconstify(char *, name)};
	int			nest_level = NewGUCNestLevel();

	goflow_settings_apply(&node->settings);
	make_trigger(definition, node, relation, function, name, present != NULL);
	AtEOXact_GUC(true, nest_level);
	goflow_row_trigger_register(definition->name, &row);
}

void
goflow_row_trigger_install(GoflowDefinition *definition)
{
	List	   *registered = goflow_row_triggers_read(definition->name);
	bool		is_wanted = has_row_trigger(definition);
	const char *reason;
	Oid			function;
	int			nest_level;
	ListCell   *lc;

	if (registered == NIL && !is_wanted)
		return;
	if (is_wanted && !goflow_role_can_run(definition->owner, &reason))
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_ROLE_CANNOT_RUN),
				 errmsg("no worker can run as role \"%s\"",
						GetUserNameFromId(definition->owner, false)),
				 errdetail("What a trigger starts runs as the owner of the workflow."),
				 errhint("%s", reason)));

	function = LookupFuncName(function_name(), 0, NULL, false);
	nest_level = NewGUCNestLevel();
	goflow_settings_apply(&definition->settings);
	foreach(lc, registered)
		if (!is_still_wanted(definition, lfirst(lc)))
			remove_trigger(definition->name, lfirst(lc), function);
	for (int i = 0; i < definition->nnodes; i++)
		if (is_row_trigger(definition->nodes[i]))
			install_trigger(definition, definition->nodes[i], registered, function);
	AtEOXact_GUC(true, nest_level);
}
