--
-- Variables: declared types, scopes, and writers side by side.
--
CREATE SCHEMA variables_test;
SET search_path = variables_test;
\pset null '-'
\set QUIET on
\pset format unaligned
\pset footer off
\set VERBOSITY terse

-- The inner hides the outer; outside, the outer is as it was.  A body's is fresh in each run of it.
CALL test.both($${
  "before": {"type": "transform", "value": {"v": "vars.v", "w": "vars.w"}},
  "l": {"type": "loop", "after": "before", "for": "ARRAY[1, 2]", "as": "i", "body": {"variables": {"v": "text = 'loop ' || i.value", "sum": "int"}, "nodes": {
     "fresh": {"type": "transform", "value": {"v": "vars.v", "sum": "vars.sum"}},
     "s": {"type": "set", "after": "fresh", "set": {"v": "vars.v || ' set'", "w": "vars.w + i.value", "sum": "coalesce(vars.sum, 0) + 1"}},
     "t": {"type": "try", "after": "s", "body": {"variables": {"v": "numeric(5,2) = 1.239"}, "nodes": {
              "deep": {"type": "set", "set": {"v": "vars.v * 2", "w": "vars.w * 10"}},
              "see": {"type": "transform", "after": "deep", "value": {"v": "vars.v", "w": "vars.w", "sum": "vars.sum"}},
              "r": {"type": "raise", "after": "see", "message": "vars.v::text"}}},
           "catch": [{"body": {"nodes": {"c": {"type": "transform", "value": {"v": "vars.v", "message": "error.message"}}}}}]}}}},
  "after": {"type": "transform", "after": "l", "value": {"v": "vars.v", "w": "vars.w"}}}$$,
  '{"variables": {"v": "text = ''workflow''", "w": "int = 1"}, "output": {"v": "vars.v", "w": "vars.w"}}');
TABLE test.journal;
SELECT variable, node, value FROM test.runs, goflow.variables(execution) WHERE by = 'run' ORDER BY seq;
SELECT count(*) AS differences FROM (
  (SELECT variable, node, value FROM test.runs, goflow.variables(execution) WHERE by = 'run' EXCEPT ALL SELECT variable, node, value FROM test.runs, goflow.variables(execution) WHERE by = 'workers')
  UNION ALL
  (SELECT variable, node, value FROM test.runs, goflow.variables(execution) WHERE by = 'workers' EXCEPT ALL SELECT variable, node, value FROM test.runs, goflow.variables(execution) WHERE by = 'run')) d;
-- Several at once: all are evaluated before the first is assigned.  A value is coerced as by an assignment.
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CALL test.both($${
  "swap": {"type": "set", "set": {"a": "vars.b", "b": "vars.a"}},
  "types": {"type": "set", "after": "swap", "set": {"p": "'7'", "d": "'2024-02-29'", "n": "NULL", "l": "ARRAY[vars.a, 1]", "j": "jsonb_build_object('a', vars.a)", "c": "'abcdef'::text::varchar(3)"}},
  "see": {"type": "transform", "after": "types", "value": {"a": "vars.a", "b": "vars.b", "p": "vars.p + 1", "d": "vars.d + 1", "n": "vars.n IS NULL", "l": "vars.l[2:]", "j": "vars.j ->> 'a'", "c": "vars.c"}},
  "bad": {"type": "set", "after": "see", "on_error": "continue", "set": {"a": "-1", "p": "-1"}},
  "last": {"type": "transform", "after": "bad", "value": {"a": "vars.a", "p": "vars.p"}}}$$,
  '{"variables": {"a": "int = 1", "b": "int = 2", "p": "variables_test.positive = 1", "d": "date", "n": "int = 3", "l": "int[]", "j": "jsonb", "c": "varchar(3)"}}');
TABLE test.journal;
-- What a segment that is rolled back had assigned is not there.
CALL test.both($${
  "s": {"type": "set", "set": {"v": "'first'"}},
  "t": {"type": "try", "after": "s", "body": {"nodes": {"a": {"type": "set", "set": {"v": "vars.v || ' second'"}}, "b": {"type": "raise", "after": "a", "message": "vars.v"}}},
        "catch": [{"body": {"nodes": {"c": {"type": "set", "set": {"v": "vars.v || ' third'"}}}}}]},
  "u": {"type": "set", "after": "t", "on_error": "continue", "set": {"v": "(1 / 0)::text"}}}$$, '{"variables": {"v": "text"}, "output": {"v": "vars.v"}}');
