--
-- The builder: every function against the JSON that it makes; names that are
-- there twice; errors at their characters; script(), and the way back.
--
\set QUIET on
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA builder_test;
SET search_path = builder_test;
CREATE TABLE orders (id bigint, state text, total numeric);

\echo == parts of a workflow
SELECT goflow.workflow(goflow.input('day', 'date'), goflow.input('n', 'int = 0'), goflow.variable('v', 'int = 1'),
  goflow.output('a', 'a.x'), goflow.output('b', 'a.y'), goflow.sql('a', 'SELECT 1 AS x, 2 AS y'));
SELECT goflow.options(title => 'T', description => 'D', priority => 5, timeout => '1 h', retry => 3, on_error => 'continue',
  security => 'definer', settings => '{"work_mem": "1MB"}');
SELECT goflow.options();
SELECT goflow.options(retry => goflow.retry_policy(5, '200 ms', 1.5, '1 min', 0.1, '22'));
SELECT goflow.retry_policy(backoff => '1 s', "on" => ARRAY['22', 'unique_violation']);
SELECT goflow.body(goflow.variable('v', 'int'), goflow.notify('a', 'c'), goflow.output('x', '1'));
\echo == what every node can have
SELECT goflow.sql('a', 'SELECT 1 AS x', after => ARRAY['b', 'c:true'], "join" => 'any', cancel_rest => true, aggregate => 'merge',
  retry => 3, timeout => '5 min', on_error => 'skip', compensate => 'SELECT 2', settings => '{"a.b": null}', title => 'T');
SELECT goflow.sql('a', 'SELECT 1 AS x', after => 'b:true', "join" => '2', retry => goflow.retry_policy(2));
SELECT goflow.sql('a', 'SELECT 1 AS x', after => '["b"]'::jsonb, retry => '{"attempts": 2}'::jsonb);
\echo == every type of node
SELECT goflow.sql('a', 'SELECT 1', rows => 'many', "check" => 'late', columns => '{"x": "int"}', atomic => false);
SELECT goflow.condition('a', 'true');
SELECT goflow.switch('a', ARRAY[goflow.case('low', '1'), goflow.case('high', '2')], "on" => 'b.x', after => 'b');
SELECT goflow.set('a', '{"v": "vars.v + 1"}');
SELECT goflow.transform('a', jsonb_build_object('x', $$'it''s'$$));
SELECT goflow.map('a', 'b', 'e.value + 1', "as" => 'e');
SELECT goflow.map('a', 'b', ' {"x": "item.value + 1"}');
SELECT goflow.filter('a', 'b', 'e.value > 1', "as" => 'e');
SELECT goflow.reduce('a', 'b', '0', 'acc.value + item.value');
SELECT goflow.merge('a', ARRAY['b.items', 'c.items'], mode => 'arrays');
SELECT goflow.split('a', 'b', size => '10'), goflow.split('a', 'b', size => 'vars.n'), goflow.split('a', 'b', by => 'e.value % 2', "as" => 'e');
SELECT goflow.loop('a', 'b', goflow.notify('n', 'c'), "as" => 'e', parallel => 4, collect => 'loop.index', max_iterations => 9);
SELECT goflow.loop('a', repeat => '3', body => goflow.notify('n', 'c')), goflow.loop('a', repeat => 'vars.n', body => goflow.notify('n', 'c'));
SELECT goflow.loop('a', "while" => 'vars.n < 3', body => goflow.body(goflow.break('b', 'loop.index = 2'), goflow.continue('n', after => 'b')));
SELECT goflow.try('a', goflow.notify('n', 'c'), catch => ARRAY[goflow.catch(goflow.notify('n', 'd'), '22'),
  goflow.catch(goflow.notify('n', 'd'), ARRAY['23', 'raise_exception']), goflow.catch(goflow.raise('again'))], finally => goflow.notify('n', 'e'));
SELECT goflow.raise('a', code => 'P0001', message => $$'no'$$, detail => '1::text');
SELECT goflow.parallel('a', ARRAY[goflow.branch('x', goflow.notify('n', 'c')), goflow.branch('y', goflow.notify('n', 'c'), goflow.output('z', '1'))],
  "join" => 'any', cancel_rest => true);
