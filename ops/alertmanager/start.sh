#!/bin/sh
# Writes Alertmanager's configuration from settings, then becomes Alertmanager with the words given.
#
#   ALERT_EMAIL_TO   addresses that alerts are mailed to, separated by commas; by SMTP_HOST,
#                    SMTP_PORT (587), SMTP_SECURITY (starttls | tls | none), SMTP_USERNAME and
#                    MAIL_FROM, as the users service has them
#   SECRETS_DIR      holds alert_webhook_url, alert_slack_url and smtp_password, each of which may
#                    be missing or empty (/run/secrets)
#   RUN_DIR          where the configuration is written (/tmp/alertmanager)
#   DATA_DIR         keeps silences and who was told what (/alertmanager)
#
# No address, no webhook, no Slack: alerts are shown and nobody is told. The secrets stay in their
# files, which Alertmanager reads each time it tells somebody.
set -eu
umask 077
run=${RUN_DIR:-/tmp/alertmanager}
secrets=${SECRETS_DIR:-/run/secrets}
sender=${MAIL_FROM:-Footfall <footfall@localhost>}
port=${SMTP_PORT:-587}
security=${SMTP_SECURITY:-starttls}
refused=''
told=''

complain() { # MESSAGE: all are said before the script ends
    echo "alertmanager: $1" >&2
    refused=yes
}
quoted() { # TEXT: as YAML takes it, whatever is in it
    printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"
}
is_address() {
    case $1 in
        *[[:space:]]* | *[{}\<\>\"\(\),\;]* | *@*@* | @* | *@) return 1 ;;
        *@*) return 0 ;;
        *) return 1 ;;
    esac
}
is_port() {
    case $1 in
        *[!0-9]* | ??????*) return 1 ;;
        *) [ "$1" -ge 1 ] && [ "$1" -le 65535 ] ;;
    esac
}
holds_url() { # NAME: whether that secret is given; what it holds is never said
    [ -e "$secrets/$1" ] || return 1
    [ -r "$secrets/$1" ] || { complain "the secret $1 can't be read"; return 1; }
    case $(cat "$secrets/$1") in
        '') return 1 ;;
        *[[:space:]]*) complain "the secret $1 must be one URL without spaces" ;;
        http://?* | https://?*) return 0 ;;
        *) complain "the secret $1 must be a URL that begins with http:// or https://" ;;
    esac
    return 1
}
check_mail() {
    set -f
    IFS=,
    for each in $ALERT_EMAIL_TO; do
        each=${each#"${each%%[![:space:]]*}"}
        each=${each%"${each##*[![:space:]]}"}
        is_address "$each" || complain "ALERT_EMAIL_TO: '$each' is not an email address"
        recipients=${recipients:+$recipients, }$each
    done
    unset IFS
    set +f
    address=${sender##*<}
    # Braces would begin a template.
    case $sender in *[[:cntrl:]]* | *[{}]*) address='' ;; esac
    is_address "${address%>}" || complain "MAIL_FROM: '$sender' is not an email address"
    case ${SMTP_HOST:-} in
        '') complain "ALERT_EMAIL_TO needs SMTP_HOST, the mail server that sends the alerts" ;;
        *[[:space:]/]*) complain "SMTP_HOST: '$SMTP_HOST' is not a host name" ;;
        *:*) host="[$SMTP_HOST]" ;;
        *) host=$SMTP_HOST ;;
    esac
    is_port "$port" || complain "SMTP_PORT must be a number from 1 to 65535"
    case $security:$port in
        starttls:465 | none:465) complain "SMTP_PORT=465 needs SMTP_SECURITY=tls" ;;
        starttls:* | none:* | tls:465) ;;
        tls:*) complain "SMTP_SECURITY=tls needs SMTP_PORT=465: Alertmanager speaks TLS from the start on no other port" ;;
        *) complain "SMTP_SECURITY must be starttls, tls or none" ;;
    esac
    if [ -n "${SMTP_USERNAME:-}" ] && [ ! -s "$secrets/smtp_password" ]; then
        complain "SMTP_USERNAME needs the secret smtp_password"
    fi
}

email() {
    cat <<END
    email_configs:
      - to: $(quoted "$recipients")
        from: $(quoted "$sender")
        smarthost: $(quoted "$host:$port")
        require_tls: $([ "$security" = starttls ] && echo true || echo false)
        send_resolved: true
        headers: {Subject: '{{ template "footfall.title" . }}'}
        html: ''
        text: '{{ template "footfall.text" . }}'
END
    [ -z "${SMTP_USERNAME:-}" ] || cat <<END
        auth_username: $(quoted "$SMTP_USERNAME")
        auth_password_file: $(quoted "$secrets/smtp_password")
END
}
webhook() {
    cat <<END
    webhook_configs:
      - url_file: $(quoted "$secrets/alert_webhook_url")
        send_resolved: true
END
}
slack() {
    cat <<END
    slack_configs:
      - api_url_file: $(quoted "$secrets/alert_slack_url")
        send_resolved: true
        title: '{{ template "footfall.title" . }}'
        text: '{{ template "footfall.text" . }}'
        fallback: '{{ template "footfall.title" . }}'
END
}

recipients='' host=''
mkdir -p "$run"
cp "$(dirname "$0")/alertmanager.yml" "$(dirname "$0")/footfall.tmpl" "$run/"
if [ -n "${ALERT_EMAIL_TO:-}" ]; then
    check_mail
    email >> "$run/alertmanager.yml"
    told="$told, by mail to $recipients"
fi
if holds_url alert_webhook_url; then
    webhook >> "$run/alertmanager.yml"
    told="$told, by webhook"
fi
if holds_url alert_slack_url; then
    slack >> "$run/alertmanager.yml"
    told="$told, by Slack"
fi
[ -z "$refused" ] || exit 1
if [ -n "$told" ]; then
    echo "alertmanager: alerts are told${told#,}"
else
    echo "alertmanager: alerts are only shown, nobody is told: set ALERT_EMAIL_TO, or write the secret alert_webhook_url or alert_slack_url"
fi

exec alertmanager --config.file="$run/alertmanager.yml" \
    --storage.path="${DATA_DIR:-/alertmanager}" --cluster.listen-address= "$@"
