--
-- What each type of node does.
--
CREATE SCHEMA nodes_test;
SET search_path = nodes_test;
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);
INSERT INTO item VALUES (1, 'ink', 3.50), (2, 'pen', 1), (3, 'cap', NULL);
\pset null '-'
SET client_min_messages = error;		-- not: nobody can reach a result

-- Runs nodes, and shows each one's output.
CREATE FUNCTION run_nodes(nodes jsonb, input jsonb DEFAULT '{}', extra jsonb DEFAULT '{}',
	OUT node text, OUT state text, OUT output jsonb, OUT error text)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE r jsonb;
BEGIN
	PERFORM goflow.define('nodes_test', extra || jsonb_build_object('nodes', nodes));
	r := goflow.run('nodes_test', input, raise => false);
	RETURN QUERY SELECT n.node, n.state, n.output, n.error->>'code' || ' ' || (n.error->>'message')
		FROM goflow.nodes((r->>'execution')::uuid) n ORDER BY n.seq;
	IF r->'error'->>'node' IS NULL AND r->>'state' = 'failed' THEN
		RAISE NOTICE '%', r->'error'->>'message';
	END IF;
END $$;

-- sql, one row: its columns.  No row gives NULLs; more than one is an error.
SELECT * FROM run_nodes($${
  "a": {"type": "sql", "sql": "SELECT name, price FROM item WHERE id = 1"},
  "b": {"type": "sql", "after": "a", "sql": "SELECT name, price FROM item WHERE id = 99"},
  "c": {"type": "sql", "after": "b", "sql": "SELECT b.name IS NULL AS is_null, a.price * 2 AS twice"}}$$);
SELECT * FROM run_nodes($${
  "a": {"type": "sql", "sql": "SELECT name FROM item"},
  "b": {"type": "sql", "after": "a", "sql": "SELECT 1 AS one"}}$$);
-- sql, many rows: a relation, and its count.
SELECT * FROM run_nodes($${
  "a": {"type": "sql", "rows": "many", "sql": "SELECT id, name FROM item ORDER BY id"},
  "b": {"type": "sql", "after": "a", "sql": "SELECT string_agg(name, ' ' ORDER BY id DESC) AS names, a.count AS n FROM a AS x"},
  "none": {"type": "sql", "after": "b", "rows": "many", "sql": "SELECT id FROM item WHERE false"},
  "c": {"type": "sql", "after": "none", "sql": "SELECT count(*) AS rows FROM none"},
  "d": {"type": "condition", "after": "c", "if": "NOT EXISTS (SELECT FROM none) AND none.count = 0"},
  "e": {"type": "sql", "after": "d", "sql": "SELECT x.name AS name FROM a x JOIN a y ON y.id = x.id + 1 WHERE x.id = 2"}}$$);
-- sql, no rows: the count only.
SELECT * FROM run_nodes($${
  "a": {"type": "sql", "rows": "none", "sql": "SELECT name FROM item"},
  "b": {"type": "sql", "after": "a", "rows": "none", "sql": "UPDATE item SET price = price + 1"},
  "c": {"type": "sql", "after": "b", "rows": "none", "sql": "UPDATE item SET price = price - 1 RETURNING id"}}$$);

-- Statements that change rows give their count, or what RETURNING says.
SELECT * FROM run_nodes($${
  "a": {"type": "sql", "sql": "INSERT INTO item VALUES (4, 'nib', 2), (5, 'pad', 3)"},
  "b": {"type": "sql", "after": "a", "sql": "UPDATE item SET price = 9 WHERE id = 4 RETURNING id, price"},
  "c": {"type": "sql", "after": "b", "sql": "UPDATE item SET price = 9 WHERE id = 99 RETURNING id, price"},
  "d": {"type": "sql", "after": "c", "sql": "DELETE FROM item WHERE id > 3 RETURNING id", "rows": "many"},
  "e": {"type": "sql", "after": "d", "sql": "SELECT array_agg(id ORDER BY id) AS deleted FROM d"},
  "f": {"type": "sql", "after": "e", "sql": "INSERT INTO item VALUES (1, 'x') ON CONFLICT (id) DO NOTHING"},
  "g": {"type": "sql", "after": "f", "sql": "MERGE INTO item USING (VALUES (3)) v(id) ON v.id = item.id WHEN MATCHED THEN UPDATE SET price = 4"},
  "h": {"type": "sql", "after": "g", "sql": "WITH d AS (DELETE FROM item WHERE id = 3 RETURNING *) SELECT count(*) AS n, sum(price) AS price FROM d"}}$$);
