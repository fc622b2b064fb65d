-- The tables.  They are private: nobody but the extension's owner has rights on
-- them, row security is on, and users read the views of 60_views.sql.  The C
-- side knows the columns by number (src/store/table.h), so the order matters.

-- One row per version of a workflow.  Versions never change.
CREATE TABLE goflow.workflow (
	workflow_id  int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name         text NOT NULL,
	version      int NOT NULL,
	owner        regrole NOT NULL,
	definition   jsonb NOT NULL,       -- as given to define()
	contract     jsonb NOT NULL,       -- each node's columns as define() saw them, by name
	settings     text[] NOT NULL,      -- name, value, name, value, ...: in force around every node
	created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
	dropped_at   timestamptz,
	retention    interval,             -- of finished executions of all versions; NULL: goflow.retention
	UNIQUE (name, version)
);

-- Who else may start a workflow (all its versions), beside its owner.
CREATE TABLE goflow.start_grant (
	name    text NOT NULL,
	grantee regrole NOT NULL,
	PRIMARY KEY (name, grantee)
);

-- One row per execution that has not finished: written at its start and at few
-- transitions.  At its end the row moves to goflow.finished, which inherits, so that
-- goflow.execution reads both and ONLY goflow.execution those that are alive.  The
-- letters of state are in src/goflow.h.
CREATE TABLE goflow.execution (
	execution_id uuid NOT NULL PRIMARY KEY,
	workflow_id  int NOT NULL,
	run_as       regrole NOT NULL,
	state        "char" NOT NULL,
	priority     smallint NOT NULL,
	entry        smallint,             -- the node it enters at; NULL: all nodes without "after"
	last_seq     int,                  -- number of the event of its end
	retry_seq    int,                  -- seq of the last event before its last retry; NULL: none
	created_at   timestamptz NOT NULL,
	started_at   timestamptz,
	finished_at  timestamptz,
	home         uuid NOT NULL,        -- the database whose it is: goflow.home
	parent       uuid,
	root         uuid,                 -- of one that a node started: the execution at the top of all that did
	input        bytea NOT NULL,       -- the declared inputs in order, in text form: texts(input)
	trigger      text[],               -- trigger.*: node, event, table; NULL: by hand
	output       jsonb,
	error        jsonb,
	retried      smallint[],           -- nodes whose journal up to retry_seq does not count
	assigned     bytea,                -- the assignments of its first transaction, if they are few (src/store/variable.c)
	journal      bytea,                -- the journal's entries of its first transaction, if they are few, as in "more"
	                                   -- there; their moments begin with created_at
	CONSTRAINT execution_alive CHECK (finished_at IS NULL) NO INHERIT
);
-- How many there are below one: "limits".
CREATE INDEX execution_root ON goflow.execution (root) WHERE root IS NOT NULL;
CREATE INDEX execution_workflow ON goflow.execution (workflow_id);

-- Those that have finished.  They do not change: what runs has a small table of its
-- own, and a long history is neither vacuumed nor split by new versions of its rows.
CREATE TABLE goflow.finished (
	PRIMARY KEY (execution_id),
	CONSTRAINT finished_at_known CHECK (finished_at IS NOT NULL)
) INHERITS (goflow.execution);
CREATE INDEX finished_root ON goflow.finished (root) WHERE root IS NOT NULL;
-- Newest first, for lists and estimates; and two drivers rarely write to the same page.
CREATE INDEX finished_workflow ON goflow.finished (workflow_id, execution_id);

-- Ends that were not the last: the execution was retried after them.
CREATE TABLE goflow.past_end (
	execution_id   uuid NOT NULL,
	seq            int NOT NULL,       -- number of the end
	state          "char" NOT NULL,
	started_at     timestamptz,
	finished_at    timestamptz NOT NULL,
	output         jsonb,
	error          jsonb,
	restarted_seq  int NOT NULL,       -- number of the start after it
	restarted_at   timestamptz NOT NULL,
	counts         int[] NOT NULL,     -- then: total, completed, failed, skipped
	PRIMARY KEY (execution_id, seq)
);

