/*
 * limits.c
 *		What stops a workflow that would go on for ever, or fill the server.
 *
 * Nodes.  Every node that ends is counted.  An execution that has had its
 * number is ended as by its timeout: that cannot be caught, bodies of "finally"
 * and compensations still run, and may take as many nodes again; those after
 * them fail.  Numbers of events grow with the nodes, and are bounded by their
 * type; whoever makes many of them per node is stopped by that.
 *
 * Sub-workflows.  Each knows the execution at the top, "root".  Before a node
 * starts another one, those below that root are counted, in an index, but not
 * each time: a process that found n of N allowed may start its share of the
 * rest, N - n divided by the number of workers, before it has to look again.
 * So a tree grows by little more than it may, however many workers work on it,
 * and small trees cost a look at an index.
 *
 * Results.  Rows are counted as they come, values as they are stored.
 */
#include "postgres.h"

#include "engine/state.h"

#include "miscadmin.h"

/* Trees that a process remembers. */
#define MAX_TREES 64

/* Executions below a root, as this process knows them. */
typedef struct Tree
{
	pg_uuid_t	root;
	int			allowed;		/* that it may start before it counts again */
} Tree;

static Tree trees[MAX_TREES];
static int	next_tree = 0;

/* ---- nodes ---- */

static int64
count_ended(const GoflowExecution *ex)
{
	return (int64) ex->now.completed + ex->now.failed + ex->now.skipped;
}

/* Ends the execution if it has had as many nodes as it may. */
void
goflow_limit_stop(GoflowExecution *ex)
{
	const char *detail;
	MemoryContext old;
	Jsonb	   *error;

	if (ex->root->now.unwind != GOFLOW_UNWIND_NONE || ex->root->now.ended)
		return;
	old = MemoryContextSwitchTo(ex->context);
	detail = count_ended(ex) >= ex->definition->limits.nodes ?
		psprintf("Its \"limits.nodes\" is %d.", ex->definition->limits.nodes) :
		"The numbers of its events are used up.";
	error = goflow_error_make(ERRCODE_GOFLOW_LIMIT_EXCEEDED, "execution has run too many nodes", detail,
							  NULL, 0);
	MemoryContextSwitchTo(old);
	goflow_frame_stop(ex, ex->root, GOFLOW_UNWIND_FAIL, error, -1);
}

bool
goflow_limit_is_reached(const GoflowExecution *ex)
{
	return count_ended(ex) >= ex->definition->limits.nodes || ex->now.seq >= GOFLOW_MAX_SEQ;
}

/* A node of one that is being ended is about to begin: has that been going on for too long? */
void
goflow_limit_check_rest(GoflowExecution *ex)
{
	if (count_ended(ex) >= 2 * (int64) ex->definition->limits.nodes ||
		ex->now.seq >= GOFLOW_MAX_SEQ + GOFLOW_SEQ_RESERVE / 2)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_LIMIT_EXCEEDED),
				 errmsg("execution has run too many nodes"),
				 errdetail("It is being ended, and \"finally\" bodies do not come to an end.")));
}

/* ---- sub-workflows ---- */

static Tree *
find_tree(const pg_uuid_t *root)
{
	for (int i = 0; i < MAX_TREES; i++)
		if (memcmp(&trees[i].root, root, UUID_LEN) == 0)
			return &trees[i];
	next_tree = (next_tree + 1) % MAX_TREES;
	trees[next_tree].root = *root;
	trees[next_tree].allowed = 0;
	return &trees[next_tree];
}

static void
raise_too_many(const char *workflow, int limit)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_LIMIT_EXCEEDED),
			 errmsg("workflow \"%s\" cannot be started: there are too many executions below the first one", workflow),
			 errdetail("Its workflow's \"limits.executions\" is %d.", limit),
			 errhint("Does it start itself without an end?")));
}

/* Those that run() has inside of each other are not stored yet: counted as they come. */
static void
check_inline_tree(GoflowExecution *ex, const char *workflow)
{
	static pg_uuid_t root;
	static int	count;
	static int	limit;

	if (ex->row->root == NULL && memcmp(&root, &ex->row->id, UUID_LEN) != 0)
	{
		root = ex->row->id;
		count = 0;
		limit = ex->definition->limits.executions;
	}
	if (++count > limit)
		raise_too_many(workflow, limit);
}

/* A node is about to start an execution of a workflow.  Error: WF015, if there are too many in this tree. */
void
goflow_limit_check_tree(GoflowExecution *ex, const char *workflow)
{
	const pg_uuid_t *root = ex->row->root ? ex->row->root : &ex->row->id;
	int			limit = ex->definition->limits.executions;
	Tree	   *tree;
	int			count;

	if (ex->is_inline)
	{
		check_inline_tree(ex, workflow);
		return;
	}
	tree = find_tree(root);
	if (--tree->allowed >= 0)
		return;
	tree->allowed = 0;
	if (ex->row->root)
	{
		GoflowExecutionRow *row = goflow_execution_read(root);

		limit = row ? goflow_workflow_load(row->workflow_id)->limits.executions : GOFLOW_DEFAULT_EXECUTIONS;
	}
	/* this is no code of users: a cancel is not meant for it */
	goflow_session_allow_cancel(false);
	count = goflow_execution_count_below(root, limit);
	goflow_session_allow_cancel(true);
	if (count >= limit)
		raise_too_many(workflow, limit);
	tree->allowed = (limit - count - 1) / Max(goflow_max_workers, 1);
}

/* ---- results ---- */

void
goflow_limit_check_rows(const GoflowNode *node, int64 rows)
{
	if (rows > node->max_rows)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_LIMIT_EXCEEDED),
				 errmsg("node \"%s\" has too many rows", node->path),
				 errdetail("Its \"limits.rows\" is %d.", node->max_rows)));
}

/* What comes from outside, as it would be stored. */
void
goflow_limit_check_payload(const char *what, const Jsonb *payload)
{
	if (VARSIZE_ANY_EXHDR(payload) > GOFLOW_MAX_PAYLOAD_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_LIMIT_EXCEEDED),
				 errmsg("%s is too large", what),
				 errdetail("It has %zu bytes of JSON, at most %d are allowed.",
						   (Size) VARSIZE_ANY_EXHDR(payload), GOFLOW_MAX_PAYLOAD_BYTES),
				 errhint("Store it in a table, and give its key.")));
}

/* A variable, or the output of a body: what it is, its name, and its bytes. */
void
goflow_limit_check_size(const GoflowDefinition *definition, const char *what, const char *name, Size size)
{
	if (size > (Size) definition->limits.result)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_LIMIT_EXCEEDED),
				 errmsg("%s \"%s\" is too large", what, name),
				 errdetail("It has %zu bytes, \"limits.result\" is %d.", size, definition->limits.result)));
}

/* The columns of a node, as they are about to be stored. */
void
goflow_limit_check_result(const GoflowNode *node, const Datum *texts, const bool *nulls)
{
	Size		size = 0;

	for (int i = 0; i < node->ncolumns; i++)
		if (!nulls[i])
			size += VARSIZE(DatumGetPointer(texts[i])) - VARHDRSZ;
	if (size > (Size) node->max_result)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_LIMIT_EXCEEDED),
				 errmsg("the result of node \"%s\" is too large", node->path),
				 errdetail("It has %zu bytes, \"limits.result\" is %d.", size, node->max_result)));
}