SELECT * FROM run_nodes($${
  "a": {"type": "sql", "sql": "UPDATE item SET price = 0 RETURNING id"}}$$);
SELECT * FROM item ORDER BY id;

-- Results without a type are text; a void function's is an empty one.
SELECT * FROM run_nodes($${
  "a": {"type": "sql", "sql": "SELECT 'text' AS t, NULL AS n, pg_sleep(0) AS v"},
  "b": {"type": "sql", "after": "a", "sql": "SELECT a.t || '!' AS t, a.n IS NULL AS n, a.v = '' AS v"},
  "c": {"type": "sql", "after": "b", "rows": "many", "sql": "SELECT 'text' AS t, NULL AS n, pg_sleep(0) AS v"},
  "d": {"type": "sql", "after": "c", "sql": "SELECT t || '!' AS t, n IS NULL AS n, v = '' AS v FROM c"}}$$);

-- CALL, with and without OUT arguments; a procedure may not end the transaction.
CREATE PROCEDURE plain(x int) LANGUAGE sql AS 'UPDATE item SET price = x WHERE id = 1';
CREATE PROCEDURE doubled(x int, INOUT y int, OUT z text) LANGUAGE plpgsql AS 'BEGIN y := 2 * x; z := ''out''; END';
CREATE PROCEDURE commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END';
SELECT * FROM run_nodes($${
  "a": {"type": "sql", "sql": "CALL plain(7)"},
  "b": {"type": "sql", "after": "a", "sql": "CALL doubled(21, 0, NULL)"},
  "c": {"type": "sql", "after": "b", "sql": "CALL doubled(b.y, 0, NULL)"},
  "d": {"type": "sql", "after": "c", "sql": "CALL commits()"}}$$);

-- EXPLAIN, CREATE TABLE AS and other utility statements.
SELECT * FROM run_nodes($${
  "a": {"type": "sql", "rows": "many", "sql": "EXPLAIN (COSTS OFF) SELECT * FROM item WHERE id = 1"},
  "b": {"type": "sql", "after": "a", "sql": "SELECT count(*) > 0 AS planned FROM a"},
  "c": {"type": "sql", "after": "b", "sql": "CREATE TABLE copy AS SELECT id, name FROM item WHERE id = b.planned::int"},
  "d": {"type": "sql", "after": "c", "check": "late", "columns": {"id": "int", "name": "text"}, "sql": "SELECT id, name FROM copy"},
  "e": {"type": "sql", "after": "d", "sql": "TRUNCATE copy"},
  "f": {"type": "sql", "after": "e", "check": "late", "columns": {"n": "bigint"}, "sql": "SELECT count(*) AS n FROM copy"},
  "g": {"type": "sql", "after": "f", "sql": "DROP TABLE copy"},
  "h": {"type": "sql", "after": "g", "sql": "DO 'BEGIN PERFORM 1; END'"},
  "i": {"type": "sql", "after": "h", "sql": "SHOW search_path"},
  "j": {"type": "sql", "after": "i", "sql": "VALUES (1, 'a')"},
  "k": {"type": "sql", "after": "j", "rows": "many", "sql": "TABLE item"}}$$);
-- what is checked late and then is not as declared
SELECT * FROM run_nodes($${
  "a": {"type": "sql", "sql": "CREATE TABLE late_one AS SELECT 1 AS n"},
  "b": {"type": "sql", "after": "a", "check": "late", "columns": {"n": "text"}, "sql": "SELECT n FROM late_one"}}$$);
SELECT * FROM run_nodes($${
  "b": {"type": "sql", "check": "late", "columns": {"n": "text"}, "sql": "SELECT n FROM late_two"}}$$);

-- A table with as many columns as it can have.
SELECT count(*) AS nodes, sum((SELECT count(*) FROM jsonb_object_keys(output))) AS columns, min(error) AS error
  FROM run_nodes(jsonb_build_object('a', jsonb_build_object('type', 'sql', 'sql',
	'SELECT ' || (SELECT string_agg(format('%s AS c%s', i, i), ', ') FROM generate_series(1, 1600) i))));

