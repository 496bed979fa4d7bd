"""Media that firmware boots: made of a few bytes, or of the boot loader that Debian ships unsigned."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pycdlib

from harness.host.tools import require_tool

LOADER = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
FAT_BYTES = 4 << 20


def efi_disk(path: Path) -> Path:
    """A FAT disk that UEFI boots as it boots removable media."""
    path.write_bytes(bytes(FAT_BYTES))
    subprocess.run([require_tool("mformat"), "-i", path, "::"], check=True)
    subprocess.run([require_tool("mmd"), "-i", path, "::/EFI", "::/EFI/BOOT"], check=True)
    subprocess.run([require_tool("mcopy"), "-i", path, LOADER, "::/EFI/BOOT/BOOTX64.EFI"], check=True)
    return path


def bootable_iso(path: Path, boot: bytes, *, efi: bool) -> Path:
    """An ISO with one El Torito entry: a boot sector for a BIOS, or a FAT image for UEFI."""
    iso = pycdlib.PyCdlib()
    iso.new()
    iso.add_fp(io.BytesIO(boot), len(boot), "/BOOT.;1")
    iso.add_eltorito("/BOOT.;1", efi=efi, platform_id=0xEF if efi else 0)
    iso.write(str(path))
    iso.close()
    return path
