#!/bin/sh
# The hook of mmdebstrap that turns the installed packages into the guest's disk. Runs on the host side.
#
# usage: customize.sh ROOT      (ROOT/build holds the input, ROOT/output receives the result; see build.sh)
# The lines "halpmc: stage NAME" tell the harness where the build is.
set -eu
root=$1
input=$root/build recipe=$root/build/recipe work=$root/build/work
windows=$root/usr/lib/x86_64-linux-gnu/wine/x86_64-windows
export LC_ALL=C APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"

stage() { echo "halpmc: stage $*" >&2; }

stage kernel
mkdir -p "$work/kernel"
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9]\)/\1/p')
[ -n "$kernel" ] || { echo "customize.sh: linux-image-cloud-amd64 depends on no kernel" >&2; exit 1; }
cd "$work"
apt-get -qq -o APT::Sandbox::User=root download "$kernel" >&2
dpkg-deb --fsys-tarfile linux-image-*.deb | tar -x -C "$work/kernel"
{
  dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package}\t${Version}\n'
  dpkg-deb --show --showformat='${Package}\t${Version}\n' linux-image-*.deb
} >"$root/output/packages.tsv"

stage strip
# GNU strip reduces the file alignment to 512, and Wine then copies each DLL instead of mapping it.
find "$windows" -type f -print0 |
  xargs -0 -P "$(nproc)" -n 16 sh -c 'for dll; do x86_64-w64-mingw32-objcopy --strip-all --file-alignment=4096 "$dll"; done' sh

stage prefix
chown -R 0:0 "$recipe/root"
cp -R "$recipe/root/." "$root/"
install -m 600 "$input/authorized_keys" "$root/etc/ssh/authorized_keys"
install -m 755 "$input/winsh.exe" "$input/bugcheck.exe" "$recipe/guest.reg" "$recipe/prefix.sh" "$root/tmp/"
mkdir -p "$root/usr/local/bin"
chroot "$root" /bin/busybox --install -s /usr/local/bin
timeout 300 chroot "$root" /bin/sh /tmp/prefix.sh
sh "$recipe/slim.sh" "$root" "$windows"

stage boot
sh "$recipe/initrd.sh" "$root" "$recipe" "$work"

stage disk
cp "$root/etc/ssh/ssh_host_ed25519_key.pub" "$root/output/host_key.pub"
unshare --mount sh "$recipe/disk.sh" "$root" "$recipe" "$work" "$root/output/disk.qcow2"
stage store
