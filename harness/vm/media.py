"""Optical media: on buses that Windows Setup reads with its own drivers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from harness.config.models import Arch, Model

Bus = Literal["sata", "usb"]
#: The bus of each architecture's machine that Windows reads optical media on without a driver being installed.
INBOX_BUS: dict[Arch, Bus] = {Arch.X86_64: "sata", Arch.AARCH64: "usb"}


class CdRom(Model):
    """An ISO image in a drive of its own: `sata`, on the AHCI controller of a q35, or `usb`, for machines without one.

    Windows Setup has inbox drivers for both; it has none for virtio. As `qcow2` it may be a thin file over an image.
    """

    path: Path
    format: Literal["raw", "qcow2"] = "raw"
    bus: Bus = "sata"


def device_id(number: int) -> str:
    """Name of a drive's device, for QMP."""
    return f"cd{number}"


def drive_id(number: int) -> str:
    """Name of what a drive reads."""
    return f"medium{number}"
