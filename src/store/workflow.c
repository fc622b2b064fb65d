/*
 * workflow.c
 *		Versions of workflows, who may start them, and their compiled form.
 *
 * A version never changes, so its compiled form is kept for the life of the
 * backend, by workflow_id.  Plans point into it: it is never freed.  It is made
 * anew when one of its types is gone (a definition holds names; a type of that
 * name may be back), and when the extension was dropped and created again, so
 * that ids start anew: the OID of the table tells.
 *
 * Writers of one workflow (define, drop, grants) take a lock on its name for
 * the rest of the transaction; see goflow_workflow_lock().
 */
#include "postgres.h"

#include "store/store.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "store/table.h"

/* A compiled version */
typedef struct CacheEntry
{
	int			workflow_id;	/* key */
	Oid			table;			/* goflow.workflow when it was read */
	uint64		relations;		/* goflow_relations_generation when that was looked at */
	uint64		used;			/* the cache's clock */
	uint64		types;			/* types_generation when its types were looked at */
	GoflowDefinition *definition;
} CacheEntry;

static HTAB *cache = NULL;
static uint64 cache_clock = 0;

/* Versions that a process keeps compiled; more of them only as long as they are in use. */
#define MAX_COMPILED 128

/* Compiled anew since: to be freed when nothing can be using them. */
static List *retired = NIL;

/* Nobody else has taken it upon himself to call goflow_workflow_trim(). */
static bool trims_at_commit = true;
uint64		goflow_workflow_trims = 0;

/* The newest version of a workflow, as of the last change of the table that we heard of. */
typedef struct NewestEntry
{
	char		name[NAMEDATALEN];	/* key */
	GoflowWorkflowRow row;		/* without its name */
} NewestEntry;

#define MAX_NEWEST 1000

static HTAB *newest = NULL;
static Oid	newest_table;

/* Counts changes of pg_type. */
static uint64 types_generation = 1;

/* ---- statements ---- */

/* A statement that is prepared at its first use and kept. */
typedef struct Statement
{
	const char *text;
	int			nargs;
	Oid			types[6];
	bool		is_timeless;	/* reads what never changes: as of now, older snapshot or not */
	SPIPlanPtr	plan;
} Statement;

static Statement insert_version = {
	"INSERT INTO goflow.workflow (name, version, owner, definition, contract, settings, retention) "
	"SELECT $1, COALESCE(pg_catalog.max(version), 0) OPERATOR(pg_catalog.+) 1, $2, $3, $4, $5, "
	"CASE WHEN $6 OPERATOR(pg_catalog.>) 0 THEN pg_catalog.make_interval(secs => $6 OPERATOR(pg_catalog./) 1e6) END "
	"FROM goflow.workflow WHERE name OPERATOR(pg_catalog.=) $1 RETURNING workflow_id, version",
	6, {TEXTOID, OIDOID, JSONBOID, JSONBOID, TEXTARRAYOID, INT8OID}
};
static Statement mark_dropped = {
	"UPDATE goflow.workflow SET dropped_at = pg_catalog.now() "
	"WHERE name OPERATOR(pg_catalog.=) $1 AND dropped_at IS NULL",
	1, {TEXTOID}
};
static Statement delete_grants = {
	"DELETE FROM goflow.start_grant WHERE name OPERATOR(pg_catalog.=) $1",
	1, {TEXTOID}
};
static Statement delete_start_keys = {
	"DELETE FROM goflow.start_key WHERE name OPERATOR(pg_catalog.=) $1",
	1, {TEXTOID}
};
static Statement count_live = {
	"SELECT pg_catalog.count(*) FROM ONLY goflow.execution e "
	"JOIN goflow.workflow w ON w.workflow_id OPERATOR(pg_catalog.=) e.workflow_id "
	"WHERE w.name OPERATOR(pg_catalog.=) $1 AND w.dropped_at IS NULL",
	1, {TEXTOID}
};
static Statement find_grantees = {
	"SELECT grantee::oid FROM goflow.start_grant WHERE name OPERATOR(pg_catalog.=) $1",
	1, {TEXTOID}
};
static Statement insert_grant = {
	"INSERT INTO goflow.start_grant (name, grantee) VALUES ($1, $2) ON CONFLICT DO NOTHING",
	2, {TEXTOID, OIDOID}
};
static Statement delete_grant = {
	"DELETE FROM goflow.start_grant WHERE name OPERATOR(pg_catalog.=) $1 "
	"AND grantee::oid OPERATOR(pg_catalog.=) $2",
	2, {TEXTOID, OIDOID}
};
static Statement read_version = {
	"SELECT name, version, owner::oid, definition, contract, settings FROM goflow.workflow "
	"WHERE workflow_id OPERATOR(pg_catalog.=) $1",
	1, {INT4OID}, .is_timeless = true
};

