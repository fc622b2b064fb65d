/*
 * send.c
 *		The scheduler's sending of messages.
 *
 * It takes the messages of its database from the ring and sends them with
 * NOTIFY, in short transactions of its own that wait for no disk, so that no
 * workflow ever pays for who listens.  Nothing here is certain: if the server's
 * notification queue is used beyond goflow.notification_queue_limit, or if a
 * transaction fails (the lock that all who notify need is not to be had, the
 * queue is full), the messages are dropped, and counted for those whom they
 * were for.
 *
 * A message holds ids and numbers.  On public channels that is all there is.
 * For a subscription its data is read from the tables, if the role that
 * subscribed may see the execution (which has been looked at before, but much
 * may have changed), with a definition or data that can't be read an event
 * goes without.
 *
 * What a message tells of may be known to the server's memory only: it is
 * flushed first, lest a crash take back what somebody has been told.
 */
#include "postgres.h"

#include "process/shared.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "engine/engine.h"

/* Messages that one transaction sends. */
#define PAGE 500

/*
 * After a page of so many messages, and when there are more than there may be,
 * the next page waits, unless this one is full: the longer the more who listen,
 * since each of them is woken.
 */
#define BUSY_PAGE 30
#define BUSY_PAUSE_MS (Min(10 + 4 * goflow_listeners(), 100))

/* The server takes payloads that are shorter. */
#define MAX_PAYLOAD 8000

/* How long it waits for the lock, and how long it is silent after a failure. */
#define LOCK_TIMEOUT "200ms"
#define SILENCE_MS 1000

/*
 * What the present transaction does, to be counted at its end.  Whatever was
 * taken from the ring is unsent until it has been notified.
 */
typedef struct Sending
{
	bool		is_open;		/* not counted yet */
	uint64		sent;			/* messages */
	uint64		unsent;
	XLogRecPtr	lsn;			/* of the last commit that it tells of */
	uint64		sent_to[GOFLOW_MAX_SUBSCRIPTIONS];
	uint64		unsent_to[GOFLOW_MAX_SUBSCRIPTIONS];
} Sending;

static Sending page;
static TimestampTz silent_until = 0;
static TimestampTz paused_until = 0;

/* ---- payloads ---- */

static void
append_time(StringInfo payload, const char *name, TimestampTz at)
{
	char		text[MAXDATELEN + 1];

	JsonEncodeDateTime(text, TimestampTzGetDatum(at), TIMESTAMPTZOID, NULL);
	appendStringInfo(payload, "\"%s\":\"%s\"", name, text);
}

static char *
id_of(const GoflowMessage *message)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&message->execution_id)));
}

/* Ids, states and numbers only: anybody may listen. */
static char *
public_payload(const GoflowMessage *message)
{
	const GoflowEvent *event = &message->event;
	StringInfoData payload;

	initStringInfo(&payload);
	appendStringInfo(&payload, "{\"execution\":\"%s\",\"event\":\"%s\",\"state\":\"%s\",\"seq\":%d,",
					 id_of(message), goflow_event_names[event->type], goflow_state_name(event->state),
					 event->number);
	if (event->type <= GOFLOW_EVENT_EXECUTION_CANCELLED ||
		event->type == GOFLOW_EVENT_PROGRESS_UPDATE)
		appendStringInfo(&payload,
						 "\"total\":%d,\"completed\":%d,\"failed\":%d,\"skipped\":%d,\"percent\":%d.%02d,",
						 event->total, event->completed, event->failed, event->skipped,
						 event->percent / 100, event->percent % 100);
	else
		appendStringInfo(&payload, "\"frame\":%d,", event->frame);
	if (event->attempt > 0)
		appendStringInfo(&payload, "\"attempt\":%d,", event->attempt);
	append_time(&payload, "at", event->at);
	appendStringInfoChar(&payload, '}');
	return payload.data;
}

