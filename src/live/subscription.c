/*
 * subscription.c
 *		Subscriptions: who wants which events with their data.
 *
 * A subscription is a slot in shared memory with a filter and the name of a
 * private channel, which only its session is told.  PostgreSQL lets anybody
 * listen to any channel, so the name is the key: 160 random bits.  A slot is
 * taken by goflow.subscribe(), active from the commit of that transaction,
 * and free again when its session ends it or exits.
 *
 * Whoever drives an execution asks before each transaction whether somebody
 * subscribes to it.  Nobody at all is one atomic read.  Otherwise the process
 * has a copy of the active ones of its database, made anew when their version
 * (or somebody's membership in a role) has changed, and looks which of them
 * want an event only after it has committed.
 *
 * Slots are read and written under the lock of the channels (live/channel.c).
 * The counters are atomic, since who drops a message holds no lock.
 */
#include "postgres.h"

#include "live/live.h"

#include "access/xact.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

typedef struct Slot
{
	GoflowSubscription sub;		/* sub.pid 0: free */
	pg_atomic_uint64 sent;
	pg_atomic_uint64 dropped;
} Slot;

typedef struct Subscriptions
{
	LWLock	   *lock;
	pg_atomic_uint32 active;	/* in all databases */
	pg_atomic_uint32 version;	/* changes with every active one */
	int			used;			/* slots below may be in use */
	Slot		slots[FLEXIBLE_ARRAY_MEMBER];
} Subscriptions;

static Subscriptions *subscriptions = NULL;

Size
goflow_subscription_shmem_size(void)
{
	return add_size(offsetof(Subscriptions, slots),
					mul_size(Max(goflow_max_subscriptions, 1), sizeof(Slot)));
}

void
goflow_subscription_shmem_init(void)
{
	bool		found;

	subscriptions = ShmemInitStruct("goflow subscriptions", goflow_subscription_shmem_size(), &found);
	if (found)
		return;
	memset(subscriptions, 0, goflow_subscription_shmem_size());
	subscriptions->lock = &GetNamedLWLockTranche(GOFLOW_CHANNEL_TRANCHE)->lock;
	pg_atomic_init_u32(&subscriptions->active, 0);
	pg_atomic_init_u32(&subscriptions->version, 1);
	for (int i = 0; i < goflow_max_subscriptions; i++)
	{
		pg_atomic_init_u64(&subscriptions->slots[i].sent, 0);
		pg_atomic_init_u64(&subscriptions->slots[i].dropped, 0);
	}
}

/* ---- those of this session ---- */

/*
 * A slot that this session has.  The subtransactions are those that opened and
 * that closed it; InvalidSubTransactionId: committed, and not at all.
 */
typedef struct Own
{
	int			slot;
	SubTransactionId opened;
	SubTransactionId closed;
} Own;

static Own *own = NULL;
static int	nown = 0;

static void
set_active_locked(GoflowSubscription *sub, bool active)
{
	if (sub->is_active == active)
		return;
	sub->is_active = active;
	if (active)
		pg_atomic_fetch_add_u32(&subscriptions->active, 1);
	else
		pg_atomic_fetch_sub_u32(&subscriptions->active, 1);
	pg_atomic_fetch_add_u32(&subscriptions->version, 1);
}

static void
free_slot(int number)
{
	LWLockAcquire(subscriptions->lock, LW_EXCLUSIVE);
	set_active_locked(&subscriptions->slots[number].sub, false);
	memset(&subscriptions->slots[number].sub, 0, sizeof(GoflowSubscription));
	while (subscriptions->used > 0 && subscriptions->slots[subscriptions->used - 1].sub.pid == 0)
		subscriptions->used--;
	LWLockRelease(subscriptions->lock);
}

static void
activate(int number)
{
	GoflowSubscription *sub = &subscriptions->slots[number].sub;

	LWLockAcquire(subscriptions->lock, LW_EXCLUSIVE);
	/* what was meant for the last one who had the slot is not for this one */
	sub->first_ticket = goflow_message_position();
	set_active_locked(sub, true);
	LWLockRelease(subscriptions->lock);
}

