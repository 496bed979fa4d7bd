#!/bin/sh
# Builds our own kernel modules (modules/) for the guest's kernel, and prints their paths.
#
# usage: modules.sh RECIPE WORK VERSION     (VERSION: of the kernel, such as 6.1.0-9-cloud-arm64)
set -eu
recipe=$1 work=$2 version=$3
common=${version%-*-*}-common
kbuild=/usr/lib/linux-kbuild-$(echo "$version" | cut -d. -f1-2)

cd "$work/debs"
apt-get -qq -o APT::Sandbox::User=root download "linux-headers-$version" "linux-headers-$common" >&2
for package in linux-headers-*.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work/kernel"; done
cp -R "$recipe/modules" "$work/"

# The packages name one another by absolute paths, and their build tools are programs of the guest's architecture.
headers=$work/kernel/usr/src/linux-headers-$version
for tree in "$headers" "$work/kernel/usr/src/linux-headers-$common"; do
  for part in scripts tools; do
    if [ -L "$tree/$part" ]; then ln -sfn "$kbuild/$part" "$tree/$part"; fi
  done
done
sed -i "s|/usr/src/linux-headers|$work/kernel&|g" "$headers/Makefile"
make -s -C "$headers" M="$work/modules" ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- modules >&2
aarch64-linux-gnu-strip --strip-debug "$work"/modules/*.ko
ls "$work"/modules/*.ko
