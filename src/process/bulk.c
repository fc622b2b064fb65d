/*
 * bulk.c
 *		Workers that are more than the processors rest while the others have enough to do.
 *
 * Executions so fast that a worker takes hundreds of them at one time compute,
 * they do not wait.  As many workers as there are processors do all that can be
 * done then, and each one more only makes the others slower: it takes the caches
 * and the locks from them in turn.  So it rests: it is idle, and not woken while
 * hundreds more are queued for each processor.  For offered nodes it is.
 *
 * Those who work may be held up.  So who took hundreds longer ago than they may last
 * does not count, and who rests looks again of its own (worker.c).  Nor does anybody
 * count where commits are slow: others compute while the disk writes.
 */
#include "postgres.h"

#include "process/shared.h"

#include "utils/timestamp.h"

/* Executions that a worker takes at one time only where they are fast. */
#define MANY (2 * GOFLOW_FIRST_CLAIMS)

/* Commits are slow if each of the last ones took more than this part of the time of a batch. */
#define LAST_COMMITS 8
#define SLOW_COMMIT (1.0 / 8)

static double commit_times[LAST_COMMITS];	/* of this worker, in milliseconds */
static uint32 ncommits = 0;

void
goflow_bulk_committed(double milliseconds)
{
	commit_times[ncommits++ % LAST_COMMITS] = milliseconds;
}

static bool
commits_are_slow(void)
{
	double		least = commit_times[0];

	for (uint32 i = 1; i < Min(ncommits, LAST_COMMITS); i++)
		least = Min(least, commit_times[i]);
	return least > SLOW_COMMIT * goflow_batch_time;
}

/* This worker took so many executions, or something else (0). */
void
goflow_bulk_taken_locked(int nexecutions)
{
	goflow_my_slot->bulk_since = nexecutions >= MANY && !commits_are_slow() ? GetCurrentTimestamp() : 0;
}

static bool
is_in_bulk(const GoflowWorkerSlot *slot, TimestampTz now)
{
	int64		most = (GOFLOW_CLAIM_BATCHES * (int64) goflow_batch_time + goflow_fuse) * 1000;

	/* the clock may be set back */
	return slot->state == GOFLOW_SLOT_BUSY && slot->bulk_since != 0 &&
		slot->bulk_since <= now && slot->bulk_since + most > now;
}

/* Do as many workers of the pool as there are processors do what is queued, and for some time? */
bool
goflow_bulk_is_served_locked(const GoflowPool *pool)
{
	int			index = pool - goflow_control->pools;
	int			nbusy = 0;
	TimestampTz now;

	if (pool->queued / MANY < goflow_processors || pool->workers[GOFLOW_SLOT_BUSY] < goflow_processors)
		return false;
	now = GetCurrentTimestamp();
	for (int i = 0; i < goflow_control->nslots && nbusy < goflow_processors; i++)
	{
		const GoflowWorkerSlot *slot = &goflow_control->slots[i];

		if (slot->pool == index && is_in_bulk(slot, now))
			nbusy++;
	}
	return nbusy >= goflow_processors;
}

/* Has this worker, which is idle, left something to others?  Without a lock: at worst it looks again for nothing. */
bool
goflow_bulk_is_resting(void)
{
	return ((volatile GoflowPool *) &goflow_control->pools[goflow_my_slot->pool])->queued > 0;
}
