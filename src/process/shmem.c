/*
 * shmem.c
 *		The layout of goflow's shared memory.
 *
 * Its size is fixed at server start: by goflow.queue_size,
 * goflow.tracker_slots, max_worker_processes and max_connections.  Everything
 * in it is a hint that the tables can replace, so nothing is saved at shutdown.
 */
#include "postgres.h"

#include "process/shared.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#include "live/live.h"

#define QUEUE_TRANCHE "goflow queue"

GoflowControl *goflow_control = NULL;
HTAB	   *goflow_queue = NULL;

static int
number_of_slots(void)
{
	return Max(max_worker_processes, 1);
}

/* Offered and running nodes together stay below GOFLOW_MAX_INSTANCES. */
static int
number_of_offers(void)
{
	return Max(GOFLOW_MAX_INSTANCES - number_of_slots(), 16);
}

static Size
control_size(void)
{
	Size		size = MAXALIGN(sizeof(GoflowControl));

	size = add_size(size, MAXALIGN(mul_size(number_of_offers(), sizeof(GoflowOffer))));
	return add_size(size, mul_size(number_of_slots(), sizeof(GoflowWorkerSlot)));
}

void
goflow_shmem_request(void)
{
	Size		size = control_size();

	size = add_size(size, hash_estimate_size(goflow_queue_size, sizeof(GoflowEntry)));
	size = add_size(size, goflow_waiter_shmem_size());
	size = add_size(size, goflow_speed_shmem_size());
	size = add_size(size, goflow_tracker_shmem_size());
	size = add_size(size, goflow_ring_shmem_size());
	size = add_size(size, goflow_rate_shmem_size());
	size = add_size(size, goflow_channel_shmem_size());
	size = add_size(size, goflow_subscription_shmem_size());
	RequestAddinShmemSpace(size);
	RequestNamedLWLockTranche(QUEUE_TRANCHE, 1);
	RequestNamedLWLockTranche(GOFLOW_CHANNEL_TRANCHE, 1);
}

static void
control_init(void)
{
	GoflowControl *control;
	bool		found;

	control = ShmemInitStruct("goflow control", control_size(), &found);
	goflow_control = control;
	if (found)
		return;

	memset(control, 0, control_size());
	control->lock = &GetNamedLWLockTranche(QUEUE_TRANCHE)->lock;
	ConditionVariableInit(&control->slot_freed);
	ConditionVariableInit(&control->stored);
	pg_atomic_init_u32(&control->storing, 0);
	control->noffers = number_of_offers();
	control->offers = (GoflowOffer *) ((char *) control + MAXALIGN(sizeof(GoflowControl)));
	control->nslots = number_of_slots();
	control->slots = (GoflowWorkerSlot *)
		((char *) control->offers + MAXALIGN(control->noffers * sizeof(GoflowOffer)));

	for (int i = 0; i < control->noffers; i++)
		control->offers[i].pool = -1;
	for (int i = 0; i < control->nslots; i++)
		dlist_init(&control->slots[i].claims);
	for (int i = 0; i < GOFLOW_MAX_DATABASES; i++)
	{
		pg_atomic_init_u64(&control->databases[i].ring_position, 0);
		pg_atomic_init_u32(&control->databases[i].ring_pending, 0);
	}
}

/* The second half of a version 7 UUID is random. */
static uint32
hash_key(const void *key, Size keysize)
{
	uint32		hash;

	memcpy(&hash, ((const GoflowKey *) key)->execution_id.data + UUID_LEN - sizeof(hash), sizeof(hash));
	return hash ^ ((const GoflowKey *) key)->database;
}

void
goflow_shmem_startup(void)
{
	HASHCTL		ctl = {.keysize = sizeof(GoflowKey), .entrysize = sizeof(GoflowEntry), .hash = hash_key};

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	control_init();
	goflow_queue = ShmemInitHash("goflow queue", goflow_queue_size, goflow_queue_size, &ctl,
								 HASH_ELEM | HASH_FUNCTION | HASH_FIXED_SIZE);
	goflow_waiter_shmem_init();
	goflow_speed_shmem_init();
	goflow_tracker_shmem_init();
	goflow_ring_shmem_init();
	goflow_rate_shmem_init();
	goflow_channel_shmem_init();
	goflow_subscription_shmem_init();
	if (!IsUnderPostmaster)
		goflow_mark_startup();
	LWLockRelease(AddinShmemInitLock);
}
