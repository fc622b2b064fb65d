/*
 * approval.c
 *		Decisions that approval nodes wait for.
 *
 * The row is made with the node's pending, and is there for those who decide:
 * what they are shown, and then what they said.  Whoever decides updates it, so
 * two who do so at the same time meet there.  The driver deletes it when it
 * stores the result of the node, or has cancelled the node.  A row without a
 * pending is what is left of one that was withdrawn while somebody was deciding,
 * or the scheduler announced it; nobody sees it, and it goes with the execution.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "store/table.h"

void
goflow_approvals_insert(List *rows)
{
	GoflowWriter writer;
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	goflow_writer_open(&writer, "approval");
	foreach(lc, rows)
	{
		GoflowApprovalRow *row = lfirst(lc);
		Datum		values[Natts_approval] = {0};
		bool		nulls[Natts_approval];

		memset(nulls, true, sizeof(nulls));
		SET(Anum_approval_execution_id, UUIDPGetDatum(&row->execution_id));
		SET(Anum_approval_frame, Int32GetDatum(row->frame));
		SET(Anum_approval_node, Int16GetDatum(row->node));
		SET(Anum_approval_attempt, Int16GetDatum(row->attempt));
		SET(Anum_approval_path, CStringGetTextDatum(row->path));
		if (row->title)
			SET(Anum_approval_title, CStringGetTextDatum(row->title));
		SET(Anum_approval_run_as, ObjectIdGetDatum(row->run_as));
		SET(Anum_approval_role, ObjectIdGetDatum(row->role));
		if (OidIsValid(row->escalate_to))
		{
			SET(Anum_approval_escalate_to, ObjectIdGetDatum(row->escalate_to));
			SET(Anum_approval_escalate_at, TimestampTzGetDatum(row->escalate_at));
		}
		if (row->payload)
			SET(Anum_approval_payload, JsonbPGetDatum(row->payload));
		SET(Anum_approval_form, JsonbPGetDatum(row->form));
		SET(Anum_approval_remind, Int64GetDatum(row->remind));
		SET(Anum_approval_announce_at, TimestampTzGetDatum(now));
		SET(Anum_approval_created_at, TimestampTzGetDatum(row->created_at));
		if (row->due_at != 0)
			SET(Anum_approval_due_at, TimestampTzGetDatum(row->due_at));
		goflow_writer_insert(&writer, values, nulls);
	}
	goflow_writer_close(&writer);
}

static void *
read_row(HeapTuple tuple, const Datum *values, const bool *nulls)
{
	GoflowApprovalRow *row = palloc0(sizeof(GoflowApprovalRow));

	row->execution_id = *DatumGetUUIDP(VALUE(Anum_approval_execution_id));
	row->frame = DatumGetInt32(VALUE(Anum_approval_frame));
	row->node = DatumGetInt16(VALUE(Anum_approval_node));
	row->attempt = DatumGetInt16(VALUE(Anum_approval_attempt));
	row->path = TextDatumGetCString(VALUE(Anum_approval_path));
	row->run_as = DatumGetObjectId(VALUE(Anum_approval_run_as));
	row->role = DatumGetObjectId(VALUE(Anum_approval_role));
	if (!ISNULL(Anum_approval_escalate_to))
	{
		row->escalate_to = DatumGetObjectId(VALUE(Anum_approval_escalate_to));
		row->escalate_at = DatumGetTimestampTz(VALUE(Anum_approval_escalate_at));
	}
	if (!ISNULL(Anum_approval_decision))
	{
		row->decision = DatumGetChar(VALUE(Anum_approval_decision));
		row->decided_by = TextDatumGetCString(VALUE(Anum_approval_decided_by));
		row->login = TextDatumGetCString(VALUE(Anum_approval_login));
		row->decided_at = DatumGetTimestampTz(VALUE(Anum_approval_decided_at));
		if (!ISNULL(Anum_approval_comment))
			row->comment = TextDatumGetCString(VALUE(Anum_approval_comment));
		row->fields = DatumGetArrayTypePCopy(VALUE(Anum_approval_fields));
	}
	row->tid = tuple->t_self;
	return row;
}

static List *
read_rows(int nkeys, const Datum *keys)
{
	return goflow_scan_rows("approval", "approval_pkey", nkeys, keys, read_row);
}

List *
goflow_approvals_read(const pg_uuid_t *id)
{
	Datum		key = UUIDPGetDatum(id);

	return read_rows(1, &key);
}

GoflowApprovalRow *
goflow_approval_read(const pg_uuid_t *id, int frame, int node, int attempt)
{
	Datum		keys[] = {UUIDPGetDatum(id), Int32GetDatum(frame), Int16GetDatum(node),
	Int16GetDatum(attempt)};
	List	   *rows = read_rows(4, keys);

	return rows ? linitial(rows) : NULL;
}

static const char decide_query[] =
	"UPDATE goflow.approval a SET decision = $5, decided_by = $6, login = $7, comment = $8, fields = $9,"
	"  decided_at = clock_timestamp(), announce_at = NULL"
	" WHERE (a.execution_id, a.frame, a.node, a.attempt) = ($1, $2, $3, $4) AND a.decision IS NULL"
	"  AND EXISTS (SELECT FROM goflow.pending p WHERE (p.execution_id, p.frame, p.node) = ($1, $2, $3)"
	"   AND p.attempt = $4 AND p.kind = 'a')";

bool
goflow_approval_decide(const GoflowApprovalRow *row)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, INT4OID, INT2OID, INT2OID, CHAROID, TEXTOID, TEXTOID, TEXTOID,
	TEXTARRAYOID};
	Datum		values[] = {
		UUIDPGetDatum(&row->execution_id), Int32GetDatum(row->frame), Int16GetDatum(row->node),
		Int16GetDatum(row->attempt), CharGetDatum(row->decision),
		CStringGetTextDatum(GetUserNameFromId(GetUserId(), false)),
		CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false)),
		row->comment ? CStringGetTextDatum(row->comment) : (Datum) 0, PointerGetDatum(row->fields)
	};
	char		nulls[] = "         ";
	GoflowOwnerScope scope;
	bool		done;

	nulls[7] = row->comment ? ' ' : 'n';
	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, decide_query, lengthof(types), types), values,
						 nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not store a decision");
	done = SPI_processed > 0;
	goflow_owner_end(&scope);
	return done;
}

static const char withdraw_query[] =
	"DELETE FROM goflow.approval WHERE ctid = ANY (ARRAY(SELECT a.ctid FROM goflow.approval a"
	"  WHERE (a.execution_id, a.frame, a.node, a.attempt) = ($1, $2, $3, $4) FOR UPDATE SKIP LOCKED))";

void
goflow_approval_withdraw(const pg_uuid_t *id, int frame, int node, int attempt)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, INT4OID, INT2OID, INT2OID};
	Datum		values[] = {
		UUIDPGetDatum(id), Int32GetDatum(frame), Int16GetDatum(node), Int16GetDatum(attempt)
	};
	GoflowOwnerScope scope;

	goflow_owner_begin(&scope);
	if (SPI_execute_plan(goflow_owner_plan(&plan, withdraw_query, lengthof(types), types), values,
						 NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not withdraw an approval");
	goflow_owner_end(&scope);
}
