-- Tasks: work for programs outside.  C entry points: src/api/task.c.

-- The driver makes and deletes the rows, workers claim and answer them.  One
-- without a row of goflow.pending is what was left of a withdrawn one.
CREATE TABLE goflow.task (
	execution_id uuid NOT NULL,
	frame        int NOT NULL,
	node         smallint NOT NULL,
	attempt      smallint NOT NULL,
	queue        text NOT NULL,
	run_as       regrole NOT NULL,     -- of the execution
	path         text NOT NULL,        -- of the node
	title        text,
	payload      jsonb,
	lease        bigint NOT NULL,      -- microseconds, unless a claim says otherwise
	created_at   timestamptz NOT NULL,
	available_at timestamptz,          -- when it can be claimed, so the end of a lease; NULL: answered
	claim        uuid,                 -- the task's id in the hands of who claimed it last
	worker       text,
	claimed_by   regrole,
	claimed_at   timestamptz,
	claimed_for  bigint,               -- microseconds that a heartbeat gives
	heartbeat_at timestamptz,
	progress     jsonb,
	claims       int NOT NULL,         -- how often it was claimed
	state        "char" NOT NULL,      -- w: waits or is claimed, c: completed, f: failed
	output       text[],               -- of a completed one, in text form
	error        jsonb,                -- of a failed one
	PRIMARY KEY (execution_id, frame, node, attempt)
);
CREATE INDEX task_available ON goflow.task (queue, run_as, available_at);
CREATE UNIQUE INDEX task_claim ON goflow.task (claim) WHERE claim IS NOT NULL;
ALTER TABLE goflow.task ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('goflow.task', '');
COMMENT ON TABLE goflow.task IS 'Tasks that have not been done, or whose results have not been stored.';

-- What queues there are, and whose tasks have ever been in them: where claim()
-- and the scheduler look.  The tasks cannot say that as cheaply, when many have
-- come and gone.
CREATE TABLE goflow.task_queue (
	queue  text NOT NULL,
	run_as regrole NOT NULL,
	PRIMARY KEY (queue, run_as)
);
ALTER TABLE goflow.task_queue ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('goflow.task_queue', '');
COMMENT ON TABLE goflow.task_queue IS 'Queues of tasks, and whose tasks are in them.';

-- Who may claim tasks of a role's executions beside its members.
CREATE TABLE goflow.queue_grant (
	queue   text NOT NULL,
	owner   regrole NOT NULL,
	grantee regrole NOT NULL,
	PRIMARY KEY (queue, owner, grantee)
);
ALTER TABLE goflow.queue_grant ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('goflow.queue_grant', '');
COMMENT ON TABLE goflow.queue_grant IS 'Who may claim tasks of whose executions.';

CREATE VIEW goflow.tasks WITH (security_barrier) AS
SELECT t.execution_id AS execution, w.name AS workflow, w.version, t.path AS node, t.frame, t.attempt::int AS attempt,
	t.title, t.queue,
	CASE WHEN t.state OPERATOR(pg_catalog.<>) 'w' THEN 'answered'
		WHEN t.claim IS NULL THEN 'waiting'
		WHEN t.available_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() THEN 'claimed'
		ELSE 'expired' END AS state,
	t.payload, t.worker, t.claimed_by, t.claimed_at, t.heartbeat_at,
	CASE WHEN t.claim IS NOT NULL THEN t.available_at END AS lease_until,
	t.progress, t.claims, t.run_as, t.created_at
FROM goflow.task t
	JOIN goflow.pending p ON p.execution_id OPERATOR(pg_catalog.=) t.execution_id
		AND p.frame OPERATOR(pg_catalog.=) t.frame AND p.node OPERATOR(pg_catalog.=) t.node
		AND p.attempt OPERATOR(pg_catalog.=) t.attempt AND p.kind OPERATOR(pg_catalog.=) 'k'
	JOIN ONLY goflow.execution e ON e.execution_id OPERATOR(pg_catalog.=) t.execution_id
	JOIN goflow.workflow w ON w.workflow_id OPERATOR(pg_catalog.=) e.workflow_id
WHERE pg_catalog.pg_has_role(t.run_as, 'USAGE') OR (SELECT goflow.is_admin())
	OR EXISTS (SELECT FROM goflow.queue_grant g
			   WHERE g.queue OPERATOR(pg_catalog.=) t.queue AND g.owner OPERATOR(pg_catalog.=) t.run_as
				AND pg_catalog.pg_has_role(g.grantee, 'USAGE'));
COMMENT ON VIEW goflow.tasks IS 'Tasks that the current user may claim, or that are of executions it can see.';

CREATE FUNCTION goflow.claim(queues text[], worker text DEFAULT NULL, "limit" int DEFAULT 1, lease interval DEFAULT NULL,
	OUT task uuid, OUT queue text, OUT payload jsonb, OUT execution uuid, OUT workflow text, OUT node text,
	OUT frame int, OUT attempt int, OUT claims int, OUT lease_until timestamptz)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'goflow_claim' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.claim(text[], text, int, interval) IS
'Takes tasks of queues to work on; the id that it gives each is good until the lease is over.';

CREATE FUNCTION goflow.heartbeat(task uuid, progress jsonb DEFAULT NULL)
RETURNS timestamptz AS 'MODULE_PATHNAME', 'goflow_heartbeat' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.heartbeat(uuid, jsonb) IS
'Begins the lease of a claimed task anew, and shows its progress in goflow.tasks; returns the end of the lease.';

CREATE FUNCTION goflow.complete(task uuid, output jsonb DEFAULT '{}')
RETURNS void AS 'MODULE_PATHNAME', 'goflow_complete' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.complete(uuid, jsonb) IS
'The claimed task is done, effective when the transaction commits; output has the fields that the node declares.';

CREATE FUNCTION goflow.fail(task uuid, message text DEFAULT NULL, code text DEFAULT NULL, detail text DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME', 'goflow_fail' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.fail(uuid, text, text, text) IS
'The claimed task has failed with an SQLSTATE; what the node says of retries and errors applies.';

CREATE FUNCTION goflow.grant_queue(queue text, role regrole)
RETURNS void AS 'MODULE_PATHNAME', 'goflow_grant_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.grant_queue(text, regrole) IS
'Lets a role claim tasks of a queue that belong to executions of the current user.';

CREATE FUNCTION goflow.revoke_queue(queue text, role regrole)
RETURNS void AS 'MODULE_PATHNAME', 'goflow_revoke_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.revoke_queue(text, regrole) IS
'Takes back what grant_queue() gave.';