SELECT goflow.call('a', 'other', input => '{"n": "1"}', version => 2, wait => false);
SELECT goflow.delay('a', $$'1 s'$$), goflow.delay('a', until => 'now()');
SELECT goflow.notify('a', 'c', payload => $$'p'$$);
SELECT goflow.trigger('a', 'orders', '{insert,update}', of => '{total}', "when" => 'NEW.total > 0', input => '{"id": "NEW.id"}', title => 'T');
SELECT goflow.trigger('a');
SELECT goflow.node('a', 'sql', '{"sql": "SELECT 1"}', after => 'b');
SELECT goflow.lines(goflow.sql('a', E'SELECT 1\nAS x', title => 'one line', after => ARRAY['b', 'c']));

\echo == names that are there twice, and what is no part
\set SHOW_CONTEXT never
SELECT goflow.workflow(goflow.notify('a', 'c'), goflow.notify('b', 'c'), goflow.sql('a', 'SELECT 1 AS x'));
SELECT goflow.loop('l', repeat => '2', body => goflow.body(goflow.notify('a', 'c'), goflow.notify('a', 'c')));
SELECT goflow.workflow(goflow.input('n', 'int'), goflow.input('n', 'text'), goflow.notify('a', 'c'));
SELECT goflow.workflow(goflow.variable('n', 'int'), goflow.variable('n', 'text'), goflow.notify('a', 'c'));
SELECT goflow.workflow(goflow.output('n', '1'), goflow.output('n', '2'), goflow.notify('a', 'c'));
SELECT goflow.workflow(goflow.options(priority => 1), goflow.options(priority => 2), goflow.notify('a', 'c'));
SELECT goflow.parallel('p', ARRAY[goflow.branch('x', goflow.notify('a', 'c')), goflow.branch('x', goflow.notify('a', 'c'))]);
SELECT goflow.workflow(goflow.notify('a', 'c'), NULL);
SELECT goflow.workflow(goflow.notify('a', 'c'), '[1]');
-- an id twice in bodies side by side is none
SELECT goflow.body(goflow.loop('l', repeat => '2', body => goflow.notify('x', 'c')), goflow.loop('m', repeat => '2', body => goflow.notify('x', 'c'))) IS NULL;

\echo == errors are where they are
\set SHOW_CONTEXT errors
SELECT goflow.define('builder_wrong', goflow.workflow(
  goflow.sql('a', $$
    SELECT o.id
      FROM orders o
     WHERE o.totl > 0
  $$)));
SELECT goflow.define('builder_wrong', goflow.workflow(
  goflow.loop('l', repeat => '2', body => goflow.body(
    goflow.try('t', goflow.sql('a', $$
      SELECT 1 AS x,
             nothing.there
    $$), finally => goflow.notify('n', 'c'))))));
SELECT goflow.define('builder_wrong', goflow.workflow(goflow.lines(goflow.sql('a', E'SELECT 1 AS x,\n  y'))));
SELECT goflow.define('builder_wrong', goflow.workflow(goflow.sql('a', 'SELECT 1 AS x', rows => 'some', after => 'b')));
SELECT goflow.define('builder_wrong', goflow.workflow(goflow.sql('a', NULL)));

