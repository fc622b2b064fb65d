/*
 * channel.c
 *		Who listens: the channels that somebody asked for.
 *
 * PostgreSQL keeps each backend's channels private, so goflow notes LISTEN and
 * UNLISTEN of its own channels ("goflow", "goflow_" and an execution's id in 32
 * hexadecimal digits) as they commit, in a small table under its own lock.  Two
 * counts beside it make the usual answer, that nobody listens, an atomic read.
 * A backend that finds no room in the table makes everything wanted until it
 * exits: messages are then made for nobody, but never missed.
 */
#include "postgres.h"

#include "live/live.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define MAX_LISTENS 1024

typedef struct Listen
{
	int			pid;			/* 0: free */
	Oid			database;
	pg_uuid_t	execution_id;	/* zeros: the public channel */
} Listen;

typedef struct Channels
{
	LWLock	   *lock;			/* for listens */
	pg_atomic_uint32 public;	/* who listens to public channels, in all databases */
	pg_atomic_uint32 private;	/* who listens to executions */
	pg_atomic_uint32 overflowed;	/* backends that found no room */
	int			used;			/* listens below may be in use */
	Listen		listens[MAX_LISTENS];
} Channels;

static Channels *channels = NULL;
static bool i_overflowed = false;

static const pg_uuid_t nobody = {{0}};

Size
goflow_channel_shmem_size(void)
{
	return sizeof(Channels);
}

void
goflow_channel_shmem_init(void)
{
	bool		found;

	channels = ShmemInitStruct("goflow channels", sizeof(Channels), &found);
	if (found)
		return;
	memset(channels, 0, sizeof(Channels));
	channels->lock = &GetNamedLWLockTranche(GOFLOW_CHANNEL_TRANCHE)->lock;
	pg_atomic_init_u32(&channels->public, 0);
	pg_atomic_init_u32(&channels->private, 0);
	pg_atomic_init_u32(&channels->overflowed, 0);
}

/* Is that one of goflow's channels?  The public one gives an id of zeros. */
bool
goflow_channel_parse(const char *channel, pg_uuid_t *execution_id)
{
	static const char prefix[] = GOFLOW_PUBLIC_CHANNEL "_";
	const char *digits = channel + sizeof(prefix) - 1;

	*execution_id = nobody;
	if (strcmp(channel, GOFLOW_PUBLIC_CHANNEL) == 0)
		return true;
	if (strncmp(channel, prefix, sizeof(prefix) - 1) != 0 ||
		strspn(digits, "0123456789abcdef") != 2 * UUID_LEN || digits[2 * UUID_LEN] != '\0')
		return false;
	for (int i = 0; i < 2 * UUID_LEN; i++)
	{
		int			digit = digits[i] <= '9' ? digits[i] - '0' : digits[i] - 'a' + 10;

		execution_id->data[i / 2] = execution_id->data[i / 2] * 16 + digit;
	}
	return true;
}

/* The name of an execution's channel. */
void
goflow_channel_name(const pg_uuid_t *execution_id, char name[NAMEDATALEN])
{
	int			length = snprintf(name, NAMEDATALEN, "%s_", GOFLOW_PUBLIC_CHANNEL);

	for (int i = 0; i < UUID_LEN; i++)
		length += snprintf(name + length, NAMEDATALEN - length, "%02x", execution_id->data[i]);
}

static bool
is_public(const pg_uuid_t *execution_id)
{
	return memcmp(execution_id, &nobody, UUID_LEN) == 0;
}

static pg_atomic_uint32 *
count_of(const pg_uuid_t *execution_id)
{
	return is_public(execution_id) ? &channels->public : &channels->private;
}

static bool
is_mine(const Listen *listen, const pg_uuid_t *execution_id)
{
	return listen->pid == MyProcPid &&
		(execution_id == NULL || memcmp(&listen->execution_id, execution_id, UUID_LEN) == 0);
}

static void
forget_mine(int code, Datum arg)
{
	goflow_channel_unlisten(NULL);
	if (i_overflowed)
		pg_atomic_fetch_sub_u32(&channels->overflowed, 1);
	i_overflowed = false;
}

/*
 * Must run before the LISTEN commits: registering an exit callback can fail,
 * goflow_channel_listen(), which is called after the commit, must not.
 */
void
goflow_channel_prepare(void)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(forget_mine, (Datum) 0);
	registered = true;
}

void
goflow_channel_listen(const pg_uuid_t *execution_id)
{
	Listen	   *place = NULL;

	LWLockAcquire(channels->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_LISTENS; i++)
	{
		Listen	   *listen = &channels->listens[i];

		if (i < channels->used && is_mine(listen, execution_id))
		{
			LWLockRelease(channels->lock);
			return;
		}
		if (place == NULL && listen->pid == 0)
			place = listen;
		if (place && i >= channels->used)
			break;
	}
	if (place)
	{
		place->pid = MyProcPid;
		place->database = MyDatabaseId;
		place->execution_id = *execution_id;
		channels->used = Max(channels->used, place - channels->listens + 1);
		pg_atomic_fetch_add_u32(count_of(execution_id), 1);
	}
	else if (!i_overflowed)
	{
		i_overflowed = true;
		pg_atomic_fetch_add_u32(&channels->overflowed, 1);
	}
	LWLockRelease(channels->lock);
}

/* NULL: all of this backend's channels. */
void
goflow_channel_unlisten(const pg_uuid_t *execution_id)
{
	LWLockAcquire(channels->lock, LW_EXCLUSIVE);
	for (int i = 0; i < channels->used; i++)
	{
		Listen	   *listen = &channels->listens[i];

		if (!is_mine(listen, execution_id))
			continue;
		pg_atomic_fetch_sub_u32(count_of(&listen->execution_id), 1);
		listen->pid = 0;
	}
	while (channels->used > 0 && channels->listens[channels->used - 1].pid == 0)
		channels->used--;
	LWLockRelease(channels->lock);
}

static bool
wanted(Oid database, const pg_uuid_t *execution_id)
{
	bool		found = false;

	if (pg_atomic_read_u32(&channels->overflowed) > 0)
		return true;
	if (pg_atomic_read_u32(count_of(execution_id)) == 0)
		return false;
	LWLockAcquire(channels->lock, LW_SHARED);
	for (int i = 0; i < channels->used && !found; i++)
	{
		Listen	   *listen = &channels->listens[i];

		found = listen->pid != 0 && listen->database == database &&
			memcmp(&listen->execution_id, execution_id, UUID_LEN) == 0;
	}
	LWLockRelease(channels->lock);
	return found;
}

bool
goflow_channel_public_wanted(Oid database)
{
	return goflow_public_events && wanted(database, &nobody);
}

bool
goflow_channel_wanted(const pg_uuid_t *execution_id)
{
	return wanted(MyDatabaseId, execution_id) || goflow_channel_public_wanted(MyDatabaseId);
}

bool
goflow_channel_execution_wanted(const pg_uuid_t *execution_id)
{
	return wanted(MyDatabaseId, execution_id);
}
