-- A worker in psql, for work that is SQL: greets everybody in the queue "hello".
-- One statement claims, works and answers, so that all of it is one transaction:
-- exactly once.  psql repeats it every second until it is interrupted.
--
--   psql -v name=worker1 -f examples/worker.sql

\if :{?name}
\else
\set name psql
\endif
CREATE TABLE IF NOT EXISTS greeting (who text, words text, worker text);

WITH claimed AS MATERIALIZED (
	SELECT task, payload ->> 'who' AS who FROM goflow.claim('{hello}', :'name', "limit" => 100)),
greeted AS (
	INSERT INTO greeting
	SELECT who, 'Hello, ' || who || '!', :'name' FROM claimed WHERE who <> ''
	RETURNING who, words)
SELECT who, CASE WHEN who <> ''
	THEN goflow.complete(task, jsonb_build_object('words', 'Hello, ' || who || '!'))::text
	ELSE goflow.fail(task, 'nobody to greet', code => '22023')::text END AS answer
FROM claimed
\watch 1