\echo == script
SELECT goflow.define('builder', goflow.workflow(
  goflow.options(title => 'it''s "the" first', retry => goflow.retry_policy(2, backoff => '0'), timeout => '1 h', settings => '{"work_mem": "1MB"}'),
  goflow.input('day', 'date = ''2024-01-01'''), goflow.variable('n', 'int = 0'),
  goflow.sql('stage', $b$
     SELECT id, '\' AS s, $$ it's $$ AS t
       FROM orders
  $b$, rows => 'many'),
  goflow.condition('clean', 'stage.count = 0', after => 'stage'),
  goflow.loop('each', 'SELECT generate_series(1, 3) AS i', "as" => 'line', parallel => 2, collect => 'up.x', body => goflow.body(
      goflow.variable('m', 'int'), goflow.sql('up', 'SELECT line.i + 1 AS x'),
      goflow.set('keep', '{"m": "up.x"}', after => 'up'), goflow.break('out', 'vars.m > 3', after => 'keep')),
    after => 'clean:true', retry => goflow.retry_policy(3, factor => 2, jitter => 0.5, "on" => ARRAY['23505', '22'])),
  goflow.try('guard',
    goflow.parallel('two', ARRAY[
      goflow.branch('a', goflow.sql('q', 'SELECT 1 / 0 AS v')),
      goflow.branch('b', goflow.notify('n', 'c', payload => $$'p'$$), goflow.output('z', '1'))], "join" => '1'),
    catch => ARRAY[goflow.catch(goflow.raise('again'), '23'), goflow.catch(goflow.notify('told', 'c'))],
    finally => goflow.notify('done', 'c'), after => 'each')));
SELECT goflow.script('builder');
-- Defines every version of every workflow here from its script: the same JSON.
CREATE FUNCTION round_trip(definition jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE again jsonb; parts text[];
BEGIN
	parts := goflow.script_parts(definition, '');
	EXECUTE 'SELECT goflow.workflow(' || goflow.script_join(parts, '') || ')' INTO again;
	RETURN CASE WHEN again = definition THEN 'same, ' || (SELECT count(*) FROM unnest(parts) p WHERE p !~ '^goflow') || ' as JSON'
		ELSE 'not the same: ' || array_to_string(parts, ', ') END;
END $$;
SELECT goflow.script('builder') AS script \gset
SELECT goflow.definition('builder') AS before \gset
:script
SELECT goflow.definition('builder') = :'before'::jsonb;
SELECT goflow.script('builder') = goflow.script('builder', 1);
-- every type; what only JSON can say
SELECT round_trip(d) FROM unnest(ARRAY[
  goflow.workflow(goflow.trigger('t', 'orders', '{insert}', input => '{"a": "NEW.id"}'), goflow.trigger('u'),
    goflow.switch('s', ARRAY[goflow.case('low', '1'), goflow.case('high', '2')], "on" => 'b.x', after => ARRAY['t', 'u']),
    goflow.transform('f', '{"x": "1", "y": "it''s"}', after => 's:low'), goflow.map('m', 'b', 'item.value'), goflow.map('o', 'b', '{"x": "1"}'),
    goflow.filter('g', 'm', 'true'), goflow.reduce('r', 'm', '0', 'acc.value'), goflow.merge('j', '{a.b,c.d}', mode => 'zip'),
    goflow.split('v', 'm', size => '3'), goflow.split('w', 'm', by => 'x', "as" => 'y'), goflow.loop('k', "while" => 'true', body => goflow.continue('c', 'false')),
    goflow.call('z', 'w', version => 3, wait => true), goflow.delay('d', until => 'now()'), goflow.raise('x', message => '1'),
    goflow.lines(goflow.sql('l', E'SELECT\n1', after => ARRAY['d', 'z'], atomic => false, "check" => 'late', columns => '{"a": "int"}'))),
  '{"nodes": {"a": {"type": "sql", "sql": ["SELECT 1"]}, "b": {"type": "sql", "sql": ["a", "b\nc"]}, "c": {"type": "new", "x": 1},
     "d": {"type": "sql", "sql": "SELECT 1", "new": 1}, "e": {"type": "sql", "sql": ["a", "b"], "title": "x\ny"}, "f": {"type": "sql"}, "g": 1,
     "h": {"type": "loop", "repeat": "3", "body": {}}, "i": {"type": "loop", "repeat": 1.5, "body": {"nodes": {}}}, "j": {"type": "sql", "sql": null},
     "k": {"type": "switch", "cases": [{"port": "a", "when": ["1", "2"]}]}, "l": {"type": "switch", "cases": []},
     "m": {"type": "set", "set": {"a": ["1", "2"]}}, "n": {"type": "sql", "sql": "x", "after": []},
     "o": {"type": "try", "body": {"nodes": {"p": {"type": "sql", "sql": ["a", "b"]}}}, "catch": [{"on": [], "body": {"nodes": {}}}, {"on": ["22"], "body": {"nodes": {}}, "more": 1}]},
     "q": {"type": "parallel", "branches": {}}, "r": {"type": "parallel", "branches": {"a": {}, "b": {"nodes": {}, "new": 1}}}, "s": {"type": "raise", "retry": {}},
     "t": {"type": "raise", "retry": {"new": 1}}, "u": {"type": "raise", "retry": {"attempts": null}}, "v": {"type": "map", "over": "a", "value": "{a"}, "w": {"type": "raise", "timeout": 1}}}',
  '{"nodes": {}, "output": {}, "input": {"a": "int"}, "variables": {"b": ["int"]}, "output": {"x": ["1", "2"], "y": "1"}, "new": [1], "priority": 1.5}',
  '{}'::jsonb || '{"nodes": {"a": {"type": "sql", "sql": "$$ $q1$ ''"}, "b": {"type": "sql", "sql": "''$"}, "c": {"type": "sql", "sql": "a\\b\r\n"}}}']) d;
