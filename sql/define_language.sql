--
-- The language: what nodes hold nodes, how they fail, how they work on data.
-- For each construct: a definition that is good, what it gives to others, and
-- what is wrong with others.
--
\set QUIET on
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA define_language;
SET search_path = define_language;
CREATE TABLE orders (id bigint, total numeric(10,2), tags text[], doc jsonb);
CREATE TABLE lines (order_id bigint, sku text, qty int);
CREATE TYPE point3 AS (x int, y int, z int);
CREATE PROCEDURE tidy(days int) LANGUAGE sql AS 'DELETE FROM orders WHERE id < days';

-- Defines a workflow of these nodes, loads it as a start does, and shows the
-- columns of each node and of its items.
CREATE FUNCTION good(nodes jsonb, more jsonb DEFAULT '{}') RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM goflow.define('language', more || jsonb_build_object('nodes', nodes));
	BEGIN
		PERFORM goflow.start('language');
		RAISE EXCEPTION 'undo' USING ERRCODE = 'UNDO1';
	EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
	END;
	RETURN QUERY SELECT key
	       || coalesce(': ' || (SELECT string_agg(c->>0 || ' ' || (c->>1), ', ') FROM jsonb_array_elements(value->'columns') c), '')
	       || coalesce(' of: ' || (SELECT string_agg(c->>0 || ' ' || (c->>1), ', ') FROM jsonb_array_elements(value->'items') c), '')
	  FROM (SELECT contract FROM goflow.workflow WHERE name = 'language' ORDER BY version DESC LIMIT 1) w,
	       jsonb_each(contract)
	 ORDER BY key COLLATE "C";
END $$;
-- The errors of a definition that has these nodes; or its warnings.
CREATE FUNCTION wrong(nodes jsonb, more jsonb DEFAULT '{}', severity text DEFAULT 'error') RETURNS SETOF text LANGUAGE sql AS $$
  SELECT format('%s %s', v.severity, code) || coalesce(' node ' || node, '') || coalesce(' key ' || key, '')
         || coalesce(' at ' || "position", '') || ': ' || message
         || coalesce(E'\n  DETAIL: ' || detail, '') || coalesce(E'\n  HINT: ' || hint, '')
    FROM goflow.validate(more || jsonb_build_object('nodes', nodes)) v
   WHERE v.severity = wrong.severity
$$;