/* Runs a statement within an owner scope; the rows are in SPI_tuptable. */
static void
run(Statement *statement, Datum *values)
{
	int			result;

	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statement->text, statement->nargs, statement->types);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		statement->plan = plan;
	}

	/* not read-only: it must see what a lock was waited for */
	if (statement->is_timeless)
		result = SPI_execute_snapshot(statement->plan, values, NULL, GetLatestSnapshot(),
									  InvalidSnapshot, true, false, 0);
	else
		result = SPI_execute_plan(statement->plan, values, NULL, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
}

static Datum
column(int row, int number)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, &isnull);

	if (isnull)
		elog(ERROR, "unexpected null in column %d of a goflow table", number);
	return value;
}

/* ---- the table ---- */

void
goflow_workflow_lock(const char *name, LOCKMODE mode)
{
	LockDatabaseObject(goflow_relation("workflow"),
					   hash_bytes((const unsigned char *) name, strlen(name)), 0, mode);
}

static void
forget_newest(Datum arg, Oid relation)
{
	if (newest && (!OidIsValid(relation) || relation == newest_table))
	{
		hash_destroy(newest);
		newest = NULL;
	}
}

/* Who changes the table says so, to this process and to all others at commit. */
static void
note_change(void)
{
	CacheInvalidateRelcacheByRelid(goflow_relation("workflow"));
}

static bool
find_newest(const char *name, GoflowWorkflowRow *row)
{
	NewestEntry *entry = newest && strlen(name) < NAMEDATALEN ?
		hash_search(newest, name, HASH_FIND, NULL) : NULL;

	if (entry == NULL)
		return false;
	*row = entry->row;
	row->name = pstrdup(name);
	return true;
}

static void
remember_newest(const char *name, const GoflowWorkflowRow *row)
{
	static bool registered = false;
	NewestEntry *entry;

	if (strlen(name) >= NAMEDATALEN)
		return;
	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_newest, (Datum) 0);
		registered = true;
	}
	if (newest && hash_get_num_entries(newest) >= MAX_NEWEST)
		forget_newest((Datum) 0, InvalidOid);
	if (newest == NULL)
	{
		HASHCTL		ctl = {.keysize = NAMEDATALEN, .entrysize = sizeof(NewestEntry)};

		newest = hash_create("goflow newest workflows", 32, &ctl, HASH_ELEM | HASH_STRINGS);
		newest_table = goflow_relation("workflow");
	}
	entry = hash_search(newest, name, HASH_ENTER, NULL);
	entry->row = *row;
}

