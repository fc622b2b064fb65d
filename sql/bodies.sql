--
-- What concerns a body as a whole: first values of its variables, its output,
-- and how it ends; by run() and in workers alike.
--
CREATE SCHEMA bodies_test;
SET search_path = bodies_test;
\pset null '-'
\set QUIET on
\pset format unaligned
\pset footer off
\set VERBOSITY terse

-- The output of a try is that of its body, or of the catch that ran; a finally does not change it.
CALL test.both($${
  "good": {"type": "try", "body": {"nodes": {"a": {"type": "sql", "sql": "SELECT 7 AS x"}}, "output": {"x": "a.x", "from": "'body'"}},
           "catch": [{"body": {"nodes": {"c": {"type": "transform", "value": {"v": "1"}}}, "output": {"from": "'catch'"}}}],
           "finally": {"nodes": {"f": {"type": "transform", "value": {"v": "1"}}}}},
  "bad":  {"type": "try", "after": "good", "body": {"nodes": {"r": {"type": "raise", "code": "UX001"}}, "output": {"from": "'body'"}},
           "catch": [{"body": {"nodes": {"c2": {"type": "transform", "value": {"v": "1"}}}, "output": {"from": "'catch'", "code": "error.code"}}}]},
  "mute": {"type": "try", "after": "bad", "body": {"nodes": {"r2": {"type": "raise", "code": "UX001"}}, "output": {"from": "'body'"}},
           "catch": [{"body": {"nodes": {"c3": {"type": "transform", "value": {"v": "1"}}}}}]}}$$,
  '{"output": {"good": "good.output", "x": "(good.output ->> ''x'')::int + 1", "bad": "bad.output", "mute": "mute.output"}}');
TABLE test.journal;
-- That of a loop's body is what the loop collects.
CALL test.both($${"l": {"type": "loop", "for": "ARRAY[5, 6]", "as": "i", "body": {"nodes": {"a": {"type": "transform", "value": {"x": "i.value * 2"}}}, "output": {"i": "loop.index", "x": "a.x"}}}}$$);
TABLE test.journal;
SELECT key, message, hint FROM goflow.validate('{"nodes": {
  "l": {"type": "loop", "repeat": 1, "collect": "1", "body": {"nodes": {"a": {"type": "notify", "channel": "c"}}, "output": {"x": "1"}}},
  "t": {"type": "try", "body": {"nodes": {"b": {"type": "notify", "channel": "c"}}}, "finally": {"nodes": {"f": {"type": "notify", "channel": "c"}}, "output": {"x": "1"}}}}}') ORDER BY 1;

-- An error of an output, or of a first value, is an error of that body as a node's is.
CREATE FUNCTION in_try(body jsonb) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('t', jsonb_build_object('type', 'try', 'body', body,
    'catch', '[{"on": "division_by_zero", "body": {"nodes": {"c": {"type": "transform", "value": {"code": "error.code", "node": "error.node"}}}, "output": {"caught": "c.node"}}}]'::jsonb,
    'finally', '{"nodes": {"f": {"type": "transform", "value": {"v": "''tidied''"}}}}'::jsonb))
$$;
CALL test.both(in_try('{"nodes": {"a": {"type": "transform", "value": {"v": "1"}}}, "output": {"bad": "1 / (a.v - 1)"}}'));
TABLE test.journal;
CALL test.both(in_try('{"variables": {"z": "int = 0", "zz": "int = 1 / input.zero"}, "nodes": {"a": {"type": "transform", "value": {"v": "1"}}}}'),
  '{"input": {"zero": "int = 0"}}');
TABLE test.journal;
-- In the catch: the finally still runs, and the error goes on.
CALL test.both($${"t": {"type": "try", "body": {"nodes": {"r": {"type": "raise", "code": "UX001"}}},
  "catch": [{"body": {"variables": {"v": "int = 1 / input.zero"}, "nodes": {"c": {"type": "transform", "value": {"v": "1"}}}}}],
  "finally": {"nodes": {"f": {"type": "transform", "value": {"v": "'tidied'"}}}}}}$$, '{"input": {"zero": "int = 0"}}');