-- bodies inside bodies
CREATE FUNCTION tower(depth int) RETURNS jsonb LANGUAGE sql AS $$
  WITH RECURSIVE t AS (SELECT 1 AS n, goflow.notify('bottom', 'c') AS part
    UNION ALL SELECT n + 1, goflow.loop('l' || n, repeat => '1', body => part) FROM t WHERE n <= depth)
  SELECT part FROM t ORDER BY n DESC LIMIT 1 $$;
SELECT round_trip(tower(64));
-- many nodes
SELECT round_trip(goflow.workflow(VARIADIC array_agg(goflow.notify('n' || i, 'c', after => 'n' || i - 1)))) FROM generate_series(1, 500) i;

-- what was defined under other settings is defined with them again, wherever that is
CREATE SCHEMA "builder Else"; CREATE TABLE "builder Else".fresh (d date);
SET search_path = "builder Else", builder_test; SET DateStyle = 'SQL, DMY';
SELECT goflow.define('builder_else', goflow.workflow(goflow.sql('a', $$ INSERT INTO fresh VALUES ('01/02/2024') RETURNING d $$)));
SELECT goflow.define('builder_own', goflow.workflow(goflow.options(settings => '{"SEARCH_PATH": "\"builder Else\"", "datestyle": "SQL, DMY", "work_mem": "8MB"}'),
  goflow.sql('a', $$ INSERT INTO fresh VALUES ('01/02/2024') RETURNING d $$)));
SELECT goflow.script('builder_else');
RESET search_path; RESET DateStyle;
SELECT goflow.script('builder_else');
SELECT goflow.script('builder_own');
SELECT goflow.script('builder_else') AS script \gset
:script
SHOW search_path;
SELECT goflow.script('builder_own') AS script \gset
RESET search_path; RESET DateStyle;
:script
SELECT workflow, version, settings - 'TimeZone' AS settings FROM goflow.workflows WHERE workflow IN ('builder_else', 'builder_own') ORDER BY 1, 2;
SELECT goflow.drop(w) FROM unnest('{builder_else,builder_own}'::text[]) w;
DROP TABLE "builder Else".fresh; DROP SCHEMA "builder Else"; SET search_path = builder_test;

-- for those who may use goflow, and see the workflow
CREATE ROLE builder_user;
SELECT goflow.grant_usage('builder_user');
SET ROLE builder_user;
SELECT goflow.workflow(goflow.notify('a', 'c'));
SELECT goflow.script('builder');
RESET ROLE;
SELECT goflow.revoke_usage('builder_user');
DROP ROLE builder_user;

-- each function of the builder is safe for parallel queries, and says what it is for
SELECT proname FROM pg_proc p WHERE pronamespace = 'goflow'::regnamespace AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c')
   AND prorettype = 'jsonb'::regtype AND NOT 'execution' = ANY (coalesce(proargnames, '{}')) AND (provolatile <> 'i' OR proparallel <> 's' OR obj_description(oid, 'pg_proc') IS NULL);

SELECT goflow.drop('builder');
SET client_min_messages = warning;
DROP SCHEMA builder_test CASCADE;
