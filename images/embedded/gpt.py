"""Gives a disk a GUID partition table (UEFI Specification 2.10, chapter 5), the form that UEFI boots from.

usage: gpt.py DISK TYPE:START:SECTORS ...     (TYPE: esp or linux; start and length in sectors of 512 bytes)
"""

import struct
import sys
import uuid
import zlib
from pathlib import Path

SECTOR = 512
ENTRIES, ENTRY_SIZE = 128, 128
TABLE_SECTORS = ENTRIES * ENTRY_SIZE // SECTOR
TYPES = {
    "esp": uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
    "linux": uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4"),
}

path, *partitions = sys.argv[1:]
last = Path(path).stat().st_size // SECTOR - 1
disk_id = uuid.uuid4()

table = b""
for partition in partitions:
    kind, start, sectors = partition.split(":")
    end = int(start) + int(sectors) - 1
    if not 2 + TABLE_SECTORS <= int(start) <= end < last - TABLE_SECTORS:
        sys.exit(f"gpt.py: no room for {partition}")
    names = kind.encode("utf-16-le")
    table += struct.pack(
        "<16s16sQQQ72s", TYPES[kind].bytes_le, uuid.uuid4().bytes_le, int(start), end, 0, names
    )
table = table.ljust(ENTRIES * ENTRY_SIZE, b"\0")


def header(here: int, other: int, entries: int) -> bytes:
    """The header that lies in sector `here`; the other copy is in `other`, the table of this one from `entries` on."""
    first, room = 2 + TABLE_SECTORS, last - TABLE_SECTORS - 1
    crc = zlib.crc32(table)

    def packed(own_crc: int) -> bytes:
        fields = (b"EFI PART", 0x10000, 92, own_crc, 0, here, other, first, room, disk_id.bytes_le)
        return struct.pack("<8sIIIIQQQQ16sQIII", *fields, entries, ENTRIES, ENTRY_SIZE, crc)

    return packed(zlib.crc32(packed(0))).ljust(SECTOR, b"\0")


# The protective MBR: to who does not know GUID partition tables the disk is one full partition.
whole = struct.pack("<B3sB3sII", 0, b"\x00\x02\x00", 0xEE, b"\xff\xff\xff", 1, min(last, 0xFFFFFFFF))
with Path(path).open("r+b") as disk:
    disk.write(bytes(446) + whole.ljust(64, b"\0") + b"\x55\xaa")
    disk.write(header(1, last, 2) + table)
    disk.seek((last - TABLE_SECTORS) * SECTOR)
    disk.write(table + header(last, 1, last - TABLE_SECTORS))
