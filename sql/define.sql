--
-- define(): a definition becomes the next version of a workflow.
--
CREATE SCHEMA define_test;
SET search_path = define_test, public;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE orders (id bigint PRIMARY KEY, customer text, total numeric(10,2), feeling mood);

-- The smallest workflow: one node.
SELECT goflow.define('smallest', '{"nodes": {"hello": {"type": "sql", "sql": "SELECT 1 AS one"}}}');

-- Versions count up; none of them ever changes.
SELECT goflow.define('smallest', '{"nodes": {"hello": {"type": "sql", "sql": "SELECT 2 AS two"}}}');
SELECT goflow.definition('smallest');
SELECT goflow.definition('smallest', 1);
SELECT goflow.definition('smallest', 3);
SELECT goflow.definition('nothing');

-- Every node type, and every key of a workflow.
SELECT goflow.define('everything', $${
  "title": "Everything", "description": "One node of each type.",
  "priority": 10, "security": "definer", "settings": {"work_mem": "8MB", "enable_seqscan": false},
  "input":     {"id": "bigint", "note": "text = 'none'", "since": "date = '2024-02-29'",
                "price": "numeric(10,2) = NULL", "asked": "timestamptz = execution.created_at"},
  "variables": {"tries": "int = 0", "copy": "text = input.note", "feeling": "mood"},
  "nodes": {
    "manual":  {"type": "trigger"},
    "placed":  {"type": "trigger", "table": "orders", "events": ["insert", "update"], "of": ["total"],
                "when": "NEW.total > 0", "input": {"id": "NEW.id", "note": "NEW.customer || OLD.customer"}},
    "one":     {"type": "sql", "title": "one row", "after": ["manual", "placed"], "join": "any",
                "sql": ["SELECT id, total, feeling, now() AS at",
                        "FROM orders o WHERE o.id = input.id"]},
    "many":    {"type": "sql", "after": "one", "rows": "many", "settings": {"work_mem": "1MB"},
                "sql": "SELECT id, customer, array_agg(total) AS totals FROM orders GROUP BY id"},
    "none":    {"type": "sql", "after": ["many"], "rows": "none",
                "sql": "DELETE FROM orders USING many m WHERE m.id = orders.id AND m.customer = vars.copy"},
    "later":   {"type": "sql", "after": "none", "check": "late", "columns": {"n": "bigint", "price": "numeric(8,2)"},
                "sql": "SELECT n, price FROM made_by_another_node"},
    "plain":   {"type": "sql", "after": "later", "sql": "CREATE TABLE IF NOT EXISTS another (x int)"},
    "large":   {"type": "condition", "after": "plain", "if": "one.total > 1000 AND none.count > 0"},
    "how":     {"type": "switch", "after": "large:true", "on": "one.feeling",
                "cases": [{"port": "gloomy", "when": "'sad'"}, {"port": "bright", "when": "'happy'"}]},
    "which":   {"type": "switch", "after": "large:false",
                "cases": [{"port": "few", "when": "many.count < 10"}]},
    "remember":{"type": "set", "after": ["how:gloomy", "how:default"], "join": 1, "cancel_rest": true,
                "set": {"tries": "vars.tries + 1", "feeling": "'happy'"}},
    "compute": {"type": "transform", "after": ["remember", "which"], "aggregate": "merge",
                "value": {"twice": "one.total * 2", "word": "'x'", "doc": "jsonb_build_object('t', later.n)"}},
    "nap":     {"type": "delay", "after": "compute", "for": "'1 hour'"},
    "dawn":    {"type": "delay", "after": "nap", "until": "nap.woke_at::date + 1"},
    "tell":    {"type": "notify", "after": "dawn", "channel": "orders", "payload": "compute.joined"}
  },
  "output": {"who": "execution.run_as", "how": "how.case", "by": "trigger.node", "doc": "compute.doc",
             "rows": "(SELECT count(*) FROM many)", "row": "(one.id, one.total)"}
}$$);

-- What others can read of each node: names and types of its columns.
SELECT node, coalesce(string_agg(format('%s %s', c->>0, c->>1), ', ' ORDER BY o), '–') AS columns
  FROM goflow.workflow w, jsonb_each(w.contract) AS e(node, gives)
  LEFT JOIN jsonb_array_elements(gives->'columns') WITH ORDINALITY AS x(c, o) ON true
 WHERE w.name = 'everything' GROUP BY node ORDER BY node COLLATE "C";
SELECT contract->'many'->'rows' AS rows, contract->'how'->'on' AS "on"
  FROM goflow.workflow WHERE name = 'everything';

