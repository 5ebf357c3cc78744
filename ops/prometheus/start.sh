#!/bin/sh
# Writes which addresses are asked from outside, then becomes Prometheus with the words given.
#
#   PUBLIC_URL, ANALYTICS_PUBLIC_URL   as the dashboard has them; one on loopback isn't asked,
#                                      since that is another machine's loopback here
#   RUN_DIR                            where the list is written (/tmp/prometheus)
set -eu
run=${RUN_DIR:-/tmp/prometheus}
mkdir -p "$run"
for url in "${PUBLIC_URL:-}" "${ANALYTICS_PUBLIC_URL:-}"; do
    case $url in
        '' | *://localhost* | *://127.* | *://\[::1\]*) ;;
        *) printf -- "- targets: ['%s/health']\n" "$(printf %s "${url%/}" | sed "s/'/''/g")" ;;
    esac
done > "$run/probes.yml"
exec prometheus "$@"
