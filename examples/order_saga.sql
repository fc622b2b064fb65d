-- An order as a saga: every step commits on its own, and has a statement that
-- undoes it.  When a later step fails, the undo statements of those that
-- completed run, the last one first, each exactly once.

CREATE SCHEMA shop;
CREATE TABLE shop.stock (sku text PRIMARY KEY, qty int NOT NULL CHECK (qty >= 0));
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer text, sku text, qty int, total numeric, state text DEFAULT 'new');
CREATE TABLE shop.account (customer text PRIMARY KEY, balance numeric NOT NULL CHECK (balance >= 0));
CREATE TABLE shop.shipment (order_id bigint PRIMARY KEY, street text NOT NULL);
CREATE TABLE shop.address (customer text PRIMARY KEY, street text);

SELECT goflow.define('order_saga', goflow.workflow(
  goflow.input('order_id', 'bigint'),

  goflow.sql('placed', $$
    SELECT o.customer, o.sku, o.qty, o.total FROM shop.orders o WHERE o.id = input.order_id $$),

  goflow.sql('reserve', $$
    UPDATE shop.stock s SET qty = s.qty - placed.qty WHERE s.sku = placed.sku RETURNING s.qty AS remaining $$,
    after => 'placed', retry => goflow.retry_policy(3, backoff => '100 ms', "on" => ARRAY['40', 'lock_not_available']),
    compensate => $$ UPDATE shop.stock s SET qty = s.qty + placed.qty WHERE s.sku = placed.sku $$),

  goflow.sql('charge', $$
    UPDATE shop.account a SET balance = a.balance - placed.total
     WHERE a.customer = placed.customer RETURNING a.balance $$,
    after => 'reserve',
    compensate => $$ UPDATE shop.account a SET balance = a.balance + placed.total WHERE a.customer = placed.customer $$),

  goflow.sql('ship', $$
    INSERT INTO shop.shipment
    SELECT input.order_id, (SELECT a.street FROM shop.address a WHERE a.customer = placed.customer) $$,
    after => 'charge', rows => 'none'),

  goflow.sql('done', $$
    UPDATE shop.orders o SET state = 'shipped' WHERE o.id = input.order_id $$, after => 'ship', rows => 'none'),

  goflow.output('remaining', 'reserve.remaining'),
  goflow.output('balance', 'charge.balance')));

INSERT INTO shop.stock VALUES ('lamp', 10);
INSERT INTO shop.account VALUES ('Ada', 100), ('Bob', 100), ('Cyd', 5);
INSERT INTO shop.address VALUES ('Ada', '1 First Street'), ('Cyd', '3 Third Street');
INSERT INTO shop.orders VALUES (1, 'Ada', 'lamp', 2, 60), (2, 'Bob', 'lamp', 3, 90), (3, 'Cyd', 'lamp', 1, 30);
