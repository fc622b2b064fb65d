/*
 * request.c
 *		What is asked of executions: rows of goflow.request.
 *
 * A request is inserted by whoever asks, in his transaction, and read and
 * deleted by the execution's driver, which alone decides what comes of it.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "store/table.h"

static void *
read_row(HeapTuple tuple, const Datum *values, const bool *nulls)
{
	GoflowRequestRow *row = palloc0(sizeof(GoflowRequestRow));

	row->kind = DatumGetChar(VALUE(Anum_request_kind));
	row->role = DatumGetObjectId(VALUE(Anum_request_role));
	if (!ISNULL(Anum_request_argument))
		row->argument = TextDatumGetCString(VALUE(Anum_request_argument));
	row->tid = tuple->t_self;
	row->is_uncommitted =
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	return row;
}

List *
goflow_requests_read(const pg_uuid_t *id)
{
	Datum		key = UUIDPGetDatum(id);

	return goflow_scan_rows("request", "request_pkey", 1, &key, read_row);
}

GoflowRequestRow *
goflow_request_find_retry(const pg_uuid_t *id)
{
	ListCell   *lc;

	foreach(lc, goflow_requests_read(id))
		if (((GoflowRequestRow *) lfirst(lc))->kind == GOFLOW_REQUEST_RETRY)
			return lfirst(lc);
	return NULL;
}

void
goflow_request_insert(const pg_uuid_t *id, char kind, const char *argument)
{
	GoflowOwnerScope scope;
	Oid			types[] = {UUIDOID, CHAROID, OIDOID, TEXTOID};
	Datum		args[4];
	char		nulls[] = "    ";
	Oid			role = GetUserId();

	args[0] = UUIDPGetDatum(id);
	args[1] = CharGetDatum(kind);
	args[2] = ObjectIdGetDatum(role);
	args[3] = argument ? CStringGetTextDatum(argument) : (Datum) 0;
	nulls[3] = argument ? ' ' : 'n';

	goflow_owner_begin(&scope);
	if (SPI_execute_with_args("INSERT INTO goflow.request (execution_id, kind, role, argument)"
							  " VALUES ($1, $2, $3, $4)",
							  4, types, args, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert a request");
	goflow_owner_end(&scope);
}

void
goflow_request_insert_all(const pg_uuid_t *ids, int nids, char kind, const char *argument)
{
	GoflowOwnerScope scope;
	Oid			types[] = {UUIDARRAYOID, CHAROID, OIDOID, TEXTOID};
	Datum		args[4];
	char		nulls[] = "    ";
	Datum	   *elements = palloc(Max(nids, 1) * sizeof(Datum));

	for (int i = 0; i < nids; i++)
		elements[i] = UUIDPGetDatum(&ids[i]);
	args[0] = PointerGetDatum(construct_array(elements, nids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	args[1] = CharGetDatum(kind);
	args[2] = ObjectIdGetDatum(GetUserId());
	args[3] = argument ? CStringGetTextDatum(argument) : (Datum) 0;
	nulls[3] = argument ? ' ' : 'n';

	goflow_owner_begin(&scope);
	if (SPI_execute_with_args("INSERT INTO goflow.request (execution_id, kind, role, argument)"
							  " SELECT id, $2, $3, $4 FROM unnest($1) AS u (id)",
							  4, types, args, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert requests");
	goflow_owner_end(&scope);
}

/* $1: the user, then the filter, $7: this database, $8: an administrator.  All names are pg_catalog's: search_path is pinned. */
static const char find_query[] =
	"SELECT e.execution_id, e.run_as"
	" FROM goflow.execution e JOIN goflow.workflow w USING (workflow_id)"
	" WHERE w.name = $2 AND (pg_has_role($1, e.run_as, 'USAGE') OR $8)"
	"  AND e.state = ANY (string_to_array($3, NULL)::\"char\"[])"
	"  AND ($4 OR e.finished_at IS NULL)"
	"  AND ($5 IS NULL OR e.execution_id IN"
	"    (SELECT k.execution_id FROM goflow.start_key k WHERE k.name = $2 AND k.key LIKE $5))"
	"  AND ($6 IS NULL OR e.created_at <@ $6)"
	"  AND e.home = (SELECT h.home FROM goflow.home h WHERE h.database = $7)"
	" ORDER BY e.execution_id";

static bool
may_be_finished(const char *states)
{
	for (const char *state = states; *state; state++)
		if (goflow_execution_is_finished(*state))
			return true;
	return false;
}

int
goflow_execution_find(const GoflowFilter *filter, GoflowFoundExecution **found)
{
	MemoryContext caller = CurrentMemoryContext;
	GoflowOwnerScope scope;
	Oid			types[] = {OIDOID, TEXTOID, TEXTOID, BOOLOID, TEXTOID, TSTZRANGEOID, OIDOID, BOOLOID};
	Datum		args[8];
	char		nulls[] = "        ";
	int			n;

	args[0] = ObjectIdGetDatum(GetUserId());
	args[1] = CStringGetTextDatum(filter->workflow);
	args[2] = CStringGetTextDatum(filter->states);
	args[3] = BoolGetDatum(may_be_finished(filter->states));
	args[4] = filter->key ? CStringGetTextDatum(filter->key) : (Datum) 0;
	nulls[4] = filter->key ? ' ' : 'n';
	args[5] = filter->has_created ? filter->created : (Datum) 0;
	nulls[5] = filter->has_created ? ' ' : 'n';
	args[6] = ObjectIdGetDatum(MyDatabaseId);
	args[7] = BoolGetDatum(goflow_is_admin(GetUserId()));

	goflow_owner_begin(&scope);
	if (SPI_execute_with_args(find_query, lengthof(args), types, args, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not find executions");
	n = (int) SPI_processed;
	*found = MemoryContextAllocHuge(caller, Max(n, 1) * sizeof(GoflowFoundExecution));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		bool		isnull;

		(*found)[i].id = *DatumGetUUIDP(SPI_getbinval(tuple, tupdesc, 1, &isnull));
		(*found)[i].run_as = DatumGetObjectId(SPI_getbinval(tuple, tupdesc, 2, &isnull));
	}
	goflow_owner_end(&scope);
	return n;
}
