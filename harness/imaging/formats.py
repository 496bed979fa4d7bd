"""What a disk image is, read from its content; and the refusal of images that refer to other files.

This comes before any tool opens the image: a file that names another one (a parent, external data) could have that read
into the copy. Nothing but an image's own bytes is looked at, and its name counts for nothing.

Sources of the layouts: QEMU's docs/interop/qcow2.txt; Microsoft's Virtual Hard Disk Image Format Specification and
[MS-VHDX]; VMware's Virtual Disk Format 5.0.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from harness.errors import UsageError

SECTOR = 512
BOOT_SIGNATURE = b"\x55\xaa"
MAX_DESCRIPTOR = 1 << 20
FLATTEN = "make one file of it first: qemu-img convert -O qcow2 DISK COPY, where you trust what it refers to"


class DiskFormat(StrEnum):
    """Formats of disk images that can be imported."""

    QCOW2 = "qcow2"
    VHDX = "vhdx"
    VHD = "vhd"
    VMDK = "vmdk"
    RAW = "raw"

    @property
    def driver(self) -> str:
        """QEMU's name for it."""
        return "vpc" if self is DiskFormat.VHD else self.value


@dataclass(frozen=True)
class Probed:
    """What an image is: its format, and which kind of it in words."""

    format: DiskFormat
    detail: str


def probe(path: Path, wanted: DiskFormat | None = None) -> Probed:
    """The format of an image by its content. `wanted` says what it has to be; raw images may need that.

    Raises UsageError: no disk image, another format than wanted, parts in other files, encrypted.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            found = _probe(file, size)
            if found is None and wanted is not DiskFormat.RAW and not _has_partitions(file, size):
                raise UsageError(
                    f"{path} is no disk image that can be told by its content",
                    remedy="if it is a raw image of a disk without partitions, say so: --format raw",
                )
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except _RefusedError as refused:
        raise UsageError(f"{path} {refused}", remedy=refused.remedy) from None
    except struct.error:
        raise UsageError(f"{path} ends in the middle of its header") from None
    found = found or Probed(DiskFormat.RAW, "raw")
    if wanted is not None and wanted is not found.format:
        raise UsageError(f"{path} is {found.detail}, not {wanted}", remedy="leave --format out")
    return found


class _RefusedError(Exception):
    def __init__(self, why: str, remedy: str = FLATTEN) -> None:
        super().__init__(why)
        self.remedy = remedy


def _probe(file: BinaryIO, size: int) -> Probed | None:
    head = _read(file, 0, SECTOR)
    if head.startswith(b"QFI\xfb"):
        return _qcow2(head)
    if head.startswith(b"vhdxfile"):
        return Probed(DiskFormat.VHDX, "vhdx")  # one with a parent is refused by QEMU, which cannot read it
    if head.startswith((b"KDMV", b"COWD")):
        return _vmdk(file, head)
    if re.match(rb"\s*#\s*Disk DescriptorFile", head, re.IGNORECASE):
        raise _RefusedError("is a VMDK whose data are in other files")
    if head.startswith(b"conectix"):
        return _vhd(head)
    if size % SECTOR == 0 and size >= SECTOR:
        tail = _read(file, size - SECTOR, SECTOR)
        if tail.startswith(b"conectix"):
            return _vhd(tail)
    return None


def _qcow2(head: bytes) -> Probed:
    version, backing = struct.unpack_from(">IQ", head, 4)
    encryption = struct.unpack_from(">I", head, 32)[0]
    features = struct.unpack_from(">Q", head, 72)[0] if version >= 3 else 0
    if backing:
        raise _RefusedError("is an overlay: the rest of the disk is in another file")
    if features & 1 << 2:
        raise _RefusedError("has its data in another file")
    if encryption:
        raise _RefusedError("is encrypted", "decrypt it first, with qemu-img convert and its secret")
    return Probed(DiskFormat.QCOW2, f"qcow2 version {version}")


def _vhd(footer: bytes) -> Probed:
    kinds = {2: "fixed VHD", 3: "dynamic VHD"}
    kind = struct.unpack_from(">I", footer, 60)[0]
    if kind == 4:
        raise _RefusedError("is a differencing VHD: the rest of the disk is in another file")
    if kind not in kinds:
        raise _RefusedError(f"is a VHD of the unknown kind {kind}", "look whether the file is whole")
    return Probed(DiskFormat.VHD, kinds[kind])


def _vmdk(file: BinaryIO, head: bytes) -> Probed:
    if head.startswith(b"COWD"):
        raise _RefusedError("is a VMDK of ESX, whose parts are in other files")
    offset, sectors = struct.unpack_from("<QQ", head, 28)
    if not offset or sectors * SECTOR > MAX_DESCRIPTOR:
        raise _RefusedError("is a part of a VMDK, without its description")
    text = _read(file, offset * SECTOR, sectors * SECTOR).split(b"\0", maxsplit=1)[0].decode(errors="replace")
    created = re.search(r'^createType\s*=\s*"([^"]*)"', text, re.MULTILINE)
    kind = created.group(1) if created else "unknown"
    extents = re.findall(r"^(?:RW|RDONLY|NOACCESS)\s", text, re.MULTILINE)
    parent = re.search(r"^parentCID\s*=\s*(\w+)", text, re.MULTILINE)
    if kind not in ("monolithicSparse", "streamOptimized") or len(extents) != 1:
        raise _RefusedError(f"is a VMDK of {len(extents)} parts ({kind})")
    if "parentFileNameHint" in text or (parent and parent.group(1).lower() != "ffffffff"):
        raise _RefusedError("is a VMDK snapshot: the rest of the disk is in another file")
    return Probed(DiskFormat.VMDK, f"VMDK ({kind})")


def _has_partitions(file: BinaryIO, size: int) -> bool:
    """A raw disk that cannot be taken for anything else: a GPT, or an MBR whose partitions lie on the disk."""
    if size % SECTOR or size < 2 * SECTOR:
        return False
    if is_gpt(file):
        return True
    table = _read(file, 0, SECTOR)
    if table[510:] != BOOT_SIGNATURE:
        return False
    entries = [struct.unpack_from("<B3xB3xII", table, 446 + 16 * number) for number in range(4)]
    used = [(status, start, length) for status, kind, start, length in entries if kind]
    return bool(used) and all(
        status in (0, 0x80) and start > 0 and length > 0 and (start + length) * SECTOR <= size
        for status, start, length in used
    )


def is_gpt(file: BinaryIO) -> bool:
    """Whether a raw disk has a GUID partition table: it is made to be booted by UEFI."""
    return _read(file, SECTOR, 8) == b"EFI PART"


def has_boot_record(file: BinaryIO) -> bool:
    """Whether a raw disk has a GUID partition table, or a first sector with partitions or a program to boot."""
    return is_gpt(file) or _read(file, 510, 2) == BOOT_SIGNATURE


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
