/*
 * wait_event.c
 *		What goflow's processes and functions wait for, as pg_stat_activity
 *		shows it.  Before 17 the server has one name for all of it, "Extension".
 */
#include "postgres.h"

#include "goflow.h"

#include "utils/wait_event.h"

static const char *const names[GOFLOW_WAITS] = {
	[GOFLOW_WAIT_LAUNCHER] = "GoflowLauncherMain",
	[GOFLOW_WAIT_SCHEDULER] = "GoflowSchedulerMain",
	[GOFLOW_WAIT_WORKER] = "GoflowWorkerMain",
	[GOFLOW_WAIT_TURN] = "GoflowStoreTurn",
	[GOFLOW_WAIT_EXIT] = "GoflowProcessExit",
	[GOFLOW_WAIT_CONFLICT] = "GoflowConflictPause",
	[GOFLOW_WAIT_ROOM] = "GoflowDiskFull",
	[GOFLOW_WAIT_EXECUTION] = "GoflowExecutionEnd",
	[GOFLOW_WAIT_PROGRESS] = "GoflowExecutionProgress",
};

/* Not with a lock held, nor where an error is fatal. */
uint32
goflow_wait_event(GoflowWait wait)
{
	static uint32 events[GOFLOW_WAITS];

	if (events[wait] == 0)
		events[wait] = goflow_wait_event_new(names[wait]);
	return events[wait];
}
