"""Hyper-V enlightenments: what the hypervisor offers a Windows guest, as flags of QEMU's -cpu.

Source: QEMU's docs/system/i386/hyperv.rst. They are KVM's work: under TCG QEMU 7.2 refuses some of the flags ("kernel
doesn't allow setting HyperV VP_INDEX"), and offers nothing for the others.
"""

from __future__ import annotations

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
