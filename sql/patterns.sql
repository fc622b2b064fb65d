--
-- The control-flow patterns of van der Aalst et al. that the language covers,
-- by their numbers; doc/patterns.md has the table.
--
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;		-- not: nobody can reach a result
CREATE SCHEMA patterns_test;
SET search_path = patterns_test;
CREATE TABLE did (n int GENERATED ALWAYS AS IDENTITY, what text);
CREATE TABLE knob (name text PRIMARY KEY, value int);
CREATE FUNCTION d(what text) RETURNS text LANGUAGE sql AS 'INSERT INTO did (what) VALUES (d.what) RETURNING what';
-- A task, which leaves its name.
CREATE FUNCTION task(id text, VARIADIC after text[] DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT goflow.sql(id, format('SELECT patterns_test.d(%L) AS x', id), after => CASE WHEN after <> '{}' THEN after END) $$;
-- Runs a workflow of these parts: its state, what was done in which order, its output, and how nodes ended that did not complete.
CREATE FUNCTION run_pattern(VARIADIC parts jsonb[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r jsonb; first int := (SELECT coalesce(max(n), 0) FROM patterns_test.did);
BEGIN
	PERFORM goflow.define('pattern', goflow.workflow(VARIADIC parts));
	r := goflow.run('pattern', raise => false);
	RETURN concat_ws(' | ', r ->> 'state', (SELECT string_agg(what, ' ' ORDER BY n) FROM patterns_test.did WHERE n > first),
		nullif(nullif(r -> 'output', '{}'), 'null'), r -> 'error' ->> 'message',
		(SELECT string_agg(node || ' ' || state, ', ' ORDER BY node) FROM goflow.nodes((r ->> 'execution')::uuid) WHERE state <> 'completed'));
END $$;

\echo == basic control flow
\echo -- 1 sequence
SELECT run_pattern(task('a'), task('b', 'a'), task('c', 'b'));
\echo -- 2 parallel split, 3 synchronization
SELECT run_pattern(task('a'), task('b', 'a'), task('c', 'a'), task('e', 'b', 'c'));
\echo -- 4 exclusive choice, 5 simple merge
SELECT run_pattern(goflow.switch('s', ARRAY[goflow.case('low', '2 < 1'), goflow.case('high', '2 > 1')]),
  task('b', 's:low'), task('c', 's:high'), task('e', 'b', 'c'));
\echo == branching and synchronization
\echo -- 6 multi-choice, 7 structured synchronizing merge
SELECT run_pattern(goflow.condition('x', 'true'), goflow.condition('y', 'false'), goflow.condition('z', 'true'),
  task('b', 'x:true'), task('c', 'y:true'), task('f', 'z:true'), task('e', 'b', 'c', 'f'));
\echo -- 8 multi-merge: what follows is a workflow, called by each branch
SELECT goflow.define('pattern_next', goflow.workflow(goflow.input('from_', 'text'),
  goflow.sql('next', $$ SELECT patterns_test.d('next_' || input.from_) AS x $$)));
SELECT run_pattern(task('a'), task('b'), goflow.call('na', 'pattern_next', input => $$ {"from_": "'a'"} $$, after => 'a'),
  goflow.call('nb', 'pattern_next', input => $$ {"from_": "'b'"} $$, after => 'b'));
\echo -- 9 structured discriminator: the first goes on, the others run and do no more
SELECT run_pattern(task('a'), task('b0'), task('b', 'b0'), goflow.sql('e', $$ SELECT d('e') AS x $$, after => '{a,b}'::text[], "join" => 'any'));
\echo -- 28 blocking discriminator, 31 blocking partial join: the next round begins when all of this one has ended
SELECT run_pattern(goflow.loop('rounds', repeat => '2', body => goflow.body(task('a'), task('b'), task('c'),
  goflow.sql('e', $$ SELECT d('e' || loop.index) AS x $$, after => '{a,b,c}'::text[], "join" => 'any'),
  goflow.sql('f', $$ SELECT d('f' || loop.index) AS x $$, after => '{a,b,c}'::text[], "join" => '2'))));
\echo -- 29 cancelling discriminator, 19 cancel task
SELECT run_pattern(task('a'), goflow.delay('late', $$'1 hour'$$), goflow.sql('e', $$ SELECT d('e') AS x $$, after => '{a,late}'::text[], "join" => 'any', cancel_rest => true));
SELECT run_pattern(task('a'), task('b1'), task('b2', 'b1'), task('b3', 'b2'), goflow.sql('e', $$ SELECT d('e') AS x $$, after => '{a,b3}'::text[], "join" => 'any', cancel_rest => true));
\echo -- 30 structured partial join
SELECT run_pattern(task('a'), task('b'), task('c0'), task('c', 'c0'), goflow.sql('e', $$ SELECT d('e') AS x $$, after => '{a,b,c}'::text[], "join" => '2'));
\echo -- 32 cancelling partial join
SELECT run_pattern(task('a'), task('b'), task('c0'), task('c', 'c0'), goflow.sql('e', $$ SELECT d('e') AS x $$, after => '{a,b,c}'::text[], "join" => '2', cancel_rest => true));
\echo -- 37 local synchronizing merge, 38 general synchronizing merge: a join waits as long as something can come
SELECT run_pattern(goflow.condition('x', 'true'), goflow.condition('y', 'false', after => 'x:true'), task('far', 'y:true'), task('farther', 'far'),
  task('near', 'x:true'), goflow.loop('twice', repeat => '2', body => task('z'), after => 'y:false'),
  task('e', 'near', 'farther', 'twice'));
\echo -- 41 thread merge, 42 thread split
SELECT run_pattern(goflow.loop('threads', repeat => '3', parallel => 3, body => task('t')), task('e', 'threads'));

\echo == multiple instances
\echo -- 12 without synchronization
SELECT run_pattern(goflow.loop('l', repeat => '2', body => goflow.call('na', 'pattern_next', input => '{"from_": "loop.index::text"}', wait => false)), task('e', 'l'));
\echo -- 13 with a number known when it is written, 14 when it begins
SELECT run_pattern(goflow.loop('l', repeat => '3', parallel => 3, body => task('i')), task('e', 'l'));
SELECT run_pattern(goflow.sql('n', 'SELECT count(*)::int AS n FROM generate_series(1, 4)'), goflow.loop('l', repeat => 'n.n', parallel => 9, body => task('i'), after => 'n'), task('e', 'l'));
\echo -- 34 static partial join: the second to end lets the next begin, the others go on
CREATE TABLE ended (n int); INSERT INTO ended VALUES (0);
SELECT run_pattern(goflow.loop('l', repeat => '4', parallel => 4, body => goflow.body(task('i'),
  goflow.sql('count_', 'UPDATE ended SET n = n + 1 RETURNING n', after => 'i'), goflow.condition('second', 'count_.n = 2', after => 'count_'), task('next', 'second:true'))), task('e', 'l')) LIKE 'completed | i%next% e | %';
\echo -- 35 cancelling partial join, 27 complete multiple instance activity: the others are not waited for
UPDATE ended SET n = 0;
SELECT run_pattern(goflow.loop('l', repeat => '4', body => goflow.body(task('i'),
  goflow.sql('count_', 'UPDATE ended SET n = n + 1 RETURNING n', after => 'i'), goflow.break('enough', 'count_.n = 2', after => 'count_'))), task('e', 'l'));

\echo == state, iteration, cancellation, termination
\echo -- 11 implicit termination
SELECT run_pattern(task('a'), task('b', 'a'), task('c'));
\echo -- 21 structured loop: tested before, and after
SELECT run_pattern(goflow.variable('n', 'int = 0'), goflow.loop('l', "while" => 'vars.n < 2', body => goflow.body(task('w'), goflow.set('up', '{"n": "vars.n + 1"}', after => 'w'))),
  goflow.loop('m', "while" => 'true', body => goflow.body(task('u'), goflow.set('down', '{"n": "vars.n - 1"}', after => 'u'), goflow.break('out', 'vars.n = 0', after => 'down')), after => 'l'),
  goflow.output('n', 'vars.n'));
\echo -- 22 recursion
SELECT goflow.define('pattern_factorial', goflow.workflow(goflow.input('n', 'int'), goflow.condition('more', 'input.n > 1'),
  goflow.call('less', 'pattern_factorial', input => '{"n": "input.n - 1"}', after => 'more:true'),
  goflow.output('value', $$ input.n * coalesce((less.output ->> 'value')::int, 1) $$)));
SELECT goflow.run('pattern_factorial', '{"n": 5}');
\echo -- 43 explicit termination
SELECT run_pattern(goflow.parallel('everything', ARRAY[goflow.branch('main_', task('a'), task('end_', 'a')), goflow.branch('side', goflow.delay('w', $$'1 hour'$$), task('never', 'w'))],
  "join" => 'any', cancel_rest => true));

\echo == one at a time, by workers
CREATE TABLE held (who text, during tstzrange);
CREATE FUNCTION hold(who text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE began timestamptz;
BEGIN
	PERFORM pg_advisory_xact_lock(hashtext('patterns_test'));
	began := clock_timestamp();
	PERFORM pg_sleep(0.02);
	INSERT INTO held VALUES (who, tstzrange(began, clock_timestamp()));
	RETURN who;
END $$;
CREATE FUNCTION until_did(times int, what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		EXIT WHEN (SELECT count(*) FROM did d WHERE d.what = until_did.what) >= times;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN what;
END $$;
CREATE PROCEDURE run_by_workers(times int, OUT ends text) LANGUAGE plpgsql AS $$
DECLARE ids uuid[];
BEGIN
	SELECT array_agg(e) INTO ids FROM goflow.start_many('pattern', array_fill('{}'::jsonb, ARRAY[times])) e;
	COMMIT;
	PERFORM goflow.wait(e, '60 s') FROM unnest(ids) e;
	SELECT string_agg(DISTINCT concat_ws(' ', (s).state, (s).error ->> 'message'), ', ') INTO ends FROM (SELECT goflow.status(e) AS s FROM unnest(ids) e) x;
END $$;
\echo -- 20 cancel case
SELECT goflow.define('pattern', goflow.workflow(task('a'), goflow.sql('stop', 'SELECT goflow.cancel(execution.id) AS x', after => 'a'), goflow.delay('w', $$'1 hour'$$, after => 'stop')));
CALL run_by_workers(1, NULL);
\echo -- 25 cancel region
TRUNCATE did;
SELECT goflow.define('pattern', goflow.workflow(goflow.parallel('p', ARRAY[
  goflow.branch('region', task('r1'), goflow.delay('r2', $$'1 hour'$$, after => 'r1'), task('r3', 'r2')),
  goflow.branch('other', goflow.sql('w', $$ SELECT until_did(1, 'r1') AS x $$), task('s', 'w'))], "join" => 'any', cancel_rest => true), task('e', 'p')));
CALL run_by_workers(1, NULL);
SELECT string_agg(what, ' ' ORDER BY n) FROM did;
\echo -- 26 cancel multiple instance activity
TRUNCATE did;
SELECT goflow.define('pattern', goflow.workflow(goflow.parallel('p', ARRAY[
  goflow.branch('instances', goflow.loop('l', repeat => '3', parallel => 3, body => goflow.body(task('i'), goflow.delay('w', $$'1 hour'$$, after => 'i'), task('never', 'w')))),
  goflow.branch('other', goflow.sql('u', $$ SELECT until_did(3, 'i') AS x $$), task('a', 'u'))], "join" => 'any', cancel_rest => true), task('e', 'p')));
CALL run_by_workers(1, NULL);
SELECT string_agg(what, ' ' ORDER BY n) FROM did;
\echo -- 17 interleaved parallel routing, 40 interleaved routing: in any order, a before b
SELECT goflow.define('pattern', goflow.workflow(goflow.sql('a', $$ SELECT hold('a') AS x $$), goflow.sql('b', $$ SELECT hold('b') AS x $$, after => 'a'),
  goflow.sql('c', $$ SELECT hold('c') AS x $$), goflow.sql('f', $$ SELECT hold('f') AS x $$)));
CALL run_by_workers(1, NULL);
SELECT string_agg(who, ' ' ORDER BY who), bool_and(NOT EXISTS (SELECT FROM held i WHERE i.who <> h.who AND i.during && h.during)),
  (SELECT upper(during) FROM held WHERE who = 'a') <= (SELECT lower(during) FROM held WHERE who = 'b') FROM held h;
\echo -- 39 critical section: of several nodes, by a row that is taken and given back
TRUNCATE held;
CREATE TABLE section (name text PRIMARY KEY, holder uuid, since timestamptz);
INSERT INTO section VALUES ('s');
CREATE FUNCTION take_section(who uuid) RETURNS SETOF boolean LANGUAGE sql AS $$
  UPDATE section SET holder = who, since = clock_timestamp() WHERE holder IS NULL RETURNING true $$;
CREATE FUNCTION leave_section(who uuid) RETURNS timestamptz LANGUAGE sql AS $$
  UPDATE section SET holder = NULL WHERE holder = who RETURNING since $$;
SELECT goflow.define('pattern', goflow.workflow(
  goflow.sql('enter', $$ SELECT 1 / count(*) AS x FROM take_section(execution.id) t WHERE t $$, retry => goflow.retry_policy(1000, backoff => '10 ms', factor => 1, "on" => '22012')),
  goflow.try('inside', after => 'enter',
    body => goflow.body(goflow.sql('first_', 'SELECT pg_sleep(0.01)', rows => 'none'), goflow.sql('second', 'SELECT pg_sleep(0.01)', after => 'first_', rows => 'none')),
    finally => goflow.sql('leave', $$ INSERT INTO held SELECT execution.id::text, tstzrange(since, clock_timestamp()) FROM leave_section(execution.id) AS since $$))));
CALL run_by_workers(4, NULL);
SELECT count(*), bool_and(NOT EXISTS (SELECT FROM held i WHERE i.who <> h.who AND i.during && h.during)) FROM held h;
SELECT name, holder FROM section;

\echo == what comes from outside
CREATE PROCEDURE send(signals text[]) LANGUAGE plpgsql AS $$
DECLARE e uuid := goflow.start('pattern');
BEGIN
	PERFORM goflow.signal(e, s) FROM unnest(signals) WITH ORDINALITY u (s, n) ORDER BY n;
	COMMIT;
	PERFORM goflow.wait(e, '90 s');
	RAISE NOTICE '% -> %: %', signals, (SELECT string_agg(what, ' ' ORDER BY n) FROM patterns_test.did),
		(SELECT string_agg(node || ' ' || state, ', ' ORDER BY node COLLATE "C") FROM goflow.nodes(e) WHERE node ~ 'pays|gives_up|s$');
	DELETE FROM patterns_test.did;
	COMMIT;
END $$;
TRUNCATE did;
\echo -- 16 deferred choice: the signal that comes first decides
SELECT goflow.define('pattern', goflow.workflow(goflow.parallel('choice', ARRAY[
  goflow.branch('a', goflow.await_signal('pays'), task('paid', 'pays')),
  goflow.branch('b', goflow.await_signal('gives_up'), task('given_up', 'gives_up'))], "join" => 'any', cancel_rest => true), task('e', 'choice')));
SET client_min_messages = notice;
CALL send('{pays}');
CALL send('{gives_up}');
\echo -- 24 persistent trigger: it waits for the one who waits for it
SET client_min_messages = error;
SELECT goflow.define('pattern', goflow.workflow(task('a'), goflow.delay('d', $$'50 ms'$$, after => 'a'), goflow.await_signal('s', after => 'd'), task('b', 's')));
SET client_min_messages = notice;
CALL send('{s}');
SET client_min_messages = error;

SELECT goflow.drop(w) FROM unnest('{pattern,pattern_next,pattern_factorial}'::text[]) w;
DROP SCHEMA patterns_test CASCADE;
