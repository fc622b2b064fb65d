/*
 * owner.c
 *		goflow's own SQL: fixed statements that run as the extension's owner.
 *
 * The switch of user is local (SECURITY_LOCAL_USERID_CHANGE), so nothing run
 * inside can SET ROLE its way out, and search_path is pinned, so no name means
 * anything but what it says.  Row security does not apply to a table's owner.
 * No user code may run between begin and end: statements touch built-in types
 * and goflow's tables only.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* OIDs of goflow's relations by name; thrown away when the extension may have changed. */
typedef struct RelationEntry
{
	NameData	name;			/* key */
	Oid			oid;
} RelationEntry;

static HTAB *relations = NULL;
static Oid	extension_owner = InvalidOid;
uint64		goflow_relations_generation = 1;

static void
forget(Datum arg, int cacheid, uint32 hashvalue)
{
	extension_owner = InvalidOid;
	goflow_relations_generation++;
	if (relations)
	{
		hash_destroy(relations);
		relations = NULL;
	}
}

/*
 * The library knows the tables of its own version only.  After new files were
 * installed and the server was restarted, everything stands still until the
 * extension is updated, too.
 */
static void
check_version(const char *version)
{
	if (strcmp(version, GOFLOW_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_VERSION_MISMATCH),
				 errmsg("extension \"%s\" has version %s in this database, but its library has version %s",
						GOFLOW_SCHEMA, version, GOFLOW_VERSION),
				 errhint("Run ALTER EXTENSION goflow UPDATE, or restart the server if newer files were installed.")));
}

/* The owner of the extension, and its version; InvalidOid if it is not in this database. */
static Oid
lookup_owner(char **version)
{
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(GOFLOW_SCHEMA));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(rel), &isnull);

		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
		*version = TextDatumGetCString(datum);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return owner;
}

static Oid
get_owner(void)
{
	static bool registered = false;

	if (!registered)
	{
		/* the functions go when the extension goes, whoever drops it; the schema may stay */
		CacheRegisterSyscacheCallback(PROCOID, forget, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, forget, (Datum) 0);
		registered = true;
	}
	if (!OidIsValid(extension_owner))
	{
		char	   *version;
		Oid			owner = lookup_owner(&version);

		if (OidIsValid(owner))
			check_version(version);
		extension_owner = owner;
	}
	return extension_owner;
}

/* Its version in this database, if that is not the library's; else NULL. */
char *
goflow_extension_other_version(void)
{
	char	   *version;

	if (OidIsValid(extension_owner) || !OidIsValid(lookup_owner(&version)) ||
		strcmp(version, GOFLOW_VERSION) == 0)
		return NULL;
	return version;
}

bool
goflow_extension_exists(void)
{
	return OidIsValid(get_owner());
}

/*
 * OID of a relation of schema goflow.  Errors: 3F000, 42P01 if the extension
 * is not in this database.
 */
Oid
goflow_relation(const char *name)
{
	NameData	key;
	RelationEntry *entry;
	bool		found;

	(void) get_owner();			/* registers the callbacks */
	if (relations == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(NameData), .entrysize = sizeof(RelationEntry)};

		relations = hash_create("goflow relations", 32, &ctl, HASH_ELEM | HASH_STRINGS);
	}
	namestrcpy(&key, name);
	entry = hash_search(relations, &key, HASH_FIND, NULL);
	if (entry == NULL)
	{
		Oid			oid = get_relname_relid(name, get_namespace_oid(GOFLOW_SCHEMA, false));

		if (!OidIsValid(oid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation \"%s.%s\" does not exist", GOFLOW_SCHEMA, name),
					 errhint("Run CREATE EXTENSION goflow in this database.")));
		/* the lookup may have thrown the table away */
		if (relations == NULL)
			return oid;
		entry = hash_search(relations, &key, HASH_ENTER, &found);
		entry->oid = oid;
	}
	return entry->oid;
}

bool
goflow_is_admin(Oid role)
{
	Oid			function = LookupFuncName(list_make2(makeString(pstrdup(GOFLOW_SCHEMA)),
													 makeString(pstrdup("adopt"))), 0, NULL, true);

	return OidIsValid(function) && goflow_may_execute(function, role);
}

void
goflow_owner_begin(GoflowOwnerScope *scope)
{
	Oid			owner = get_owner();

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist in this database", GOFLOW_SCHEMA),
				 errhint("Run CREATE EXTENSION goflow in this database.")));

	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(owner, scope->security_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
goflow_owner_end(GoflowOwnerScope *scope)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	AtEOXact_GUC(true, scope->nest_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

SPIPlanPtr
goflow_owner_plan(SPIPlanPtr *plan, const char *query, int nargs, Oid *types)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(query, nargs, types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", query, SPI_result_code_string(SPI_result));
		*plan = made;
	}
	return *plan;
}
