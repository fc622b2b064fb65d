--
-- Every bound that a workflow has, or sets itself: what is allowed, and the error beyond it.
--
CREATE SCHEMA limits_test;
SET search_path = limits_test;
SET client_min_messages = error;
\set VERBOSITY default
\pset null '-'
-- how an execution ends, in workers, and by run()
CREATE FUNCTION outcome(state text, error jsonb) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', state, error->>'code', error->>'message', '(' || (error->>'detail') || ')', 'at ' || (error->>'node')) $$;
CREATE PROCEDURE check_both(name text, input jsonb DEFAULT '{}') LANGUAGE plpgsql AS $$
DECLARE e uuid := goflow.start(name, input); inline text;
BEGIN
  COMMIT;
  PERFORM goflow.wait(e, '60 s');
  RAISE INFO '%', outcome(s.state, s.error) FROM goflow.status(e) s;
  SELECT outcome(r->>'state', r->'error') INTO inline FROM goflow.run(name, input, raise => false) r;
  IF inline <> (SELECT outcome(s.state, s.error) FROM goflow.status(e) s) THEN
    RAISE INFO 'run(): %', inline;
  END IF;
END $$;

-- ---- what is said wrongly ----
SELECT code, node, key, message, hint FROM goflow.validate('{"limits": {"nodes": 0, "iterations": "many", "depth": 65, "executions": -1, "rows": 1.5, "result": "much", "time": 1},
  "nodes": {"a": {"type": "transform", "value": {"x": "1"}, "limits": {"nodes": 1, "rows": -1, "result": 0}},
            "b": {"type": "transform", "value": {"x": "1"}, "limits": 7},
            "t": {"type": "trigger", "limits": {}}}}');
