--
-- Row triggers: a changed row starts an execution.
--
CREATE SCHEMA row_test;
SET search_path = row_test, public;
CREATE TABLE orders (id bigint PRIMARY KEY, customer text, total int, placed date, spare int);
CREATE TABLE seen (what text);

-- What the executions of a workflow came to, when all have ended; and what they saw.
CREATE FUNCTION ended(workflow text) RETURNS TABLE (state text, executions bigint)
LANGUAGE sql BEGIN ATOMIC
  SELECT goflow.wait(e.execution, '1 min'), count(*) FROM goflow.executions e
   WHERE e.workflow = ended.workflow GROUP BY 1 ORDER BY 1;
END;
CREATE FUNCTION saw() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM goflow.wait(execution, '1 min') FROM goflow.executions
   WHERE finished_at IS NULL AND started_by <> 'manual';
  RETURN QUERY WITH gone AS (DELETE FROM row_test.seen RETURNING what) SELECT what FROM gone ORDER BY what COLLATE "C";
END $$;

-- One execution per row.  Inputs come from the row, or from their defaults.
SELECT goflow.define('placed', $${
  "input": {"id": "bigint", "customer": "text", "total": "numeric = 100", "note": "text = 'for ' || execution.workflow"},
  "nodes": {
    "entered": {"type": "trigger", "table": "orders", "events": ["insert"],
                "input": {"id": "NEW.id", "customer": "upper(NEW.customer)"}},
    "note":    {"type": "sql", "after": "entered", "rows": "none",
                "sql": ["INSERT INTO seen SELECT concat_ws(' ', input.id, input.customer, input.total, input.note,",
                        "                                  trigger.node, trigger.event, trigger.table)"]}
  },
  "output": {"id": "input.id"}
}$$);
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'orders'::regclass;
INSERT INTO orders VALUES (1, 'ada', 10), (2, 'bob', 20);
SELECT * FROM ended('placed');
SELECT * FROM saw();
SELECT started_by, state, output, run_as = current_user::regrole AS as_owner FROM goflow.executions
 WHERE workflow = 'placed' ORDER BY execution;

-- It is part of the writer's transaction.
BEGIN;
INSERT INTO orders VALUES (3, 'cyd', 30);
ROLLBACK;
BEGIN;
INSERT INTO orders VALUES (3, 'kept', 30);
SAVEPOINT a;
INSERT INTO orders VALUES (4, 'undone', 40);
SAVEPOINT b;
INSERT INTO orders VALUES (5, 'undone, too', 50);
RELEASE b;
ROLLBACK TO a;
INSERT INTO orders VALUES (4, 'second try', 40);
SAVEPOINT c;
INSERT INTO orders VALUES (5, 'released', 50);
RELEASE c;
COMMIT;
DO $$
BEGIN
  FOR i IN 1..5 LOOP
    BEGIN
      INSERT INTO orders VALUES (10 + i, 'in a block', i);
      IF i IN (2, 4) THEN RAISE 'no'; END IF;
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
  END LOOP;
END $$;
SELECT * FROM saw();
SELECT * FROM ended('placed');

-- COPY, ON CONFLICT, MERGE, and a function that writes.
COPY orders (id, customer) FROM stdin;
20	copied
21	copied
\.
INSERT INTO orders VALUES (20, 'conflict', 1), (22, 'no conflict', 2) ON CONFLICT (id) DO UPDATE SET total = 3;
MERGE INTO orders o USING (VALUES (22), (23)) AS s (id) ON o.id = s.id
  WHEN MATCHED THEN UPDATE SET total = 4 WHEN NOT MATCHED THEN INSERT (id, customer) VALUES (s.id, 'merged');
CREATE FUNCTION place(id bigint) RETURNS bigint LANGUAGE sql AS
$$ INSERT INTO orders VALUES (id, 'by a function') RETURNING id $$;
SELECT place(24);
SELECT * FROM saw();

-- Nothing starts for what fires no trigger.
BEGIN;
TRUNCATE orders;
ROLLBACK;
ALTER TABLE orders DISABLE TRIGGER goflow_placed_entered;
INSERT INTO orders VALUES (30, 'disabled');
ALTER TABLE orders ENABLE TRIGGER goflow_placed_entered;
SET session_replication_role = replica;
INSERT INTO orders VALUES (31, 'replicated');
RESET session_replication_role;
SELECT * FROM saw();

