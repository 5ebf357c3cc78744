# shellcheck shell=bash
# What the backup scripts share; read by them, never run alone.
#
#   BACKUP_DIR    holds base/ (one directory a backup) and wal/ (every segment since the oldest)
#   DATABASE      the name in logs and metrics: users | analytics
#   METRICS_DIR   where node-exporter's textfile collector reads; empty: no metrics
#   PGHOST, PGPORT, PGUSER, PGPASSWORD_FILE   the server that is backed up
set -euo pipefail
: "${BACKUP_DIR:?names the directory of the backups}"
DATABASE=${DATABASE:-database}
BASE=$BACKUP_DIR/base
export WAL=$BACKUP_DIR/wal
export SLOT=${BACKUP_SLOT:-footfall_backup}
export PGUSER=${PGUSER:-replicator} PGCONNECT_TIMEOUT=${PGCONNECT_TIMEOUT:-5}
if [ -n "${PGPASSWORD_FILE:-}" ]; then
    PGPASSWORD=$(< "$PGPASSWORD_FILE")
    export PGPASSWORD
fi

log() { # LEVEL MESSAGE: one JSON object a line, as the apps write
    local text=${2//\\/\\\\}
    printf '{"timestamp":"%s","level":"%s","service":"backup","request_id":null,"user_id":null,"database":"%s","message":"%s"}\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$DATABASE" "${text//\"/\\\"}" >&2
}

fail() { # MESSAGE
    log error "$1"
    exit 1
}

publish() { # FILE: standard input, `name value` lines, becomes the metrics of that name
    [ -n "${METRICS_DIR:-}" ] || { cat > /dev/null; return 0; }
    local file=$METRICS_DIR/footfall_$1_$DATABASE.prom
    awk -v database="$DATABASE" '{ print "# TYPE " $1 " gauge"; print $1 "{database=\"" database "\"} " $2 }' \
        > "$file.$$"
    chmod 644 "$file.$$"
    mv "$file.$$" "$file"
}

backups() { # lists the complete backups, oldest first: names begin with their end time
    find "$BASE" -mindepth 2 -maxdepth 2 -type f -regextype posix-extended \
        -regex '.*/[0-9]{8}T[0-9]{6}Z-(full|incremental)/backup_manifest' -printf '%h\n' |
        sed 's|.*/||' | sort
}

chain_of() { # BACKUP: lists what it rests on and itself, from the full one on
    local each chain=()
    while read -r each; do
        case $each in *-full) chain=() ;; esac
        chain+=("$each")
        if [ "$each" = "$1" ]; then
            printf '%s\n' "${chain[@]}"
            return 0
        fi
    done < <(backups)
    return 1
}

first_segment_of() { # BACKUP: prints the first WAL segment that its recovery reads
    sed -n 's/^START WAL LOCATION: .*(file \([0-9A-F]\{24\}\)).*/\1/p' "$BASE/$1/backup_label"
}