bool
goflow_workflow_find(const char *name, int version, GoflowWorkflowRow *row)
{
	Datum		keys[] = {CStringGetTextDatum(name), Int32GetDatum(version)};
	GoflowScan	scan;
	HeapTuple	tuple;
	bool		found;

	if (version <= 0 && find_newest(name, row))
		return !row->dropped;
	goflow_scan_begin_key(&scan, "workflow", "workflow_name_version_key", version > 0 ? 2 : 1, keys);
	tuple = goflow_scan_previous(&scan);	/* the newest */
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		TupleDesc	tupdesc = RelationGetDescr(scan.rel);
		bool		isnull;

		row->workflow_id = DatumGetInt32(heap_getattr(tuple, Anum_workflow_id, tupdesc, &isnull));
		row->name = pstrdup(name);
		row->version = DatumGetInt32(heap_getattr(tuple, Anum_workflow_version, tupdesc, &isnull));
		row->owner = DatumGetObjectId(heap_getattr(tuple, Anum_workflow_owner, tupdesc, &isnull));
		row->dropped = !heap_attisnull(tuple, Anum_workflow_dropped_at, tupdesc);
	}
	goflow_scan_end(&scan);
	if (found && version <= 0)
		remember_newest(name, row);
	return found && !(version <= 0 && row->dropped);
}

int
goflow_workflow_insert(const char *name, Oid owner, Jsonb *definition, Jsonb *contract,
					   const GoflowSettings *settings, int64 retention, int *workflow_id)
{
	GoflowOwnerScope scope;
	Datum	   *pairs = palloc(sizeof(Datum) * Max(1, settings->count * 2));
	Datum		values[6];
	int			version;

	for (int i = 0; i < settings->count; i++)
	{
		pairs[2 * i] = CStringGetTextDatum(settings->names[i]);
		pairs[2 * i + 1] = CStringGetTextDatum(settings->values[i]);
	}
	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(owner);
	values[2] = JsonbPGetDatum(definition);
	values[3] = JsonbPGetDatum(contract);
	values[4] = PointerGetDatum(construct_array(pairs, settings->count * 2, TEXTOID, -1, false,
												TYPALIGN_INT));
	values[5] = Int64GetDatum(retention);
	goflow_owner_begin(&scope);
	run(&insert_version, values);
	note_change();
	*workflow_id = DatumGetInt32(column(0, 1));
	version = DatumGetInt32(column(0, 2));
	goflow_owner_end(&scope);
	return version;
}

/* Runs a statement whose result does not matter. */
static void
execute(Statement *statement, const char *name, Oid role)
{
	GoflowOwnerScope scope;
	Datum		values[] = {CStringGetTextDatum(name), ObjectIdGetDatum(role)};

	goflow_owner_begin(&scope);
	run(statement, values);
	goflow_owner_end(&scope);
}

void
goflow_workflow_mark_dropped(const char *name)
{
	execute(&mark_dropped, name, InvalidOid);
	note_change();
	execute(&delete_grants, name, InvalidOid);
	execute(&delete_start_keys, name, InvalidOid);	/* a later workflow of this name is another one */
}

void
goflow_workflow_grant(const char *name, Oid role)
{
	execute(&insert_grant, name, role);
}

void
goflow_workflow_revoke(const char *name, Oid role)
{
	execute(&delete_grant, name, role);
}

int64
goflow_workflow_live_executions(const char *name)
{
	GoflowOwnerScope scope;
	Datum		values[] = {CStringGetTextDatum(name)};
	int64		count;

	goflow_owner_begin(&scope);
	run(&count_live, values);
	count = DatumGetInt64(column(0, 1));
	goflow_owner_end(&scope);
	return count;
}

bool
goflow_workflow_may_start(const char *name, Oid owner, Oid role)
{
	GoflowOwnerScope scope;
	Datum		values[] = {CStringGetTextDatum(name)};
	bool		found = has_privs_of_role(role, owner);

	if (found)
		return true;
	goflow_owner_begin(&scope);
	run(&find_grantees, values);
	for (uint64 i = 0; i < SPI_processed && !found; i++)
		found = has_privs_of_role(role, DatumGetObjectId(column(i, 1)));
	goflow_owner_end(&scope);
	return found;
}

/* What a row of the table holds; allocated in the context that was current. */
typedef struct StoredVersion
{
	char	   *name;
	int			version;
	Oid			owner;
	Jsonb	   *definition;
	Jsonb	   *contract;
	GoflowSettings settings;
} StoredVersion;

