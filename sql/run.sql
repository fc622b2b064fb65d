--
-- run(): a workflow in the caller's session and transaction.
--
CREATE SCHEMA run_test;
SET search_path = run_test;
CREATE TABLE account (id int PRIMARY KEY, balance numeric NOT NULL CHECK (balance >= 0));
INSERT INTO account VALUES (1, 100), (2, 0);

-- Money moves in two steps; the output is an object of expressions.
SELECT goflow.define('transfer', $${
  "input": {"amount": "numeric", "from_id": "int = 1", "to_id": "int = 2"},
  "nodes": {
    "take": {"type": "sql", "sql": "UPDATE account a SET balance = balance - input.amount WHERE a.id = input.from_id RETURNING balance"},
    "give": {"type": "sql", "after": "take",
             "sql": "UPDATE account a SET balance = balance + input.amount WHERE a.id = input.to_id RETURNING balance"}
  },
  "output": {"left": "take.balance", "there": "give.balance", "moved": "input.amount"}
}$$);
SELECT goflow.run('transfer', '{"amount": 30}');
SELECT * FROM account ORDER BY id;

-- It is stored like any other execution, finished.
SELECT workflow, version, state, started_at IS NOT NULL AS started, finished_at >= started_at AS finished,
       run_as = current_user::regrole AS mine, started_by, output, error
  FROM goflow.executions WHERE workflow = 'transfer';
SELECT n.node, n.state, n.attempt, n.output
  FROM goflow.executions e, goflow.nodes(e.execution) n WHERE workflow = 'transfer' ORDER BY n.seq;

-- It is part of the caller's transaction: gone when that is rolled back.
BEGIN;
SELECT goflow.run('transfer', '{"amount": 5}');
SELECT goflow.run('transfer', '{"amount": 5}');
SELECT * FROM account ORDER BY id;
SELECT count(*) FROM goflow.executions WHERE workflow = 'transfer';
ROLLBACK;
SELECT * FROM account ORDER BY id;
SELECT count(*) FROM goflow.executions WHERE workflow = 'transfer';
BEGIN;
SAVEPOINT s;
SELECT goflow.run('transfer', '{"amount": 5}');
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM goflow.executions WHERE workflow = 'transfer';

-- It sees what the transaction has done, and is seen by it at once.
BEGIN;
UPDATE account SET balance = 1000 WHERE id = 1;
SELECT goflow.run('transfer', '{"amount": 1000}');
ROLLBACK;

-- An error of a node is raised as it is, with the node in its context.
SELECT goflow.run('transfer', '{"amount": 71}');
SELECT * FROM account ORDER BY id;
DO $$
DECLARE state text; message text; context text; tab text; con text;
BEGIN
	PERFORM goflow.run('transfer', '{"amount": 71}');
EXCEPTION WHEN check_violation THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, context = PG_EXCEPTION_CONTEXT,
		tab = TABLE_NAME, con = CONSTRAINT_NAME;
	RAISE NOTICE '% | % | % | %', state, message, tab, con;
	RAISE NOTICE '%', context;
END $$;

-- raise => false says what happened instead.  What the nodes before have done stays.
SELECT r - 'execution' - 'error' AS result, r->'error'->>'code' AS code, r->'error'->>'message' AS message,
       r->'error'->>'node' AS node, r->'error'->'attempt' AS attempt
  FROM goflow.run('transfer', '{"amount": 10, "to_id": 2}', raise => false) r;
SELECT goflow.run('transfer', '{"amount": 61}', raise => false) AS r \gset
SELECT :'r'::jsonb - 'execution' - 'error' AS result, :'r'::jsonb->'error'->>'message' AS message;
SELECT state, error->>'code' AS code, error->>'node' AS node FROM goflow.status((:'r'::jsonb->>'execution')::uuid);
SELECT node, state, error->>'code' AS code FROM goflow.nodes((:'r'::jsonb->>'execution')::uuid);
-- the second node fails: the first one's effect is there
INSERT INTO account VALUES (3, 0);
SELECT goflow.define('half', $${
  "nodes": {
    "good": {"type": "sql", "sql": "UPDATE account SET balance = 7 WHERE id = 3", "rows": "none"},
    "bad":  {"type": "sql", "after": "good", "sql": "SELECT 1 / (SELECT 0 FROM account LIMIT 1) AS x"},
    "idle": {"type": "sql", "after": "bad", "sql": "UPDATE account SET balance = 8 WHERE id = 3"}
  }
}$$);
SELECT goflow.run('half', raise => false) AS r \gset
SELECT node, state, output, error->>'message' AS error FROM goflow.nodes((:'r'::jsonb->>'execution')::uuid);
SELECT balance FROM account WHERE id = 3;

