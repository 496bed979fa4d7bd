#!/bin/sh
# Inside the guest's root: the small commands, the SSH host key and the Wine prefix.
set -eu
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

/bin/busybox --install -s /usr/local/bin

rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C embedded -f /etc/ssh/ssh_host_ed25519_key

# /C: is a real folder, so that SFTP paths look as they do with Win32-OpenSSH: /C:/folder/file
mkdir /C: /wine
ln -s /C: /wine/drive_c

. /etc/wine-environment
# On a busy host that emulates, this takes longer than the five minutes that Wine waits for it. It then goes on in the background.
"$WINE" wineboot.exe --init </dev/null >/dev/null 2>&1 || echo "prefix.sh: wineboot: exit status $?, waiting for its end" >&2
"$WINESERVER" -w
"$WINE" regedit.exe /S 'Z:\tmp\guest.reg' </dev/null >/dev/null 2>&1 || { echo "prefix.sh: regedit failed" >&2; exit 1; }
"$WINESERVER" -k
"$WINESERVER" -w
grep -q '"hal"="native,builtin"' /wine/user.reg || { echo "prefix.sh: guest.reg did not reach the registry" >&2; exit 1; }

echo disable >/wine/.update-timestamp # else each start compares and maybe rewrites the whole prefix
system32=/C:/windows/system32
install -m 755 /tmp/winsh.exe /tmp/bugcheck.exe "$system32/"

# hal.dll is replaced by the reference HAL later; what that forwards to is Wine's own hal, under another name and without
# the marker that makes Wine load its built-in library instead of the file.
cp "$system32/hal.dll" "$system32/halwine.dll"
[ "$(dd if="$system32/halwine.dll" bs=1 skip=64 count=16 status=none)" = "Wine builtin DLL" ] ||
  { echo "prefix.sh: hal.dll has no builtin marker at offset 64" >&2; exit 1; }
dd if=/dev/zero of="$system32/halwine.dll" bs=1 seek=64 count=32 conv=notrunc status=none
