/*
 * mark.c
 *		What each worker ran when the server crashed.
 *
 * A node that takes the server down (a bug in somebody's C function, memory
 * that the kernel does not grant and kills for) must not do so for ever: all
 * of the server's memory is new after a crash, and its execution would be
 * driven again.  So each worker leaves a mark of what it runs, in a file that
 * is mapped into memory: a mark costs a few stores and no system call, and
 * what was stored is there whatever becomes of the processes.  (When the machine
 * goes down it may not be; that is nobody's fault.)
 *
 * When one process crashes, the postmaster ends all others with SIGQUIT.  The
 * handler of a worker excuses its mark.  So a mark that is neither cleared nor
 * excused is that of a process which was killed, or which killed itself.  At the
 * next start it becomes
 *
 *	-	a strike for what the worker ran: a node in a frame of an execution, or
 *		what belongs to a frame as a whole.  A node with a strike runs in node
 *		mode, is named in the log, and fails when it has three;
 *	-	a suspicion of all its executions, if it was at a batch's commit (of a
 *		deferred trigger, say): they run their next nodes one by one, until one
 *		of them has committed.
 *
 * Strikes are counted for each execution by itself, since often it is the data
 * that is poisonous: others of the workflow are not to blame.  But if it is the
 * node, a thousand executions would crash the server three thousand times.  So
 * there is a count of executions, too, that failed in this way at a node of a
 * workflow's version with none between them that got past it: when there are
 * three, the node fails at once wherever it would run.  After a while, or when
 * somebody retries one, they are let through until the next crash; the first
 * that gets past it ends the fence.
 *
 * The file is in pg_stat_tmp, which base backups leave out: a copy of the server
 * did not crash.  If it can't be used, anonymous memory takes its place, which
 * outlives a crash but not the postmaster.
 *
 * A worker writes its own mark, without a lock.  Strikes and suspects change at
 * server start, and under goflow's lock; the counts of them are read as hints.
 */
#include "postgres.h"

#include "process/shared.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"

#define MARKS_FILE PG_STAT_TMP_DIR "/goflow_marks"
#define MARKS_MAGIC 0x676f6603

#define MAX_STRIKES 64
#define MAX_FENCES 64
#define MAX_SUSPECTS 256

/* How many executions it takes to fence a node in all others, and for how long. */
#define FENCE_EXECUTIONS 3
#define FENCE_TIME (10 * USECS_PER_MINUTE)

/* Not a node: the commit of a batch. */
#define NODE_COMMIT (-2)

typedef enum MarkState
{
	MARK_NONE,
	MARK_RUNNING,
	MARK_EXCUSED
} MarkState;

/*
 * What runs: it is the same whichever attempt it is, and whatever number its
 * frame has, for a frame that was not stored yet gets its number anew.
 */
typedef struct Place
{
	Oid			database;
	pg_uuid_t	execution_id;
	int			workflow_id;
	uint64		path;			/* of the frame */
	int			frame;			/* its number, this time */
	int			node;			/* -1: the frame itself */
	int			compensation;	/* negative: which one, else 0 */
} Place;

/* What a worker runs. */
typedef struct Mark
{
	volatile sig_atomic_t state;
	Place		place;
	int			nclaims;
	pg_uuid_t	claims[GOFLOW_MAX_CLAIMS];
} Mark;

/* How often the server crashed there. */
typedef struct Strike
{
	int			count;			/* 0: free */
	Place		place;
	TimestampTz at;				/* of the last one */
} Strike;

/* Executions in a row that failed for that at a node, whichever they are. */
typedef struct Fence
{
	int			count;			/* 0: free */
	Oid			database;
	int			workflow_id;
	int			node;
	TimestampTz at;				/* of the last crash */
} Fence;

/* An execution that may have a node which crashes the server as it commits. */
typedef struct Suspect
{
	Oid			database;		/* InvalidOid: free */
	pg_uuid_t	execution_id;
} Suspect;

typedef struct Marks
{
	uint32		magic;
	int			nslots;
	int			nstrikes;
	int			nfences;
	int			nsuspects;
	Strike		strikes[MAX_STRIKES];
	Fence		fences[MAX_FENCES];
	Suspect		suspects[MAX_SUSPECTS];
	Mark		marks[FLEXIBLE_ARRAY_MEMBER];
} Marks;

