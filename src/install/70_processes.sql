-- The processes: how they are, and the call that tells them of this database.

CREATE FUNCTION goflow.health(OUT kind text, OUT name text, OUT value bigint, OUT detail text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'goflow_health'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION goflow.health() IS
	'What goflow''s processes do, and what keeps them from it: one fact per row.';
REVOKE ALL ON FUNCTION goflow.health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION goflow.health() TO pg_monitor;

CREATE FUNCTION goflow.installed() RETURNS void
	AS 'MODULE_PATHNAME', 'goflow_installed'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.installed() IS
	'Called once, at the end of CREATE EXTENSION: starts goflow in this database.';
REVOKE ALL ON FUNCTION goflow.installed() FROM PUBLIC;

-- fails, and all of the above with it, where the library is not preloaded
SELECT goflow.installed();
