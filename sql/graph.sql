--
-- The graph: what runs after what, and what is left out.
--
CREATE SCHEMA graph_test;
SET search_path = graph_test;
SET client_min_messages = error;		-- not: nobody can reach a result
\pset null '-'

-- Runs nodes that only note that they ran: a name is a transform, "?x" a condition
-- that is true, "!x" one that is false.  Shows the state of each.
CREATE FUNCTION shape(nodes jsonb) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_object_agg(ltrim(key, '?!'), CASE left(key, 1)
    WHEN '?' THEN '{"type": "condition", "if": "true"}'
    WHEN '!' THEN '{"type": "condition", "if": "false"}'
    ELSE jsonb_build_object('type', 'transform', 'value', jsonb_build_object('name', quote_literal(key), 'by_' || key, '1')) END
    || CASE jsonb_typeof(value) WHEN 'object' THEN value WHEN 'null' THEN '{}' ELSE jsonb_build_object('after', value) END)
  FROM jsonb_each(nodes)
$$;
CREATE FUNCTION states(nodes jsonb, entry text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r jsonb;
BEGIN
	PERFORM goflow.define('shape', jsonb_build_object('nodes', shape(nodes)));
	r := goflow.run('shape', entry => entry, raise => false);
	RETURN (SELECT string_agg(n.state || ': ' || n.nodes, ', ' ORDER BY n.state)
		FROM (SELECT state, string_agg(node, ' ' ORDER BY node) FROM goflow.nodes((r->>'execution')::uuid) GROUP BY state) n(state, nodes));
END $$;
-- the joined result of node "z"
CREATE FUNCTION joined(nodes jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM goflow.define('shape', jsonb_build_object('nodes', shape(nodes), 'output', '{"z": "z.joined"}'::jsonb));
	RETURN goflow.run('shape')->'z';
END $$;

-- A chain, side by side, a diamond.
SELECT states('{"a": null, "b": "a", "c": "b"}');
SELECT states('{"a": null, "b": null, "c": null}');
SELECT states('{"a": null, "b": "a", "c": "a", "d": ["b", "c"]}');

-- A branch that is not taken is skipped, and all that hangs on it alone.
SELECT states('{"?c": null, "yes": "c:true", "no": "c:false", "later": "no", "latest": "later", "end_of_yes": "yes"}');
SELECT states('{"!c": null, "yes": "c:true", "no": "c:false", "either": ["yes", "no"]}');
SELECT states('{"!c": null, "yes": "c:true", "also": "c:true", "both_yes": ["yes", "also"], "end_": "both_yes"}');
-- two ports of one node
SELECT states('{"!c": null, "x": ["c:true", "c:false"], "z": "x"}');
-- a join of all: runs if at least one of its branches was taken
SELECT states('{"?c": null, "!d": null, "x": "c:true", "y": "d:true", "z": ["x", "y"]}');
-- conditions behind conditions
SELECT states('{"?c": null, "!d": "c:true", "?e": "d:true", "f": "e:true", "g": "d:false", "h": ["f", "g"]}');

-- any: one branch is enough; n: so many.  What else there is runs all the same.
SELECT states('{"a": null, "b": null, "z": {"after": ["a", "b"], "join": "any"}}');
SELECT states('{"!c": null, "a": "c:true", "b": "c:false", "z": {"after": ["a", "b"], "join": "any"}}');
SELECT states('{"?c": null, "a": "c:true", "b": "c:true", "d": "c:false", "z": {"after": ["a", "b", "d"], "join": 2}}');
SELECT states('{"?c": null, "a": "c:true", "b": "c:true", "d": "c:false", "z": {"after": ["a", "b", "d"], "join": 3}, "zz": "z"}');
SELECT states('{"!c": null, "a": "c:true", "b": "c:true", "z": {"after": ["a", "b"], "join": "any"}}');
-- it runs once, however many come after it was met
SELECT count(*), sum(attempt) FROM goflow.executions e, goflow.nodes(e.execution)
 WHERE e.workflow = 'shape' AND e.version = 7 AND node = 'z';

-- aggregate: the results of the branches that were taken, in the order of "after".
SELECT joined('{"a": null, "b": null, "c": null, "z": {"after": ["c", "a", "b"], "aggregate": "merge"}}');
SELECT joined('{"a": null, "b": null, "c": null, "z": {"after": ["c", "a", "b"], "aggregate": "array"}}');
SELECT joined('{"a": null, "b": "a", "z": {"after": ["b", "a"], "aggregate": "first"}}');
SELECT joined('{"a": null, "b": "a", "z": {"after": ["a", "b"], "aggregate": "last"}}');
SELECT joined('{"!c": null, "a": "c:true", "b": "c:false", "z": {"after": ["a", "b"], "aggregate": "array"}}');
SELECT joined('{"!c": null, "a": "c:true", "b": "c:false", "z": {"after": ["a", "b", "c"], "aggregate": "merge"}}');
-- nodes that give nothing give an empty object
SELECT goflow.define('empty_join', '{"nodes": {
  "n": {"type": "notify", "channel": "c"}, "s": {"type": "sql", "rows": "many", "sql": "SELECT 1 AS x"},
  "z": {"type": "sql", "after": ["n", "s"], "aggregate": "array", "sql": "SELECT 1 AS x"}}, "output": {"x": "z.x", "joined": "z.joined"}}');
SELECT goflow.run('empty_join');

-- cancel_rest: what leads nowhere else is not run, once the join is met.
SELECT states('{"?c": null, "a": "c:true", "b": "a", "d": "b", "z": {"after": ["c:true", "d"], "join": "any", "cancel_rest": true}}');
SELECT states('{"?c": null, "a": "c:true", "b": "a", "other": "a", "z": {"after": ["c:true", "b"], "join": "any", "cancel_rest": true}}');
-- in workers, a node that runs is interrupted
SELECT goflow.define('race', $${"nodes": {
  "fast":  {"type": "sql", "sql": "SELECT 'fast' AS won"},
  "slow":  {"type": "sql", "sql": "SELECT 'slow' AS won, pg_sleep(60)"},
  "after_slow": {"type": "sql", "after": "slow", "sql": "SELECT 1 AS x"},
  "nap":   {"type": "delay", "for": "'1 hour'"},
  "won":   {"type": "sql", "after": ["fast", "after_slow", "nap"], "join": "any", "cancel_rest": true, "aggregate": "first",
            "sql": "SELECT fast.won AS won, after_slow.x AS x"}},
  "output": {"won": "won.won", "x": "won.x", "first": "won.joined"}}$$);
SELECT goflow.start('race') AS race \gset
SELECT goflow.wait(:'race', '90 s');
SELECT goflow.result(:'race');
SELECT node, state FROM goflow.nodes(:'race') ORDER BY node;
SELECT count(*) AS timers FROM goflow.pending WHERE execution_id = :'race';
DO $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg\_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid());
		PERFORM pg_sleep(0.01);
		PERFORM pg_stat_clear_snapshot();
	END LOOP;