-- Without an output it returns NULL.
SELECT goflow.define('silent', '{"nodes": {"a": {"type": "sql", "sql": "SELECT 1 AS one"}}}');
SELECT goflow.run('silent') IS NULL AS "null";
SELECT goflow.run('silent', raise => false) - 'execution';

-- A node may run another workflow, or the same: they nest.
SELECT goflow.define('factorial', $${
  "input": {"n": "int"},
  "nodes": {
    "more": {"type": "condition", "if": "input.n > 1"},
    "rest": {"type": "sql", "after": "more:true",
             "sql": "SELECT (goflow.run('factorial', jsonb_build_object('n', input.n - 1))->>'f')::numeric AS f"}
  },
  "output": {"f": "input.n * coalesce(rest.f, 1)"}
}$$);
SELECT goflow.run('factorial', '{"n": 10}');
SELECT count(*) FROM goflow.executions WHERE workflow = 'factorial';
-- without end it stops at the server's limit, and the session lives on
SELECT goflow.define('endless', $${
  "nodes": {"again": {"type": "sql", "sql": "SELECT goflow.run('endless') AS x"}}}$$);
SET max_stack_depth = '500kB';
\set VERBOSITY sqlstate
SELECT goflow.run('endless');
\set VERBOSITY default
RESET max_stack_depth;
SELECT goflow.run('factorial', '{"n": 3}');

