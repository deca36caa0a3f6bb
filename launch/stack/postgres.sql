-- Run once, by the Postgres image, when its volume is empty: two databases whose owners know nothing of each other.
-- Passwords are read from the secrets' files by psql itself; a statement that fails must not write one to the log.
SET log_statement TO 'none';
SET log_min_error_statement TO 'panic';
SET log_min_duration_statement TO -1;
SET password_encryption TO 'scram-sha-256';
\set ON_ERROR_STOP on
\set nightbench `cat /run/secrets/database_password`
\set prefect `cat /run/secrets/prefect_database_password`
SELECT length(:'nightbench') = 0 OR length(:'prefect') = 0 AS empty \gset
\if :empty
    DO $$ BEGIN RAISE 'NIGHTBENCH_DATABASE_PASSWORD and PREFECT_DATABASE_PASSWORD must be set in .env'; END $$;
\endif

-- It makes the dashboards' role (db/roles.py); since Postgres 16 this right reaches no role it has not made.
CREATE ROLE nightbench LOGIN CREATEROLE PASSWORD :'nightbench';
CREATE ROLE prefect LOGIN PASSWORD :'prefect';
CREATE DATABASE nightbench OWNER nightbench;
CREATE DATABASE prefect OWNER prefect;
REVOKE CONNECT, TEMPORARY ON DATABASE nightbench FROM PUBLIC;
REVOKE CONNECT, TEMPORARY ON DATABASE prefect FROM PUBLIC;