SELECT code, key, message FROM goflow.validate('{"limits": {"nodes": 500000001, "iterations": 1000000001, "executions": 10000001, "rows": 1000000001, "result": "513 MB"},
  "nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}');
SELECT count(*) FROM goflow.validate('{"limits": {"nodes": 500000000, "iterations": 1000000000, "executions": 10000000, "rows": 1000000000, "result": "512 MB", "depth": 0},
  "nodes": {"a": {"type": "transform", "value": {"x": "1"}, "limits": {"rows": 0, "result": "1kB"}}}}');

-- ---- of a definition: size, nodes, levels, fields ----
SELECT goflow.define('limits_big', jsonb_build_object('description', repeat('x', 5 * 1024 * 1024), 'nodes', '{}'::jsonb));
SELECT goflow.define('limits_wide', jsonb_build_object('nodes', (SELECT jsonb_object_agg('n' || i, '{"type": "transform", "value": {"x": "1"}}'::jsonb) FROM generate_series(1, 10001) i)));
SELECT goflow.define('limits_fields', jsonb_build_object('nodes', '{"a": {"type": "transform", "value": {"x": "1"}}}'::jsonb,
  'input', (SELECT jsonb_object_agg('i' || i, 'int') FROM generate_series(1, 1001) i)));
DO $$
DECLARE body jsonb := '{"nodes": {"z": {"type": "transform", "value": {"x": "1"}}}}';
BEGIN
  FOR i IN 1 .. 65 LOOP
    body := jsonb_build_object('nodes', jsonb_build_object('l' || i, jsonb_build_object('type', 'loop', 'repeat', 1, 'body', body)));
  END LOOP;
  PERFORM goflow.define('limits_deep', body);
END $$;
SELECT goflow.define('limits_retry', '{"nodes": {"a": {"type": "transform", "value": {"x": "1"}, "retry": 1001}}}');
SELECT goflow.define('limits_parallel', '{"nodes": {"a": {"type": "loop", "repeat": 2, "parallel": 1001, "body": {"nodes": {"b": {"type": "transform", "value": {"x": "1"}}}}}}}');
SELECT goflow.define('limits_statements', '{"nodes": {"a": {"type": "sql", "sql": "SELECT 1 AS x; SELECT 2 AS x"}}}');

-- ---- nodes: a loop that catches everything ends all the same, its "finally" runs ----
CREATE TABLE ended (what text);
SELECT goflow.define('limits_nodes', $${"limits": {"nodes": 50}, "nodes": {
  "t": {"type": "try", "body": {"nodes": {
          "l": {"type": "loop", "while": "true", "body": {"nodes": {
             "a": {"type": "try", "body": {"nodes": {"r": {"type": "raise", "message": "'no'"}}}, "catch": [{"body": {"nodes": {"c": {"type": "transform", "value": {"x": "1"}}}}}]}}}}}},
        "catch": [{"body": {"nodes": {"never": {"type": "sql", "rows": "none", "sql": "INSERT INTO ended VALUES ('caught')"}}}}],
        "finally": {"nodes": {"f": {"type": "sql", "rows": "none", "sql": "INSERT INTO ended VALUES ('finally')"}}}}}}$$);
CALL check_both('limits_nodes');
SELECT what, count(*) FROM ended GROUP BY 1;
SELECT completed + failed + skipped BETWEEN 50 AND 60 AS counted FROM goflow.executions e, goflow.progress(e.execution) WHERE workflow = 'limits_nodes' AND started_by = 'manual' LIMIT 1;
-- a "finally" that does not end either
SELECT goflow.define('limits_finally', $${"limits": {"nodes": 40}, "nodes": {
  "t": {"type": "try",
        "body": {"nodes": {"l": {"type": "loop", "while": "true", "body": {"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}}}},
        "finally": {"nodes": {"m": {"type": "loop", "while": "true", "body": {"nodes": {"b": {"type": "transform", "value": {"x": "1"}}}}}}}}}}$$);
CALL check_both('limits_finally');
-- as many as it may
SELECT goflow.define('limits_enough', '{"limits": {"nodes": 6}, "nodes": {"l": {"type": "loop", "repeat": 5, "body": {"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}}}}');
CALL check_both('limits_enough');

-- ---- iterations ----
SELECT goflow.define('limits_iterations', $${"limits": {"iterations": 5}, "input": {"kind": "text"}, "nodes": {
  "w": {"type": "loop", "while": "input.kind = 'while'", "body": {"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}},
  "r": {"type": "loop", "after": ["w"], "repeat": "CASE WHEN input.kind = 'repeat' THEN 6 ELSE 5 END", "body": {"nodes": {"b": {"type": "transform", "value": {"x": "1"}}}}},
  "m": {"type": "loop", "after": ["r"], "repeat": "7", "max_iterations": 7, "body": {"nodes": {"c": {"type": "transform", "value": {"x": "1"}}}}}}}$$);
CALL check_both('limits_iterations', '{"kind": "while"}');
CALL check_both('limits_iterations', '{"kind": "repeat"}');
CALL check_both('limits_iterations', '{"kind": "none"}');

-- ---- depth ----
SELECT goflow.define('limits_recursion', '{"nodes": {"again": {"type": "transform", "value": {"x": "1"}}}}');
SELECT goflow.define('limits_recursion', $${"input": {"levels": "int"}, "nodes": {
  "more": {"type": "condition", "if": "input.levels > 0"},
  "again": {"type": "workflow", "after": ["more:true"], "workflow": "limits_recursion", "input": {"levels": "input.levels - 1"}}}}$$);
CALL check_both('limits_recursion', '{"levels": 64}');
CALL check_both('limits_recursion', '{"levels": 65}');
SELECT goflow.define('limits_depth', $${"limits": {"depth": 3}, "nodes": {"top": {"type": "workflow", "workflow": "limits_recursion", "input": {"levels": "2"}}}}$$);
CALL check_both('limits_depth');
SELECT goflow.define('limits_depth', $${"limits": {"depth": 3}, "nodes": {"top": {"type": "workflow", "workflow": "limits_recursion", "input": {"levels": "3"}}}}$$);
CALL check_both('limits_depth');
SELECT goflow.define('limits_depth', $${"limits": {"depth": 0}, "nodes": {"top": {"type": "workflow", "workflow": "limits_recursion", "input": {"levels": "0"}}}}$$);
CALL check_both('limits_depth');

-- ---- executions below one: a fork bomb ----
SELECT goflow.define('limits_bomb', '{"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}');
SELECT goflow.define('limits_bomb', $${"limits": {"executions": 100}, "nodes": {
  "a": {"type": "workflow", "workflow": "limits_bomb", "wait": false},
  "b": {"type": "workflow", "workflow": "limits_bomb", "wait": false}}}$$);
SELECT goflow.start('limits_bomb') AS bomb \gset
CREATE PROCEDURE until_quiet(pattern text) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. 20000 LOOP
    IF NOT EXISTS (SELECT FROM goflow.executions WHERE workflow LIKE pattern AND finished_at IS NULL) THEN RETURN; END IF;
    PERFORM pg_sleep(0.01);
    COMMIT;
  END LOOP;
  RAISE EXCEPTION 'it goes on';
END $$;
CALL until_quiet('limits_bomb');
SELECT state, error->>'code' AS code FROM goflow.status(:'bomb');
-- little more than it may: what others have started and not committed is not counted
SELECT count(*) BETWEEN 90 AND 400 AS bounded FROM goflow.executions WHERE workflow = 'limits_bomb';
SELECT DISTINCT error->>'message' AS message, error->>'detail' AS detail FROM goflow.executions WHERE workflow = 'limits_bomb' AND error->>'message' LIKE '%too many%';
SELECT goflow.run('limits_bomb');
-- the limit is that of the one at the top
SELECT goflow.define('limits_top', $${"limits": {"executions": 3}, "input": {"n": "int"}, "nodes": {
  "l": {"type": "loop", "repeat": "input.n", "body": {"nodes": {"c": {"type": "workflow", "workflow": "limits_recursion", "input": {"levels": "0"}}}}}}}$$);
CALL check_both('limits_top', '{"n": 3}');
CALL check_both('limits_top', '{"n": 4}');
SELECT goflow.define('limits_top', $${"limits": {"executions": 3}, "input": {"n": "int"}, "nodes": {
  "c": {"type": "workflow", "workflow": "limits_recursion", "input": {"levels": "input.n - 1"}}}}$$);
CALL check_both('limits_top', '{"n": 3}');
CALL check_both('limits_top', '{"n": 4}');

-- ---- rows and results ----
SELECT goflow.define('limits_rows', $${"limits": {"rows": 10}, "input": {"n": "int", "m": "int"}, "nodes": {
  "many": {"type": "sql", "rows": "many", "sql": "SELECT generate_series(1, input.n) AS i"},
  "more": {"type": "sql", "after": ["many"], "rows": "many", "sql": "SELECT i FROM generate_series(1, input.m) i", "limits": {"rows": 20}}}}$$);
CALL check_both('limits_rows', '{"n": 10, "m": 20}');
CALL check_both('limits_rows', '{"n": 11, "m": 20}');
CALL check_both('limits_rows', '{"n": 10, "m": 21}');
CALL check_both('limits_rows', '{"n": 1000000000, "m": 1}');
SELECT goflow.define('limits_items', $${"nodes": {
  "l": {"type": "loop", "for": "SELECT i FROM generate_series(1, 11) i", "limits": {"rows": 10}, "body": {"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}}}}$$);
CALL check_both('limits_items');
-- one row is kept of many, and none where none is wanted
SELECT goflow.define('limits_one', $${"nodes": {
  "none": {"type": "sql", "rows": "none", "sql": "SELECT repeat('x', 1000) FROM generate_series(1, 200000)"},
  "one":  {"type": "sql", "after": ["none"], "sql": "SELECT repeat('x', 1000) AS x FROM generate_series(1, 200000)"}}}$$);
CALL check_both('limits_one');
SELECT goflow.define('limits_result', $${"limits": {"result": "1 kB"}, "input": {"n": "int"}, "variables": {"v": "text"}, "nodes": {
  "a": {"type": "sql", "sql": "SELECT repeat('x', input.n) AS x, 'y' AS y", "limits": {"result": 2000}},
  "b": {"type": "set", "after": ["a"], "set": {"v": "repeat('x', input.n - 900)"}}},
  "output": {"x": "repeat('x', input.n - 850)"}}$$);
CALL check_both('limits_result', '{"n": 1800}');
CALL check_both('limits_result', '{"n": 2000}');
CALL check_both('limits_result', '{"n": 1950}');
CALL check_both('limits_result', '{"n": 1900}');
-- rows are no part of it
SELECT goflow.define('limits_result_rows', $${"limits": {"result": 10}, "nodes": {"a": {"type": "sql", "rows": "many", "sql": "SELECT repeat('x', 1000) AS x FROM generate_series(1, 10)"}}}$$);
CALL check_both('limits_result_rows');
-- a limit can be caught, as other errors of nodes can
SELECT goflow.define('limits_caught', $${"nodes": {
  "t": {"type": "try", "body": {"nodes": {"a": {"type": "sql", "sql": "SELECT repeat('x', 100) AS x", "limits": {"result": 10}}}},
        "catch": [{"on": "limit_exceeded", "body": {"nodes": {"c": {"type": "transform", "value": {"x": "1"}}}}}]}}}$$);
CALL check_both('limits_caught');

-- ---- what comes from outside ----
SELECT goflow.define('limits_payload', $${"input": {"x": "text = 'none'"}, "nodes": {"s": {"type": "signal", "payload": {"x": "text"}}}}$$);
SELECT goflow.start('limits_payload', jsonb_build_object('x', repeat('x', 64 * 1024 * 1024)));
SELECT goflow.start('limits_payload') AS waits \gset
SELECT goflow.signal(:'waits', 's', jsonb_build_object('x', repeat('x', 64 * 1024 * 1024)));
SELECT goflow.cancel(:'waits');

SELECT * FROM goflow.claim('{q}', "limit" => 10001);

-- ---- priority, and the text of a limit in the builder ----
SELECT goflow.start('limits_payload', priority => 101);
SELECT goflow.workflow(goflow.sql('a', 'SELECT 1 AS x', limits => '{"rows": 1}'), goflow.options(limits => '{"nodes": 5, "result": "1 MB"}'));
SELECT goflow.define('limits_script', goflow.workflow(goflow.sql('a', 'SELECT 1 AS x', limits => '{"rows": 1}'), goflow.options(limits => '{"nodes": 5, "result": "1 MB"}')));
SELECT goflow.script('limits_script');

CALL until_quiet('limits%');
SELECT goflow.drop(w) FROM (SELECT DISTINCT workflow FROM goflow.workflows WHERE workflow LIKE 'limits%') w(w);
DROP SCHEMA limits_test CASCADE;