static GoflowSettings
read_settings(ArrayType *array)
{
	GoflowSettings settings;
	Datum	   *values;
	int			count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &count);
	settings.count = count / 2;
	settings.names = palloc(sizeof(char *) * Max(1, settings.count));
	settings.values = palloc(sizeof(char *) * Max(1, settings.count));
	for (int i = 0; i < settings.count; i++)
	{
		settings.names[i] = TextDatumGetCString(values[2 * i]);
		settings.values[i] = TextDatumGetCString(values[2 * i + 1]);
	}
	return settings;
}

static StoredVersion
read_stored(int workflow_id)
{
	GoflowOwnerScope scope;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	StoredVersion stored;
	Datum		values[] = {Int32GetDatum(workflow_id)};

	goflow_owner_begin(&scope);
	run(&read_version, values);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_UNKNOWN_WORKFLOW),
				 errmsg("there is no workflow with id %d", workflow_id)));
	old = MemoryContextSwitchTo(caller);
	stored.name = TextDatumGetCString(column(0, 1));
	stored.version = DatumGetInt32(column(0, 2));
	stored.owner = DatumGetObjectId(column(0, 3));
	stored.definition = DatumGetJsonbPCopy(column(0, 4));
	stored.contract = DatumGetJsonbPCopy(column(0, 5));
	stored.settings = read_settings(DatumGetArrayTypePCopy(column(0, 6)));
	MemoryContextSwitchTo(old);
	goflow_owner_end(&scope);
	return stored;
}

char *
goflow_workflow_name(int workflow_id)
{
	return read_stored(workflow_id).name;
}

Jsonb *
goflow_workflow_definition(int workflow_id)
{
	return read_stored(workflow_id).definition;
}

/* ---- compiled versions ---- */

/* A position is one in the definition, not in the statement of whoever needs it now. */
static void
describe_version(void *arg)
{
	StoredVersion *stored = arg;

	if (geterrposition() > 0)
		errposition(0);
	errcontext("workflow \"%s\", version %d", stored->name, stored->version);
}

/*
 * The names of types mean what they meant to the one who defined the workflow,
 * whoever needs it now: an approver or a worker may have no right on their
 * schemas.  Nothing is run, so the rights of a superuser do no harm.
 */
static GoflowDefinition *
load_definition(StoredVersion *stored, MemoryContext context)
{
	GoflowDefinition *definition;
	Oid			user;
	int			security_context;

	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security_context | SECURITY_LOCAL_USERID_CHANGE);
	definition = goflow_definition_load(stored->definition, stored->contract, stored->name, context);
	SetUserIdAndSecContext(user, security_context);
	return definition;
}

static GoflowDefinition *
compile(int workflow_id)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "goflow workflow",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	StoredVersion stored = read_stored(workflow_id);
	GoflowDefinition *definition;
	int			nest_level = NewGUCNestLevel();
	ErrorContextCallback context = {.callback = describe_version, .arg = &stored,
	.previous = error_context_stack};

	error_context_stack = &context;
	goflow_settings_apply(&stored.settings);
	definition = load_definition(&stored, scratch);
	AtEOXact_GUC(true, nest_level);
	error_context_stack = context.previous;

	definition->workflow_id = workflow_id;
	definition->version = stored.version;
	definition->owner = stored.owner;
	MemoryContextSwitchTo(definition->context);
	definition->settings.count = stored.settings.count;
	definition->settings.names = palloc(sizeof(char *) * Max(1, stored.settings.count));
	definition->settings.values = palloc(sizeof(char *) * Max(1, stored.settings.count));
	for (int i = 0; i < stored.settings.count; i++)
	{
		definition->settings.names[i] = pstrdup(stored.settings.names[i]);
		definition->settings.values[i] = pstrdup(stored.settings.values[i]);
	}

	/* complete: from here on it lives until it is trimmed */
	MemoryContextSetParent(definition->context, TopMemoryContext);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return definition;
}

