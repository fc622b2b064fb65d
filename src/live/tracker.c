/*
 * tracker.c
 *		Progress of live executions: a slot each in shared memory, lock-free.
 *
 * A slot is found by the execution's hash, which chooses two buckets of eight.
 * Each bucket has a cache line of tags beside its slots, so a lookup reads one
 * or two lines of tags and one slot:
 *
 *		tag 0			the slot is free
 *		tag 1			somebody is making it his
 *		other			part of the hash of who has it
 *
 * A tag is taken with a compare-and-swap.  Counters are written by one process
 * at a time, the execution's driver, inside a version that is odd while they
 * change (and while the slot changes hands), so that a reader sees counters of
 * one moment and of the right execution, or tries again.  A reader never waits
 * for a writer that was put to sleep half-way: after some tries he takes what
 * there is, which is at most one step inconsistent.
 *
 * The percentage is kept beside the counters and only grows: a batch that is
 * rolled back is uncounted, but the bar does not go back.
 */
#include "postgres.h"

#include "live/live.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/shmem.h"

#define WAYS 8
#define TAG_FREE UINT64CONST(0)
#define TAG_TAKEN UINT64CONST(1)
#define READ_TRIES 100

typedef struct Bucket
{
	pg_atomic_uint64 tags[WAYS];
} Bucket;

struct GoflowTrackerSlot
{
	pg_atomic_uint64 version;	/* odd: being written */
	pg_uuid_t	execution_id;
	Oid			database;
	int32		workflow_id;
	int32		total;
	int32		completed;
	int32		failed;
	int32		skipped;
	int32		current_node;
	int32		percent;		/* in hundredths, never falls */
};

typedef struct Tracker
{
	uint32		nbuckets;		/* a power of two */
	pg_atomic_uint32 used;
	Bucket	   *buckets;
	GoflowTrackerSlot *slots;	/* WAYS per bucket */
} Tracker;

static Tracker *tracker = NULL;

static uint32
number_of_buckets(void)
{
	uint32		n = 8;

	while (n * WAYS < (uint32) goflow_tracker_slots)
		n *= 2;
	return n;
}

Size
goflow_tracker_shmem_size(void)
{
	Size		size = CACHELINEALIGN(sizeof(Tracker)) + PG_CACHE_LINE_SIZE;

	size = add_size(size, mul_size(number_of_buckets(), sizeof(Bucket)));
	return add_size(size, mul_size(number_of_buckets() * WAYS, sizeof(GoflowTrackerSlot)));
}

void
goflow_tracker_shmem_init(void)
{
	bool		found;

	tracker = ShmemInitStruct("goflow tracker", goflow_tracker_shmem_size(), &found);
	if (found)
		return;
	memset(tracker, 0, goflow_tracker_shmem_size());
	tracker->nbuckets = number_of_buckets();
	tracker->buckets = (Bucket *) CACHELINEALIGN((char *) tracker + sizeof(Tracker));
	tracker->slots = (GoflowTrackerSlot *) (tracker->buckets + tracker->nbuckets);
	pg_atomic_init_u32(&tracker->used, 0);
	for (uint32 i = 0; i < tracker->nbuckets * WAYS; i++)
	{
		pg_atomic_init_u64(&tracker->buckets[i / WAYS].tags[i % WAYS], TAG_FREE);
		pg_atomic_init_u64(&tracker->slots[i].version, 0);
	}
}

/* ---- finding ---- */

typedef struct Place
{
	uint64		tag;
	uint32		bucket[2];
} Place;

static Place
place_of(Oid database, const pg_uuid_t *execution_id)
{
	uint64		hash = hash_bytes_extended(execution_id->data, UUID_LEN, database);
	Place		place;

	place.tag = hash | 2;		/* neither free nor taken */
	place.bucket[0] = (uint32) (hash >> 32) & (tracker->nbuckets - 1);
	place.bucket[1] = murmurhash32((uint32) hash) & (tracker->nbuckets - 1);
	return place;
}

static bool
belongs_to(const GoflowTrackerSlot *slot, Oid database, const pg_uuid_t *execution_id)
{
	return slot->database == database &&
		memcmp(&slot->execution_id, execution_id, UUID_LEN) == 0;
}

/* The slot of an execution and its tag; NULL if it has none. */
static GoflowTrackerSlot *
find_slot(const Place *place, Oid database, const pg_uuid_t *execution_id, pg_atomic_uint64 **tag)
{
	for (int b = 0; b < 2; b++)
	{
		Bucket	   *bucket = &tracker->buckets[place->bucket[b]];

		for (int i = 0; i < WAYS; i++)
		{
			GoflowTrackerSlot *slot = &tracker->slots[place->bucket[b] * WAYS + i];

			if (pg_atomic_read_u64(&bucket->tags[i]) != place->tag)
				continue;
			pg_read_barrier();
			if (belongs_to(slot, database, execution_id))
			{
				*tag = &bucket->tags[i];
				return slot;
			}
		}
	}
	return NULL;
}

/* ---- writing ---- */

/* An atomic add is a full barrier: what is in between stays in between. */
static inline void
begin_write(GoflowTrackerSlot *slot)
{
	pg_atomic_fetch_add_u64(&slot->version, 1);
}

