-- Defining workflows (src/api/define.c).

CREATE FUNCTION goflow.define(name text, definition jsonb)
RETURNS int
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goflow_define';
COMMENT ON FUNCTION goflow.define(text, jsonb) IS
'Checks a definition and stores it as the next version of a workflow; returns the version.';

CREATE FUNCTION goflow.validate(
	definition jsonb,
	OUT severity text,
	OUT code text,
	OUT node text,
	OUT key text,
	OUT "position" int,
	OUT message text,
	OUT detail text,
	OUT hint text)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'goflow_validate';
COMMENT ON FUNCTION goflow.validate(jsonb) IS
'Every problem of a definition: errors and warnings, with code, node, key and character.';

CREATE FUNCTION goflow.drop(name text, force boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goflow_drop';
COMMENT ON FUNCTION goflow.drop(text, boolean) IS
'Drops a workflow; with force even when executions of it are not finished, which then run on to their end.';

CREATE FUNCTION goflow.definition(name text, version int DEFAULT NULL)
RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goflow_definition';
COMMENT ON FUNCTION goflow.definition(text, int) IS
'The definition of a version of a workflow, of the newest by default.';

CREATE FUNCTION goflow.grant_start(name text, role regrole)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goflow_grant_start';
COMMENT ON FUNCTION goflow.grant_start(text, regrole) IS
'Lets a role start a workflow.';

CREATE FUNCTION goflow.revoke_start(name text, role regrole)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goflow_revoke_start';
COMMENT ON FUNCTION goflow.revoke_start(text, regrole) IS
'Takes back what grant_start() gave.';
