"""Which VM may start now: pure rules over what the host has, what runs already, and what the next VM needs.

Memory is hard: a host that runs out of it kills VMs. So what was promised to VMs never exceeds what there is, and a VM
waits until its memory is free in fact.

CPUs are soft: too many VMs are slow, nothing else. A vCPU is a thread of the host, under TCG a busy one. Yet a test VM
waits a lot (for its disk, for SSH, for the next request): one with two vCPUs under TCG was measured to take 13.6 s of
CPU time within 15.9 s. So there may be two vCPUs for each CPU.

Counters are scarce: each CPU has one set of them. A virtual PMU under KVM takes it from the host for as long as the
vCPU runs there. With no more such vCPUs than CPUs none of them has to be scheduled out while it counts.

What a VM wants beyond CPUs and counters of the host it gets by running alone: nothing but memory makes it impossible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.config.models import Accel
from harness.host.resources import HostResources

VCPUS_PER_CPU = 2
#: For QEMU itself with its devices, and the pytest process that drives it (measured: 55 MiB of its own).
PROCESS_MIB = 128
#: For the code that TCG has translated. QEMU lets it grow to 1 GiB; an embedded guest stays below 100 MiB.
TRANSLATION_MIB = 256
#: For the host and the harness itself: never given to VMs.
RESERVE_MIB = 256


@dataclass(frozen=True)
class Needs:
    """What one VM takes from the host: memory in MiB, host threads, and CPUs whose counters it wants."""

    memory_mib: int
    cpus: int
    counters: int


class Held(NamedTuple):
    """Memory that was promised to a VM, and how much of it the VM has taken so far, both in MiB."""

    memory_mib: int
    resident_mib: int


def vm_needs(memory_mib: int, smp: int, accel: Accel, pmu: bool) -> Needs:
    """What a VM needs. `accel` is decided: TCG translates code, and takes no counters from the host."""
    kvm = accel is Accel.KVM
    overhead = PROCESS_MIB if kvm else PROCESS_MIB + TRANSLATION_MIB
    return Needs(memory_mib + overhead, smp, smp if kvm and pmu else 0)


def capacity_mib(host: HostResources) -> int:
    """The memory that all VMs together may be promised."""
    return max(0, host.memory_mib - RESERVE_MIB)


def memory_short(host: HostResources, held: Sequence[Held], need_mib: int) -> str:
    """What keeps a VM waiting for memory, in words; empty when it may start.

    Memory that is free now may have been promised to VMs that have not touched it yet: that much is not free.
    """
    promised = sum(vm.memory_mib for vm in held)
    if promised + need_mib > capacity_mib(host):
        return (
            f"it needs {need_mib} MiB of memory, and {promised} of {capacity_mib(host)} MiB are promised to "
            f"{len(held)} running VMs"
        )
    untouched = sum(max(0, vm.memory_mib - vm.resident_mib) for vm in held)
    free = max(0, host.available_mib - untouched)
    if need_mib > free:
        return f"it needs {need_mib} MiB of memory, and {free} MiB are free"
    return ""


def processors_short(host: HostResources, running: Sequence[Needs], need: Needs) -> str:
    """What keeps a VM waiting for CPUs or their counters, in words; empty when it may start."""
    cpus = sum(vm.cpus for vm in running)
    if cpus and cpus + need.cpus > VCPUS_PER_CPU * host.cpus:
        return f"its {need.cpus} vCPUs and the running {cpus} are more than {VCPUS_PER_CPU} per CPU"
    counters = sum(vm.counters for vm in running)
    if need.counters and counters and counters + need.counters > host.cpus:
        return f"its {need.counters} vCPUs with counters and the running {counters} are more than the CPUs"
    return ""


def never_fits(host: HostResources, need_mib: int) -> str:
    """What a VM lacks on this host even when it is alone, in words; empty when it fits."""
    if need_mib <= capacity_mib(host):
        return ""
    limit = f" (limit of {host.limited_by})" if host.limited_by else ""
    return (
        f"it needs {need_mib} MiB of memory and this host has {capacity_mib(host)} MiB for VMs: "
        f"{host.memory_mib} MiB{limit} less {RESERVE_MIB} MiB for itself"
    )
