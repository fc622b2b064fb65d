--
-- What is wrong with a definition: every kind of problem has its code and a hint.
-- (SQL inside of nodes has a file of its own: define_sql.)
--
\set QUIET on
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA define_errors;
SET search_path = define_errors;
CREATE TABLE t (id int, x text);
CREATE VIEW v AS SELECT 1 AS one;
CREATE FUNCTION problems(definition jsonb) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT format('%s %s', severity, code) || coalesce(' node ' || node, '') || coalesce(' key ' || key, '')
         || coalesce(' at ' || "position", '') || ': ' || message
         || coalesce(E'\n  DETAIL: ' || detail, '') || coalesce(E'\n  HINT: ' || hint, '')
    FROM goflow.validate(definition)
$$;
-- the same for a definition that has only nodes
CREATE FUNCTION node_problems(nodes jsonb) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT problems(jsonb_build_object('nodes', nodes)) $$;

\echo == WF001: not what JSON should hold here
SELECT problems('[]');
SELECT problems('"text"');
SELECT problems('{"nodes": []}');
SELECT problems('{"nodes": {"a": 1}}');
SELECT node_problems('{"a": {"type": "sql", "sql": 7, "rows": "some", "title": null, "after": [1]}}');
SELECT node_problems('{"a": {"type": "sql", "sql": ["SELECT", 1]}}');
SELECT node_problems('{"a": {"type": "sql", "sql": "  "}}');
SELECT node_problems('{"a": {"type": "sqll", "sql": "SELECT 1"}}');
SELECT node_problems('{"a": {"type": "teleport"}}');
SELECT problems('{"priority": 1.5, "security": "root", "nodes": {"a": {"type": "trigger"}}}');
SELECT node_problems('{"a": {"type": "switch", "cases": []}}');
SELECT node_problems('{"a": {"type": "notify", "channel": ""}}');
SELECT node_problems('{"a": {"type": "sql", "sql": "SELECT 1 AS x", "join": "any"}}');
SELECT node_problems('{"a": {"type": "sql", "sql": "SELECT 1 AS x"},
                       "b": {"type": "sql", "sql": "SELECT 1 AS x", "after": ["a"], "join": 2},
                       "c": {"type": "sql", "sql": "SELECT 1 AS x", "after": ["a", "a"]},
                       "d": {"type": "sql", "sql": "SELECT 1 AS x", "after": ["a"], "join": 0}}');
SELECT node_problems('{"a": {"type": "sql", "sql": "SELECT 1 AS x", "columns": {"x": "int"}}}');
SELECT node_problems('{"a": {"type": "trigger", "events": ["insert"]}}');
SELECT node_problems('{"a": {"type": "trigger", "table": "t", "events": ["insert", "truncate"], "of": ["x"]}}');

\echo == WF002: unknown key
SELECT problems('{"node": {}, "nodes": {"a": {"type": "trigger"}}}');
SELECT problems('{"colour": "red", "nodes": {"a": {"type": "trigger"}}}');
SELECT node_problems('{"a": {"type": "sql", "sql": "SELECT 1 AS x", "afetr": []}}');
SELECT node_problems('{"a": {"type": "trigger", "join": "any"}}');
SELECT node_problems('{"a": {"type": "switch", "cases": [{"port": "p", "when": "true", "then": "b"}]}}');

\echo == WF003: missing key
SELECT problems('{}');
SELECT node_problems('{"a": {}}');
SELECT node_problems('{"a": {"type": "sql"}}');
SELECT node_problems('{"a": {"type": "delay"}}');
SELECT node_problems('{"a": {"type": "switch", "cases": [{"when": "true"}]}}');
SELECT node_problems('{"a": {"type": "trigger", "table": "t"}}');
SELECT node_problems('{"a": {"type": "sql", "sql": "SELECT 1", "check": "late", "rows": "many"}}');
SELECT problems('{"input": {"id": "int", "n": "int = 1"},
                  "nodes": {"a": {"type": "trigger", "table": "t", "events": ["insert"]},
                            "b": {"type": "notify", "after": "a", "channel": "c"}}}');

\echo == WF004: malformed or reserved ids and names
SELECT node_problems('{"Big": {"type": "trigger"}, "2nd": {"type": "trigger"}, "a b": {"type": "trigger"},
                       "": {"type": "trigger"}, "é": {"type": "trigger"}}');
SELECT node_problems(jsonb_build_object(repeat('x', 64), '{"type": "trigger"}'::jsonb));
SELECT node_problems('{"select": {"type": "trigger"}, "left": {"type": "trigger"}, "input": {"type": "trigger"},
                       "new": {"type": "trigger"}}');
SELECT problems('{"input": {"orderId": "int"}, "nodes": {"a": {"type": "notify", "channel": "c"}}}');
SELECT node_problems('{"a": {"type": "switch", "cases": [{"port": "No way", "when": "true"}]}}');

\echo == WF005: the node before does not exist
SELECT node_problems('{"first": {"type": "sql", "sql": "SELECT 1 AS x"},
                       "second": {"type": "sql", "sql": "SELECT first.x", "after": ["frist"]},
                       "third": {"type": "sql", "sql": "SELECT first.x", "after": ["nowhere", "second"]}}');

\echo == WF006: cycles, each named once
SELECT node_problems('{"a": {"type": "notify", "channel": "c", "after": "a"}}');
SELECT node_problems('{"x": {"type": "notify", "channel": "c", "after": ["c", "z"]},
                       "c": {"type": "notify", "channel": "c", "after": "b"},
                       "b": {"type": "notify", "channel": "c", "after": "x"},
                       "p": {"type": "notify", "channel": "c", "after": "q"},
                       "q": {"type": "notify", "channel": "c", "after": "p"},
                       "y": {"type": "notify", "channel": "c", "after": "x", "payload": "a_mistake"},
                       "z": {"type": "notify", "channel": "c"}}');

