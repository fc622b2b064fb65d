/*
 * ring.c
 *		Messages on their way from those who make them to the schedulers that
 *		send them.
 *
 * One ring for the server, written by everybody without locks and without
 * waiting, and read by every database's scheduler at a position of its own:
 * nobody takes anything out, so a scheduler that is slow, or not there, cannot
 * block another's.  New messages overwrite the oldest.  Messages are hints;
 * what a reader did not get to in time is counted as dropped.
 *
 * A writer draws a ticket, and the ticket's cell holds, in "sequence":
 *
 *		2 * ticket + 1		while it is being written
 *		2 * ticket + 2		when it is complete
 *
 * A cell is written only by who moved it from an older, complete state; who
 * finds it unfinished by a writer that was overtaken by the whole ring drops
 * his message.  A reader copies a cell and checks that its sequence was the
 * expected one before and after.
 */
#include "postgres.h"

#include "live/live.h"

#include "storage/shmem.h"

#include "process/process.h"

#define RING_CELLS 8192			/* a power of two */

typedef struct Cell
{
	pg_atomic_uint64 sequence;
	GoflowMessage message;
} Cell;

typedef struct Ring
{
	pg_atomic_uint64 next;		/* ticket of the next message */
	pg_atomic_uint64 dropped;
	Cell		cells[RING_CELLS];
} Ring;

static Ring *ring = NULL;

Size
goflow_ring_shmem_size(void)
{
	return sizeof(Ring);
}

void
goflow_ring_shmem_init(void)
{
	bool		found;

	ring = ShmemInitStruct("goflow ring", sizeof(Ring), &found);
	if (found)
		return;
	memset(ring, 0, sizeof(Ring));
	pg_atomic_init_u64(&ring->next, 0);
	pg_atomic_init_u64(&ring->dropped, 0);
	for (int i = 0; i < RING_CELLS; i++)
		pg_atomic_init_u64(&ring->cells[i].sequence, 0);
}

/* Where a reader starts that wants what is published from now on. */
uint64
goflow_message_position(void)
{
	return pg_atomic_read_u64(&ring->next);
}

void
goflow_message_publish(const GoflowMessage *message)
{
	uint64		ticket = pg_atomic_fetch_add_u64(&ring->next, 1);
	Cell	   *cell = &ring->cells[ticket % RING_CELLS];
	uint64		before = pg_atomic_read_u64(&cell->sequence);

	if (before % 2 == 1 || before > 2 * ticket ||
		!pg_atomic_compare_exchange_u64(&cell->sequence, &before, 2 * ticket + 1))
	{
		pg_atomic_fetch_add_u64(&ring->dropped, 1);
		return;
	}
	cell->message = *message;
	pg_write_barrier();
	pg_atomic_write_u64(&cell->sequence, 2 * ticket + 2);
	goflow_scheduler_wake_message(message->database);
}

/*
 * The next message of a database from *position on, which moves past it.
 * False at the end, or at a cell that is still being written: its writer
 * wakes the scheduler when he is done.
 */
bool
goflow_message_take(pg_atomic_uint64 *position, Oid database, GoflowMessage *message)
{
	uint64		at = pg_atomic_read_u64(position);
	bool		taken = false;

	while (!taken)
	{
		uint64		next = pg_atomic_read_u64(&ring->next);
		Cell	   *cell = &ring->cells[at % RING_CELLS];
		uint64		sequence;

		if (at >= next)
			break;
		if (next - at > RING_CELLS)
		{
			/* overtaken; how many of them were this database's is not known */
			pg_atomic_fetch_add_u64(&ring->dropped, next - RING_CELLS - at);
			at = next - RING_CELLS;
			continue;
		}

		sequence = pg_atomic_read_u64(&cell->sequence);
		if (sequence < 2 * at + 2)
		{
			/* not written yet; dropped, if others have been for long */
			if (next - at < RING_CELLS / 2)
				break;
			at++;
			continue;
		}
		pg_read_barrier();
		*message = cell->message;
		pg_read_barrier();
		taken = sequence == 2 * at + 2 && pg_atomic_read_u64(&cell->sequence) == sequence &&
			message->database == database;
		at++;
	}
	pg_atomic_write_u64(position, at);
	return taken;
}

uint64
goflow_message_dropped(void)
{
	return pg_atomic_read_u64(&ring->dropped);
}
