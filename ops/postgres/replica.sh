#!/bin/bash
# Becomes a streaming replica: copies the primary once, then follows it.
#
#   PRIMARY_HOST, REPLICATION_PASSWORD_FILE, PGDATA
set -euo pipefail
slot=${REPLICA_SLOT:-analytics_replica}
export PGPASSWORD
PGPASSWORD=$(< "$REPLICATION_PASSWORD_FILE")

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    rm -rf "${PGDATA:?}"/*
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA"
    # The slot keeps what a stopped replica has yet to read, up to max_slot_wal_keep_size.
    psql --no-psqlrc -qAt -v ON_ERROR_STOP=1 -v slot="$slot" \
        "host=$PRIMARY_HOST user=replicator dbname=postgres" <<'SQL'
SELECT pg_create_physical_replication_slot(:'slot')
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :'slot');
SQL
    pg_basebackup --pgdata="$PGDATA" --checkpoint=fast --wal-method=stream --slot="$slot" \
        --write-recovery-conf --dbname="host=$PRIMARY_HOST user=replicator application_name=$slot"
fi
exec postgres -c listen_addresses='*' -c hot_standby=on -c hot_standby_feedback=on "$@"
