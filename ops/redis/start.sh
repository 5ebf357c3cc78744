#!/bin/sh
# Becomes Valkey with one user for each app, which reaches keys of its own prefix alone and runs
# only what that app needs; nobody else comes in.
#
#   SECRETS_DIR   holds users_password, analytics_password, dashboard_password
#   DATA_DIR      where it keeps its data (/data)
#   PORT          6379
set -eu
secrets=${SECRETS_DIR:-/run/secrets}

# Counting calls; a script runs with its caller's rights.
counting='+ping +evalsha +script|load +get +ttl +incrby +expire'

app() { # NAME COMMANDS: its user; as a digest, so that no password is in what Valkey keeps
    digest=$(printf %s "$(cat "$secrets/$1_password")" | sha256sum | cut -d ' ' -f 1)
    echo "user footfall-$1 on #$digest resetchannels ~footfall-$1:* -@all $2"
}
users=$(app users "$counting")
analytics=$(app analytics "$counting")
dashboard=$(app dashboard "$counting +set +del")

# By standard input, so that nothing of it is on a command line or on a disk.
exec valkey-server - <<END
port ${PORT:-6379}
appendonly yes
maxmemory 192mb
maxmemory-policy volatile-ttl
dir ${DATA_DIR:-/data}
user default off
$users
$analytics
$dashboard
END
