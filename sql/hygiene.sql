--
-- What a node leaves in its session is not there for the next one.
--
CREATE SCHEMA hygiene_test;
SET search_path = hygiene_test;
SET client_min_messages = error;
CREATE SEQUENCE s;
CREATE TABLE kept (x text);
CREATE FUNCTION leave_settings() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	SET work_mem = '77MB';
	SET LOCAL maintenance_work_mem = '77MB';
	PERFORM set_config('my.session', 'left', false), set_config('my.local', 'left', true);
	SET search_path = pg_catalog;
	SET datestyle = 'German';
	RETURN current_setting('work_mem');
END $$;
CREATE FUNCTION leave_cursor() RETURNS text LANGUAGE plpgsql AS $$
DECLARE c CURSOR FOR SELECT 1; r refcursor := 'left_open';
BEGIN
	OPEN r FOR SELECT 1;
	RETURN r::text;
END $$;
CREATE FUNCTION prepare_one() RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'PREPARE left_plan AS SELECT 1'; RETURN 'prepared'; END $$;
CREATE FUNCTION make_temporary() RETURNS text LANGUAGE plpgsql AS $$ BEGIN CREATE TEMPORARY TABLE left_table AS SELECT 1 AS x; RETURN 'made'; END $$;
CREATE FUNCTION make_temporary_on_commit() RETURNS text LANGUAGE plpgsql AS $$ BEGIN CREATE TEMPORARY TABLE scratch (x int) ON COMMIT DROP; INSERT INTO scratch VALUES (1); RETURN (SELECT count(*) FROM scratch); END $$;
CREATE FUNCTION last_value_here() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN currval('s'); EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$;
CREATE FUNCTION last_value_any() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN lastval(); EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$;
-- what there is to be found in a session
CREATE FUNCTION look_around() RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object(
    'work_mem', (SELECT setting FROM pg_settings WHERE name = 'work_mem' AND setting <> reset_val),
    'maintenance_work_mem', (SELECT setting FROM pg_settings WHERE name = 'maintenance_work_mem' AND setting <> reset_val),
    'search_path', nullif(current_setting('search_path'), 'hygiene_test, pg_temp'),
    'datestyle', nullif(current_setting('datestyle'), 'Postgres, MDY'),
    'my.session', nullif(current_setting('my.session', true), ''), 'my.local', nullif(current_setting('my.local', true), ''),
    'cursors', (SELECT string_agg(name, ' ') FROM pg_cursors WHERE name = 'left_open'),
    'plans', (SELECT string_agg(name, ' ') FROM pg_prepared_statements WHERE name LIKE 'left%'),
    'tables', to_regclass('pg_temp.left_table')::text, 'scratch', to_regclass('pg_temp.scratch')::text,
    'currval', nullif(last_value_here(), '55000'), 'lastval', nullif(last_value_any(), '55000')))
$$;

-- Each of these, then a look around; in the same execution and in those after it.
SELECT goflow.define('leave', $${
  "nodes": {
    "settings":  {"type": "sql", "sql": "SELECT leave_settings() AS x"},
    "set":       {"type": "sql", "after": "settings", "sql": "SET work_mem = '78MB'"},
    "set_local": {"type": "sql", "after": "set", "sql": "SET LOCAL maintenance_work_mem = '78MB'"},
    "cursor_":   {"type": "sql", "after": "set_local", "sql": "SELECT leave_cursor() AS x"},
    "plan":      {"type": "sql", "after": "cursor_", "sql": "SELECT prepare_one() AS x"},
    "temporary": {"type": "sql", "after": "plan", "sql": "SELECT make_temporary() AS x"},
    "scratch":   {"type": "sql", "after": "temporary", "sql": "SELECT make_temporary_on_commit() AS x"},
    "ctas":      {"type": "sql", "after": "scratch", "sql": "CREATE TEMPORARY TABLE left_table AS SELECT 2 AS x"},
    "lock":      {"type": "sql", "after": "ctas", "sql": "SELECT pg_advisory_lock(4711) AS x"},
    "xact_lock": {"type": "sql", "after": "lock", "sql": "SELECT pg_advisory_xact_lock(4712) AS x"},
    "next":      {"type": "sql", "after": "xact_lock", "sql": "SELECT nextval('s') AS x"},
    "look":      {"type": "sql", "after": "next", "sql": "SELECT look_around() AS found"}},
  "output": {"found": "look.found"}}$$);
SELECT goflow.define('look', $${"nodes": {
  "look":  {"type": "sql", "sql": "SELECT look_around() AS found"},
  "locks": {"type": "sql", "after": "look", "sql": "SELECT string_agg(objid::text, ' ') AS locks FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objid IN (4711, 4712)"}},
  "output": {"found": "look.found || jsonb_strip_nulls(jsonb_build_object('locks', locks.locks))"}}$$);
CREATE PROCEDURE run_them(workflow text, n int, OUT result text) LANGUAGE plpgsql AS $$
DECLARE ids uuid[];
BEGIN
	SELECT array_agg(e) INTO ids FROM goflow.start_many(workflow, array_fill('{}'::jsonb, ARRAY[n])) e;
	COMMIT;
	PERFORM goflow.wait(e, '90 s') FROM unnest(ids) e;
	SELECT string_agg(DISTINCT coalesce(s.output->>'found', s.error->>'message', s.state), E'\n') INTO result FROM unnest(ids) e, goflow.status(e) s;
END $$;
CALL run_them('leave', 1, NULL);
CALL run_them('look', 5, NULL);
CALL run_them('leave', 10, NULL);
CALL run_them('leave', 10, NULL);
CALL run_them('look', 20, NULL);
-- a node that fails does not keep its lock either
SELECT goflow.define('lock_and_fail', $${"nodes": {"a": {"type": "sql", "sql": "SELECT pg_advisory_lock(4711) AS x, 1 / (SELECT 0) AS y"}}}$$);
CALL run_them('lock_and_fail', 10, NULL);
CALL run_them('look', 10, NULL);
-- nobody holds a lock any more
SELECT pg_try_advisory_lock(4711), pg_try_advisory_lock(4712);
SELECT pg_advisory_unlock_all();

-- Settings of a definition are in force around its nodes, and those of a node around that node.
SELECT goflow.define('own', $${
  "settings": {"work_mem": "5MB", "my.own": "workflow"},
  "nodes": {"a": {"type": "sql", "settings": {"my.own": "node"}, "sql": "SELECT current_setting('my.own') || ' ' || current_setting('work_mem') AS x"},
            "b": {"type": "sql", "after": "a", "sql": "SELECT current_setting('my.own') || ' ' || current_setting('work_mem') AS x"}},
  "output": {"found": "a.x || ', ' || b.x"}}$$);
CALL run_them('own', 3, NULL);
CALL run_them('look', 3, NULL);

-- run() cleans up nothing but its own settings: it is the caller's session.
SELECT goflow.define('mine', $${"nodes": {
  "a": {"type": "sql", "sql": "SELECT make_temporary() AS x"}, "b": {"type": "sql", "after": "a", "sql": "SELECT prepare_one() AS x"},
  "c": {"type": "sql", "after": "b", "sql": "SELECT nextval('s') > 0 AS x"}}}$$);
SELECT goflow.run('mine');
TABLE left_table;
EXECUTE left_plan;
SELECT currval('s') > 0 AS has_currval;
DEALLOCATE left_plan;
DROP TABLE left_table;

SELECT goflow.drop(w) FROM unnest('{leave,look,lock_and_fail,own,mine}'::text[]) w;
DROP SCHEMA hygiene_test CASCADE;