-- condition: NULL is false.
SELECT * FROM run_nodes($${
  "yes": {"type": "condition", "if": "1 < 2"},
  "no":  {"type": "condition", "if": "2 < 1"},
  "unknown": {"type": "condition", "if": "(SELECT price > 0 FROM item WHERE id = 99)"},
  "y1": {"type": "transform", "after": "yes:true", "value": {"took": "'true'"}},
  "y2": {"type": "transform", "after": "yes:false", "value": {"took": "'false'"}},
  "n1": {"type": "transform", "after": "no:true", "value": {"took": "'true'"}},
  "n2": {"type": "transform", "after": "no:false", "value": {"took": "'false'"}},
  "u1": {"type": "transform", "after": "unknown:true", "value": {"took": "'true'"}},
  "u2": {"type": "transform", "after": "unknown:false", "value": {"took": "'false'"}},
  "after_no": {"type": "transform", "after": "no", "value": {"result": "no.result"}}}$$);
SELECT * FROM run_nodes($${"c": {"type": "condition", "if": "(SELECT price > 0 FROM item)"}}$$);
SELECT * FROM run_nodes($${"c": {"type": "condition", "if": "1 / (SELECT 0) = 1"}}$$);

-- switch: the first case that equals "on", or that is true; else its default.
CREATE FUNCTION sort_out(v text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT node || ' ' || state || coalesce(' ' || output::text, '') FROM run_nodes($n${
    "by":  {"type": "switch", "on": "input.v",
            "cases": [{"port": "small", "when": "'1'"}, {"port": "again", "when": "'1'"}, {"port": "null", "when": "NULL"}]},
    "si":  {"type": "switch",
            "cases": [{"port": "small", "when": "input.v::int < 10"}, {"port": "big", "when": "input.v::int < 1000"}]},
    "a": {"type": "notify", "channel": "c", "after": "by:small"},
    "b": {"type": "notify", "channel": "c", "after": "by:again"},
    "c": {"type": "notify", "channel": "c", "after": "by:default"},
    "d": {"type": "notify", "channel": "c", "after": "si:small"},
    "e": {"type": "notify", "channel": "c", "after": "si:big"},
    "f": {"type": "notify", "channel": "c", "after": "si:default"},
    "g": {"type": "notify", "channel": "c", "after": ["by:null", "si:small"]}}$n$,
	jsonb_build_object('v', v), '{"input": {"v": "text"}}')
$$;
SELECT sort_out('1');
SELECT sort_out('500');
SELECT sort_out(NULL);
-- no case holds, and nothing follows the default: an error
SELECT * FROM run_nodes($${
  "s": {"type": "switch", "on": "3", "cases": [{"port": "one", "when": "1"}]},
  "a": {"type": "notify", "channel": "c", "after": "s:one"}}$$);
-- values are compared by the type's own equality
SELECT * FROM run_nodes($${
  "s": {"type": "switch", "on": "1.0::numeric", "cases": [{"port": "one", "when": "1.00"}]},
  "r": {"type": "switch", "on": "row(1, 'ink', 3.5)::item", "cases": [{"port": "one", "when": "row(1, 'ink', 3.50)::item"}]},
  "t": {"type": "switch", "on": "'{1,2}'::int[]", "cases": [{"port": "one", "when": "'{1,2}'"}]}}$$);

-- set: all expressions are evaluated before the first is assigned.
SELECT * FROM run_nodes($${
  "swap": {"type": "set", "set": {"a": "vars.b", "b": "vars.a", "n": "vars.n + 1"}},
  "see":  {"type": "transform", "after": "swap", "value": {"a": "vars.a", "b": "vars.b", "n": "vars.n", "d": "vars.d"}},
  "nix":  {"type": "set", "after": "see", "set": {"a": "NULL"}},
  "conv": {"type": "set", "after": "nix", "set": {"n": "'12'", "b": "42", "d": "now()", "p": "'1.005'"}},
  "last": {"type": "transform", "after": "conv", "value": {"a": "vars.a", "b": "vars.b", "n": "vars.n", "d": "vars.d = current_date", "p": "vars.p"}}}$$,
  extra => '{"variables": {"a": "text = ''A''", "b": "text = ''B''", "n": "int = 7", "d": "date", "p": "numeric(6,2)"}}');
SELECT v.variable, v.type, CASE WHEN v.variable <> 'd' THEN v.value END AS value, v.node
  FROM goflow.executions e, goflow.variables(e.execution) v
 WHERE workflow = 'nodes_test' AND version = (SELECT max(version) FROM goflow.workflows WHERE workflow = 'nodes_test')
 ORDER BY v.seq;
CREATE DOMAIN positive AS int CHECK (VALUE > 0) NOT NULL;
SELECT * FROM run_nodes($${
  "fine": {"type": "set", "set": {"p": "2"}},
  "bad":  {"type": "set", "after": "fine", "set": {"p": "vars.p - 2", "n": "0"}}}$$,
  extra => '{"variables": {"p": "positive = 1", "n": "int = 5"}}');
SELECT * FROM run_nodes($${"bad":  {"type": "set", "set": {"p": "NULL"}}}$$, extra => '{"variables": {"p": "positive = 1"}}');
SELECT * FROM run_nodes($${"bad":  {"type": "set", "set": {"n": "(SELECT id FROM item)"}}}$$, extra => '{"variables": {"n": "int"}}');
SELECT * FROM run_nodes($${"big":  {"type": "set", "set": {"n": "2147483647 + length(vars.t)"}}}$$, extra => '{"variables": {"n": "smallint", "t": "text = ''''"}}');

-- transform: expressions by name.
SELECT * FROM run_nodes($${
  "t": {"type": "transform", "value": {"sum": "1 + 1", "doc": "jsonb_build_object('a', 1)", "null": "NULL::int", "words": "string_to_array('a b', ' ')",
                                       "rows": "(SELECT count(*) FROM item)"}},
  "u": {"type": "transform", "after": "t", "value": {"sum": "t.sum + 1", "a": "t.doc->'a'", "second": "t.words[2]"}}}$$);

-- delay: until a moment that has come, or for no time, it goes straight on.
SELECT node, state, (output->>'woke_at')::timestamptz = now() AS now, error FROM run_nodes($${
  "past": {"type": "delay", "until": "timestamptz '2001-01-01'"},
  "zero": {"type": "delay", "for": "'0'"},
  "minus": {"type": "delay", "for": "-interval '1 day'"},
  "ever": {"type": "delay", "until": "'-infinity'"}}$$);
SELECT * FROM run_nodes($${"d": {"type": "delay", "for": "NULL"}}$$);
SELECT * FROM run_nodes($${"d": {"type": "delay", "for": "nullif(interval '1 day', '24 hours')"}}$$);
SELECT node, state, split_part(error, ' ', 1) AS code FROM run_nodes($${"d": {"type": "delay", "until": "'infinity'"}}$$);
-- in a worker it does wait
SELECT goflow.define('nap', $${
  "input": {"nap": "interval"},
  "nodes": {"before": {"type": "sql", "sql": "SELECT clock_timestamp() AS at"},
            "nap": {"type": "delay", "after": "before", "for": "input.nap"},
            "after": {"type": "sql", "after": "nap", "sql": "SELECT clock_timestamp() AS at"}},
  "output": {"slept": "after.at - before.at >= input.nap", "woke": "nap.woke_at <= after.at AND nap.woke_at >= before.at + input.nap"}}$$);
SELECT goflow.start('nap', '{"nap": "0.2 s"}') AS nap \gset
SELECT goflow.wait(:'nap', '90 s');
SELECT goflow.result(:'nap');

-- notify: a message that commits with the node (see test/isolation/specs/notify.spec for who gets it).
SELECT * FROM run_nodes($${
  "a": {"type": "notify", "channel": "c", "payload": "'x' || 1"},
  "b": {"type": "notify", "channel": "c", "payload": "42"},
  "c": {"type": "notify", "channel": "c", "payload": "NULL"},
  "d": {"type": "notify", "channel": "c"}}$$);
SELECT * FROM run_nodes(jsonb_build_object('n', jsonb_build_object('type', 'notify', 'channel', 'c', 'payload', 'repeat(''x'', 8001)')));

SELECT goflow.drop(w) FROM unnest('{nodes_test,nap}'::text[]) w;
SET client_min_messages = warning;
DROP SCHEMA nodes_test CASCADE;
