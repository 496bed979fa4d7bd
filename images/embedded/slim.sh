#!/bin/sh
# Takes out of the guest what only costs time or space.
#
# usage: slim.sh ROOT WINDOWS      (WINDOWS: the folder of Wine's DLLs inside ROOT)
set -eu
root=$1 windows=$2
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale"
cd "$root/C:/windows"

# Drivers for buses that no test uses. Without the files their services fail at once; deleting the services makes boots slower.
for name in winebus wineusb winehid winexinput; do
  rm -f "$windows/$name.sys" "system32/drivers/$name.sys"
done

# Without this library Wine looks for no fonts, which every program that loads user32 (cmd.exe too) would otherwise pay for.
rm -f "$root"/usr/lib/*/libfontconfig.so.*

# The prefix holds a copy of each library: make them one file. Not hal.dll: it is overwritten in place per cell.
find . -type f -size +4k ! -name hal.dll -print | while IFS= read -r file; do
  library=$windows/${file##*/}
  if cmp -s "$file" "$library"; then ln -f "$library" "$file"; fi
done
