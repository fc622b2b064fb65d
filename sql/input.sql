--
-- Inputs: declared with a type, perhaps with a default; checked at start.
--
CREATE SCHEMA input_test;
SET search_path = input_test;
SET client_min_messages = error;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE address AS (street text, zip int);
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN must AS int NOT NULL;
CREATE TABLE person (name text, born date, homes address[]);

-- Shows what a workflow with one input makes of a value, or the error.
CREATE FUNCTION given(type text, input jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE code text; message text; detail text; hint text;
BEGIN
	PERFORM goflow.define('given', jsonb_build_object('input', jsonb_build_object('x', type),
		'nodes', '{"a": {"type": "transform", "value": {"x": "input.x::text"}}}'::jsonb, 'output', '{"x": "a.x"}'::jsonb));
	RETURN coalesce(goflow.run('given', input)->>'x', 'NULL');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN code || ' ' || message || coalesce(E'\n  DETAIL: ' || nullif(detail, ''), '') || coalesce(E'\n  HINT: ' || nullif(hint, ''), '');
END $$;
\pset tuples_only on
\pset format unaligned

-- Numbers, texts, dates: as JSON has them, or as text.
SELECT given('int', '{"x": 7}');
SELECT given('int', '{"x": "7"}');
SELECT given('int', '{"x": " 7 "}');
SELECT given('numeric(6,2)', '{"x": 1.005}');
SELECT given('float8', '{"x": 1e300}');
SELECT given('boolean', '{"x": true}');
SELECT given('boolean', '{"x": "yes"}');
SELECT given('text', '{"x": "a \"b\" \u00fc"}');
SELECT given('text', '{"x": 12.50}');
SELECT given('text', '{"x": {"a": [1]}}');
SELECT given('varchar(3)', '{"x": "abc"}');
SELECT given('date', '{"x": "2024-02-29"}');
SELECT given('timestamptz', '{"x": "2024-02-29T12:00:00Z"}');
SELECT given('interval', '{"x": "1 day 02:03"}');
SELECT given('uuid', '{"x": "0192F0C1-2345-7678-9ABC-DEF012345678"}');
SELECT given('bytea', '{"x": "\\x00ff"}');
SELECT given('int4range', '{"x": "[1,5]"}');
SELECT given('mood', '{"x": "ok"}');
SELECT given('email', '{"x": "a@b"}');
SELECT given('jsonb', '{"x": {"a": [1, null]}}');
SELECT given('jsonb', '{"x": "text"}');
SELECT given('json', '{"x": [1, 2]}');

-- Arrays and composites come from JSON arrays and objects, or from their text.
SELECT given('int[]', '{"x": [1, 2, null]}');
SELECT given('int[]', '{"x": "{1,2}"}');
SELECT given('text[]', '{"x": [["a", "b"], ["c", "d"]]}');
SELECT given('int[]', '{"x": []}');
SELECT given('address', '{"x": {"street": "High St", "zip": 12345}}');
SELECT given('address', '{"x": {"zip": "1"}}');
SELECT given('address', '{"x": "(a,1)"}');
SELECT given('person', '{"x": {"name": "Ada", "born": "1815-12-10", "homes": [{"street": "a", "zip": 1}, {"street": "b"}]}}');
SELECT given('mood[]', '{"x": ["sad", "happy"]}');

-- NULL is a value of every type, and is not the same as no value.
SELECT given('int', '{"x": null}');
SELECT given('int = 5', '{"x": null}');
SELECT given('jsonb', '{"x": null}');
SELECT given('must', '{"x": null}');
SELECT given('must', '{"x": 1}');

-- Defaults: expressions, over the execution, evaluated at each start.
SELECT given('int = 5', '{}');
SELECT given('int = 2 + 3 * 4', '{}');
SELECT given('text = execution.workflow || '' of '' || execution.run_as', '{}') = 'given of ' || current_user;
SELECT given('timestamptz = now()', '{}') = now()::text;
SELECT given('date = NULL', '{}');
SELECT given('address = row(''x'', 1)', '{}');
SELECT given('address = row(''x'', 1)::address', '{}');
SELECT given('int = 1 / (SELECT 0)', '{}');
SELECT given('int = 1 / (SELECT 0)', '{"x": 1}');
SELECT given('email = ''nobody''', '{}');

-- A bad value is refused, by name.
SELECT given('int', '{"x": "seven"}');
SELECT given('int', '{"x": 7.5}');
SELECT given('int', '{"x": 3000000000}');
SELECT given('int', '{"x": true}');
SELECT given('int', '{"x": [1]}');
SELECT given('numeric(4,2)', '{"x": 100}');
SELECT given('varchar(3)', '{"x": "abcd"}');
SELECT given('date', '{"x": "2024-02-30"}');
SELECT given('uuid', '{"x": "7"}');
SELECT given('mood', '{"x": "glad"}');
SELECT given('email', '{"x": "nobody"}');
SELECT given('int[]', '{"x": [1, "two"]}');
SELECT given('int[]', '{"x": 1}');
SELECT given('int[]', '{"x": [[1], 2]}');
SELECT given('address', '{"x": {"street": "a", "zip": "b"}}');
SELECT given('address', '{"x": 1}');
SELECT given('text', '{"x": "nul \\u0000 is text here"}');

-- So is one that is missing, and one that nobody declared.
SELECT given('int', '{}');
SELECT given('int', '{"y": 1}');
SELECT given('int', '{"x": 1, "y": 1, "z": 2}');
SELECT given('int', '{"X": 1}');
SELECT given('int', '[1]');
SELECT given('int', '7');
SELECT given('int', '"x"');
SELECT given('int', 'null');
SELECT given('int = 1', NULL);
\pset tuples_only off
\pset format aligned

-- start() and start_many() refuse in the same words; nothing is started then.
SELECT goflow.define('several', $${
  "input": {"id": "bigint", "note": "text = 'none'", "at": "point = NULL"},
  "nodes": {"a": {"type": "sql", "sql": "SELECT input.id AS id, input.note AS note"}}, "output": {"id": "a.id", "note": "a.note"}}$$);
SELECT goflow.start('several', '{"id": "x"}');
SELECT goflow.start('several', '{"note": "x"}');
SELECT goflow.start('several', '{"id": 1, "nota": "x"}');
SELECT goflow.start_many('several', ARRAY['{"id": 1}', '{"id": 2}', '{"id": "three"}']::jsonb[]);
SELECT goflow.start_many('several', ARRAY['{"id": 1}', NULL]::jsonb[]);
SELECT count(*) FROM goflow.executions WHERE workflow = 'several';
SELECT goflow.start('several', '{"id": 9007199254740993}') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');
SELECT goflow.define('without', '{"nodes": {"a": {"type": "notify", "channel": "c"}}}');
SELECT goflow.start('without', '{"id": 1}');

-- What a value means is settled when it comes in: other settings of the session do not matter.
SELECT goflow.define('moment', $${"input": {"day": "date"}, "nodes": {"a": {"type": "transform", "value": {"iso": "to_char(input.day, 'YYYY-MM-DD')"}}},
  "settings": {"datestyle": "ISO, DMY"}, "output": {"iso": "a.iso"}}$$);
SET datestyle = 'ISO, MDY';
SELECT goflow.run('moment', '{"day": "01/02/2024"}');
SELECT goflow.start('moment', '{"day": "01/02/2024"}') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');
RESET datestyle;

-- A default that is large, and a text that is larger.
SELECT goflow.define('large', $${"input": {"t": "text", "r": "text = repeat('x', 1000000)"},
  "nodes": {"a": {"type": "transform", "value": {"t": "length(input.t)", "r": "length(input.r)"}}}, "output": {"t": "a.t", "r": "a.r"}}$$);
SELECT goflow.start('large', jsonb_build_object('t', repeat('y', 10000000))) AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT goflow.result(:'e');

SELECT goflow.drop(w) FROM unnest('{given,several,without,moment,large}'::text[]) w;
DROP SCHEMA input_test CASCADE;