-- Idempotency keys of start(): unique per workflow, role and key.
CREATE TABLE goflow.start_key (
	name         text NOT NULL,
	role         regrole NOT NULL,
	key          text NOT NULL,
	execution_id uuid NOT NULL,
	PRIMARY KEY (name, role, key)
);
CREATE INDEX start_key_execution ON goflow.start_key (execution_id);

-- The journal: an entry per node instance and attempt, made when it ended.  Those of
-- an execution's first transaction stand in its own row, if they are few.  A row
-- has one entry in its columns, and those that a driver made after it in the same
-- transaction in "more" (src/store/entry.c), for an index tuple per node costs
-- more than the node.  goflow.node_state has them one by one.
-- What happens in an execution is numbered by its driver, one after the other
-- (src/engine/history.c).  A row that a worker in node mode wrote has its last
-- number from the driver that saw it first.
CREATE TABLE goflow.journal (
	execution_id uuid NOT NULL,
	frame        int NOT NULL,         -- 0: the workflow's own body
	node         smallint NOT NULL,    -- number of the node in the definition
	attempt      smallint NOT NULL,
	state        "char" NOT NULL,
	port         smallint,             -- the port taken, of nodes that have ports
	seq          int NOT NULL,         -- number of its start, or of a skipped one's only event
	duration     int NOT NULL,         -- microseconds the node itself took
	started_at   timestamptz NOT NULL,
	finished_at  timestamptz,          -- NULL: duration after started_at
	end_seq      int,                  -- number of its end; NULL: it follows its start; 0: not seen yet
	total        int,                  -- nodes of the execution, where that has changed
	queued_at    timestamptz,          -- when it was handed to the workers, of one in node mode
	retried      boolean,              -- true: another attempt follows
	output       text[],               -- its columns in text form
	error        jsonb,
	parent       int,                  -- of the frame, told by one of its entries: the frame around it, the
	iteration    bigint,               -- iteration, and of one of a loop number and moment of its start
	frame_seq    int,
	frame_at     timestamptz,
	more         bytea,                -- the entries after it (src/store/entry.c): entries(more, started_at)
	PRIMARY KEY (execution_id, frame, node, attempt)
);

CREATE FUNCTION goflow.texts(packed bytea) RETURNS text[]
	AS 'MODULE_PATHNAME', 'goflow_texts' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION goflow.texts IS 'Inputs of an execution, as its row has them.';

CREATE FUNCTION goflow.entries(packed bytea, start timestamptz,
	OUT frame int, OUT node smallint, OUT attempt smallint, OUT state "char", OUT port smallint, OUT seq int,
	OUT started_at timestamptz, OUT duration int, OUT output text[])
RETURNS SETOF record AS 'MODULE_PATHNAME', 'goflow_entries' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 10;
COMMENT ON FUNCTION goflow.entries IS 'Entries of the journal that are packed in a row.';

-- Whoever reads it needs rights on the table: goflow's own views do.
CREATE VIEW goflow.node_state WITH (security_invoker) AS
SELECT j.execution_id, j.frame, j.node, j.attempt, j.state, j.port, j.seq, j.started_at,
	coalesce(j.finished_at, j.started_at + j.duration * interval '1 microsecond') AS finished_at,
	j.duration, j.output, j.error
FROM goflow.journal j
UNION ALL
SELECT p.execution_id, e.frame, e.node, e.attempt, e.state, e.port, e.seq, e.started_at,
	e.started_at + e.duration * interval '1 microsecond', e.duration, e.output, NULL
FROM (SELECT execution_id, more, started_at FROM goflow.journal
	UNION ALL
	SELECT execution_id, journal, created_at FROM goflow.execution) p (execution_id, packed, start)
CROSS JOIN LATERAL goflow.entries(p.packed, p.start) e;

