/*
 * retention.c
 *		Deletes executions that finished longer ago than they are kept for.
 *
 * The scheduler does it a page at a time, between its other duties.  It begins
 * after each of its scans of the tables, every goflow.rescan_interval: what is
 * too old goes that much later at most.
 */
#include "postgres.h"

#include "process/shared.h"

#include "utils/memutils.h"

#include "store/store.h"

/* Executions that one transaction looks at. */
#define PAGE 1000

static MemoryContext context = NULL;
static GoflowPurge purge = {.is_done = true};
static bool is_due = false;

void
goflow_retention_due(void)
{
	is_due = true;
}

bool
goflow_retention_wants_page(void)
{
	return is_due || !purge.is_done;
}

/* In a transaction. */
void
goflow_retention_page(void)
{
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "goflow retention", ALLOCSET_DEFAULT_SIZES);
	if (purge.is_done)
	{
		MemoryContext old;
		bool		found;

		is_due = false;
		MemoryContextReset(context);
		old = MemoryContextSwitchTo(context);
		found = goflow_purge_begin(&purge, goflow_retention * (int64) USECS_PER_MINUTE);
		MemoryContextSwitchTo(old);
		purge.is_done = !found;
	}
	if (!purge.is_done)
		(void) goflow_purge_page(&purge, PAGE, PAGE);
}