static void
append_head(StringInfo payload, const GoflowMessage *message, const char *node)
{
	const GoflowEvent *event = &message->event;

	appendStringInfo(payload, "{\"seq\":%d,\"event\":\"%s\",", event->number,
					 goflow_event_names[event->type]);
	append_time(payload, "at", event->at);
	appendStringInfo(payload, ",\"execution\":\"%s\",\"workflow\":", id_of(message));
	escape_json(payload, message->workflow);
	if (node)
	{
		appendStringInfoString(payload, ",\"node\":");
		escape_json(payload, node);
		appendStringInfo(payload, ",\"frame\":%d", event->frame);
	}
	appendStringInfo(payload, ",\"state\":\"%s\"", goflow_state_name(event->state));
}

static int
by_size(const ListCell *a, const ListCell *b)
{
	Size		left = strlen(((GoflowMember *) lfirst(a))->json);
	Size		right = strlen(((GoflowMember *) lfirst(b))->json);

	return left > right ? -1 : left < right;
}

/* With as many members as there is room for: the largest are left out, and named in "cut". */
static char *
private_payload(const GoflowMessage *message, const char *node, List *members)
{
	List	   *by_length = list_copy(members);
	List	   *cut = NIL;

	list_sort(by_length, by_size);
	for (;;)
	{
		StringInfoData payload;
		char	   *text;
		ListCell   *lc;

		initStringInfo(&payload);
		append_head(&payload, message, node);
		appendStringInfoString(&payload, ",\"data\":");
		goflow_members_append(&payload, members, cut);
		foreach(lc, cut)
		{
			appendStringInfoString(&payload, foreach_current_index(lc) == 0 ? ",\"cut\":[" : ",");
			escape_json(&payload, ((GoflowMember *) lfirst(lc))->name);
		}
		appendStringInfoString(&payload, cut ? "]}" : "}");
		/* ASCII is never shorter */
		text = payload.len < MAX_PAYLOAD ? goflow_json_to_ascii(payload.data) : payload.data;
		if (strlen(text) < MAX_PAYLOAD || by_length == NIL)
			return text;
		cut = lappend(cut, linitial(by_length));
		by_length = list_delete_first(by_length);
	}
}

/* The execution's row, with as much of it as the event tells; NULL: it is gone. */
static GoflowExecutionRow *
execution_of(const GoflowMessage *message, bool variables)
{
	const GoflowEvent *event = &message->event;
	bool		tells_row = (GOFLOW_EVENT_BIT(event->type) & GOFLOW_EVENTS_LIFECYCLE) != 0 &&
		message->has_values;
	bool		tells_variables = variables || event->type == GOFLOW_EVENT_VARIABLE_CHANGED;
	GoflowExecutionRow *stored = tells_row || tells_variables ?
		goflow_execution_read(&message->execution_id) : NULL;
	GoflowExecutionRow *row;

	if (tells_row || (tells_variables && stored == NULL))
		return stored;
	row = palloc0(sizeof(GoflowExecutionRow));
	row->id = message->execution_id;
	row->state = event->state;
	row->input = goflow_texts_pack(NULL, NULL, 0);
	row->started_at = message->started_at;
	row->finished_at = event->at;
	row->last_seq = event->number;
	if (tells_variables)
	{
		row->created_at = stored->created_at;	/* what the moments of these count from */
		row->assigned = stored->assigned;
	}
	return row;
}

/* What can't be read (a type has gone, say) must not keep the scheduler from its work. */
static char *
read_payload(const GoflowMessage *message, bool variables)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile payload = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		GoflowDefinition *definition = goflow_workflow_load(message->workflow_id);
		GoflowExecutionRow *row = execution_of(message, variables);
		const GoflowEvent *event = &message->event;

		if (row == NULL)
			elog(ERROR, "the execution is gone");
		payload = private_payload(message,
								  event->node >= 0 ? definition->nodes[event->node]->path : NULL,
								  goflow_event_data(row, definition, event, variables));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		StringInfoData head;

		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		initStringInfo(&head);
		append_head(&head, message, NULL);
		appendStringInfoString(&head, ",\"data\":null}");
		payload = goflow_json_to_ascii(head.data);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return payload;
}

/* ---- subscriptions ---- */

