-- goflow: workflows that run inside PostgreSQL.
\echo Use "CREATE EXTENSION goflow" to load this file. \quit
