#!/bin/sh
# One self-booting disk (UEFI): an EFI system partition with systemd-boot, kernel and initrd, and the root file system behind it.
# Kernel and initrd are beside it, too: QEMU loads them itself for cells, because the firmware would cost more than all the rest.
#
# usage: disk-aarch64.sh ROOT RECIPE WORK OUTPUT    (WORK: what initrd.sh made). Call it in its own mount namespace.
set -eu
root=$1 recipe=$2 work=$3 output=$4
boot_start=2048 boot_sectors=131072 # in sectors of 512 bytes: 1 MiB, 64 MiB
root_start=$((boot_start + boot_sectors))
root_mib=1024
raw=$work/disk.raw

truncate -s $((root_start * 512 + (root_mib + 1) * 1048576)) "$raw" # the last MiB: the table's second copy
python3 "$recipe/gpt.py" "$raw" "esp:$boot_start:$boot_sectors" "linux:$root_start:$((root_mib * 2048))"

fat=$raw@@$((boot_start * 512))
sed "s|@options@|$(cat "$work/append")|" "$recipe/loader-entry.conf" >"$work/guest.conf"
echo "timeout 0" >"$work/loader.conf"
mformat -i "$fat" -v BOOT -h 64 -s 32 -T "$boot_sectors" -H "$boot_start" ::
mmd -i "$fat" ::EFI ::EFI/BOOT ::loader ::loader/entries
mcopy -i "$fat" "$work/kernel/usr/lib/systemd/boot/efi/systemd-bootaa64.efi" ::EFI/BOOT/BOOTAA64.EFI
mcopy -i "$fat" "$work/loader.conf" ::loader/
mcopy -i "$fat" "$work/guest.conf" ::loader/entries/
mcopy -i "$fat" "$work/vmlinuz" "$work/initrd" ::

sh "$recipe/filesystem.sh" "$root" "$work" "$raw" $((root_start * 512)) "$root_mib" build output tmp var/cache/apt var/lib/apt
qemu-img convert -c -W -m 8 -f raw -O qcow2 -o compression_type=zstd "$raw" "$output/disk.qcow2"
cp "$work/vmlinuz" "$work/initrd" "$work/append" "$output/"
