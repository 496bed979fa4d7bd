"""Writes the first sector of a disk: syslinux's boot code, and the partition table with its first partition active.

usage: mbr.py DISK TYPE:START:SECTORS ...      (type hexadecimal; start and length in sectors of 512 bytes)
"""

import struct
import sys
from pathlib import Path

BOOT_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")
NO_CHS = b"\xfe\xff\xff"  # "beyond what cylinder, head and sector can say": use the sector numbers

disk, *partitions = sys.argv[1:]
table = b""
for index, partition in enumerate(partitions):
    kind, start, sectors = partition.split(":")
    active = 0x80 if index == 0 else 0
    table += struct.pack("<B3sB3sII", active, NO_CHS, int(kind, 16), NO_CHS, int(start), int(sectors))
sector = BOOT_CODE.read_bytes()[:440].ljust(446, b"\0") + table.ljust(64, b"\0") + b"\x55\xaa"
with Path(disk).open("r+b") as file:
    file.write(sector)
