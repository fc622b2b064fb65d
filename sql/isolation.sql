--
-- "isolation" of a sql node: a transaction of its own, which sees one moment,
-- and which runs again when it comes into conflict with another.
--
CREATE SCHEMA isolation_test;
SET search_path = isolation_test;
CREATE TABLE account (name text PRIMARY KEY, amount int);
INSERT INTO account VALUES ('a', 100), ('b', 100);
\pset null '-'
\set QUIET on
\pset format unaligned
\pset footer off
\set VERBOSITY terse

SELECT key, message, hint FROM goflow.validate('{"nodes": {
  "a": {"type": "sql", "isolation": "chaos", "sql": "SELECT 1 AS x"},
  "b": {"type": "sql", "isolation": "serializable", "atomic": false, "sql": "VACUUM isolation_test.account"},
  "c": {"type": "transform", "isolation": "serializable", "value": {"x": "1"}}}}') WHERE severity = 'error' ORDER BY node;
SELECT goflow.sql('a', 'SELECT 1', isolation => 'serializable');

-- What surrounds such a node is as ever.
CREATE FUNCTION level() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT current_setting('transaction_isolation') $$;
CALL test.start($${
  "before": {"type": "sql", "sql": "SELECT level() AS v"},
  "rr": {"type": "sql", "after": "before", "isolation": "repeatable read", "sql": "SELECT level() AS v"},
  "ser": {"type": "sql", "after": "rr", "isolation": "serializable", "sql": "SELECT level() AS v"},
  "rc": {"type": "sql", "after": "ser", "isolation": "read committed", "sql": "SELECT level() AS v"}}$$);
CALL test.wait();
SELECT node, state, result FROM test.journal;
-- In run() it is the caller's transaction that must have it.
SELECT goflow.run('test');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT goflow.run('test') IS NULL AS done;
COMMIT;

-- One moment: a second look sees what the first one saw, whatever was committed between.
CREATE FUNCTION look_twice() RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE first int := (SELECT sum(amount) FROM isolation_test.account);
BEGIN
	FOR i IN 1 .. 20000 LOOP
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 5150);
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN ARRAY[first, (SELECT sum(amount) FROM isolation_test.account)];
END $$;
CREATE PROCEDURE meanwhile() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%look_twice%' AND backend_type = 'goflow worker');
		PERFORM pg_sleep(0.01);
	END LOOP;
	UPDATE isolation_test.account SET amount = amount + 1;
	COMMIT;
	PERFORM pg_advisory_lock(5150);
	CALL test.wait();
	PERFORM pg_advisory_unlock(5150);
END $$;
CALL test.start('{"look": {"type": "sql", "isolation": "repeatable read", "sql": "SELECT look_twice() AS v"}}');
CALL meanwhile();
SELECT node, state, result FROM test.journal;
CALL test.start('{"look": {"type": "sql", "sql": "SELECT look_twice() AS v"}}');
CALL meanwhile();
SELECT node, state, result FROM test.journal;

-- Side by side on one row: each that loses runs again, and no change is lost.
CALL test.start($${"l": {"type": "loop", "repeat": 20, "parallel": 4, "body": {"nodes": {
  "add": {"type": "sql", "isolation": "serializable", "retry": {"attempts": 50, "backoff": "1 ms", "on": "40"},
          "sql": "WITH old AS MATERIALIZED (SELECT amount, pg_sleep(0.002) FROM account WHERE name = 'a') UPDATE account SET amount = old.amount + 1 FROM old WHERE name = 'a'"}}}}}$$);
CALL test.wait();
SELECT DISTINCT node, state FROM test.journal WHERE state <> 'failed' ORDER BY 1;
SELECT * FROM account ORDER BY name;

SET client_min_messages = warning;
DROP SCHEMA isolation_test CASCADE;
