--
-- Loops: over rows, arrays and queries, while and repeat; break and continue.
--
CREATE SCHEMA loop_test;
SET search_path = loop_test;
CREATE TABLE item (id int PRIMARY KEY, sku text, qty int);
INSERT INTO item VALUES (1, 'ink', 3), (2, 'pen', 1), (3, 'cap', NULL);
\pset null '-'
\set QUIET on
\pset format unaligned
\pset footer off

-- for: over the rows of a many-row node.  Columns of the item have its types.
CALL test.both($${
  "goods": {"type": "sql", "rows": "many", "sql": "SELECT sku, qty FROM item ORDER BY id"},
  "l": {"type": "loop", "after": "goods", "for": "goods", "as": "line", "collect": "see.text",
        "body": {"nodes": {"see": {"type": "sql", "sql": "SELECT loop.index || line.sku || coalesce(line.qty * 2, 0) AS text"}}}},
  "fin": {"type": "transform", "after": "l", "value": {"n": "l.iterations", "first": "l.results ->> 0"}}}$$);
TABLE test.journal;

-- over an array, a jsonb array, a query; no elements at all, NULL instead of one.
CALL test.both($${
  "a": {"type": "loop", "for": "ARRAY['x', NULL, 'z']", "collect": "item.value", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "item.value"}}}}},
  "b": {"type": "loop", "after": "a", "for": "'[1, null, {\"k\": 2}]'::jsonb", "as": "e", "collect": "e.value", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "e.value"}}}}},
  "c": {"type": "loop", "after": "b", "for": "SELECT id, sku FROM item ORDER BY id DESC", "as": "r", "collect": "(r.id, r.sku)", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "r.id + 10"}}}}}}$$);
