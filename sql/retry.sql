--
-- retry, timeout, on_error: what becomes of a node that fails.
--
CREATE SCHEMA retry_test;
SET search_path = retry_test;
\pset null '-'
\set QUIET on
\pset format unaligned
\pset footer off
-- Fails until it is called for the n-th time.
CREATE SEQUENCE calls;
CREATE FUNCTION from_call(n int, code text DEFAULT '40001') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE c bigint := nextval('retry_test.calls');
BEGIN
	IF c < n THEN RAISE EXCEPTION 'call %', c USING ERRCODE = code; END IF;
	RETURN c;
END $$;
\set reset 'ALTER SEQUENCE retry_test.calls RESTART'

-- A number of attempts; each is in the journal.
ALTER SEQUENCE calls RESTART;
CALL test.both($${"a": {"type": "sql", "retry": {"attempts": 3, "backoff": "0"}, "sql": "SELECT from_call(3, 'UX001') AS n"}, "b": {"type": "transform", "after": "a", "value": {"n": "a.n"}}}$$, reset => :'reset');
TABLE test.journal;
-- Exhausted: the last error counts.
ALTER SEQUENCE calls RESTART;
CALL test.both($${"a": {"type": "sql", "retry": {"attempts": 3, "backoff": "0"}, "sql": "SELECT from_call(5, 'UX001') AS n"}}$$, reset => :'reset');
TABLE test.journal;
-- Only on some errors.
ALTER SEQUENCE calls RESTART;
CALL test.start($${"a": {"type": "sql", "retry": {"attempts": 3, "backoff": "0", "on": ["UX", "unique_violation"]}, "sql": "SELECT from_call(2, 'UX001') AS n"},
  "b": {"type": "sql", "after": "a", "on_error": "continue", "retry": {"attempts": 3, "backoff": "0", "on": ["UX", "unique_violation"]}, "sql": "SELECT from_call(5, 'UY001') AS n"}}$$);
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal;
-- The workflow's default: for nodes that have none; not for raise, nor for nodes with bodies as a whole.
ALTER SEQUENCE calls RESTART;
CALL test.start($${"a": {"type": "loop", "repeat": 1, "body": {"nodes": {"s": {"type": "sql", "sql": "SELECT from_call(2, 'UX001') AS n"}}}},
  "b": {"type": "raise", "after": "a", "message": "'once'", "on_error": "continue"},
  "c": {"type": "sql", "after": "b", "retry": 1, "on_error": "continue", "sql": "SELECT 1 / 0 AS x"}}$$, '{"retry": {"attempts": 2, "backoff": "0"}}');
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal;
-- A loop, a try, a parallel again as a whole; error.attempt in a catch.
ALTER SEQUENCE calls RESTART;
CALL test.start($${
  "l": {"type": "loop", "repeat": 2, "retry": {"attempts": 3, "backoff": "0"}, "collect": "loop.index", "body": {"nodes": {"s": {"type": "sql", "sql": "SELECT from_call(3, 'UX001') AS n"}}}},
  "t": {"type": "try", "after": "l", "body": {"nodes": {"s": {"type": "sql", "retry": {"attempts": 2, "backoff": "0"}, "sql": "SELECT from_call(9, 'UX001') AS n"}}},
        "catch": [{"body": {"nodes": {"c": {"type": "transform", "value": {"attempt": "error.attempt", "node": "error.node"}}}}}]},
  "p": {"type": "parallel", "after": "t", "retry": {"attempts": 3, "backoff": "0"}, "branches": {"x": {"nodes": {"s": {"type": "sql", "sql": "SELECT from_call(8, 'UX001') AS n"}}, "output": {"n": "s.n"}}}},
  "q": {"type": "loop", "after": "p", "for": "SELECT from_call(11, 'UX001') AS n", "as": "r", "retry": {"attempts": 4, "backoff": "0"}, "collect": "r.n", "body": {"nodes": {"x": {"type": "transform", "value": {"v": "r.n"}}}}}}$$);
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal;
-- run() cannot wait.
CALL test.start('{"a": {"type": "sql", "retry": {"attempts": 2, "backoff": "1 ms"}, "sql": "SELECT 1 / 0 AS x"}}');
CALL test.wait();
SELECT goflow.run('test');
CALL test.start('{"l": {"type": "loop", "repeat": 1, "retry": 2, "body": {"nodes": {"r": {"type": "raise", "code": "UX001"}}}}}');
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal;
\set VERBOSITY terse
SELECT goflow.run('test', raise => false);
\set VERBOSITY default

-- backoff, factor, max_delay: 50, 100, 120 and 120 ms, without a worker meanwhile.
ALTER SEQUENCE calls RESTART;
CALL test.start($${"a": {"type": "sql", "retry": {"attempts": 6, "backoff": "50 ms", "factor": 2, "max_delay": "120 ms", "jitter": 0}, "sql": "SELECT from_call(5, 'UX001') AS n"},
   "l": {"type": "loop", "after": "a", "for": "SELECT from_call(7, 'UX001') AS n", "as": "r", "retry": {"attempts": 3, "backoff": "10 ms", "jitter": 0.5}, "body": {"nodes": {"x": {"type": "transform", "value": {"v": "r.n"}}}}}}$$);
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal;
SELECT attempt, round(extract(epoch FROM started_at - lag(finished_at) OVER (ORDER BY attempt)) * 1000) >= CASE attempt WHEN 2 THEN 50 WHEN 3 THEN 100 ELSE 120 END AS waited
  FROM test.runs, goflow.nodes(execution) WHERE node = 'a' ORDER BY 1;
