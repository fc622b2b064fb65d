-- pause() and resume(): running nodes finish, nothing new begins.
CREATE TABLE paused_step (what text);
SELECT goflow.define('steps', $${
  "input": {"wait": "interval"},
  "nodes": {
    "first":  {"type": "sql", "sql": "INSERT INTO paused_step VALUES ('first')"},
    "nap":    {"type": "delay", "after": "first", "for": "input.wait"},
    "second": {"type": "sql", "after": "nap", "sql": "INSERT INTO paused_step VALUES ('second')"}}}$$);

-- until() waits for a condition, with a bound
CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS $$
DECLARE met boolean; n int := 0;
BEGIN
	LOOP
		EXECUTE 'SELECT ' || condition INTO met;
		EXIT WHEN met;
		n := n + 1;
		IF n > 1000 THEN RAISE EXCEPTION 'not met: %', condition; END IF;
		PERFORM pg_sleep(0.01);
		COMMIT;
	END LOOP;
END $$;

-- One that waits: the moment comes while it is paused, and is not missed.
SELECT goflow.start('steps', '{"wait": "1 s"}') AS e \gset
CALL until(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
SELECT goflow.pause(:'e');
CALL until(format($$(goflow.status(%L)).state = 'paused'$$, :'e'));
SELECT goflow.pause(:'e');    -- again: no error
SELECT goflow.wait(:'e', '1.2 s');
SELECT node, state FROM goflow.nodes(:'e');
SELECT goflow.resume(:'e');
SELECT goflow.wait(:'e', '10 s');
SELECT * FROM paused_step;
TRUNCATE paused_step;

-- Paused before it begins, in the transaction that starts it.
BEGIN;
SELECT goflow.start('steps', '{"wait": "0"}') AS e \gset
SELECT goflow.pause(:'e');
COMMIT;
CALL until(format($$(goflow.status(%L)).state = 'paused'$$, :'e'));
SELECT * FROM paused_step;
SELECT * FROM goflow.progress(:'e');
SELECT goflow.resume(:'e');
SELECT goflow.wait(:'e', '10 s');
SELECT * FROM paused_step;
TRUNCATE paused_step;

-- It passes down to executions that it waits for.
SELECT goflow.define('outer_steps', '{"nodes": {"call": {"type": "workflow", "workflow": "steps", "input": {"wait": "''1 s''::interval"}}}}');
SELECT goflow.start('outer_steps') AS e \gset
CALL until(format($$EXISTS (SELECT FROM goflow.executions WHERE parent = %L AND state = 'waiting')$$, :'e'));
SELECT goflow.pause(:'e');
CALL until(format($$EXISTS (SELECT FROM goflow.executions WHERE parent = %L AND state = 'paused')$$, :'e'));
SELECT state FROM goflow.status(:'e');
SELECT goflow.resume(:'e');
SELECT goflow.wait(:'e', '10 s');
SELECT * FROM paused_step;

-- A paused one can be cancelled; a finished one is neither paused nor resumed.
SELECT goflow.start('steps', '{"wait": "1 hour"}') AS e \gset
CALL until(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
SELECT goflow.pause(:'e');
CALL until(format($$(goflow.status(%L)).state = 'paused'$$, :'e'));
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '10 s');
\set VERBOSITY sqlstate
SELECT goflow.pause(:'e');
SELECT goflow.resume(:'e');
\set VERBOSITY default
DROP TABLE paused_step;
