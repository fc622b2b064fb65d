/*
 * tracker.c
 *		Progress of live executions: a slot each in shared memory, lock-free.
 *
 * A slot is found by the execution's id, whose random half chooses two buckets
 * of eight.  Each bucket has a cache line of tags beside its slots, so a lookup
 * reads one or two lines of tags and one slot, which is a cache line, too:
 *
 *		tag 0			the slot is free
 *		tag 1			somebody is making it his
 *		other			part of the hash of who has it
 *
 * A tag is taken with a compare-and-swap.  Counting is an atomic add, by
 * anybody.  Everything else (the total, going back when a batch is rolled back,
 * the slot changing hands) is done by one process at a time, the execution's
 * driver, inside a version that is odd meanwhile: a reader sees what belongs
 * together, and to the right execution, or tries again.  He never waits for a
 * writer that was put to sleep half-way: after some tries he takes what there
 * is.  A handle has the slot's generation, so that one which is held too long
 * does nothing.
 *
 * The percentage only grows: where it would fall (the total grows, a batch is
 * rolled back), the slot keeps what readers have seen.
 */
#include "postgres.h"

#include "live/live.h"

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

/* From total on it is a GoflowProgress, which is read by one copy. */
struct GoflowTrackerSlot
{
	pg_atomic_uint64 version;	/* odd: being written */
	pg_uuid_t	execution_id;
	Oid			database;
	uint32		generation;		/* counts who has had the slot */
	pg_atomic_uint32 total;
	pg_atomic_uint32 ended[GOFLOW_TRACKER_KINDS];
	int32		current_node;
	int32		workflow_id;
	Oid			run_as;
	int32		percent;		/* in hundredths: not less than this is shown */
};

#define IS_AT(field, of_progress) \
	(offsetof(GoflowTrackerSlot, field) - offsetof(GoflowTrackerSlot, total) == \
	 offsetof(GoflowProgress, of_progress))

typedef struct Tracker
{
	uint32		nbuckets;		/* a power of two */
	pg_atomic_uint32 used;
	pg_atomic_uint64 rebuilt;	/* slots for executions that had one before */
	pg_atomic_uint64 refused;	/* executions that found both buckets full */
	Bucket	   *buckets;
	GoflowTrackerSlot *slots;	/* WAYS per bucket */
} Tracker;

static Tracker *tracker = NULL;

static inline pg_atomic_uint64 *
tag_of(uint32 slot)
{
	return &tracker->buckets[slot / WAYS].tags[slot % WAYS];
}

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

	StaticAssertStmt(sizeof(GoflowTrackerSlot) == 64, "a slot is a cache line");
	StaticAssertStmt(IS_AT(total, total) && IS_AT(ended[GOFLOW_TRACKER_COMPLETED], completed) &&
					 IS_AT(ended[GOFLOW_TRACKER_FAILED], failed) &&
					 IS_AT(ended[GOFLOW_TRACKER_SKIPPED], skipped) &&
					 IS_AT(current_node, current_node) && IS_AT(workflow_id, workflow_id) &&
					 IS_AT(run_as, run_as) && IS_AT(percent, percent) &&
					 offsetof(GoflowTrackerSlot, total) + sizeof(GoflowProgress) == sizeof(GoflowTrackerSlot),
					 "a slot ends with a GoflowProgress");
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
	pg_atomic_init_u64(&tracker->rebuilt, 0);
	pg_atomic_init_u64(&tracker->refused, 0);
	for (uint32 i = 0; i < tracker->nbuckets * WAYS; i++)
	{
		GoflowTrackerSlot *slot = &tracker->slots[i];

		pg_atomic_init_u64(tag_of(i), TAG_FREE);
		pg_atomic_init_u64(&slot->version, 0);
		pg_atomic_init_u32(&slot->total, 0);
		for (int kind = 0; kind < GOFLOW_TRACKER_KINDS; kind++)
			pg_atomic_init_u32(&slot->ended[kind], 0);
	}
}

/* ---- finding ---- */

typedef struct Place
{
	uint64		tag;
	uint32		first;			/* number of a bucket */
	uint32		second;
} Place;

/* The second half of a version 7 UUID is random. */
static inline Place
place_of(Oid database, const pg_uuid_t *execution_id)
{
	uint64		hash;
	Place		place;

	memcpy(&hash, execution_id->data + UUID_LEN / 2, sizeof(hash));
	hash = (hash ^ database) * UINT64CONST(0x9E3779B97F4A7C15);
	hash ^= hash >> 32;
	place.tag = hash | 2;		/* neither free nor taken */
	place.first = (uint32) (hash >> 8) & (tracker->nbuckets - 1);
	place.second = (uint32) (hash >> 36) & (tracker->nbuckets - 1);
	return place;
}

static inline bool
belongs_to(const GoflowTrackerSlot *slot, Oid database, const pg_uuid_t *execution_id)
{
	uint64		left[2];
	uint64		right[2];

	memcpy(left, &slot->execution_id, UUID_LEN);
	memcpy(right, execution_id, UUID_LEN);
	return slot->database == database && left[0] == right[0] && left[1] == right[1];
}

