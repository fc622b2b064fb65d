--
-- workflow: an execution that starts another.
--
CREATE SCHEMA subworkflow_test;
SET search_path = subworkflow_test;
\pset null '-'
\set QUIET on
\pset format unaligned
\pset footer off
SET client_min_messages = error;
SELECT goflow.define('child', '{"input": {"n": "int", "day": "date = ''2024-02-29''"},
  "nodes": {"half": {"type": "sql", "sql": "SELECT 100 / input.n AS h, input.day + 1 AS next"}},
  "output": {"half": "half.h", "next": "half.next"}}') > 0 AS ok;
SELECT goflow.define('sub_sleeper', '{"nodes": {"s": {"type": "sql", "sql": "SELECT 1 AS v FROM pg_sleep(60)"}}, "output": {"v": "s.v"}}') > 0 AS ok;
SELECT goflow.define('ends_partial', '{"nodes": {"s": {"type": "raise", "message": "''x''", "on_error": "continue"}}, "output": {"v": "1"}}') > 0 AS ok;
CREATE PROCEDURE until_it_sleeps() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		EXIT WHEN EXISTS (
			WITH RECURSIVE below AS (SELECT execution FROM test.runs UNION ALL SELECT e.execution FROM goflow.executions e JOIN below ON e.parent = below.execution)
			SELECT FROM below, goflow.nodes(below.execution) n WHERE n.node = 's' AND n.state = 'running');
		PERFORM pg_sleep(0.01);
		COMMIT;
	END LOOP;
END $$;

-- Its output is the node's; its error, too.
CALL test.both($${
  "w": {"type": "workflow", "workflow": "child", "input": {"n": "input.n * 2"}},
  "fin": {"type": "transform", "after": "w", "value": {"half": "(w.output ->> 'half')::int", "is_uuid": "w.execution IS NOT NULL"}}}$$, '{"input": {"n": "int = 5"}}');
TABLE test.journal;
CALL test.both($${
  "w": {"type": "workflow", "workflow": "child", "on_error": "continue", "input": {"n": "0"}},
  "v": {"type": "workflow", "after": "w", "workflow": "child", "on_error": "continue", "input": {"m": "0"}},
  "u": {"type": "workflow", "after": "v", "workflow": "nowhere", "on_error": "continue"},
  "x": {"type": "workflow", "after": "u", "workflow": "child", "version": 99, "on_error": "continue", "input": {"n": "1"}},
  "t": {"type": "try", "after": "x", "body": {"nodes": {"w2": {"type": "workflow", "workflow": "child", "input": {"n": "0"}}}},
        "catch": [{"on": "division_by_zero", "body": {"nodes": {"c": {"type": "transform", "value": {"code": "error.code", "message": "error.message"}}}}}]},
  "p": {"type": "workflow", "after": "t", "workflow": "ends_partial"}}$$);
TABLE test.journal;
-- In loops, side by side.
CALL test.both($${
  "l": {"type": "loop", "for": "ARRAY[1, 2, 4, 5]", "parallel": 2, "collect": "w.output -> 'half'",
        "body": {"nodes": {"w": {"type": "workflow", "workflow": "child", "input": {"n": "item.value", "day": "'2024-01-01'::date"}}}}}}$$);
SELECT DISTINCT node, state, result, only_by FROM test.journal ORDER BY 1, 3;
-- A child knows its parent; a chain of them.
SELECT goflow.define('middle', '{"nodes": {"w": {"type": "workflow", "workflow": "child", "input": {"n": "4"}}}, "output": {"o": "w.output"}}') > 0 AS ok;
CALL test.start('{"w": {"type": "workflow", "workflow": "middle"}}');
CALL test.wait();
WITH RECURSIVE up AS (SELECT e.*, 0 AS depth FROM goflow.executions e, test.runs r WHERE e.execution = r.execution
                      UNION ALL SELECT e.*, depth + 1 FROM goflow.executions e, up WHERE e.parent = up.execution)
