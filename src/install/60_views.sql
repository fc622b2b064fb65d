-- The public read interface.  Owner's-rights, security-barrier views: rows are
-- filtered by the role of the one who looks.

CREATE FUNCTION goflow.is_admin() RETURNS boolean
	AS 'MODULE_PATHNAME', 'goflow_is_admin_sql' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION goflow.is_admin() IS
'True if the current user may see and steer all executions, and see all workflows: see grant_admin().';

CREATE VIEW goflow.workflows WITH (security_barrier) AS
SELECT w.name AS workflow, w.version, w.owner,
	w.definition OPERATOR(pg_catalog.->>) 'title' AS title,
	w.definition OPERATOR(pg_catalog.->>) 'description' AS description,
	w.created_at, pg_catalog.jsonb_object(w.settings) AS settings
FROM goflow.workflow w
WHERE w.dropped_at IS NULL
	AND (pg_catalog.pg_has_role(w.owner, 'USAGE') OR (SELECT goflow.is_admin())
		OR EXISTS (SELECT FROM goflow.start_grant g
				   WHERE g.name OPERATOR(pg_catalog.=) w.name
					AND pg_catalog.pg_has_role(g.grantee, 'USAGE')));
COMMENT ON VIEW goflow.workflows IS 'Every version of the workflows that the current user owns or may start.';

CREATE VIEW goflow.executions WITH (security_barrier) AS
SELECT e.execution_id AS execution, w.name AS workflow, w.version,
	CASE e.state WHEN 'q' THEN 'queued' WHEN 'r' THEN 'running' WHEN 'w' THEN 'waiting'
		WHEN 'p' THEN 'paused' WHEN 'c' THEN 'completed' WHEN 'f' THEN 'failed'
		WHEN 'x' THEN 'cancelled' WHEN 'l' THEN 'partial' END AS state,
	e.priority::int AS priority, e.created_at, e.started_at, e.finished_at,
	e.parent, e.run_as, coalesce(e.trigger[2], 'manual') AS started_by, e.output, e.error
FROM goflow.execution e JOIN goflow.workflow w ON w.workflow_id OPERATOR(pg_catalog.=) e.workflow_id
WHERE pg_catalog.pg_has_role(e.run_as, 'USAGE') OR (SELECT goflow.is_admin());
COMMENT ON VIEW goflow.executions IS 'The executions of the current user and of the roles it is a member of.';

CREATE FUNCTION goflow.status(execution uuid) RETURNS goflow.executions
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT e FROM goflow.executions e
	WHERE e.execution OPERATOR(pg_catalog.=) (SELECT goflow.require_execution(status.execution));
END;
COMMENT ON FUNCTION goflow.status(uuid) IS 'One row of goflow.executions; an error for an unknown execution.';
