#!/bin/bash
# Makes a data directory as the database was at a moment; any doubt ends it with an error.
#
#   restore.sh --into DIRECTORY --to '2026-11-22 14:03:07+00'
#   restore.sh --into DIRECTORY --latest
#
# It needs the backups and the WAL alone, and no running server. Moments are RFC 3339 or
# PostgreSQL's own form, with an offset. The directory must not exist, or be empty.
set -euo pipefail
# shellcheck source=ops/backup/lib.sh
. "$(dirname "$0")/lib.sh"

into='' moment=''
while [ $# -gt 0 ]; do
    case $1 in
        --into) into=${2:?}; shift 2 ;;
        --to) moment=${2:?}; shift 2 ;;
        --latest) moment=latest; shift ;;
        *) fail "unknown word: $1" ;;
    esac
done
if [ -z "$into" ] || [ -z "$moment" ]; then
    fail "say --into DIRECTORY and --to MOMENT or --latest"
fi
[ -z "$(ls -A "$into" 2> /dev/null)" ] || fail "$into is not empty"

choose_backup() { # prints the newest backup that was complete at the moment
    local each chosen='' at=latest # a letter sorts behind every digit
    if [ "$moment" != latest ]; then at=$(date -u -d "$moment" +%Y%m%dT%H%M%SZ); fi
    while read -r each; do
        if [[ ! "${each%-*}" > "$at" ]]; then chosen=$each; fi
    done < <(backups)
    [ -n "$chosen" ] || fail "no backup is old enough for $moment"
    echo "$chosen"
}

position() { # SEGMENT: its number in the sequence of its timeline, for 16 MB segments
    echo $((16#${1:8:8} * 256 + 16#${1:16:8}))
}

require_no_gap() { # BACKUP: fails if a segment is missing between its start and the newest
    local first last expected each
    first=$(first_segment_of "$1")
    expected=$(position "$first")
    last=''
    for each in "$WAL/${first:0:8}"????????????????*; do
        each=$(basename "$each" .partial)
        [[ "$each" =~ ^[0-9A-F]{24}$ ]] || continue
        [[ "$each" < "$first" || "$each" = "$last" ]] && continue
        [ "$(position "$each")" -eq "$expected" ] || fail "the WAL has a gap before $each"
        expected=$((expected + 1))
        last=$each
    done
    [ -n "$last" ] || fail "there is no WAL from $first on"
}

control() { # FIELD: what the data directory's control file says
    LC_ALL=C pg_controldata -D "$into" | sed -n "s/^$1: *//p"
}

recovery_is_over() { # the signal goes before promotion is complete
    [ ! -e "$into/recovery.signal" ] && [ "$(control 'Database cluster state')" = "in production" ]
}

backup=$(choose_backup)
require_no_gap "$backup"
log info "restoring $backup up to $moment into $into"

mapfile -t chain < <(chain_of "$backup" | sed "s|^|$BASE/|")
rm -rf "$into"
pg_combinebackup --output="$into" "${chain[@]}" || fail "the backups of the chain don't combine"
chmod 700 "$into"

target=()
if [ "$moment" != latest ]; then
    target=(-c "recovery_target_time=$moment" -c recovery_target_action=promote)
fi
timeline=$(control "Latest checkpoint's TimeLineID")
touch "$into/recovery.signal"
# Given for this start alone, so that nothing of it stays in the restored directory's settings.
settings=(
    -c listen_addresses= -c "unix_socket_directories=$into" -c archive_mode=off
    -c synchronous_standby_names= -c hot_standby=on -c max_connections=1000
    -c max_wal_senders=100 -c max_worker_processes=100 -c max_locks_per_transaction=256
    -c max_prepared_transactions=100 -c summarize_wal=off
    -c "restore_command=cp \"$WAL/%f\" \"%p\" 2> /dev/null || cp \"$WAL/%f.partial\" \"%p\""
    "${target[@]}"
)
postgres -D "$into" "${settings[@]}" > "$into.log" 2>&1 &
server=$!
until recovery_is_over; do
    if ! kill -0 "$server" 2> /dev/null; then
        tail -n 20 "$into.log" >&2
        fail "recovery did not reach $moment"
    fi
    sleep 0.2
done
kill -INT "$server"
wait "$server" || fail "the restored server did not stop cleanly"
# On the old timeline the next start would replay what came after the moment.
if [ "$(control 'Database cluster state')" != "shut down" ] ||
    [ "$(control "Latest checkpoint's TimeLineID")" -le "$timeline" ]; then
    fail "the restored server did not end as one of its own: see pg_controldata -D $into"
fi
rm -f "$into.log"
log info "restored; take a full backup of the new server before anything else"
