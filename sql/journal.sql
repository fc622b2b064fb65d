-- Entries of the journal share rows; whoever reads it gets them one by one.
CREATE FUNCTION journal_text(n int) RETURNS text LANGUAGE sql AS $$ SELECT repeat(n::text, n) $$;
SELECT goflow.define('journal', '{
	"input": {"n": "int"},
	"nodes": {
		"first": {"type": "transform", "value": {"small": "input.n", "nothing": "NULL::text", "tricky": "''{\"a,b\",NULL} ü''::text"}},
		"big": {"type": "transform", "after": ["first"], "value": {"text": "repeat(''x'', 3000)"}},
		"way": {"type": "switch", "after": ["big"], "cases": [{"port": "low", "when": "input.n < 0"}, {"port": "high", "when": "input.n > 0"}]},
		"low": {"type": "transform", "after": ["way:low"], "value": {"x": "1"}},
		"bad": {"type": "transform", "after": ["way:high"], "value": {"x": "1 / (input.n - input.n)"}, "on_error": "continue"},
		"each": {"type": "loop", "after": ["bad"], "repeat": "60", "body": {"nodes": {
			"a": {"type": "transform", "value": {"v": "loop.index * input.n"}},
			"b": {"type": "condition", "after": ["a"], "if": "a.v % 2 = 0"},
			"c": {"type": "transform", "after": ["b:true"], "value": {"w": "journal_text(a.v::int % 7)"}}}}},
		"nap": {"type": "delay", "after": ["each"], "for": "interval ''10 ms''"},
		"last": {"type": "transform", "after": ["nap"], "value": {
			"same": "first.small = input.n AND first.nothing IS NULL AND first.tricky = ''{\"a,b\",NULL} ü''",
			"big": "length(big.text)", "way": "way.\"case\"", "rounds": "each.iterations"}}},
	"output": {"same": "last.same", "big": "last.big", "way": "last.way", "rounds": "last.rounds"}}');

-- In a worker.  The delay lets the execution go: what came before is read again.
SELECT goflow.start('journal', '{"n": 3}') AS execution \gset
SELECT goflow.wait(:'execution');
SELECT goflow.result(:'execution');

-- Far fewer rows than entries; each entry once, as nodes() has it.
SELECT count(*) > 150 AS many, count(*) = count(DISTINCT (frame, node, attempt)) AS each_once, count(*) = count(DISTINCT seq) AS in_order,
	(SELECT count(*) < 100 FROM goflow.journal WHERE execution_id = :'execution') AS few_rows
FROM goflow.node_state WHERE execution_id = :'execution';
SELECT n.node, n.state, s.port, s.output = '{}' AS empty, left(s.output::text, 40) AS output, s.error ->> 'code' AS error
FROM goflow.nodes(:'execution') n JOIN goflow.node_state s ON s.execution_id = :'execution' AND (s.frame, s.attempt::int, s.started_at, s.finished_at, s.state::text)
	= (n.frame, n.attempt, n.started_at, n.finished_at, CASE n.state WHEN 'cancelled' THEN 'x' ELSE left(n.state, 1) END)
WHERE n.frame = 0 AND n.node <> 'nap' ORDER BY n.seq;
SELECT count(*) AS differ FROM goflow.nodes(:'execution') n
FULL JOIN (SELECT * FROM goflow.node_state WHERE execution_id = :'execution') s ON (s.frame, s.attempt::int, s.started_at, s.finished_at, s.state::text)
	= (n.frame, n.attempt, n.started_at, n.finished_at, CASE n.state WHEN 'cancelled' THEN 'x' ELSE left(n.state, 1) END)
WHERE (n.frame, n.attempt, n.started_at, n.finished_at, left(n.state, 1))
	IS DISTINCT FROM (s.frame, s.attempt::int, s.started_at, s.finished_at, s.state::text);
SELECT node, count(*), count(DISTINCT frame) AS frames, count(output) AS outputs, max(output ->> 'w') AS w
FROM goflow.nodes(:'execution') WHERE frame > 0 GROUP BY node ORDER BY node;

