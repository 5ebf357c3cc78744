#!/bin/bash
# Keeps one database's backups, for ever: receives its WAL, and takes, verifies and drills what
# is due. Ends when the receiver ends, so that whoever started this starts it again.
#
#   FULL_EVERY_HOURS (168)   INCREMENTAL_EVERY_HOURS (24)   DRILL_EVERY_HOURS (168)
#   KEEP_DAYS (30)
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=ops/backup/lib.sh
. "$here/lib.sh"
mkdir -p "$BASE" "$WAL"

age_hours() { # FILE: hours since it was touched; very many if it never was
    if [ -e "$1" ]; then
        echo $((($(date +%s) - $(stat -c %Y "$1")) / 3600))
    else
        echo 1000000
    fi
}

due() { # NAME HOURS
    [ "$(age_hours "$BACKUP_DIR/.last-$1")" -ge "$2" ]
}

carry_out() { # NAME COMMAND…: once; a failure is tried again in a quarter of an hour
    local name=$1
    shift
    if [ -n "$(find "$BACKUP_DIR/.failed-$name" -mmin -15 2> /dev/null)" ]; then return; fi
    if "$@"; then
        touch "$BACKUP_DIR/.last-$name"
        rm -f "$BACKUP_DIR/.failed-$name"
    else
        touch "$BACKUP_DIR/.failed-$name"
    fi
}

watch_database() { # publishes sizes and lags; a server that doesn't answer publishes nothing new
    psql --no-psqlrc -qAt -F ' ' -d postgres -v slot="$SLOT" -v database="$DATABASE" <<'SQL' | publish database
SELECT 'footfall_database_bytes', pg_database_size(:'database')
UNION ALL SELECT 'footfall_wal_unreceived_bytes',
       coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), 0)
  FROM pg_replication_slots WHERE slot_name = :'slot'
UNION ALL SELECT 'footfall_replica_lag_seconds', coalesce(max(extract(epoch FROM replay_lag)), 0)
  FROM pg_stat_replication WHERE application_name <> :'slot'
UNION ALL SELECT 'footfall_database_connections', count(*)
  FROM pg_stat_activity WHERE backend_type = 'client backend'
UNION ALL SELECT 'footfall_database_connections_max', current_setting('max_connections')::bigint
SQL
}

"$here/receive.sh" &
receiver=$!
trap 'kill "$receiver" 2> /dev/null; wait "$receiver" 2> /dev/null; exit 0' TERM INT

while kill -0 "$receiver" 2> /dev/null; do
    watch_database || log warning "the server does not answer"
    if due full "${FULL_EVERY_HOURS:-168}"; then
        carry_out full "$here/base.sh" full && touch "$BACKUP_DIR/.last-incremental"
    elif due incremental "${INCREMENTAL_EVERY_HOURS:-24}"; then
        carry_out incremental "$here/base.sh" incremental
    elif due drill "${DRILL_EVERY_HOURS:-168}"; then
        carry_out drill "$here/drill.sh"
    fi
    touch "$BACKUP_DIR/.alive"
    sleep "${PAUSE_SECONDS:-60}" &
    wait -n "$receiver" "$!" || true
done
wait "$receiver" || true
fail "the WAL receiver ended"
