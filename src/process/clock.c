/*
 * clock.c
 *		What becomes of moments in shared memory when the server's clock is set.
 *
 * Moments in the tables are the clock's, and so is what the scheduler knows of
 * them: when the clock is set forward, what was due meanwhile is due at once;
 * when it is set back, a timer waits until it is its moment.  Most moments in
 * shared memory only measure how long something takes, though: a back-off, a
 * turn, a grace, an age in the queue.  Set back by a day, the clock would make a
 * role wait for its back-off for a day, or for the turn of a worker that is busy.
 *
 * So they go with the clock.  The launcher, who reads them, compares the clock
 * with the one that nobody sets each time that it looks at all, and moves them.
 * It looks when something is asked of it, and every goflow.rescan_interval at
 * least, as then a scheduler is due.  Sleeps are not concerned: they are
 * measured by the other clock.
 */
#include "postgres.h"

#include "process/shared.h"

#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/hsearch.h"

/* That much is no more than what keeps a clock right. */
#define TOLERANCE (USECS_PER_SEC / 2)

/*
 * A moment may have been noted after the jump, with the new clock: latest is
 * what it cannot be later than in any case.
 */
static void
move(TimestampTz *at, int64 jump, TimestampTz latest)
{
	if (*at != 0)
		*at = Min(*at + jump, latest);
}

static void
move_all_locked(int64 jump)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz retry = now + GOFLOW_MAX_BACKOFF;
	GoflowControl *control = goflow_control;
	HASH_SEQ_STATUS scan;
	GoflowEntry *entry;

	move(&control->launcher_started_at, jump, now);
	move(&control->no_room.retry_at, jump, retry);
	move(&control->left_at, jump, now);
	for (int i = 0; i < control->ndatabases; i++)
	{
		move(&control->databases[i].scanned_at, jump, now);
		move(&control->databases[i].trouble.retry_at, jump, retry);
	}
	for (int i = 0; i < control->npools; i++)
		move(&control->pools[i].trouble.retry_at, jump, retry);
	for (int i = 0; i < control->noffers; i++)
		move(&control->offers[i].at, jump, now);
	for (int i = 0; i < GOFLOW_MAX_LOST_NODES; i++)
	{
		move(&control->losses[i].at, jump, now);
		move(&control->losses[i].retry_at, jump, retry);
	}
	for (int i = 0; i < control->nslots; i++)
	{
		move(&control->slots[i].busy_since, jump, now);
		move(&control->slots[i].idle_since, jump, now);
		move(&control->slots[i].cancel_at, jump, now);
	}
	/* all alike, so that the heaps keep their order */
	hash_seq_init(&scan, goflow_queue);
	while ((entry = hash_seq_search(&scan)) != NULL)
		move(&entry->rank, jump, now - GOFLOW_MIN_PRIORITY * GOFLOW_PRIORITY_AGE);
}

/*
 * By the launcher: has the clock been set since its last look, or that of a
 * launcher before it?  Returns by how much, in microseconds.
 */
int64
goflow_clock_follow(void)
{
	GoflowControl *control = goflow_control;
	instr_time	steady;
	instr_time	after;
	TimestampTz now;
	int64		ahead;
	int64		jump = 0;

	/* both at one moment: who has to wait for a processor in between looks again */
	do
	{
		INSTR_TIME_SET_CURRENT(steady);
		now = GetCurrentTimestamp();
		INSTR_TIME_SET_CURRENT(after);
		INSTR_TIME_SUBTRACT(after, steady);
	} while (INSTR_TIME_GET_MICROSEC(after) >= TOLERANCE / 10);
	ahead = now - (int64) INSTR_TIME_GET_MICROSEC(steady);

	goflow_lock(LW_EXCLUSIVE);
	if (control->clock_ahead != 0)
		jump = ahead - control->clock_ahead;
	if (control->clock_ahead == 0 || Max(jump, -jump) >= TOLERANCE)
		control->clock_ahead = ahead;
	else
		jump = 0;
	if (jump != 0)
	{
		move_all_locked(jump);
		/* who sleeps until the next timer did not see it */
		for (int i = 0; i < control->ndatabases; i++)
			if (control->databases[i].latch)
				SetLatch(control->databases[i].latch);
	}
	goflow_unlock();

	if (jump != 0)
		ereport(LOG,
				(errmsg("the server's clock was set %s by %.1f seconds", jump > 0 ? "forward" : "back",
						Max(jump, -jump) / (double) USECS_PER_SEC)));
	return jump;
}
