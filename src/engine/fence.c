/*
 * fence.c
 *		What has crashed the server does not do so for ever.
 *
 * process/mark.c counts the crashes.  Here it is decided what becomes of them:
 * whatever runs code of users, a node or what belongs to a frame, asks first.
 * The first crashes may have been somebody else's doing (the kernel's choice
 * when memory is short), so it runs again, by itself if it is a node, and the
 * log says so.  After three it fails, as with any other error of its own.
 */
#include "postgres.h"

#include "engine/state.h"

#include "utils/builtins.h"
#include "utils/uuid.h"

/* What it is: a node, or what belongs to a body or a workflow as a whole (NULL). */
static char *
describe(GoflowDefinition *definition, GoflowNode *node)
{
	return node ? psprintf("node \"%s\" of workflow \"%s\"", node->path, definition->name) :
		psprintf("workflow \"%s\"", definition->name);
}

/* One crash more than the log knows of, or the last one. */
static void
report(const GoflowInstance *instance, const char *what, const GoflowCrashes *crashes)
{
	char	   *id = DatumGetCString(DirectFunctionCall1(uuid_out,
														 UUIDPGetDatum(&instance->execution_id)));

	if (crashes->own > 0)
		ereport(LOG,
				(errcode(ERRCODE_GOFLOW_SERVER_CRASHED),
				 errmsg("the server has crashed %d times while %s ran in its worker", crashes->own, what),
				 errdetail("Execution %s.", id),
				 crashes->is_fenced ? errhint("It has failed.") :
				 errhint("It runs again; after %d times it fails.", GOFLOW_MAX_LOSSES)));
	else if (crashes->is_fenced)
		ereport(LOG,
				(errcode(ERRCODE_GOFLOW_SERVER_CRASHED),
				 errmsg("%s does not run, since it crashed the server in each of %d executions", what,
						crashes->executions),
				 errdetail("Execution %s has failed.", id)));
}

/*
 * May this run?  An error if it is fenced.  Returns whether the server has
 * crashed with it: when it has ended, that is to be forgotten
 * (goflow_mark_acquit()).  node: NULL for the workflow itself.  path: of its frame.
 */
bool
goflow_fence_check(const GoflowInstance *instance, GoflowDefinition *definition, GoflowNode *node,
				   uint64 path)
{
	GoflowCrashes crashes = goflow_mark_crashes(instance, definition->workflow_id, path);
	char	   *what;

	if (crashes.own == 0 && crashes.executions == 0)
		return false;
	what = describe(definition, node);
	report(instance, what, &crashes);
	if (node)
		goflow_speed_set(definition->workflow_id, node->index, GOFLOW_SPEED_SLOW);
	if (!crashes.is_fenced)
		return true;
	if (crashes.own > 0)
		ereport(ERROR,
				(errcode(ERRCODE_GOFLOW_SERVER_CRASHED),
				 errmsg("the server has crashed %d times while %s ran", crashes.own, what),
				 errdetail("Each time its own process was killed, or crashed."),
				 errhint("See the server's log: it may have needed more memory than there is, or called a function that crashes.")));
	ereport(ERROR,
			(errcode(ERRCODE_GOFLOW_SERVER_CRASHED),
			 errmsg("%s does not run, since it crashed the server in each of %d executions", what,
					crashes.executions),
			 errdetail("No execution has got past it since."),
			 errhint("Define the workflow anew, without what crashes; or retry one when what it calls is mended: the first that gets past it ends this.")));
	return false;				/* not reached */
}