static Marks *marks = NULL;
static Mark *my_mark = NULL;

/* ---- at server start ---- */

static Size
marks_size(void)
{
	return offsetof(Marks, marks) + mul_size(goflow_control->nslots, sizeof(Mark));
}

/* Of the size that is needed, all of it on disk: a hole could be filled too late. */
static bool
fill_file(int fd)
{
	struct stat status;
	Size		size = marks_size();
	char		zeros[BLCKSZ] = {0};

	if (fstat(fd, &status) != 0)
		return false;
	if (status.st_size == (off_t) size)
		return true;
	if (ftruncate(fd, 0) != 0)
		return false;
	for (Size done = 0; done < size;)
	{
		ssize_t		written = write(fd, zeros, Min(sizeof(zeros), size - done));

		if (written <= 0)
			return false;
		done += written;
	}
	return true;
}

static void
map_file(void)
{
	int			fd = BasicOpenFile(MARKS_FILE, O_RDWR | O_CREAT | PG_BINARY);
	void	   *memory = MAP_FAILED;

	if (fd >= 0)
	{
		if (fill_file(fd))
			memory = mmap(NULL, marks_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (memory == MAP_FAILED)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not use file \"%s\": %m", MARKS_FILE),
					 errdetail("What goflow ran when the server crashed is not known after a restart of it.")));
		close(fd);
	}
	if (memory == MAP_FAILED)
		memory = mmap(NULL, marks_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map memory for goflow: %m")));
	marks = memory;
	if (marks->magic != MARKS_MAGIC || marks->nslots != goflow_control->nslots)
	{
		memset(marks, 0, marks_size());
		marks->nslots = goflow_control->nslots;
		marks->magic = MARKS_MAGIC;
	}
}

static bool
same_place(const Place *a, const Place *b)
{
	return a->database == b->database && a->path == b->path && a->node == b->node &&
		a->compensation == b->compensation && goflow_uuid_equal(&a->execution_id, &b->execution_id);
}

static Strike *
find_strike(const Place *place)
{
	for (int i = 0; marks->nstrikes > 0 && i < MAX_STRIKES; i++)
		if (marks->strikes[i].count > 0 && same_place(&marks->strikes[i].place, place))
			return &marks->strikes[i];
	return NULL;
}

static Fence *
find_fence(const Place *place)
{
	for (int i = 0; marks->nfences > 0 && i < MAX_FENCES; i++)
	{
		Fence	   *fence = &marks->fences[i];

		if (fence->count > 0 && fence->database == place->database &&
			fence->workflow_id == place->workflow_id && fence->node == place->node)
			return fence;
	}
	return NULL;
}

/* A free place, or that of the strike which is the longest ago. */
static Strike *
get_strike(void)
{
	Strike	   *oldest = &marks->strikes[0];

	for (int i = 0; i < MAX_STRIKES; i++)
	{
		Strike	   *strike = &marks->strikes[i];

		if (strike->count == 0)
		{
			marks->nstrikes++;
			return strike;
		}
		if (strike->at < oldest->at)
			oldest = strike;
	}
	oldest->count = 0;
	return oldest;
}

/* A free place, or that of the fence which was of use the longest ago. */
static Fence *
get_fence(void)
{
	Fence	   *oldest = &marks->fences[0];

	for (int i = 0; i < MAX_FENCES; i++)
	{
		Fence	   *fence = &marks->fences[i];

		if (fence->count == 0)
		{
			marks->nfences++;
			return fence;
		}
		if (fence->at < oldest->at)
			oldest = fence;
	}
	oldest->count = 0;
	return oldest;
}

static void
add_strike(const Mark *mark)
{
	Strike	   *strike = find_strike(&mark->place);
	Fence	   *fence = find_fence(&mark->place);

	if (strike == NULL)
	{
		strike = get_strike();
		strike->place = mark->place;
	}
	strike->count++;
	strike->at = GetCurrentTimestamp();

	if (fence == NULL && strike->count == GOFLOW_MAX_LOSSES)
	{
		fence = get_fence();
		fence->database = mark->place.database;
		fence->workflow_id = mark->place.workflow_id;
		fence->node = mark->place.node;
	}
	if (fence)
	{
		if (strike->count == GOFLOW_MAX_LOSSES)
			fence->count++;
		fence->at = strike->at;
	}
}