TABLE test.journal;
CALL test.both($${
  "none": {"type": "sql", "rows": "many", "sql": "SELECT id FROM item WHERE false"},
  "a": {"type": "loop", "after": "none", "for": "none", "collect": "item.id", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "b": {"type": "loop", "after": "a", "for": "'{}'::int[]", "collect": "item.value", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "c": {"type": "loop", "after": "b", "for": "NULL::int[]", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "d": {"type": "loop", "after": "c", "for": "'[]'::jsonb", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "e": {"type": "loop", "after": "d", "for": "SELECT id FROM item WHERE false", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "f": {"type": "loop", "after": "e", "repeat": 0, "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "g": {"type": "loop", "after": "f", "while": "false", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "h": {"type": "loop", "after": "g", "while": "NULL::boolean", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "i": {"type": "loop", "after": "h", "repeat": "NULL::int", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}}}$$);
TABLE test.journal;
-- What is not an array.
CALL test.both($${"a": {"type": "loop", "for": "'{\"a\": 1}'::jsonb", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}}}$$);
TABLE test.journal;

-- while sees loop.index and the variables; repeat.
CALL test.both($${
  "w": {"type": "loop", "while": "vars.n < 10", "collect": "vars.n",
        "body": {"nodes": {"up": {"type": "set", "set": {"n": "vars.n + loop.index"}}}}},
  "r": {"type": "loop", "after": "w", "repeat": "vars.n / 5", "collect": "loop.index * 100",
        "body": {"nodes": {"t": {"type": "transform", "value": {"v": "loop.index"}}}}}}$$,
  '{"variables": {"n": "int = 0"}}');
TABLE test.journal;

-- max_iterations: known before, or found out.
CALL test.both($${
  "a": {"type": "loop", "repeat": 4, "max_iterations": 3, "on_error": "continue", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "b": {"type": "loop", "after": "a", "while": "true", "max_iterations": 2, "on_error": "continue", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "c": {"type": "loop", "after": "b", "while": "loop.index < 4", "max_iterations": 3, "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}}}$$);
TABLE test.journal;

-- parallel: iterations side by side; collected in the items' order, whoever ends first.
CALL test.both($${
  "l": {"type": "loop", "for": "ARRAY[0.15, 0, 0.05, 0]", "parallel": 3, "collect": "see.v",
        "body": {"nodes": {"see": {"type": "sql", "sql": "SELECT item.value AS v FROM pg_sleep(item.value)"}}}}}$$);
TABLE test.journal;

-- break and continue end the iteration; the rest of it is cancelled.
CALL test.both($${
  "l": {"type": "loop", "for": "ARRAY[1, 2, 3, 4, 5]", "collect": "item.value",
        "body": {"nodes": {
          "skip": {"type": "continue", "if": "item.value = 2"},
          "stop": {"type": "break", "after": "skip", "if": "item.value = 4"},
          "see":  {"type": "transform", "after": "stop", "value": {"v": "item.value"}}}}}}$$);
TABLE test.journal;
-- At any depth: out of a parallel in a try in a condition's branch; "finally" runs.
CALL test.both($${
  "l": {"type": "loop", "repeat": 5, "body": {"nodes": {
     "c": {"type": "condition", "if": "loop.index >= 2"},
     "t": {"type": "try", "after": "c:true", "body": {"nodes": {
        "p": {"type": "parallel", "branches": {"x": {"nodes": {
            "i": {"type": "condition", "if": "loop.index = 2"},
            "next": {"type": "continue", "after": "i:true"},
            "stop": {"type": "break", "after": "i:false"}}}}}}},
       "finally": {"nodes": {"f": {"type": "transform", "value": {"v": "loop.index"}}}}},
     "after": {"type": "transform", "after": "t", "join": "any", "value": {"v": "'never'"}}}}}}$$);
TABLE test.journal;
-- A loop in a loop: each break is that of the innermost; the outer item is seen inside.
CALL test.both($${
  "o": {"type": "loop", "for": "ARRAY['a', 'b']", "as": "x", "collect": "i.results",
        "body": {"nodes": {"i": {"type": "loop", "for": "ARRAY[1, 2, 3]", "as": "y", "collect": "x.value || y.value",
          "body": {"nodes": {"b": {"type": "break", "if": "y.value = 3"}}}}}}}}$$);
TABLE test.journal;
-- break in one of several iterations at a time: the others are cancelled.
CALL test.start($${
  "l": {"type": "loop", "for": "ARRAY[60, 0, 60]", "parallel": 3,
        "body": {"nodes": {
          "wait": {"type": "sql", "sql": "SELECT item.value AS v FROM pg_sleep(item.value)"},
          "stop": {"type": "break", "after": "wait", "if": "item.value = 0"}}}}}$$);
CALL test.wait();
SELECT node, state, count(*) FROM test.journal WHERE node <> 'l' GROUP BY 1, 2 ORDER BY 1, 2;

-- Errors: of an iteration, of what is iterated over, of what is collected.
CALL test.both($${
  "a": {"type": "loop", "for": "ARRAY[1, 0, 2]", "on_error": "continue", "body": {"nodes": {"q": {"type": "sql", "sql": "SELECT 1 / item.value AS v"}}}},
  "b": {"type": "loop", "after": "a", "for": "ARRAY[1 / 0]", "on_error": "continue", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "c": {"type": "loop", "after": "b", "repeat": 2, "collect": "1 / (loop.index - 2)", "on_error": "continue", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}},
  "d": {"type": "loop", "after": "c", "while": "1 / (3 - loop.index) > 0", "on_error": "continue", "body": {"nodes": {"t": {"type": "transform", "value": {"v": "loop.index"}}}}},
  "e": {"type": "loop", "after": "d", "repeat": 1, "body": {"variables": {"v": "int = 1 / (loop.index - 1)"}, "nodes": {"t": {"type": "transform", "value": {"v": "1"}}}}}}$$);
TABLE test.journal;

-- Many iterations: several batches, several chunks of items.
CREATE TABLE done (i int);
CALL test.both($${
  "l": {"type": "loop", "for": "SELECT i FROM generate_series(1, 5000) i", "as": "r", "parallel": 2, "collect": "r.i",
        "body": {"nodes": {"put": {"type": "sql", "sql": "INSERT INTO done VALUES (r.i)"}}}}}$$,
  '{"output": {"n": "l.iterations", "last": "l.results -> 4999"}}',
  reset => 'DO $a$ BEGIN ASSERT (SELECT count(DISTINCT i) = 5000 AND count(*) = 5000 FROM loop_test.done); DELETE FROM loop_test.done; END $a$');
SELECT by, state, output FROM test.runs ORDER BY by;
SELECT node, state, only_by, count(*), sum(length(result)) FROM test.journal GROUP BY 1, 2, 3 ORDER BY 1;
SELECT count(*), count(DISTINCT i), sum(i) FROM done;
SELECT by, total, completed, failed, skipped, percent FROM test.runs, goflow.progress(execution) ORDER BY by;

SET client_min_messages = warning;
DROP SCHEMA loop_test CASCADE;
