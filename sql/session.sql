--
-- What a node leaves in its session is not there for the next execution's node:
-- in batches, side by side, and alone.
--
CREATE SCHEMA session_test;
SET search_path = session_test;
SET client_min_messages = error;
CREATE SEQUENCE s;
CREATE FUNCTION leave(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	CASE what
		WHEN 'lock' THEN PERFORM pg_advisory_lock(4713);
		WHEN 'shared lock' THEN PERFORM pg_advisory_lock_shared(4714);
		WHEN 'xact lock' THEN PERFORM pg_advisory_xact_lock(4715);
		WHEN 'two keys' THEN PERFORM pg_try_advisory_lock(47, 16);
		WHEN 'lock and fail' THEN PERFORM pg_advisory_lock(4713); RAISE 'failed';
		WHEN 'encoding' THEN SET client_encoding = 'LATIN1';
		WHEN 'gucs' THEN
			PERFORM set_config('plpgsql.extra_warnings', 'all', false), set_config('other.setting', 'left', false);
			SET lock_timeout = '1h'; SET timezone = 'Asia/Tokyo'; SET session_replication_role = 'replica'; SET xmlbinary = 'hex';
		WHEN 'role' THEN SET ROLE regress_goflow_session;
		WHEN 'authorization' THEN SET SESSION AUTHORIZATION regress_goflow_session;
		WHEN 'nextval' THEN PERFORM nextval('s');
		WHEN 'hold' THEN EXECUTE 'DECLARE left_held CURSOR WITH HOLD FOR SELECT 1';
		WHEN 'listen' THEN EXECUTE 'LISTEN left_channel';
		WHEN 'load' THEN EXECUTE 'LOAD ''plpgsql''';
		WHEN 'temporary' THEN EXECUTE 'CREATE TEMPORARY TABLE left_table AS SELECT 1';
		WHEN 'schema path' THEN EXECUTE 'CREATE TEMPORARY VIEW pg_class AS SELECT 1 AS x';
		WHEN 'function' THEN EXECUTE 'CREATE FUNCTION pg_temp.left_function() RETURNS int LANGUAGE sql RETURN 1';
		WHEN 'prepare' THEN EXECUTE 'PREPARE left_plan AS SELECT 1';
	END CASE;
	RETURN what;
END $$;
CREATE ROLE regress_goflow_session;
GRANT ALL ON SCHEMA session_test TO regress_goflow_session;
GRANT ALL ON SEQUENCE s TO regress_goflow_session;
CREATE FUNCTION try(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text; BEGIN EXECUTE sql INTO r; RETURN r; EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$;
CREATE FUNCTION look() RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object(
    'locks', (SELECT string_agg(classid || ' ' || objid, ', ') FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
    'encoding', nullif(current_setting('client_encoding'), 'UTF8'),
    'gucs', (SELECT string_agg(name || '=' || setting, ', ') FROM pg_settings
              WHERE name IN ('plpgsql.extra_warnings', 'lock_timeout', 'session_replication_role', 'xmlbinary') AND setting <> reset_val),
    'timezone', CASE WHEN current_setting('TimeZone') = 'Asia/Tokyo' THEN 'left' END,
    'other', nullif(current_setting('other.setting', true), ''),
    'user', CASE WHEN current_user::text LIKE 'regress%' OR session_user::text LIKE 'regress%' THEN current_user::text END,
    'currval', try('SELECT currval(''session_test.s'')'), 'lastval', try('SELECT lastval()'),
    'cursors', (SELECT string_agg(name, ' ') FROM pg_cursors WHERE name LIKE 'left%'),
    'plans', (SELECT string_agg(name, ' ') FROM pg_prepared_statements WHERE name LIKE 'left%'),
    'channels', (SELECT string_agg(c, ' ') FROM pg_listening_channels() c),
    'relations', (SELECT string_agg(relname, ' ') FROM pg_catalog.pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind <> 'i'),
    'functions', (SELECT string_agg(proname, ' ') FROM pg_proc WHERE pronamespace = pg_my_temp_schema())))
$$;
SELECT goflow.define('session_leave', $${"input": {"what": "text"}, "nodes": {"a": {"type": "sql", "sql": "SELECT leave(input.what) AS x"}}}$$);
SELECT goflow.define('session_look', $${"nodes": {"a": {"type": "sql", "sql": "SELECT look() AS found"}}, "output": {"found": "a.found"}}$$);

-- Something that is left, and a look around, in turns; then the looks.
CREATE PROCEDURE leave_and_look(leaves text, rounds int, OUT failed text, OUT seen text) LANGUAGE plpgsql AS $$
DECLARE ids uuid[]; looks uuid[] := '{}';
BEGIN
	FOR i IN 1 .. rounds LOOP
		ids := ids || goflow.start('session_leave', jsonb_build_object('what', leaves));
		looks := looks || goflow.start('session_look') || goflow.start('session_look');
	END LOOP;
	COMMIT;
	PERFORM goflow.wait(e, '90 s') FROM unnest(ids || looks) e;
	SELECT string_agg(DISTINCT s.error->>'message', ', ') INTO failed FROM unnest(ids) e, goflow.status(e) s;
	SELECT string_agg(DISTINCT coalesce(s.output->>'found', s.error->>'message', s.state), ', ') INTO seen FROM unnest(looks) e, goflow.status(e) s;
END $$;
\pset null -
CALL leave_and_look('nextval', 20, NULL, NULL);		-- now both are known to be fast
CALL leave_and_look('nextval', 20, NULL, NULL);
CALL leave_and_look('lock', 20, NULL, NULL);
CALL leave_and_look('shared lock', 20, NULL, NULL);
CALL leave_and_look('xact lock', 20, NULL, NULL);
CALL leave_and_look('two keys', 20, NULL, NULL);
CALL leave_and_look('lock and fail', 20, NULL, NULL);
CALL leave_and_look('encoding', 20, NULL, NULL);
CALL leave_and_look('gucs', 20, NULL, NULL);
CALL leave_and_look('role', 20, NULL, NULL);
CALL leave_and_look('authorization', 20, NULL, NULL);
CALL leave_and_look('hold', 10, NULL, NULL);		-- it runs alone from here on
CALL leave_and_look('listen', 5, NULL, NULL);
CALL leave_and_look('load', 5, NULL, NULL);
CALL leave_and_look('temporary', 10, NULL, NULL);
CALL leave_and_look('schema path', 5, NULL, NULL);
CALL leave_and_look('function', 5, NULL, NULL);
CALL leave_and_look('prepare', 5, NULL, NULL);
CALL leave_and_look('lock', 5, NULL, NULL);
CALL leave_and_look('gucs', 5, NULL, NULL);
CALL leave_and_look('authorization', 5, NULL, NULL);
-- nobody holds a lock any more
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND (objid BETWEEN 4713 AND 4715 OR classid = 47);

-- A lock of the session is held until the commit that its node shares, and is not refused to a node of the same execution.
SELECT goflow.define('session_both', $${"nodes": {"a": {"type": "sql", "sql": "SELECT pg_try_advisory_lock(4716) AS x"},
  "b": {"type": "sql", "after": "a", "sql": "SELECT pg_try_advisory_lock(4716) AS x"}}, "output": {"both": "a.x AND b.x"}}$$);
SELECT goflow.start('session_both') AS both \gset
SELECT goflow.wait(:'both', '90 s');
SELECT goflow.result(:'both');

SELECT goflow.drop(w) FROM unnest('{session_leave,session_look,session_both}'::text[]) w;
DROP SCHEMA session_test CASCADE;
DROP ROLE regress_goflow_session;
