#!/bin/bash
# Restores the newest state into a scratch directory, checks every table there, and publishes
# whether that went well; nothing of the running server is touched.
#
#   SCRATCH_DIR   needs room for one copy of the database (/tmp)
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=ops/backup/lib.sh
. "$here/lib.sh"
started=$(date +%s)
# A drill that was killed leaves a whole database behind. Each holds its directory while it runs.
for each in "${SCRATCH_DIR:-/tmp}"/drill.??????; do
    [ -f "$each/.footfall-drill" ] || continue
    (flock --nonblock 9 && rm -rf "$each") 9< "$each/.footfall-drill" || true
done
scratch=$(mktemp -d "${SCRATCH_DIR:-/tmp}/drill.XXXXXX")
exec 9> "$scratch/.footfall-drill"
flock 9
server='' restore=''

finish() { # publishes the outcome, whichever way the script ends
    local outcome=$?
    set +e
    if [ -n "$restore" ]; then kill "$restore" && wait "$restore"; fi
    if [ -n "$server" ]; then kill -INT "$server" && wait "$server"; fi
    rm -rf "$scratch"
    publish drill <<END
footfall_restore_drill_success $([ "$outcome" -eq 0 ] && echo 1 || echo 0)
footfall_restore_drill_timestamp_seconds $(date +%s)
footfall_restore_drill_duration_seconds $(($(date +%s) - started))
END
    if [ "$outcome" -eq 0 ]; then
        log info "the restore drill went well"
    else
        log error "the restore drill failed"
    fi
}
trap finish EXIT
trap 'exit 143' TERM

"$here/restore.sh" --into "$scratch/data" --latest &
restore=$!
wait "$restore" || { restore=''; fail "the newest backup can't be restored"; }
restore=''
unset PGPASSWORD PGPORT # they are the running server's
echo "local all all trust" > "$scratch/hba"
postgres -D "$scratch/data" -c listen_addresses= -c "unix_socket_directories=$scratch" \
    -c "hba_file=$scratch/hba" -c synchronous_standby_names= -c archive_mode=off \
    > "$scratch/log" 2>&1 &
server=$!
export PGHOST=$scratch PGUSER=${RESTORED_SUPERUSER:-postgres}
until pg_isready --quiet; do
    kill -0 "$server" 2> /dev/null || { tail -n 20 "$scratch/log" >&2; fail "the restored server ended"; }
    sleep 0.2
done
psql --no-psqlrc -qAt -d postgres -c 'CREATE EXTENSION IF NOT EXISTS amcheck' > /dev/null
databases=$(psql --no-psqlrc -qAt -d postgres \
    -c "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate")
for each in $databases; do
    pg_amcheck --install-missing --no-strict-names "$each" || fail "$each is damaged"
done