TABLE test.journal;
-- In the finally: the first error counts; without one, it is that.
CALL test.both($${"t": {"type": "try", "body": {"nodes": {"r": {"type": "raise", "code": "UX001"}}},
  "finally": {"variables": {"v": "int = 1 / input.zero"}, "nodes": {"f": {"type": "transform", "value": {"v": "1"}}}}}}$$, '{"input": {"zero": "int = 0"}}');
SELECT node, state, result, only_by FROM test.journal;
CALL test.both($${"t": {"type": "try", "body": {"nodes": {"r": {"type": "transform", "value": {"v": "1"}}}},
  "finally": {"variables": {"v": "int = 1 / input.zero"}, "nodes": {"f": {"type": "transform", "value": {"v": "1"}}}}}}$$, '{"input": {"zero": "int = 0"}}');
SELECT node, state, result, only_by FROM test.journal;
-- A break that is on its way to its loop hides no error.
CALL test.both($${"l": {"type": "loop", "repeat": 3, "body": {"nodes": {"t": {"type": "try", "body": {"nodes": {"b": {"type": "break"}}},
  "finally": {"variables": {"v": "int = 1 / input.zero"}, "nodes": {"f": {"type": "transform", "value": {"v": "1"}}}}}}}}}$$, '{"input": {"zero": "int = 0"}}');
SELECT node, state, result, only_by FROM test.journal;
-- In an iteration, and in the workflow itself.
CALL test.both($${"l": {"type": "loop", "repeat": 3, "on_error": "continue", "body": {"variables": {"v": "int = 6 / (2 - loop.index)"}, "nodes": {"a": {"type": "transform", "value": {"v": "vars.v"}}}}},
  "fin": {"type": "transform", "after": "l", "value": {"n": "l.iterations"}}}$$);
SELECT node, state, result, only_by FROM test.journal;
CALL test.both('{"a": {"type": "transform", "value": {"v": "vars.v"}}}', '{"input": {"zero": "int = 0"}, "variables": {"v": "int = 1 / input.zero"}}');
SELECT node, state, result, only_by FROM test.journal;
CALL test.both('{"a": {"type": "transform", "value": {"v": "1"}}}', '{"output": {"x": "1 / (a.v - 1)"}}');
SELECT node, state, result, only_by FROM test.journal;

-- A branch that can't begin, or can't say what it came to, has failed: the others may be enough.
CREATE FUNCTION branches(more jsonb) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('p', more || '{"type": "parallel", "branches": {
     "a": {"variables": {"v": "int = 1 / input.zero"}, "nodes": {"x": {"type": "transform", "value": {"v": "1"}}}},
     "b": {"nodes": {"x": {"type": "transform", "value": {"v": "2"}}}, "output": {"x": "x.v"}},
     "c": {"nodes": {"x": {"type": "transform", "value": {"v": "3"}}}, "output": {"x": "1 / input.zero"}}}}')
$$;
CALL test.both(branches('{"join": "any"}'), '{"input": {"zero": "int = 0"}}');
SELECT node, state, result, only_by FROM test.journal ORDER BY node, state, result;
CALL test.both(branches('{"join": 2}'), '{"input": {"zero": "int = 0"}}');
SELECT node, state, result, only_by FROM test.journal WHERE node !~ '/' ORDER BY node;

-- Iterations that were cancelled because another broke the loop do not count.
CREATE FUNCTION begin_all(i int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	IF i <> 2 THEN PERFORM pg_sleep(60); END IF;
	FOR n IN 1 .. 20000 LOOP
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN (SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%bodies_test.begin_all%') >= 2;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN i;
END $$;
CALL test.start($${"l": {"type": "loop", "repeat": 10, "parallel": 3, "collect": "loop.index", "body": {"nodes": {
   "s": {"type": "sql", "sql": "SELECT bodies_test.begin_all(loop.index::int) AS i"}, "b": {"type": "break", "after": "s"}}}}}$$);
CALL test.wait();
SELECT node, state, result FROM test.journal ORDER BY node, state;

SET client_min_messages = warning;
DROP SCHEMA bodies_test CASCADE;
