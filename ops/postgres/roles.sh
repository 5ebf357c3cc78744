#!/bin/bash
# Runs once, when the data directory is made: the app's own role and database, and the role that
# backups and replicas connect as. The app's role owns its database and is no superuser.
#
#   APP_DATABASE                  users | analytics: the database and the role of that name
#   APP_PASSWORD_FILE             the role's password
#   REPLICATION_PASSWORD_FILE     that of the role `replicator`
psql --no-psqlrc -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv app APP_DATABASE
\set password `cat "$APP_PASSWORD_FILE"`
\set replication `cat "$REPLICATION_PASSWORD_FILE"`
CREATE ROLE :"app" LOGIN PASSWORD :'password';
CREATE DATABASE :"app" OWNER :"app";
REVOKE ALL ON DATABASE :"app" FROM PUBLIC;
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'replication';
GRANT pg_monitor TO replicator;
SQL
echo "host replication replicator all scram-sha-256" >> "$PGDATA/pg_hba.conf"
