/*
 * reassign.c
 *		What belongs to a role, given to another one.
 */
#include "postgres.h"

#include "store/store.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"

/*
 * $1 gives to $2; $3: executions that have finished, too.  Each statement sees
 * what has come to its end, or was retried, while the one before it ran.
 */
static const char *const statements[] = {
	"UPDATE ONLY goflow.execution SET run_as = $2 WHERE run_as = $1 AND $3 IS NOT NULL",
	"UPDATE goflow.finished SET run_as = $2 WHERE run_as = $1 AND $3",
	"UPDATE ONLY goflow.execution SET run_as = $2 WHERE run_as = $1 AND $3",
	"UPDATE goflow.workflow SET owner = $2 WHERE owner = $1 AND $3 IS NOT NULL",
	"WITH given AS (DELETE FROM goflow.start_grant WHERE grantee = $1 AND $3 IS NOT NULL RETURNING name)"
	" INSERT INTO goflow.start_grant (name, grantee) SELECT name, $2 FROM given ON CONFLICT DO NOTHING",
	/* a key that both have used stays with each: they stand for two executions */
	"UPDATE goflow.start_key k SET role = $2 WHERE role = $1 AND $3 IS NOT NULL AND NOT EXISTS"
	" (SELECT FROM goflow.start_key o WHERE o.name = k.name AND o.role = $2 AND o.key = k.key)",
	"UPDATE goflow.task SET run_as = $2 WHERE run_as = $1",
	"INSERT INTO goflow.task_queue (queue, run_as) SELECT queue, $2 FROM goflow.task_queue WHERE run_as = $1"
	" ON CONFLICT DO NOTHING",
	"UPDATE goflow.approval SET run_as = $2 WHERE run_as = $1",
	"UPDATE goflow.approval SET role = $2 WHERE role = $1 AND $3 IS NOT NULL",
	"UPDATE goflow.approval SET escalate_to = $2 WHERE escalate_to = $1 AND $3 IS NOT NULL",
	"WITH given AS (DELETE FROM goflow.queue_grant WHERE (owner = $1 OR grantee = $1) AND $3 IS NOT NULL RETURNING *)"
	" INSERT INTO goflow.queue_grant (queue, owner, grantee) SELECT queue, CASE WHEN owner = $1 THEN $2 ELSE owner END,"
	"  CASE WHEN grantee = $1 THEN $2 ELSE grantee END FROM given ON CONFLICT DO NOTHING",
};

/* The first of them, which are counted. */
#define OF_EXECUTIONS 3

/* Returns how many executions have another role now. */
int64
goflow_role_reassign(Oid from, Oid to, bool finished)
{
	GoflowOwnerScope scope;
	Oid			types[] = {REGROLEOID, REGROLEOID, BOOLOID};
	Datum		values[] = {ObjectIdGetDatum(from), ObjectIdGetDatum(to), BoolGetDatum(finished)};
	int64		executions = 0;

	goflow_owner_begin(&scope);
	for (int i = 0; i < lengthof(statements); i++)
	{
		int			result = SPI_execute_with_args(statements[i], lengthof(types), types, values, NULL,
												   false, 0);

		if (result < 0)
			elog(ERROR, "could not reassign: %s", SPI_result_code_string(result));
		if (i < OF_EXECUTIONS)
			executions += SPI_processed;
	}
	goflow_owner_end(&scope);
	return executions;
}
