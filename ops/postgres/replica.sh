#!/bin/bash
# Becomes a streaming replica: copies the primary once, then follows it.
#
#   PRIMARY_HOST, REPLICATION_PASSWORD_FILE, PGDATA
set -euo pipefail
slot=${REPLICA_SLOT:-analytics_replica}
export PGPASSWORD
PGPASSWORD=$(< "$REPLICATION_PASSWORD_FILE")

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -n "$(ls -A "$PGDATA" 2> /dev/null)" ]; then
        echo "$PGDATA is no data directory, and not empty: nothing is copied into it" >&2
        exit 1
    fi
    # Copied aside: a copy that was interrupted may look like a server of its own.
    copy=$PGDATA.copy
    if [ -e "$copy" ] && [ ! -e "$copy.mark" ]; then
        echo "$copy is in the way, and was not made by this script" >&2
        exit 1
    fi
    mkdir -p "$(dirname "$PGDATA")"
    touch "$copy.mark"
    rm -rf "$copy"
    # The slot keeps what a stopped replica has yet to read, up to max_slot_wal_keep_size.
    psql --no-psqlrc -qAt -v ON_ERROR_STOP=1 -v slot="$slot" \
        "host=$PRIMARY_HOST user=replicator dbname=postgres" <<'SQL'
SELECT pg_create_physical_replication_slot(:'slot')
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :'slot');
SQL
    pg_basebackup --pgdata="$copy" --checkpoint=fast --wal-method=stream --slot="$slot" \
        --write-recovery-conf --dbname="host=$PRIMARY_HOST user=replicator application_name=$slot"
    mv -T "$copy" "$PGDATA"
    rm -f "$copy.mark"
fi
exec postgres -c listen_addresses='*' -c hot_standby=on -c hot_standby_feedback=on "$@"