static inline GoflowTrackerSlot *
find_in(uint32 bucket, uint64 wanted, const pg_uuid_t *execution_id, pg_atomic_uint64 **tag)
{
	for (int i = 0; i < WAYS; i++)
	{
		GoflowTrackerSlot *slot = &tracker->slots[bucket * WAYS + i];

		*tag = &tracker->buckets[bucket].tags[i];
		if (pg_atomic_read_u64(*tag) != wanted)
			continue;
		pg_read_barrier();
		if (belongs_to(slot, MyDatabaseId, execution_id))
			return slot;
	}
	return NULL;
}

/* The slot of an execution and its tag; NULL if it has none. */
static GoflowTrackerSlot *
find_slot(const Place *place, const pg_uuid_t *execution_id, pg_atomic_uint64 **tag)
{
	GoflowTrackerSlot *slot = find_in(place->first, place->tag, execution_id, tag);

	return slot ? slot : find_in(place->second, place->tag, execution_id, tag);
}

/* ---- writing ---- */

/* One writer at a time: no atomic operation needed. */
static inline void
begin_write(GoflowTrackerSlot *slot)
{
	pg_atomic_write_u64(&slot->version, pg_atomic_read_u64(&slot->version) | 1);
	pg_write_barrier();
}

static inline void
end_write(GoflowTrackerSlot *slot)
{
	pg_write_barrier();
	pg_atomic_write_u64(&slot->version, (pg_atomic_read_u64(&slot->version) | 1) + 1);
}

static inline bool
is_valid(const GoflowTracker *handle)
{
	return handle->slot && ((volatile GoflowTrackerSlot *) handle->slot)->generation == handle->generation;
}

static int32
percent_of(int64 total, int64 ended)
{
	return total <= 0 ? 0 : (int32) (10000 * Min(ended, total) / total);
}

static int64
read_ended(GoflowTrackerSlot *slot)
{
	int64		ended = 0;

	for (int kind = 0; kind < GOFLOW_TRACKER_KINDS; kind++)
		ended += pg_atomic_read_u32(&slot->ended[kind]);
	return ended;
}

static GoflowTracker
make_handle(GoflowTrackerSlot *slot)
{
	return (GoflowTracker) {.slot = slot, .generation = slot->generation};
}

GoflowTracker
goflow_tracker_open(const pg_uuid_t *execution_id, int workflow_id, Oid run_as, int percent,
					bool has_begun)
{
	Place		place = place_of(MyDatabaseId, execution_id);
	pg_atomic_uint64 *tag;
	GoflowTrackerSlot *slot = find_slot(&place, execution_id, &tag);

	if (slot)
	{
		slot->run_as = run_as;
		slot->percent = Max(slot->percent, percent);
		return make_handle(slot);
	}
	for (int i = 0; i < 2 * WAYS; i++)
	{
		uint32		bucket = i < WAYS ? place.first : place.second;
		uint64		expected = TAG_FREE;

		tag = &tracker->buckets[bucket].tags[i % WAYS];
		if (pg_atomic_read_u64(tag) != TAG_FREE ||
			!pg_atomic_compare_exchange_u64(tag, &expected, TAG_TAKEN))
			continue;

		slot = &tracker->slots[bucket * WAYS + i % WAYS];
		begin_write(slot);
		slot->generation++;
		slot->execution_id = *execution_id;
		slot->database = MyDatabaseId;
		slot->run_as = run_as;
		slot->workflow_id = workflow_id;
		pg_atomic_write_u32(&slot->total, 0);
		for (int kind = 0; kind < GOFLOW_TRACKER_KINDS; kind++)
			pg_atomic_write_u32(&slot->ended[kind], 0);
		slot->current_node = -1;
		slot->percent = percent;
		end_write(slot);
		pg_write_barrier();
		pg_atomic_write_u64(tag, place.tag);
		pg_atomic_fetch_add_u32(&tracker->used, 1);
		if (has_begun)
			pg_atomic_fetch_add_u64(&tracker->rebuilt, 1);
		return make_handle(slot);
	}
	pg_atomic_fetch_add_u64(&tracker->refused, 1);
	return (GoflowTracker) {.slot = NULL};
}

void
goflow_tracker_count(const GoflowTracker *handle, GoflowTrackerKind kind)
{
	if (is_valid(handle))
		pg_atomic_fetch_add_u32(&handle->slot->ended[kind], 1);
}

void
goflow_tracker_set(const GoflowTracker *handle, int total, int completed, int failed, int skipped)
{
	GoflowTrackerSlot *slot = handle->slot;

	if (!is_valid(handle))
		return;
	begin_write(slot);
	slot->percent = Max(slot->percent, percent_of(pg_atomic_read_u32(&slot->total), read_ended(slot)));
	pg_atomic_write_u32(&slot->total, total);
	pg_atomic_write_u32(&slot->ended[GOFLOW_TRACKER_COMPLETED], completed);
	pg_atomic_write_u32(&slot->ended[GOFLOW_TRACKER_FAILED], failed);
	pg_atomic_write_u32(&slot->ended[GOFLOW_TRACKER_SKIPPED], skipped);
	end_write(slot);
}

