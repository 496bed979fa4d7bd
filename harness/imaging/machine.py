"""The machine that a guest definition asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.config.models import Accel, GuestDefinition
from harness.vm.firmware import find_uefi
from harness.vm.machine import Machine


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
        "lane_device": definition.lane.device if definition.lane else None,
        "uefi": uefi,
        "tpm": definition.tpm,
        "vmgenid": definition.vmgenid,
        "rtc_base": definition.rtc,
    }
    return Machine.model_validate(described | settings)