-- A transaction that is prepared, and one whose deferred trigger writes at its end.
BEGIN;
INSERT INTO orders VALUES (32, 'prepared');
PREPARE TRANSACTION 'row_test';
SELECT * FROM saw();
COMMIT PREPARED 'row_test';
SELECT * FROM saw();
CREATE TABLE basket (id bigint);
CREATE FUNCTION order_basket() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO orders VALUES (NEW.id, 'at commit');
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER order_basket AFTER INSERT ON basket DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION order_basket();
INSERT INTO basket VALUES (33);
SELECT * FROM saw();

-- Ten thousand rows are ten thousand executions, written at once.
CREATE TABLE many (id int);
SELECT goflow.define('many', $${
  "input": {"id": "int"},
  "nodes": {"row":  {"type": "trigger", "table": "many", "events": ["insert"], "input": {"id": "NEW.id"}},
            "good": {"type": "condition", "after": "row", "if": "input.id > 0"}},
  "output": {"good": "good.result"}}$$);
INSERT INTO many SELECT generate_series(1, 10000);
SELECT count(*) FROM goflow.executions WHERE workflow = 'many';
SELECT * FROM ended('many');
-- More than are kept in memory, in subtransactions too.
DO $$
BEGIN
  FOR i IN 1..4 LOOP
    BEGIN
      INSERT INTO many SELECT generate_series(1, 6000);
      IF i = 3 THEN RAISE 'no'; END IF;
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
  END LOOP;
  BEGIN
    INSERT INTO many SELECT generate_series(1, 20000);
    RAISE 'no';
  EXCEPTION WHEN raise_exception THEN NULL;
  END;
END $$;
SELECT count(*) FROM goflow.executions WHERE workflow = 'many';
TRUNCATE many;

-- Events, columns and conditions mean what they mean in CREATE TRIGGER.  Each
-- trigger runs only what comes after it.
SELECT goflow.drop('placed');
SELECT goflow.define('changes', $${
  "input": {"id": "bigint", "what": "text"},
  "nodes": {
    "dearer": {"type": "trigger", "table": "orders", "events": ["update"], "of": ["total"],
               "when": "NEW.total > OLD.total",
               "input": {"id": "NEW.id", "what": "OLD.total || ' to ' || NEW.total"}},
    "gone":   {"type": "trigger", "table": "orders", "events": ["delete"],
               "input": {"id": "OLD.id", "what": "OLD.customer"}},
    "each":   {"type": "trigger", "table": "orders", "events": ["insert", "update", "delete"],
               "input": {"id": "coalesce(NEW.id, OLD.id)", "what": "concat(OLD.customer, '>', NEW.customer)"}},
    "after_dearer": {"type": "sql", "after": "dearer", "rows": "none",
                     "sql": "INSERT INTO seen SELECT concat_ws(' ', 'dearer:', trigger.event, input.id, input.what)"},
    "after_gone":   {"type": "sql", "after": "gone", "rows": "none",
                     "sql": "INSERT INTO seen SELECT concat_ws(' ', 'gone:', trigger.event, input.id, input.what)"},
    "after_each":   {"type": "sql", "after": "each", "rows": "none",
                     "sql": "INSERT INTO seen SELECT concat_ws(' ', 'each:', trigger.event, input.id, input.what)"},
    "after_both":   {"type": "sql", "after": ["after_dearer", "after_gone"], "join": "any", "rows": "none",
                     "sql": "INSERT INTO seen SELECT concat_ws(' ', 'both:', trigger.node, input.id)"}
  }
}$$);
TRUNCATE orders;
INSERT INTO orders VALUES (1, 'ada', 10);
UPDATE orders SET total = 20;
UPDATE orders SET total = 5;
UPDATE orders SET customer = 'eve';
DELETE FROM orders;
SELECT * FROM saw();
SELECT * FROM ended('changes');

