-- What changed rows start (src/api/row_trigger.c).

CREATE FUNCTION goflow.row_trigger()
RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goflow_row_trigger';
COMMENT ON FUNCTION goflow.row_trigger() IS
'Starts an execution for a changed row. For the triggers that define() makes: any other one does nothing.';