/* After the commit record, or as the transaction aborts: no errors here. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	bool		commit = event == XACT_EVENT_COMMIT;
	int			kept = 0;

	if (nown == 0 || !(commit || event == XACT_EVENT_ABORT))
		return;
	for (int i = 0; i < nown; i++)
	{
		bool		is_new = own[i].opened != InvalidSubTransactionId;
		bool		is_closed = own[i].closed != InvalidSubTransactionId;

		if (commit ? is_closed : is_new)
		{
			free_slot(own[i].slot);
			continue;
		}
		if (is_new)
			activate(own[i].slot);
		own[i].opened = own[i].closed = InvalidSubTransactionId;
		own[kept++] = own[i];
	}
	nown = kept;
}

static void
at_end_of_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
						 void *arg)
{
	int			kept = 0;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	for (int i = 0; i < nown; i++)
	{
		if (event == SUBXACT_EVENT_ABORT_SUB && own[i].opened == subid)
		{
			free_slot(own[i].slot);
			continue;
		}
		if (own[i].opened == subid)
			own[i].opened = parent;
		if (own[i].closed == subid)
			own[i].closed = event == SUBXACT_EVENT_COMMIT_SUB ? parent : InvalidSubTransactionId;
		own[kept++] = own[i];
	}
	nown = kept;
}

static void
at_exit(int code, Datum arg)
{
	while (nown > 0)
		free_slot(own[--nown].slot);
}

/* Once in a backend's life. */
static void
prepare_session(void)
{
	if (own)
		return;
	before_shmem_exit(at_exit, (Datum) 0);
	RegisterXactCallback(at_end_of_transaction, NULL);
	RegisterSubXactCallback(at_end_of_subtransaction, NULL);
	own = MemoryContextAlloc(TopMemoryContext, Max(goflow_max_subscriptions, 1) * sizeof(Own));
}

static void
make_channel(char channel[NAMEDATALEN])
{
	uint8		random[20];
	int			length = snprintf(channel, NAMEDATALEN, "%s_private_", GOFLOW_PUBLIC_CHANNEL);

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	for (int i = 0; i < sizeof(random); i++)
		length += snprintf(channel + length, NAMEDATALEN - length, "%02x", random[i]);
}

/*
 * Takes a slot for the current user with the filter of *wanted, and listens to
 * its channel, which becomes wanted->channel; effective at commit.
 */
void
goflow_subscription_open(GoflowSubscription *wanted)
{
	Slot	   *slot = NULL;
	int			number;

	prepare_session();
	make_channel(wanted->channel);
	wanted->pid = MyProcPid;
	wanted->database = MyDatabaseId;
	wanted->role = GetUserId();
	wanted->created_at = GetCurrentTimestamp();
	wanted->is_active = false;

	LWLockAcquire(subscriptions->lock, LW_EXCLUSIVE);
	for (number = 0; number < goflow_max_subscriptions && slot == NULL; number++)
		if (subscriptions->slots[number].sub.pid == 0)
			slot = &subscriptions->slots[number];
	if (slot)
	{
		slot->sub = *wanted;
		pg_atomic_write_u64(&slot->sent, 0);
		pg_atomic_write_u64(&slot->dropped, 0);
		subscriptions->used = Max(subscriptions->used, number);
		own[nown].slot = number - 1;
		own[nown].opened = GetCurrentSubTransactionId();
		own[nown++].closed = InvalidSubTransactionId;
	}
	LWLockRelease(subscriptions->lock);
	if (slot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_LIMIT_EXCEEDED),
				 errmsg("there are too many subscriptions"),
				 errdetail("goflow.max_subscriptions is %d, in the whole server.",
						   goflow_max_subscriptions),
				 errhint("Raise goflow.max_subscriptions and restart the server, or end some: see goflow.subscriptions.")));
	Async_Listen(wanted->channel);
}