-- Whole rows, and values of the users' own types.
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN short AS text CHECK (length(VALUE) <= 10);
SELECT goflow.define('changes', $${
  "input": {"new": "orders", "old": "jsonb", "mood": "mood", "name": "short", "days": "date[]", "literal": "text"},
  "nodes": {
    "row":  {"type": "trigger", "table": "orders", "events": ["insert", "update"],
             "input": {"new": "NEW", "old": "to_jsonb(OLD)", "mood": "CASE WHEN NEW.total > 0 THEN 'happy' ELSE 'sad' END::mood",
                       "name": "NEW.customer", "days": "ARRAY[NEW.placed, '2024-02-29']", "literal": "'as it is'"}},
    "note": {"type": "sql", "after": "row", "rows": "none",
             "sql": "INSERT INTO seen SELECT concat_ws(' ', (input.new).customer, input.new, input.old, input.mood, input.name, input.days, input.literal)"}
  }
}$$);
INSERT INTO orders VALUES (1, 'ada', 10, '2024-03-01');
UPDATE orders SET total = -1;
SELECT * FROM saw();
-- What cannot be an input is an error of the writer.
INSERT INTO orders VALUES (2, 'too long a name', 10);
SELECT count(*) FROM orders;
-- A row as it was then, although its table has changed before the commit.
BEGIN;
INSERT INTO orders VALUES (3, 'before', 3);
ALTER TABLE orders DROP COLUMN spare, ALTER COLUMN total TYPE numeric;
INSERT INTO orders VALUES (4, 'after', 4.5);
COMMIT;
SELECT * FROM saw();
-- An execution whose input is of a type that has changed since says so.
SELECT state, error->>'message' AS message FROM goflow.executions
 WHERE workflow = 'changes' AND state <> 'completed';

-- Neither the writer's search_path nor its DateStyle matter.
CREATE FUNCTION label(text) RETURNS text LANGUAGE sql AS $$ SELECT 'ours: ' || $1 $$;
SET datestyle = 'ISO, DMY';
SELECT goflow.define('changes', $${
  "input": {"day": "text", "moment": "date", "label": "text"},
  "nodes": {
    "row":  {"type": "trigger", "table": "orders", "events": ["insert"],
             "input": {"day": "NEW.placed::text", "moment": "'01-02-2024'", "label": "label(NEW.customer)"}},
    "note": {"type": "sql", "after": "row", "rows": "none",
             "sql": "INSERT INTO seen SELECT concat_ws(' ', input.day, to_char(input.moment, 'YYYY Mon DD'), input.label)"}
  }
}$$);
CREATE SCHEMA theirs;
CREATE FUNCTION theirs.label(text) RETURNS text LANGUAGE sql AS $$ SELECT 'theirs: ' || $1 $$;
BEGIN;
SET LOCAL search_path = theirs;
SET LOCAL datestyle = 'German, MDY';
INSERT INTO row_test.orders VALUES (5, 'five', 5, '2024-12-31'), (6, 'six', 6, '2024-12-31');
COMMIT;
RESET datestyle;
SELECT * FROM saw();
DROP SCHEMA theirs CASCADE;

-- Defining it again replaces its triggers, dropping it removes them.
SELECT goflow.define('changes', $${
  "nodes": {"row":  {"type": "trigger", "table": "orders", "events": ["insert"], "when": "NEW.id > 100"},
            "less": {"type": "trigger", "table": "orders", "events": ["delete"]},
            "note": {"type": "sql", "after": ["row", "less"], "join": "any", "rows": "none",
                     "sql": "INSERT INTO seen SELECT execution.version || ' ' || trigger.event"}}}$$);
SELECT tgname, deptype FROM pg_depend JOIN pg_trigger t ON t.oid = objid
 WHERE tgname LIKE 'goflow_changes%' AND classid = 'pg_trigger'::regclass AND refclassid = 'pg_extension'::regclass ORDER BY tgname;
INSERT INTO orders (id) VALUES (7), (101);
SELECT * FROM saw();
CREATE TABLE others (LIKE orders);
BEGIN;
SELECT goflow.define('changes', $${
  "nodes": {"row":  {"type": "trigger", "table": "others", "events": ["insert"]},
            "note": {"type": "sql", "after": "row", "rows": "none",
                     "sql": "INSERT INTO seen SELECT execution.version || ' ' || trigger.table"}}}$$);
INSERT INTO orders (id) VALUES (102);
INSERT INTO others (id) VALUES (1);
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname LIKE 'goflow_changes%' ORDER BY tgname;
ROLLBACK;
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname LIKE 'goflow_changes%' ORDER BY tgname;
SELECT * FROM saw();
SELECT node, relation, trigger FROM goflow.row_trigger WHERE name = 'changes' ORDER BY node;
-- Who has started executions in this transaction cannot drop it unseen.
BEGIN;
INSERT INTO orders (id) VALUES (102), (103);
SELECT goflow.drop('changes');
ROLLBACK;
SELECT goflow.drop('changes');
INSERT INTO orders (id) VALUES (102);
SELECT * FROM saw();
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass;
SELECT count(*) FROM goflow.row_trigger WHERE name = 'changes';

