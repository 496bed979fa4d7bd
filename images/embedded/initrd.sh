#!/bin/sh
# The kernel, a small initrd that loads the few modules the guest needs, and the kernel's command line.
#
# usage: initrd.sh ROOT RECIPE WORK ARCH   (WORK/kernel: the unpacked kernel package); makes WORK/vmlinuz, WORK/initrd, WORK/append
set -eu
root=$1 recipe=$2 work=$3 arch=$4 suite=
. "$recipe/arch/$arch.sh"

cd "$work"
set -- kernel/boot/vmlinuz-*
cp "$1" vmlinuz
version=${1#kernel/boot/vmlinuz-}
depmod -b "$work/kernel" "$version"
# isolcpus: the scheduler moves nobody to another CPU who did not ask for it. A request passes from client to Wine's server to the
# driver and back, and waking an idle emulated CPU for each of them costs more than what they do. On one CPU it is ignored.
echo "$kernel_options" $(cat "$recipe/kernel-options") >append

mkdir -p initrd.d/bin initrd.d/dev initrd.d/proc initrd.d/new initrd.d/modules
cp "$root/bin/busybox" initrd.d/bin/
install -m 755 "$recipe/initrd-init" initrd.d/init
for module in $modules; do
  modprobe -d "$work/kernel" -S "$version" --show-depends "$module" >depends
  sed -n 's/^insmod \([^ ]*\).*/\1/p' depends
done | awk '!seen[$0]++' >insmod.list
if [ "$own_modules" = yes ]; then sh "$recipe/modules.sh" "$recipe" "$work" "$version" >>insmod.list; fi
while IFS= read -r file; do
  cp "$file" initrd.d/modules/
  echo "${file##*/}"
done <insmod.list >initrd.d/modules/list
(cd initrd.d && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -1 >initrd
