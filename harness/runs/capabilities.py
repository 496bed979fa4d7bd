"""What this host can do for cells, and what a cell asks of it in vain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from pydantic import BaseModel, ConfigDict

from harness.config.models import Arch, Cell
from harness.config.requirements import CpuVendor, Requirements, Unmet
from harness.errors import HalpmcError, ToolMissing
from harness.host.kernel import KernelFacts, read_kernel
from harness.host.resources import read_resources
from harness.host.starve import KernelPerf
from harness.host.tools import cpu_model, host_arch, qemu_version
from harness.imaging.store import find_guest
from harness.probe.accelerator import kvm_missing
from harness.probe.run import DEFAULT_MACHINES
from harness.runs.needs import lacking, unmet_need

_VENDORS = {"GenuineIntel": CpuVendor.INTEL, "AuthenticAMD": CpuVendor.AMD}


class Capabilities(BaseModel):
    """A host as cells see it. `kvm_missing` and `vpmu_missing` say what there is against them; empty: nothing known.

    `qemu` has the version for each architecture whose emulator is installed; `guests` maps the guests that were
    looked for and are not there to the reason; `lacks` maps needs of cells' settings that are not met (see needs_of) to
    the condition that fails.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    arch: Arch | None
    cpu_vendor: CpuVendor | None
    cpu_model: str
    cpus: int
    memory_mib: int
    kvm_missing: str
    vpmu_missing: str
    qemu: Mapping[Arch, str]
    guests_missing: Mapping[str, str]
    lacks: Mapping[str, str] = {}


def read_capabilities(guests: Iterable[str] = (), needs: Iterable[str] = ()) -> Capabilities:
    """This host, whether these guests are there, and which needs of cells' settings it does not meet.

    No VM is started: KVM counts until a proof of it has failed.
    """
    arch, kernel, resources = host_arch(), read_kernel(), read_resources()
    vendor = CpuVendor.ARM if arch is Arch.AARCH64 else _VENDORS.get(kernel.vendor)
    try:
        no_kvm = kvm_missing(arch, DEFAULT_MACHINES[arch]) if arch else "the host's CPU is of an unknown kind"
    except ToolMissing as error:
        no_kvm = error.message
    no_vpmu = no_kvm or _vpmu_missing(kernel)
    qemu = {}
    for emulated in Arch:
        with suppress(HalpmcError):
            qemu[emulated] = qemu_version(emulated)
    return Capabilities(
        arch=arch,
        cpu_vendor=vendor,
        cpu_model=cpu_model(),
        cpus=int(resources.cpus),
        memory_mib=resources.memory_mib,
        kvm_missing=no_kvm,
        vpmu_missing=no_vpmu,
        qemu=qemu,
        guests_missing={name: reason for name in sorted(set(guests)) if (reason := _guest_missing(name))},
        lacks=lacking(needs, kernel, no_kvm, no_vpmu, KernelPerf()),
    )


def unmet(requires: Requirements, cell: Cell, host: Capabilities) -> Unmet | None:
    """The first condition of a cell that the host does not meet; None when it meets all."""
    return next(_unmet(requires, cell, host), None)


def _unmet(requires: Requirements, cell: Cell, host: Capabilities) -> Iterator[Unmet]:
    for what, wanted, missing in (
        ("kvm", requires.kvm, host.kvm_missing),
        ("vpmu", requires.vpmu, host.vpmu_missing),
    ):
        if wanted and missing:
            yield Unmet(f"requires {what}", missing)
        if wanted is False and not missing:
            yield Unmet(f"requires a host without {what}", "the host has it")
    for what, asked, has in (
        ("arch", requires.arch, host.arch),
        ("cpu_vendor", requires.cpu_vendor, host.cpu_vendor),
    ):
        if asked is not None and asked != has:
            yield Unmet(f"requires {what} {asked}", f"the host has {has or 'another one'}")
    for what, least, number in (
        ("cpus", requires.cpus, host.cpus),
        ("memory_mib", requires.memory_mib, host.memory_mib),
    ):
        if least is not None and number < least:
            yield Unmet(f"requires {what} {least}", f"the host has {number}")
    if requires.guest and (reason := host.guests_missing.get(cell.guest or "")):
        yield Unmet("requires guest present", reason)
    if requires.qemu:
        version = host.qemu.get(cell.arch)
        if version is None:
            yield Unmet(f"requires qemu {requires.qemu}", f"QEMU for {cell.arch} is not installed")
        elif _numbers(version) < _numbers(requires.qemu):
            yield Unmet(f"requires qemu {requires.qemu}", f"the host has {version}")
    if need := unmet_need(cell, host.lacks):
        yield need


def _vpmu_missing(kernel: KernelFacts) -> str:
    """What keeps KVM from giving guests a PMU. Sources: `halpmc doctor` explains each (docs/doctor.md)."""
    value = kernel.parameters.get("kvm.enable_pmu")
    if value not in (None, "Y"):
        return f"kvm.enable_pmu is {value}"
    if not kernel.pmus:
        return "the host's kernel has no counters of the CPU itself"
    return ""


def _guest_missing(name: str) -> str:
    try:
        find_guest(name)
    except HalpmcError as error:
        return error.message
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    """7.2.22 (Debian …) as (7, 2, 22)."""
    parts = version.split(maxsplit=1)[0].split(".")
    return tuple(int(part) for part in parts if part.isdecimal())
