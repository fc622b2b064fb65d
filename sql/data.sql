--
-- map, filter, reduce, merge and split; and switch where no case is taken.
--
CREATE SCHEMA data_test;
SET search_path = data_test;
CREATE TYPE pair AS (x int, y text);
CREATE TABLE stock (sku text, qty int, price numeric(8,2), since date);
INSERT INTO stock VALUES ('ink', 3, 2.50, '2024-01-31'), ('pen', 0, 1, NULL), ('cap', 5, 10, '2023-12-01');
\pset null '-'
\set QUIET on
\pset format unaligned
\pset footer off
\set VERBOSITY terse

-- Items have their types: of rows, of a query, of SQL arrays (composites, too), jsonb of jsonb arrays.
CALL test.both($${
  "goods": {"type": "sql", "rows": "many", "sql": "SELECT * FROM data_test.stock ORDER BY sku"},
  "values": {"type": "map", "after": "goods", "over": "goods", "value": "item.qty * item.price"},
  "objects": {"type": "map", "after": "values", "over": "goods", "as": "g", "value": {"sku": "upper(g.sku)", "next": "g.since + 1"}},
  "query": {"type": "map", "after": "objects", "over": "SELECT i, i::numeric / 4 AS quarter FROM generate_series(1, 3) i", "as": "q", "value": "to_char(q.quarter, 'FM0.00') || '/' || q.i"},
  "dates": {"type": "map", "after": "query", "over": "ARRAY['2024-02-28', '2024-12-31']::date[]", "as": "d", "value": "d.value + 1"},
  "pairs": {"type": "map", "after": "dates", "over": "ARRAY[(1, 'a'), NULL, (2, 'b')]::data_test.pair[]", "as": "p", "value": "(p.value).y || (p.value).x"},
  "json": {"type": "map", "after": "pairs", "over": "'[{\"a\": 1}, 2, null, [3]]'::jsonb", "as": "j", "value": "jsonb_typeof(j.value)"},
  "none": {"type": "map", "after": "json", "over": "NULL::int[]", "value": "item.value"},
  "empty": {"type": "map", "after": "none", "over": "SELECT 1 AS i WHERE false", "value": "item.i"},
  "fin": {"type": "transform", "after": "empty", "value": {"first": "(values.items -> 0)::numeric + 0.5", "n": "values.count", "rows": "(SELECT count(*) FROM goods)"}}}$$);
TABLE test.journal;
CALL test.both($${
  "goods": {"type": "sql", "rows": "many", "sql": "SELECT * FROM data_test.stock ORDER BY sku"},
  "rows": {"type": "filter", "after": "goods", "over": "goods", "where": "item.qty > 0 AND item.since < '2024-01-01'"},
  "values": {"type": "filter", "after": "rows", "over": "ARRAY[1.5, NULL, 2.5]", "as": "v", "where": "v.value > input.least"},
  "unknown": {"type": "filter", "after": "values", "over": "'[1, null, \"x\"]'::jsonb", "where": "NULL"},
  "sum": {"type": "reduce", "after": "unknown", "over": "goods", "initial": "0::numeric", "value": "acc.value + item.qty * item.price"},
  "text": {"type": "reduce", "after": "sum", "over": "ARRAY['a', 'b', 'c']", "initial": "''", "value": "acc.value || item.value || length(acc.value)"},
  "nothing": {"type": "reduce", "after": "text", "over": "NULL::int[]", "initial": "7", "value": "acc.value + item.value"},
  "dates": {"type": "reduce", "after": "nothing", "over": "SELECT since FROM stock", "as": "g", "initial": "NULL::date", "value": "greatest(acc.value, g.since)"},
  "fin": {"type": "transform", "after": "dates", "value": {"sum": "sum.value * 2", "next": "dates.value + 1", "length": "length(text.value)"}}}$$,
  '{"input": {"least": "numeric = 1"}}');
