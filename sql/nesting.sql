--
-- Every construct in every other one, three deep, around a node that completes,
-- fails, or ends an iteration: by run() and in workers alike.
--
CREATE SCHEMA nesting_test;
SET search_path = nesting_test;
SET jit = off;
\set QUIET on
\pset format unaligned
\pset footer off

-- A body with one node beside the way.
CREATE FUNCTION side(name text, depth int) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('nodes', jsonb_build_object(name || depth, '{"type": "transform", "value": {"v": "1"}}'::jsonb))
$$;
-- A node of this kind around another one.
CREATE FUNCTION around(kind text, depth int, node jsonb, leaf text) RETURNS jsonb LANGUAGE sql AS $$
  SELECT CASE kind
    WHEN 'loop'  THEN jsonb_build_object('type', 'loop', 'for', 'ARRAY[1, 2]', 'as', 'i' || depth, 'collect', 'i' || depth || '.value', 'body', body)
    WHEN 'while' THEN jsonb_build_object('type', 'loop', 'while', 'loop.index < 3', 'body', body || '{"variables": {"own": "int = loop.index"}}')
    WHEN 'catch' THEN jsonb_build_object('type', 'try', 'body', body, 'finally', side('f', depth),
                        'catch', jsonb_build_array(jsonb_build_object('on', 'UX001', 'body', side('h', depth))))
    WHEN 'in_catch' THEN jsonb_build_object('type', 'try', 'body', jsonb_build_object('nodes', jsonb_build_object('first' || depth, '{"type": "raise", "code": "UX002"}'::jsonb)),
                        'catch', jsonb_build_array(jsonb_build_object('body', body)))
    WHEN 'parallel' THEN jsonb_build_object('type', 'parallel', 'branches', jsonb_build_object('a', body) || CASE leaf WHEN 'sql' THEN jsonb_build_object('b', side('s', depth)) ELSE '{}' END)
    WHEN 'switch' THEN jsonb_build_object('type', 'try', 'finally', side('f', depth), 'body', jsonb_build_object('nodes', jsonb_build_object(
                        'c' || depth, '{"type": "switch", "on": "2", "cases": [{"port": "two", "when": "2"}]}'::jsonb,
                        'd' || depth, node || jsonb_build_object('after', format('c%s:two', depth)),
                        'e' || depth, jsonb_build_object('type', 'transform', 'after', format('c%s:default', depth), 'value', '{"v": "1"}'::jsonb))))
  END
  FROM (SELECT jsonb_build_object('nodes', jsonb_build_object('n' || depth + 1, node)) AS body) b
$$;
CREATE FUNCTION leaf(leaf text) RETURNS jsonb LANGUAGE sql AS $$
  SELECT CASE leaf
    WHEN 'sql'      THEN '{"type": "sql", "sql": "SELECT 7 AS x"}'
    WHEN 'raise'    THEN '{"type": "raise", "code": "UX001"}'
    WHEN 'fails'    THEN '{"type": "sql", "sql": "SELECT 1 / 0 AS x"}'
    WHEN 'break'    THEN '{"type": "break"}'
    WHEN 'continue' THEN '{"type": "continue"}' END::jsonb
$$;
CREATE TABLE result (kinds text, leaf text, run text, workers text, total int, differences int);
CREATE PROCEDURE nest_all() LANGUAGE plpgsql AS $$
DECLARE c record; k text[] := '{loop,while,catch,in_catch,parallel,switch}';
BEGIN
	FOR c IN SELECT a, b, d, leaf FROM unnest(k) a, unnest(k) b, unnest(k) d, unnest('{sql,raise,fails,break,continue}'::text[]) leaf
	          WHERE leaf NOT IN ('break', 'continue') OR '{loop,while}' && ARRAY[a, b, d] LOOP
		CALL test.both(jsonb_build_object('n1', around(c.a, 1, around(c.b, 2, around(c.d, 3, leaf(c.leaf), c.leaf), c.leaf), c.leaf)));
		INSERT INTO result SELECT concat_ws(' ', c.a, c.b, c.d), c.leaf, max(r.state) FILTER (WHERE by = 'run'), max(r.state) FILTER (WHERE by = 'workers'),
		       (SELECT count(*) FROM test.journal), (SELECT count(only_by) FROM test.journal) FROM test.runs r;
		COMMIT;
	END LOOP;
