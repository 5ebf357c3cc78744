#!/bin/sh
# Writes what nginx.conf includes, then becomes nginx.
#
#   ROUTES   "PORT=APP:PORT …": which app is behind each port
#   TLS_DIR  holds tls.crt and tls.key: then every port speaks TLS, else plain HTTP
#   RUN_DIR  where nginx may write (/tmp/nginx)
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
ssl_session_cache shared:tls:10m;
ssl_session_tickets off;
add_header Strict-Transport-Security "max-age=31536000" always;
END
fi

# By name at each request: a container that was made anew has another address.
address=$(awk '/^nameserver/ { print $2; exit }' "${RESOLV_CONF:-/etc/resolv.conf}")
case $address in *:*) address="[$address]" ;; esac
echo "resolver ${address:-127.0.0.1} valid=5s;" > "$run/resolver.conf"

{
    echo "map \$server_port \$app {"
    for route in $ROUTES; do
        echo "${route%%=*} ${route#*=};"
        echo "listen ${LISTEN_ADDRESS:+$LISTEN_ADDRESS:}${route%%=*}$encrypted;" >> "$run/listen.conf"
    done
    echo "}"
} > "$run/routes.conf"

exec nginx -e stderr -p "$run/" -c "$run/nginx.conf" -g 'daemon off;'