TABLE test.journal;
CALL test.both($${
  "by_size": {"type": "split", "over": "ARRAY[1, 2, 3, 4, 5]", "size": 2},
  "by_key": {"type": "split", "after": "by_size", "over": "SELECT sku, qty FROM data_test.stock ORDER BY sku", "as": "g", "by": "g.qty > 0"},
  "exact": {"type": "split", "after": "by_key", "over": "'[1, 2]'::jsonb", "size": 2},
  "nothing": {"type": "split", "after": "exact", "over": "NULL::int[]", "size": 2},
  "objects": {"type": "merge", "after": "nothing", "of": ["'{\"a\": 1, \"b\": 1}'::jsonb", "NULL::jsonb", "jsonb_build_object('b', 2)"]},
  "arrays": {"type": "merge", "after": "objects", "mode": "arrays", "of": ["by_size.parts -> 0", "7", "ARRAY['x']", "NULL::jsonb"]},
  "zip": {"type": "merge", "after": "arrays", "mode": "zip", "of": ["ARRAY[1, 2, 3]", "ARRAY['a', 'b']"]},
  "each": {"type": "loop", "after": "zip", "for": "by_size.parts", "as": "part", "collect": "jsonb_array_length(part.value)", "body": {"nodes": {"n": {"type": "transform", "value": {"v": "part.value -> 0"}}}}}}$$);
TABLE test.journal;
-- An error of one item is the node's, which may be caught, tried again, gone on after.
CALL test.both($${
  "m": {"type": "map", "on_error": "continue", "over": "ARRAY[2, 1, 0]", "value": "6 / item.value"},
  "f": {"type": "filter", "after": "m", "on_error": "continue", "over": "'[1, \"x\"]'::jsonb", "where": "(item.value #>> '{}')::int > 0"},
  "r": {"type": "reduce", "after": "f", "on_error": "continue", "over": "ARRAY[1, 0]", "initial": "1", "value": "acc.value / item.value"},
  "o": {"type": "merge", "after": "r", "on_error": "continue", "of": ["'[1]'::jsonb"]},
  "s": {"type": "split", "after": "o", "retry": {"attempts": 2, "backoff": "0"}, "on_error": "continue", "over": "'{}'::jsonb", "size": 1}}$$);
TABLE test.journal;
-- They see what a loop's body sees, and nest.
CALL test.both($${
  "l": {"type": "loop", "for": "ARRAY[2, 3]", "as": "n", "collect": "r.value", "body": {"variables": {"base": "int = n.value * 10"}, "nodes": {
     "m": {"type": "map", "over": "SELECT generate_series(1, n.value) AS i", "as": "i", "value": "vars.base + i.i"},
     "r": {"type": "reduce", "after": "m", "over": "m.items", "initial": "0", "value": "acc.value + (item.value)::int"}}}}}$$);
SELECT node, state, result, only_by FROM test.journal;

-- A switch of which no case holds takes its default; it is an error if nothing follows that.
CREATE FUNCTION switched(v int, more text) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('s', jsonb_build_object('type', 'switch', 'on', v::text, 'cases', '[{"port": "one", "when": "1"}, {"port": "two", "when": "2"}]'::jsonb),
    'o', '{"type": "transform", "after": "s:one", "value": {"v": "1"}}'::jsonb) || more::jsonb
$$;
CREATE PROCEDURE show_switched(v int, more text) LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
	CALL test.both(switched(v, more));
	SELECT string_agg(format('%s %s', node, j.state || coalesce(' ' || result, '') || coalesce(' ONLY ' || only_by, '')), ', ') INTO r FROM test.journal j;
	RAISE NOTICE '%: %', v, r;
END $$;
CALL show_switched(1, '{}');
CALL show_switched(2, '{}');
CALL show_switched(3, '{}');
CALL show_switched(3, '{"d": {"type": "transform", "after": "s:default", "value": {"v": "0"}}}');
CALL show_switched(3, '{"d": {"type": "transform", "after": "s", "value": {"c": "s.case"}}}');
CALL test.both(switched(NULL, '{"s": {"type": "switch", "cases": [{"port": "one", "when": "NULL"}, {"port": "two", "when": "1 > 2"}]}}'));
SELECT by, error ->> 'code' AS code, error ->> 'message' AS message, error ->> 'hint' AS hint FROM test.runs ORDER BY by;

SET client_min_messages = warning;
DROP SCHEMA data_test CASCADE;
