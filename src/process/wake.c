/*
 * wake.c
 *		What a transaction will push or wake when it commits.
 *
 * Nobody may be woken for rows that he cannot see yet, and nobody at all for
 * rows that are rolled back.  So a transaction only notes what it has to tell,
 * with the subtransaction that said it:
 *
 *	-	an aborted subtransaction's notes are dropped, a committed one's become
 *		its parent's.  Subtransaction ids only grow, and a parent notes nothing
 *		while a child is open, so these are always the last ones of the list;
 *	-	XACT_EVENT_COMMIT arms the list: the commit record is written;
 *	-	the resource-release callback after locks sends it.  By then the
 *		transaction is out of the proc array and has no locks, so whoever is
 *		woken finds the rows visible and nothing to wait for.  Where early.c has
 *		put it off, the commit record is flushed after that.
 *
 * An error after the commit record is a PANIC: sending allocates nothing and
 * raises nothing.  If there is no room in shared memory the database's rescan
 * mark stands in.
 *
 * PREPARE TRANSACTION drops the notes; the utility hook asks for a rescan at
 * COMMIT PREPARED.  Parallel workers commit nothing of their own.
 *
 * The list lives in a context of its own, kept from one transaction to the
 * next unless it became large.
 */
#include "postgres.h"

#include "process/shared.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "live/live.h"
#include "store/store.h"

/* Notes that one acquisition of the lock sends. */
#define SEND_CHUNK 256

/* A list longer than that is freed at the end of its transaction. */
#define KEEP_NOTES 1024

typedef enum NoteKind
{
	NOTE_EXECUTION,
	NOTE_PRIORITY,
	NOTE_TIMER,
	NOTE_CANCEL,
	NOTE_DATABASE,
	NOTE_LISTEN,
	NOTE_UNLISTEN,
	NOTE_UNLISTEN_ALL
} NoteKind;

typedef struct Note
{
	NoteKind	kind;
	SubTransactionId subid;
	pg_uuid_t	execution_id;
	GoflowChannelKey channel;
	Oid			role;
	int			priority;
	TimestampTz due_at;
} Note;

static MemoryContext context = NULL;
static Note *notes = NULL;
static int	nnotes = 0;
static int	capacity = 0;
static bool armed = false;

static void
drop_notes(void)
{
	nnotes = 0;
	armed = false;
	if (capacity > KEEP_NOTES)
	{
		pfree(notes);
		notes = NULL;
		capacity = 0;
	}
}

static Note *
add_note(NoteKind kind)
{
	Note	   *note;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "goflow wake", ALLOCSET_SMALL_SIZES);
	if (notes == NULL)
	{
		notes = MemoryContextAlloc(context, 64 * sizeof(Note));
		capacity = 64;
	}
	else if (nnotes == capacity)
	{
		notes = repalloc_huge(notes, (Size) capacity * 2 * sizeof(Note));
		capacity *= 2;
	}
	note = &notes[nnotes++];
	memset(note, 0, sizeof(Note));
	note->kind = kind;
	note->subid = GetCurrentSubTransactionId();
	return note;
}

/* ---- sending ---- */

static void
send_note(const Note *note, TimestampTz now)
{
	GoflowDatabase *db;

	switch (note->kind)
	{
		case NOTE_EXECUTION:
			goflow_queue_wake_locked(MyDatabaseId, &note->execution_id, note->role,
									 note->priority, now, 0);
			break;
		case NOTE_PRIORITY:
			goflow_queue_set_priority_locked(MyDatabaseId, &note->execution_id, note->role,
											 note->priority, now);
			break;
		case NOTE_TIMER:
			db = goflow_database_get_locked(MyDatabaseId);
			if (db)
			{
				if (db->presence == GOFLOW_PRESENCE_ABSENT)
					db->presence = GOFLOW_PRESENCE_UNKNOWN;
				goflow_database_lower_due_locked(db, note->due_at);
			}
			break;
		case NOTE_DATABASE:
			db = goflow_database_get_locked(MyDatabaseId);
			if (db)
			{
				db->presence = GOFLOW_PRESENCE_PRESENT;
				goflow_database_rescan_locked(db, NULL);
			}
			break;
		default:
			break;
	}
}

/* Notes that have locks of their own. */
static void
send_unlocked(const Note *note)
{
	switch (note->kind)
	{
		case NOTE_CANCEL:
			goflow_slot_cancel_execution(MyDatabaseId, &note->execution_id);
			break;
		case NOTE_LISTEN:
			goflow_channel_listen(&note->channel);
			break;
		case NOTE_UNLISTEN:
			goflow_channel_unlisten(&note->channel);
			break;
		case NOTE_UNLISTEN_ALL:
			goflow_channel_unlisten(NULL);
			break;
		default:
			break;
	}
}