/* What was shown so far, before the counters are set. */
int
goflow_tracker_percent(const GoflowTracker *handle)
{
	return is_valid(handle) ? handle->slot->percent : 0;
}

/* One aligned word that goes with no other: no version needed. */
void
goflow_tracker_node(const GoflowTracker *handle, int node)
{
	if (is_valid(handle))
		*(volatile int32 *) &handle->slot->current_node = node;
}

/* By who runs a node and does not drive the execution. */
void
goflow_tracker_show_node(const pg_uuid_t *execution_id, int node)
{
	Place		place = place_of(MyDatabaseId, execution_id);
	pg_atomic_uint64 *tag;
	GoflowTrackerSlot *slot = find_slot(&place, execution_id, &tag);

	if (slot)
		*(volatile int32 *) &slot->current_node = node;
}

static void
free_slot(GoflowTrackerSlot *slot, pg_atomic_uint64 *tag)
{
	begin_write(slot);
	slot->generation++;
	slot->database = InvalidOid;
	end_write(slot);
	pg_atomic_write_u64(tag, TAG_FREE);
	pg_atomic_fetch_sub_u32(&tracker->used, 1);
}

void
goflow_tracker_close(const pg_uuid_t *execution_id, const GoflowTracker *handle)
{
	pg_atomic_uint64 *tag;
	GoflowTrackerSlot *slot;

	if (handle && is_valid(handle))
	{
		slot = handle->slot;
		tag = tag_of(slot - tracker->slots);
	}
	else
	{
		Place		place = place_of(MyDatabaseId, execution_id);

		slot = find_slot(&place, execution_id, &tag);
	}
	if (slot)
		free_slot(slot, tag);
}

/* Frees the slots of a database that has no goflow, hence no drivers, any more. */
void
goflow_tracker_forget(Oid database)
{
	for (uint32 i = 0; i < tracker->nbuckets * WAYS; i++)
	{
		pg_atomic_uint64 *tag = tag_of(i);

		if (pg_atomic_read_u64(tag) > TAG_TAKEN && tracker->slots[i].database == database)
			free_slot(&tracker->slots[i], tag);
	}
}

/* ---- reading ---- */

/* A slot as of one moment; false: it was being written, or is another execution's. */
static inline bool
read_slot(GoflowTrackerSlot *slot, const pg_uuid_t *execution_id, GoflowProgress *progress)
{
	uint64		version = pg_atomic_read_u64(&slot->version);

	pg_read_barrier();
	memcpy(progress, &slot->total, sizeof(GoflowProgress));
	if (!belongs_to(slot, MyDatabaseId, execution_id))
		return false;
	pg_read_barrier();
	return version % 2 == 0 && version == pg_atomic_read_u64(&slot->version);
}

static inline bool
read_in(uint32 bucket, uint64 tag, const pg_uuid_t *execution_id, GoflowProgress *progress)
{
	for (int i = 0; i < WAYS; i++)
		if (pg_atomic_read_u64(&tracker->buckets[bucket].tags[i]) == tag)
			return read_slot(&tracker->slots[bucket * WAYS + i], execution_id, progress);
	return false;
}

/* It is in its other bucket, or has no slot, or was written just now. */
static pg_noinline bool
read_again(const pg_uuid_t *execution_id, GoflowProgress *progress)
{
	Place		place = place_of(MyDatabaseId, execution_id);

	for (int tries = 0; tries < READ_TRIES; tries++)
	{
		pg_atomic_uint64 *tag;
		GoflowTrackerSlot *slot = find_slot(&place, execution_id, &tag);

		if (slot == NULL)
			return false;
		if (read_slot(slot, execution_id, progress))
			break;
	}
	return true;
}

bool
goflow_tracker_read(const pg_uuid_t *execution_id, GoflowProgress *progress)
{
	Place		place = place_of(MyDatabaseId, execution_id);

	return read_in(place.first, place.tag, execution_id, progress) ||
		read_again(execution_id, progress);
}

/* What people are shown of it. */
void
goflow_tracker_settle(GoflowProgress *progress)
{
	int64		ended = (int64) progress->completed + progress->failed + progress->skipped;

	/* nodes may have been counted since the driver told the total */
	if (progress->total > 0)
		progress->total = Max(progress->total, ended);
	progress->percent = Max(progress->percent, percent_of(progress->total, ended));
}

int
goflow_tracker_used(void)
{
	return tracker ? (int) pg_atomic_read_u32(&tracker->used) : 0;
}

void
goflow_tracker_read_counts(GoflowTrackerCounts *counts)
{
	counts->slots = tracker->nbuckets * WAYS;
	counts->used = pg_atomic_read_u32(&tracker->used);
	counts->rebuilt = pg_atomic_read_u64(&tracker->rebuilt);
	counts->refused = pg_atomic_read_u64(&tracker->refused);
}
