#!/bin/sh
# The kernel and a small initrd that loads the few modules the guest needs.
#
# usage: initrd.sh ROOT RECIPE WORK      (WORK/kernel: the unpacked kernel package); makes WORK/vmlinuz and WORK/initrd
set -eu
root=$1 recipe=$2 work=$3
modules="virtio_pci virtio_blk ext4 virtio_net virtio_rng pvpanic_pci pvpanic_mmio button evdev"

cd "$work"
set -- kernel/boot/vmlinuz-*
cp "$1" vmlinuz
version=${1#kernel/boot/vmlinuz-}
depmod -b "$work/kernel" "$version"

mkdir -p initrd.d/bin initrd.d/dev initrd.d/proc initrd.d/new initrd.d/modules
cp "$root/bin/busybox" initrd.d/bin/
install -m 755 "$recipe/initrd-init" initrd.d/init
for module in $modules; do
  modprobe -d "$work/kernel" -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' >insmod.list
while IFS= read -r file; do
  cp "$file" initrd.d/modules/
  echo "${file##*/}"
done <insmod.list >initrd.d/modules/list
(cd initrd.d && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -1 >initrd
