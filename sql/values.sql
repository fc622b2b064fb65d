--
-- Values travel between nodes with their types: nothing is lost on the way,
-- in one session (run) or through the tables and another process (start).
--
CREATE SCHEMA values_test;
SET search_path = values_test;
SET client_min_messages = error;
SET timezone = 'Europe/Berlin';
\pset null '-'
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE point3 AS (x int, y text, z numeric);
CREATE DOMAIN percent AS numeric(5,2) CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN name AS text NOT NULL;
CREATE TYPE labelled AS (label name, at point3, moods mood[]);
CREATE TABLE stock (sku text, qty int, tags text[]);

-- A delay stands between the nodes: in a worker what comes after it is loaded
-- from the tables.  The check is the same in both.
CREATE TABLE one_of_each AS SELECT
	'NaN'::numeric AS numeric_nan, 'Infinity'::numeric AS numeric_inf, 1.10::numeric AS numeric_scale,
	0.1::float8 + 0.2::float8 AS float_sum, '-0'::float8 AS float_minus_zero, 'NaN'::float8 AS float_nan, '-Infinity'::float4 AS float_inf,
	9223372036854775807 AS big, (-32768)::smallint AS small, true AS yes,
	'\x00ff10'::bytea AS bytes, ''::bytea AS no_bytes, E'tab\t, line\n, "quote" \\ ''single'' ü {x}' AS txt, '' AS empty, 'a  '::char(5) AS padded,
	'abc'::varchar(3) AS short, 'x'::"char" AS one_char, 'pg_class'::name AS sysname,
	'null'::jsonb AS json_null, NULL::jsonb AS sql_null, '{"b": 1, "a": [1.0, null]}'::jsonb AS doc, '{"b":1,  "b":2}'::json AS json_text,
	'{}'::int[] AS no_elements, '{1,NULL,3}'::int[] AS with_null, '[0:1]={5,6}'::int[] AS from_zero, '{{a,b},{"c,d","e\"f"}}'::text[] AS square, '{"{1,2}","{}"}'::text[] AS texts,
	ROW(1, 'a,"b"', NULL)::point3 AS composite, ROW(NULL, NULL, NULL)::point3 AS null_row, ROW('l', ROW(1, '', 2.50), '{sad,happy}')::labelled AS nested,
	ARRAY[ROW(1, 'x', 1), NULL]::point3[] AS composites, 'happy'::mood AS mood, 12.5::percent AS pct,
	'[1,10)'::int4range AS int_range, 'empty'::numrange AS no_range, '{[2024-01-01,2024-02-01)}'::datemultirange AS months, '[2024-03-31 01:30+01,)'::tstzrange AS since,
	timestamptz '2024-10-27 02:30:00.123456+01' AS at, timestamp '2024-02-29 23:59:59.999999' AS local, date '0044-03-15 BC' AS ides, 'infinity'::timestamptz AS ever, '-infinity'::date AS never,
	time '24:00' AS midnight, timetz '12:00:00+05:30' AS noon, interval '1 year -2 mons +3 days -04:05:06.7' AS span,
	'0192f0c1-2345-7678-9abc-def012345678'::uuid AS id, '10.0.0.1/8'::inet AS host, '10.0.0.0/8'::cidr AS net, '08:00:2b:01:02:03'::macaddr AS mac,
	B'1010'::bit(4) AS bits, B'1'::varbit AS more_bits, point '(1.5,-2)' AS pt, polygon '((0,0),(1,1),(1,0))' AS poly, '$1,234.50'::money AS cash,
	'a:1 b:2'::tsvector AS words, 'a & !b'::tsquery AS query, '<a>x</a>'::xml AS mark_up, '0/16B3748'::pg_lsn AS lsn, 'pg_class'::regclass AS cls, 'int4'::regtype AS typ;
SELECT count(*) AS columns FROM pg_attribute WHERE attrelid = 'one_of_each'::regclass AND attnum > 0;