SELECT depth, workflow, state, output FROM up ORDER BY depth;
-- wait false: started, and no more.
CALL test.start('{"w": {"type": "workflow", "workflow": "child", "wait": false, "input": {"n": "5"}}, "z": {"type": "transform", "after": "w", "value": {"n": "w.output IS NULL"}}}');
CALL test.wait();
SELECT node, state, result FROM test.journal;
SELECT goflow.wait(execution, '90 s'), workflow FROM goflow.executions WHERE parent = (SELECT execution FROM test.runs);
-- timeout: the child is cancelled.
CALL test.start('{"w": {"type": "workflow", "workflow": "sub_sleeper", "timeout": "200 ms", "on_error": "continue"}}');
CALL test.wait();
SELECT node, state, result FROM test.journal;
SELECT goflow.wait(execution, '90 s') FROM goflow.executions WHERE parent = (SELECT execution FROM test.runs);
-- A cancel of the parent passes down; until then it waits.
CALL test.start('{"t": {"type": "try", "body": {"nodes": {"w": {"type": "workflow", "workflow": "sub_sleeper"}}}, "finally": {"nodes": {"f": {"type": "sql", "sql": "SELECT 1 AS x"}}}}}');
CALL until_it_sleeps();
SELECT state FROM goflow.executions WHERE execution = (SELECT execution FROM test.runs);
SELECT goflow.cancel(execution) FROM test.runs;
CALL test.wait();
SELECT node, state, result FROM test.journal;
SELECT goflow.wait(execution, '90 s') FROM goflow.executions WHERE parent = (SELECT execution FROM test.runs);
-- So does its priority.
CREATE PROCEDURE until_priority(p int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		EXIT WHEN (SELECT bool_and(priority = p) FROM goflow.executions WHERE state NOT IN ('completed', 'failed', 'cancelled', 'partial') AND workflow IN ('sub_sleeper', 'sub_middle', 'test'));
		PERFORM pg_sleep(0.01);
		COMMIT;
	END LOOP;
END $$;
SELECT goflow.define('sub_middle', '{"nodes": {"w": {"type": "workflow", "workflow": "sub_sleeper"}}}') > 0 AS ok;
CALL test.start('{"w": {"type": "workflow", "workflow": "sub_middle"}}');
CALL until_it_sleeps();
SELECT goflow.set_priority(execution, 7) FROM test.runs;
CALL until_priority(7);
SELECT workflow, priority FROM goflow.executions WHERE workflow IN ('sub_sleeper', 'sub_middle', 'test') AND priority = 7 ORDER BY 1;
SELECT goflow.cancel(execution) FROM test.runs;
CALL test.wait();
SELECT DISTINCT workflow, state FROM goflow.executions WHERE workflow IN ('sub_sleeper', 'sub_middle', 'test') AND priority = 7 ORDER BY 1;
-- A child that somebody cancels has failed, for its parent.
CALL test.start('{"w": {"type": "workflow", "workflow": "sub_sleeper"}}');
CALL until_it_sleeps();
SELECT goflow.cancel(execution, 'not needed') FROM goflow.executions WHERE parent = (SELECT execution FROM test.runs);
CALL test.wait();
SELECT node, state, result FROM test.journal;
-- What a child completes while its parent fails is undone, too: all that completed and nothing else.
CREATE TABLE closed (id serial, what text, i int);
SELECT goflow.define('sub_close', '{"input": {"i": "int"}, "nodes": {
   "c": {"type": "sql", "sql": "INSERT INTO subworkflow_test.closed (what, i) SELECT ''done'', input.i FROM pg_sleep(0.002 * input.i)"}}}') > 0 AS ok;
CREATE PROCEDURE close_all() LANGUAGE plpgsql AS $$
BEGIN
	FOR n IN 1..20 LOOP
		TRUNCATE subworkflow_test.closed;
		CALL test.start(jsonb_build_object('l', '{"type": "loop", "repeat": 6, "parallel": 6, "body": {"nodes": {
		   "w": {"type": "workflow", "workflow": "sub_close", "input": {"i": "loop.index"},
		         "compensate": "INSERT INTO subworkflow_test.closed (what, i) VALUES (''undone'', loop.index)"},
		   "bad": {"type": "sql", "after": "w", "sql": "SELECT 1 / (loop.index - 2) AS x"}}}}'::jsonb));
		CALL test.wait();
		IF EXISTS (SELECT i FROM subworkflow_test.closed GROUP BY i HAVING array_agg(what ORDER BY id) <> '{done,undone}') OR
		   NOT EXISTS (SELECT FROM subworkflow_test.closed WHERE i = 2) OR
		   EXISTS (SELECT FROM goflow.executions e, test.runs r WHERE e.parent = r.execution AND e.finished_at IS NULL) THEN
			RAISE NOTICE 'round %: %', n, (SELECT string_agg(what || ' ' || i, ', ' ORDER BY id) FROM subworkflow_test.closed);
		END IF;
		COMMIT;
	END LOOP;
END $$;
CALL close_all();
SELECT state, test.error(error) FROM test.runs;
-- A failed child is tried again as another execution.
CREATE SEQUENCE tries;
SELECT goflow.define('second_time', '{"nodes": {"s": {"type": "sql", "sql": "SELECT 1 / (nextval(''subworkflow_test.tries'') - 1) AS v"}}, "output": {"v": "s.v"}}') > 0 AS ok;
CALL test.start('{"w": {"type": "workflow", "workflow": "second_time", "retry": {"attempts": 3, "backoff": "1 ms"}}}');
CALL test.wait();
SELECT node, attempt, state, result FROM test.journal;
SELECT state, count(*) FROM goflow.executions WHERE parent = (SELECT execution FROM test.runs) GROUP BY 1 ORDER BY 1;
-- It may call itself, to a depth.
SELECT goflow.define('deep', '{"input": {"n": "int"}, "nodes": {"c": {"type": "condition", "if": "input.n > 0"},
   "w": {"type": "workflow", "after": "c:true", "workflow": "deep", "input": {"n": "input.n - 1"}}}, "output": {"n": "input.n", "below": "w.output"}}') > 0 AS ok;
SELECT goflow.run('deep', '{"n": 3}');
SELECT goflow.start('deep', '{"n": 3}') AS deep \gset
SELECT goflow.wait(:'deep', '90 s');
SELECT goflow.result(:'deep');
\set VERBOSITY terse
SELECT goflow.run('deep', '{"n": 200}');
SELECT goflow.start('deep', '{"n": 200}') AS deep \gset
SELECT goflow.wait(:'deep', '90 s');
SELECT goflow.result(:'deep');

DROP SCHEMA subworkflow_test CASCADE;