/* Ends one of this session's, or all with NULL, at commit.  False: there is none. */
bool
goflow_subscription_close(const char *channel)
{
	bool		found = false;

	for (int i = 0; i < nown; i++)
		if (own[i].closed == InvalidSubTransactionId &&
			(channel == NULL ||
			 strcmp(subscriptions->slots[own[i].slot].sub.channel, channel) == 0))
		{
			own[i].closed = GetCurrentSubTransactionId();
			found = true;
		}
	return found;
}

/* ---- for those who drive executions ---- */

/* The active ones of this database that may see what runs as one role. */
typedef struct Known
{
	int			slot;
	GoflowSubscription sub;
} Known;

static MemoryContext known_context = NULL;
static Known *known = NULL;
static int	nknown = 0;
static Known *matched[GOFLOW_MAX_SUBSCRIPTIONS];
static int	nmatched = 0;

/* What they have missed in the present transaction, by slot; and whose the slot was. */
static int	missed[GOFLOW_MAX_SUBSCRIPTIONS];
static TimestampTz missed_by[GOFLOW_MAX_SUBSCRIPTIONS];

static uint32 known_version = 0;	/* 0: none */
static Oid	known_role = InvalidOid;

static void
forget_known(Datum arg, int cacheid, uint32 hashvalue)
{
	known_version = 0;
}

static void
learn(uint32 version, Oid run_as)
{
	Known	   *all;
	int			n = 0;

	if (known_context == NULL)
	{
		known_context = AllocSetContextCreate(TopMemoryContext, "goflow subscriptions",
											  ALLOCSET_SMALL_SIZES);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_known, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, forget_known, (Datum) 0);
	}
	known_version = 0;
	nknown = nmatched = 0;
	MemoryContextReset(known_context);
	all = MemoryContextAlloc(known_context, Max(goflow_max_subscriptions, 1) * sizeof(Known));
	LWLockAcquire(subscriptions->lock, LW_SHARED);
	for (int i = 0; i < subscriptions->used; i++)
	{
		const GoflowSubscription *sub = &subscriptions->slots[i].sub;

		if (sub->pid == 0 || !sub->is_active || sub->database != MyDatabaseId)
			continue;
		all[n].slot = i;
		all[n++].sub = *sub;
		if (missed_by[i] != sub->created_at)
			missed[i] = 0;
		missed_by[i] = sub->created_at;
	}
	LWLockRelease(subscriptions->lock);

	known = all;
	for (int i = 0; i < n; i++)
		if (has_privs_of_role(all[i].sub.role, run_as))
			known[nknown++] = all[i];
	known_version = version;
	known_role = run_as;
}

static bool
is_about(const GoflowSubscription *sub, const pg_uuid_t *execution_id, const char *workflow)
{
	return (!sub->has_execution || memcmp(&sub->execution_id, execution_id, UUID_LEN) == 0) &&
		(sub->workflow[0] == '\0' || strcmp(sub->workflow, workflow) == 0);
}

/*
 * The types of events of an execution that somebody subscribes to, as
 * GOFLOW_EVENT_BIT()s.  In a transaction: it may look at memberships.
 */
uint32
goflow_subscription_watched(const pg_uuid_t *execution_id, const char *workflow, Oid run_as)
{
	uint32		types = 0;
	uint32		version;

	if (pg_atomic_read_u32(&subscriptions->active) == 0)
		return 0;
	version = pg_atomic_read_u32(&subscriptions->version);
	if (version != known_version || run_as != known_role)
		learn(version, run_as);
	for (int i = 0; i < nknown; i++)
		if (is_about(&known[i].sub, execution_id, workflow))
			types |= known[i].sub.types;
	return types;
}

/* nodes is a list of names, each with its zero byte, that ends with an empty one. */
static bool
wants_node(const GoflowSubscription *sub, const char *node)
{
	const char *name = sub->nodes;

	if (name[0] == '\0')
		return true;
	for (; node && name[0] != '\0'; name += strlen(name) + 1)
		if (strcmp(name, node) == 0)
			return true;
	return false;
}

