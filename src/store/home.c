/*
 * home.c
 *		Whose executions are: those of this database, or those of another of
 *		which this one has a copy.
 *
 * A template copy, a restored dump and a logical subscriber have rows of
 * executions that somebody else may be running.  So each database has a home
 * id, and each execution that of the database that started it.  What has
 * another id is foreign: nothing of it runs and nobody can steer it until
 * goflow.adopt() makes it this database's.  As long as a subscription writes
 * goflow's tables nothing can be adopted, and when one comes back that would
 * take an adopted execution away again, it fails (api/home.c).
 *
 * The row of goflow.home is found by the database's oid, is not dumped, and is
 * not taken from a publisher (its trigger): so a template copy finds no row, a
 * restored database and a subscriber have their own.  A physical copy has the
 * same oid, and goes on: a promoted standby or a restored backup is the same
 * server.  pg_upgrade keeps oid and row.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "store/table.h"

/* As far as known; a home that this transaction has made may be undone, and is not kept. */
static pg_uuid_t home;
static bool is_known = false;

static void
forget(Datum arg, int cacheid, uint32 hashvalue)
{
	is_known = false;
}

/* False: this database has none yet. */
static bool
find_home(pg_uuid_t *found)
{
	static bool registered = false;
	Datum		key = ObjectIdGetDatum(MyDatabaseId);
	GoflowScan	scan;
	HeapTuple	tuple;
	bool		is_uncommitted = false;
	bool		isnull;

	if (!registered)
	{
		/* as in owner.c: the extension may be dropped, and made again */
		CacheRegisterSyscacheCallback(PROCOID, forget, (Datum) 0);
		registered = true;
	}
	if (is_known)
	{
		*found = home;
		return true;
	}
	goflow_scan_begin_key(&scan, "home", "home_pkey", 1, &key);
	tuple = goflow_scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		*found = *DatumGetUUIDP(heap_getattr(tuple, Anum_home_home,
											 RelationGetDescr(scan.rel), &isnull));
		is_uncommitted = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	}
	goflow_scan_end(&scan);
	if (!HeapTupleIsValid(tuple))
		return false;
	home = *found;
	is_known = !is_uncommitted;
	return true;
}

/* This database's home, made if it has none. */
void
goflow_home_get(pg_uuid_t *found)
{
	GoflowOwnerScope scope;
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(MyDatabaseId)};

	if (find_home(found))
		return;
	goflow_owner_begin(&scope);
	if (SPI_execute_with_args("INSERT INTO goflow.home (database, home)"
							  " VALUES ($1, pg_catalog.gen_random_uuid()) ON CONFLICT DO NOTHING",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert the home of a database");
	goflow_owner_end(&scope);
	if (!find_home(found))
		elog(ERROR, "database %u has no home", MyDatabaseId);
}

/* Does an execution with this home belong to this database? */
bool
goflow_home_is_own(const pg_uuid_t *other)
{
	pg_uuid_t	own;

	return find_home(&own) && memcmp(own.data, other->data, UUID_LEN) == 0;
}

/* Live executions that are not this database's. */
int64
goflow_home_count_foreign(void)
{
	GoflowOwnerScope scope;
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(MyDatabaseId)};
	bool		isnull;
	int64		count;

	goflow_owner_begin(&scope);
	if (SPI_execute_with_args("SELECT pg_catalog.count(*) FROM ONLY goflow.execution"
							  " WHERE home IS DISTINCT FROM"
							  " (SELECT h.home FROM goflow.home h WHERE h.database = $1)",
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count foreign executions");
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	goflow_owner_end(&scope);
	return count;
}

/*
 * Sequences are neither replicated nor, in step with the rows, dumped: they go
 * on after the largest number there is.
 */
static void
advance_sequences(void)
{
	SPITupleTable *sequences;
	uint64		n;

	if (SPI_execute("SELECT pg_catalog.format("
					"'SELECT pg_catalog.setval(%L, x.m) FROM (SELECT pg_catalog.max(%I) AS m FROM %s) x, %s s"
					" WHERE x.m > s.last_value OR x.m = s.last_value AND NOT s.is_called',"
					" d.objid::pg_catalog.regclass, a.attname, d.refobjid::pg_catalog.regclass,"
					" d.objid::pg_catalog.regclass)"
					" FROM pg_catalog.pg_depend d"
					" JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S'"
					" JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
					" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'i'"
					" AND c.relnamespace = 'goflow'::pg_catalog.regnamespace", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not list the sequences of goflow");
	sequences = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
		if (SPI_execute(SPI_getvalue(sequences->vals[i], sequences->tupdesc, 1), false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not advance a sequence of goflow");
}

/* The subscription that writes goflow's tables, NULL if there is none. */
char *
goflow_home_subscription(void)
{
	GoflowOwnerScope scope;
	MemoryContext caller = CurrentMemoryContext;
	char	   *name = NULL;

	goflow_owner_begin(&scope);
	if (SPI_execute("SELECT s.subname FROM pg_catalog.pg_subscription s"
					" WHERE s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d"
					"  WHERE d.datname = pg_catalog.current_database())"
					" AND EXISTS (SELECT FROM pg_catalog.pg_subscription_rel r"
					"  JOIN pg_catalog.pg_class c ON c.oid = r.srrelid"
					"  WHERE r.srsubid = s.oid AND c.relnamespace = 'goflow'::pg_catalog.regnamespace)"
					" AND (s.subenabled OR EXISTS (SELECT FROM pg_catalog.pg_stat_get_subscription(s.oid) w"
					"  WHERE w.pid IS NOT NULL)) LIMIT 1", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the subscriptions");
	if (SPI_processed > 0)
		name = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	goflow_owner_end(&scope);
	return name;
}

/* Makes all live executions this database's; returns how many were not. */
int64
goflow_home_adopt(void)
{
	GoflowOwnerScope scope;
	pg_uuid_t	own;
	Oid			types[] = {UUIDOID};
	Datum		values[] = {UUIDPGetDatum(&own)};
	int64		count;

	goflow_home_get(&own);
	goflow_owner_begin(&scope);
	if (SPI_execute_with_args("UPDATE ONLY goflow.execution SET home = $1 WHERE home <> $1",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not adopt executions");
	count = SPI_processed;
	advance_sequences();
	goflow_owner_end(&scope);
	return count;
}