-- What an execution has done is found again when it goes on after its end.
CREATE TABLE journal_divisor AS SELECT 1 AS n;
SELECT goflow.define('journal_retry', '{
	"nodes": {
		"first": {"type": "transform", "value": {"moment": "clock_timestamp()"}},
		"each": {"type": "loop", "after": ["first"], "repeat": "60", "body": {"nodes": {"a": {"type": "condition", "if": "loop.index > 5"}}}},
		"second": {"type": "transform", "after": ["each"], "value": {"moment": "first.moment"}},
		"fails": {"type": "sql", "after": ["second"], "sql": "SELECT 1 / n AS x FROM journal_divisor"},
		"last": {"type": "transform", "after": ["fails"], "value": {"same": "first.moment = second.moment"}}},
	"output": {"same": "last.same", "rounds": "each.iterations"}}');
SELECT goflow.start('journal_retry') AS execution \gset
SELECT goflow.wait(:'execution');
UPDATE journal_divisor SET n = 0;
SELECT goflow.start('journal_retry') AS execution \gset
SELECT goflow.wait(:'execution');
UPDATE journal_divisor SET n = 1;
SELECT goflow.retry(:'execution');
SELECT goflow.wait(:'execution');
SELECT goflow.result(:'execution');
SELECT node, count(*) FROM goflow.nodes(:'execution') GROUP BY node ORDER BY node;

-- In the caller's transaction.
SELECT goflow.run('journal', '{"n": 0}', raise => false) - 'execution' #- '{error,context}' AS run;
BEGIN;
SELECT goflow.define('journal_inline', '{"input": {"n": "int"}, "nodes": {
	"each": {"type": "loop", "repeat": "input.n", "body": {"nodes": {
		"a": {"type": "transform", "value": {"v": "loop.index"}},
		"b": {"type": "transform", "after": ["a"], "value": {"v": "a.v + 1"}}}}}}}');
SELECT goflow.run('journal_inline', '{"n": 100}');
SELECT count(*) AS entries, count(DISTINCT (frame, node)) AS distinct_entries, min(duration) >= 0 AS sane
FROM goflow.node_state s JOIN goflow.executions e ON e.execution = s.execution_id WHERE e.workflow = 'journal_inline';
SELECT count(*) < 15 AS few_rows FROM goflow.journal s JOIN goflow.executions e ON e.execution = s.execution_id
WHERE e.workflow = 'journal_inline';
COMMIT;

-- Few entries of the first transaction stand in the execution's own row: as a table each, and as nodes() and events() have them.
SELECT goflow.define('journal_short', '{"input": {"n": "int", "nap": "bool = false"}, "nodes": {
	"first": {"type": "transform", "value": {"a": "input.n", "b": "NULL::text", "c": "repeat(''x'', input.n)"}},
	"way": {"type": "switch", "after": ["first"], "cases": [{"port": "low", "when": "input.n < 3"}, {"port": "high", "when": "input.n >= 3"}]},
	"low": {"type": "transform", "after": ["way:low"], "value": {"x": "1"}},
	"each": {"type": "loop", "after": ["way:high"], "repeat": "input.n", "body": {"nodes": {"a": {"type": "condition", "if": "loop.index > 2"}}}},
	"nap": {"type": "delay", "after": ["low", "each"], "join": "any", "for": "CASE WHEN input.nap THEN interval ''10 ms'' ELSE interval ''0'' END"},
	"last": {"type": "sql", "after": ["nap"], "sql": "SELECT 6 / n AS x FROM journal_divisor"}},
	"output": {"x": "last.x"}}');
