-- Runs before all other tests, which share its database.
SET client_min_messages = warning;
CREATE EXTENSION goflow;
SELECT extname, extversion, nspname
  FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
 WHERE extname = 'goflow';
