-- diagram(): workflows and executions as Mermaid and DOT.
CREATE SCHEMA diagram_test;
SET search_path = diagram_test;
CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS $$
DECLARE met boolean; n int := 0;
BEGIN
	LOOP
		EXECUTE 'SELECT ' || condition INTO met;
		EXIT WHEN met;
		n := n + 1;
		IF n > 20000 THEN RAISE EXCEPTION 'not met: %', condition; END IF;
		PERFORM pg_sleep(0.005);
		COMMIT;
	END LOOP;
END $$;
\pset format unaligned
\pset tuples_only on
SELECT goflow.define('diagram_all', $${
  "input": {"n": "int = 1"},
  "nodes": {
    "begin":  {"type": "trigger"},
    "ask":    {"type": "condition", "title": "Is \"n\" > 0 & <b>odd</b>; #1 | `x`?", "after": "begin", "if": "input.n > 0"},
    "load":   {"type": "sql", "title": "Load\nC:\\data", "after": "ask:true", "sql": "SELECT 1 / (input.n - 1) AS x", "on_error": "mend"},
    "mend":   {"type": "transform", "value": {"x": "1"}},
    "none":   {"type": "transform", "after": "ask:false", "value": {"x": "1"}},
    "each":   {"type": "loop", "after": ["load", "mend"], "join": "any", "repeat": "2", "body": {"nodes": {
                 "step":  {"type": "transform", "value": {"x": "loop.index"}},
                 "again": {"type": "loop", "after": "step", "repeat": "1", "body": {"nodes": {"deep": {"type": "transform", "value": {"x": "1"}}}}}}}},
    "guard":  {"type": "try", "after": "each", "body": {"nodes": {"risky": {"type": "raise", "message": "'no'"}}},
               "catch": [{"body": {"nodes": {"note": {"type": "transform", "value": {"x": "error.code"}}}}}],
               "finally": {"nodes": {"tidy": {"type": "transform", "value": {"x": "1"}}}}},
    "nap":    {"type": "signal", "after": "guard", "name": "go"},
    "last":   {"type": "transform", "after": ["nap", "none"], "value": {"x": "1"}}},
  "output": {"x": "last.x", "m": "mend.x", "n": "none.x"}}$$);
SELECT goflow.diagram('diagram_all');
SELECT goflow.diagram('diagram_all', 'dot');

-- An execution has the states of its nodes in colours, a node in a body that which says most.
SELECT goflow.start('diagram_all') AS e \gset
CALL until(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
SELECT line FROM string_to_table(goflow.diagram(:'e'), E'\n') line WHERE line ~ 'class';
SELECT goflow.diagram(:'e'::uuid) = goflow.diagram(:'e') AS same;
SELECT line FROM string_to_table(goflow.diagram(:'e', 'DOT'), E'\n') line WHERE line ~ 'color';
SELECT goflow.signal(:'e', 'go');
SELECT goflow.wait(:'e', '90 s');
SELECT line FROM string_to_table(goflow.diagram(:'e'), E'\n') line WHERE line ~ ' class ';
SELECT goflow.start('diagram_all', '{"n": -1}') AS e \gset
SELECT goflow.wait(:'e', '90 s');
SELECT line FROM string_to_table(goflow.diagram(:'e'), E'\n') line WHERE line ~ ' class ';

-- A version of its own; what is not there; who may see it.
SELECT goflow.define('diagram_all', '{"nodes": {"single": {"type": "transform", "value": {"x": "1"}}}, "output": {"x": "single.x"}}');
SELECT goflow.diagram('diagram_all');
SELECT length(goflow.diagram('diagram_all', version => 1)) > length(goflow.diagram('diagram_all')) AS longer;
SELECT goflow.diagram(NULL::text) IS NULL, goflow.diagram(NULL::uuid) IS NULL, goflow.diagram('diagram_all', NULL) IS NULL;
SELECT goflow.diagram('nothing');
SELECT goflow.diagram('diagram_all', version => 9);
SELECT goflow.diagram('diagram_all', 'svg');
SELECT goflow.diagram('00000000-0000-7000-8000-000000000000');
CREATE ROLE diagram_other;
SELECT goflow.grant_usage('diagram_other');
SET ROLE diagram_other;
SELECT goflow.diagram('diagram_all');
\set VERBOSITY sqlstate
SELECT goflow.diagram(:'e');
\set VERBOSITY default
RESET ROLE;
SELECT goflow.grant_start('diagram_all', 'diagram_other');
SET ROLE diagram_other;
SELECT goflow.diagram('diagram_all');
RESET ROLE;
SELECT goflow.revoke_usage('diagram_other');
SELECT goflow.drop('diagram_all');
DROP ROLE diagram_other;
SET client_min_messages = error;
DROP SCHEMA diagram_test CASCADE;