/* A copy of those of this database that are active, made anew when they change. */
static GoflowSubscription *
subscription_of(int slot)
{
	static GoflowSubscription *subscriptions = NULL;
	static bool *is_active;
	static uint32 version = 0;
	uint32		now = goflow_subscription_version();

	if (version != now)
	{
		int			n = Max(goflow_subscription_slots(), 1);
		uint64		sent;
		uint64		dropped;

		if (subscriptions == NULL)
		{
			is_active = MemoryContextAlloc(TopMemoryContext, n * sizeof(bool));
			subscriptions = MemoryContextAlloc(TopMemoryContext, n * sizeof(GoflowSubscription));
		}
		for (int i = 0; i < goflow_subscription_slots(); i++)
			is_active[i] = goflow_subscription_read(i, &subscriptions[i], &sent, &dropped) &&
				subscriptions[i].database == MyDatabaseId;
		version = now;
	}
	return is_active[slot] ? &subscriptions[slot] : NULL;
}

/* Is the message for the one that has the slot now?  It may be for an older one. */
static GoflowSubscription *
target_of(const GoflowMessage *message, int slot)
{
	GoflowSubscription *sub = subscription_of(slot);

	return sub && message->ticket >= sub->first_ticket ? sub : NULL;
}

#define FOREACH_TARGET(slot, message) \
	for (int word_ = 0; word_ < lengthof((message)->targets); word_++) \
		for (uint64 left_ = (message)->targets[word_]; \
			 left_ != 0 && (slot = word_ * 64 + pg_rightmost_one_pos64(left_), true); \
			 left_ &= left_ - 1)

/* ---- sending ---- */

static void
send_to_subscriptions(const GoflowMessage *message)
{
	char	   *payloads[2] = {NULL, NULL}; /* without and with variables */
	int			slot;

	FOREACH_TARGET(slot, message)
	{
		GoflowSubscription *sub = target_of(message, slot);

		if (sub == NULL)
			continue;
		page.unsent_to[slot]--;
		if (!has_privs_of_role(sub->role, message->run_as))
			continue;
		if (payloads[sub->variables] == NULL)
			payloads[sub->variables] = read_payload(message, sub->variables);
		Async_Notify(sub->channel, payloads[sub->variables]);
		page.sent_to[slot]++;
	}
}

static void
send_to_channels(const GoflowMessage *message)
{
	uint32		bit = GOFLOW_EVENT_BIT(message->event.type);
	char		channel[NAMEDATALEN];
	char	   *payload = NULL;

	if ((goflow_channel_watched(&message->execution_id, message->workflow) & bit) == 0)
		return;
	payload = public_payload(message);
	if ((bit & GOFLOW_EVENTS_LIFECYCLE) && goflow_channel_wanted(goflow_channel_of_all()))
		Async_Notify(GOFLOW_PUBLIC_CHANNEL, payload);
	if ((bit & (GOFLOW_EVENTS_LIFECYCLE | GOFLOW_EVENT_BIT(GOFLOW_EVENT_PROGRESS_UPDATE))) &&
		goflow_channel_wanted(goflow_channel_of_workflow(message->workflow)))
	{
		goflow_channel_workflow_name(message->workflow, channel);
		Async_Notify(channel, payload);
	}
	if (goflow_channel_wanted(goflow_channel_of_execution(&message->execution_id)))
	{
		goflow_channel_execution_name(&message->execution_id, channel);
		Async_Notify(channel, payload);
	}
}

/* Once per page. */
static void
count_page(bool committed)
{
	if (!page.is_open)
		return;
	page.is_open = false;
	for (int slot = 0; slot < goflow_subscription_slots(); slot++)
		goflow_subscription_count(slot, committed ? page.sent_to[slot] : 0,
								  page.unsent_to[slot] + (committed ? 0 : page.sent_to[slot]));
	goflow_lock(LW_EXCLUSIVE);
	goflow_control->messages_sent += committed ? page.sent : 0;
	goflow_control->messages_unsent += page.unsent + (committed ? 0 : page.sent);
	goflow_unlock();
}

/* Who is terminated while he sends has sent nothing. */
static void
count_at_exit(int code, Datum arg)
{
	count_page(false);
}

static void
open_page(void)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(count_at_exit, (Datum) 0);
	registered = true;
	memset(&page, 0, sizeof(page));
	page.is_open = true;
}