static void
add_suspects(const Mark *mark)
{
	for (int i = 0, free = 0; i < mark->nclaims; i++)
	{
		while (free < MAX_SUSPECTS && OidIsValid(marks->suspects[free].database))
			free++;
		if (free == MAX_SUSPECTS)
			break;
		marks->suspects[free].database = mark->place.database;
		marks->suspects[free].execution_id = mark->claims[i];
		marks->nsuspects++;
	}
}

/* In the postmaster, at its start and after each crash: no other process runs. */
void
goflow_mark_startup(void)
{
	if (marks == NULL)
		map_file();
	for (int i = 0; i < marks->nslots; i++)
	{
		Mark	   *mark = &marks->marks[i];

		if (mark->state == MARK_RUNNING && mark->place.node == NODE_COMMIT)
			add_suspects(mark);
		else if (mark->state == MARK_RUNNING)
			add_strike(mark);
		mark->state = MARK_NONE;
	}
}

/* ---- in a worker ---- */

static void
handle_sigquit(SIGNAL_ARGS)
{
	if (my_mark->state == MARK_RUNNING)
		my_mark->state = MARK_EXCUSED;
	SignalHandlerForCrashExit(postgres_signal_arg);
}

/* Once in a worker's life, when it has its slot. */
void
goflow_mark_attach(void)
{
	my_mark = &marks->marks[goflow_my_slot - goflow_control->slots];
	my_mark->state = MARK_NONE;
	my_mark->place.database = goflow_my_slot->database;
	my_mark->nclaims = 0;
	pqsignal(SIGQUIT, handle_sigquit);
}

/* The executions that are driven next. */
void
goflow_mark_claims(const pg_uuid_t *executions, int n)
{
	memcpy(my_mark->claims, executions, n * sizeof(pg_uuid_t));
	my_mark->nclaims = n;
}

/* Where an instance runs. */
static inline void
set_place(Place *place, const GoflowInstance *instance, int workflow_id, uint64 path)
{
	place->database = MyDatabaseId;
	place->execution_id = instance->execution_id;
	place->workflow_id = workflow_id;
	place->path = path;
	place->frame = instance->frame;
	place->node = instance->node;
	place->compensation = Min(instance->attempt, 0);
}

/* This is about to run. */
void
goflow_mark_run(const GoflowInstance *instance, int workflow_id, uint64 path)
{
	my_mark->state = MARK_NONE;
	pg_compiler_barrier();
	set_place(&my_mark->place, instance, workflow_id, path);
	pg_compiler_barrier();
	my_mark->state = MARK_RUNNING;
}

/* A batch is about to commit. */
void
goflow_mark_commit(void)
{
	my_mark->place.node = NODE_COMMIT;
	pg_compiler_barrier();
	my_mark->state = MARK_RUNNING;
}

void
goflow_mark_clear(void)
{
	if (my_mark)
		my_mark->state = MARK_NONE;
}

/*
 * What the worker of a slot runs as a driver, for who looks from outside: a
 * hint, since it is written without a lock.  False: nothing, or a commit.  A
 * node of -1: the frame itself.
 */
bool
goflow_mark_read(int slot, pg_uuid_t *execution_id, int *frame, int *node)
{
	volatile Mark *mark = &marks->marks[slot];

	if (mark->state != MARK_RUNNING || mark->place.node == NODE_COMMIT)
		return false;
	pg_read_barrier();
	memcpy(execution_id, (const void *) &mark->place.execution_id, sizeof(pg_uuid_t));
	*frame = mark->place.frame;
	*node = mark->place.node;
	return true;
}

bool
goflow_mark_has_crashes(void)
{
	volatile Marks *hint = marks;

	return hint->nstrikes != 0 || hint->nfences != 0;
}

