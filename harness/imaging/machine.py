"""The machine that a guest definition asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.config.machine_axes import boot_of, equipped
from harness.config.models import Accel, Cell, GuestDefinition
from harness.errors import UsageError
from harness.imaging.store import GuestImage
from harness.vm.firmware import find_uefi
from harness.vm.hyperv import hyperv_flags
from harness.vm.machine import Machine


def installed(definition: GuestDefinition, image: GuestImage, cell: Cell) -> GuestDefinition:
    """A guest as a cell wants it, with the devices that its image has drivers for, whatever its definition says by now.

    Raises UsageError when the cell's firmware cannot start what was installed.
    """
    wanted, windows = equipped(definition, cell), image.manifest.windows
    if windows is None:
        return wanted
    started_by = windows.firmware and boot_of(windows.firmware)
    if started_by and boot_of(wanted.firmware) is not started_by:
        raise UsageError(
            f"the image of guest {definition.name!r} was installed for {started_by}: "
            f"{boot_of(wanted.firmware)} cannot start it",
            remedy=f"write firmware: {started_by}, or install it again",
        )
    return wanted.model_copy(update={"disk_device": windows.disk_device, "net_device": windows.net_device})


def remembered(image: GuestImage, definition: GuestDefinition) -> Path | None:
    """What the firmware remembers of the image's installation; None where this is other firmware, with other keys."""
    return image.variables if definition.firmware is image.definition.firmware else None


def guest_machine(
    definition: GuestDefinition,
    *,
    accel: Accel,
    cpu: str,
    machine: str | None = None,
    variables: Path | None = None,
    **settings: Any,
) -> Machine:
    """A machine with the guest's devices, firmware and TPM; `settings` are fields of Machine, `machine` its QEMU type.

    `variables` is what the guest's firmware remembers (raw); without it the firmware is as new. Raises ToolMissing when
    the host has no such firmware.
    """
    kind = machine or definition.machine
    uefi = find_uefi(definition.arch, definition.firmware, kind)
    if uefi is not None and variables is not None:
        uefi = uefi.model_copy(update={"variables": variables, "variables_format": "raw"})
    described = {
        "arch": definition.arch,
        "accel": accel,
        "machine": kind,
        "cpu": cpu,
        "disk_device": definition.disk_device,
        "net_device": definition.net_device,
        "ssh_guest_port": definition.ssh.port,
        "devices": definition.devices,
        "console": definition.console is not None,
        "lane_device": definition.lane.device if definition.lane else None,
        "uefi": uefi,
        "tpm": definition.tpm,
        "vmgenid": definition.vmgenid,
        "rtc_base": definition.rtc,
    }
    return Machine.model_validate(described | settings)


def guest_cpu_string(cell: Cell, definition: GuestDefinition | None, accel: Accel) -> str:
    """A cell's -cpu string with the flags that its guest needs under TCG, or its enlightenments: KVM alone has them."""
    flags = definition.tcg_cpu_flags if definition and accel is Accel.TCG else ()
    kvm = definition if accel is Accel.KVM else None
    hyperv = hyperv_flags(equipped(kvm, cell).enlightenments) if kvm else ()
    model, *rest = cell.cpu_string.split(",")
    return ",".join([model, *flags, *rest, *hyperv])
