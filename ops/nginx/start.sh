#!/bin/sh
# Writes what nginx.conf includes, then becomes nginx.
#
#   ROUTES        "PORT=APP:PORT …": which app is behind each port
#   PLAIN_ROUTES  the same for ports that always speak plain HTTP, for calls inside a cluster
#   PROXIED_ROUTES   the same for a proxy that ends TLS and sends the PROXY protocol (ops/caddy)
#   TLS_DIR       holds tls.crt and tls.key: then the ports of ROUTES speak TLS, else plain HTTP.
#                 Renewed ones are served without a restart
#   TLS_CHECK_SECONDS   how often it is seen whether they were renewed (10)
#   RUN_DIR       where nginx may write (/tmp/nginx)
#   ALIVE_PORT       answers /alive for health checks (8099)
#   LISTEN_ADDRESS   empty: every address
set -eu
run=${RUN_DIR:-/tmp/nginx}
tls=${TLS_DIR:-/run/secrets/tls}
mkdir -p "$run"
cp "$(dirname "$0")/nginx.conf" "$run/nginx.conf"

encrypted=''
: > "$run/listen.conf"
if [ -s "$tls/tls.crt" ]; then
    encrypted=' ssl http2'
    cat >> "$run/listen.conf" <<END
ssl_certificate $tls/tls.crt;
ssl_certificate_key $tls/tls.key;
ssl_protocols TLSv1.2 TLSv1.3;
# Of TLS 1.2 what keeps earlier talk secret and is authenticated as it is encrypted: no CBC.
ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305;
ssl_session_cache shared:tls:10m;
ssl_session_tickets off;
add_header Strict-Transport-Security "max-age=31536000" always;
END
fi

# By name at each request: a container that was made anew has another address.
dns=$(awk '/^nameserver/ { print $2; exit }' "${RESOLV_CONF:-/etc/resolv.conf}")
case $dns in *:*) dns="[$dns]" ;; esac
echo "resolver ${dns:-127.0.0.1} valid=5s;" > "$run/resolver.conf"

address=${LISTEN_ADDRESS:+$LISTEN_ADDRESS:}
echo "listen $address${ALIVE_PORT:-8099};" > "$run/alive.conf"
route() { # ROUTE SUFFIX: one port and the app behind it
    echo "${1%%=*} ${1#*=};"
    echo "listen $address${1%%=*}$2;" >> "$run/listen.conf"
}
{
    echo "map \$server_port \$app {"
    for each in $ROUTES; do route "$each" "$encrypted"; done
    for each in ${PLAIN_ROUTES:-}; do route "$each" ''; done
    for each in ${PROXIED_ROUTES:-}; do route "$each" ' proxy_protocol'; done
    echo "}"
} > "$run/routes.conf"

start() { # WORD…: nginx with the configuration written above
    exec nginx -e stderr -p "$run/" -c "$run/nginx.conf" -g 'daemon off;' "$@"
}
say() { # LEVEL MESSAGE ERROR: one line of the log
    error=$(printf %s "$3" | tr '[:cntrl:]' ' ' | sed 's/[\\"]/\\&/g')
    printf '{"timestamp":"%s","level":"%s","service":"gateway","request_id":null,"user_id":null,"message":"%s","error":"%s"}\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$2" "$error"
}
fingerprint() { cat "$tls/tls.crt" "$tls/tls.key" 2> /dev/null | sha256sum; }
# By what is in them: a Secret's volume changes by a link above, and a mount tells of nothing.
# nginx goes on with what it has read until a reload succeeds, so half a pair costs nothing.
watch_certificate() { # FINGERPRINT of what nginx starts with; ends after nginx, which is $$ then
    known=$1
    while sleep "${TLS_CHECK_SECONDS:-10}" && kill -0 $$ 2> /dev/null; do
        found=$(fingerprint)
        # Without its process id in there it can't take a signal yet.
        if [ "$found" = "$known" ] || [ ! -s "$run/nginx.pid" ]; then continue; fi
        known=$found
        if refusal=$(start -t -q 2>&1); then
            kill -HUP $$
            say info "the certificate was renewed and is being served" ""
        else
            say warning "the certificate in TLS_DIR can't be used, the former one is served" "$refusal"
        fi
    done
}

rm -f "$run/nginx.pid"
if [ -n "$encrypted" ]; then watch_certificate "$(fingerprint)" & fi
start
