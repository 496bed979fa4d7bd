#!/bin/sh
# Makes the disk of the embedded guest: Debian + OpenSSH + Wine, self-booting.
#
# usage: build.sh MODE SUITE INPUT OUTPUT
#   MODE    root or unshare (see mmdebstrap)
#   SUITE   the Debian suite, such as bookworm
#   INPUT   a folder: recipe/ (this folder), winsh.exe, bugcheck.exe, authorized_keys
#   OUTPUT  an existing folder; receives disk.qcow2, host_key.pub and packages.tsv
#
# All work happens in hooks of mmdebstrap, below its own temporary folder, which it removes also after a
# failure or a signal. Files go in and out by mmdebstrap's sync hooks, because in mode unshare the other hooks run as a
# user that may read neither INPUT nor OUTPUT.
set -eu
mode=$1 suite=$2 input=$3 output=$4

exec mmdebstrap --mode="$mode" --variant=essential --architectures=amd64 \
  --include=openssh-server,openssh-sftp-server,wine64,libwine,busybox-static,dash \
  --aptopt='Apt::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/lib/x86_64-linux-gnu/wine/i386-windows/*' \
  --customize-hook='mkdir "$1/build" "$1/output"' \
  --customize-hook="sync-in \"$input\" /build" \
  --customize-hook='sh "$1/build/recipe/customize.sh" "$1"' \
  --customize-hook="sync-out /output \"$output\"" \
  "$suite" /dev/null