-- After both ways each value is the one of the table, to its text and its type.
SELECT goflow.define('carry', jsonb_build_object('nodes', jsonb_build_object(
	'row', '{"type": "trigger"}'::jsonb) - 'row' || jsonb_build_object(
	'load',  '{"type": "sql", "sql": "SELECT * FROM one_of_each"}'::jsonb,
	'lines', '{"type": "sql", "after": "load", "rows": "many", "sql": "SELECT * FROM one_of_each UNION ALL SELECT (NULL::one_of_each).*"}'::jsonb,
	'nap',   '{"type": "delay", "after": "lines", "for": "input.nap"}'::jsonb,
	'columns', jsonb_build_object('type', 'sql', 'after', 'nap', 'rows', 'many', 'sql', 'SELECT * FROM (VALUES '
		|| (SELECT string_agg(format('(%L, load.%I::text, pg_typeof(load.%I)::text)', attname, attname, attname), ', ')
			FROM pg_attribute WHERE attrelid = 'one_of_each'::regclass AND attnum > 0) || ') v(name, value, type)'),
	'diff', jsonb_build_object('type', 'sql', 'after', 'columns', 'rows', 'many', 'sql', 'SELECT o.name, o.value, c.value AS got, c.type FROM ('
		|| (SELECT string_agg(format('SELECT %L AS name, %I::text AS value, pg_typeof(%I)::text AS type FROM one_of_each', attname, attname, attname), ' UNION ALL ')
			FROM pg_attribute WHERE attrelid = 'one_of_each'::regclass AND attnum > 0)
		|| ') o FULL JOIN columns c USING (name) WHERE (o.value, o.type) IS DISTINCT FROM (c.value, c.type)'),
	'rows_diff', jsonb_build_object('type', 'sql', 'after', 'diff', 'rows', 'many', 'sql',
		'SELECT t::text AS row FROM (SELECT * FROM one_of_each UNION ALL SELECT (NULL::one_of_each).*) t WHERE t::text NOT IN (SELECT l::text FROM lines l)'),
	'see', '{"type": "sql", "after": "rows_diff", "sql": "SELECT (SELECT json_agg(d) FROM diff d) AS diff, (SELECT json_agg(r) FROM rows_diff r) AS rows, (SELECT count(*) FROM columns) AS n, (SELECT count(*) FROM lines) AS m"}'::jsonb),
	'input', '{"nap": "interval"}'::jsonb,
	'output', '{"different": "see.diff", "different_rows": "see.rows", "columns": "see.n", "rows": "see.m"}'::jsonb));
SELECT goflow.run('carry', '{"nap": "0"}');
SELECT goflow.start('carry', '{"nap": "10 ms"}') AS carry \gset
SELECT goflow.wait(:'carry', '90 s');
SELECT goflow.result(:'carry');

-- As JSON, for people: what JSON has no value for is a string.
SELECT key, value FROM goflow.nodes(:'carry') n, jsonb_each(n.output) WHERE node = 'load' ORDER BY key COLLATE "C";

-- The start of an execution under other settings changes nothing: the definer's are in force.
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SET intervalstyle = 'iso_8601';
SET extra_float_digits = 0;
SET bytea_output = 'escape';
SELECT goflow.start('carry', '{"nap": "PT0.01S"}') AS carry \gset
SELECT goflow.wait(:'carry', '90 s');
SELECT goflow.result(:'carry');
SELECT goflow.run('carry', '{"nap": "0"}');
RESET ALL;
SET search_path = values_test;
SET client_min_messages = error;

-- Floats keep every bit, even where they are shown with fewer digits.
SET extra_float_digits = 0;
SELECT goflow.define('floats', $${
  "input": {"x": "float8"}, "variables": {"v": "float8 = input.x"},
  "nodes": {"a": {"type": "sql", "sql": "SELECT 0.1::float8 + 0.2::float8 AS x", "settings": {"extra_float_digits": "0"}},
            "nap": {"type": "delay", "after": "a", "for": "'1 ms'"},
            "b": {"type": "transform", "after": "nap", "value": {"same": "a.x = 0.1::float8 + 0.2::float8 AND vars.v = input.x AND input.x = 0.30000000000000004"}}},
  "output": {"same": "b.same"}}$$);