-- also inside of an expression, which is evaluated again while it is being evaluated
CREATE FUNCTION fibonacci(n int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN goflow.run('fibonacci', jsonb_build_object('n', n))->>'f';
END $$;
SELECT goflow.define('fibonacci', $${
  "input": {"n": "int"},
  "nodes": {
    "more": {"type": "condition", "if": "input.n > 1"},
    "sum":  {"type": "transform", "after": "more:true",
             "value": {"f": "'' || (fibonacci(input.n - 1)::int + fibonacci(input.n - 2)::int)"}}
  },
  "output": {"f": "coalesce(sum.f, input.n::text)"}
}$$);
SELECT goflow.run('fibonacci', '{"n": 12}');

-- An error in an inner one can be caught by the node that ran it.
CREATE FUNCTION try_half() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM goflow.run('half');
	RETURN 'fine';
EXCEPTION WHEN division_by_zero THEN
	RETURN 'caught';
END $$;
SELECT goflow.define('catcher', $${"nodes": {"a": {"type": "sql", "sql": "SELECT try_half() AS said"}}, "output": {"said": "a.said"}}$$);
SELECT goflow.run('catcher');
SELECT count(*) FROM goflow.executions WHERE workflow = 'half';

-- What has to wait is refused when it comes to waiting; what is past due need not.
SELECT goflow.define('doze', $${
  "input": {"pause": "interval"},
  "nodes": {"nap": {"type": "delay", "for": "input.pause"}}, "output": {"awake": "nap.woke_at = now()"}}$$);
\set VERBOSITY terse
SELECT goflow.run('doze', '{"pause": "1 hour"}');
\set VERBOSITY default
SELECT goflow.run('doze', '{"pause": "-1 hour"}');
SELECT goflow.run('doze', '{"pause": "0"}');
SELECT r->>'state' AS state, r->'error'->>'code' AS code FROM goflow.run('doze', '{"pause": "1 hour"}', raise => false) r;

-- It can be asked for a version, and for an entry.
SELECT goflow.define('silent', '{"nodes": {"a": {"type": "sql", "sql": "SELECT 2 AS one"}}, "output": {"v": "execution.version"}}');
SELECT goflow.run('silent');
SELECT goflow.run('silent', version => 1) IS NULL AS "null";
SELECT goflow.run('silent', version => 3);
SELECT goflow.run('factorial', '{"n": 4}', entry => 'rest');
SELECT goflow.run('factorial', '{"n": 4}', entry => 'rset');
SELECT goflow.run('nothing');
SELECT goflow.run(NULL);

-- It works in functions, in queries over many rows, and with a prepared statement.
SELECT n, goflow.run('factorial', jsonb_build_object('n', n))->'f' AS f FROM generate_series(1, 5) n;
PREPARE f AS SELECT goflow.run('factorial', jsonb_build_object('n', $1::int));
EXECUTE f (4);
EXECUTE f (5);

-- What changes within the transaction counts at once.
CREATE FUNCTION rate() RETURNS numeric LANGUAGE sql STABLE AS 'SELECT 0.1';
SELECT goflow.define('tax', $${
  "input": {"net": "numeric"},
  "nodes": {"t": {"type": "transform", "value": {"tax": "input.net * rate()"}},
            "r": {"type": "sql", "after": "t", "sql": "SELECT rate() AS rate"}},
  "output": {"tax": "t.tax", "rate": "r.rate"}}$$);
BEGIN;
SELECT goflow.run('tax', '{"net": 100}');
CREATE OR REPLACE FUNCTION rate() RETURNS numeric LANGUAGE sql STABLE AS 'SELECT 0.2';
SELECT goflow.run('tax', '{"net": 100}');
DROP FUNCTION rate();
CREATE FUNCTION rate() RETURNS numeric LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 0.3; END';
SELECT goflow.run('tax', '{"net": 100}');
SAVEPOINT s;
DROP FUNCTION rate();
SELECT goflow.run('tax', '{"net": 100}');
ROLLBACK TO s;
SELECT goflow.run('tax', '{"net": 100}');
ROLLBACK;
SELECT goflow.run('tax', '{"net": 100}');

-- The caller's settings are the caller's, before and after.
SET datestyle = 'ISO';
SELECT goflow.define('style', $${
  "settings": {"datestyle": "German"},
  "nodes": {"a": {"type": "sql", "sql": "SELECT current_setting('datestyle') AS style, date '2024-02-29'::text AS day"},
            "b": {"type": "sql", "settings": {"datestyle": "SQL, DMY"}, "after": "a", "sql": "SELECT date '2024-02-29'::text AS day"},
            "c": {"type": "sql", "after": "b", "sql": "SELECT date '2024-02-29'::text AS day"}},
  "output": {"a": "a.style", "a_day": "a.day", "b": "b.day", "c": "c.day"}}$$);
SELECT goflow.run('style');
SHOW datestyle;
-- also after an error
SELECT goflow.define('style_error', $${
  "settings": {"datestyle": "German"}, "nodes": {"b": {"type": "sql", "settings": {"work_mem": "1MB"}, "sql": "SELECT 1 / 0 AS x"}}}$$);
BEGIN;
SAVEPOINT s;
SELECT goflow.run('style_error');
ROLLBACK TO s;
SHOW datestyle;
SELECT goflow.run('style_error', raise => false)->>'state' AS state;
SHOW datestyle;
SHOW work_mem;
COMMIT;
RESET datestyle;

-- Not where nothing can be written.
BEGIN READ ONLY;
SELECT goflow.run('silent');
ROLLBACK;

SELECT goflow.drop(w) FROM unnest('{transfer,half,silent,factorial,endless,catcher,fibonacci,tax,doze,style,style_error}'::text[]) w;
SET client_min_messages = warning;
DROP SCHEMA run_test CASCADE;

-- the caller's statement_timeout holds on after errors that the workflow handles
SELECT goflow.define('run_endless', '{"nodes": {"l": {"type": "loop", "repeat": 10000000, "body": {"nodes": {
  "s": {"type": "sql", "sql": "SELECT 1 / 0 AS x", "on_error": "continue"}}}}}}');
SET statement_timeout = '300ms';
\set VERBOSITY terse
SELECT goflow.run('run_endless');
\set VERBOSITY default
RESET statement_timeout;
SELECT goflow.drop('run_endless');
