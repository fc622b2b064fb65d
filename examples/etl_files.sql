-- Files that have come in are loaded side by side, four at a time.  A file with
-- a bad line is rejected as a whole and does not hold up the others; a report
-- follows when all are through.

CREATE SCHEMA etl;
CREATE TABLE etl.inbox (file text PRIMARY KEY, content text NOT NULL, state text DEFAULT 'new', problem text);
CREATE TABLE etl.sale (file text, line int, sold_on date NOT NULL, amount numeric NOT NULL CHECK (amount > 0));
CREATE TABLE etl.report (made_at timestamptz DEFAULT now(), files int, rejected int, total numeric);

SELECT goflow.define('etl_files', goflow.workflow(
  goflow.options(title => 'Load the files of the inbox', retry => goflow.retry_policy(3, backoff => '1 s', "on" => '40')),

  goflow.sql('files', $$ SELECT i.file FROM etl.inbox i WHERE i.state = 'new' ORDER BY i.file $$, rows => 'many'),

  goflow.loop('load', 'files', "as" => 'f', parallel => 4, after => 'files', collect => 'attempt.ok', body => goflow.body(
    goflow.try('attempt',
      goflow.body(
        goflow.sql('parse', $$
          INSERT INTO etl.sale
          SELECT i.file, l.n, split_part(l.text, ';', 1)::date, split_part(l.text, ';', 2)::numeric
            FROM etl.inbox i, regexp_split_to_table(i.content, E'\n') WITH ORDINALITY AS l (text, n)
           WHERE i.file = f.file $$, rows => 'none'),
        goflow.sql('loaded', $$ UPDATE etl.inbox i SET state = 'loaded' WHERE i.file = f.file $$, after => 'parse', rows => 'none')),
      catch => ARRAY[
        goflow.catch(
          goflow.sql('rejected', $$
            UPDATE etl.inbox i SET state = 'rejected', problem = error.message WHERE i.file = f.file $$, rows => 'none'),
          ARRAY['22', '23'])]))),

  goflow.filter('good', 'load.results', '(item.value)::boolean', after => 'load'),

  goflow.sql('sums', $$
    INSERT INTO etl.report (files, rejected, total)
    SELECT load.iterations, load.iterations - good.count, coalesce(sum(s.amount), 0) FROM etl.sale s
    RETURNING files, rejected, total $$, after => 'good'),

  goflow.output('files', 'sums.files'), goflow.output('rejected', 'sums.rejected'), goflow.output('total', 'sums.total')));

INSERT INTO etl.inbox
SELECT format('shop_%s.csv', i), format(E'2024-01-%s;%s.50\n2024-01-31;10', i, i) FROM generate_series(1, 8) i;
INSERT INTO etl.inbox VALUES ('shop_9.csv', E'2024-01-09;9\nsomeday;9'), ('shop_A.csv', '2024-01-09;-1');
