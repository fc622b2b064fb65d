--
-- Tables that change after define(), and workflows that are defined again.
--
CREATE SCHEMA drift_test;
SET search_path = drift_test;
SET client_min_messages = error;
\pset null '-'
CREATE TABLE item (id int, name text, price numeric);
INSERT INTO item VALUES (1, 'ink', 3.5);
CREATE TYPE mood AS ENUM ('sad', 'ok');
-- Runs a workflow inline and in a worker, and says what came of each.
CREATE PROCEDURE twice(workflow text, OUT here text, OUT there text) LANGUAGE plpgsql AS $$
DECLARE e uuid; r jsonb;
BEGIN
	r := goflow.run(workflow, raise => false);
	here := coalesce(r->>'output', format('%s: %s (%s)', r->'error'->>'code', r->'error'->>'message', r->'error'->>'detail'));
	e := goflow.start(workflow);
	COMMIT;
	PERFORM goflow.wait(e, '90 s');
	SELECT coalesce(s.output::text, format('%s: %s (%s)', s.error->>'code', s.error->>'message', s.error->>'detail')) INTO there FROM goflow.status(e) s;
	IF here = there THEN there := 'the same'; END IF;
END $$;
\pset tuples_only on
\pset format unaligned
SELECT goflow.define('reads', $${"nodes": {
  "one":  {"type": "sql", "sql": "SELECT * FROM item WHERE id = 1"},
  "many": {"type": "sql", "after": "one", "rows": "many", "sql": "SELECT * FROM item"},
  "last": {"type": "transform", "after": "many", "value": {"n": "(SELECT max(m.price) FROM many m)"}}},
  "output": {"name": "one.name", "price": "one.price", "n": "last.n"}}$$);
CALL twice('reads', NULL, NULL);

-- More columns, and in another order, do not matter.
ALTER TABLE item ADD COLUMN more text DEFAULT 'x';
CALL twice('reads', NULL, NULL);
ALTER TABLE item DROP COLUMN id;
ALTER TABLE item ADD COLUMN id int DEFAULT 1;
CALL twice('reads', NULL, NULL);

-- Another type, or no such column, does.
BEGIN;
ALTER TABLE item ALTER COLUMN price TYPE int;
SELECT goflow.run('reads');
ROLLBACK;
ALTER TABLE item ALTER COLUMN price TYPE int;
CALL twice('reads', NULL, NULL);
ALTER TABLE item ALTER COLUMN price TYPE numeric;
CALL twice('reads', NULL, NULL);
ALTER TABLE item RENAME COLUMN name TO label;
CALL twice('reads', NULL, NULL);
-- defined again it runs; the old version still does not
SELECT goflow.define('reads', $${"nodes": {"one": {"type": "sql", "sql": "SELECT label FROM item"}}, "output": {"label": "one.label"}}$$);
CALL twice('reads', NULL, NULL);
SELECT goflow.run('reads', version => 1);

-- A column that an expression names, gone: the server's own error.
SELECT goflow.define('names', $${"nodes": {
  "c": {"type": "condition", "if": "EXISTS (SELECT FROM item WHERE label = 'ink')"},
  "u": {"type": "sql", "after": "c:true", "sql": "UPDATE item SET label = 'pen' WHERE label = 'ink'"}}, "output": {"n": "u.count"}}$$);
BEGIN;
ALTER TABLE item RENAME COLUMN label TO name;
SELECT goflow.run('names');
ROLLBACK;
ALTER TABLE item RENAME COLUMN label TO name;
CALL twice('names', NULL, NULL);
ALTER TABLE item RENAME COLUMN name TO label;
SELECT goflow.run('names');

-- A table that is gone, and one that is back.
DROP TABLE item;
CALL twice('names', NULL, NULL);
CREATE TABLE item (label text);
CALL twice('names', NULL, NULL);

-- A function that gives another type.
CREATE FUNCTION rate() RETURNS numeric LANGUAGE sql AS 'SELECT 1.5';
SELECT goflow.define('rates', $${"variables": {"r": "numeric"}, "nodes": {
  "t": {"type": "transform", "value": {"r": "rate()"}}, "s": {"type": "set", "after": "t", "set": {"r": "rate()"}}}, "output": {"r": "t.r", "v": "vars.r"}}$$);
CALL twice('rates', NULL, NULL);
DROP FUNCTION rate();
CREATE FUNCTION rate() RETURNS text LANGUAGE sql AS $$ SELECT '1.5' $$;
CALL twice('rates', NULL, NULL);
DROP FUNCTION rate();
CALL twice('rates', NULL, NULL);

-- A type that is gone and back: names count, not what they were.
SELECT goflow.define('moods', $${"input": {"m": "mood = 'ok'"}, "nodes": {"t": {"type": "transform", "value": {"m": "input.m"}}}, "output": {"m": "t.m"}}$$);
CALL twice('moods', NULL, NULL);
ALTER TYPE mood ADD VALUE 'glad';
SELECT goflow.run('moods', '{"m": "glad"}');
DROP TYPE mood;
CALL twice('moods', NULL, NULL);
CREATE TYPE mood AS ENUM ('ok', 'new');
CALL twice('moods', NULL, NULL);
SELECT goflow.run('moods', '{"m": "new"}');

-- Executions keep the version that they started with, for life.
SELECT goflow.define('waits', $${"nodes": {
  "nap": {"type": "signal"}, "a": {"type": "transform", "after": "nap", "value": {"v": "'one'"}}}, "output": {"v": "a.v", "version": "execution.version"}}$$);
SELECT goflow.start('waits') AS e1 \gset
SELECT goflow.define('waits', $${"nodes": {
  "a": {"type": "transform", "value": {"v": "'two'"}}}, "output": {"v": "a.v", "version": "execution.version", "new": "1"}}$$);
SELECT goflow.start('waits') AS e2 \gset
SELECT goflow.start('waits', version => 1) AS e3 \gset
SELECT count(goflow.signal(e, 'nap')) FROM unnest(ARRAY[:'e1', :'e3']::uuid[]) e;
SELECT goflow.wait(:'e2', '90 s'), goflow.wait(:'e1', '90 s'), goflow.wait(:'e3', '90 s');
SELECT goflow.result(:'e1'), goflow.result(:'e2'), goflow.result(:'e3');
-- also when the workflow is dropped meanwhile, by force
SELECT goflow.start('waits', version => 1) AS e4 \gset
SELECT goflow.drop('waits');
SELECT goflow.drop('waits', force => true);
SELECT goflow.start('waits');
SELECT goflow.start('waits', version => 1);
SELECT goflow.signal(:'e4', 'nap');
SELECT goflow.wait(:'e4', '90 s');
SELECT goflow.result(:'e4');
-- the name is free again, and its versions go on
SELECT goflow.define('waits', $${"nodes": {"a": {"type": "notify", "channel": "c"}}, "output": {"version": "execution.version"}}$$);
SELECT goflow.run('waits');
SELECT goflow.run('waits', version => 1);

SELECT goflow.drop(w) FROM unnest('{reads,names,rates,moods,waits}'::text[]) w;
DROP SCHEMA drift_test CASCADE;
