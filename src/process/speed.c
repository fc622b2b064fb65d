/*
 * speed.c
 *		How long nodes take, learned from their runs.
 *
 * A fixed table in shared memory, set-associative: a node's bucket is found by
 * hash, and within a bucket the entry that was used longest ago makes room.  A
 * forgotten node is merely measured again, so nothing is kept over a restart.
 * Each bucket has a spinlock for whoever changes it, held for a handful of
 * instructions.  To look needs none: what is read may be just changing, but who
 * mistakes a node for another one learns better when it runs.  And as long as a
 * node is so fast that nothing depends on it nobody writes, since workers that
 * run the same nodes would take the cache line from each other all the time.
 *
 * The mean follows the last runs (a quarter of each new one).  A node is fast
 * when its mean stays well below the fuse that it would run on in a batch.
 */
#include "postgres.h"

#include "process/shared.h"

#include "miscadmin.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#define BUCKETS 1024			/* a power of two */
#define WAYS 4

/* A node is fast below this part of the fuse. */
#define FUSE_MARGIN 5

/* And nothing is learned from it while its mean and the run are below this part of that. */
#define SAFE_MARGIN 4

typedef struct Speed
{
	Oid			database;		/* InvalidOid: free */
	int32		workflow_id;
	int32		node;
	bool		alone;
	uint32		used;			/* the bucket's clock */
	float		mean;			/* microseconds */
} Speed;

typedef struct Bucket
{
	slock_t		mutex;
	uint32		clock;
	Speed		ways[WAYS];
} Bucket;

static Bucket *buckets = NULL;

Size
goflow_speed_shmem_size(void)
{
	return mul_size(BUCKETS, sizeof(Bucket));
}

void
goflow_speed_shmem_init(void)
{
	bool		found;

	buckets = ShmemInitStruct("goflow speeds", goflow_speed_shmem_size(), &found);
	if (found)
		return;
	memset(buckets, 0, goflow_speed_shmem_size());
	for (int i = 0; i < BUCKETS; i++)
		SpinLockInit(&buckets[i].mutex);
}

/* Nodes of a workflow have neighbouring numbers, and so have workflows. */
static inline Bucket *
bucket_of(int workflow_id, int node)
{
	uint64		key = ((uint64) (uint32) workflow_id << 32 | (uint32) node) ^ (uint64) MyDatabaseId << 16;

	return &buckets[(key * UINT64CONST(0x9E3779B97F4A7C15)) >> 32 & (BUCKETS - 1)];
}

static inline bool
is_of(volatile Speed *speed, int workflow_id, int node)
{
	return speed->node == node && speed->workflow_id == workflow_id && speed->database == MyDatabaseId;
}

static inline volatile Bucket *
bucket_around(volatile Speed *speed)
{
	return &buckets[((volatile char *) speed - (char *) buckets) / sizeof(Bucket)];
}

/* The node's entry in its bucket, NULL if there is none. */
static inline volatile Speed *
find(volatile Bucket *bucket, int workflow_id, int node)
{
	for (int i = 0; i < WAYS; i++)
	{
		volatile Speed *speed = &bucket->ways[i];

		if (is_of(speed, workflow_id, node))
			return speed;
	}
	return NULL;
}

static volatile Speed *
find_or_make(volatile Bucket *bucket, int workflow_id, int node, bool *found)
{
	volatile Speed *speed = find(bucket, workflow_id, node);

	*found = speed != NULL;
	if (*found)
	{
		speed->used = ++bucket->clock;
		return speed;
	}
	speed = &bucket->ways[0];
	for (int i = 1; i < WAYS && OidIsValid(speed->database); i++)
	{
		volatile Speed *other = &bucket->ways[i];

		if (!OidIsValid(other->database) ||
			bucket->clock - other->used > bucket->clock - speed->used)
			speed = other;
	}
	speed->database = MyDatabaseId;
	speed->workflow_id = workflow_id;
	speed->node = node;
	speed->alone = false;
	speed->mean = 0;
	speed->used = ++bucket->clock;
	return speed;
}

/* Microseconds that a fast node's mean stays below. */
static float
fast_limit(void)
{
	return goflow_fuse * 1000.0f / FUSE_MARGIN;
}

GoflowSpeed
goflow_speed_get(int workflow_id, int node, void **hint)
{
	volatile Speed *speed = *hint;

	if (speed == NULL || !is_of(speed, workflow_id, node))
	{
		speed = find(bucket_of(workflow_id, node), workflow_id, node);
		*hint = (void *) speed;
		if (speed == NULL)
			return GOFLOW_SPEED_UNKNOWN;
	}
	return speed->alone ? GOFLOW_SPEED_ALONE :
		speed->mean < fast_limit() ? GOFLOW_SPEED_FAST : GOFLOW_SPEED_SLOW;
}

static pg_noinline void
learn(int workflow_id, int node, int64 microseconds)
{
	volatile Bucket *bucket = bucket_of(workflow_id, node);
	volatile Speed *speed;
	bool		found;

	SpinLockAcquire(&bucket->mutex);
	speed = find_or_make(bucket, workflow_id, node, &found);
	if (found)
		speed->mean += ((float) microseconds - speed->mean) / 4;
	else
		speed->mean = (float) microseconds;
	SpinLockRelease(&bucket->mutex);
}

void
goflow_speed_learn(int workflow_id, int node, void **hint, int64 microseconds)
{
	volatile Speed *speed = *hint;
	float		safe = fast_limit() / SAFE_MARGIN;

	if (speed && is_of(speed, workflow_id, node) && speed->used == bucket_around(speed)->clock &&
		speed->mean < safe && microseconds < safe)
		return;
	learn(workflow_id, node, microseconds);
}

/* ALONE stays; FAST and SLOW are where the mean goes on from. */
void
goflow_speed_set(int workflow_id, int node, GoflowSpeed value)
{
	volatile Bucket *bucket = bucket_of(workflow_id, node);
	float		limit = fast_limit();
	bool		found;
	volatile Speed *speed;

	SpinLockAcquire(&bucket->mutex);
	speed = find_or_make(bucket, workflow_id, node, &found);
	switch (value)
	{
		case GOFLOW_SPEED_ALONE:
			speed->alone = true;
			break;
		case GOFLOW_SPEED_SLOW:
			/* a burnt fuse took at least that long */
			speed->mean = Max(speed->mean, limit * FUSE_MARGIN);
			break;
		case GOFLOW_SPEED_FAST:
			speed->mean = 0;
			break;
		case GOFLOW_SPEED_UNKNOWN:
			if (!speed->alone)
				speed->database = InvalidOid;
			break;
	}
	SpinLockRelease(&bucket->mutex);
}
