"""Booting a Windows medium without its "Press any key to boot from CD or DVD".

Microsoft's media have two EFI boot images: efisys.bin, which waits five seconds for a key and gives up, and
efisys_noprompt.bin, which does not. The boot catalogue (El Torito 1.0) names the first. A thin qcow2 file over the
medium, in which the one sector of the catalogue names the second, boots without a key: nothing of the medium is copied,
and it is not changed.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from harness.deadlines import timeout_factor
from harness.errors import QemuError
from harness.host.tools import require_tool
from harness.imaging.optical import SECTOR, Disc

NO_PROMPT = "efi/microsoft/boot/efisys_noprompt.bin"
BOOT_RECORD_SECTOR = 17
BOOT_RECORD = b"\0CD001\1EL TORITO SPECIFICATION"
CATALOGUE_AT = 0x47
ENTRY_BYTES = 32
EFI_PLATFORM = 0xEF
HEADERS = (0x90, 0x91)  # of a section: more follow, or the last one
BOOTABLE = 0x88
TOOL_S = 60.0


def efi_entry(catalogue: bytes) -> int | None:
    """Offset in a boot catalogue of the entry that EFI firmware boots; None when there is none."""
    if len(catalogue) < 2 * ENTRY_BYTES or catalogue[0] != 1 or catalogue[30:32] != b"\x55\xaa":
        return None
    if catalogue[1] == EFI_PLATFORM and catalogue[ENTRY_BYTES] == BOOTABLE:
        return ENTRY_BYTES
    at = 2 * ENTRY_BYTES
    while at + 2 * ENTRY_BYTES <= len(catalogue) and catalogue[at] in HEADERS:
        entries = struct.unpack_from("<H", catalogue, at + 2)[0]
        if catalogue[at + 1] == EFI_PLATFORM and entries and catalogue[at + ENTRY_BYTES] == BOOTABLE:
            return at + ENTRY_BYTES
        if catalogue[at] == HEADERS[1]:
            return None
        at += (1 + entries) * ENTRY_BYTES
    return None


def without_prompt(disc: Disc, overlay: Path) -> bool:
    """Make `overlay`, a qcow2 file over the medium that boots without a key; False when the medium has no such image.

    Raises QemuError with qemu-img's words, ToolMissing.
    """
    image = disc.find(NO_PROMPT)
    if image is None or len(image.extents) != 1 or image.extents[0].offset % SECTOR:
        return False
    with disc.path.open("rb") as medium:
        medium.seek(BOOT_RECORD_SECTOR * SECTOR)
        record = medium.read(SECTOR)
        if not record.startswith(BOOT_RECORD):
            return False
        sector = struct.unpack_from("<I", record, CATALOGUE_AT)[0]
        medium.seek(sector * SECTOR)
        catalogue = bytearray(medium.read(SECTOR))
    entry = efi_entry(bytes(catalogue))
    if entry is None:
        return False
    # Sectors of 512 bytes to load (0 or 1: by the size of the file system in it), and where the image is.
    count = min(0xFFFF, -(-image.size // 512))
    struct.pack_into("<HI", catalogue, entry + 6, count, image.extents[0].offset // SECTOR)
    patch = overlay.with_suffix(".sector")
    patch.write_bytes(catalogue)
    try:
        backing = ("-b", str(disc.path.absolute()), "-F", "raw")
        _run(overlay.parent, "qemu-img", "create", "-q", "-f", "qcow2", *backing, overlay.name)
        write = f"write -q -s {patch.name} {sector * SECTOR} {SECTOR}"
        _run(overlay.parent, "qemu-io", "-f", "qcow2", "-c", write, overlay.name)
    finally:
        patch.unlink()
    return True


def _run(folder: Path, tool: str, *arguments: str) -> None:
    try:
        done = subprocess.run(
            [require_tool(tool), *arguments],
            cwd=folder,  # the tool's own language knows no quotes: names without a folder need none
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_S * timeout_factor(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise QemuError(f"{tool} does not come to an end") from None
    said = " ".join((done.stderr or done.stdout).split())
    if done.returncode != 0:
        raise QemuError(f"{tool}: {said}")
