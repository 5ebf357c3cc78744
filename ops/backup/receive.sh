#!/bin/bash
# Receives the WAL as it is written, for ever; its slot keeps what was missed meanwhile.
#
# Name `footfall_backup` in the server's synchronous_standby_names to have each commit wait until
# it is here too: nothing acknowledged can then be lost with the server, and nothing is
# acknowledged while this is down.
set -euo pipefail
# shellcheck source=ops/backup/lib.sh
. "$(dirname "$0")/lib.sh"
mkdir -p "$BASE" "$WAL"
export PGAPPNAME=$SLOT
pg_receivewal --directory="$WAL" --slot="$SLOT" --create-slot --if-not-exists --no-password
exec pg_receivewal --directory="$WAL" --slot="$SLOT" --synchronous --no-loop --no-password
