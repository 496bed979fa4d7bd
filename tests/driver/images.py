"""Driver images that are wrong in one way each, made from the real build."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pefile

Change = Callable[[pefile.PE], None]


def changed(data: bytes, change: Change, *, checksum: bool = True) -> bytes:
    """The image with one thing changed, and a checksum that is right again unless it shall not be."""
    image = pefile.PE(data=data)
    change(image)
    if checksum:
        image.OPTIONAL_HEADER.CheckSum = pefile.PE(data=bytes(image.write())).generate_checksum()
    return bytes(image.write())


def with_import_name(data: bytes, old: bytes, new: bytes) -> bytes:
    """One imported name replaced by another that is not longer; or the image's name."""
    assert len(new) <= len(old) and data.count(old + b"\0") == 1
    return changed(data.replace(old + b"\0", new.ljust(len(old) + 1, b"\0")), lambda _: None)


def minimal_32_bit() -> bytes:
    """The headers of an i386 image; no more is needed to refuse it."""
    dos = b"MZ" + bytes(58) + struct.pack("<I", 64)
    file_header = struct.pack("<HHIIIHH", 0x14C, 0, 0, 0, 0, 224, 0x102)
    optional = struct.pack("<H", 0x10B) + bytes(222)
    return (dos + b"PE\0\0" + file_header + optional).ljust(1024, b"\0")
