#!/bin/sh
# Writes Caddy's configuration, then becomes Caddy: HTTPS by name in front of ops/nginx.
#
#   DASHBOARD_HOST, USERS_HOST, ANALYTICS_HOST
#                 the names that lead here, one for each app; an app without one isn't served
#   ACME_EMAIL    whom the authority may write to
#   ACME_CA       the ACME directory of another authority than Caddy's usual one
#   TLS_DIR       holds tls.crt and tls.key for all names: then no authority is asked, and renewed
#                 ones are served without a restart. A ca.crt there signs for the host of ACME_CA
#   TLS_CHECK_SECONDS   how often it is seen whether they were renewed (10)
#   GATEWAY       the gateway's host (gateway); it speaks the PROXY protocol on PORTS
#   PORTS         those of dashboard, users and analytics (8100 8101 8102)
#   HTTP_LISTEN, HTTPS_LISTEN   ports (80, 443)
#   ALIVE_PORT    answers health checks on loopback (8099)
#   DATA_DIR      keeps certificates and the account with the authority (/data)
#   RUN_DIR       where Caddy may write (/tmp/caddy)
set -eu
run=${RUN_DIR:-/tmp/caddy}
tls=${TLS_DIR:-/run/secrets/tls}
mkdir -p "$run"

refuse() { echo "$*" >&2; exit 1; }
plain() { # NAME VALUE CHARACTERS: what Caddy would read as more than one word is refused
    case $2 in *[!$3]*) refuse "$1 holds a character that isn't allowed there: $2" ;; esac
}
names=''
for each in "DASHBOARD_HOST=${DASHBOARD_HOST:-}" "USERS_HOST=${USERS_HOST:-}" \
            "ANALYTICS_HOST=${ANALYTICS_HOST:-}"; do
    host=${each#*=}
    plain "${each%%=*}" "$host" 'A-Za-z0-9.-'
    host=$(printf %s "$host" | tr '[:upper:]' '[:lower:]')
    case " $names " in
        *" ${host:-.} "*) refuse "${each%%=*} is another app's name too: $host" ;;
    esac
    names="$names $host"
done
[ -n "${DASHBOARD_HOST:-}${USERS_HOST:-}${ANALYTICS_HOST:-}" ] ||
    refuse "DASHBOARD_HOST, USERS_HOST or ANALYTICS_HOST must be set"
plain ACME_EMAIL "${ACME_EMAIL:-}" 'A-Za-z0-9.@_+-'
plain ACME_CA "${ACME_CA:-}" 'A-Za-z0-9.:/_~%-'

certificate=''
if [ -s "$tls/tls.crt" ]; then certificate="tls $tls/tls.crt $tls/tls.key"; fi

redirect() { # HOST: people type it without https://
    if [ -n "$1" ]; then printf 'http://%s {\n    redir https://%s{uri} 308\n}\n' "$1" "$1"; fi
}
site() { # HOST PORT
    if [ -z "$1" ]; then return; fi
    cat <<END
https://$1 {
    $certificate
    header >Strict-Transport-Security "max-age=31536000"
    reverse_proxy ${GATEWAY:-gateway}:$2 {
        transport http {
            # Straight, whatever HTTP_PROXY says; the authority is asked by way of it.
            network_proxy none
            # The client's address goes beside the request, where no header can forge it.
            proxy_protocol v2
            dial_timeout 2s
            # Below the gateway's, so that no request meets a connection that is being closed.
            keepalive 30s
            compression off
        }
    }
    handle_errors 5xx {
        header Strict-Transport-Security "max-age=31536000"
        header Content-Type application/problem+json
        header Retry-After 2
        header X-Request-ID {http.request.uuid}
        respond \`{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"This part is not answering right now.","request_id":"{http.request.uuid}"}\` 503
    }
}
END
}

# shellcheck disable=SC2086  # three words
set -- ${PORTS:-8100 8101 8102}
cat > "$run/Caddyfile" <<END
{
    admin unix/$run/admin.sock
    persist_config off
    storage file_system ${DATA_DIR:-/data}
    http_port ${HTTP_LISTEN:-80}
    https_port ${HTTPS_LISTEN:-443}
    # Ours is below, for the dashboard alone.
    auto_https disable_redirects
    ${ACME_EMAIL:+email $ACME_EMAIL}
    ${ACME_CA:+acme_ca $ACME_CA}
    $(if [ -s "$tls/ca.crt" ]; then echo "acme_ca_root $tls/ca.crt"; fi)
    log {
        output stderr
        format json
        # They print the query, and it may hold the code of a password reset.
        exclude http.log.error http.handlers.reverse_proxy
    }
    servers {
        protocols h1 h2
        strict_sni_host on
        max_header_size 32KB
        timeouts {
            read_header 10s
            idle 60s
        }
    }
}
http://127.0.0.1:${ALIVE_PORT:-8099} {
    bind 127.0.0.1
    respond alive
}
# Neither another's name nor, sent in clear, a program's key: that must not seem to work.
http:// {
    abort
}
$(redirect "${DASHBOARD_HOST:-}")
$(site "${DASHBOARD_HOST:-}" "$1"; site "${USERS_HOST:-}" "$2"; site "${ANALYTICS_HOST:-}" "$3")
END

fingerprint() { cat "$tls/tls.crt" "$tls/tls.key" 2> /dev/null | sha256sum; }
# By what is in them, as ops/nginx/start.sh does. Caddy goes on with what it has until it can use
# what it is told to load, and its log says what was wrong.
watch_certificate() { # FINGERPRINT of what Caddy starts with; ends after Caddy, which is $$ then
    known=$1
    while sleep "${TLS_CHECK_SECONDS:-10}" && kill -0 $$ 2> /dev/null; do
        found=$(fingerprint)
        if [ "$found" = "$known" ] || [ ! -S "$run/admin.sock" ]; then continue; fi
        known=$found
        caddy reload --force --address "unix/$run/admin.sock" --config "$run/Caddyfile" \
            --adapter caddyfile > /dev/null 2>&1 || :
    done
}

rm -f "$run/admin.sock"
if [ -n "$certificate" ]; then watch_certificate "$(fingerprint)" & fi
exec caddy run --config "$run/Caddyfile" --adapter caddyfile
