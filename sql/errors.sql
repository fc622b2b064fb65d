--
-- Errors: a node that fails fails its execution, and nothing else.
--
CREATE SCHEMA errors_test;
SET search_path = errors_test;
SET client_min_messages = error;
\pset null '-'
CREATE TABLE item (id int PRIMARY KEY, qty int CHECK (qty >= 0), CONSTRAINT unique_qty UNIQUE (qty) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE log (what text);

-- Runs one in a worker, and returns its id.
CREATE PROCEDURE run_in_worker(workflow text, input jsonb DEFAULT '{}', INOUT execution uuid DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
	execution := goflow.start(workflow, input);
	COMMIT;
	PERFORM goflow.wait(execution, '90 s');
END $$;

-- The error is the server's own: message, SQLSTATE, detail, hint, and where it was.
SELECT goflow.define('breaks', $${
  "input": {"qty": "int"},
  "nodes": {
    "before": {"type": "sql", "sql": "INSERT INTO log VALUES ('before')"},
    "bad":    {"type": "sql", "after": "before", "sql": "INSERT INTO item VALUES (1, input.qty)"},
    "beside": {"type": "delay", "after": "before", "for": "'1 hour'"},
    "later":  {"type": "sql", "after": "bad", "sql": "INSERT INTO log VALUES ('later')"}}}$$);
CALL run_in_worker('breaks', '{"qty": -1}') \gset
SELECT state, error FROM goflow.status(:'execution');
SELECT node, attempt, state, error->>'code' AS code FROM goflow.nodes(:'execution') ORDER BY node;
SELECT * FROM goflow.progress(:'execution');
-- result() raises it again
SELECT goflow.result(:'execution');
DO $$ BEGIN PERFORM goflow.result(execution) FROM goflow.executions WHERE workflow = 'breaks'; EXCEPTION WHEN check_violation THEN RAISE INFO 'it is a check_violation'; END $$;
-- what was committed before it stays
SELECT * FROM log;
SELECT goflow.wait(:'execution'), goflow.cancel(:'execution');

-- Errors of users: RAISE with everything.
CREATE FUNCTION complain() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	RAISE 'the box is full' USING ERRCODE = 'UX001', DETAIL = 'It holds 10.', HINT = 'Take a larger one.';
END $$;
SELECT goflow.define('complains', '{"nodes": {"a": {"type": "transform", "value": {"x": "complain()"}}}, "output": {"x": "a.x"}}');
CALL run_in_worker('complains') \gset
SELECT error FROM goflow.status(:'execution');
SELECT goflow.result(:'execution');
SELECT goflow.run('complains');
SELECT (r->'error') = (SELECT error FROM goflow.status(:'execution')) AS same_inline FROM goflow.run('complains', raise => false) r;

-- In the output, and in the first value of a variable: then no node is at fault.
SELECT goflow.define('bad_output', '{"nodes": {"a": {"type": "sql", "sql": "INSERT INTO log VALUES (''kept'')"}}, "output": {"x": "complain()"}}');
CALL run_in_worker('bad_output') \gset
SELECT state, error->>'code' AS code, error->>'node' AS node, error->>'context' AS context FROM goflow.status(:'execution');
SELECT node, state FROM goflow.nodes(:'execution');
SELECT goflow.define('bad_variable', '{"variables": {"v": "int = complain()"}, "nodes": {"a": {"type": "sql", "sql": "INSERT INTO log VALUES (''never'')"}}}');
CALL run_in_worker('bad_variable') \gset
SELECT state, error->>'code' AS code, error->>'node' AS node, error->>'context' AS context FROM goflow.status(:'execution');
SELECT node, state FROM goflow.nodes(:'execution');
SELECT * FROM goflow.variables(:'execution');
SELECT what FROM log;

-- Executions side by side share commits; one that fails takes nothing of the others with it.
-- The second time the nodes are known as fast, and hundreds run in one transaction.
TRUNCATE log;
CREATE TABLE number (n int PRIMARY KEY);
SELECT goflow.define('some_bad', $${
  "input": {"n": "int", "round": "int"},
  "nodes": {
    "first":  {"type": "sql", "sql": "INSERT INTO log VALUES (input.round || ' first')"},
    "second": {"type": "sql", "after": "first", "sql": "INSERT INTO number VALUES (input.n + 1000 * input.round + 1 / (input.n % 7))"},
    "third":  {"type": "sql", "after": "second", "sql": "INSERT INTO log VALUES (input.round || ' third')"}}}$$);
CREATE PROCEDURE run_many(workflow text, round int) LANGUAGE plpgsql AS $$
DECLARE ids uuid[];
BEGIN
	SELECT array_agg(e) INTO ids FROM goflow.start_many(workflow,
		(SELECT array_agg(jsonb_build_object('n', i, 'round', round)) FROM generate_series(1, 280) i)) e;
	COMMIT;
	PERFORM goflow.wait(e, '90 s') FROM unnest(ids) e;
END $$;
CALL run_many('some_bad', 1);
CALL run_many('some_bad', 2);
CALL run_many('some_bad', 3);
SELECT state, error->>'code' AS code, error->>'node' AS node, count(*) FROM goflow.executions WHERE workflow = 'some_bad' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT what, count(*) FROM log GROUP BY what ORDER BY what;
SELECT count(*) FROM number;
SELECT n.node, n.state, count(*), max(n.attempt) FROM goflow.executions e, goflow.nodes(e.execution) n WHERE e.workflow = 'some_bad' GROUP BY 1, 2 ORDER BY 1, 2;

-- A deferred constraint is checked at commit: it fails the node that broke it.
SELECT goflow.define('deferred', $${
  "input": {"n": "int", "round": "int"},
  "nodes": {
    "first":  {"type": "sql", "sql": "INSERT INTO log VALUES ('deferred ' || input.round)"},
    "second": {"type": "sql", "after": "first", "sql": "INSERT INTO item VALUES (input.n + 1000 * input.round, CASE WHEN input.n % 70 = 0 THEN 0 ELSE input.n + 1000 * input.round END)"},
    "third":  {"type": "sql", "after": "second", "sql": "INSERT INTO log VALUES ('deferred ' || input.round || ' third')"}}}$$);
INSERT INTO item VALUES (0, 0);
CALL run_many('deferred', 1);
CALL run_many('deferred', 2);
SELECT state, error->>'code' AS code, error->>'node' AS node, error->>'message' AS message, error->>'detail' AS detail, count(*)
  FROM goflow.executions WHERE workflow = 'deferred' GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2;
SELECT what, count(*) FROM log WHERE what LIKE 'deferred%' GROUP BY what ORDER BY what;
SELECT count(*), count(DISTINCT qty) FROM item;
-- a deferred trigger that raises, and one that writes
CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.n % 100 = 50 THEN RAISE 'too late for %', NEW.n % 1000; END IF;
	INSERT INTO log VALUES ('late');
	RETURN NULL;
END $$;
CREATE TABLE slow_check (n int);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON slow_check DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
SELECT goflow.define('late', $${
  "input": {"n": "int", "round": "int"},
  "nodes": {"sole": {"type": "sql", "sql": "INSERT INTO slow_check VALUES (input.n)"}}}$$);
CALL run_many('late', 1);
CALL run_many('late', 2);
SELECT state, error->>'message' AS message, count(*) FROM goflow.executions WHERE workflow = 'late' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) AS rows, (SELECT count(*) FROM log WHERE what = 'late') AS late FROM slow_check;

-- PL/pgSQL that catches errors of its own is its own affair.
CREATE FUNCTION swallow(n int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		INSERT INTO log VALUES ('inner');
		PERFORM 1 / n;
	EXCEPTION WHEN division_by_zero THEN
		INSERT INTO log VALUES ('caught');
	END;
	FOR i IN 1 .. 100 LOOP
		BEGIN
			PERFORM i / (i % 2);
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	RETURN 'fine';
END $$;
TRUNCATE log;
SELECT goflow.define('swallows', $${
  "input": {"n": "int", "round": "int"},
  "nodes": {"a": {"type": "sql", "sql": "SELECT swallow(input.n % 2) AS said"}}, "output": {"said": "a.said"}}$$);
CALL run_many('swallows', 1);
CALL run_many('swallows', 2);
SELECT state, output, count(*) FROM goflow.executions WHERE workflow = 'swallows' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT what, count(*) FROM log GROUP BY what ORDER BY what;

-- Two executions that lock in opposite order: both get there, whatever the server does about it.
CREATE TABLE seat (id int PRIMARY KEY, n int DEFAULT 0);
INSERT INTO seat VALUES (1), (2);
SET deadlock_timeout = '10 ms';
SELECT goflow.define('lock', $${
  "input": {"n": "int", "round": "int"},
  "nodes": {"a": {"type": "sql", "rows": "none", "sql": "UPDATE seat SET n = n + 1 WHERE id = 1 + input.n % 2"},
            "b": {"type": "sql", "after": "a", "rows": "none", "sql": "UPDATE seat SET n = n + 1 WHERE id = 2 - input.n % 2"}}}$$);
CALL run_many('lock', 1);
CALL run_many('lock', 2);
SELECT state, error, count(*) FROM goflow.executions WHERE workflow = 'lock' GROUP BY 1, 2;
SELECT n FROM seat;

-- A node that is cancelled from outside, or runs into its statement_timeout, fails as any other.
SELECT goflow.define('timeouts', $${"nodes": {
  "a": {"type": "sql", "settings": {"statement_timeout": "20ms"}, "sql": "SELECT pg_sleep(60)"},
  "b": {"type": "sql", "after": "a", "sql": "SELECT 1 AS x"}}}$$);
CALL run_in_worker('timeouts') \gset
SELECT state, error->>'code' AS code, error->>'message' AS message, error->>'node' AS node FROM goflow.status(:'execution');
SELECT goflow.define('victim', $${"nodes": {"a": {"type": "sql", "sql": "SELECT pg_sleep(60), 'victim' AS x"}}}$$);
SELECT goflow.start('victim') AS v \gset
DO $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		PERFORM pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%''victim''%' AND backend_type = 'goflow worker' AND wait_event = 'PgSleep';
		EXIT WHEN FOUND;
		PERFORM pg_sleep(0.01);
		PERFORM pg_stat_clear_snapshot();
	END LOOP;
END $$;
SELECT goflow.wait(:'v', '90 s');
SELECT error - 'context' AS error FROM goflow.status(:'v');

-- Nothing of all this is left behind.
SELECT count(*) FROM goflow.executions WHERE finished_at IS NULL
   AND workflow IN ('breaks', 'complains', 'bad_output', 'bad_variable', 'some_bad', 'deferred', 'late', 'swallows', 'lock', 'timeouts', 'victim');

SELECT goflow.drop(w) FROM unnest('{breaks,complains,bad_output,bad_variable,some_bad,deferred,late,swallows,lock,timeouts,victim}'::text[]) w;
DROP SCHEMA errors_test CASCADE;