-- Long names are cut, and two triggers of one name are told apart.
SELECT goflow.define(repeat('w', 60), $${
  "nodes": {"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn1": {"type": "trigger", "table": "orders", "events": ["insert"]},
            "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn2": {"type": "trigger", "table": "orders", "events": ["insert"]},
            "note": {"type": "sql", "after": ["nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn1", "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn2"],
                     "join": "any", "rows": "none", "sql": "INSERT INTO seen SELECT trigger.node"}}}$$);
SELECT tgname FROM pg_trigger WHERE tgrelid = 'orders'::regclass ORDER BY tgname;
INSERT INTO orders (id) VALUES (104);
SELECT * FROM saw();
SELECT goflow.drop(repeat('w', 60));

-- Partitions: those there are, those attached later with another layout, rows
-- that move, and rows that are written to the partition itself.
CREATE TABLE parts (region text, id int, label text) PARTITION BY LIST (region);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a') PARTITION BY RANGE (id);
CREATE TABLE parts_a_1 PARTITION OF parts_a DEFAULT;
SELECT goflow.define('parts', $${
  "input": {"row": "parts", "label": "text"},
  "nodes": {"row":  {"type": "trigger", "table": "parts", "events": ["insert", "update", "delete"],
                     "input": {"row": "coalesce(NEW, OLD)", "label": "concat(OLD.label, '>', NEW.label)"}},
            "note": {"type": "sql", "after": "row", "rows": "none",
                     "sql": "INSERT INTO seen SELECT concat_ws(' ', trigger.event, trigger.table, input.row, input.label)"}}}$$);
CREATE TABLE parts_b (extra int, label text, id int, region text);
ALTER TABLE parts_b DROP COLUMN extra;
ALTER TABLE parts ATTACH PARTITION parts_b FOR VALUES IN ('b');
INSERT INTO parts VALUES ('a', 1, 'one'), ('b', 2, 'two');
INSERT INTO parts_b (region, id, label) VALUES ('b', 3, 'three');
INSERT INTO parts_a_1 VALUES ('a', 4, 'four');
SELECT * FROM saw();
UPDATE parts SET label = 'changed' WHERE id = 2;
UPDATE parts SET region = 'b' WHERE id = 1;
SELECT * FROM saw();
ALTER TABLE parts DETACH PARTITION parts_b;
INSERT INTO parts_b (region, id, label) VALUES ('b', 5, 'five');
SELECT * FROM saw();
SELECT goflow.drop('parts');
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'goflow_parts%';

-- The table may be renamed and moved; its columns may not without a new definition.
SELECT goflow.define('others', $${
  "input": {"id": "int"},
  "nodes": {"row":  {"type": "trigger", "table": "others", "events": ["insert"], "input": {"id": "NEW.id"}},
            "note": {"type": "sql", "after": "row", "rows": "none",
                     "sql": "INSERT INTO seen SELECT input.id || ' ' || trigger.table"}}}$$);
INSERT INTO others (id) VALUES (1);
ALTER TABLE others RENAME TO "Others";
ALTER TABLE "Others" SET SCHEMA public;
INSERT INTO "Others" (id) VALUES (2);
SELECT * FROM saw();
ALTER TABLE "Others" RENAME COLUMN id TO number;
INSERT INTO "Others" (number) VALUES (3);
-- Without its trigger, or without its table, the workflow is as good as before.
DROP TRIGGER goflow_others_row ON "Others";
INSERT INTO "Others" (number) VALUES (3);
DROP TABLE "Others";
SELECT goflow.define('others', $${
  "nodes": {"row":  {"type": "trigger", "table": "orders", "events": ["insert"]},
            "note": {"type": "sql", "after": "row", "rows": "none",
                     "sql": "INSERT INTO seen VALUES ('again')"}}}$$);
INSERT INTO orders (id) VALUES (105);
SELECT * FROM saw();
DROP TABLE orders;
SELECT goflow.drop('others');
CREATE TABLE orders (id bigint, customer text, total int);

