"""Optical media: on buses that Windows Setup reads with its own drivers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from harness.config.models import Arch, Model

CONTROLLER = "cdusb"
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


def drives(media: Sequence[CdRom], literal_paths: Sequence[str], boot_from: int) -> list[str]:
    """QEMU's options. The first medium has the bootindex `boot_from`; the others are not booted.

    Port 0 of the AHCI controller is left to a disk.
    """
    arguments = []
    if any(medium.bus == "usb" for medium in media):
        arguments += ["-device", f"qemu-xhci,id={CONTROLLER}"]
    for number, (medium, path) in enumerate(zip(media, literal_paths, strict=True)):
        sata = medium.bus == "sata"
        device = f"ide-cd,bus=ide.{number + 1}" if sata else f"usb-storage,bus={CONTROLLER}.0"
        file = f"format={medium.format},file={path}"
        index = f",bootindex={boot_from}" if number == 0 else ""
        arguments += [
            *("-drive", f"if=none,id={drive_id(number)},media=cdrom,readonly=on,{file}"),
            *("-device", f"{device},id={device_id(number)},drive={drive_id(number)}{index}"),
        ]
    return arguments


def device_id(number: int) -> str:
    """Name of a drive's device, for QMP."""
    return f"cd{number}"


def drive_id(number: int) -> str:
    """Name of what a drive reads."""
    return f"medium{number}"
