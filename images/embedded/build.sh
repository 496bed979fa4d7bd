#!/bin/sh
# Makes the disk of the embedded guest: Debian + OpenSSH + Wine.
#
# usage: build.sh MODE ARCH SUITE INPUT OUTPUT
#   MODE    root or unshare (see mmdebstrap)
#   ARCH    x86_64 (a self-booting disk) or aarch64 (the same, with the kernel and the initrd beside it)
#   SUITE   the Debian suite, such as bookworm
#   INPUT   a folder: recipe/ (this folder), winsh.exe, bugcheck.exe, authorized_keys
#   OUTPUT  an existing folder; receives disk.qcow2, host_key.pub, packages.tsv, and for aarch64 vmlinuz, initrd, append
#
# All work happens in hooks of mmdebstrap, below its own temporary folder, which it removes also after a
# failure or a signal. Files go in and out by mmdebstrap's sync hooks, because in mode unshare the other hooks run as a
# user that may read neither INPUT nor OUTPUT.
set -eu
mode=$1 arch=$2 suite=$3 input=$4 output=$5
. "$input/recipe/arch/$arch.sh"

# What nobody reads here, as patterns for dpkg. Extracting without dpkg, each would slow everything down: slim.sh removes it then.
# The hooks are those that run last: nothing follows the extraction in variant extract.
if [ "$variant" = extract ]; then
  hook=extract
  set --
else
  hook=customize
  set -- --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/lib/*/wine/i386-windows/*'
fi

exec mmdebstrap --mode="$mode" --variant="$variant" --architectures="$debian_arch" --skip=check/qemu \
  --include=base-files,openssh-server,openssh-sftp-server,wine64,libwine,busybox-static,dash \
  --aptopt='Apt::Install-Recommends "false"' "$@" \
  --setup-hook="[ $kernel_suite = $suite ] || sed 's/ $suite/ $kernel_suite/' \"\$1/etc/apt/sources.list\" >\"\$1/etc/apt/sources.list.d/kernel.list\"" \
  --$hook-hook='mkdir "$1/build" "$1/output"' \
  --$hook-hook="sync-in \"$input\" /build" \
  --$hook-hook="sh \"\$1/build/recipe/customize.sh\" \"\$1\" $arch $suite" \
  --$hook-hook="sync-out /output \"$output\"" \
  "$suite" /dev/null
