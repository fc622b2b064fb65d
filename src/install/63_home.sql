-- Whose executions are (src/store/home.c).  Not dumped: a restored database has
-- a home of its own.

CREATE TABLE goflow.home (
	database oid NOT NULL PRIMARY KEY,
	home     uuid NOT NULL
);
COMMENT ON TABLE goflow.home IS 'The id of each database that this one is or was copied from.';
ALTER TABLE goflow.home ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON goflow.home FROM PUBLIC;

CREATE FUNCTION goflow.keep_home() RETURNS trigger
	AS 'MODULE_PATHNAME', 'goflow_keep_home' LANGUAGE C;
COMMENT ON FUNCTION goflow.keep_home() IS 'Keeps the homes of other databases from being replicated here.';
CREATE TRIGGER keep_home BEFORE INSERT OR UPDATE OR DELETE ON goflow.home
	FOR EACH ROW EXECUTE FUNCTION goflow.keep_home();
ALTER TABLE goflow.home ENABLE REPLICA TRIGGER keep_home;

CREATE FUNCTION goflow.keep_adopted() RETURNS trigger
	AS 'MODULE_PATHNAME', 'goflow_keep_adopted' LANGUAGE C;
COMMENT ON FUNCTION goflow.keep_adopted() IS 'Keeps changes of executions that were adopted from being replicated here.';
CREATE TRIGGER keep_adopted BEFORE UPDATE OR DELETE ON goflow.execution
	FOR EACH ROW EXECUTE FUNCTION goflow.keep_adopted();
ALTER TABLE goflow.execution ENABLE REPLICA TRIGGER keep_adopted;
CREATE TRIGGER keep_adopted BEFORE UPDATE OR DELETE ON goflow.finished
	FOR EACH ROW EXECUTE FUNCTION goflow.keep_adopted();
ALTER TABLE goflow.finished ENABLE REPLICA TRIGGER keep_adopted;

INSERT INTO goflow.home
SELECT d.oid, pg_catalog.gen_random_uuid() FROM pg_catalog.pg_database d
WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database();

CREATE FUNCTION goflow.adopt() RETURNS bigint
	AS 'MODULE_PATHNAME', 'goflow_adopt' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION goflow.adopt() IS
'Makes the live executions of a copied database its own, so that they run here; returns how many.';
