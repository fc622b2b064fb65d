-- Nobody but the extension's owner may do anything until granted.

REVOKE ALL ON SCHEMA goflow FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA goflow FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA goflow FROM PUBLIC;

CREATE FUNCTION goflow.grant_usage(role regrole) RETURNS void
	AS 'MODULE_PATHNAME', 'goflow_grant_usage' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.grant_usage(regrole) IS
'Lets a role define workflows, and start and see executions of its own.';

CREATE FUNCTION goflow.revoke_usage(role regrole) RETURNS void
	AS 'MODULE_PATHNAME', 'goflow_revoke_usage' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.revoke_usage(regrole) IS
'Takes back what grant_usage() gave.';

REVOKE ALL ON FUNCTION goflow.grant_usage(regrole), goflow.revoke_usage(regrole) FROM PUBLIC;
