"""Guest memory written by QEMU's dump-guest-memory: ELF cores, and kdump files (flattened, as QEMU writes them).

Formats: the ELF specification; makedumpfile's IMPLEMENTATION and diskdump_mod.h; QEMU's include/sysemu/dump.h.
"""

from __future__ import annotations

from harness.dumps.image import Image
from harness.dumps.models import VmCore
from harness.errors import DumpError

ELF_MAGIC = b"\x7fELF"
KDUMP_MAGIC = b"KDUMP   "
FLATTENED_MAGIC = b"makedumpfile\0"
#: A flattened file is 4 KiB of header, then records: offset and size (big-endian, 64 bits), data.
FLATTENED_START = 4096 + 16
FLATTENED_END = b"\xff" * 16
#: QEMU names i386 when the guest is not (or not yet) in 64-bit mode.
ELF_MACHINES = {3: "i386", 62: "x86_64", 183: "aarch64"}
CORE, PT_LOAD, PT_NOTE, NT_PRSTATUS, ELF64_LITTLE = 4, 1, 4, 1, b"\x02\x01"
PROGRAM_HEADER_SIZE, MANY_HEADERS, SECTION_INFO = 56, 0xFFFF, 44
#: In the disk dump header.
UTS_MACHINE, BLOCK_SIZE, MAX_PAGE, CPUS = 12 + 4 * 65, 428, 440, 460


def read_kdump(image: Image) -> VmCore:
    """Raises DumpError when it is truncated or damaged."""
    start = 0
    if image.bytes(0, len(FLATTENED_MAGIC)) == FLATTENED_MAGIC:
        start = FLATTENED_START
        image.bytes(start, CPUS + 4)
        if image.bytes(len(image) - len(FLATTENED_END), len(FLATTENED_END)) != FLATTENED_END:
            raise DumpError(f"{image.path}: truncated: its end mark is missing, so writing it was cut short")
    if image.bytes(start, len(KDUMP_MAGIC)) != KDUMP_MAGIC:
        raise DumpError(f"{image.path}: damaged: a flattened file that does not start with a kdump header")
    machine = image.bytes(start + UTS_MACHINE, 65).partition(b"\0")[0].decode("ascii", "replace")
    return VmCore(
        dump_type="kdump",
        machine=machine.lower(),  # QEMU 7.2 writes "Unknown" for aarch64
        cpus=image.u32(start + CPUS),
        physical_end=image.u32(start + MAX_PAGE) * image.u32(start + BLOCK_SIZE),
    )


def read_elf(image: Image) -> VmCore:
    """Raises DumpError when it is truncated, of another architecture, or no core."""
    if image.bytes(4, 2) != ELF64_LITTLE:
        raise DumpError(f"{image.path}: an ELF file that is not 64-bit little-endian")
    if image.u16(16) != CORE:
        raise DumpError(f"{image.path}: an ELF file that is no core dump")
    machine = image.u16(18)
    if machine not in ELF_MACHINES:
        raise DumpError(
            f"{image.path}: an ELF core of machine {machine}; only those of x86 and aarch64 are read"
        )
    count = image.u16(56)
    if count == MANY_HEADERS:  # the true number is then in the first section header
        count = image.u32(image.u64(40) + SECTION_INFO)
    cpus = end = 0
    for at in range(image.u64(32), image.u64(32) + count * PROGRAM_HEADER_SIZE, PROGRAM_HEADER_SIZE):
        kind, offset, size = image.u32(at), image.u64(at + 8), image.u64(at + 32)
        image.bytes(offset + size, 0)
        if kind == PT_LOAD:
            end = max(end, image.u64(at + 24) + size)
        elif kind == PT_NOTE:
            cpus += _cpus(image, offset, offset + size)
    return VmCore(dump_type="elf", machine=ELF_MACHINES[machine], cpus=cpus, physical_end=end)


def _cpus(image: Image, at: int, end: int) -> int:
    """How many registers' notes there are: one a CPU."""
    found = 0
    while at < end:
        name, description, kind = image.u32(at), image.u32(at + 4), image.u32(at + 8)
        found += kind == NT_PRSTATUS and image.bytes(at + 12, 4) == b"CORE"
        at += 12 + -(-name // 4) * 4 + -(-description // 4) * 4
    return found