-- While it waits, its state is retrying.
CALL test.start($${"a": {"type": "sql", "retry": {"attempts": 2, "backoff": "1 hour"}, "sql": "SELECT 1 / 0 AS x"}}$$);
DO $$ BEGIN FOR i IN 1 .. 20000 LOOP COMMIT; EXIT WHEN (SELECT state = 'waiting' FROM goflow.executions WHERE execution = (SELECT execution FROM test.runs)); PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT node, attempt, n.state, test.error(n.error) FROM test.runs r, goflow.nodes(r.execution) n ORDER BY attempt, n.seq;
SELECT goflow.cancel(execution) FROM test.runs;
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal;

-- timeout of a node: the statement is cancelled.  Caught, and retried.
CREATE SEQUENCE naps START 1;
CALL test.start($${
  "t": {"type": "try", "body": {"nodes": {"s": {"type": "sql", "timeout": "100 ms", "sql": "SELECT 1 AS v FROM pg_sleep(60)"}}},
        "catch": [{"on": "execution_timeout", "body": {"nodes": {"c": {"type": "transform", "value": {"code": "error.code", "node": "error.node"}}}}}]},
  "r": {"type": "sql", "after": "t", "timeout": "150 ms", "retry": {"attempts": 30, "backoff": "10 ms"}, "sql": "SELECT n FROM nextval('retry_test.naps') n, pg_sleep(CASE WHEN n < 3 THEN 60 ELSE 0 END)"}}$$);
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal WHERE attempt < 3;
-- (On a busy machine 150 ms may be too short for the third, but not for each that comes after it.)
SELECT state, attempt > 2 AS after_two FROM test.journal WHERE node = 'r' ORDER BY attempt DESC LIMIT 1;
SELECT state FROM test.runs;
-- of a loop, a parallel, a delay; the loop again.
CALL test.start($${
  "l": {"type": "loop", "repeat": 3, "timeout": "150 ms", "retry": {"attempts": 2, "backoff": "10 ms"}, "on_error": "continue", "body": {"nodes": {"d": {"type": "delay", "for": "CASE loop.index WHEN 1 THEN interval '0' ELSE interval '1 hour' END"}}}},
  "p": {"type": "parallel", "after": "l", "timeout": "100 ms", "on_error": "continue", "branches": {"a": {"nodes": {"u": {"type": "sql", "sql": "SELECT 1 AS v FROM pg_sleep(60)"}}}, "b": {"nodes": {"e": {"type": "delay", "for": "'1 hour'"}}}}},
  "s": {"type": "sql", "after": "p", "sql": "SELECT 1 AS v"}}$$);
CALL test.wait();
SELECT node, attempt, state, count(*), min(result) AS result FROM test.journal WHERE (node, state) <> ('l/d', 'completed') GROUP BY 1, 2, 3 ORDER BY node COLLATE "C", attempt, state;
-- of the workflow: nobody catches it, but a "finally" runs.
CALL test.start($${
  "t": {"type": "try", "body": {"nodes": {"s": {"type": "sql", "sql": "SELECT 1 AS v FROM pg_sleep(60)"}}},
        "catch": [{"body": {"nodes": {"c": {"type": "transform", "value": {"code": "error.code"}}}}}],
        "finally": {"nodes": {"f": {"type": "sql", "sql": "SELECT 'tidied' AS v"}}}},
  "never": {"type": "transform", "after": "t", "value": {"v": "1"}}}$$, '{"timeout": "200 ms"}');
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal;

-- on_error: go on as if it had completed, without the branch, or at another node.
CALL test.both($${
  "a": {"type": "sql", "on_error": "continue", "sql": "SELECT 1 / 0 AS x"},
  "b": {"type": "transform", "after": "a", "value": {"is_null": "a.x IS NULL"}},
  "c": {"type": "sql", "on_error": "skip", "sql": "SELECT 1 / 0 AS x"},
  "d": {"type": "transform", "after": "c", "value": {"v": "1"}},
  "e": {"type": "transform", "after": ["b", "d"], "value": {"v": "1"}}}$$);
TABLE test.journal ORDER BY node;
CALL test.both($${
  "a": {"type": "sql", "on_error": "mend", "sql": "SELECT 1 / input.n AS x"},
  "b": {"type": "transform", "after": "a", "value": {"v": "1"}},
  "mend": {"type": "transform", "value": {"v": "'mended'"}},
  "fin": {"type": "transform", "after": ["b", "mend"], "value": {"v": "mend.v"}}}$$, '{"input": {"n": "int = 0"}}');
TABLE test.journal ORDER BY node;
CALL test.both('{"a": {"type": "sql", "on_error": "mend", "sql": "SELECT 1 / input.n AS x"},
  "b": {"type": "transform", "after": "a", "value": {"v": "1"}},
  "mend": {"type": "transform", "value": {"v": "''mended''"}},
  "fin": {"type": "transform", "after": ["b", "mend"], "value": {"v": "mend.v"}}}', '{"input": {"n": "int = 0"}}', '{"n": 1}');
TABLE test.journal ORDER BY node;
-- For all nodes of the workflow; inside of bodies.
CALL test.both($${
  "l": {"type": "loop", "repeat": 3, "collect": "a.x", "body": {"nodes": {"a": {"type": "sql", "sql": "SELECT 6 / (loop.index - 2) AS x"}}}},
  "f": {"type": "sql", "after": "l", "on_error": "fail", "sql": "SELECT l.iterations"}}$$, '{"on_error": "skip"}');
TABLE test.journal;

SET client_min_messages = warning;
DROP SCHEMA retry_test CASCADE;
