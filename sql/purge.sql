--
-- purge(), and "retention": what becomes of executions that have finished.
--
CREATE SCHEMA purge_test;
SET search_path = purge_test;
\pset format unaligned
\pset footer off
\pset null '-'
CREATE FUNCTION left_behind() RETURNS TABLE (of text, n bigint) LANGUAGE plpgsql AS $$
DECLARE t regclass;
BEGIN
	FOR t IN SELECT attrelid FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
			WHERE relnamespace = 'goflow'::regnamespace AND relkind = 'r' AND attname = 'execution_id' LOOP
		EXECUTE format('SELECT count(*) FROM %s WHERE execution_id IN (SELECT id FROM purge_test.started)', t) INTO n;
		of := t;
		IF n > 0 THEN RETURN NEXT; END IF;
	END LOOP;
END $$;
CREATE TABLE started (id uuid, what text);
SELECT goflow.define('purge_a', '{
  "input": {"n": "int = 1"}, "variables": {"v": "int = 0"},
  "nodes": {
    "many": {"type": "sql", "rows": "many", "sql": "SELECT i FROM generate_series(1, 3) i"},
    "each": {"type": "loop", "after": "many", "for": "many", "as": "m", "collect": "m.i", "body": {"nodes": {
      "s": {"type": "set", "set": {"v": "m.i"}}}}},
    "last": {"type": "sql", "after": "each", "sql": "SELECT 1 / input.n AS x", "compensate": "SELECT 1"}}}');
SELECT goflow.define('purge_child', '{"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}');
SELECT goflow.define('purge_parent', '{"nodes": {
  "c": {"type": "workflow", "workflow": "purge_child"},
  "d": {"type": "delay", "after": "c", "for": "interval ''1 day''"}}}');

-- Only what has finished goes, and with it all that was its own: key, journal, rows, variables.
INSERT INTO started SELECT goflow.start('purge_a', key => 'k' || i), 'done' FROM generate_series(1, 3) i;
INSERT INTO started SELECT goflow.start('purge_a', '{"n": 0}'), 'failed';
INSERT INTO started SELECT goflow.start('purge_parent'), 'waits';
SELECT what, CASE what WHEN 'waits' THEN '' ELSE goflow.wait(id) END FROM started;
SELECT count(*) > 5 FROM left_behind();
SELECT goflow.purge('1 hour');
SELECT goflow.purge('0', 'purge_a', 1);
SELECT goflow.purge('0', 'purge_a');
SELECT goflow.purge('0', 'purge_a');
SELECT DISTINCT what FROM started JOIN goflow.executions ON execution = id;
DELETE FROM started WHERE what <> 'waits';
-- A sub-workflow stays as long as its parent lives.
INSERT INTO started SELECT execution, 'child' FROM goflow.executions WHERE workflow = 'purge_child';
SELECT what, goflow.wait(id) FROM started WHERE what = 'child';
SELECT goflow.purge('0', 'purge_child');
SELECT goflow.cancel(id) FROM started WHERE what = 'waits';
SELECT goflow.wait(id) FROM started WHERE what = 'waits';
SELECT goflow.purge('0', 'purge_child'), goflow.purge('0', 'purge_parent');
SELECT * FROM left_behind();

-- Others' executions stay.
CREATE ROLE purge_me;
CREATE ROLE purge_other;
SELECT goflow.grant_usage('purge_me'), goflow.grant_usage('purge_other');
GRANT USAGE ON SCHEMA purge_test TO purge_me, purge_other;
SELECT goflow.define('purge_b', '{"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}');
SELECT goflow.run('purge_b');
SET ROLE purge_other;
SELECT goflow.purge('0'), goflow.purge('0', 'purge_b');
RESET ROLE;
SELECT goflow.purge('0', 'purge_b');

-- What is refused.
SELECT goflow.purge(NULL);
SELECT goflow.purge('-1 day');
SELECT goflow.purge('0', 'purge_none');
SELECT code, message, hint FROM goflow.validate('{"retention": "1 month", "nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}');
SELECT code, message FROM goflow.validate('{"retention": "0", "nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}');
SELECT goflow.options(retention => '30 days');
SELECT goflow.revoke_usage('purge_me'), goflow.revoke_usage('purge_other');
DROP OWNED BY purge_me, purge_other;
DROP ROLE purge_me, purge_other;
