# shellcheck shell=bash
# What a restore needs however the backups are kept: the moment, the directory that is made, the
# server that recovers in it. Read by restore.sh after lib.sh, never run alone.
#
# Either the restore is complete and `keep_target` was called, or nothing of it is left.
set -euo pipefail

moment_in_utc() { # MOMENT: prints it as `2026-11-22 14:03:07.123456+00`, or fails
    local wanted="write it as 2026-11-22T14:03:07Z or 2026-11-22T19:33:07+05:30"
    local time='^([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-5][0-9]|60)([.][0-9]+)?'
    local offset='([Zz]|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)$'
    [[ ! $1 =~ $time$ ]] || fail "$1 has no offset from UTC: $wanted"
    [[ $1 =~ $time$offset ]] || fail "$1 is no moment: $wanted"
    local minute="${BASH_REMATCH[1]} ${BASH_REMATCH[2]} ${BASH_REMATCH[5]/[Zz]/+00}"
    local second=${BASH_REMATCH[3]} fraction=${BASH_REMATCH[4]} epoch
    epoch=$(date -u -d "$minute" +%s 2> /dev/null) || fail "$1 is no moment: $wanted"
    epoch=$((epoch + 10#$second)) # a leap second is 60
    [ "$epoch" -le "$(date +%s)" ] || fail "$1 is in the future: $wanted, and name one that has passed"
    # Cut and not rounded: PostgreSQL knows microseconds, and rounds to one that came after.
    date -u -d "@$epoch" "+%Y-%m-%d %H:%M:%S${fraction:0:7}+00"
}

target='' made='' mode='' complete='' running='' ends_by=''
doubt='' # what may be why recovery fails
scratch=$(mktemp -d) # the log and the socket of the server that recovers
trap leave_nothing EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 131' QUIT
trap 'exit 141' PIPE
trap 'exit 143' TERM

leave_nothing() { # ends what runs and takes back what was made of the target, unless it is complete
    trap '' HUP INT QUIT PIPE TERM
    set +e
    if [ -z "$complete" ] && [ -s "$scratch/log" ]; then tail -n 20 "$scratch/log" >&2; fi
    if [ -n "$running" ]; then
        kill "-$ends_by" -- "-$running" 2> /dev/null
        wait "$running" 2> /dev/null
    fi
    rm -rf "$scratch"
    if [ -n "$complete" ] || [ -z "$target" ]; then return; fi
    if [ -n "$made" ]; then
        rm -rf "$target"
    else
        find "$target" -mindepth 1 -delete
        chmod "$mode" "$target"
    fi
    log error "gave up: nothing of the restore is left in $target"
}

take_target() { # DIRECTORY: makes it, or takes it over if it is empty; its path is then $target
    local problem content made_now='' directory
    if problem=$(mkdir -m 700 -- "$1" 2>&1); then made_now=yes; fi
    [ -d "$1" ] || fail "$problem"
    directory=$(cd -- "$1" && pwd -P) || fail "$1 can't be entered"
    exec {lock}< "$directory"
    flock --nonblock "$lock" || fail "another restore works in $1"
    content=$(ls -A -- "$directory") || fail "$1 can't be read"
    [ -z "$content" ] || fail "$1 is not empty"
    mode=$(stat -c %a "$directory")
    made=$made_now target=$directory
    chmod 700 "$target"
}

start() { # SIGNAL COMMAND…: starts it in a group of its own, which that signal ends in an emergency
    ends_by=$1
    set -m
    "${@:2}" < /dev/null &
    running=$!
    set +m
}

run() { # COMMAND…: runs it to its end, or to that of this script
    local outcome=0
    start TERM "$@"
    wait "$running" || outcome=$?
    running=''
    return "$outcome"
}

control() { # FIELD: what the target's control file says
    LC_ALL=C pg_controldata -D "$target" | sed -n "s/^$1: *//p"
}

# The server writes its control file last: when the signal file has gone it still is in recovery,
# and a stop then leaves a directory that would replay what came after the moment. To ask the
# server itself would tell no more, and take a role that may sign in.
recovery_is_over() {
    [ ! -e "$target/recovery.signal" ] && [ "$(control 'Database cluster state')" = "in production" ]
}

recover() { # MOMENT RESTORE_COMMAND: has a server recover in the target, end recovery, and stop
    local moment=$1 timeline
    timeline=$(control "Latest checkpoint's TimeLineID")
    touch "$target/recovery.signal"
    # Given for this start alone, so that nothing of it stays in the target's settings, and all of
    # it, so that none of the backed-up server's holds.
    local settings=(
        -c "restore_command=$2" -c recovery_target_action=promote -c recovery_target_inclusive=on
        -c recovery_target_timeline=latest -c recovery_target= -c recovery_target_name=
        -c recovery_target_lsn= -c recovery_target_xid= -c recovery_min_apply_delay=0
        -c "recovery_target_time=${moment#latest}" -c recovery_end_command=
        -c archive_cleanup_command= -c archive_mode=off -c synchronous_standby_names=
        # With it, a setting that the server had raised meanwhile would pause recovery forever.
        -c hot_standby=off
        -c max_prepared_transactions=1000 -c summarize_wal=off -c logging_collector=off
        -c log_destination=stderr -c lc_messages=C -c ssl=off -c fsync=on
        -c listen_addresses= -c "unix_socket_directories=$scratch"
    )
    start QUIT postgres -D "$target" "${settings[@]}" > "$scratch/log" 2>&1
    until recovery_is_over; do
        kill -0 "$running" 2> /dev/null ||
            fail "recovery did not reach ${moment/latest/its end}${doubt:+: $doubt}"
        sleep 0.2
    done
    kill -INT "$running" || true
    wait "$running" || fail "the restored server did not stop cleanly"
    running=''
    if ! { [ "$(control 'Database cluster state')" = "shut down" ] &&
        [ "$(control "Latest checkpoint's TimeLineID")" -gt "$timeline" ]; }; then
        fail "the restored server did not end as a server of its own"
    fi
    [ "$moment" != latest ] || require_no_record_behind
}

position() { # SEGMENT: its number in the sequence, for segments of 16 MB
    echo $((16#${1:8:8} * 256 + 16#${1:16:8}))
}

place_of_end() { # prints the timeline and the place at which the WAL ended that was replayed
    local timeline
    timeline=$(control "Latest checkpoint's TimeLineID")
    grep . "$target/pg_wal/$(printf %08X "$timeline").history" | tail -n 1 | cut -f 1,2
}

end_of_recovery() { # prints the segment of that place
    local timeline place
    read -r timeline place < <(place_of_end)
    printf '%08X%08X%08X\n' "$timeline" "0x${place%/*}" $((16#${place#*/} >> 24))
}

# Recovery takes the first record that it can't read for the end of the WAL: then none may follow.
require_no_record_behind() { # fails if the last segment that was replayed has one on a later page
    local timeline place segment last number=0 head start
    read -r timeline place < <(place_of_end)
    segment=$target/pg_wal/$(end_of_recovery)
    [ -e "$segment" ] || return 0 # the WAL ended with the segment before
    last=$(((16#${place#*/} & 0xFFFFFF) / 8192))
    while read -r head; do # the first bytes of each page: none of one that was not written
        if [ "$number" -gt "$last" ] && [ "$head" != 0000 ]; then
            start=${place%/*}/$(printf %X $(((16#${place#*/} & 0xFF000000) + number * 8192)))
            if pg_waldump --quiet --limit=1 --path="$target/pg_wal" --timeline="$timeline" \
                --start="$start" 2> /dev/null; then
                fail "the WAL is damaged at $place: recovery ended there, and it goes on at $start"
            fi
        fi
        number=$((number + 1))
    done < <(od -v -An -t x2 -w8192 "$segment" | cut -c 2-5)
}

keep_target() { # the restore is complete
    rm -f "$target/postmaster.opts" # the words of this start
    complete=yes
}