static bool
wants_lock(const Note *note)
{
	return note->kind == NOTE_EXECUTION || note->kind == NOTE_PRIORITY ||
		note->kind == NOTE_TIMER || note->kind == NOTE_DATABASE;
}

static void
send_notes(void)
{
	TimestampTz now = GetCurrentTimestamp();
	int			i = 0;

	while (i < nnotes)
	{
		int			end = Min(i + SEND_CHUNK, nnotes);

		if (!wants_lock(&notes[i]))
		{
			send_unlocked(&notes[i++]);
			continue;
		}
		goflow_lock(LW_EXCLUSIVE);
		for (; i < end && wants_lock(&notes[i]); i++)
			send_note(&notes[i], now);
		goflow_unlock();
	}
}

/* ---- callbacks ---- */

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			goflow_early_before_commit();
			break;
		case XACT_EVENT_COMMIT:
			armed = nnotes > 0;
			break;
		case XACT_EVENT_PRE_PREPARE:
			goflow_utility_before_prepare();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			drop_notes();
			goflow_early_forget();
			goflow_utility_end_transaction(false);
			break;
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			drop_notes();
			break;
		default:
			break;
	}
}

static void
at_end_of_subtransaction(SubXactEvent event, SubTransactionId subid,
						 SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (nnotes > 0 && notes[nnotes - 1].subid >= subid)
			nnotes--;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = nnotes - 1; i >= 0 && notes[i].subid >= subid; i--)
			notes[i].subid = parent;
	}
}

static void
at_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_commit || !is_top_level)
		return;
	/* not before: who looks at the database then must see what was done to it */
	goflow_utility_end_transaction(true);
	if (armed)
	{
		armed = false;
		send_notes();
		drop_notes();
	}
	goflow_early_flush();
}

void
goflow_wake_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
	RegisterSubXactCallback(at_end_of_subtransaction, NULL);
	RegisterResourceReleaseCallback(at_release, NULL);
}

/* ---- what others call ---- */

void
goflow_wake_execution(const pg_uuid_t *execution_id, Oid role, int priority)
{
	Note	   *note;

	/* one that was just noted by the same subtransaction */
	if (nnotes > 0)
	{
		note = &notes[nnotes - 1];
		if (note->kind == NOTE_EXECUTION && note->subid == GetCurrentSubTransactionId() &&
			goflow_uuid_equal(&note->execution_id, execution_id))
		{
			note->priority = Max(note->priority, priority);
			return;
		}
	}
	note = add_note(NOTE_EXECUTION);
	note->execution_id = *execution_id;
	note->role = role;
	note->priority = priority;
}

void
goflow_wake_parent(const pg_uuid_t *parent)
{
	GoflowExecutionRow *row = parent ? goflow_execution_read(parent) : NULL;

	/* one whose role was dropped has an end of its own (scheduler.c) */
	if (row && SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(row->run_as)))
		goflow_wake_execution(&row->id, row->run_as, row->priority);
}

void
goflow_wake_priority(const pg_uuid_t *execution_id, Oid role, int priority)
{
	Note	   *note = add_note(NOTE_PRIORITY);

	note->execution_id = *execution_id;
	note->role = role;
	note->priority = priority;
}

/* Of several timers of a subtransaction only the first one matters. */
void
goflow_wake_timer(TimestampTz due_at)
{
	Note	   *note;

	if (nnotes > 0)
	{
		note = &notes[nnotes - 1];
		if (note->kind == NOTE_TIMER && note->subid == GetCurrentSubTransactionId())
		{
			note->due_at = Min(note->due_at, due_at);
			return;
		}
	}
	note = add_note(NOTE_TIMER);
	note->due_at = due_at;
}

void
goflow_wake_cancel(const pg_uuid_t *execution_id)
{
	add_note(NOTE_CANCEL)->execution_id = *execution_id;
}

void
goflow_wake_database(void)
{
	(void) add_note(NOTE_DATABASE);
}

/* LISTEN or UNLISTEN of a public channel. */
void
goflow_wake_channel(const GoflowChannelKey *key, bool listen)
{
	add_note(listen ? NOTE_LISTEN : NOTE_UNLISTEN)->channel = *key;
}

void
goflow_wake_no_channels(void)
{
	(void) add_note(NOTE_UNLISTEN_ALL);
}
