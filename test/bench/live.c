/*
 * live.c
 *		What the benchmark needs in C: the tracker's operations beside bare atomic
 *		ones, and a function that gives a row like progress() without looking.
 *
 * It has the tracker's source inside, and attaches to the server's shared
 * memory, so what is measured is what goflow does.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/numeric.h"

#include "../../src/live/tracker.c"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_constant);
PG_FUNCTION_INFO_V1(bench_tracker);

int			goflow_tracker_slots;

/* constant() returns (total, completed, failed, skipped, current_node, percent) */
Datum
bench_constant(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = fcinfo->flinfo->fn_extra;
	Datum		values[6];
	bool		nulls[6] = {0};

	if (tupdesc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		tupdesc = BlessTupleDesc(CreateTupleDescCopy(tupdesc));
		fcinfo->flinfo->fn_extra = tupdesc;
		MemoryContextSwitchTo(old);
	}
	values[0] = Int32GetDatum(10);
	values[1] = Int32GetDatum(5);
	values[2] = Int32GetDatum(0);
	values[3] = Int32GetDatum(0);
	values[4] = CStringGetTextDatum("s6");
	values[5] = NumericGetDatum(int64_div_fast_to_numeric(5000, 2));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls)));
}

typedef struct Shared
{
	pg_atomic_uint32 counter;
	pg_atomic_uint32 waiting;	/* processes that have come to the start */
	char		padding[PG_CACHE_LINE_SIZE];
} Shared;

static Shared *
attach(void)
{
	bool		found;
	Shared	   *shared;

	goflow_tracker_slots = atoi(GetConfigOption("goflow.tracker_slots", false, false));
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	goflow_tracker_shmem_init();
	shared = ShmemInitStruct("goflow bench", sizeof(Shared), &found);
	if (!found)
	{
		pg_atomic_init_u32(&shared->counter, 0);
		pg_atomic_init_u32(&shared->waiting, 0);
	}
	LWLockRelease(AddinShmemInitLock);
	return shared;
}

static int
compare_double(const void *a, const void *b)
{
	double		left = *(const double *) a;
	double		right = *(const double *) b;

	return left < right ? -1 : left > right;
}

/* Operations that are timed together: short enough to be done before another process is scheduled. */
#define TIMED 20000

/*
 * tracker(what text, execution uuid, n bigint, processes int) returns float8
 *
 * Nanoseconds per operation, after so many processes have come, as a median of
 * many short runs (of several processes, the 90th percentile): load, add (bare ones on a variable in shared memory), read,
 * count (the tracker's).
 */
Datum
bench_tracker(PG_FUNCTION_ARGS)
{
	char	   *what = text_to_cstring(PG_GETARG_TEXT_PP(0));
	pg_uuid_t  *id = PG_GETARG_UUID_P(1);
	int			nruns = (int) (PG_GETARG_INT64(2) / TIMED);
	uint32		processes = PG_GETARG_INT32(3);
	Shared	   *shared = attach();
	GoflowTracker handle = goflow_tracker_open(id, 0, GetUserId(), 0, false);
	GoflowProgress progress;
	double	   *times = palloc(nruns * sizeof(double));
	volatile uint64 sum = 0;
	uint32		turn;

	goflow_tracker_set(&handle, 1000000000, 0, 0, 0);
	turn = pg_atomic_fetch_add_u32(&shared->waiting, 1) / processes;
	while (pg_atomic_read_u32(&shared->waiting) < (turn + 1) * processes)
		CHECK_FOR_INTERRUPTS();

	for (int run = 0; run < nruns; run++)
	{
		instr_time	before;
		instr_time	after;

		INSTR_TIME_SET_CURRENT(before);
		if (strcmp(what, "load") == 0)
			for (int i = 0; i < TIMED; i++)
				sum += pg_atomic_read_u32(&shared->counter);
		else if (strcmp(what, "add") == 0)
			for (int i = 0; i < TIMED; i++)
				pg_atomic_fetch_add_u32(&shared->counter, 1);
		else if (strcmp(what, "read") == 0)
			for (int i = 0; i < TIMED; i++)
			{
				if (!goflow_tracker_read(id, &progress))
					elog(ERROR, "the execution has no slot");
				sum += progress.completed;
			}
		else if (strcmp(what, "count") == 0)
			for (int i = 0; i < TIMED; i++)
				goflow_tracker_count(&handle, GOFLOW_TRACKER_COMPLETED);
		else
			elog(ERROR, "unknown operation");
		INSTR_TIME_SET_CURRENT(after);
		INSTR_TIME_SUBTRACT(after, before);
		times[run] = INSTR_TIME_GET_DOUBLE(after) * 1e9 / TIMED;
		CHECK_FOR_INTERRUPTS();
	}
	qsort(times, nruns, sizeof(double), compare_double);
	/* of several processes, a time when they did run side by side */
	PG_RETURN_FLOAT8(times[processes > 1 ? (int) (nruns * 0.9) : nruns / 2]);
}
