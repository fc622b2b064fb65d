-- A process keeps so many workflows compiled, and no more.
CREATE TABLE compiled (n int, what text);
CREATE TABLE compiled_source (n int);
SELECT count(goflow.define('compiled_' || n, jsonb_build_object('input', '{"n": "int"}'::jsonb, 'nodes',
	jsonb_build_object('a', jsonb_build_object('type', 'sql', 'rows', 'none',
		'sql', format('INSERT INTO compiled VALUES (input.n, ''workflow %s'')', n))))))
FROM generate_series(1, 200) n;
SELECT goflow.define('compiled_row', '{"input": {"n": "int"}, "nodes": {
	"row": {"type": "trigger", "table": "compiled_source", "events": ["insert"], "input": {"n": "NEW.n * 10"}},
	"a": {"type": "sql", "after": ["row"], "rows": "none", "sql": "INSERT INTO compiled VALUES (input.n, ''row'')"}}}');
INSERT INTO compiled_source VALUES (1);

-- each in a transaction of its own, and all in one
\o /dev/null
\set ECHO none
SELECT format('SELECT goflow.run(%L, %L)', 'compiled_' || n, jsonb_build_object('n', n)) FROM generate_series(1, 200) n \gexec
\set ECHO all
\o
SELECT count(*) BETWEEN 100 AND 128 AS bounded FROM pg_backend_memory_contexts WHERE name = 'goflow definition';
SELECT count(goflow.run('compiled_' || n, jsonb_build_object('n', n))) FROM generate_series(1, 200) n;
SELECT count(*) BETWEEN 100 AND 128 AS bounded FROM pg_backend_memory_contexts WHERE name = 'goflow definition';
INSERT INTO compiled_source VALUES (2);

-- in a worker
BEGIN;
CREATE TEMP TABLE compiled_started AS
SELECT goflow.start('compiled_' || n, jsonb_build_object('n', -n)) AS execution FROM generate_series(1, 200) n;
COMMIT;
SELECT DISTINCT goflow.wait(execution) FROM compiled_started;
SELECT DISTINCT goflow.wait(execution) FROM goflow.executions WHERE workflow = 'compiled_row';
SELECT n > 0 AS inline, count(*), count(DISTINCT what) FROM compiled WHERE what <> 'row' GROUP BY 1 ORDER BY 1;
SELECT n, what FROM compiled WHERE what = 'row' ORDER BY n;
SELECT count(goflow.drop(workflow)) FROM goflow.workflows WHERE workflow LIKE 'compiled\_%';
DROP TABLE compiled, compiled_source, compiled_started;