static void
note_type_change(Datum arg, int cacheid, uint32 hashvalue)
{
	types_generation++;
}

static bool
types_exist(const GoflowField *fields, int nfields)
{
	for (int i = 0; i < nfields; i++)
		if (OidIsValid(fields[i].type) &&
			!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(fields[i].type)))
			return false;
	return true;
}

static bool
all_types_exist(GoflowDefinition *definition)
{
	if (!types_exist(definition->inputs, definition->ninputs) ||
		!types_exist(definition->variables, definition->nvariables))
		return false;
	for (int i = 0; i < definition->nnodes; i++)
	{
		GoflowNode *node = definition->nodes[i];

		if (!types_exist(node->columns, node->ncolumns) ||
			!types_exist(node->row_columns, node->nrow_columns))
			return false;
	}
	return true;
}

/* The version that was not used for the longest time, but for one. */
static CacheEntry *
find_oldest(GoflowDefinition *keep)
{
	CacheEntry *oldest = NULL;
	CacheEntry *entry;
	HASH_SEQ_STATUS status;

	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (entry->definition != keep && (oldest == NULL || entry->used < oldest->used))
			oldest = entry;
	return oldest;
}

static void
free_definition(GoflowDefinition *definition)
{
	goflow_workflow_trims++;
	MemoryContextDelete(definition->context);
}

static void
trim(GoflowDefinition *keep)
{
	ListCell   *lc;

	foreach(lc, retired)
	{
		GoflowDefinition *definition = lfirst(lc);

		if (definition == keep)
			continue;
		free_definition(definition);
		retired = foreach_delete_current(retired, lc);
	}
	while (cache && hash_get_num_entries(cache) > MAX_COMPILED)
	{
		CacheEntry *entry = find_oldest(keep);
		GoflowDefinition *definition = entry->definition;

		(void) hash_search(cache, &entry->workflow_id, HASH_REMOVE, NULL);
		free_definition(definition);
	}
}

/*
 * Frees compiled versions beyond those that are worth keeping.  For a process
 * that uses them across transactions, at a moment when it uses none, but for
 * keep (or NULL).  Any other process forgets at the end of its transactions.
 */
void
goflow_workflow_trim(GoflowDefinition *keep)
{
	trims_at_commit = false;
	trim(keep);
}

static void
trim_at_commit(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && trims_at_commit)
		trim(NULL);
}

GoflowDefinition *
goflow_workflow_load(int workflow_id)
{
	uint64		relations = goflow_relations_generation;
	Oid			table;
	CacheEntry *entry;
	GoflowDefinition *definition;
	bool		found;

	if (cache == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(int), .entrysize = sizeof(CacheEntry)};

		cache = hash_create("goflow workflows", 32, &ctl, HASH_ELEM | HASH_BLOBS);
		CacheRegisterSyscacheCallback(TYPEOID, note_type_change, (Datum) 0);
		RegisterXactCallback(trim_at_commit, NULL);
	}
	entry = hash_search(cache, &workflow_id, HASH_FIND, NULL);
	if (entry)
	{
		entry->used = ++cache_clock;
		if (entry->relations != relations && entry->table == goflow_relation("workflow"))
			entry->relations = relations;
	}
	if (entry && entry->relations == relations)
	{
		uint64		generation = types_generation;

		if (entry->types == generation || all_types_exist(entry->definition))
		{
			entry->types = generation;
			return entry->definition;
		}
	}

	table = goflow_relation("workflow");
	definition = compile(workflow_id);
	entry = hash_search(cache, &workflow_id, HASH_ENTER, &found);
	if (found)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		retired = lappend(retired, entry->definition);
		MemoryContextSwitchTo(old);
	}
	entry->used = ++cache_clock;
	entry->table = table;
	entry->relations = relations;
	entry->types = 0;			/* to be looked at again, should any have changed meanwhile */
	entry->definition = definition;
	return definition;
}
