-- Deleting what has finished (src/api/purge.c).

CREATE FUNCTION goflow.purge(older_than interval, workflow text DEFAULT NULL, max bigint DEFAULT NULL)
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goflow_purge';
COMMENT ON FUNCTION goflow.purge(interval, text, bigint) IS
'Deletes finished executions of an age, of one workflow or of all, at most so many; returns how many. See also "retention" in definitions.';