SELECT node, state, result, only_by FROM test.journal WHERE node IN ('t/a', 't/b', '(execution)');

-- Writers side by side, three at a time, each in a worker of its own: every assignment is kept
-- under a number of its own, and the last to commit is in force.
CREATE SEQUENCE began;
CREATE FUNCTION together(i int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval('variables_test.began');
	FOR tries IN 1 .. 20000 LOOP
		EXIT WHEN (SELECT last_value FROM variables_test.began) >= (i + 2) / 3 * 3;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN i;
END $$;
CALL test.start($${
  "l": {"type": "loop", "repeat": 12, "parallel": 3, "body": {"nodes": {
     "s": {"type": "set", "set": {"last": "variables_test.together(loop.index::int)", "other": "loop.index::text"}}}}},
  "d": {"type": "delay", "after": "l", "for": "'1 ms'"},
  "see": {"type": "transform", "after": "d", "value": {"last": "vars.last"}}}$$, '{"variables": {"last": "int = 0", "other": "text"}, "output": {"last": "vars.last", "other": "vars.other"}}');
CALL test.wait();
SELECT node, attempt, state, count(*) FROM test.journal GROUP BY 1, 2, 3 ORDER BY 1;
SELECT variable, count(*), count(DISTINCT seq) AS numbers, count(DISTINCT value) AS values FROM test.runs, goflow.variables(execution) GROUP BY 1 ORDER BY 1;
SELECT (SELECT value FROM goflow.variables(execution) WHERE variable = 'last' ORDER BY seq DESC LIMIT 1) = output -> 'last' AS last_is_in_force,
       output ->> 'other' = output ->> 'last' AS of_one_node FROM test.runs;

-- The first assignments stand in the execution's row, as far as they are few and short; for who reads
-- them, in the execution that goes on after a commit or in its history, they are as the others.
CALL test.start($${
  "l": {"type": "loop", "repeat": 40, "body": {"nodes": {"s": {"type": "set", "set": {"v": "vars.v + 1"}}}}},
  "d": {"type": "delay", "after": "l", "for": "'1 ms'"},
  "s2": {"type": "set", "after": "d", "set": {"w": "vars.w || '!'"}}}$$,
  '{"variables": {"v": "int = 0", "w": "text = ''first''"}, "output": {"v": "vars.v", "w": "vars.w"}}');
CALL test.wait();
SELECT runs.output, assignments - with_rows BETWEEN 2 AND 32 AS are_few, with_rows > 0 AS others, length(assigned) < 500 AS are_short, assignments
FROM test.runs JOIN goflow.execution e ON execution_id = execution,
	LATERAL (SELECT count(*) FROM goflow.variables(execution)) a (assignments),
	LATERAL (SELECT count(*) FROM goflow.variable v WHERE v.execution_id = e.execution_id) v (with_rows);
SELECT count(*), count(DISTINCT seq) AS numbers, count(node) AS by_nodes,
       bool_and(assigned_at BETWEEN e.started_at AND e.finished_at) AS in_time,
       bool_and(variable = 'w' OR (value #>> '{}')::int = rank - 1) AS in_order
FROM (SELECT execution, a.*, row_number() OVER (PARTITION BY variable ORDER BY ordinality) AS rank
      FROM test.runs, goflow.variables(execution) WITH ORDINALITY a) a JOIN goflow.executions e USING (execution);
SELECT count(*) FROM test.runs, goflow.events(execution)
WHERE CASE WHEN event = 'variable_changed' AND data ->> 'variable' = 'v' THEN (data ->> 'new')::int = (data ->> 'old')::int + 1 END;
CALL test.start('{"d": {"type": "delay", "for": "interval ''1 ms''"}}',
  '{"variables": {"big": "text = repeat(''x'', 1000)", "v": "int = 1"}, "output": {"big": "length(vars.big)", "v": "vars.v"}}');
CALL test.wait();
SELECT runs.output, length(assigned) < 20 AS is_short, (SELECT array_agg(variable ORDER BY seq) FROM goflow.variable v WHERE v.execution_id = e.execution_id) AS with_rows
FROM test.runs JOIN goflow.execution e ON execution_id = execution;

SET client_min_messages = warning;
DROP SCHEMA variables_test CASCADE;
