#!/bin/sh
# The root file system: an ext4 in a disk image, with the content of the root but not of the folders that are named.
#
# usage: filesystem.sh ROOT WORK IMAGE OFFSET MIB FOLDER...    (OFFSET in bytes). Call it in its own mount namespace.
set -eu
root=$1 work=$2 image=$3 offset=$4 mib=$5
shift 5

# A second view of the root, without what is mounted on it (/proc, /dev), and without what is not the guest's.
view=$(mktemp -d "$work/view.XXXXXX")
mkdir -p "$work/empty"
mount --bind "$root" "$view"
for folder; do mount --bind "$work/empty" "$view/$folder"; done
mke2fs -q -t ext4 -O '^has_journal,^metadata_csum' -m 0 -N 30000 -E "offset=$offset" -d "$view" "$image" "${mib}M"
