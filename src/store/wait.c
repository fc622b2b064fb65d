/*
 * wait.c
 *		What others have sent to an execution, or see of it, goes with its end.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/xact.h"

void
goflow_waits_delete(List *ids)
{
	ListCell   *lc;

	/* what was consumed in this transaction has gone already */
	CommandCounterIncrement();
	foreach(lc, ids)
	{
		const pg_uuid_t *id = lfirst(lc);
		List	   *signals = goflow_signals_read(id);

		if (signals)
			goflow_signals_delete(signals);
	}
}