END $$;
CALL nest_all();
SELECT leaf, run, workers, count(*), sum(total) AS nodes, sum(differences) AS differences FROM result GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT * FROM result WHERE run IS DISTINCT FROM workers OR differences > 0 ORDER BY kinds, leaf LIMIT 20;

-- The same, two deep, with what takes more: other executions, attempts, undoing, branches that may fail.
CREATE TABLE undone (id serial, execution uuid, what text);
CREATE FUNCTION around_more(kind text, depth int, node jsonb, leaf text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE body jsonb := jsonb_build_object('nodes', jsonb_build_object('n' || depth + 1, node));
BEGIN
	CASE kind
	WHEN 'call' THEN
		PERFORM goflow.define('nest_call_' || depth, body);
		RETURN jsonb_build_object('type', 'workflow', 'workflow', 'nest_call_' || depth, 'compensate', format('INSERT INTO nesting_test.undone (execution, what) VALUES (execution.id, ''call %s'')', depth));
	WHEN 'retry' THEN
		RETURN jsonb_build_object('type', 'try', 'body', body, 'finally', side('f', depth), 'retry', '{"attempts": 2, "backoff": "0"}'::jsonb);
	WHEN 'undo' THEN
		RETURN jsonb_build_object('type', 'try', 'finally', side('f', depth), 'body', jsonb_build_object('nodes', jsonb_build_object(
		    'u' || depth, jsonb_build_object('type', 'transform', 'value', jsonb_build_object('v', depth::text),
		                    'compensate', format('INSERT INTO nesting_test.undone (execution, what) VALUES (execution.id, ''u%1$s '' || u%1$s.v)', depth)),
		    'n' || depth + 1, node || jsonb_build_object('after', 'u' || depth))));
	WHEN 'any' THEN
		RETURN jsonb_build_object('type', 'parallel', 'join', 'any', 'branches', jsonb_build_object('a', body) ||
		    CASE WHEN leaf IN ('break', 'continue') THEN '{}' ELSE jsonb_build_object('b', side('s', depth)) END);
	ELSE
		RETURN around(kind, depth, node, leaf);
	END CASE;
END $$;
CREATE PROCEDURE nest_more() LANGUAGE plpgsql AS $$
DECLARE c record; old text[] := '{loop,while,catch,in_catch,parallel,switch}'; new text[] := '{call,retry,undo,any}';
BEGIN
	SET client_min_messages = error;
	FOR c IN SELECT a, b, leaf FROM unnest(old || new) a, unnest(old || new) b, unnest('{sql,raise,fails,break,continue}'::text[]) leaf
	          WHERE (a = ANY (new) OR b = ANY (new)) AND
	                (leaf NOT IN ('break', 'continue') OR b IN ('loop', 'while') OR (a IN ('loop', 'while') AND b <> 'call')) LOOP
		CALL test.both(jsonb_build_object('n1', around_more(c.a, 1, around_more(c.b, 2, leaf(c.leaf), c.leaf), c.leaf)));
		INSERT INTO result SELECT concat_ws(' ', c.a, c.b), c.leaf, max(r.state) FILTER (WHERE by = 'run'), max(r.state) FILTER (WHERE by = 'workers'),
		       (SELECT count(*) FROM test.journal), (SELECT count(only_by) FROM test.journal) + (SELECT count(DISTINCT coalesce(u.list, '')) - 1
		          FROM test.runs LEFT JOIN (SELECT execution, string_agg(what, ', ' ORDER BY id) AS list FROM undone GROUP BY 1) u USING (execution)) FROM test.runs r;
		COMMIT;
	END LOOP;
	RESET client_min_messages;
END $$;
TRUNCATE result;
CALL nest_more();
SELECT leaf, run, workers, count(*), sum(total) AS nodes, sum(differences) AS differences FROM result GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT * FROM result WHERE run IS DISTINCT FROM workers OR differences > 0 ORDER BY kinds, leaf LIMIT 20;
SELECT what, count(*) FROM undone GROUP BY 1 ORDER BY 1;

SET client_min_messages = warning;
DROP SCHEMA nesting_test CASCADE;
