--
-- SQL inside of nodes: what names mean, and which character is wrong.
--
CREATE SCHEMA define_sql;
SET search_path = define_sql;
CREATE TABLE orders (id bigint, total numeric, state text);
CREATE TABLE stock (sku text, qty int);
CREATE FUNCTION one_row() RETURNS stock LANGUAGE sql AS $$ SELECT 'x', 1 $$;

-- A workflow with one node under test: "probe", after "item" (one row), "parts"
-- (many rows) and "flag" (a condition); "late" comes after it, "aside" beside it.
CREATE FUNCTION probe(probe jsonb, extra jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM goflow.define('probe', extra || jsonb_build_object(
		'input', '{"id": "bigint", "name": "text = NULL"}'::jsonb,
		'variables', '{"tries": "int = 0", "day": "date"}'::jsonb,
		'nodes', jsonb_build_object(
			'item', '{"type": "sql", "sql": "SELECT id, total FROM orders"}'::jsonb,
			'parts', '{"type": "sql", "after": "item", "rows": "many", "sql": "SELECT sku, qty FROM stock"}'::jsonb,
			'flag', '{"type": "condition", "after": "parts", "if": "true"}'::jsonb,
			'probe', probe || '{"after": "flag"}',
			'late', '{"type": "sql", "after": "probe", "rows": "many", "sql": "SELECT sku FROM stock"}'::jsonb,
			'aside', '{"type": "sql", "after": "item", "sql": "SELECT 1 AS one"}'::jsonb)));
	RETURN 'fine';
END $$;
CREATE FUNCTION sql(statement text, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS
$$ SELECT probe(more || jsonb_build_object('type', 'sql', 'sql', statement)) $$;
\set SHOW_CONTEXT never
\pset tuples_only on
\pset format unaligned

-- Names of the workflow are typed values.
SELECT sql('SELECT input.id + 1 AS a, vars.day - 1 AS b, item.total AS c, flag.result AS d, parts.count AS e');
SELECT sql('UPDATE orders SET total = item.total + vars.tries WHERE id = input.id RETURNING id, state');
SELECT sql('INSERT INTO stock SELECT execution.run_as, execution.version');
SELECT sql('SELECT trigger.node, trigger.event, trigger."table", execution.id, execution.workflow, execution.created_at');
SELECT sql('WITH x AS (SELECT input.id AS id) SELECT o.id FROM orders o JOIN x USING (id) WHERE o.total > item.total');
SELECT sql('EXPLAIN SELECT input.id');
SELECT sql('CREATE TEMP TABLE made AS SELECT input.id AS id');
SELECT sql('TRUNCATE stock');
SELECT sql('SELECT pg_sleep(0)');

-- A many-row node is a relation, at any depth.
SELECT sql('SELECT p.sku, p.qty FROM parts p');
SELECT sql('DELETE FROM stock WHERE sku IN (SELECT sku FROM parts)');
SELECT sql('WITH x AS (SELECT * FROM parts) SELECT count(*) AS n, parts.count AS m FROM x');
SELECT probe('{"type": "condition", "if": "EXISTS (SELECT FROM parts WHERE qty > vars.tries)"}');

-- Unknown names: the right character, and what was meant.
SELECT sql('SELECT 1 AS one, input.idd AS x');
SELECT sql('SELECT 1 AS one, input.foo AS x');
SELECT sql('SELECT vars.trise AS x');
SELECT sql('SELECT item.totl AS x');
SELECT sql('SELECT item.whatever AS x');
SELECT sql('SELECT execution.user AS x');
SELECT sql('SELECT itme.total AS x');
SELECT sql('SELECT nobody.total AS x');
SELECT sql('SELECT total FROM order');
SELECT sql('SELECT input.* FROM orders');
SELECT sql('SELECT parts.sku AS x');
SELECT sql('SELECT sku FROM item');
-- also behind other characters and line breaks
SELECT probe('{"type": "sql", "sql": ["SELECT ''äöü→'' AS a,", "       input.idd AS b"]}');

-- What has not run yet, or need not have run.
SELECT sql('SELECT late.count AS x');
SELECT sql('SELECT aside.one AS x');
SELECT sql('SELECT probe.x AS x');
SELECT sql('SELECT 1 AS one FROM late');
-- the output sees every node
SELECT probe('{"type": "notify", "channel": "c"}', '{"output": {"a": "aside.one", "n": "(SELECT count(*) FROM late)"}}');
SELECT probe('{"type": "notify", "channel": "c"}', '{"output": {"a": "aside.two"}}');

-- Wrong types.
SELECT sql('SELECT input.id + vars.day AS x');
SELECT sql('SELECT upper(input.id) AS x');
SELECT probe('{"type": "condition", "if": "vars.tries"}');
SELECT probe('{"type": "condition", "if": "1 + "}');
SELECT probe('{"type": "condition", "if": "true, false"}');
SELECT probe('{"type": "condition", "if": "generate_series(1, 2) > 1"}');
SELECT probe('{"type": "set", "set": {"day": "''tomorrow or so''"}}');
SELECT probe('{"type": "set", "set": {"tries": "''1''", "day": "now()"}}');
SELECT probe('{"type": "set", "set": {"tries": "input.name"}}');
SELECT probe('{"type": "transform", "value": {"a": "(1, 2)"}}');
SELECT probe('{"type": "switch", "on": "''{}''::json", "cases": [{"port": "p", "when": "''{}''"}]}');
SELECT probe('{"type": "switch", "on": "vars.tries", "cases": [{"port": "p", "when": "''many''"}]}');
SELECT probe('{"type": "delay", "for": "5"}');
SELECT probe('{"type": "delay", "until": "now() + interval ''1 day''"}');

-- A name that could be a column as well is an error, as in PL/pgSQL.
SELECT sql('SELECT item.total FROM orders AS item');
SELECT sql('SELECT item.state FROM orders AS item');
SELECT sql('SELECT aside.total FROM orders AS aside');

-- Columns of a result are read by name, so they need one each.
SELECT sql('SELECT 1');
SELECT sql('SELECT id, state, total AS id FROM orders');
SELECT sql('SELECT one_row() AS r, (1, 2) AS pair');
SELECT sql('SELECT most_common_vals FROM pg_catalog.pg_stats');
SELECT sql('DELETE FROM stock', '{"rows": "many"}');
SELECT sql('SELECT 1, 2', '{"rows": "none"}');

-- The id of a many-row node must not be the name of a table.
SELECT goflow.define('probe', '{"nodes": {"stock": {"type": "sql", "rows": "many", "sql": "SELECT 1 AS x"}}}');

-- One statement, and none that takes the transaction or the session away.
SELECT sql('SELECT 1 AS a; SELECT 2 AS b');
SELECT sql('SELECT 1 AS a;');
SELECT sql('-- nothing');
SELECT sql('COMMIT');
SELECT sql('LISTEN x');
SELECT sql('COPY orders FROM STDIN');
SELECT sql('COPY orders TO ''/tmp/x''');
SELECT sql('PREPARE p AS SELECT 1');
SELECT sql('DECLARE c CURSOR FOR SELECT 1');
SELECT sql('DISCARD ALL');
SELECT sql('VACUUM orders');
SELECT sql('CREATE INDEX CONCURRENTLY ON orders (id)');
SELECT sql('SELECT $1 AS x');
SELECT sql('CREATE TABLE x (');
SELECT sql('CREATE TABLE x (y int DEFAULT input.id)');

-- What an earlier node creates is checked when it is there.
SELECT sql('SELECT n FROM made_later');
SELECT sql('SELECT n FROM made_later', '{"check": "late", "columns": {"n": "bigint"}}');
SELECT sql('SELECT n FROM made_later WHERE', '{"check": "late", "columns": {"n": "bigint"}}');
SELECT sql('SELECT n FROM made_later', '{"check": "late", "columns": {"n": "biggint"}}');
SELECT sql('ROLLBACK', '{"check": "late"}');

SELECT goflow.drop('probe');
SET client_min_messages = warning;
DROP SCHEMA define_sql CASCADE;
