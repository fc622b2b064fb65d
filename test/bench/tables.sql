-- What both sides write, and the reference: the same statements in PL/pgSQL.
CREATE SCHEMA bench;
CREATE TABLE bench.effect (k int NOT NULL, step int NOT NULL);
CREATE TABLE bench.item (id int PRIMARY KEY, label text NOT NULL);

-- The reference keeps, as any durable runner would, a row per step with its result.
CREATE TABLE bench.state (
	execution   bigint NOT NULL,
	step        smallint NOT NULL,
	state       "char" NOT NULL,
	started_at  timestamptz NOT NULL,
	finished_at timestamptz NOT NULL,
	result      jsonb,
	error       text,
	PRIMARY KEY (execution, step)
);

-- Executions of ten steps each: a subtransaction per step, a commit every 50.
-- Gives the moments of its start and end, in seconds.
CREATE PROCEDURE bench.chain(first int, executions int, INOUT started float8, INOUT ended float8)
LANGUAGE plpgsql AS $$
DECLARE
	done int := 0;
	step_started timestamptz;
BEGIN
	started := extract(epoch FROM clock_timestamp());
	FOR k IN first .. first + executions - 1 LOOP
		FOR step IN 1 .. 10 LOOP
			step_started := clock_timestamp();
			BEGIN
				INSERT INTO bench.effect (k, step) VALUES (k, step);
				INSERT INTO bench.state VALUES (k, step, 'c', step_started, clock_timestamp(),
												jsonb_build_object('rows', 1));
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO bench.state VALUES (k, step, 'f', step_started, clock_timestamp(), NULL, SQLERRM);
			END;
			done := done + 1;
			IF done % 50 = 0 THEN
				COMMIT;
			END IF;
		END LOOP;
	END LOOP;
	COMMIT;
	ended := extract(epoch FROM clock_timestamp());
END $$;

CREATE FUNCTION bench.ten(k int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO bench.effect (k, step) VALUES (k, 1);
	INSERT INTO bench.effect (k, step) VALUES (k, 2);
	INSERT INTO bench.effect (k, step) VALUES (k, 3);
	INSERT INTO bench.effect (k, step) VALUES (k, 4);
	INSERT INTO bench.effect (k, step) VALUES (k, 5);
	INSERT INTO bench.effect (k, step) VALUES (k, 6);
	INSERT INTO bench.effect (k, step) VALUES (k, 7);
	INSERT INTO bench.effect (k, step) VALUES (k, 8);
	INSERT INTO bench.effect (k, step) VALUES (k, 9);
	INSERT INTO bench.effect (k, step) VALUES (k, 10);
END $$;

-- Rows as wide as an execution's, with as many indexes.
CREATE TABLE bench.execution (
	execution_id uuid PRIMARY KEY,
	workflow_id  int NOT NULL,
	run_as       regrole NOT NULL,
	state        "char" NOT NULL,
	priority     smallint NOT NULL,
	created_at   timestamptz NOT NULL,
	finished_at  timestamptz,
	input        text[] NOT NULL
);
CREATE INDEX ON bench.execution (execution_id) WHERE finished_at IS NULL;
CREATE INDEX ON bench.execution (workflow_id);

-- How far the server's log, its transaction ids and the clock have come.
CREATE FUNCTION bench.position(OUT wal numeric, OUT xid numeric, OUT seconds numeric) LANGUAGE sql AS $$
	SELECT pg_current_wal_insert_lsn() - '0/0', pg_snapshot_xmax(pg_current_snapshot())::text::numeric,
		   extract(epoch FROM clock_timestamp()) $$;

-- Cancels so many executions whose node runs; milliseconds until each has ended.
CREATE PROCEDURE bench.cancel(n int, INOUT median float8, INOUT longest float8) LANGUAGE plpgsql AS $$
DECLARE
	e uuid;
	began timestamptz;
	times float8[];
BEGIN
	FOR i IN 1 .. n LOOP
		e := goflow.start('sleeper');
		COMMIT;
		WHILE NOT EXISTS (SELECT FROM goflow.nodes(e) WHERE node = 'b' AND state = 'running' AND started_at < clock_timestamp() - interval '5 ms') LOOP
			PERFORM pg_sleep(0.005);
			COMMIT;
		END LOOP;
		began := clock_timestamp();
		PERFORM goflow.cancel(e);
		COMMIT;
		PERFORM goflow.wait(e, '60 s');
		times := times || extract(epoch FROM clock_timestamp() - began)::float8 * 1000;
		COMMIT;
	END LOOP;
	SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY t), max(t) INTO median, longest FROM unnest(times) t;
END $$;
