-- Runs before all other tests, which share its database.
SET client_min_messages = warning;
CREATE EXTENSION goflow;
SELECT extname, extversion, nspname
  FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
 WHERE extname = 'goflow';

-- What the tests of the language share.  test.both() defines a workflow of
-- these nodes and runs it twice: inline, by run(), and in workers.
-- test.journal then shows the journal of run().  A row that the two journals
-- do not have in common says who has it; order between nodes that may run side
-- by side, and attributes of time, do not count.
CREATE SCHEMA test;
CREATE TABLE test.runs (by text PRIMARY KEY, execution uuid, state text, output jsonb, error jsonb);

CREATE FUNCTION test.error(error jsonb) RETURNS text LANGUAGE sql
RETURN (error->>'code') || ' ' || (error->>'message');

CREATE FUNCTION test.nodes(execution uuid, OUT seq int, OUT node text, OUT attempt int, OUT state text, OUT result text)
RETURNS SETOF record LANGUAGE sql ROWS 10 AS $$
  SELECT seq, node, attempt, state, coalesce(test.error(error), (output - 'execution' - 'woke_at' #- '{error,context}')::text)
    FROM goflow.nodes(execution)
$$;

CREATE VIEW test.journal AS
WITH all_rows AS (
  SELECT by, n.seq, node, attempt, n.state, result,
         row_number() OVER (PARTITION BY by, node, attempt, n.state, result ORDER BY n.seq) AS nth
    FROM test.runs, test.nodes(execution) n
  UNION ALL
  SELECT by, NULL, '(execution)', NULL, state, coalesce(test.error(error), output::text), 1 FROM test.runs),
rows AS (SELECT *, count(*) OVER (PARTITION BY node, attempt, state, result, nth) AS who FROM all_rows)
SELECT node, attempt, state, result, CASE WHEN who = 1 THEN by END AS only_by
  FROM rows
 WHERE by = 'run' OR who = 1
 ORDER BY seq, by;

-- In workers alone: what waits cannot run inline.
CREATE PROCEDURE test.start(nodes jsonb, more jsonb DEFAULT '{}', input jsonb DEFAULT '{}') LANGUAGE plpgsql AS $$
DECLARE x uuid;
BEGIN
	SET LOCAL client_min_messages = error;		-- not: nobody can reach a result
	PERFORM goflow.define('test', more || jsonb_build_object('nodes', nodes));
	x := goflow.start('test', input);
	DELETE FROM test.runs;
	INSERT INTO test.runs (by, execution) VALUES ('workers', x);
	COMMIT;
END $$;

CREATE PROCEDURE test.wait() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM goflow.wait(execution, '90 s') FROM test.runs WHERE by = 'workers';
	UPDATE test.runs r SET (state, output, error) = (SELECT e.state, e.output, e.error FROM goflow.executions e WHERE e.execution = r.execution)
	 WHERE by = 'workers';
	COMMIT;
END $$;

CREATE PROCEDURE test.both(nodes jsonb, more jsonb DEFAULT '{}', input jsonb DEFAULT '{}', reset text DEFAULT 'SELECT 1') LANGUAGE plpgsql AS $$
DECLARE r jsonb;
BEGIN
	CALL test.start(nodes, more, input);
	CALL test.wait();
	EXECUTE reset;
	r := goflow.run('test', input, raise => false);
	INSERT INTO test.runs SELECT 'run', (r->>'execution')::uuid, e.state, e.output, e.error
	  FROM goflow.executions e WHERE execution = (r->>'execution')::uuid;
	COMMIT;
END $$;
