/*
 * turn.c
 *		Workers that store their batches take turns.
 *
 * The rows of all workers go to the same few pages, the last ones of a table and
 * of its indexes.  Two workers that store at the same moment wait for each
 * other's page locks hundreds of times in a batch, and the pages go to and fro
 * between the processors.  So one waits until the other has stored its rows, and
 * from then on they take turns by themselves: one stores while the other runs
 * nodes.  Where there are more workers, more of them may store at the same time.
 *
 * This only saves time: a worker that has waited for MAX_WAIT stores, too.
 */
#include "postgres.h"

#include "process/shared.h"

#include "portability/instr_time.h"

/* Milliseconds; to store a batch takes about one. */
#define MAX_WAIT 3

/* For every so many workers one may store. */
#define WORKERS_PER_TURN 3

static bool my_turn = false;

static bool
try_turn(void)
{
	uint32		most = 1 + Max(goflow_control->workers - 1, 0) / WORKERS_PER_TURN;
	uint32		storing = pg_atomic_read_u32(&goflow_control->storing);

	while (storing < most && !my_turn)
		my_turn = pg_atomic_compare_exchange_u32(&goflow_control->storing, &storing, storing + 1);
	return my_turn;
}

void
goflow_turn_begin(void)
{
	instr_time	began;
	instr_time	now;

	if (try_turn())
		return;
	INSTR_TIME_SET_CURRENT(began);
	ConditionVariablePrepareToSleep(&goflow_control->stored);
	while (!try_turn())
	{
		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, began);
		if (INSTR_TIME_GET_MILLISEC(now) >= MAX_WAIT)
			break;
		(void) ConditionVariableTimedSleep(&goflow_control->stored, 1, goflow_wait_event(GOFLOW_WAIT_TURN));
	}
	ConditionVariableCancelSleep();
}

/* Also after an error, and when the worker exits. */
void
goflow_turn_end(void)
{
	if (!my_turn)
		return;
	my_turn = false;
	pg_atomic_fetch_sub_u32(&goflow_control->storing, 1);
	ConditionVariableSignal(&goflow_control->stored);
}
