#!/bin/sh
# Makes every secret that compose.yaml and the dev overlay mount, one file each; keeps those
# that stand. Needs openssl alone.
#
#   ops/make-secrets.sh [DIRECTORY]      var/compose-secrets unless named
#
# The directory is its owner's alone. The files in it can be read by all, since a container's
# user, who gets single files mounted and not the directory, is nobody this machine knows.
set -eu
umask 022
folder=${1:-var/compose-secrets}
mkdir -p "$folder"
chmod 700 "$folder"

write() { # NAME: keeps standard input as the file, unless it stands
    if [ -s "$folder/$1" ]; then cat > /dev/null; return; fi
    cat > "$folder/.$1.new"
    chmod 444 "$folder/.$1.new"
    mv "$folder/.$1.new" "$folder/$1"
}
hex() { openssl rand -hex 32; }

for name in users_db_admin_password users_db_password users_db_replication_password \
            analytics_db_admin_password analytics_db_password analytics_db_replication_password \
            redis_users_password redis_analytics_password redis_dashboard_password \
            grafana_password \
            users_secret_key analytics_secret_key dashboard_secret_key client_address_secret; do
    hex | write "$name"
done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2> /dev/null | write jwt_private_key

url() { # SERVICE HOST
    printf 'postgresql://%s:%s@%s:5432/%s\n' "$1" "$(cat "$folder/$1_db_password")" "$2" "$1"
}
url users user-db | write users_database_url
url analytics analytics-db | write analytics_database_url
url analytics analytics-replica | write analytics_replica_url
for app in users analytics dashboard; do
    printf 'redis://footfall-%s:%s@redis:6379/0\n' "$app" "$(cat "$folder/redis_${app}_password")" |
        write "${app}_redis_url"
done
# Given by others, so empty until they are filled in.
for name in smtp_password alert_webhook_url alert_slack_url; do
    write "$name" < /dev/null
    chmod 644 "$folder/$name"
done
echo "Secrets stand in $folder"
