--
-- "atomic": false: statements that PostgreSQL refuses in a transaction block.
--
CREATE SCHEMA atomic_test;
SET search_path = atomic_test;
SET client_min_messages = error;
CREATE TABLE item (id int PRIMARY KEY, name text);
INSERT INTO item SELECT i, 'item ' || i FROM generate_series(1, 100) i;
CREATE TABLE log (entry text, xid xid8 DEFAULT pg_current_xact_id());

-- Starts a workflow, waits for its end, and shows how it ended.  (It does not call wait(), whose
-- transaction CREATE INDEX CONCURRENTLY would wait for.)
CREATE PROCEDURE run_it(workflow text, input jsonb DEFAULT '{}', INOUT state text DEFAULT NULL, INOUT output jsonb DEFAULT NULL, INOUT error jsonb DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE id uuid;
BEGIN
	SELECT goflow.start(workflow, input) INTO id;
	COMMIT;
	FOR i IN 1 .. 20000 LOOP
		SELECT s.state, s.output, s.error - 'context' INTO state, output, error FROM goflow.status(id) s;
		EXIT WHEN state NOT IN ('queued', 'running', 'waiting');
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;

-- A node like any other: it has a place in the graph, and a result.
SELECT goflow.define('upkeep', $${
  "nodes": {
    "delete":  {"type": "sql", "sql": "DELETE FROM item WHERE id > 50"},
    "vacuum":  {"type": "sql", "after": "delete", "atomic": false, "sql": "VACUUM (ANALYZE) item"},
    "index":   {"type": "sql", "after": "vacuum", "atomic": false, "sql": "CREATE INDEX CONCURRENTLY item_name ON item (name)"},
    "again":   {"type": "sql", "after": "index", "atomic": false, "sql": "REINDEX TABLE CONCURRENTLY item"},
    "look":    {"type": "sql", "after": "again", "sql": "SELECT reltuples::int, (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid AND indisvalid) AS indexes FROM pg_class c WHERE c.oid = 'item'::regclass"}},
  "output": {"rows": "look.reltuples", "indexes": "look.indexes"}}$$);
CALL run_it('upkeep');

-- A procedure that commits takes arguments from the workflow, and gives its results to it.
CREATE PROCEDURE work(steps int, prefix text, OUT transactions int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. steps LOOP
		INSERT INTO log VALUES (prefix || i);
		COMMIT;
	END LOOP;
	SELECT count(DISTINCT xid) INTO transactions FROM log WHERE entry LIKE prefix || '%';
END $$;
SELECT goflow.define('in_steps', $${
  "input": {"prefix": "text"},
  "nodes": {
    "n":    {"type": "sql", "sql": "SELECT 3 AS steps"},
    "work": {"type": "sql", "after": "n", "atomic": false, "sql": "CALL work(n.steps, input.prefix, NULL)"},
    "twice": {"type": "transform", "after": "work", "value": {"n": "work.transactions * 2"}}},
  "output": {"transactions": "work.transactions", "twice": "twice.n"}}$$);
CALL run_it('in_steps', '{"prefix": "it''s "}');
SELECT entry FROM log ORDER BY entry;

-- Without "atomic": false it is a part of its node's transaction, and may not commit.
SELECT goflow.define('in_one', $${"nodes": {"work": {"type": "sql", "sql": "CALL work(1, 'x', NULL)"}}}$$);
CALL run_it('in_one');

-- Errors are the node's; what was committed before stays.
TRUNCATE log;
CREATE PROCEDURE work_and_fail(fail boolean) LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log VALUES ('committed');
	COMMIT;
	INSERT INTO log VALUES ('not committed');
	IF fail THEN
		RAISE EXCEPTION 'no more' USING ERRCODE = 'P0042', DETAIL = 'One step was made.';
	END IF;
END $$;
SELECT goflow.define('fails', $${"nodes": {
  "work": {"type": "sql", "atomic": false, "sql": "CALL work_and_fail(true)"},
  "next": {"type": "sql", "after": "work", "sql": "SELECT 1 AS x"}}}$$);
CALL run_it('fails');
SELECT entry FROM log;

-- They can be caught, and tried again.
TRUNCATE log;
SELECT goflow.define('again_outside', $${"nodes": {
  "try": {"type": "try",
          "body": {"nodes": {"work": {"type": "sql", "atomic": false, "retry": {"attempts": 3, "backoff": "1 ms"}, "sql": "CALL work_and_fail(true)"}}},
          "catch": [{"on": ["P0042"], "body": {"nodes": {"note": {"type": "sql", "sql": "INSERT INTO log VALUES ('caught ' || error.message || ' at ' || error.node || ', attempt ' || error.attempt)"}}}}]}}}$$);
CALL run_it('again_outside');
SELECT entry, count(*) FROM log GROUP BY 1 ORDER BY 1 DESC;

-- An error of a utility statement that has committed something is the node's, too.
SELECT goflow.define('bad_index', $${"nodes": {"index": {"type": "sql", "atomic": false, "sql": "CREATE UNIQUE INDEX CONCURRENTLY item_bad ON item ((1))"}}}$$);
CALL run_it('bad_index');
SELECT indisvalid FROM pg_index WHERE indexrelid = 'item_bad'::regclass;
DROP INDEX item_bad;

-- A timeout interrupts it.
CREATE PROCEDURE work_long() LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		PERFORM pg_sleep(0.01);
		COMMIT;
	END LOOP;
END $$;
SELECT goflow.define('long', $${"nodes": {"work": {"type": "sql", "atomic": false, "timeout": "200 ms", "sql": "CALL work_long()"}}}$$);
CALL run_it('long');

-- And so does cancel().
SELECT goflow.define('longer', $${"nodes": {"work": {"type": "sql", "atomic": false, "sql": "CALL work_long()"}}}$$);
SELECT goflow.start('longer') AS id \gset
DO $$ BEGIN FOR i IN 1 .. 20000 LOOP EXIT WHEN EXISTS (SELECT FROM goflow.executions e, goflow.nodes(e.execution) n WHERE e.workflow = 'longer' AND n.state = 'running'); COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT state, started_at IS NOT NULL AS has_started FROM goflow.nodes(:'id');
SELECT goflow.cancel(:'id', 'enough');
SELECT goflow.wait(:'id', '90 s');
SELECT state, error->>'detail' AS reason FROM goflow.status(:'id');
SELECT node, state FROM goflow.nodes(:'id');

-- It runs under the settings of workflow and node, as the one who started it; nothing that it
-- leaves in its session is there for another node.
CREATE TABLE seen (step int, work_mem text, own text, path text, who name);
CREATE PROCEDURE look(step int) LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO atomic_test.seen SELECT step, current_setting('work_mem'), current_setting('my.own'), current_setting('search_path'), current_user;
	COMMIT;
	INSERT INTO atomic_test.seen SELECT step + 1, current_setting('work_mem'), current_setting('my.own'), current_setting('search_path'), current_user;
END $$;
CREATE PROCEDURE leave() LANGUAGE plpgsql AS $$
BEGIN
	SET work_mem = '77MB';
	SET my.own = 'left';
	SET search_path = pg_catalog;
	SET default_transaction_read_only = on;
	SET datestyle = 'German';
	SET ROLE pg_monitor;
	COMMIT;
END $$;
CREATE FUNCTION around() RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', current_setting('work_mem'), nullif(current_setting('my.own', true), ''), current_setting('search_path'),
    current_setting('default_transaction_read_only'), current_setting('datestyle'), current_user = session_user) $$;
SELECT goflow.define('own_settings', $${
  "settings": {"work_mem": "5MB"},
  "nodes": {
    "before": {"type": "sql", "sql": "SELECT around() AS x"},
    "look":   {"type": "sql", "after": "before", "atomic": false, "settings": {"my.own": "node"}, "sql": "CALL look(1)"},
    "leave":  {"type": "sql", "after": "look", "atomic": false, "sql": "CALL leave()"},
    "after":  {"type": "sql", "after": "leave", "sql": "SELECT around() AS x"}},
  "output": {"before": "before.x", "after": "after.x"}}$$);
CALL run_it('own_settings');
SELECT step, work_mem, own, path, who = current_user AS me FROM seen ORDER BY step;

-- Only what cannot be in a transaction: everything else is refused, and so is run().
SELECT goflow.define('refused', $${"nodes": {"a": {"type": "sql", "atomic": false, "sql": "DELETE FROM item"}}}$$);
SELECT goflow.define('refused', $${"nodes": {"a": {"type": "sql", "atomic": false, "sql": "CREATE TABLE x AS SELECT 1 AS a"}}}$$);
SELECT goflow.define('refused', $${"nodes": {"a": {"type": "sql", "sql": "VACUUM item"}}}$$);
SELECT goflow.define('refused', $${"nodes": {"a": {"type": "sql", "atomic": false, "sql": "COMMIT"}}}$$);
SELECT goflow.run('own_settings');
SELECT :'LAST_ERROR_SQLSTATE' AS code;

SELECT goflow.drop(w) FROM unnest('{upkeep,in_steps,in_one,fails,again_outside,bad_index,long,longer,own_settings}'::text[]) w;
DROP SCHEMA atomic_test CASCADE;
