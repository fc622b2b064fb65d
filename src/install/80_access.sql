-- Nobody but the extension's owner may do anything until granted.

REVOKE ALL ON SCHEMA goflow FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA goflow FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA goflow FROM PUBLIC;

CREATE FUNCTION goflow.grant_usage(role regrole) RETURNS void
	AS 'MODULE_PATHNAME', 'goflow_grant_usage' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.grant_usage(regrole) IS
'Lets a role define workflows, and start and see executions of its own.';

CREATE FUNCTION goflow.revoke_usage(role regrole) RETURNS void
	AS 'MODULE_PATHNAME', 'goflow_revoke_usage' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.revoke_usage(regrole) IS
'Takes back what grant_usage() gave.';

CREATE FUNCTION goflow.grant_admin(role regrole) RETURNS void
	AS 'MODULE_PATHNAME', 'goflow_grant_admin' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.grant_admin(regrole) IS
'Lets a role see and steer all executions, see all workflows, read health(), adopt(), and grant_usage().';

CREATE FUNCTION goflow.revoke_admin(role regrole) RETURNS void
	AS 'MODULE_PATHNAME', 'goflow_revoke_admin' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.revoke_admin(regrole) IS
'Takes back what grant_admin() gave, and not what grant_usage() did.';

CREATE FUNCTION goflow.reassign("from" regrole, "to" regrole, finished boolean DEFAULT false) RETURNS bigint
	AS 'MODULE_PATHNAME', 'goflow_reassign' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.reassign(regrole, regrole, boolean) IS
'Gives workflows, live executions (finished ones, too, if asked), start grants and start keys of a role to another; for who has the rights of both. Returns how many executions.';

REVOKE ALL ON FUNCTION goflow.grant_usage(regrole), goflow.revoke_usage(regrole),
	goflow.grant_admin(regrole), goflow.revoke_admin(regrole),
	goflow.reassign(regrole, regrole, boolean) FROM PUBLIC;

-- health() and the views of 71_operations.sql are for pg_monitor, which must be able to name them.
GRANT USAGE ON SCHEMA goflow TO pg_monitor;
REVOKE ALL ON goflow.workers, goflow.queue, goflow.tracker, goflow.messages, goflow.waiting FROM PUBLIC;
GRANT SELECT ON goflow.workers, goflow.queue, goflow.tracker, goflow.messages, goflow.waiting TO pg_monitor;