\echo == WF007: a node that nothing starts
SELECT node_problems('{"t": {"type": "trigger"}, "a": {"type": "notify", "channel": "c", "after": "t"},
                       "b": {"type": "notify", "channel": "c"}, "d": {"type": "notify", "channel": "c", "after": "b"}}');

\echo == WF008: a port that the node does not have
SELECT node_problems('{"c": {"type": "condition", "if": "true"},
                       "s": {"type": "switch", "cases": [{"port": "small", "when": "true"}]},
                       "n": {"type": "notify", "channel": "c"},
                       "x": {"type": "notify", "channel": "c", "after": ["c:yes", "c:flase", "s:smal", "n:true", "s:default"]}}');

\echo == WF009: nodes where no nodes can be
SELECT problems('{"nodes": {}}');
SELECT node_problems('{"a": {"type": "sql", "sql": "SELECT 1 AS x", "body": {"nodes": {}}}}');

\echo == WF010: names that are not declared
SELECT problems('{"variables": {"tries": "int"}, "nodes": {"a": {"type": "set", "set": {"trys": "1", "other": "2"}}}}');
SELECT problems('{"input": {"id": "int = 0"}, "nodes": {"a": {"type": "trigger", "table": "t", "events": ["insert"], "input": {"ids": "NEW.id"}},
                  "b": {"type": "notify", "channel": "c", "after": "a"}}}');

\echo == WF012: declared types
SELECT problems('{"input": {"a": "integre", "b": "anyelement", "c": "record", "d": "setof int", "e": "int int", "f": "int = ''x''", "g": ""},
                  "variables": {"v": "int = 2.5", "w": "int = input.a", "x": "date = 5", "y": "int = vars.v"},
                  "nodes": {"n": {"type": "notify", "channel": "c"}}}');

\echo == WF013: one name for two things
SELECT node_problems('{"s": {"type": "switch", "cases": [{"port": "p", "when": "true"}, {"port": "p", "when": "true"},
                                                         {"port": "default", "when": "true"}]}}');
SELECT node_problems('{"a": {"type": "notify", "channel": "c"},
                       "b": {"type": "transform", "after": "a", "aggregate": "array", "value": {"joined": "1"}}}');

\echo == WF014: settings that a workflow cannot give
SELECT problems('{"settings": {"role": "postgres", "work_mem": "much", "no_such_setting": 1},
                  "nodes": {"a": {"type": "notify", "channel": "c", "settings": {"transaction_isolation": "serializable"}}}}');

\echo == WF015: limits
SELECT problems(jsonb_build_object('nodes', (SELECT jsonb_object_agg('n' || i, '{"type": "trigger"}'::jsonb) FROM generate_series(1, 10001) i)));
SELECT problems(jsonb_build_object('description', repeat('x', 5000000)));
SELECT problems(jsonb_build_object('nodes', '{"a": {"type": "notify", "channel": "c"}}'::jsonb,
                'input', (SELECT jsonb_object_agg('f' || i, 'int') FROM generate_series(1, 1001) i)));

\echo == tables of triggers
SELECT node_problems('{"a": {"type": "trigger", "table": "missing", "events": ["insert"]},
                       "b": {"type": "trigger", "table": "v", "events": ["insert"]},
                       "c": {"type": "trigger", "table": "pg_catalog.pg_class", "events": ["insert"]},
                       "d": {"type": "trigger", "table": "t", "events": ["update"], "of": ["nope"]},
                       "e": {"type": "trigger", "table": "t", "events": ["insert"], "when": "OLD.id > 0"},
                       "f": {"type": "trigger", "table": "t", "events": ["insert"], "when": "NEW.nope > 0"},
                       "g": {"type": "trigger", "table": "t", "events": ["insert"], "when": "NEW.id"},
                       "h": {"type": "trigger", "table": "t", "events": ["update"], "when": "NEW.* IS DISTINCT FROM OLD.*"},
                       "z": {"type": "notify", "channel": "c", "after": ["a", "b", "c", "d", "e", "f", "g", "h"]}}');
SELECT problems('{"input": {"id": "int", "doc": "jsonb = NULL"},
                  "nodes": {"a": {"type": "trigger", "table": "t", "events": ["insert"], "input": {"id": "OLD.id"}},
                            "b": {"type": "trigger", "table": "t", "events": ["insert"], "input": {"id": "NEW.idd"}},
                            "c": {"type": "trigger", "table": "t", "events": ["insert"], "input": {"id": "NEW.x"}},
                            "d": {"type": "trigger", "table": "t", "events": ["delete"], "input": {"id": "input.id"}},
                            "e": {"type": "trigger", "table": "t", "events": ["delete"], "input": {"id": "OLD.id", "doc": "to_jsonb(OLD)"}},
                            "z": {"type": "notify", "channel": "c", "after": ["a", "b", "c", "d", "e"]}}}');

\echo == messages can be read in every encoding of a client
SET client_encoding = latin1;
SELECT node_problems('{"a": {"type": "sql", "sql": "SELECT 1 AS x", "after": "b"}, "b": {"type": "sql", "sql": "SELECT 1 AS x", "after": "a"},
                       "l": {"type": "loop", "repeat": 1}, "p": {"type": "parallel"}, "t": {"type": "try", "body": {"nodes": {"n": {"type": "notify", "channel": "c"}}}}}');
RESET client_encoding;

SET client_min_messages = warning;
DROP SCHEMA define_errors CASCADE;
