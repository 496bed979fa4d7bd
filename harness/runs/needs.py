"""What settings of a cell need of the host, beside what its matrix requires: programs, firmware, KVM's modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.config.models import Accel, Arch, Boot, Cell, Firmware
from harness.config.requirements import Unmet
from harness.errors import HalpmcError
from harness.host.kernel import KernelFacts
from harness.host.starve import Perf, against
from harness.host.tools import require_tool
from harness.probe.run import DEFAULT_MACHINES
from harness.vm.firmware import find_uefi
from harness.vm.tpm import PROGRAM

TPM, VBS, STARVE = "tpm", "vbs", "starve_pmu"
NESTED = ("kvm_intel.nested", "kvm_amd.nested")
MEDIATED = ("kvm_intel.enable_mediated_pmu", "kvm_amd.enable_mediated_pmu")
YES = ("Y", "1")


def needs_of(cell: Cell) -> tuple[str, ...]:
    """The settings of a cell that not every host can give it; of firmware with the machine that it is for."""
    return tuple(
        need
        for need, wanted in (
            (TPM, cell.tpm),
            (_firmware_need(cell), cell.firmware is Boot.UEFI),
            # Under TCG the emulator has its own virtualization; what it is worth, the guest says.
            (VBS, cell.vbs and cell.accel is not Accel.TCG),
            (STARVE, cell.starve_pmu),
        )
        if wanted
    )


def usual_needs() -> tuple[str, ...]:
    """What cells with the usual machines may need: for a host that tells what it has before it knows a cell."""
    firmware = tuple(
        f"{kind} {arch} {machine}"
        for arch, machine in DEFAULT_MACHINES.items()
        for kind in (Firmware.UEFI, Firmware.SECURE_BOOT)
    )
    return (TPM, VBS, STARVE, *firmware)


def _firmware_need(cell: Cell) -> str:
    kind = Firmware.SECURE_BOOT if cell.secure_boot else Firmware.UEFI
    return f"{kind} {cell.arch} {cell.machine.split(',', maxsplit=1)[0]}"


def lacking(
    needs: Iterable[str], kernel: KernelFacts, no_kvm: str, no_vpmu: str, perf: Perf
) -> dict[str, str]:
    """Of these needs the ones that the host cannot meet, with the condition that fails."""
    found = {need: _against(need, kernel, no_kvm, no_vpmu, perf) for need in sorted(set(needs))}
    return {need: reason for need, reason in found.items() if reason}


def _against(need: str, kernel: KernelFacts, no_kvm: str, no_vpmu: str, perf: Perf) -> str:
    if need == STARVE:
        mediated = [name for name in MEDIATED if kernel.parameters.get(name) in YES]
        taken = f"{mediated[0]} is on: guests then have the counters to themselves" if mediated else ""
        return no_kvm or no_vpmu or taken or against(perf)
    if need == VBS:
        return "" if no_kvm else _no_nesting(kernel)
    try:
        if need == TPM:
            require_tool(PROGRAM)
        else:
            firmware, arch, machine = need.split(" ")
            find_uefi(Arch(arch), Firmware(firmware), machine)
    except HalpmcError as error:
        return error.message
    return ""


def _no_nesting(kernel: KernelFacts) -> str:
    told = {name: kernel.parameters[name] for name in NESTED if name in kernel.parameters}
    if not told or set(told.values()) & set(YES):
        return ""
    name, value = next(iter(told.items()))
    return f"{name} is {value}: guests cannot run a hypervisor of their own"


def unmet_need(cell: Cell, lacks: Mapping[str, str]) -> Unmet | None:
    """The first need of a cell that is among those a host lacks; None when there is none."""
    missing = (need for need in needs_of(cell) if need in lacks)
    return next((Unmet(f"{need.split(' ')[0]} is asked for", lacks[need]) for need in missing), None)