/* In a transaction: is there anything to be gained by sending now? */
static bool
has_room(void)
{
	TimestampTz now = GetCurrentTimestamp();

	silent_until = Min(silent_until, TimestampTzPlusMilliseconds(now, SILENCE_MS));	/* the clock may be set back */
	return now >= silent_until &&
		DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) < goflow_notification_queue_limit;
}

/*
 * Ends a transaction that sends.  The lock that it has to wait for is held by
 * somebody who commits a NOTIFY, maybe for as long as his standby is away.
 */
static void
end_sending(void)
{
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	goflow_scheduler_end();
}

/* After an error in a transaction that sends. */
static void
be_silent(void)
{
	EmitErrorReport();
	FlushErrorState();
	AbortCurrentTransaction();
	pgstat_report_activity(STATE_IDLE, NULL);
	silent_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SILENCE_MS);
}

/* Takes the next message, which is unsent so far. */
static bool
take(GoflowMessage *message)
{
	int			slot;

	if (!goflow_message_take(&goflow_my_database->ring_position, MyDatabaseId, message))
		return false;
	page.unsent++;
	page.lsn = Max(page.lsn, message->lsn);
	FOREACH_TARGET(slot, message)
		if (target_of(message, slot))
			page.unsent_to[slot]++;
	return true;
}

/* One transaction of messages, in which an error may come at any time; true: there are more. */
static bool
send_page(void)
{
	GoflowMessage message;
	MemoryContext context;
	MemoryContext old;
	bool		may_send;
	int			taken = 0;

	goflow_scheduler_begin("send messages");
	may_send = has_room();
	context = AllocSetContextCreate(TopTransactionContext, "goflow message", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	for (; taken < PAGE && take(&message); taken++)
	{
		if (!may_send)
			continue;
		send_to_channels(&message);
		send_to_subscriptions(&message);
		page.unsent--;
		page.sent++;
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	if (page.sent > 0)
		XLogFlush(page.lsn);
	end_sending();
	if (taken < PAGE && (taken >= BUSY_PAGE || goflow_rate_is_short()))
		paused_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BUSY_PAUSE_MS);
	return taken == PAGE;
}

/*
 * Sends a page of what is in the ring for this database.  True if it did
 * something: then there may be more, for another call, so that under load the
 * scheduler's other work has its turn, too.
 */
bool
goflow_send_messages(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool more = true;

	if (goflow_send_due() > GetCurrentTimestamp() ||
		pg_atomic_exchange_u32(&goflow_my_database->ring_pending, 0) == 0)
		return false;
	open_page();
	PG_TRY();
	{
		more = send_page();
		count_page(true);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		be_silent();
		count_page(false);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (more)
		pg_atomic_write_u32(&goflow_my_database->ring_pending, 1);
	return true;
}

/* When the next page may be sent. */
TimestampTz
goflow_send_due(void)
{
	if (pg_atomic_read_u32(&goflow_my_database->ring_pending) == 0)
		return DT_NOEND;
	/* the clock may be set back */
	paused_until = Min(paused_until, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BUSY_PAUSE_MS));
	return paused_until;
}

/* ---- announcements ---- */

static TimestampTz
announce(TimestampTz since, TimestampTz now)
{
	TimestampTz next;
	ListCell   *lc;
	bool		may_send;

	goflow_scheduler_begin("tell of approvals and tasks");
	may_send = has_room();
	foreach(lc, goflow_waits_announce(since, now, &next))
	{
		GoflowAnnouncement *announcement = lfirst(lc);

		if (may_send && (goflow_public_events || !announcement->is_public))
			Async_Notify(announcement->channel, goflow_json_to_ascii(announcement->payload));
	}
	end_sending();
	return next;
}

/*
 * Tells those who listen of approvals and tasks that have become due since some
 * moment; returns when to look again.  If that fails, or if the server's
 * notification queue is full, it still notes what it would have told: these are
 * hints, too, and must not keep the scheduler from its work.
 */
TimestampTz
goflow_send_announcements(TimestampTz since, TimestampTz now)
{
	MemoryContext context = CurrentMemoryContext;
	volatile TimestampTz next = DT_NOBEGIN;

	PG_TRY();
	{
		next = announce(since, now);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		be_silent();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return next == DT_NOBEGIN ? announce(since, now) : next;
}