-- Nodes that were handed to the workers, and whose end their driver has not seen.
CREATE TABLE goflow.offered (
	execution_id uuid NOT NULL,
	seq          int NOT NULL,         -- number of its start
	frame        int NOT NULL,
	node         smallint NOT NULL,
	attempt      smallint NOT NULL,
	offered_at   timestamptz NOT NULL,
	PRIMARY KEY (execution_id, seq)
);

-- Rows of many-row nodes, in chunks: two-dimensional, row by column.
CREATE TABLE goflow.node_rows (
	execution_id uuid NOT NULL,
	frame        int NOT NULL,
	node         smallint NOT NULL,
	attempt      smallint NOT NULL,
	chunk        int NOT NULL,
	rows         text[] NOT NULL,
	PRIMARY KEY (execution_id, frame, node, attempt, chunk)
);

-- One row per assignment, but for those that stand in goflow.execution.assigned.
-- The value in force is the one with the highest seq.
CREATE TABLE goflow.variable (
	execution_id uuid NOT NULL,
	variable     smallint NOT NULL,    -- number of the variable in the definition
	seq          int NOT NULL,         -- negative: by the node that started with this number, not seen yet
	frame        int NOT NULL,         -- whose variable it is
	node         smallint,             -- NULL: its first value
	assigned_at  timestamptz NOT NULL,
	value        text,
	PRIMARY KEY (execution_id, variable, seq)
);

-- Node instances that have begun and not ended across commits: they wait for a
-- moment, for a child execution, or for the frames of their own bodies.
CREATE TABLE goflow.pending (
	execution_id uuid NOT NULL,
	frame        int NOT NULL,
	node         smallint NOT NULL,    -- -1: the execution itself (its timeout)
	attempt      smallint NOT NULL,
	kind         "char" NOT NULL,      -- d: delay, r: retry, b: bodies, w: sub-workflow, t: timeout, s: signal, a: approval, k: task
	started_at   timestamptz NOT NULL,
	seq          int NOT NULL,         -- number of its start; 0: it is to start again
	due_at       timestamptz,          -- the moment waited for, or the node's timeout
	child        uuid,                 -- of a sub-workflow
	count        bigint NOT NULL,      -- iterations of a loop; -1: not known
	next         bigint NOT NULL,      -- the next iteration to begin
	ended        bigint NOT NULL,      -- iterations that ended
	phase        smallint NOT NULL,    -- which of its bodies a try is in
	unwind       "char" NOT NULL,      -- what goes on after it: f: an error, x: a cancel, b, c: break, continue
	target       smallint,             -- the loop of a break or continue
	error        jsonb,
	PRIMARY KEY (execution_id, frame, node)
);
CREATE INDEX pending_due ON goflow.pending (due_at, execution_id) WHERE due_at IS NOT NULL;
-- What waits, not what is at work: goflow.waiting.
CREATE INDEX pending_wait ON goflow.pending (kind, started_at) WHERE kind IN ('d', 'r', 'w', 's', 'a', 'k');

-- Open frames: runs of a body that have not ended.  Frame 0 is the workflow's
-- own and has a row only where there are others; it holds the counters.
CREATE TABLE goflow.frame (
	execution_id uuid NOT NULL,
	frame        int NOT NULL,
	parent       int NOT NULL,
	node         smallint NOT NULL,    -- whose body it is
	part         smallint NOT NULL,    -- which of its bodies
	iteration    bigint NOT NULL,      -- of a loop, from 1
	seq          int NOT NULL,         -- number of its start; 0: not of a loop
	started_at   timestamptz,
	unwind       "char" NOT NULL,      -- how it is being ended; 0: it is not
	target       smallint,
	error        jsonb,                -- error.* in a catch, or what it is being ended with
	counters     int[],                -- total, completed, failed, skipped, seq, next frame, partial
	PRIMARY KEY (execution_id, frame)
);

