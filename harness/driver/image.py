"""What a file must be to be loaded as a kernel driver, read from its PE headers before a guest is started for it."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from harness.config.models import Arch
from harness.errors import UsageError

MACHINES = {0x8664: Arch.X86_64, 0xAA64: Arch.AARCH64}
SUBSYSTEM_NATIVE = 1
PE_OFFSET_AT = 0x3C
COFF_BYTES = 24
SUBSYSTEM_AT = 68  # in the optional header of PE32+
PE32_PLUS = 0x20B


def check_driver_file(path: Path, arch: Arch) -> str:
    """The SHA-256 of a file that can be a kernel driver for this architecture.

    Raises UsageError: not readable, no 64-bit PE file, another architecture, not of the native subsystem.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", remedy="give the path of a .sys file on this host"
        ) from None
    try:
        machine, subsystem = _headers(data)
    except (struct.error, ValueError):
        raise UsageError(
            f"{path} is not a 64-bit Windows executable", remedy="give the linked .sys file"
        ) from None
    built_for = MACHINES.get(machine)
    if built_for is not arch:
        raise UsageError(
            f"{path} is built for {built_for or hex(machine)}, the guest is {arch}",
            remedy="build it for the guest's architecture, or choose another guest",
        )
    if subsystem != SUBSYSTEM_NATIVE:
        raise UsageError(
            f"{path} is not a kernel driver: its subsystem is {subsystem}",
            remedy="link it with /subsystem:native /driver",
        )
    return hashlib.sha256(data).hexdigest()


def _headers(data: bytes) -> tuple[int, int]:
    """Machine and subsystem. Raises ValueError or struct.error for anything else than a PE32+ file."""
    (offset,) = struct.unpack_from("<I", data, PE_OFFSET_AT)
    if data[:2] != b"MZ" or data[offset : offset + 4] != b"PE\0\0":
        raise ValueError("no PE file")
    (machine,) = struct.unpack_from("<H", data, offset + 4)
    optional = offset + COFF_BYTES
    (magic,) = struct.unpack_from("<H", data, optional)
    (subsystem,) = struct.unpack_from("<H", data, optional + SUBSYSTEM_AT)
    if magic != PE32_PLUS:
        raise ValueError("not 64-bit")
    return machine, subsystem
