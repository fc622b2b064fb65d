/*
 * activity.c
 *		What a worker does, as pg_stat_activity shows it: the node, its
 *		workflow, and the node's SQL.
 *
 * The text is made once per node and process.  To report it costs some ten
 * nanoseconds, so every node of a batch is shown, too, but for those that take
 * no longer than that: expressions that read nothing but references.
 */
#include "postgres.h"

#include "engine/state.h"

#include "pgstat.h"
#include "utils/memutils.h"

static char *
describe(GoflowDefinition *definition, GoflowNode *node)
{
	MemoryContext old = MemoryContextSwitchTo(definition->context);
	char	   *text;

	if (node == NULL)
		text = psprintf("workflow \"%s\"", definition->name);
	else
		text = psprintf("node \"%s\" of workflow \"%s\"%s%.*s", node->path, definition->name,
						node->expr ? ": " : "", pgstat_track_activity_query_size,
						node->expr ? node->expr->text : "");
	MemoryContextSwitchTo(old);
	return text;
}

/* node NULL: what belongs to the workflow itself, such as its output. */
void
goflow_activity_show(GoflowDefinition *definition, GoflowNode *node)
{
	char	  **text = node ? &node->activity : &definition->activity;

	if (!pgstat_track_activities)
		return;
	if (*text == NULL)
		*text = describe(definition, node);
	pgstat_report_activity(STATE_RUNNING, *text);
}
