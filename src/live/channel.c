/*
 * channel.c
 *		Who listens: the channels that somebody asked for.
 *
 * PostgreSQL keeps each backend's channels private, so goflow notes LISTEN and
 * UNLISTEN of its own channels ("goflow", "goflow_" and an execution's id in 32
 * hexadecimal digits, "goflow_workflow_" and a name) as they commit, in a small
 * table under its own lock.  A channel is known there by a key of 16 bytes: an
 * execution's id, a hash of a workflow's name, or zeros.  Two counts beside it make the usual answer, that nobody listens, an atomic read.
 * A backend that finds no room in the table makes everything wanted until it
 * exits: messages are then made for nobody, but never missed.
 */
#include "postgres.h"

#include "live/live.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define MAX_LISTENS 1024

#define WORKFLOW_PREFIX GOFLOW_PUBLIC_CHANNEL "_workflow_"

typedef struct Listen
{
	int			pid;			/* 0: free */
	Oid			database;
	GoflowChannelKey key;
} Listen;

typedef struct Channels
{
	LWLock	   *lock;			/* for listens */
	pg_atomic_uint32 public;	/* who listens to public channels, in all databases */
	pg_atomic_uint32 private;	/* who listens to executions and workflows */
	pg_atomic_uint32 overflowed;	/* backends that found no room */
	int			used;			/* listens below may be in use */
	Listen		listens[MAX_LISTENS];
} Channels;

static Channels *channels = NULL;
static bool i_overflowed = false;

static const GoflowChannelKey all = {{0}};

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

GoflowChannelKey
goflow_channel_of_all(void)
{
	return all;
}

GoflowChannelKey
goflow_channel_of_execution(const pg_uuid_t *execution_id)
{
	GoflowChannelKey key;

	memcpy(&key, execution_id, sizeof(key));
	return key;
}

/* Names are cut to the length of an identifier, as LISTEN does it. */
void
goflow_channel_workflow_name(const char *workflow, char name[NAMEDATALEN])
{
	strlcpy(name, WORKFLOW_PREFIX, NAMEDATALEN);
	strlcat(name, workflow, NAMEDATALEN);
}

static GoflowChannelKey
key_of_name(const char *name)
{
	GoflowChannelKey key;

	for (int i = 0; i < 2; i++)
	{
		uint64		hash = hash_bytes_extended((const unsigned char *) name, strlen(name), i + 1);

		memcpy(key.data + i * sizeof(hash), &hash, sizeof(hash));
	}
	return key;
}

GoflowChannelKey
goflow_channel_of_workflow(const char *workflow)
{
	char		name[NAMEDATALEN];

	goflow_channel_workflow_name(workflow, name);
	return key_of_name(name);
}

/* Is that one of goflow's channels? */
bool
goflow_channel_parse(const char *channel, GoflowChannelKey *key)
{
	static const char prefix[] = GOFLOW_PUBLIC_CHANNEL "_";
	const char *digits = channel + sizeof(prefix) - 1;

	*key = all;
	if (strcmp(channel, GOFLOW_PUBLIC_CHANNEL) == 0)
		return true;
	if (strncmp(channel, WORKFLOW_PREFIX, strlen(WORKFLOW_PREFIX)) == 0)
	{
		*key = key_of_name(channel);
		return true;
	}
	if (strncmp(channel, prefix, sizeof(prefix) - 1) != 0 ||
		strspn(digits, "0123456789abcdef") != 2 * UUID_LEN || digits[2 * UUID_LEN] != '\0')
		return false;
	for (int i = 0; i < 2 * UUID_LEN; i++)
	{
		int			digit = digits[i] <= '9' ? digits[i] - '0' : digits[i] - 'a' + 10;

		key->data[i / 2] = key->data[i / 2] * 16 + digit;
	}
	return true;
}

void
goflow_channel_execution_name(const pg_uuid_t *execution_id, char name[NAMEDATALEN])
{
	int			length = snprintf(name, NAMEDATALEN, "%s_", GOFLOW_PUBLIC_CHANNEL);

	for (int i = 0; i < UUID_LEN; i++)
		length += snprintf(name + length, NAMEDATALEN - length, "%02x", execution_id->data[i]);
}

static bool
is_public(const GoflowChannelKey *key)
{
	return memcmp(key, &all, sizeof(all)) == 0;
}

static pg_atomic_uint32 *
count_of(const GoflowChannelKey *key)
{
	return is_public(key) ? &channels->public : &channels->private;
}

static bool
is_mine(const Listen *listen, const GoflowChannelKey *key)
{
	return listen->pid == MyProcPid &&
		(key == NULL || memcmp(&listen->key, key, sizeof(all)) == 0);
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
goflow_channel_listen(const GoflowChannelKey *key)
{
	Listen	   *place = NULL;

	LWLockAcquire(channels->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_LISTENS; i++)
	{
		Listen	   *listen = &channels->listens[i];

		if (i < channels->used && is_mine(listen, key))
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
		place->key = *key;
		channels->used = Max(channels->used, place - channels->listens + 1);
		pg_atomic_fetch_add_u32(count_of(key), 1);
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
goflow_channel_unlisten(const GoflowChannelKey *key)
{
	LWLockAcquire(channels->lock, LW_EXCLUSIVE);
	for (int i = 0; i < channels->used; i++)
	{
		Listen	   *listen = &channels->listens[i];

		if (!is_mine(listen, key))
			continue;
		pg_atomic_fetch_sub_u32(count_of(&listen->key), 1);
		listen->pid = 0;
	}
	while (channels->used > 0 && channels->listens[channels->used - 1].pid == 0)
		channels->used--;
	LWLockRelease(channels->lock);
}

int
goflow_channel_listens(void)
{
	return pg_atomic_read_u32(&channels->public) + pg_atomic_read_u32(&channels->private);
}

bool
goflow_channel_wanted(GoflowChannelKey key)
{
	bool		found = false;

	if (!goflow_public_events)
		return false;
	if (pg_atomic_read_u32(&channels->overflowed) > 0)
		return true;
	if (pg_atomic_read_u32(count_of(&key)) == 0)
		return false;
	LWLockAcquire(channels->lock, LW_SHARED);
	for (int i = 0; i < channels->used && !found; i++)
	{
		Listen	   *listen = &channels->listens[i];

		found = listen->pid != 0 && listen->database == MyDatabaseId &&
			memcmp(&listen->key, &key, sizeof(key)) == 0;
	}
	LWLockRelease(channels->lock);
	return found;
}

uint32
goflow_channel_watched(const pg_uuid_t *execution_id, const char *workflow)
{
	uint32		types = 0;

	if (pg_atomic_read_u32(&channels->overflowed) == 0 &&
		pg_atomic_read_u32(&channels->public) == 0 && pg_atomic_read_u32(&channels->private) == 0)
		return 0;
	if (goflow_channel_wanted(all))
		types |= GOFLOW_EVENTS_LIFECYCLE;
	if (goflow_channel_wanted(goflow_channel_of_workflow(workflow)))
		types |= GOFLOW_EVENTS_LIFECYCLE | GOFLOW_EVENT_BIT(GOFLOW_EVENT_PROGRESS_UPDATE);
	if (goflow_channel_wanted(goflow_channel_of_execution(execution_id)))
		types |= GOFLOW_EVENTS_ALL;
	return types;
}