END $$;
SELECT count(*) AS still_running FROM pg_stat_activity WHERE query LIKE '%pg\_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid();

-- Two nodes that both wait run side by side: each waits for the other.
CREATE SEQUENCE arrived;
CREATE FUNCTION meet(n int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval('arrived');
	FOR i IN 1 .. 20000 LOOP
		IF (SELECT last_value FROM arrived) >= n THEN RETURN true; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END $$;
SELECT goflow.define('meeting', $${"nodes": {
  "a": {"type": "sql", "sql": "SELECT meet(2) AS met"},
  "b": {"type": "sql", "sql": "SELECT meet(2) AS met"}}, "output": {"met": "a.met AND b.met"}}$$);
SELECT goflow.start('meeting') AS meeting \gset
SELECT goflow.wait(:'meeting', '90 s');
SELECT goflow.result(:'meeting');

-- "first" and "last" go by the end of the nodes, also of those that run side by side.
CREATE TABLE turn (n int);
CREATE FUNCTION wait_for_turn(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		EXIT WHEN (SELECT count(*) FROM turn) >= n;		-- the one before is committed
		PERFORM pg_sleep(0.01);
	END LOOP;
	INSERT INTO turn VALUES (n + 1);
	RETURN n + 1;
END $$;
SELECT goflow.define('turns', $${"nodes": {
  "a": {"type": "sql", "sql": "SELECT wait_for_turn(1) AS turn"},
  "b": {"type": "sql", "sql": "SELECT wait_for_turn(0) AS turn"},
  "f": {"type": "sql", "after": ["a", "b"], "aggregate": "first", "sql": "SELECT 1 AS x"},
  "l": {"type": "sql", "after": ["a", "b"], "aggregate": "last", "sql": "SELECT 1 AS x"}},
  "output": {"first": "f.joined", "last": "l.joined"}}$$);
SELECT goflow.start('turns') AS turns \gset
SELECT goflow.wait(:'turns', '90 s');
SELECT goflow.result(:'turns');

-- Several entries, and an execution that enters at one of them.
SELECT states('{"a": null, "b": null, "c": "a", "d": "b", "e": ["c", "d"]}');
SELECT states('{"a": null, "b": null, "c": "a", "d": "b", "e": ["c", "d"]}', entry => 'b');
SELECT states('{"a": null, "b": null, "c": "a", "d": "b", "e": ["c", "d"]}', entry => 'c');
SELECT states('{"a": null, "b": "a"}', entry => 'b');
-- edges from nodes that the entry does not reach do not count
SELECT states('{"a": null, "b": null, "c": null, "z": {"after": ["a", "b", "c"], "join": 2}}', entry => 'b');
SELECT states('{"a": null, "b": null, "c": null, "z": {"after": ["a", "b", "c"], "join": "any"}}', entry => 'c');
SELECT states('{"?c": null, "a": "c:true", "b": "c:false", "z": ["a", "b"]}', entry => 'b');
-- their results are NULL
SELECT goflow.define('entries', $${"nodes": {
  "one": {"type": "trigger"}, "two": {"type": "trigger"},
  "a": {"type": "sql", "after": "one", "sql": "SELECT 1 AS x"}, "b": {"type": "sql", "after": "two", "sql": "SELECT 2 AS x"},
  "m": {"type": "sql", "after": "one", "rows": "many", "sql": "SELECT 1 AS x"},
  "z": {"type": "sql", "after": ["a", "b", "m"], "aggregate": "merge", "sql": "SELECT a.x AS a, b.x AS b, (SELECT count(*) FROM m) AS rows, m.count AS n"}},
  "output": {"a": "z.a", "b": "z.b", "rows": "z.rows", "n": "z.n", "joined": "z.joined", "node": "trigger.node", "event": "trigger.event", "table": "trigger.\"table\""}}$$);
SELECT goflow.run('entries', entry => 'one');
SELECT goflow.run('entries', entry => 'two');
SELECT goflow.run('entries', entry => 'b');
SELECT goflow.run('entries');

-- Wide: a thousand nodes between one and one; deep: a chain of two thousand.
SELECT goflow.define('wide', jsonb_build_object('nodes', jsonb_build_object(
	'first', '{"type": "transform", "value": {"x": "1"}}'::jsonb,
	'last', jsonb_build_object('type', 'transform', 'value', '{"n": "1"}'::jsonb, 'aggregate', 'array',
		'after', (SELECT jsonb_agg('n' || i ORDER BY i) FROM generate_series(1, 1000) i)))
	|| (SELECT jsonb_object_agg('n' || i, jsonb_build_object('type', 'transform', 'after', 'first',
		'value', jsonb_build_object('x', format('first.x + %s', i)))) FROM generate_series(1, 1000) i),
	'output', '{"n": "jsonb_array_length(last.joined)", "last": "last.joined->999->''x''"}'::jsonb));
SELECT goflow.run('wide');
SELECT goflow.define('deep', jsonb_build_object('nodes',
	'{"n0": {"type": "transform", "value": {"x": "0"}}}'
	|| (SELECT jsonb_object_agg('n' || i, jsonb_build_object('type', 'transform', 'after', 'n' || i - 1,
		'value', jsonb_build_object('x', format('n%s.x + 1', i - 1)))) FROM generate_series(1, 2000) i),
	'output', '{"x": "n2000.x"}'::jsonb));
SELECT goflow.run('deep');
-- the same in workers
SELECT goflow.start('wide') AS wide, goflow.start('deep') AS deep \gset
SELECT goflow.wait(:'wide', '90 s'), goflow.wait(:'deep', '90 s');
SELECT goflow.result(:'wide'), goflow.result(:'deep');
SELECT state, count(*), max(seq) FROM goflow.nodes(:'wide') GROUP BY state;
SELECT total, completed, failed, skipped, percent FROM goflow.progress(:'deep');
-- skipping cascades as deep (and an execution can be looked at in the statement that made it)
SELECT goflow.define('deep', jsonb_build_object('nodes',
	'{"n0": {"type": "condition", "if": "false"}, "n1": {"type": "transform", "after": "n0:true", "value": {"x": "1"}}}'
	|| (SELECT jsonb_object_agg('n' || i, jsonb_build_object('type', 'transform', 'after', 'n' || i - 1,
		'value', jsonb_build_object('x', '1'))) FROM generate_series(2, 2000) i)));
SELECT r->'state' AS state, p.* FROM goflow.run('deep', raise => false) r, goflow.progress((r->>'execution')::uuid) p;

SELECT goflow.drop(w) FROM unnest('{shape,empty_join,race,meeting,turns,entries,wide,deep}'::text[]) w;
DROP SCHEMA graph_test CASCADE;
