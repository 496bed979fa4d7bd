#!/bin/sh
# The hook of mmdebstrap that turns the installed packages into the guest's disk. Runs on the host side.
#
# usage: customize.sh ROOT ARCH SUITE     (ROOT/build holds the input, ROOT/output receives the result; see build.sh)
# The lines "halpmc: stage NAME" tell the harness where the build is.
set -eu
root=$1 arch=$2 suite=$3
input=$root/build recipe=$root/build/recipe work=$root/build/work
. "$recipe/arch/$arch.sh"
windows=$root/usr/lib/$triplet/wine/$arch-windows
export LC_ALL=C APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"

stage() { echo "halpmc: stage $*" >&2; }
fail() { echo "customize.sh: $*" >&2; exit 1; }

stage kernel
mkdir -p "$work/kernel" "$work/debs"
kernel=$(apt-cache show "linux-image-cloud-$debian_arch" | sed -n "s/^Depends:.* \(linux-image-$kernel_series\.[^ ,]*\).*/\1/p" | head -n 1)
[ -n "$kernel" ] || fail "linux-image-cloud-$debian_arch of $kernel_suite depends on no kernel $kernel_series"
cd "$work/debs"
apt-get -qq -o APT::Sandbox::User=root download "$kernel" $loader_package >&2
for package in *.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work/kernel"; done
{
  if [ "$variant" = extract ]; then
    for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb --show --showformat='${Package}\t${Version}\n' "$package"; done
  else
    dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package}\t${Version}\n'
  fi
  for package in "$work"/debs/*.deb; do dpkg-deb --show --showformat='${Package}\t${Version}\n' "$package"; done
} >"$root/output/packages.tsv"

stage strip
find "$windows" -type f -print0 |
  xargs -0 -P "$(nproc)" -n 16 sh -c 'strip=$1; shift; for dll; do $strip "$dll"; done' sh "$strip_dll"

stage boot
sh "$recipe/initrd.sh" "$root" "$recipe" "$work" "$arch"

stage prefix
chown -R 0:0 "$recipe/root"
cp -R "$recipe/root/." "$root/"
install -m 600 "$input/authorized_keys" "$root/etc/ssh/authorized_keys"
install -m 755 "$input/winsh.exe" "$input/bugcheck.exe" "$recipe/guest.reg" "$recipe/prefix.sh" "$recipe/prefix-init" "$root/tmp/"
mkdir -p "$root/usr/local/bin"
if [ "$variant" = extract ]; then
  unshare --mount sh "$recipe/prefix-vm.sh" "$root" "$recipe" "$work" "$arch"
else
  timeout 300 chroot "$root" /bin/sh /tmp/prefix.sh
fi
sh "$recipe/slim.sh" "$root" "$windows"

stage disk
cp "$root/etc/ssh/ssh_host_ed25519_key.pub" "$root/output/host_key.pub"
unshare --mount sh "$recipe/disk-$arch.sh" "$root" "$recipe" "$work" "$root/output"
stage store