/* Those among them that are about one execution, until the next call. */
void
goflow_subscription_match(const pg_uuid_t *execution_id, const char *workflow)
{
	nmatched = 0;
	if (pg_atomic_read_u32(&subscriptions->active) == 0)
		return;
	for (int i = 0; i < nknown; i++)
		if (is_about(&known[i].sub, execution_id, workflow))
			matched[nmatched++] = &known[i];
}

/*
 * Sets the targets of a message to those that match its execution and want its
 * event.  node: its path, or NULL.  Returns how many there are.
 */
int
goflow_subscription_targets(GoflowMessage *message, const char *node)
{
	uint32		bit = GOFLOW_EVENT_BIT(message->event.type);
	int			n = 0;

	memset(message->targets, 0, sizeof(message->targets));
	for (int i = 0; i < nmatched; i++)
		if ((matched[i]->sub.types & bit) && wants_node(&matched[i]->sub, node))
		{
			message->targets[matched[i]->slot / 64] |= UINT64CONST(1) << (matched[i]->slot % 64);
			n++;
		}
	return n;
}

/* Adds to what those that match have missed (1), or takes it back (-1). */
void
goflow_subscription_tally(const GoflowMessage *message, int change)
{
	for (int word = 0; word < lengthof(message->targets); word++)
		for (uint64 left = message->targets[word]; left != 0; left &= left - 1)
			missed[word * 64 + pg_rightmost_one_pos64(left)] += change;
}

/* Counts it as dropped, or forgets it: nothing of it happened. */
void
goflow_subscription_end_tally(bool committed)
{
	for (int i = 0; i < lengthof(missed); i++)
	{
		/* unless it has ended, and the slot is another one's */
		if (committed && missed[i] > 0 && subscriptions->slots[i].sub.created_at == missed_by[i])
			goflow_subscription_count(i, 0, missed[i]);
		missed[i] = 0;
	}
}

/* ---- for those who send or drop ---- */

int
goflow_subscription_slots(void)
{
	return goflow_max_subscriptions;
}

/* Another one if any has begun or ended; never 0. */
uint32
goflow_subscription_version(void)
{
	return pg_atomic_read_u32(&subscriptions->version);
}

/* How many there are, in all databases. */
int
goflow_subscription_active(void)
{
	return pg_atomic_read_u32(&subscriptions->active);
}

/* A copy of a slot, and its counters; false: it is free, or not active yet. */
bool
goflow_subscription_read(int slot, GoflowSubscription *sub, uint64 *sent, uint64 *dropped)
{
	bool		found;

	LWLockAcquire(subscriptions->lock, LW_SHARED);
	*sub = subscriptions->slots[slot].sub;
	found = sub->pid != 0 && sub->is_active;
	*sent = pg_atomic_read_u64(&subscriptions->slots[slot].sent);
	*dropped = pg_atomic_read_u64(&subscriptions->slots[slot].dropped);
	LWLockRelease(subscriptions->lock);
	return found;
}

void
goflow_subscription_count(int slot, uint64 sent, uint64 dropped)
{
	if (sent > 0)
		pg_atomic_fetch_add_u64(&subscriptions->slots[slot].sent, sent);
	if (dropped > 0)
		pg_atomic_fetch_add_u64(&subscriptions->slots[slot].dropped, dropped);
}

/* A message is lost for all whom it was for. */
void
goflow_subscription_count_dropped(const GoflowMessage *message)
{
	for (int word = 0; word < lengthof(message->targets); word++)
		for (uint64 left = message->targets[word]; left != 0; left &= left - 1)
		{
			int			slot = word * 64 + pg_rightmost_one_pos64(left);

			if (message->ticket >= subscriptions->slots[slot].sub.first_ticket)
				goflow_subscription_count(slot, 0, 1);
		}
}
