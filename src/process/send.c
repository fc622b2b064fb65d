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
#include "utils/acl.h"
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

/* The server takes payloads that are shorter. */
#define MAX_PAYLOAD 8000

/* How long it waits for the lock, and how long it is silent after a failure. */
#define LOCK_TIMEOUT "1s"
#define SILENCE_MS 1000

/* What the present transaction does, to be counted at its end. */
typedef struct Sending
{
	uint64		sent;			/* messages */
	uint64		unsent;
	XLogRecPtr	lsn;			/* of the last commit that it tells of */
	uint64		sent_to[GOFLOW_MAX_SUBSCRIPTIONS];
	uint64		unsent_to[GOFLOW_MAX_SUBSCRIPTIONS];
	GoflowExecutionRow *row;	/* of the last execution, or NULL */
} Sending;

static TimestampTz silent_until = 0;

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
		if (payload.len < MAX_PAYLOAD || by_length == NIL)
			return payload.data;
		cut = lappend(cut, linitial(by_length));
		by_length = list_delete_first(by_length);
	}
}

/* What can't be read (a type has gone, say) must not keep the scheduler from its work. */
static char *
read_payload(const GoflowMessage *message, const GoflowExecutionRow *row, bool variables)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile payload = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		GoflowDefinition *definition = goflow_workflow_load(message->workflow_id);
		const GoflowEvent *event = &message->event;

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
		payload = head.data;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return payload;
}

/* ---- sending ---- */

static GoflowExecutionRow *
execution_of(Sending *page, const GoflowMessage *message)
{
	/* its end is news of the row itself */
	if (page->row == NULL || message->event.type <= GOFLOW_EVENT_EXECUTION_CANCELLED ||
		!goflow_uuid_equal(&page->row->id, &message->execution_id))
		page->row = goflow_execution_read(&message->execution_id);
	return page->row;
}

static void
send_to_subscriptions(Sending *page, const GoflowMessage *message, bool has_room)
{
	char	   *payloads[2] = {NULL, NULL}; /* without and with variables */

	for (int slot = 0; slot < goflow_subscription_slots(); slot++)
	{
		GoflowSubscription sub;
		uint64		sent;
		uint64		dropped;
		GoflowExecutionRow *row;

		if ((message->targets[slot / 64] & (UINT64CONST(1) << (slot % 64))) == 0 ||
			!goflow_subscription_read(slot, &sub, &sent, &dropped) ||
			sub.database != MyDatabaseId || message->ticket < sub.first_ticket)
			continue;
		if (!has_room)
		{
			page->unsent_to[slot]++;
			continue;
		}
		row = execution_of(page, message);
		if (row == NULL || !has_privs_of_role(sub.role, row->run_as))
			continue;
		if (payloads[sub.variables] == NULL)
			payloads[sub.variables] = read_payload(message, row, sub.variables);
		Async_Notify(sub.channel, payloads[sub.variables]);
		page->sent_to[slot]++;
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

static void
count(const Sending *page, bool committed)
{
	for (int slot = 0; slot < goflow_subscription_slots(); slot++)
		goflow_subscription_count(slot, committed ? page->sent_to[slot] : 0,
								  page->unsent_to[slot] + (committed ? 0 : page->sent_to[slot]));
	goflow_lock(LW_EXCLUSIVE);
	goflow_control->messages_sent += committed ? page->sent : 0;
	goflow_control->messages_unsent += page->unsent + (committed ? 0 : page->sent);
	goflow_unlock();
}

/* In a transaction: is there anything to be gained by sending now? */
bool
goflow_send_has_room(void)
{
	return GetCurrentTimestamp() >= silent_until &&
		DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) < goflow_notification_queue_limit;
}

/* One transaction of messages, in which an error may come at any time; true: there are more. */
static bool
send_page(Sending *page)
{
	GoflowDatabase *db = goflow_my_database;
	GoflowMessage message;
	bool		more = true;
	bool		has_room;

	goflow_scheduler_begin("send messages");
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	has_room = goflow_send_has_room();
	for (int i = 0; i < PAGE && more; i++)
	{
		more = goflow_message_take(&db->ring_position, MyDatabaseId, &message);
		if (!more)
			break;
		page->sent += has_room;
		page->unsent += !has_room;
		page->lsn = Max(page->lsn, message.lsn);
		if (has_room)
			send_to_channels(&message);
		send_to_subscriptions(page, &message, has_room);
	}
	if (page->sent > 0)
		XLogFlush(page->lsn);
	goflow_scheduler_end();
	return more;
}

/*
 * Sends a page of what is in the ring for this database.  True if it did
 * something: then there may be more, for another call, so that under load the
 * scheduler's other work has its turn, too.
 */
bool
goflow_send_messages(void)
{
	static Sending page;
	MemoryContext context = CurrentMemoryContext;
	volatile bool more = true;

	if (pg_atomic_exchange_u32(&goflow_my_database->ring_pending, 0) == 0)
		return false;
	memset(&page, 0, sizeof(page));
	PG_TRY();
	{
		more = send_page(&page);
		count(&page, true);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		pgstat_report_activity(STATE_IDLE, NULL);
		count(&page, false);
		silent_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SILENCE_MS);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (more)
		pg_atomic_write_u32(&goflow_my_database->ring_pending, 1);
	return true;
}
