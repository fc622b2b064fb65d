-- goflow: workflows that run inside PostgreSQL.
\echo Use "CREATE EXTENSION goflow" to load this file. \quit

-- Made here, not by CREATE EXTENSION: it fails where somebody else has made one,
-- and it goes with the extension.
CREATE SCHEMA goflow;
COMMENT ON SCHEMA goflow IS 'Workflows that run inside the database.';
