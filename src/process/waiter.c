/*
 * waiter.c
 *		Backends that wait for an execution.
 *
 * One slot per backend, found by its number, without locks.  The waiter writes
 * the id, sets the flag, raises the count, and only then looks at the tables.
 * The driver commits, and only then reads the count.  Both have a full barrier
 * in between, so either the waiter sees the commit or the driver the waiter.
 * A slot that is being rewritten while it is compared belongs to a waiter that
 * has yet to look; a latch set for nothing makes him look again.
 */
#include "postgres.h"

#include "process/shared.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"

typedef struct Waiter
{
	pg_atomic_uint32 active;
	pg_uuid_t	execution_id;
} Waiter;

typedef struct Waiters
{
	pg_atomic_uint32 count;
	int			nslots;
	Waiter		slots[FLEXIBLE_ARRAY_MEMBER];
} Waiters;

static Waiters *waiters = NULL;

static int
number_of_slots(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

Size
goflow_waiter_shmem_size(void)
{
	return add_size(offsetof(Waiters, slots), mul_size(number_of_slots(), sizeof(Waiter)));
}

void
goflow_waiter_shmem_init(void)
{
	bool		found;

	waiters = ShmemInitStruct("goflow waiters", goflow_waiter_shmem_size(), &found);
	if (found)
		return;
	memset(waiters, 0, goflow_waiter_shmem_size());
	waiters->nslots = number_of_slots();
	pg_atomic_init_u32(&waiters->count, 0);
	for (int i = 0; i < waiters->nslots; i++)
		pg_atomic_init_u32(&waiters->slots[i].active, 0);
}

static void
end_at_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		goflow_waiter_end();
}

static void
end_at_exit(int code, Datum arg)
{
	goflow_waiter_end();
}

void
goflow_waiter_begin(const pg_uuid_t *execution_id)
{
	static bool registered = false;
	Waiter	   *slot = &waiters->slots[GoflowMyBackendNumber()];

	if (!registered)
	{
		before_shmem_exit(end_at_exit, (Datum) 0);
		RegisterXactCallback(end_at_transaction, NULL);
		registered = true;
	}
	goflow_waiter_end();
	slot->execution_id = *execution_id;
	pg_write_barrier();
	pg_atomic_write_u32(&slot->active, 1);
	/* a full barrier: what follows looks at the tables */
	pg_atomic_fetch_add_u32(&waiters->count, 1);
}

void
goflow_waiter_end(void)
{
	Waiter	   *slot = &waiters->slots[GoflowMyBackendNumber()];

	if (pg_atomic_exchange_u32(&slot->active, 0) == 1)
		pg_atomic_fetch_sub_u32(&waiters->count, 1);
}

/* Wakes who waits for one of these. */
void
goflow_waiter_wake(const pg_uuid_t *executions, int n)
{
	pg_memory_barrier();
	if (n == 0 || pg_atomic_read_u32(&waiters->count) == 0)
		return;
	for (int i = 0; i < waiters->nslots; i++)
	{
		Waiter	   *slot = &waiters->slots[i];

		if (pg_atomic_read_u32(&slot->active) == 0)
			continue;
		pg_read_barrier();
		for (int k = 0; k < n; k++)
			if (goflow_uuid_equal(&slot->execution_id, &executions[k]))
			{
				SetLatch(&ProcGlobal->allProcs[i].procLatch);
				break;
			}
	}
}