-- A function of the mapping that leads to the same trigger.
CREATE FUNCTION copy_order(id int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  IF id > 1 THEN
    INSERT INTO orders (id) VALUES (id - 1);
  END IF;
  RETURN id;
END $$;
SELECT goflow.define('again', $${
  "input": {"id": "int"},
  "nodes": {"row":  {"type": "trigger", "table": "orders", "events": ["insert"], "input": {"id": "copy_order(NEW.id::int)"}},
            "note": {"type": "sql", "after": "row", "rows": "none",
                     "sql": "INSERT INTO seen SELECT 'id ' || input.id"}}}$$);
INSERT INTO orders (id) VALUES (4);
SELECT * FROM saw();
SELECT goflow.drop('again');

-- Tables that cannot have one.
CREATE TEMP TABLE passing (id int);
CREATE VIEW all_orders AS SELECT * FROM orders;
SELECT code, node, key, message, hint FROM goflow.validate($${
  "nodes": {"a": {"type": "trigger", "table": "pg_temp.passing", "events": ["insert"]},
            "b": {"type": "trigger", "table": "all_orders", "events": ["insert"]},
            "c": {"type": "sql", "after": ["a", "b"], "sql": "SELECT 1 AS x"}}}$$);

-- Roles.  The writer needs no right on goflow; the execution is the owner's.
CREATE ROLE regress_row_owner LOGIN;
CREATE ROLE regress_row_writer;
SELECT goflow.grant_usage('regress_row_owner');
GRANT USAGE ON SCHEMA row_test TO regress_row_owner, regress_row_writer;
GRANT INSERT ON seen TO regress_row_owner;
GRANT INSERT ON orders TO regress_row_writer;
SET ROLE regress_row_owner;
SELECT goflow.define('of_owner', $${
  "input": {"who": "text = current_user"},
  "nodes": {"row":  {"type": "trigger", "table": "orders", "events": ["insert"], "input": {"who": "current_user"}},
            "note": {"type": "sql", "after": "row", "rows": "none",
                     "sql": "INSERT INTO seen SELECT input.who || ' ' || current_user || ' ' || session_user"}}}$$);
RESET ROLE;
GRANT TRIGGER ON orders TO regress_row_owner;
SET ROLE regress_row_owner;
SELECT goflow.define('of_owner', $${
  "input": {"who": "text", "what": "text = current_user"},
  "nodes": {"row":  {"type": "trigger", "table": "orders", "events": ["insert"], "input": {"who": "current_user"}},
            "note": {"type": "sql", "after": "row", "rows": "none",
                     "sql": "INSERT INTO seen SELECT input.who || ' ' || input.what || ' ' || current_user || ' ' || session_user"}}}$$);
RESET ROLE;
SET ROLE regress_row_writer;
INSERT INTO orders (id) VALUES (200);
SELECT current_user;
RESET ROLE;
SELECT * FROM saw();
SELECT run_as, state FROM goflow.executions WHERE workflow = 'of_owner';
-- An owner whom no worker could run as is refused.
BEGIN;
REVOKE CONNECT ON DATABASE :"DBNAME" FROM PUBLIC;
SET LOCAL ROLE regress_row_owner;
SELECT goflow.define('of_owner', $${
  "nodes": {"row":  {"type": "trigger", "table": "orders", "events": ["insert"]},
            "note": {"type": "sql", "after": "row", "sql": "SELECT 1 AS x"}}}$$);
ROLLBACK;
-- A trigger made by hand starts nothing of others.
CREATE TABLE mine (id int);
ALTER TABLE mine OWNER TO regress_row_writer;
SELECT goflow.grant_usage('regress_row_writer');
SET ROLE regress_row_writer;
CREATE TRIGGER goflow_of_owner_row AFTER INSERT ON mine
  FOR EACH ROW EXECUTE FUNCTION goflow.row_trigger('of_owner', 'row');
CREATE TRIGGER nobody AFTER INSERT ON mine
  FOR EACH ROW EXECUTE FUNCTION goflow.row_trigger('no such workflow', 'row');
INSERT INTO mine VALUES (1);
CREATE TRIGGER wrong BEFORE INSERT ON mine
  FOR EACH ROW EXECUTE FUNCTION goflow.row_trigger('of_owner', 'row');
INSERT INTO mine VALUES (2);
RESET ROLE;
SELECT * FROM saw();
-- The owner of the workflow removes its trigger from a table of another.
SET ROLE regress_row_owner;
SELECT goflow.drop('of_owner');
RESET ROLE;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass;

SELECT goflow.drop('many', force => true);
SELECT count(*) FROM goflow.row_trigger WHERE name NOT IN (SELECT workflow FROM goflow.workflows);
SELECT goflow.revoke_usage(role) FROM unnest('{regress_row_owner,regress_row_writer}'::regrole[]) AS role;
SET client_min_messages = warning;
DROP SCHEMA row_test CASCADE;
DROP OWNED BY regress_row_owner, regress_row_writer;
DROP ROLE regress_row_owner, regress_row_writer;
