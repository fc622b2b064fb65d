-- The close of a month: checks side by side, each company's close by a workflow
-- of its own, the consolidation when all are done.  The period is locked while
-- it lasts, and opened again if it fails.

CREATE SCHEMA ledger;
CREATE TABLE ledger.period (month date PRIMARY KEY, state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closing', 'closed')));
CREATE TABLE ledger.rate (month date, currency text, rate numeric NOT NULL, PRIMARY KEY (month, currency));
CREATE TABLE ledger.company (name text PRIMARY KEY, currency text NOT NULL);
CREATE TABLE ledger.posting (month date, company text, account text, amount numeric NOT NULL);
CREATE TABLE ledger.result (month date, company text, amount numeric, PRIMARY KEY (month, company));

SELECT goflow.define('close_company', goflow.workflow(
  goflow.input('month', 'date'), goflow.input('company', 'text'),
  goflow.sql('balance', $$
    SELECT coalesce(sum(p.amount), 0) AS off, coalesce(sum(p.amount) FILTER (WHERE p.account IN ('sales', 'costs')), 0) AS profit
      FROM ledger.posting p WHERE p.month = input.month AND p.company = input.company $$),
  goflow.condition('even', 'balance.off = 0', after => 'balance'),
  goflow.raise('odd', code => '22000', message => $$ format('%s is out of balance by %s', input.company, balance.off) $$, after => 'even:false'),
  goflow.sql('converted', $$
    INSERT INTO ledger.result
    SELECT input.month, c.name, round(-balance.profit * r.rate, 2)
      FROM ledger.company c JOIN ledger.rate r ON r.month = input.month AND r.currency = c.currency
     WHERE c.name = input.company
    RETURNING amount $$, after => 'even:true',
    -- for a close that is cancelled on its way; one that was complete is undone by who called it
    compensate => $$ DELETE FROM ledger.result r WHERE r.month = input.month AND r.company = input.company $$),
  goflow.output('amount', 'converted.amount')));

SELECT goflow.define('month_end', goflow.workflow(
  goflow.input('month', 'date'),
  goflow.options(title => 'Close of a month', timeout => '4 hours'),

  goflow.sql('lock', $$
    UPDATE ledger.period p SET state = 'closing' WHERE p.month = input.month AND p.state = 'open' RETURNING p.month $$,
    compensate => $$ UPDATE ledger.period p SET state = 'open' WHERE p.month = input.month AND p.state = 'closing' $$),
  goflow.condition('locked', 'lock.month IS NOT NULL', after => 'lock'),
  goflow.raise('not_open', message => $$ format('the period %s is not open', input.month) $$, after => 'locked:false'),

  goflow.parallel('checks', after => 'locked:true', branches => ARRAY[
    goflow.branch('rates',
      goflow.sql('no_rate', $$
        SELECT count(*) AS n FROM ledger.company c
         WHERE NOT EXISTS (SELECT FROM ledger.rate r WHERE r.month = input.month AND r.currency = c.currency) $$),
      goflow.output('missing', 'no_rate.n')),
    goflow.branch('companies',
      goflow.sql('unknown', $$
        SELECT count(*) AS n FROM ledger.posting p
         WHERE p.month = input.month AND p.company NOT IN (SELECT c.name FROM ledger.company c) $$),
      goflow.output('missing', 'unknown.n'))]),
  goflow.condition('clean', $$ NOT jsonb_path_exists(checks.results, '$.*.missing ? (@ > 0)') $$, after => 'checks'),
  goflow.raise('unclean', code => '22000', message => $$ 'the checks found: ' || checks.results::text $$, after => 'clean:false'),

  goflow.loop('companies', 'SELECT c.name FROM ledger.company c ORDER BY c.name', "as" => 'c',
    after => 'clean:true', parallel => 8, collect => 'close.output', body =>
    goflow.call('close', 'close_company', input => '{"month": "input.month", "company": "c.name"}',
      compensate => $$ DELETE FROM ledger.result r WHERE r.month = input.month AND r.company = c.name $$)),

  goflow.sql('consolidated', $$
    INSERT INTO ledger.result
    SELECT input.month, 'group', sum(r.amount) FROM ledger.result r WHERE r.month = input.month
    RETURNING amount $$, after => 'companies',
    compensate => $$ DELETE FROM ledger.result r WHERE r.month = input.month AND r.company = 'group' $$),
  goflow.sql('closed', $$
    UPDATE ledger.period p SET state = 'closed' WHERE p.month = input.month $$, after => 'consolidated', rows => 'none'),

  goflow.output('companies', 'companies.iterations'),
  goflow.output('result', 'consolidated.amount')));

INSERT INTO ledger.period VALUES ('2024-01-01'), ('2024-02-01'), ('2024-03-01');
INSERT INTO ledger.company VALUES ('north', 'EUR'), ('south', 'EUR'), ('west', 'USD');
INSERT INTO ledger.rate VALUES ('2024-01-01', 'EUR', 1), ('2024-01-01', 'USD', 0.9), ('2024-02-01', 'EUR', 1), ('2024-02-01', 'USD', 0.9), ('2024-03-01', 'EUR', 1);
INSERT INTO ledger.posting
SELECT m, c, a, x FROM unnest('{2024-01-01,2024-02-01}'::date[]) m, unnest('{north,south,west}'::text[]) c,
	(VALUES ('sales', -100.0), ('costs', 60.0), ('bank', 40.0)) v (a, x);
INSERT INTO ledger.posting VALUES ('2024-02-01', 'west', 'bank', 1);
