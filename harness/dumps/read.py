"""What is this dump, and what does it say? One call for every kind that is known."""

from __future__ import annotations

from pathlib import Path

from harness.dumps import header, vmcore
from harness.dumps.image import Image, open_image
from harness.dumps.models import Dump, WindowsDump
from harness.dumps.modules import modules
from harness.errors import DumpError

#: Files that people hand in by mistake, by their first bytes, and what is wrong with them.
MISTAKEN = {
    b"PAGEDUMP": "a dump of 32-bit Windows; only 64-bit ones are read",
    b"MDMP": "a minidump of one program, not of the kernel",
    b"DISKDUMP": "a dump in the old diskdump format",
    b"\x1f\x8b": "compressed; unpack it with gunzip first",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed; unpack it with unzstd first",
    b"QFI\xfb": "a qcow2 disk image, not a dump",
}


def read_dump(path: Path) -> Dump:
    """Read a Windows kernel dump, or guest memory that QEMU wrote.

    Raises DumpError with the reason when the file is neither, is truncated or damaged, or comes from another
    architecture.
    """
    with open_image(path) as image:
        start = bytes(image.bytes(0, min(16, len(image))))
        if start.startswith(header.MAGIC):
            return _windows(image)
        if start.startswith(vmcore.ELF_MAGIC):
            return vmcore.read_elf(image)
        if start.startswith((vmcore.KDUMP_MAGIC, vmcore.FLATTENED_MAGIC)):
            return vmcore.read_kdump(image)
        for magic, what in MISTAKEN.items():
            if start.startswith(magic):
                raise DumpError(f"{path}: {what}")
        raise DumpError(f"{path}: no memory dump that is known; it starts with {start[:8]!r}")


def _windows(image: Image) -> WindowsDump:
    facts = header.read_header(image)
    try:
        found, missing = modules(image, facts)
    except DumpError as error:  # what the header says is worth having, even when the rest is gone
        raise DumpError(f"{error.message}; its header says {facts.bugcheck}, build {facts.build}") from None
    return WindowsDump(
        dump_type=header.TYPES[facts.dump_type],
        machine=facts.machine,
        os_build=facts.build,
        cpus=facts.cpus,
        bugcheck=facts.bugcheck,
        exception_address=facts.exception_address,
        modules=found,
        modules_missing=missing,
    )
