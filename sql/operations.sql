--
-- The views for who runs the server.  What they show under load: test/t/039_operations.pl.
--
SET client_min_messages = error;
\pset null '-'
CREATE PROCEDURE operations_until(condition text) LANGUAGE plpgsql AS $$
DECLARE met boolean;
BEGIN
	FOR i IN 1 .. 20000 LOOP
		EXECUTE 'SELECT ' || condition INTO met;
		IF met THEN RETURN; END IF;
		PERFORM pg_sleep(0.005);
		COMMIT;
	END LOOP;
	RAISE EXCEPTION 'not met: %', condition;
END $$;

-- Their columns are an interface.
SELECT c.relname AS view, string_agg(format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) AS columns
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
 WHERE c.oid IN ('goflow.workers'::regclass, 'goflow.queue'::regclass, 'goflow.tracker'::regclass, 'goflow.messages'::regclass, 'goflow.waiting'::regclass)
 GROUP BY 1 ORDER BY 1;
SELECT c.relname FROM pg_class c WHERE relnamespace = 'goflow'::regnamespace AND relkind = 'v' AND obj_description(oid, 'pg_class') IS NULL;

-- Something of each kind waits; the first of each is the one that is shown.
CREATE ROLE operations_ada LOGIN;
SELECT goflow.grant_usage('operations_ada');
SELECT goflow.define('operations_child', '{"nodes": {"s": {"type": "signal", "name": "s"}}}');
SELECT goflow.define('operations_waits', $${"nodes": {
  "nap":    {"type": "delay", "for": "interval '1 day'"},
  "asks":   {"type": "approval", "role": "operations_ada"},
  "work":   {"type": "task", "queue": "operations"},
  "sig":    {"type": "signal", "name": "sig", "timeout": "2 days"},
  "below":  {"type": "workflow", "workflow": "operations_child"},
  "again":  {"type": "raise", "code": "P0001", "message": "'no'", "retry": {"attempts": 2, "backoff": "1 day", "max_delay": "2 days"}}}}$$);
SELECT goflow.start('operations_waits') AS first \gset
CALL operations_until('(SELECT count(*) FROM goflow.waiting) = 6');
SELECT count(*) FROM goflow.start_many('operations_waits', array_fill('{}'::jsonb, ARRAY[4]));
CALL operations_until('(SELECT sum(waits) FROM goflow.waiting) = 35');
SELECT wait, waits, execution = :'first' AS is_first, workflow, version, node, since <= now() AS since, due_at - since > '23 hours' AS due
  FROM goflow.waiting;
-- From an index: as fast whatever else is there.
SELECT count(*) FROM pg_indexes WHERE schemaname = 'goflow' AND indexname = 'pending_wait';

-- What waits is not in the queue, and no worker has it.
CALL operations_until($$NOT EXISTS (SELECT FROM goflow.queue WHERE workflow LIKE 'operations%')$$);
SELECT count(*) FROM goflow.workers WHERE workflow LIKE 'operations%';
SELECT bool_and(state IN ('starting', 'idle', 'woken', 'busy')) AS states, bool_and(pid <> pg_backend_pid()) AS pids FROM goflow.workers;
SELECT slots > 0 AS slots, used + free = slots AS free, rebuilt >= 0 AS rebuilt, refused FROM goflow.tracker;
SELECT sent >= 0 AS sent, overwritten + unsent = dropped AS dropped, subscriptions <= max_subscriptions AS subscriptions,
	notification_queue_usage < 0.1 AS usage FROM goflow.messages;

-- They are for pg_monitor and administrators, like health().
SET ROLE operations_ada;
SELECT * FROM goflow.workers;
SELECT * FROM goflow.queue;
SELECT * FROM goflow.waiting;
SELECT * FROM goflow.worker_list();
RESET ROLE;
GRANT pg_monitor TO operations_ada;
SET ROLE operations_ada;
SELECT count(*) FROM goflow.waiting;
RESET ROLE;
REVOKE pg_monitor FROM operations_ada;
SELECT goflow.grant_admin('operations_ada');
SET ROLE operations_ada;
SELECT count(*) FROM goflow.waiting;
SELECT count(*) >= 0 AS workers FROM goflow.workers;
RESET ROLE;
SELECT goflow.revoke_admin('operations_ada');
SET ROLE operations_ada;
SELECT * FROM goflow.messages;
RESET ROLE;

-- What the README says of lists: ids begin with their time, so that a bound is found in an index.
SELECT goflow.define('operations_list', '{"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}');
SELECT goflow.run('operations_list');
SELECT pg_sleep(0.002);
SELECT clock_timestamp() AS since \gset
SELECT goflow.run('operations_list');
CREATE FUNCTION operations_list(since timestamptz) RETURNS SETOF goflow.executions LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT * FROM goflow.executions
	WHERE execution >= (lpad(to_hex(floor(extract(epoch FROM since) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;
END;
CREATE FUNCTION operations_plan() RETURNS SETOF text LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
	RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) SELECT * FROM operations_list(now())';
END $$;
SELECT count(*) FROM operations_list(:'since') WHERE workflow = 'operations_list';
SELECT count(*) FROM operations_list(:'since'::timestamptz - interval '1 hour') WHERE workflow = 'operations_list';
SELECT count(*) AS indexes FROM operations_plan() line WHERE line ~ 'Index Cond: \(execution_id >= ';
DROP FUNCTION operations_plan, operations_list;

SELECT goflow.cancel_all('operations_waits');
CALL operations_until($$NOT EXISTS (SELECT FROM goflow.executions WHERE workflow LIKE 'operations%' AND finished_at IS NULL)$$);
SELECT count(*) FROM goflow.waiting WHERE workflow LIKE 'operations%';
SELECT goflow.drop(w) FROM unnest('{operations_waits,operations_child,operations_list}'::text[]) w;
DROP PROCEDURE operations_until;
SELECT goflow.revoke_usage('operations_ada');
DROP ROLE operations_ada;
