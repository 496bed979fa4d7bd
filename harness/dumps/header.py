"""The header of a 64-bit Windows dump: DUMP_HEADER64 of the Debugging Tools, two pages at the start of the file.

Offsets: kdmp-parser (kdmp-parser-structs.h) and rekall's crashdump overlay agree on them.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.dumps.bugchecks import Bugcheck, bugcheck
from harness.dumps.image import Image
from harness.errors import DumpError

MAGIC = b"PAGEDU64"
SIZE = 0x2000
MACHINES = {0x8664: "x86_64", 0xAA64: "aarch64"}
OTHER_MACHINES = {0x14C: "i386", 0x1C4: "32-bit ARM", 0x200: "Itanium"}
#: What the kernel fills a field with that it does not set.
UNSET = int.from_bytes(b"PAGE", "little")
UNSET64 = UNSET << 32 | UNSET

FULL, SUMMARY, HEADER_ONLY, TRIAGE, BITMAP_FULL, BITMAP_KERNEL, AUTOMATIC = range(1, 8)
TYPES = {
    FULL: "full",
    SUMMARY: "kernel summary",
    HEADER_ONLY: "header only",
    TRIAGE: "triage (minidump)",
    BITMAP_FULL: "bitmap, full",
    BITMAP_KERNEL: "bitmap, kernel",
    AUTOMATIC: "automatic",
    8: "kernel memory (debugger)",
    9: "kernel and user memory (debugger)",
    10: "complete memory (debugger)",
}


@dataclass(frozen=True)
class Header:
    """The fields that everything else is found by; addresses are virtual, the page table's is physical."""

    build: int
    machine: str
    cpus: int
    bugcheck: Bugcheck
    page_table: int
    module_list: int
    exception_address: int
    dump_type: int


def read_header(image: Image) -> Header:
    """Raises DumpError when the file is no such dump, or one of another architecture or of an unknown type."""
    image.bytes(0, SIZE)
    machine = image.u32(0x30)
    if machine not in MACHINES:
        name = OTHER_MACHINES.get(machine, f"machine type 0x{machine:x}")
        raise DumpError(f"{image.path}: a dump of {name}; only x86_64 and aarch64 are read")
    dump_type = image.u32(0xF98)
    if dump_type not in TYPES:
        raise DumpError(f"{image.path}: a Windows dump of an unknown type ({dump_type})")
    first, second, third, fourth = (image.u64(0x40 + 8 * n) for n in range(4))
    raised = image.u32(0xF00) not in (0, UNSET)
    return Header(
        build=image.u32(0x0C),
        machine=MACHINES[machine],
        cpus=image.u32(0x34),
        bugcheck=bugcheck(image.u32(0x38), (first, second, third, fourth)),
        page_table=image.u64(0x10),
        module_list=image.u64(0x20),
        exception_address=image.u64(0xF10) if raised else 0,
        dump_type=dump_type,
    )
