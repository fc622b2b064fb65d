/*
 * entries.c
 *		entries(), texts(): what is packed in rows.
 */
#include "postgres.h"

#include "api/api.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(goflow_entries);
PG_FUNCTION_INFO_V1(goflow_texts);

/* texts(packed bytea) returns text[].  Errors: XX001 for what is not packed texts. */
Datum
goflow_texts(PG_FUNCTION_ARGS)
{
	PG_RETURN_ARRAYTYPE_P(goflow_texts_unpack(PG_GETARG_BYTEA_PP(0)));
}

/*
 * entries(packed bytea, start timestamptz) returns setof (frame, node, attempt,
 * state, port, seq, started_at, duration, output): the columns of goflow.journal of
 * each entry, whose moments begin with start.  It reads nothing but its arguments.
 * Errors: XX001 for what is not packed entries.
 */
Datum
goflow_entries(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *entries = goflow_entries_unpack(PG_GETARG_BYTEA_PP(0), PG_GETARG_TIMESTAMPTZ(1));
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, entries)
	{
		const GoflowNodeRow *entry = lfirst(lc);
		Datum		values[9];
		bool		nulls[9] = {0};

		values[0] = Int32GetDatum(entry->frame);
		values[1] = Int16GetDatum(entry->node);
		values[2] = Int16GetDatum(entry->attempt);
		values[3] = CharGetDatum(entry->state);
		values[4] = Int16GetDatum(entry->port);
		nulls[4] = entry->port < 0;
		values[5] = Int32GetDatum(entry->seq);
		values[6] = TimestampTzGetDatum(entry->started_at);
		values[7] = Int32GetDatum(entry->duration);
		values[8] = PointerGetDatum(entry->output);
		nulls[8] = entry->output == NULL;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
