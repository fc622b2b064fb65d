/*
 * ring.c
 *		Messages on their way from those who make them to the schedulers that
 *		send them.
 *
 * One ring for the server, written by everybody without locks and without
 * waiting.  A message is taken by one reader, the scheduler of its database,
 * each of which has a position of its own: one that is slow, or not there,
 * cannot block another.  New messages overwrite the oldest.  Messages are
 * hints; whoever overwrites one that nobody has taken counts it as dropped.
 *
 * A writer draws a ticket, and the ticket's cell holds, in "sequence":
 *
 *		4 * ticket + 1		while it is being written
 *		4 * ticket + 2		when it is complete
 *		4 * ticket + 3		when it was taken
 *
 * A cell is written only by who moved it from an older, complete or taken
 * state.  Who finds it unfinished by a writer that was overtaken by the whole
 * ring drops his own message, and says so in "abandoned", lest the reader wait
 * for it.  A reader copies a cell and then marks it as taken: if that fails it
 * was overwritten meanwhile.
 */
#include "postgres.h"

#include "live/live.h"

#include "storage/shmem.h"

#define RING_CELLS 8192			/* a power of two */

#define WRITING(ticket) (4 * (ticket) + 1)
#define COMPLETE(ticket) (4 * (ticket) + 2)
#define TAKEN(ticket) (4 * (ticket) + 3)

typedef struct Cell
{
	pg_atomic_uint64 sequence;
	pg_atomic_uint64 abandoned; /* last ticket that was dropped here, plus one */
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
	{
		pg_atomic_init_u64(&ring->cells[i].sequence, 0);
		pg_atomic_init_u64(&ring->cells[i].abandoned, 0);
	}
}

/* Where a reader starts that wants what is published from now on. */
uint64
goflow_message_position(void)
{
	return pg_atomic_read_u64(&ring->next);
}

static void
count_dropped(const GoflowMessage *message)
{
	pg_atomic_fetch_add_u64(&ring->dropped, 1);
	goflow_subscription_count_dropped(message);
}

/* Tells the reader that nothing will come under this ticket. */
static void
abandon(Cell *cell, uint64 ticket)
{
	uint64		before = pg_atomic_read_u64(&cell->abandoned);

	while (before < ticket + 1 &&
		   !pg_atomic_compare_exchange_u64(&cell->abandoned, &before, ticket + 1))
		;
}

void
goflow_message_publish(GoflowMessage *message)
{
	uint64		ticket = pg_atomic_fetch_add_u64(&ring->next, 1);
	Cell	   *cell = &ring->cells[ticket % RING_CELLS];
	uint64		before = pg_atomic_read_u64(&cell->sequence);

	message->ticket = ticket;
	do
	{
		if (before % 4 == 1 || before > WRITING(ticket))
		{
			abandon(cell, ticket);
			count_dropped(message);
			return;
		}
	} while (!pg_atomic_compare_exchange_u64(&cell->sequence, &before, WRITING(ticket)));

	/* what nobody has taken is lost now */
	if (before % 4 == 2)
		count_dropped(&cell->message);
	cell->message = *message;
	pg_write_barrier();
	pg_atomic_write_u64(&cell->sequence, COMPLETE(ticket));
}

/*
 * The next message of a database from *position on, which moves past it.
 * False at the end, or at a cell that is still being written: its writer
 * wakes the scheduler when he is done.  Half a ring is not kept waiting for
 * one writer, though.
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
			at = next - RING_CELLS;	/* overtaken: who overwrote them has counted them */
			continue;
		}
		sequence = pg_atomic_read_u64(&cell->sequence);
		if (sequence < COMPLETE(at) && pg_atomic_read_u64(&cell->abandoned) <= at &&
			next - at < RING_CELLS / 2)
			break;
		if (sequence == COMPLETE(at))
		{
			pg_read_barrier();
			*message = cell->message;
			taken = message->database == database &&
				pg_atomic_compare_exchange_u64(&cell->sequence, &sequence, TAKEN(at));
		}
		at++;
	}
	pg_atomic_write_u64(position, at);
	return taken;
}

/* Messages that never came into the ring. */
void
goflow_message_count_dropped(uint64 n)
{
	pg_atomic_fetch_add_u64(&ring->dropped, n);
}

uint64
goflow_message_dropped(void)
{
	return pg_atomic_read_u64(&ring->dropped);
}
