"""Hyper-V enlightenments: what the hypervisor offers a Windows guest, as flags of QEMU's -cpu.

Source: QEMU's docs/system/i386/hyperv.rst. They are KVM's work: under TCG QEMU 7.2 refuses some of the flags ("kernel
doesn't allow setting HyperV VP_INDEX"), and offers nothing for the others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Protocol

from harness.config.models import Accel, Enlightenments

#: What QEMU's document recommends for Windows on an ordinary host, in the order of their dependencies; and hv-crash,
#: with which a bug check reaches the host with its code and parameters and no driver in the guest.
BASIC = (
    "hv-relaxed=on",
    "hv-vapic=on",
    "hv-spinlocks=0x1fff",
    "hv-vpindex=on",
    "hv-runtime=on",
    "hv-time=on",
    "hv-synic=on",
    "hv-stimer=on",
    "hv-reset=on",
    "hv-frequencies=on",
    "hv-tlbflush=on",
    "hv-ipi=on",
    "hv-crash=on",
)
FLAGS = {
    Enlightenments.NONE: (),
    Enlightenments.BASIC: BASIC,
    # Everything that the host's kernel has, hv-crash among it.
    Enlightenments.PASSTHROUGH: ("hv-passthrough=on",),
}


def hyperv_flags(kind: Enlightenments) -> tuple[str, ...]:
    """The flags of -cpu for these enlightenments."""
    return FLAGS[kind]


def offered(kind: Enlightenments, accel: Accel) -> str:
    """What a guest that wants these gets, in words for its record."""
    as_wanted = kind is Enlightenments.NONE or accel is Accel.KVM
    return str(kind) if as_wanted else f"none: {kind} needs KVM"


SIGNATURE = b"Microsoft Hv"
HYPERVISOR, FEATURES, RECOMMENDED = 0x40000000, 0x40000003, 0x40000004
#: Where a guest sees each flag: leaf of CPUID, register, bit (the names are those of QEMU's hyperv-proto.h).
SEEN_BY = {
    "hv-relaxed": (RECOMMENDED, "eax", 5),
    "hv-vapic": (FEATURES, "eax", 4),
    "hv-vpindex": (FEATURES, "eax", 6),
    "hv-runtime": (FEATURES, "eax", 0),
    "hv-time": (FEATURES, "eax", 9),
    "hv-synic": (FEATURES, "eax", 2),
    "hv-stimer": (FEATURES, "eax", 3),
    "hv-reset": (FEATURES, "eax", 7),
    "hv-frequencies": (FEATURES, "eax", 11),
    "hv-tlbflush": (RECOMMENDED, "eax", 2),
    "hv-ipi": (RECOMMENDED, "eax", 10),
    "hv-crash": (FEATURES, "edx", 10),
}
NO_SPINLOCKS = 0xFFFFFFFF


class Leaf(Protocol):
    """One leaf of CPUID as executed in a guest."""

    @property
    def leaf(self) -> int: ...
    @property
    def eax(self) -> int: ...
    @property
    def ebx(self) -> int: ...
    @property
    def ecx(self) -> int: ...
    @property
    def edx(self) -> int: ...


def seen_in(leaves: Iterable[Leaf]) -> frozenset[str] | None:
    """The flags that a guest is offered, by its CPUID: those of BASIC; none of them is the empty set.

    None where no CPUID was executed.
    """
    found = {leaf.leaf: leaf for leaf in leaves}
    if not found:
        return None
    top = found.get(HYPERVISOR)
    if top is None or struct.pack("<3I", top.ebx, top.ecx, top.edx) != SIGNATURE:
        return frozenset()
    flags = {
        flag
        for flag, (leaf, register, bit) in SEEN_BY.items()
        if leaf in found and getattr(found[leaf], register) >> bit & 1
    }
    spinlocks = found[RECOMMENDED].ebx if RECOMMENDED in found else NO_SPINLOCKS
    return frozenset(flags | ({"hv-spinlocks"} if spinlocks not in (0, NO_SPINLOCKS) else set()))


def missed(kind: Enlightenments, seen: frozenset[str]) -> str:
    """What a guest that sees these flags does not have of what was asked for, or has beyond it; empty: all is right."""
    if kind is Enlightenments.NONE:
        return f"the guest is offered {', '.join(sorted(seen))}" if seen else ""
    if not seen:
        return "the guest is offered none"
    wanted = {flag.partition("=")[0] for flag in BASIC} if kind is Enlightenments.BASIC else set()
    return f"the guest is not offered {', '.join(sorted(wanted - seen))}" if wanted - seen else ""
