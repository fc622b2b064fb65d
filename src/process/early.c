/*
 * early.c
 *		An execution may begin while the commit that started it is flushed.
 *
 * From start() to the execution's end there are two commits, one after the
 * other, and the disk takes the most of both.  What the worker does between
 * them (to wake up, to load, to run the nodes) can be done while the first one
 * is flushed: the commit record of the second comes after that of the first in
 * the log, so what it wrote is never there without what started it.
 *
 * So such a commit turns the server's order around: it is written, seen by
 * others and told to the worker (wake.c), and then flushed, before the client
 * gets its answer.  The answer means what it always means.  Who is answered only
 * when the execution has ended (start_and_wait()) need not flush it at all: the
 * commit of the end does.
 *
 * Others may see rows a moment before a crash can take them no more, and might
 * tell somebody outside.  So it is done only where nothing but executions can
 * be seen so: nobody but start() has written in the transaction.  A key of
 * start() is such a thing, too: whoever comes second is answered that the
 * execution is there.  And not with synchronous standbys: there the client
 * waits for them as well, and others with it.
 */
#include "postgres.h"

#include "process/shared.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "utils/guc.h"

/* Where the log ended after start() in this transaction, if that is all it wrote. */
static XLogRecPtr written = InvalidXLogRecPtr;

static bool is_alone = false;	/* between begin and end */
static bool must_flush = false;	/* after the commit */

/* Of the commit to come: nobody is answered before goflow_early_catch_up(). */
static bool puts_off = false;
static XLogRecPtr put_off = InvalidXLogRecPtr;	/* up to where the log is to be flushed then */

/* Has nobody but start() written in this transaction? */
void
goflow_early_begin(void)
{
	is_alone = !TransactionIdIsValid(GetTopTransactionIdIfAny()) ||
		(written != InvalidXLogRecPtr && written == XactLastRecEnd);
}

void
goflow_early_end(void)
{
	written = is_alone ? XactLastRecEnd : InvalidXLogRecPtr;
}

static bool
has_synchronous_standbys(void)
{
	return SyncRepRequested() && SyncRepStandbyNames && SyncRepStandbyNames[0] != '\0';
}

void
goflow_early_before_commit(void)
{
	if (!goflow_early_start || written == InvalidXLogRecPtr || written != XactLastRecEnd ||
		synchronous_commit == SYNCHRONOUS_COMMIT_OFF || has_synchronous_standbys())
		return;
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	must_flush = true;
}

void
goflow_early_put_off(void)
{
	puts_off = true;
}

void
goflow_early_catch_up(void)
{
	if (put_off != InvalidXLogRecPtr)
		XLogFlush(put_off);
	put_off = InvalidXLogRecPtr;
}

/* The transaction has not committed. */
void
goflow_early_forget(void)
{
	written = InvalidXLogRecPtr;
	must_flush = puts_off = false;
}

/* It has, and the worker has been told.  What can fail here is a PANIC, as in the server's own commit. */
void
goflow_early_flush(void)
{
	if (must_flush && puts_off)
		put_off = XactLastCommitEnd;
	else if (must_flush)
	{
		START_CRIT_SECTION();
		XLogFlush(XactLastCommitEnd);
		END_CRIT_SECTION();
	}
	goflow_early_forget();
}
