#!/bin/bash
# Makes a data directory as the database was at a moment. Any doubt ends it with an error, and
# then, as after a signal, nothing of it is left: no server, no log, no half-made directory.
#
#   restore.sh --into DIRECTORY --to 2026-11-22T14:03:07Z
#   restore.sh --into DIRECTORY --latest
#
# It needs the backups and the WAL alone, and no running server. Moments are RFC 3339 or
# PostgreSQL's own form, with an offset. The directory must not exist, or be empty.
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=ops/backup/lib.sh
. "$here/lib.sh"
# shellcheck source=ops/backup/recovery.sh
. "$here/recovery.sh"

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
[ "$moment" = latest ] || moment=$(moment_in_utc "$moment")

choose_backup() { # prints the newest backup that was complete at the moment
    local each chosen='' at=latest # a letter sorts behind every digit
    if [ "$moment" != latest ]; then at=$(date -u -d "$moment" +%Y%m%dT%H%M%SZ); fi
    while read -r each; do
        if [[ ! "${each%-*}" > "$at" ]]; then chosen=$each; fi
    done < <(backups)
    [ -n "$chosen" ] || fail "no backup is old enough for $moment"
    echo "$chosen"
}

segments() { # lists what was received by position, the last, half-written segment included
    find "$WAL" -mindepth 1 -maxdepth 1 -type f -printf '%f\n' |
        sed -nE 's/^([0-9A-F]{24})([.]partial)?$/\1/p' | sort -u | sort -s -k 1.9
}

first_gap() { # SEGMENT: prints the segment before which one is missing, if any is from this on
    local each number expected
    expected=$(position "$1")
    while read -r each; do
        number=$((16#${each:8:8} * 256 + 16#${each:16:8})) # a call of position for each takes long
        if [ "$number" -gt "$expected" ]; then echo "$each"; return; fi
        if [ "$number" -eq "$expected" ]; then expected=$((expected + 1)); fi
    done < <(segments)
}

# Recovery takes the first record that it can't read for the end of the WAL.
require_all_was_replayed() { # SEGMENT: fails unless recovery ended in it, the newest one
    local ended missing
    ended=$(end_of_recovery)
    missing=$(($(position "$1") - $(position "$ended")))
    # The half-written segment may hold no more than a part of a record of the one before.
    [ ! -e "$WAL/$1.partial" ] || missing=$((missing - 1))
    if [ "${ended:0:8}" != "${1:0:8}" ] || [ "$missing" -gt 0 ]; then
        fail "recovery ended in $ended, and the WAL goes on to $1"
    fi
}

# What is there and can't be copied is no end of the WAL: more than 125 has PostgreSQL give up.
# shellcheck disable=SC2016 # the server's shell expands it
fetch='if [ -e "$WAL/%f" ]; then cp "$WAL/%f" "%p" || exit 255
elif [ -e "$WAL/%f.partial" ]; then cp "$WAL/%f.partial" "%p" || exit 255
else exit 1; fi'

if [ ! -d "$BASE" ] || [ ! -d "$WAL" ]; then fail "$BACKUP_DIR holds no backups"; fi
BASE=$(cd "$BASE" && pwd -P) WAL=$(cd "$WAL" && pwd -P)
backup=$(choose_backup)
first=$(first_segment_of "$backup")
[ -n "$first" ] || fail "$backup is no base backup: its backup_label names no WAL"
newest=$(segments | sort | tail -n 1)
[[ -n $newest && ! $newest < $first ]] || fail "there is no WAL from $first on"
gap=$(first_gap "$first")
doubt=${gap:+the WAL has a gap before $gap}
[ "$moment" != latest ] || [ -z "$doubt" ] || fail "$doubt"

take_target "$into"
log info "restoring $backup up to $moment into $target"
mapfile -t chain < <(chain_of "$backup" | sed "s|^|$BASE/|")
run pg_combinebackup --output="$target" "${chain[@]}" || fail "the backups of the chain don't combine"
recover "$moment" "$fetch"
[ "$moment" != latest ] || require_all_was_replayed "$newest"
keep_target
log info "restored; take a full backup of the new server before anything else"
