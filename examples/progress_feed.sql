-- The progress of an execution in psql: its status, then messages as they come, and
-- its status when it is over.
--
--	psql -v execution=0192f0c4-… -f progress_feed.sql
--
-- psql shows the notifications that have come whenever a statement is done, so
-- the statements here wait for a second each, for an hour; when the execution
-- is over, those that are left do nothing.  (To look at a bar instead, call
-- goflow.follow(): its notices come at once.)

\set QUIET on
\pset tuples_only on
\pset format unaligned
SELECT format('LISTEN %I', 'goflow_' || replace(:'execution', '-', '')) \gexec
SELECT goflow.progress_message(:'execution');
SELECT format('DO $do$ BEGIN PERFORM goflow.wait(%L, %L); END $do$', :'execution', '1 s')
  FROM generate_series(1, 3600) \gexec
SELECT goflow.progress_message(:'execution');