static inline void
end_write(GoflowTrackerSlot *slot)
{
	pg_atomic_fetch_add_u64(&slot->version, 1);
}

GoflowTrackerSlot *
goflow_tracker_open(const pg_uuid_t *execution_id, int workflow_id)
{
	Place		place = place_of(MyDatabaseId, execution_id);
	pg_atomic_uint64 *tag;
	GoflowTrackerSlot *slot = find_slot(&place, MyDatabaseId, execution_id, &tag);

	if (slot)
		return slot;
	for (int i = 0; i < 2 * WAYS; i++)
	{
		uint32		bucket = place.bucket[i / WAYS];
		uint64		expected = TAG_FREE;

		tag = &tracker->buckets[bucket].tags[i % WAYS];
		if (pg_atomic_read_u64(tag) != TAG_FREE ||
			!pg_atomic_compare_exchange_u64(tag, &expected, TAG_TAKEN))
			continue;

		slot = &tracker->slots[bucket * WAYS + i % WAYS];
		begin_write(slot);
		slot->execution_id = *execution_id;
		slot->database = MyDatabaseId;
		slot->workflow_id = workflow_id;
		slot->total = slot->completed = slot->failed = slot->skipped = 0;
		slot->current_node = -1;
		slot->percent = 0;
		end_write(slot);
		pg_atomic_write_u64(tag, place.tag);
		pg_atomic_fetch_add_u32(&tracker->used, 1);
		return slot;
	}
	return NULL;
}

void
goflow_tracker_set(GoflowTrackerSlot *slot, int total, int completed, int failed, int skipped)
{
	int32		percent = 0;

	if (slot == NULL)
		return;
	if (total > 0)
		percent = (int32) Min(10000, INT64CONST(10000) * (completed + failed + skipped) / total);
	begin_write(slot);
	slot->total = total;
	slot->completed = completed;
	slot->failed = failed;
	slot->skipped = skipped;
	slot->percent = Max(slot->percent, percent);
	end_write(slot);
}

void
goflow_tracker_restart(GoflowTrackerSlot *slot)
{
	if (slot)
		slot->percent = 0;
}

void
goflow_tracker_node(GoflowTrackerSlot *slot, int node)
{
	if (slot == NULL)
		return;
	/* one aligned word that goes with no other: no version needed */
	*(volatile int32 *) &slot->current_node = node;
}

/* The hundredths that readers see now, for messages. */
int
goflow_tracker_percent(GoflowTrackerSlot *slot)
{
	return slot ? slot->percent : 0;
}

static void
free_slot(GoflowTrackerSlot *slot, pg_atomic_uint64 *tag)
{
	begin_write(slot);
	slot->database = InvalidOid;
	end_write(slot);
	pg_atomic_write_u64(tag, TAG_FREE);
	pg_atomic_fetch_sub_u32(&tracker->used, 1);
}

void
goflow_tracker_close(const pg_uuid_t *execution_id)
{
	Place		place = place_of(MyDatabaseId, execution_id);
	pg_atomic_uint64 *tag;
	GoflowTrackerSlot *slot = find_slot(&place, MyDatabaseId, execution_id, &tag);

	if (slot)
		free_slot(slot, tag);
}

/* Frees the slots of a database that has no goflow, hence no drivers, any more. */
void
goflow_tracker_forget(Oid database)
{
	for (uint32 i = 0; i < tracker->nbuckets * WAYS; i++)
	{
		pg_atomic_uint64 *tag = &tracker->buckets[i / WAYS].tags[i % WAYS];

		if (pg_atomic_read_u64(tag) > TAG_TAKEN && tracker->slots[i].database == database)
			free_slot(&tracker->slots[i], tag);
	}
}

/* ---- reading ---- */

bool
goflow_tracker_read(const pg_uuid_t *execution_id, GoflowProgress *progress)
{
	Place		place = place_of(MyDatabaseId, execution_id);

	for (int tries = 0; tries < READ_TRIES; tries++)
	{
		pg_atomic_uint64 *tag;
		volatile GoflowTrackerSlot *slot;
		uint64		version;
		bool		mine;

		slot = find_slot(&place, MyDatabaseId, execution_id, &tag);
		if (slot == NULL)
			return false;
		version = pg_atomic_read_u64(&((GoflowTrackerSlot *) slot)->version);
		pg_read_barrier();
		progress->total = slot->total;
		progress->completed = slot->completed;
		progress->failed = slot->failed;
		progress->skipped = slot->skipped;
		progress->current_node = slot->current_node;
		progress->workflow_id = slot->workflow_id;
		progress->percent = slot->percent / 100.0;
		mine = belongs_to((GoflowTrackerSlot *) slot, MyDatabaseId, execution_id);
		pg_read_barrier();
		if (mine && ((version % 2 == 0 &&
					  version == pg_atomic_read_u64(&((GoflowTrackerSlot *) slot)->version)) ||
					 tries == READ_TRIES - 1))
			return true;
	}
	return false;
}

int
goflow_tracker_used(void)
{
	return tracker ? (int) pg_atomic_read_u32(&tracker->used) : 0;
}
