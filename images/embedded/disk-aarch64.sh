#!/bin/sh
# The root file system as a disk, and beside it what QEMU boots it with: booting through UEFI would cost more than all the rest.
#
# usage: disk-aarch64.sh ROOT RECIPE WORK OUTPUT    (WORK: what initrd.sh made). Call it in its own mount namespace.
set -eu
root=$1 recipe=$2 work=$3 output=$4
root_mib=1024
raw=$work/disk.raw

truncate -s "${root_mib}M" "$raw"
sh "$recipe/filesystem.sh" "$root" "$work" "$raw" 0 "$root_mib" build output tmp var/cache/apt var/lib/apt
qemu-img convert -c -W -m 8 -f raw -O qcow2 -o compression_type=zstd "$raw" "$output/disk.qcow2"
cp "$work/vmlinuz" "$work/initrd" "$work/append" "$output/"
