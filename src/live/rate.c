/*
 * rate.c
 *		How many messages may be sent: goflow.max_message_rate.
 *
 * Each notification costs processor time of who sends it, of every session that
 * listens and of the clients.  On a server whose processors are all busy that
 * time is taken from the workflows, so there is a bound for the whole server: a
 * bucket that holds what may be sent in a second, and is filled at that rate.
 * Whoever has something to tell asks before he makes messages of it, and drops
 * and counts what he is not given.  A quarter of the bucket is kept for how
 * executions end.  Since each listening session reads all notifications, whether
 * they are for it or not, they cost more the more listen.
 *
 * The bucket is one word, the moment when it will be full again.  To take from
 * it is to move that moment on: no lock, and nobody who fills it.  It is a moment
 * of the clock that nobody sets.
 */
#include "postgres.h"

#include "live/live.h"

#include "portability/instr_time.h"
#include "storage/shmem.h"

#define NS_PER_S INT64CONST(1000000000)

/* With so many who listen a notification counts twice. */
#define DOUBLING 10

typedef struct Bucket
{
	pg_atomic_uint64 full_at;	/* in nanoseconds; in the past: it is full */
} Bucket;

static Bucket *bucket = NULL;

Size
goflow_rate_shmem_size(void)
{
	return sizeof(Bucket);
}

void
goflow_rate_shmem_init(void)
{
	bool		found;

	bucket = ShmemInitStruct("goflow message rate", sizeof(Bucket), &found);
	if (!found)
		pg_atomic_init_u64(&bucket->full_at, 0);
}

/* Subscriptions and LISTENs of goflow's channels, in all databases. */
int
goflow_listeners(void)
{
	return goflow_subscription_active() + goflow_channel_listens();
}

/* The price of a notification, in nanoseconds of the time in which the bucket fills. */
static int64
price_now(void)
{
	return NS_PER_S * (DOUBLING + goflow_listeners()) / DOUBLING / goflow_max_message_rate;
}

/* What of a full bucket may be taken: a part is kept for how executions end. */
static int64
usable_for(bool is_end)
{
	return is_end ? NS_PER_S : NS_PER_S - NS_PER_S / 4;
}

/* In nanoseconds. */
static int64
get_now(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now) * 1000;
}

/* What is missing in the bucket: no more than all, whatever becomes of the setting. */
static int64
missing_at(int64 now, uint64 full_at)
{
	return Min(Max((int64) full_at - now, 0), NS_PER_S);
}

/*
 * Asks for the right to send so many notifications.  Returns all, or what the
 * bucket holds at most if that is less, or 0: what happens in one commit is told
 * as a whole, if it can be, rather than in shreds.  is_end: it tells of an end.
 */
int64
goflow_rate_take(int64 wanted, bool is_end)
{
	int64		usable = usable_for(is_end);
	int64		price;
	int64		granted;
	int64		missing;
	int64		now;
	uint64		full_at;

	if (goflow_max_message_rate == 0 || wanted == 0)
		return wanted;
	price = price_now();
	granted = Min(wanted, Max(usable / price, 1));
	now = get_now();
	full_at = pg_atomic_read_u64(&bucket->full_at);
	do
	{
		missing = missing_at(now, full_at);
		if (missing > 0 && missing + granted * price > usable)
			return 0;
	} while (!pg_atomic_compare_exchange_u64(&bucket->full_at, &full_at,
											 now + missing + granted * price));
	return granted;
}

/* How many would be granted now, of what does not tell of an end. */
int64
goflow_rate_room(void)
{
	int64		usable = usable_for(false);
	int64		price;
	int64		missing;

	if (goflow_max_message_rate == 0)
		return PG_INT64_MAX;
	price = price_now();
	missing = missing_at(get_now(), pg_atomic_read_u64(&bucket->full_at));
	return missing == 0 ? Max(usable / price, 1) : Max((usable - missing) / price, 0);
}

/* Is more wanted than there is? */
bool
goflow_rate_is_short(void)
{
	return goflow_max_message_rate > 0 &&
		missing_at(get_now(), pg_atomic_read_u64(&bucket->full_at)) > NS_PER_S / 2;
}