\echo == loop over the rows of a node, of a query, over an array and a jsonb array
SELECT good($${
  "goods": {"type": "sql", "rows": "many", "sql": "SELECT sku, qty FROM lines"},
  "one":   {"type": "sql", "after": "goods", "sql": "SELECT tags, doc FROM orders"},
  "rows":  {"type": "loop", "after": "one", "for": "goods", "as": "line", "parallel": 4, "collect": "take.left * 2",
            "body": {"nodes": {"take": {"type": "sql", "sql": "SELECT line.qty - loop.index AS left, line.sku, (SELECT count(*) FROM goods) AS n"}}}},
  "query": {"type": "loop", "after": "one", "for": ["SELECT id, total", "FROM orders"], "as": "o", "max_iterations": 1000,
            "body": {"nodes": {"see": {"type": "sql", "sql": "SELECT o.id, o.total, one.tags"}},
                     "output": {"id": "see.id", "pair": "(see.id, see.total)"}}},
  "arr":   {"type": "loop", "after": "one", "for": "one.tags", "body": {"nodes": {"see": {"type": "sql", "sql": "SELECT upper(item.value) AS x"}}}},
  "json":  {"type": "loop", "after": "one", "for": "one.doc -> 'list'", "as": "e", "body": {"nodes": {"see": {"type": "sql", "sql": "SELECT e.value ->> 'a' AS x"}}}},
  "comp":  {"type": "loop", "after": "one", "for": "ARRAY[(1, 2, 3)::point3]", "as": "p", "body": {"nodes": {"see": {"type": "sql", "sql": "SELECT (p.value).x, p.value AS whole"}}}},
  "chars": {"type": "loop", "after": "one", "for": "'{a,b}'::varchar(7)[]", "as": "p", "body": {"nodes": {"see": {"type": "sql", "sql": "SELECT p.value AS x"}}}},
  "subq":  {"type": "loop", "after": "one", "for": "(SELECT array_agg(qty) FROM lines)", "body": {"nodes": {"see": {"type": "sql", "sql": "SELECT item.value AS x"}}}},
  "moved": {"type": "loop", "after": "one", "for": "/* a /* b */ */ DELETE FROM lines RETURNING *", "body": {"nodes": {"see": {"type": "sql", "sql": "SELECT item.sku AS x"}}}}
}$$);
\echo == loop with a condition, or a number of times
SELECT good($${
  "until": {"type": "loop", "while": "vars.n < 10 AND loop.index <= 5",
            "body": {"nodes": {"up": {"type": "set", "set": {"n": "vars.n + loop.index"}}}}},
  "thrice": {"type": "loop", "after": "until", "repeat": 3, "parallel": 3, "collect": "loop.index",
            "body": {"nodes": {"wait": {"type": "delay", "for": "'1 s'"}}}},
  "often": {"type": "loop", "after": "until", "repeat": "vars.n", "body": {"nodes": {"wait": {"type": "notify", "channel": "c"}}}}
}$$, '{"variables": {"n": "int = 0"}}');
\echo == what a loop cannot be
SELECT wrong('{"a": {"type": "loop", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "b": {"type": "loop", "repeat": 2, "while": "true", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "c": {"type": "loop", "repeat": 2},
               "d": {"type": "loop", "repeat": 2, "body": {"nodes": {}}},
               "e": {"type": "loop", "repeat": 2, "body": {"node": {}}},
               "f": {"type": "loop", "repeat": 2, "body": [], "parallel": 0, "max_iterations": 0.5, "as": "x"},
               "g": {"type": "loop", "while": "true", "parallel": 2, "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "h": {"type": "loop", "for": "ARRAY[1]", "as": "select", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "i": {"type": "loop", "for": "ARRAY[1]", "as": "loop", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "j": {"type": "loop", "for": "ARRAY[1]", "as": "a", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}}}');
SELECT wrong('{"many": {"type": "sql", "rows": "many", "sql": "SELECT 1 AS x"},
               "one":  {"type": "sql", "sql": "SELECT 1 AS x"},
               "a": {"type": "loop", "for": "many", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "b": {"type": "loop", "after": "one", "for": " one ", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "c": {"type": "loop", "for": "5", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "d": {"type": "loop", "for": "''[1]''", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "e": {"type": "loop", "for": "DELETE FROM orders", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "f": {"type": "loop", "for": "SELECT id FROM order", "as": "o", "body": {"nodes": {"x": {"type": "sql", "sql": "SELECT o.id"}}}},
               "g": {"type": "loop", "while": "vars.x", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "h": {"type": "loop", "repeat": "''often''::text", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "i": {"type": "loop", "for": "ARRAY[1]", "body": {"nodes": {"x": {"type": "sql", "sql": "SELECT item.valeu AS x, itme.value AS y"}}}},
               "j": {"type": "loop", "repeat": 1, "collect": "x.z", "body": {"nodes": {"x": {"type": "sql", "sql": "SELECT item.value AS x"}}}}}');

\echo == break and continue
SELECT good($${"l": {"type": "loop", "repeat": 9, "body": {"nodes": {
    "stop":  {"type": "break", "if": "loop.index > 5"},
    "maybe": {"type": "try", "after": "stop", "body": {"nodes": {"p": {"type": "parallel", "branches": {
               "a": {"nodes": {"next": {"type": "continue"}}}}}}}, "finally": {"nodes": {"n": {"type": "notify", "channel": "c"}}}}}}}}$$);
SELECT wrong('{"a": {"type": "break"}, "b": {"type": "try", "body": {"nodes": {"c": {"type": "continue"}}}, "finally": {"nodes": {"d": {"type": "notify", "channel": "c"}}}},
               "l": {"type": "loop", "repeat": 1, "body": {"nodes": {"e": {"type": "break", "if": "loop.index"}}}}}');

\echo == try, catch, finally
SELECT good($${
  "before": {"type": "sql", "sql": "SELECT 1 AS x"},
  "t": {"type": "try", "after": "before",
        "body":    {"nodes": {"risk": {"type": "sql", "sql": "SELECT 1 / before.x AS y"}}},
        "catch":   [{"on": ["22012", "unique_violation", "40", "execution_timeout"],
                     "body": {"nodes": {"log": {"type": "sql", "sql": "SELECT error.code, error.message, error.detail, error.hint, error.node, error.attempt"}}}},
                    {"on": "node_failed", "body": {"nodes": {"log": {"type": "loop", "repeat": 2, "body": {"nodes": {"deep": {"type": "sql", "sql": "SELECT error.code"}}}}}}},
                    {"body": {"nodes": {"again": {"type": "raise"}}}}],
        "finally": {"nodes": {"log": {"type": "sql", "sql": "SELECT before.x"}}}},
  "after": {"type": "condition", "after": "t", "if": "t.ok AND t.error IS NULL"},
  "fin": {"type": "notify", "channel": "c", "after": "after:true"}
}$$);
SELECT wrong('{"a": {"type": "try", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "b": {"type": "try", "catch": [{"on": []}], "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}},
               "c": {"type": "try", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}},
                     "catch": [{"on": ["unique_violatoin", "23505x", "00000", "2", 7, "snapshot_too_old", "no_branch"], "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}}]},
               "d": {"type": "try", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}},
                     "catch": [{"body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}}, {"on": "22", "body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}}]},
               "e": {"type": "try", "body": {"nodes": {"x": {"type": "notify", "channel": "c", "payload": "error.code"}}},
                     "catch": [{"body": {"nodes": {"x": {"type": "notify", "channel": "c", "payload": "error.mesage"}}}}],
                     "finally": {"nodes": {"y": {"type": "sql", "sql": "SELECT error.code"}, "z": {"type": "sql", "sql": "SELECT x.count FROM orders x"}}}},
               "f": {"type": "sql", "sql": "SELECT error.id FROM orders AS error"}}');

\echo == raise
SELECT good($${
  "a": {"type": "raise", "message": "'order ' || input.id || ' is wrong'", "detail": "'look'", "code": "P0042"},
  "b": {"type": "raise", "code": "check_violation"},
  "c": {"type": "raise", "message": "'just so'"}}$$, '{"input": {"id": "int = 1"}}');
SELECT wrong('{"a": {"type": "raise"}, "b": {"type": "raise", "code": "22"}, "c": {"type": "raise", "code": "oops"},
               "d": {"type": "raise", "message": "orders"}, "e": {"type": "raise", "message": "5", "code": "01000"}}');

\echo == parallel
SELECT good($${
  "p": {"type": "parallel", "join": 2, "cancel_rest": true, "aggregate": "array", "branches": {
        "left":  {"nodes": {"a": {"type": "sql", "sql": "SELECT 1 AS x"}}, "output": {"x": "a.x"}},
        "right": {"nodes": {"a": {"type": "sql", "sql": "SELECT 'r' AS x"}}, "variables": {"v": "text = 'x'"}},
        "mid":   {"nodes": {"b": {"type": "sql", "sql": "SELECT 2 AS x"}}}}},
  "q": {"type": "sql", "after": "p", "sql": "SELECT p.results -> 'left' AS l"}
}$$);
SELECT wrong('{"a": {"type": "parallel", "branches": {}},
               "b": {"type": "parallel", "branches": {"body": {"nodes": {"x": {"type": "notify", "channel": "c"}}}, "X": {"nodes": {"x": {"type": "notify", "channel": "c"}}}, "y": 1}},
               "c": {"type": "parallel", "join": 3, "branches": {"x": {"nodes": {"x": {"type": "notify", "channel": "c"}}}}},
               "d": {"type": "parallel", "join": "some", "branches": {"l": {"nodes": {"x": {"type": "sql", "sql": "SELECT 1 AS one"}}},
                                                                      "r": {"nodes": {"y": {"type": "sql", "sql": "SELECT x.one AS two"}}}}}}');

\echo == workflow
SELECT good($${
  "w": {"type": "workflow", "workflow": "child", "input": {"id": "1", "day": "now()"}, "timeout": "5 min"},
  "v": {"type": "workflow", "workflow": "child", "version": 2, "wait": false, "after": "w"},
  "z": {"type": "sql", "after": "v", "sql": "SELECT w.output ->> 'x' AS x, v.execution"}}$$);
SELECT wrong('{"a": {"type": "workflow"}, "b": {"type": "workflow", "workflow": "", "version": 0},
               "c": {"type": "workflow", "workflow": "x", "wait": false, "timeout": "1 min", "input": {"Id": "1", "ok": "nope"}}}');
-- A workflow may call itself, but not always.
SELECT good('{"c": {"type": "condition", "if": "false"}, "w": {"type": "workflow", "workflow": "language", "after": "c:true"}}');
SELECT good('{"w": {"type": "workflow", "workflow": "language", "wait": false}}');
SELECT good('{"p": {"type": "parallel", "branches": {"b": {"nodes": {"w": {"type": "workflow", "workflow": "language"}}}}}}');

\echo == map, filter, reduce, split: over the same as a loop
SELECT good($${
  "goods": {"type": "sql", "rows": "many", "sql": "SELECT sku, qty FROM lines"},
  "names": {"type": "map", "after": "goods", "over": "goods", "value": "upper(item.sku)"},
  "pairs":  {"type": "map", "after": "goods", "over": "goods", "as": "l", "value": {"name": "l.sku", "Twice": "l.qty * 2", "row": "(l.sku, l.qty)"}},
  "large": {"type": "filter", "after": "goods", "over": "SELECT id, total FROM orders", "as": "o", "where": "o.total > 10"},
  "sum":   {"type": "reduce", "after": "goods", "over": "goods", "initial": "0::numeric", "value": "acc.value + item.qty"},
  "text":  {"type": "reduce", "after": "goods", "over": "ARRAY['a', 'b']", "as": "w", "initial": "''", "value": "acc.value || w.value"},
  "parts": {"type": "split", "after": "goods", "over": "goods", "size": 100},
  "ports": {"type": "split", "after": "goods", "over": "goods", "by": "left(item.sku, 1)"},
  "total": {"type": "merge", "after": ["names", "pairs", "large", "sum", "text", "parts", "ports"], "of": ["pairs.items -> 0", "'{\"a\": 1}'::jsonb"], "mode": "objects"},
  "zip":   {"type": "merge", "after": "total", "mode": "zip", "of": ["names.items", "ARRAY[1, 2]"]},
  "deep":  {"type": "loop", "after": "zip", "for": "pairs.items", "body": {"nodes": {
              "m": {"type": "map", "over": "ARRAY[1]", "value": "item.value + loop.index"}}, "output": {"m": "m.items"}}}
}$$);
SELECT wrong('{"m": {"type": "map", "over": "ARRAY[1]"},
               "n": {"type": "map", "over": "ARRAY[1]", "value": "itm.value"},
               "o": {"type": "map", "over": "5", "value": "item.value"},
               "f": {"type": "filter", "over": "ARRAY[1]", "where": "item.value"},
               "g": {"type": "filter", "over": "ARRAY[item.value]", "where": "true"},
               "r": {"type": "reduce", "over": "ARRAY[1]", "initial": "0", "value": "acc.value || ''x''"},
               "s": {"type": "reduce", "over": "ARRAY[1]", "initial": "''2020-01-01''::date", "value": "acc.value + item.value::bigint"},
               "t": {"type": "reduce", "over": "ARRAY[1]", "initial": "acc.value", "value": "acc.valeu"},
               "u": {"type": "split", "over": "ARRAY[1]"},
               "v": {"type": "split", "over": "ARRAY[1]", "by": "''{}''::json"},
               "w": {"type": "merge", "of": []},
               "x": {"type": "merge", "of": ["1", 2], "mode": "sum"}}');

\echo == any node: retry, timeout, on_error, compensate; and the workflow
SELECT good($${
  "a": {"type": "sql", "sql": "SELECT 7 AS id", "retry": 3, "timeout": "2 days 3 hours", "on_error": "skip",
        "compensate": "DELETE FROM orders WHERE id = a.id AND total > input.x"},
  "b": {"type": "sql", "after": "a", "sql": "SELECT a.id", "on_error": "help",
        "retry": {"attempts": 5, "backoff": "200 ms", "factor": 1.5, "max_delay": "PT1M", "jitter": 0.25, "on": ["40001", "deadlock_detected", "53"]}},
  "help": {"type": "sql", "sql": "SELECT b.id, a.id AS other"}}$$,
  '{"input": {"x": "int = 1"}, "timeout": "1 hour", "retry": {"attempts": 2}, "on_error": "continue"}');
SELECT good($${"l": {"type": "loop", "repeat": 2, "compensate": "SELECT l.iterations AS n", "body": {"nodes": {
        "put": {"type": "sql", "sql": "INSERT INTO orders VALUES (loop.index) RETURNING id", "compensate": "DELETE FROM orders WHERE id = put.id"}}}}}$$);
SELECT wrong('{"a": {"type": "notify", "channel": "c", "retry": 0, "timeout": "soon", "on_error": "b", "compensate": "SELECT a.x"},
               "c": {"type": "notify", "channel": "c", "retry": {"attempts": 1.5, "backoff": "-1 s", "factor": 0.5, "max_delay": "1 mon", "jitter": 2, "on": "never", "times": 3}, "timeout": "0"},
               "d": {"type": "notify", "channel": "c", "on_error": "ignore", "timeout": "infinity"},
               "e": {"type": "notify", "channel": "c", "after": "g", "payload": "''e''"}, "g": {"type": "notify", "channel": "c", "after": "f"}, "f": {"type": "notify", "channel": "c", "on_error": "h"},
               "h": {"type": "notify", "channel": "c", "on_error": "e"}, "i": {"type": "notify", "channel": "c", "after": "e", "on_error": "g"},
               "s": {"type": "sql", "sql": "SELECT 1 AS x", "compensate": "SELECT s.y, t.x"}, "t": {"type": "sql", "sql": "SELECT 1 AS x"}}',
              '{"timeout": 5, "on_error": "ignore", "retry": "x"}');

\echo == statements outside of a transaction
SELECT good('{"a": {"type": "sql", "atomic": false, "sql": "VACUUM orders"},
              "b": {"type": "sql", "atomic": false, "sql": "CREATE INDEX CONCURRENTLY ON orders (id)"},
              "c": {"type": "sql", "atomic": false, "sql": "CALL tidy(input.days)"}}', '{"input": {"days": "int = 1"}}');
SELECT wrong('{"a": {"type": "sql", "atomic": false, "sql": "DELETE FROM orders"}, "b": {"type": "sql", "atomic": false, "sql": "COMMIT"},
               "c": {"type": "sql", "sql": "VACUUM orders"}}');

\echo == variables of a body: the inner hides the outer
SELECT good($${
  "l": {"type": "loop", "for": "ARRAY[1, 2]", "body": {
        "variables": {"n": "text = 'inner ' || item.value || vars.n", "m": "int"},
        "nodes": {"s": {"type": "set", "set": {"n": "upper(vars.n)", "m": "length(vars.n)", "o": "now()"}},
                  "r": {"type": "sql", "after": "s", "sql": "SELECT vars.n, vars.m, vars.o"}}}},
  "t": {"type": "set", "after": "l", "set": {"n": "vars.n + 1"}}}$$,
  '{"variables": {"n": "int = 0", "o": "timestamptz"}}');
SELECT wrong('{"l": {"type": "loop", "repeat": 1, "body": {"variables": {"a": "int = vars.b", "b": "intt", "c": "int = x.one"},
                      "nodes": {"x": {"type": "sql", "sql": "SELECT 1 AS one"}, "y": {"type": "set", "set": {"outer": "1", "b": "2"}}}}},
               "m": {"type": "set", "after": "l", "set": {"a": "vars.a"}},
               "n": {"type": "loop", "repeat": 1, "body": {"variables": {"D": "int"}, "nodes": {"x": {"type": "notify", "channel": "c"}}}}}',
             '{"variables": {"otter": "int"}}');

\echo == what a body sees: what came before its owner, and nothing of its siblings
SELECT wrong($${
  "one":  {"type": "sql", "sql": "SELECT 1 AS x"},
  "late": {"type": "sql", "after": "l", "sql": "SELECT take.x"},
  "l": {"type": "loop", "after": "one", "repeat": 2, "body": {"nodes": {
        "take":  {"type": "sql", "sql": "SELECT one.x, late.x AS y"},
        "one":   {"type": "sql", "sql": "SELECT 1 AS x"},
        "own":   {"type": "sql", "sql": "SELECT l.iterations"},
        "sees":  {"type": "sql", "sql": "SELECT aside.x"},
        "wrong": {"type": "sql", "after": "aside", "sql": "SELECT 1 AS x"},
        "depth": {"type": "loop", "for": "ARRAY[1]", "as": "each", "body": {"nodes": {
                  "each": {"type": "sql", "sql": "SELECT 1 AS x"}, "start": {"type": "trigger"}}}}}}},
  "aside": {"type": "sql", "sql": "SELECT 1 AS x"}
}$$);
-- A cycle inside, a node that nothing leads to, results that nobody reads: per body.
SELECT wrong($${"l": {"type": "loop", "repeat": 2, "body": {"nodes": {
        "a": {"type": "sql", "after": "b", "sql": "SELECT 1 AS x"}, "b": {"type": "sql", "after": "a", "sql": "SELECT 1 AS x"}}}},
  "m": {"type": "try", "after": "l", "body": {"nodes": {"c": {"type": "condition", "if": "true"}, "d": {"type": "sql", "sql": "SELECT nope"}}},
        "catch": [{"body": {"nodes": {"c": {"type": "sql", "sql": "SELECT nope"}}}}]}}$$);
SELECT wrong($${"l": {"type": "loop", "repeat": 2, "body": {"nodes": {
        "a": {"type": "sql", "sql": "SELECT 1 AS x"}, "b": {"type": "sql", "after": "a", "sql": "SELECT 1 AS x"},
        "c": {"type": "transform", "after": "b", "value": {"x": "1"}}, "d": {"type": "sql", "sql": "SELECT 1 AS x"}}}}}$$, severity => 'warning');

\echo == everything nests in everything, up to a depth
CREATE FUNCTION nest(depth int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE node jsonb := '{"type": "notify", "channel": "c"}'; body jsonb;
BEGIN
	FOR i IN REVERSE depth..1 LOOP
		body := jsonb_build_object('nodes', jsonb_build_object('n' || i + 1, node));
		node := CASE i % 3
			WHEN 0 THEN jsonb_build_object('type', 'loop', 'for', format('ARRAY[%s]', i), 'as', 'i' || i, 'body', body)
			WHEN 1 THEN jsonb_build_object('type', 'try', 'body', body, 'catch', jsonb_build_array(jsonb_build_object('body', body)))
			ELSE jsonb_build_object('type', 'parallel', 'branches', jsonb_build_object('left', body)) END;
	END LOOP;
	RETURN node;
END $$;
SELECT good(jsonb_build_object('n1', nest(5)));
CREATE FUNCTION tower(depth int) RETURNS jsonb LANGUAGE sql RETURN (
  (SELECT string_agg(format('{"n%s": {"type": "loop", "repeat": 1, "body": {"nodes": ', i), '' ORDER BY i) FROM generate_series(1, depth) i)
  || '{"last": {"type": "notify", "channel": "c"}}' || repeat('}}}', depth))::jsonb;
SELECT count(*) FROM good(tower(64));
SELECT substr(line, 1, 40) || ' … ' || substr(line, strpos(line, 'key')) FROM wrong(tower(65)) AS line;
SELECT wrong(jsonb_build_object('l', jsonb_build_object('type', 'loop', 'repeat', 1, 'body', jsonb_build_object('nodes',
         (SELECT jsonb_object_agg('n' || i, '{"type": "notify", "channel": "c"}'::jsonb) FROM generate_series(1, 10000) i)))));

SELECT goflow.drop('language');
SET client_min_messages = warning;
DROP SCHEMA define_language CASCADE;
