/*
 * guc.c
 *		The settings goflow.*.
 *
 * What sizes shared memory can be set at server start only, the rest by reload.
 */
#include "postgres.h"

#include "goflow.h"

#include <unistd.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "live/live.h"

/* Some hundredths of what a processor can do. */
#define MESSAGES_PER_PROCESSOR 2500

int			goflow_processors;

int			goflow_max_workers;
int			goflow_worker_idle_timeout;
int			goflow_scheduler_idle_timeout;
int			goflow_queue_size;
int			goflow_tracker_slots;
int			goflow_batch_nodes;
int			goflow_batch_time;
int			goflow_fuse;
int			goflow_cancel_grace;
int			goflow_rescan_interval;
int			goflow_retention;
bool		goflow_early_start;
bool		goflow_public_events;
int			goflow_max_subscriptions;
int			goflow_max_message_rate;
double		goflow_notification_queue_limit;

void
goflow_guc_define(void)
{
	int			default_workers = Max(1, max_worker_processes / 2);
	int			default_message_rate;

	goflow_processors = Max(1, sysconf(_SC_NPROCESSORS_ONLN));
	default_message_rate = MESSAGES_PER_PROCESSOR * goflow_processors;
	DefineCustomIntVariable("goflow.max_workers",
							"Workers that run nodes, in the whole server, at most.",
							NULL, &goflow_max_workers,
							default_workers, 0, MAX_BACKENDS, PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.worker_idle_timeout",
							"Time after which a worker without work leaves.",
							NULL, &goflow_worker_idle_timeout,
							30000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.scheduler_idle_timeout",
							"Time after which a scheduler with nothing due leaves.",
							NULL, &goflow_scheduler_idle_timeout,
							10000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.queue_size",
							"Executions that can be queued or claimed at one time, in the whole server.",
							"When it is full, the rest waits in the tables.",
							&goflow_queue_size,
							65536, 64, 16 * 1024 * 1024, PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.tracker_slots",
							"Executions whose progress is kept in shared memory at one time.",
							"The progress of others is read from the tables.",
							&goflow_tracker_slots,
							16384, 64, 16 * 1024 * 1024, PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.batch_nodes",
							"Nodes that share one commit, at most.",
							"A quarter of them may be one execution's.",
							&goflow_batch_nodes,
							8000, 1, 100000, PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.batch_time",
							"Age at which a batch of nodes commits.",
							NULL, &goflow_batch_time,
							10, 0, 10000, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.fuse",
							"Time a node in a batch may take before it is rolled back and runs on its own.",
							NULL, &goflow_fuse,
							50, 1, 60000, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.cancel_grace",
							"Time after which a worker whose node does not react to a cancel is terminated.",
							NULL, &goflow_cancel_grace,
							10000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.rescan_interval",
							"Time between two searches of the tables for executions that nobody queued.",
							NULL, &goflow_rescan_interval,
							300, 1, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.retention",
							"Time after which finished executions are deleted; 0 keeps them.",
							NULL, &goflow_retention,
							0, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("goflow.early_start",
							 "A worker may begin an execution while the commit of its start() is flushed.",
							 "Others see the execution as early.",
							 &goflow_early_start,
							 true, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("goflow.public_events",
							 "Sends ids and states of executions to the public channels.",
							 NULL, &goflow_public_events,
							 true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.max_subscriptions",
							"Subscriptions at one time, in the whole server.",
							NULL, &goflow_max_subscriptions,
							64, 0, GOFLOW_MAX_SUBSCRIPTIONS, PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goflow.max_message_rate",
							"Messages that are sent in a second, in the whole server, at most; 0: any number.",
							"Beyond it messages are dropped and counted.",
							&goflow_max_message_rate,
							default_message_rate, 0, 1000000, PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomRealVariable("goflow.notification_queue_limit",
							 "Part of the server's notification queue beyond which goflow sends nothing.",
							 "The rest is left to others.",
							 &goflow_notification_queue_limit,
							 0.5, 0.0, 1.0, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	MarkGUCPrefixReserved("goflow");
}
