#!/bin/sh
# Whether Valkey answers: asked as the dashboard, since nobody without a password comes in.
set -eu
secrets=${SECRETS_DIR:-/run/secrets}
REDISCLI_AUTH=$(cat "$secrets/dashboard_password")
export REDISCLI_AUTH
valkey-cli -p "${PORT:-6379}" --user footfall-dashboard ping | grep -q PONG
