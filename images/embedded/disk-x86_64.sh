#!/bin/sh
# One self-booting disk (BIOS): a FAT partition with syslinux, kernel and initrd, and the root file system behind it.
#
# usage: disk-x86_64.sh ROOT RECIPE WORK OUTPUT     (WORK: what initrd.sh made). Call it in its own mount namespace.
set -eu
root=$1 recipe=$2 work=$3 disk=$4/disk.qcow2
boot_start=2048 boot_sectors=65536 # in sectors of 512 bytes: 1 MiB, 32 MiB
root_start=$((boot_start + boot_sectors))
root_mib=1024
raw=$work/disk.raw

# syslinux names its disk by /proc/PID/fd: that has to be the /proc of the process numbers that we have here.
mount -t proc proc /proc

truncate -s $((root_start * 512 + root_mib * 1048576)) "$raw"
python3 "$recipe/mbr.py" "$raw" "e:$boot_start:$boot_sectors" "83:$root_start:$((root_mib * 2048))"

fat=$raw@@$((boot_start * 512))
sed "s|@options@|$(cat "$work/append")|" "$recipe/syslinux.cfg" >"$work/syslinux.cfg"
mformat -i "$fat" -v BOOT -h 16 -s 63 -T "$boot_sectors" -H "$boot_start" ::
mcopy -i "$fat" "$work/vmlinuz" "$work/initrd" "$work/syslinux.cfg" ::
syslinux --install --offset $((boot_start * 512)) "$raw"

sh "$recipe/filesystem.sh" "$root" "$work" "$raw" $((root_start * 512)) "$root_mib" build output tmp var/cache/apt var/lib/apt
qemu-img convert -c -W -m 8 -f raw -O qcow2 -o compression_type=zstd "$raw" "$disk"
