#!/bin/bash
# Takes one base backup, verifies it, and drops what is past its age.
#
#   base.sh full | incremental        incremental: what changed since the newest backup
#
#   KEEP_DAYS   backups whose whole chain is older go, and the WAL that only they needed (30)
set -euo pipefail
# shellcheck source=ops/backup/lib.sh
. "$(dirname "$0")/lib.sh"
mkdir -p "$BASE" "$WAL"
kind=${1:?full or incremental}
started=$(date +%s)
unfinished=$(mktemp -d "$BASE/XXXXXXXX.unfinished")
trap 'rm -rf "$unfinished"' EXIT

words=(--pgdata="$unfinished" --checkpoint=fast --wal-method=stream --no-password)
newest=$(backups | tail -n 1)
if [ "$kind" = incremental ]; then
    [ -n "$newest" ] || fail "an incremental backup needs a full one before it"
    words+=(--incremental="$BASE/$newest/backup_manifest")
fi
pg_basebackup "${words[@]}" || fail "pg_basebackup failed"
pg_verifybackup --quiet "$unfinished" || fail "the backup does not match its manifest"
# Its end, rounded up: a moment within this second may be before the backup was complete.
name=$(date -u -d '+1 second' +%Y%m%dT%H%M%SZ)-$kind
[ "$name" \> "$newest" ] || fail "the clock went back behind the newest backup, $newest"
mv -T "$unfinished" "$BASE/$name"
log info "base backup $name taken and verified"

publish backup <<END
footfall_backup_last_success_timestamp_seconds $(date +%s)
footfall_backup_duration_seconds $(($(date +%s) - started))
footfall_backup_bytes $(du -sb "$BASE/$name" | cut -f 1)
END

# A full backup and all that rest on it go together, once the newest of them is past the age.
limit=$(date -u -d "-${KEEP_DAYS:-30} days" +%Y%m%dT%H%M%SZ)
chain=()
drop_chain_if_old() {
    [ ${#chain[@]} -gt 0 ] && [ "${chain[-1]}" \< "$limit" ] || return 0
    for each in "${chain[@]}"; do rm -rf "${BASE:?}/$each"; done
    log info "dropped ${#chain[@]} backups from ${chain[0]} on"
}
while read -r each; do
    case $each in *-full) drop_chain_if_old; chain=() ;; esac
    chain+=("$each")
done < <(backups)
# The last chain stays, whatever its age.

oldest=$(backups | head -n 1)
pg_archivecleanup "$WAL" "$(first_segment_of "$oldest")"
