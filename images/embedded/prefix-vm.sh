#!/bin/sh
# Runs prefix.sh in a virtual machine, where it needs neither the guest's architecture nor any privilege of the host, and brings
# back what it made.
#
# usage: prefix-vm.sh ROOT RECIPE WORK ARCH   (WORK: what initrd.sh made). Call it in its own mount namespace.
set -eu
root=$1 recipe=$2 work=$3 arch=$4
root_mib=1536 archive_mib=1024

truncate -s "${root_mib}M" "$work/prefix.raw"
truncate -s "${archive_mib}M" "$work/prefix.tar"
sh "$recipe/filesystem.sh" "$root" "$work" "$work/prefix.raw" 0 "$root_mib" build output var/cache/apt var/lib/apt

timeout 900 "qemu-system-$arch" -nodefaults -no-user-config -display none -no-reboot \
  -machine virt -cpu cortex-a72 -accel tcg,thread=multi -smp 2 -m 1024 \
  -kernel "$work/vmlinuz" -initrd "$work/initrd" -append "$(cat "$work/append") halpmc_root=/dev/vda halpmc_init=/tmp/prefix-init" \
  -drive "if=none,id=root,file=$work/prefix.raw,format=raw,cache=unsafe" -device virtio-blk-pci,drive=root \
  -drive "if=none,id=archive,file=$work/prefix.tar,format=raw,cache=unsafe" -device virtio-blk-pci,drive=archive \
  -device virtio-rng-pci -serial "file:$work/prefix.log" </dev/null ||
  echo "prefix-vm.sh: the virtual machine ended with exit status $?" >&2
cat "$work/prefix.log" >&2
grep -q 'halpmc: prefix made' "$work/prefix.log" || { echo "prefix-vm.sh: the prefix was not made, see above" >&2; exit 1; }
tar -x -C "$root" -f "$work/prefix.tar"
rm "$work/prefix.raw" "$work/prefix.tar"