/* How often the server crashed while this ran, and whether it is fenced. */
GoflowCrashes
goflow_mark_crashes(const GoflowInstance *instance, int workflow_id, uint64 path)
{
	GoflowCrashes crashes = {0};
	Place		place;
	Strike	   *strike;
	Fence	   *fence;

	if (!goflow_mark_has_crashes())
		return crashes;
	set_place(&place, instance, workflow_id, path);
	goflow_lock(LW_SHARED);
	strike = find_strike(&place);
	fence = find_fence(&place);
	crashes.own = strike ? strike->count : 0;
	crashes.executions = fence ? fence->count : 0;
	crashes.is_fenced = crashes.own >= GOFLOW_MAX_LOSSES ||
		(crashes.executions >= FENCE_EXECUTIONS && GetCurrentTimestamp() < fence->at + FENCE_TIME);
	goflow_unlock();
	return crashes;
}

/* Was the execution part of a commit at which the server crashed, and not again since? */
bool
goflow_mark_is_suspect_locked(Oid database, const pg_uuid_t *execution_id)
{
	for (int i = 0; marks->nsuspects > 0 && i < MAX_SUSPECTS; i++)
		if (marks->suspects[i].database == database &&
			goflow_uuid_equal(&marks->suspects[i].execution_id, execution_id))
			return true;
	return false;
}

static void
acquit_suspect(Oid database, const pg_uuid_t *execution_id)
{
	for (int i = 0; marks->nsuspects > 0 && i < MAX_SUSPECTS; i++)
	{
		Suspect    *suspect = &marks->suspects[i];

		if (suspect->database != database ||
			(execution_id && !goflow_uuid_equal(&suspect->execution_id, execution_id)))
			continue;
		suspect->database = InvalidOid;
		marks->nsuspects--;
	}
}

static void
forget_strike(Strike *strike)
{
	if (strike == NULL)
		return;
	strike->count = 0;
	marks->nstrikes--;
}

static void
forget_fence(Fence *fence)
{
	if (fence == NULL)
		return;
	fence->count = 0;
	marks->nfences--;
}

/* What this worker ran has ended, well or with an error, and the server is still there. */
static void
acquit(const GoflowInstance *instance)
{
	const Place *place = &my_mark->place;

	if (my_mark->state != MARK_RUNNING || (marks->nstrikes == 0 && marks->nfences == 0))
		return;
	if (place->frame != instance->frame || place->node != instance->node ||
		place->compensation != Min(instance->attempt, 0) ||
		!goflow_uuid_equal(&place->execution_id, &instance->execution_id))
		return;					/* it was fenced, and did not run */
	forget_strike(find_strike(place));
	forget_fence(find_fence(place));
}

/* The same for a node that ran by itself: its execution is no suspect any more, either. */
void
goflow_mark_acquit_locked(const GoflowInstance *instance)
{
	acquit(instance);
	acquit_suspect(goflow_my_slot->database, &instance->execution_id);
}

void
goflow_mark_acquit(const GoflowInstance *instance)
{
	goflow_lock(LW_EXCLUSIVE);
	acquit(instance);
	goflow_unlock();
}

/* Somebody asks for it: fences of this workflow's version let others through until the next crash. */
void
goflow_mark_try_again(int workflow_id)
{
	if (((volatile Marks *) marks)->nfences == 0)
		return;
	goflow_lock(LW_EXCLUSIVE);
	for (int i = 0; i < MAX_FENCES; i++)
	{
		Fence	   *fence = &marks->fences[i];

		if (fence->count > 0 && fence->database == MyDatabaseId && fence->workflow_id == workflow_id)
			fence->at = 0;
	}
	goflow_unlock();
}

/* An execution has ended; NULL: its database is gone, or goflow from it. */
void
goflow_mark_forget(Oid database, const pg_uuid_t *execution_id)
{
	volatile Marks *hint = marks;

	if (hint->nstrikes == 0 && hint->nsuspects == 0 && (hint->nfences == 0 || execution_id))
		return;
	goflow_lock(LW_EXCLUSIVE);
	for (int i = 0; marks->nstrikes > 0 && i < MAX_STRIKES; i++)
	{
		Strike	   *strike = &marks->strikes[i];

		if (strike->count > 0 && strike->place.database == database &&
			(execution_id == NULL || goflow_uuid_equal(&strike->place.execution_id, execution_id)))
			forget_strike(strike);
	}
	for (int i = 0; execution_id == NULL && i < MAX_FENCES; i++)
		if (marks->fences[i].count > 0 && marks->fences[i].database == database)
			forget_fence(&marks->fences[i]);
	acquit_suspect(database, execution_id);
	goflow_unlock();
}