SELECT goflow.start('floats', '{"x": 0.30000000000000004}') AS floats \gset
SELECT goflow.wait(:'floats', '90 s');
SELECT goflow.result(:'floats');
RESET extra_float_digits;

-- Variables and inputs carry them, too.  JSON null is NULL, as jsonb_populate_record() has it.
SELECT goflow.define('hold', $${
  "input":     {"p": "point3", "pct": "percent", "n": "numeric", "doc": "jsonb", "at": "timestamptz"},
  "variables": {"p": "point3 = input.p", "moods": "mood[]", "doc": "jsonb = input.doc", "none": "jsonb", "n": "numeric = input.n", "at": "timestamptz = input.at", "big": "text"},
  "nodes": {
    "set":  {"type": "set", "set": {"moods": "enum_range(NULL::mood)", "big": "repeat('x', 3000000)"}},
    "nap":  {"type": "delay", "after": "set", "for": "'1 ms'"},
    "see":  {"type": "transform", "after": "nap",
             "value": {"y": "(vars.p).y", "happiest": "vars.moods[3]", "json_null": "vars.doc = 'null'", "sql_null": "vars.none IS NULL",
                       "nan": "vars.n = 'NaN'", "ever": "vars.at = 'infinity'", "big": "length(vars.big)", "pct": "input.pct + 0.5"}}},
  "output": {"y": "see.y", "happiest": "see.happiest", "json_null": "see.json_null", "sql_null": "see.sql_null", "nan": "see.nan", "ever": "see.ever", "big": "see.big",
             "pct": "see.pct", "row": "input.p", "n": "vars.n", "moods": "vars.moods"}}$$);
SELECT goflow.start('hold', '{"p": {"x": 1, "y": "why?"}, "pct": 99.5, "n": "NaN", "doc": null, "at": "infinity"}') AS hold \gset
SELECT goflow.wait(:'hold', '90 s');
SELECT goflow.result(:'hold');
SELECT variable, type, value, node FROM goflow.variables(:'hold') WHERE variable <> 'big' ORDER BY seq;

-- Many rows are a relation with the columns' own types, and of any size: here more than one chunk, and wide values.
SELECT goflow.define('lots', $${
  "input": {"nap": "interval"},
  "nodes": {
    "rows": {"type": "sql", "rows": "many", "sql": "SELECT i, CASE WHEN i % 3 > 0 THEN repeat(i::text, 500) END AS t, ARRAY[i, NULL] AS a, ROW(i, 'y', i)::point3 AS p FROM generate_series(1, 1000) i"},
    "nap":  {"type": "delay", "after": "rows", "for": "input.nap"},
    "sum":  {"type": "sql", "after": "nap", "sql": "SELECT sum(r.i) AS i, sum(length(t)) AS t, sum((p).z) AS z, sum(a[1]) AS a, count(t) AS n FROM rows r"},
    "copy": {"type": "sql", "after": "sum", "sql": "INSERT INTO stock SELECT t, i, ARRAY[t] FROM rows WHERE i <= 3"},
    "plan": {"type": "sql", "after": "copy", "sql": "WITH x AS (SELECT i FROM rows ORDER BY i DESC LIMIT 2) SELECT array_agg(x.i) AS top, (SELECT max(i) FROM rows) AS max FROM x JOIN rows USING (i)"}},
  "output": {"i": "sum.i", "t": "sum.t", "z": "sum.z", "a": "sum.a", "n": "sum.n", "rows": "rows.count", "top": "plan.top", "max": "plan.max", "copied": "copy.count"}}$$);
SELECT goflow.start('lots', '{"nap": "1 ms"}') AS lots \gset
SELECT goflow.wait(:'lots', '90 s');
SELECT goflow.result(:'lots') = goflow.run('lots', '{"nap": "0"}') AS same, goflow.result(:'lots');

SELECT goflow.drop(w) FROM unnest('{carry,floats,hold,lots}'::text[]) w;
DROP SCHEMA values_test CASCADE;
