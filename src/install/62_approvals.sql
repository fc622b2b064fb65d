-- Approvals: decisions of people.  C entry points: src/api/approval.c.

-- Decisions that approval nodes wait for: the driver makes and deletes the rows,
-- whoever decides fills in the rest.  One without a row of goflow.pending is
-- what was left of a withdrawn one.
CREATE TABLE goflow.approval (
	execution_id uuid NOT NULL,
	frame        int NOT NULL,
	node         smallint NOT NULL,
	attempt      smallint NOT NULL,
	path         text NOT NULL,        -- of the node
	title        text,
	run_as       regrole NOT NULL,     -- of the execution
	role         regrole NOT NULL,     -- who decides
	escalate_to  regrole,              -- who decides, too, from escalate_at on
	escalate_at  timestamptz,
	payload      jsonb,                -- what they are shown
	form         jsonb NOT NULL,       -- names and types of the fields
	remind       bigint NOT NULL,      -- microseconds between two reminders; 0: none
	announce_at  timestamptz,          -- when it is to be told of
	announced_at timestamptz,          -- when that was done last
	created_at   timestamptz NOT NULL,
	due_at       timestamptz,          -- when the node times out
	decision     "char",               -- a: approved, r: rejected
	decided_by   text,
	login        text,                 -- the role that his session was logged in as
	decided_at   timestamptz,
	comment      text,
	fields       text[],               -- of the form, in text form
	PRIMARY KEY (execution_id, frame, node, attempt)
);
CREATE INDEX approval_announce ON goflow.approval (announce_at) WHERE announce_at IS NOT NULL;
ALTER TABLE goflow.approval ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('goflow.approval', '');
COMMENT ON TABLE goflow.approval IS 'Decisions that executions wait for.';

CREATE VIEW goflow.approvals WITH (security_barrier) AS
SELECT a.execution_id AS execution, w.name AS workflow, w.version, a.path AS node, a.frame, a.title,
	a.run_as, a.payload, a.form, a.role, a.escalate_to, a.escalate_at, a.created_at, a.due_at
FROM goflow.approval a
	JOIN goflow.pending p ON p.execution_id OPERATOR(pg_catalog.=) a.execution_id
		AND p.frame OPERATOR(pg_catalog.=) a.frame AND p.node OPERATOR(pg_catalog.=) a.node
		AND p.attempt OPERATOR(pg_catalog.=) a.attempt AND p.kind OPERATOR(pg_catalog.=) 'a'
	JOIN ONLY goflow.execution e ON e.execution_id OPERATOR(pg_catalog.=) a.execution_id
	JOIN goflow.workflow w ON w.workflow_id OPERATOR(pg_catalog.=) e.workflow_id
WHERE a.decision IS NULL AND (pg_catalog.pg_has_role(a.role, 'USAGE')
	OR a.escalate_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()
		AND pg_catalog.pg_has_role(a.escalate_to, 'USAGE'));
COMMENT ON VIEW goflow.approvals IS 'What waits for a decision of the current user.';

CREATE FUNCTION goflow.approve(execution uuid, node text, form jsonb DEFAULT '{}', comment text DEFAULT NULL, frame int DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME', 'goflow_approve' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.approve(uuid, text, jsonb, text, int) IS
'Approves what an approval node waits for, effective when the transaction commits; frame says which, where there are several.';

CREATE FUNCTION goflow.reject(execution uuid, node text, form jsonb DEFAULT '{}', comment text DEFAULT NULL, frame int DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME', 'goflow_reject' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.reject(uuid, text, jsonb, text, int) IS
'Rejects what an approval node waits for, effective when the transaction commits; fields of the form may be missing.';
