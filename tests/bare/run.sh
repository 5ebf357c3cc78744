#!/usr/bin/env bash
# A command in a clean clone of HEAD on a bare Debian in a folder: python3, python3-venv and make.
#
#   tests/bare/run.sh [--user] [--fresh] SUITE COMMAND…     SUITE is trixie, bookworm …
#
# Needs root and debootstrap. The clone lies below /root (mode 0700) or, with --user, in somebody's
# home; --fresh makes the system anew. Its folder is kept: BARE_DIR (/var/tmp/footfall-bare-SUITE).
# Ends as the command does.
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() {
    sed -n '2,8p' tests/bare/run.sh >&2
    exit 2
}

user=root home=/root fresh=''
while [[ ${1:-} == --* ]]; do
    case $1 in
        --user) user=somebody home=/home/somebody ;;
        --fresh) fresh=yes ;;
        *) usage ;;
    esac
    shift
done
[[ $# -ge 2 ]] || usage
bare=${BARE_DIR:-/var/tmp/footfall-bare-$1}
if [[ ! -e $bare.mark && ! -e $bare/.made && -n $(ls -A "$bare" 2> /dev/null) ]]; then
    echo "$bare holds something else: nothing is removed there." >&2
    exit 1
fi
if [[ $(id -u) != 0 ]] || ! command -v debootstrap > /dev/null; then
    echo "Skipped: a bare machine needs root and debootstrap."
    exit 0
fi
suite=$1
shift

unmount() {
    for each in dev/shm proc; do umount "$bare/$each" 2> /dev/null || true; done
}
trap unmount EXIT
unmount
[[ -z $fresh ]] || rm -rf --one-file-system "$bare"
if [[ ! -e $bare/.made ]]; then
    rm -rf --one-file-system "$bare"
    touch "$bare.mark"
    # shellcheck disable=SC2016  # it is apt-get that fills it in
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
        awk '!/security/ && !found++')
    echo "Making a bare $suite in $bare …"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,make \
        "$suite" "$bare" "$mirror" > "$bare.log" 2>&1 || {
        tail -n 5 "$bare.log" >&2
        exit 1
    }
    chroot "$bare" useradd --create-home somebody
    touch "$bare/.made"
fi
# Names, certificates and the settings of apt and pip are this machine's.
cp -L /etc/resolv.conf /etc/hosts "$bare/etc/"
cp -L /etc/ssl/certs/ca-certificates.crt "$bare/etc/ssl/certs/"
cp -L /etc/apt/apt.conf.d/99* "$bare/etc/apt/apt.conf.d/" 2> /dev/null || true
index=$(python3 -m pip config get global.index-url 2> /dev/null || true)
mount -t proc proc "$bare/proc"
mkdir -p "$bare/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$bare/dev/shm"
rm -rf --one-file-system "$bare$home/clone"
git clone --quiet . "$bare$home/clone"
chroot "$bare" chown -R "$user:" "$home/clone"
certificates=/etc/ssl/certs/ca-certificates.crt
chroot --userspec="$user:$user" "$bare" env -i HOME="$home" USER="$user" LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    SSL_CERT_FILE=$certificates PIP_CERT=$certificates NODE_EXTRA_CA_CERTS=$certificates \
    ${index:+PIP_INDEX_URL="$index"} sh -c "cd ~/clone && exec \"\$@\"" sh "$@"