-- The settings of the definer are recorded: every node of every execution sees these.
SET datestyle = 'German';
SET intervalstyle = 'iso_8601';
SET timezone = 'Europe/Amsterdam';
SET search_path = "$user", missing, define_test, pg_temp, public;
SELECT goflow.define('settings', '{"nodes": {"a": {"type": "sql", "sql": "SELECT id FROM orders"}},
                                   "settings": {"timezone": "UTC", "my.own": 7}}');
SELECT settings FROM goflow.workflow WHERE name = 'settings';
RESET datestyle;
RESET intervalstyle;
RESET timezone;
SET search_path = define_test, public;

-- Warnings do not stop a definition.
SELECT goflow.define('forgotten', $${"nodes": {
  "a": {"type": "sql", "sql": "SELECT 1 AS x"}, "b": {"type": "condition", "after": "a", "if": "a.x = 1"},
  "c": {"type": "sql", "sql": "SELECT 2 AS x"}}}$$);

-- A definition that is refused leaves nothing behind.
SELECT goflow.define('refused', '{"nodes": {"a": {"type": "sql", "sql": "SELECT nothing"}}}');
SELECT count(*) FROM goflow.workflow WHERE name = 'refused';
SELECT goflow.define('', '{}');
SELECT goflow.define(repeat('x', 64), '{}');
SELECT goflow.define(NULL, '{}');
SELECT goflow.define('x', NULL);

-- A workflow belongs to the role that defined it first.
CREATE ROLE regress_goflow_owner;
CREATE ROLE regress_goflow_member IN ROLE regress_goflow_owner;
CREATE ROLE regress_goflow_other;
GRANT USAGE ON SCHEMA goflow TO regress_goflow_owner, regress_goflow_other;
GRANT EXECUTE ON FUNCTION goflow.define, goflow.drop, goflow.definition, goflow.grant_start, goflow.revoke_start
   TO regress_goflow_owner, regress_goflow_other;
SET ROLE regress_goflow_owner;
SELECT goflow.define('owned', '{"nodes": {"a": {"type": "sql", "sql": "SELECT 1 AS x"}}}');
SET ROLE regress_goflow_other;
SELECT goflow.define('owned', '{"nodes": {"a": {"type": "sql", "sql": "SELECT 2 AS x"}}}');
SELECT goflow.drop('owned');
SELECT goflow.definition('owned');
SELECT goflow.grant_start('owned', 'regress_goflow_other');
-- A member may go on with it; it stays the owner's.
SET ROLE regress_goflow_member;
SELECT goflow.define('owned', '{"nodes": {"a": {"type": "sql", "sql": "SELECT 3 AS x"}}}');
RESET ROLE;
SELECT version, owner FROM goflow.workflow WHERE name = 'owned' ORDER BY version;
-- Who may start it may read it.
SET ROLE regress_goflow_owner;
SELECT goflow.grant_start('owned', 'regress_goflow_other');
SELECT goflow.grant_start('owned', 'regress_goflow_other');
SET ROLE regress_goflow_other;
SELECT goflow.definition('owned');
SET ROLE regress_goflow_owner;
SELECT goflow.revoke_start('owned', 'regress_goflow_other');
SET ROLE regress_goflow_other;
SELECT goflow.definition('owned');
RESET ROLE;

-- drop(): refused while executions are not finished, unless forced.
BEGIN;
INSERT INTO goflow.execution (execution_id, workflow_id, run_as, state, priority, created_at, input, home)
SELECT '00000000-0000-7000-8000-000000000001', workflow_id, 'regress_goflow_owner', 'p', 0, now(), '\x00', gen_random_uuid()
  FROM goflow.workflow WHERE name = 'owned' AND version = 1;
SAVEPOINT s;
SELECT goflow.drop('owned');
ROLLBACK TO s;
SELECT goflow.drop('owned', force => true);
ROLLBACK;
SELECT goflow.drop('owned');
SELECT goflow.drop('owned');
-- The name is free then; versions go on, so that no number means two things.
SET ROLE regress_goflow_other;
SELECT goflow.define('owned', '{"nodes": {"a": {"type": "sql", "sql": "SELECT 4 AS x"}}}');
RESET ROLE;
SELECT version, owner, dropped_at IS NOT NULL AS dropped
  FROM goflow.workflow WHERE name = 'owned' ORDER BY version;

SELECT goflow.drop(name) FROM unnest('{smallest,everything,settings,forgotten,owned}'::text[]) AS name;
DROP OWNED BY regress_goflow_owner, regress_goflow_other;
DROP ROLE regress_goflow_member, regress_goflow_owner, regress_goflow_other;
SET client_min_messages = warning;
DROP SCHEMA define_test CASCADE;
