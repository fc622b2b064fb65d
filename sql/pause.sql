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
		IF n > 20000 THEN RAISE EXCEPTION 'not met: %', condition; END IF;
		PERFORM pg_sleep(0.01);
		COMMIT;
	END LOOP;
END $$;

-- One that waits: the moment comes while it is paused, and is not missed.
-- (A busy machine may take longer than that to pause it: then once more, with more time.)
CREATE PROCEDURE pause_in_time(INOUT e uuid DEFAULT NULL, INOUT nap interval DEFAULT '0.5 s') LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		e := goflow.start('steps', jsonb_build_object('wait', nap));
		COMMIT;
		CALL until(format($q$(goflow.status(%L)).state IN ('waiting', 'completed')$q$, e));
		BEGIN
			PERFORM goflow.pause(e);
		EXCEPTION WHEN OTHERS THEN		-- it is over
		END;
		COMMIT;
		CALL until(format($q$(goflow.status(%L)).state IN ('paused', 'completed')$q$, e));
		EXIT WHEN (goflow.status(e)).state = 'paused';
		TRUNCATE paused_step;
		nap := nap * 2;
	END LOOP;
END $$;
CALL pause_in_time() \gset
DROP PROCEDURE pause_in_time;
CALL until(format($$(goflow.status(%L)).state = 'paused'$$, :'e'));
SELECT goflow.pause(:'e');    -- again: no error
SELECT goflow.wait(:'e', :'nap'::interval + '0.2 s');
SELECT node, state FROM goflow.nodes(:'e');
SELECT goflow.resume(:'e');
SELECT goflow.wait(:'e', '90 s');
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
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM paused_step;
TRUNCATE paused_step;

-- It passes down to executions that it waits for.
SELECT goflow.define('inner_steps', $${"nodes": {"go": {"type": "signal"}, "second": {"type": "sql", "after": "go", "sql": "INSERT INTO paused_step VALUES ('second')"}}}$$);
SELECT goflow.define('outer_steps', '{"nodes": {"call": {"type": "workflow", "workflow": "inner_steps"}}}');
SELECT goflow.start('outer_steps') AS e \gset
CALL until(format($$EXISTS (SELECT FROM goflow.executions WHERE parent = %L AND state = 'waiting')$$, :'e'));
SELECT goflow.pause(:'e');
CALL until(format($$EXISTS (SELECT FROM goflow.executions WHERE parent = %L AND state = 'paused')$$, :'e'));
SELECT state FROM goflow.status(:'e');
SELECT goflow.resume(:'e');
SELECT goflow.signal(execution, 'go') FROM goflow.executions WHERE parent = :'e';
SELECT goflow.wait(:'e', '90 s');
SELECT * FROM paused_step;

-- A paused one can be cancelled; a finished one is neither paused nor resumed.
SELECT goflow.start('steps', '{"wait": "1 hour"}') AS e \gset
CALL until(format($$(goflow.status(%L)).state = 'waiting'$$, :'e'));
SELECT goflow.pause(:'e');
CALL until(format($$(goflow.status(%L)).state = 'paused'$$, :'e'));
SELECT goflow.cancel(:'e');
SELECT goflow.wait(:'e', '90 s');
\set VERBOSITY sqlstate
SELECT goflow.pause(:'e');
SELECT goflow.resume(:'e');
\set VERBOSITY default
DROP TABLE paused_step;