CREATE FUNCTION journal_look(e uuid, OUT kept bigint, OUT rows bigint, OUT entries bigint, OUT differ bigint, OUT events bigint) LANGUAGE sql AS $$
SELECT (SELECT count(*) FROM goflow.execution x, goflow.entries(x.journal, x.created_at) WHERE x.execution_id = e), (SELECT count(*) FROM goflow.journal WHERE execution_id = e),
	(SELECT count(*) FROM goflow.node_state WHERE execution_id = e),
	(SELECT count(*) FROM goflow.nodes(e) n
		FULL JOIN (SELECT * FROM goflow.node_state WHERE execution_id = e) s ON (s.frame, s.attempt::int, s.started_at, s.finished_at, s.state::text)
			= (n.frame, n.attempt, n.started_at, n.finished_at, CASE n.state WHEN 'cancelled' THEN 'x' ELSE left(n.state, 1) END)
		WHERE n.node IS NULL OR s.node IS NULL OR (n.output IS NULL) <> (s.output IS NULL) OR cardinality(s.output) <> (SELECT count(*) FROM jsonb_object_keys(n.output))),
	(SELECT count(DISTINCT seq) FROM goflow.events(e)) $$;
SELECT goflow.run('journal_short', '{"n": 2}', raise => false) ->> 'execution' AS execution \gset
SELECT * FROM journal_look(:'execution');
SELECT node, state, output FROM goflow.nodes(:'execution') WHERE node <> 'nap' ORDER BY seq;
SELECT state, port, output FROM goflow.node_state WHERE execution_id = :'execution' AND output[1] NOT LIKE '% %' ORDER BY seq;
SELECT goflow.run('journal_short', '{"n": 5}', raise => false) ->> 'execution' AS execution \gset
SELECT * FROM journal_look(:'execution');
SELECT seq, event, node, frame, data ->> 'iteration' AS iteration, data ->> 'parent' AS parent
FROM goflow.events(:'execution') WHERE frame > 0 ORDER BY seq;
SELECT goflow.start('journal_short', '{"n": 5, "nap": true}') AS execution \gset
SELECT goflow.wait(:'execution');
SELECT kept > 0 AS kept, rows > 0 AS rows, entries, differ, events FROM journal_look(:'execution');

-- Not what has failed, nor what is long (fifty iterations are not); what was kept is found when a retry goes on.
SELECT * FROM journal_look((goflow.run('journal_short', '{"n": 700}', raise => false) ->> 'execution')::uuid);
SELECT * FROM journal_look((goflow.run('journal_short', '{"n": 50}', raise => false) ->> 'execution')::uuid);
UPDATE journal_divisor SET n = 0;
SELECT * FROM journal_look((goflow.run('journal_short', '{"n": 2}', raise => false) ->> 'execution')::uuid);
SELECT goflow.start('journal_short', '{"n": 4, "nap": true}') AS execution \gset
SELECT goflow.wait(:'execution');
SELECT kept > 0 AS kept, rows > 0 AS rows, entries, differ, events FROM journal_look(:'execution');
UPDATE journal_divisor SET n = 1;
SELECT goflow.retry(:'execution');
SELECT goflow.wait(:'execution');
SELECT kept > 0 AS kept, rows > 0 AS rows, entries, differ, events FROM journal_look(:'execution');
SELECT node, attempt, state FROM goflow.nodes(:'execution') WHERE frame = 0 ORDER BY seq;

-- What is not packed entries is an error, whatever it is.
SELECT count(*) FROM goflow.entries('', now());
SELECT goflow.texts('\x06000206c3bc'), goflow.texts('\x00');
SELECT goflow.texts('\x0602');
DO $$
DECLARE
	packed bytea := (SELECT journal FROM goflow.execution WHERE journal IS NOT NULL ORDER BY length(journal) DESC LIMIT 1);
	damaged int := 0;
BEGIN
	FOR n IN 1 .. length(packed) LOOP
		BEGIN
			PERFORM goflow.entries(set_byte(packed, n - 1, get_byte(packed, n - 1) # 128), now());
			PERFORM goflow.entries(substr(packed, 1, n), now());
		EXCEPTION WHEN data_corrupted THEN
			damaged := damaged + 1;
		END;
	END LOOP;
	RAISE NOTICE '%', damaged BETWEEN 20 AND length(packed);
END $$;

DROP FUNCTION journal_look;
SELECT count(goflow.drop(w)) FROM unnest(ARRAY['journal', 'journal_retry', 'journal_inline', 'journal_short']) w;
DROP FUNCTION journal_text;
DROP TABLE journal_divisor;
