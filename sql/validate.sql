--
-- validate(): every problem of a definition at once.
--
CREATE SCHEMA validate_test;
SET search_path = validate_test;
CREATE TABLE orders (id bigint, total numeric);
\pset null '-'

-- Nothing to say.
SELECT * FROM goflow.validate('{"nodes": {"a": {"type": "sql", "sql": "SELECT 1 AS one"}}}');

-- Problems of all kinds: keys first, then the graph, then SQL.
SELECT severity, code, node, key, "position", message FROM goflow.validate($${
  "input": {"id": "bigint", "since": "dat"},
  "colour": "red",
  "nodes": {
    "load":  {"type": "sql", "sql": "SELECT id, totl FROM orders WHERE id = input.id"},
    "rich":  {"type": "condition", "after": "load", "if": "load.total > 0"},
    "good":  {"type": "sql", "after": "rich:yes", "sql": "SELECT input.since AS s, input.ids AS t"},
    "note":  {"type": "notify", "after": "god", "chanel": "c"},
    "lone":  {"type": "sql", "sql": "SELECT 1 AS x"}
  },
  "output": {"total": "load.total", "s": "lone.y"}
}$$);

-- A node that fails is reported once: what reads its columns is not.
SELECT node, message FROM goflow.validate($${"nodes": {
  "a": {"type": "sql", "sql": "SELECT missing_function() AS x"},
  "b": {"type": "sql", "after": "a", "sql": "SELECT a.x + 1 AS y"},
  "c": {"type": "sql", "after": "b", "sql": "SELECT b.y + 1 AS z, another_missing()"},
  "d": {"type": "sql", "after": "c", "sql": "SELECT third_missing()"}}}$$);

-- Warnings: nodes that hang together with nothing, results that nobody can reach.
SELECT severity, code, node, message, hint FROM goflow.validate($${"nodes": {
  "start": {"type": "sql", "sql": "SELECT 1 AS one"},
  "used":  {"type": "transform", "after": "start", "value": {"x": "start.one"}},
  "dead":  {"type": "transform", "after": "start", "value": {"x": "start.one"}},
  "way":   {"type": "condition", "after": "start", "if": "start.one = 1"},
  "fork":  {"type": "switch", "after": "start", "on": "start.one", "cases": [{"port": "one", "when": "1"}]},
  "alone": {"type": "sql", "sql": "SELECT 2 AS two"}},
  "output": {"x": "used.x"}}$$);
-- nodes that all run side by side are meant to
SELECT count(*) FROM goflow.validate($${"nodes": {
  "a": {"type": "sql", "sql": "SELECT 1 AS x"}, "b": {"type": "sql", "sql": "SELECT 1 AS x"}}}$$);
SELECT severity, code, node, message FROM goflow.validate($${"nodes": {"idle": {"type": "trigger"},
  "start": {"type": "trigger"}, "a": {"type": "sql", "after": "start", "sql": "SELECT 1 AS x"}}}$$);

-- It changes nothing: not the definition's settings, no locks, no transaction.
BEGIN;
SELECT code FROM goflow.validate($${"settings": {"datestyle": "German"}, "nodes": {
  "a": {"type": "sql", "sql": "SELECT nothing FROM orders"},
  "b": {"type": "sql", "sql": "UPDATE orders SET total = 0"}}}$$);
SHOW datestyle;
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'orders'::regclass;
COMMIT;
SELECT goflow.validate(NULL);

-- A mistake that is everywhere in a large definition: the first hundred problems are
-- there, and how many more there are.  Names are not compared for ever, so the last
-- of these have no suggestion.
SELECT count(*) AS problems, count(*) FILTER (WHERE hint = 'Did you mean "' || replace(node, 'n', 'm') || '"?') AS suggestions,
  count(DISTINCT hint) FILTER (WHERE node IS NOT NULL AND hint !~ 'mean') AS others, max(message) FILTER (WHERE node IS NULL) AS rest
FROM (SELECT jsonb_object_agg('n' || i, jsonb_build_object('type', 'notify', 'channel', 'c', 'after', 'mm' || i)) ||
             jsonb_object_agg('m' || i, '{"type": "notify", "channel": "c"}'::jsonb) AS nodes FROM generate_series(1000, 1999) i) d,
  goflow.validate(jsonb_build_object('nodes', nodes));

-- Up to a hundred, all; then one row for the others.  Warnings have a hundred of their own.
SELECT keys, count(*) AS problems, array_agg(DISTINCT v.code) AS codes, max(message) FILTER (WHERE node IS NULL) AS rest
FROM unnest('{100,101,102,50000}'::int[]) keys, LATERAL (SELECT jsonb_object_agg('k' || i, 1) AS wrong FROM generate_series(1, keys) i) k,
  goflow.validate(jsonb_build_object('nodes', jsonb_build_object('a', wrong || '{"type": "notify", "channel": "c"}'))) v
GROUP BY keys ORDER BY keys;
SELECT severity, count(*) AS problems, max(message) FILTER (WHERE node IS NULL) AS rest
FROM (SELECT jsonb_object_agg('t' || i, '{"type": "trigger"}'::jsonb) AS idle FROM generate_series(1, 150) i) w,
  goflow.validate(jsonb_build_object('nodes', idle || '{"start": {"type": "trigger"},
    "a": {"type": "sql", "after": "start", "sql": "SELECT nothing"}, "b": {"type": "sql", "after": "a", "sql": "SELECT 1 AS x"}}')) GROUP BY 1 ORDER BY 1;

SET client_min_messages = warning;
DROP SCHEMA validate_test CASCADE;