-- What "collect" gave, one row per iteration.
CREATE TABLE goflow.collected (
	execution_id uuid NOT NULL,
	frame        int NOT NULL,
	node         smallint NOT NULL,
	attempt      smallint NOT NULL,
	iteration    bigint NOT NULL,
	value        jsonb,
	PRIMARY KEY (execution_id, frame, node, attempt, iteration)
);

-- What would undo the nodes that completed, with the values it needs.
CREATE TABLE goflow.compensation (
	execution_id uuid NOT NULL,
	seq          int NOT NULL,         -- of the node that completed
	frame        int NOT NULL,
	node         smallint NOT NULL,
	params       text[] NOT NULL,
	completed_at timestamptz NOT NULL, -- when the node did: the last one is undone first
	done_at      timestamptz,
	error        jsonb,                -- it failed itself
	PRIMARY KEY (execution_id, seq)
);

-- What others ask of an execution; its driver alone decides.
CREATE TABLE goflow.request (
	execution_id uuid NOT NULL,
	request_id   bigint GENERATED ALWAYS AS IDENTITY,
	kind         "char" NOT NULL,      -- x: cancel, p: pause, u: resume, t: retry, n: priority
	role         regrole NOT NULL,
	requested_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	argument     text,                 -- reason of a cancel, node of a retry, the priority
	PRIMARY KEY (execution_id, request_id)
);
-- Executions that have finished and are to go on: read at recovery only.
CREATE INDEX request_retry ON goflow.request (execution_id) WHERE kind = 't';

-- The row triggers that define() made.  A trigger that is not here does nothing.
CREATE TABLE goflow.row_trigger (
	name     text NOT NULL,            -- workflow
	node     text NOT NULL,
	relation regclass NOT NULL,
	trigger  name NOT NULL,
	PRIMARY KEY (name, node)
);

DO $$
DECLARE t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['workflow','start_grant','execution','finished','start_key','past_end','journal','offered',
							 'node_rows','variable','pending','frame','collected',
							 'compensation','request','row_trigger'] LOOP
		EXECUTE pg_catalog.format('ALTER TABLE goflow.%I ENABLE ROW LEVEL SECURITY', t);
		EXECUTE pg_catalog.format('REVOKE ALL ON goflow.%I FROM PUBLIC', t);
		PERFORM pg_catalog.pg_extension_config_dump(pg_catalog.format('goflow.%I', t)::regclass, '');
	END LOOP;
END $$;
SELECT pg_catalog.pg_extension_config_dump('goflow.workflow_workflow_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('goflow.request_request_id_seq', '');

COMMENT ON TABLE goflow.workflow IS 'Every version of every workflow.';
COMMENT ON TABLE goflow.start_grant IS 'Who may start a workflow beside its owner.';
COMMENT ON TABLE goflow.execution IS 'Executions that have not finished.';
COMMENT ON TABLE goflow.finished IS 'Executions that have finished.';
COMMENT ON TABLE goflow.start_key IS 'Idempotency keys of start().';
COMMENT ON TABLE goflow.journal IS 'Every node instance and attempt that ended, several to a row.';
COMMENT ON VIEW goflow.node_state IS 'The journal, with a row per node instance and attempt.';
COMMENT ON TABLE goflow.past_end IS 'Ends of executions that were retried after them.';
COMMENT ON TABLE goflow.offered IS 'Nodes that workers have, or will take.';
COMMENT ON TABLE goflow.node_rows IS 'Rows of many-row nodes.';
COMMENT ON TABLE goflow.variable IS 'Every assignment to a variable.';
COMMENT ON TABLE goflow.pending IS 'Node instances that have begun and not ended.';
COMMENT ON TABLE goflow.frame IS 'Open runs of bodies.';
COMMENT ON TABLE goflow.collected IS 'What the iterations of loops gave.';
COMMENT ON TABLE goflow.compensation IS 'What would undo completed nodes.';
COMMENT ON TABLE goflow.request IS 'Requests to executions, read by their drivers.';
COMMENT ON TABLE goflow.row_trigger IS 'The triggers that define() made on tables.';
