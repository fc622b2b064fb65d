--
-- The examples of examples/, run by workers.
--
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET datestyle = 'ISO, MDY';
\getenv source PG_ABS_SRCDIR
-- The ends of executions: how, and what of.
CREATE PROCEDURE run_example(workflow text, inputs jsonb[], OUT ends text) LANGUAGE plpgsql AS $$
DECLARE ids uuid[]; i int; s goflow.executions;
BEGIN
	FOR i IN 1 .. cardinality(inputs) LOOP
		ids[i] := goflow.start(workflow, inputs[i]);
		COMMIT;
		PERFORM goflow.wait(ids[i], '60 s');
		s := goflow.status(ids[i]);
		ends := concat_ws(E'\n', ends, concat_ws(' ', s.state, s.output, s.error ->> 'code', s.error ->> 'message'));
	END LOOP;
END $$;

\echo == order saga: one is shipped; one has no address, one no money: undone
\set file :source /examples/order_saga.sql
\set ECHO none
\i :file
\set ECHO all
CALL run_example('order_saga', ARRAY['{"order_id": 1}', '{"order_id": 2}', '{"order_id": 3}']::jsonb[], NULL);
SELECT * FROM shop.stock;
SELECT * FROM shop.account ORDER BY 1;
SELECT * FROM shop.shipment;
SELECT id, state FROM shop.orders ORDER BY 1;

\echo == ETL: eight files are good, two are rejected
\set file :source /examples/etl_files.sql
\set ECHO none
\i :file
\set ECHO all
CALL run_example('etl_files', ARRAY['{}']::jsonb[], NULL);
SELECT state, count(*), min(problem) FROM etl.inbox GROUP BY 1 ORDER BY 1;
SELECT count(*), sum(amount), count(DISTINCT file) FROM etl.sale;
-- nothing new: nothing done
CALL run_example('etl_files', ARRAY['{}']::jsonb[], NULL);

\echo == maintenance: old events go in portions
\set file :source /examples/maintenance.sql
\set ECHO none
\i :file
\set ECHO all
CALL run_example('maintenance', ARRAY['{"today": "2024-01-31"}']::jsonb[], NULL);
SELECT min(at), count(*) FROM runbook.event;
SELECT relname FROM pg_class WHERE relnamespace = 'runbook'::regnamespace AND relkind = 'r' AND relname LIKE 'event%' ORDER BY 1;
SELECT step, detail FROM runbook.log ORDER BY id;
-- a step that fails is in the log, and so is the end
CREATE FUNCTION runbook.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'keep it'; END $$;
CREATE TRIGGER no BEFORE DELETE ON runbook.event FOR EACH ROW EXECUTE FUNCTION runbook.no();
CALL run_example('maintenance', ARRAY['{"today": "2024-02-05"}']::jsonb[], NULL);
SELECT step, detail FROM runbook.log ORDER BY id;

\echo == month end: one closes; one has a company out of balance, one no rates, one is closed already
\set file :source /examples/month_end.sql
\set ECHO none
\i :file
\set ECHO all
CALL run_example('month_end', ARRAY['{"month": "2024-01-01"}', '{"month": "2024-02-01"}', '{"month": "2024-03-01"}', '{"month": "2024-01-01"}']::jsonb[], NULL);
SELECT * FROM ledger.period ORDER BY 1;
SELECT * FROM ledger.result ORDER BY 1, 2;

\echo == and back from their scripts
SELECT w, goflow.script(w) !~ '"nodes"' FROM unnest('{order_saga,etl_files,maintenance,close_company,month_end}'::text[]) w;

SELECT goflow.drop(w) FROM unnest('{order_saga,etl_files,maintenance,month_end,close_company}'::text[]) w;
SET client_min_messages = warning;
DROP PROCEDURE run_example;
DROP SCHEMA shop, etl, runbook, ledger CASCADE;
