-- A runbook for an events table: next month's partition is made, old events go
-- in small portions, statistics are renewed, and what was done is written down,
-- also when a step fails.

CREATE SCHEMA runbook;
CREATE TABLE runbook.event (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE runbook.event_2024_01 PARTITION OF runbook.event FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE runbook.log (id int GENERATED ALWAYS AS IDENTITY, step text, detail text);

-- Names of tables cannot be parameters of a statement: what makes them is a function.
CREATE FUNCTION runbook.make_partition(month date) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	name text := 'event_' || to_char(month, 'YYYY_MM');
BEGIN
	EXECUTE format('CREATE TABLE IF NOT EXISTS runbook.%I PARTITION OF runbook.event FOR VALUES FROM (%L) TO (%L)',
				   name, month, month + interval '1 month');
	RETURN name;
END $$;
CREATE FUNCTION runbook.renew(relation regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('ANALYZE %s', relation);
END $$;

SELECT goflow.define('maintenance', goflow.workflow(
  goflow.input('today', 'date = current_date'),
  goflow.input('keep', 'interval = ''10 days'''),
  goflow.input('portion', 'int = 1000'),
  goflow.variable('deleted', 'int = 0'),
  goflow.options(settings => '{"lock_timeout": "2s"}'),

  goflow.try('steps',
    goflow.body(
      goflow.sql('partition', $$
        SELECT runbook.make_partition((date_trunc('month', input.today) + interval '1 month')::date) AS name $$,
        retry => goflow.retry_policy(5, backoff => '5 s', "on" => 'lock_not_available')),

      -- each portion commits on its own: no long transaction, no long locks
      goflow.loop('purge', "while" => 'true', max_iterations => 10000, after => 'partition', body => goflow.body(
        goflow.sql('portion', $$
          DELETE FROM runbook.event e
           WHERE e.ctid = ANY (ARRAY(SELECT o.ctid FROM runbook.event o
                                      WHERE o.at < input.today - input.keep LIMIT input.portion)) $$, rows => 'none'),
        goflow.set('total', '{"deleted": "vars.deleted + portion.count::int"}', after => 'portion'),
        goflow.break('enough', 'portion.count < input.portion', after => 'total'))),

      goflow.loop('statistics', $$
          SELECT c.oid::regclass AS relation FROM pg_class c
           WHERE c.relnamespace = 'runbook'::regnamespace AND c.relkind = 'r' ORDER BY 1 $$,
        "as" => 'r', parallel => 2, after => 'purge', body =>
        goflow.sql('renew', $$ SELECT runbook.renew(r.relation) IS NULL AS done $$, on_error => 'continue', timeout => '10 min')),

      -- VACUUM runs outside of a transaction; after a crash it may run again
      goflow.sql('vacuum', 'VACUUM runbook.event', after => 'statistics', rows => 'none', atomic => false)),
    catch => ARRAY[goflow.catch(goflow.body(
      goflow.sql('note', $$ INSERT INTO runbook.log (step, detail) VALUES (error.node, error.message) $$, rows => 'none'),
      goflow.raise('again', after => 'note')))],
    finally => goflow.sql('finished', $$
      INSERT INTO runbook.log (step, detail) VALUES ('end', vars.deleted || ' events deleted') $$, rows => 'none')),

  goflow.output('deleted', 'vars.deleted')));

INSERT INTO runbook.event SELECT date '2024-01-01' + i % 31, 'event ' || i FROM generate_series(1, 5000) i;
