-- Views for who runs the server.  C entry points: src/process/show.c, src/api/waiting.c.
-- They show what belongs to anybody, so they are for pg_monitor and administrators.

CREATE FUNCTION goflow.worker_list(
	OUT pid int, OUT database text, OUT role regrole, OUT state text, OUT execution uuid, OUT workflow text,
	OUT version int, OUT node text, OUT frame int, OUT attempt int, OUT executions int, OUT cancelling boolean,
	OUT since timestamptz)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'goflow_worker_list'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION goflow.worker_list() IS 'What the view goflow.workers shows.';

CREATE VIEW goflow.workers AS SELECT * FROM goflow.worker_list();
COMMENT ON VIEW goflow.workers IS
'One row per worker of the server: its database and role, its state, and what it runs at this moment; read from shared memory.';

CREATE FUNCTION goflow.queue_list(
	OUT workflow text, OUT role regrole, OUT priority int, OUT queued bigint, OUT driven bigint, OUT nodes bigint,
	OUT oldest timestamptz)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'goflow_queue_list'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION goflow.queue_list() IS 'What the view goflow.queue shows, with a row per version.';

CREATE VIEW goflow.queue AS
SELECT q.workflow, q.role, q.priority, pg_catalog.sum(q.queued)::bigint AS queued,
	pg_catalog.sum(q.driven)::bigint AS driven, pg_catalog.sum(q.nodes)::bigint AS nodes,
	pg_catalog.min(q.oldest) AS oldest
FROM goflow.queue_list() q
GROUP BY q.workflow, q.role, q.priority;
COMMENT ON VIEW goflow.queue IS
'Executions of this database that wait for a worker (queued) or have one (driven), and nodes that wait for one; goflow.queue_size bounds what it costs.';

CREATE FUNCTION goflow.tracker_show(
	OUT slots int, OUT used int, OUT free int, OUT rebuilt bigint, OUT refused bigint)
RETURNS record AS 'MODULE_PATHNAME', 'goflow_tracker_show'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION goflow.tracker_show() IS 'What the view goflow.tracker shows.';

CREATE VIEW goflow.tracker AS SELECT * FROM goflow.tracker_show();
COMMENT ON VIEW goflow.tracker IS
'Progress in shared memory: slots, and since the server''s start those made anew for executions that had one before, and executions that found none.';

CREATE FUNCTION goflow.message_show(
	OUT sent bigint, OUT overwritten bigint, OUT unsent bigint, OUT dropped bigint, OUT subscriptions int,
	OUT max_subscriptions int)
RETURNS record AS 'MODULE_PATHNAME', 'goflow_message_show'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION goflow.message_show() IS 'What the view goflow.messages shows.';

CREATE VIEW goflow.messages AS
SELECT m.*, pg_catalog.pg_notification_queue_usage() AS notification_queue_usage FROM goflow.message_show() m;
COMMENT ON VIEW goflow.messages IS
'Messages of the server since its start: sent, and dropped because they were overwritten before a scheduler came, or not sent as the notification queue was filling up.';

CREATE FUNCTION goflow.waiting_list(
	OUT wait text, OUT waits bigint, OUT execution uuid, OUT workflow text, OUT version int, OUT node text,
	OUT run_as regrole, OUT since timestamptz, OUT due_at timestamptz)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'goflow_waiting_list'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.waiting_list() IS 'What the view goflow.waiting shows.';

CREATE VIEW goflow.waiting AS SELECT * FROM goflow.waiting_list();
COMMENT ON VIEW goflow.waiting IS
'Per kind of wait (delay, retry, workflow, signal, approval, task) the node that has waited longest, and how many wait, counted up to 10,000; read from an index.';

DO $$
DECLARE f regprocedure;
BEGIN
	FOREACH f IN ARRAY '{goflow.worker_list(), goflow.queue_list(), goflow.tracker_show(), goflow.message_show(), goflow.waiting_list()}'::regprocedure[] LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC; GRANT EXECUTE ON FUNCTION %1$s TO pg_monitor', f);
	END LOOP;
END $$;
