"""What the host's kernel tells about its CPUs, its KVM and whoever uses its counters: read from /proc and /sys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.host.resources import ROOT, read_text

KVM_MODULES = ("kvm", "kvm_intel", "kvm_amd", "kvm_pvm")
PARAMETERS = (
    "kvm.enable_pmu",
    "kvm_intel.enable_mediated_pmu",
    "kvm_amd.enable_mediated_pmu",
    "kvm_intel.nested",
    "kvm_amd.nested",
)
#: The names under which a CPU's own counters appear (Linux ABI, /sys/bus/event_source/devices).
CORE_PMU = re.compile(r"cpu|cpu_core|cpu_atom|armv8_\w+|armv9_\w+|apple_\w+_pmu")
PERF_EVENT = "anon_inode:[perf_event]"


@dataclass(frozen=True)
class KernelFacts:
    """Facts about the host. `None` and empty mean that the kernel does not say.

    `vendor` and `flags` are of the first CPU. `parameters` maps MODULE.PARAMETER to its text. `pmus` names the
    kernel's own drivers of CPU counters. `perf_users` are processes that hold perf events, as far as this user may
    see them: `unseen` processes may not be looked into.
    """

    vendor: str
    flags: frozenset[str]
    modules: tuple[str, ...]
    parameters: dict[str, str]
    pmus: tuple[str, ...]
    nmi_watchdog: bool | None
    perf_event_paranoid: int | None
    perf_users: tuple[str, ...]
    unseen: int

    @property
    def hybrid(self) -> bool:
        """Whether cores of different kinds are in one machine: Intel's P and E cores, or ARM's big.LITTLE.

        Intel's have PMUs of these names even where only one kind is switched on.
        """
        return len(self.pmus) > 1 or bool({"cpu_core", "cpu_atom"} & set(self.pmus))

    @property
    def nested(self) -> bool:
        """Whether this host is a virtual machine itself (x86: CPUID 1:ECX[31])."""
        return "hypervisor" in self.flags

    @property
    def hardware_virtualization(self) -> bool:
        """Whether an x86 CPU offers virtualization (Intel VT-x, AMD-V)."""
        return bool(self.flags & {"vmx", "svm"})


def read_kernel(root: Path = ROOT) -> KernelFacts:
    """The facts from /proc and /sys below `root`."""
    cpuinfo = read_text(root / "proc/cpuinfo")
    watchdog = read_text(root / "proc/sys/kernel/nmi_watchdog")
    paranoid = read_text(root / "proc/sys/kernel/perf_event_paranoid")
    users, unseen = _perf_users(root)
    return KernelFacts(
        vendor=_field(cpuinfo, "vendor_id"),
        flags=frozenset(_field(cpuinfo, "flags").split()),
        modules=tuple(name for name in KVM_MODULES if (root / "sys/module" / name).is_dir()),
        parameters={
            name: text
            for name in PARAMETERS
            if (text := read_text(root / "sys/module" / name.replace(".", "/parameters/")))
        },
        pmus=_core_pmus(root),
        nmi_watchdog=watchdog == "1" if watchdog else None,
        perf_event_paranoid=int(paranoid) if re.fullmatch(r"-?\d+", paranoid) else None,
        perf_users=users,
        unseen=unseen,
    )


def _field(cpuinfo: str, name: str) -> str:
    found = re.search(rf"^{name}\s*: (.*)$", cpuinfo, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _core_pmus(root: Path) -> tuple[str, ...]:
    """From the list of event sources; the folders of Intel's hybrid CPUs are in /sys/devices, too."""
    names = {path.name for path in (root / "sys/bus/event_source/devices").glob("*")}
    names |= {path.name for path in (root / "sys/devices").glob("cpu_*")}
    return tuple(sorted(name for name in names if CORE_PMU.fullmatch(name)))


def _perf_users(root: Path) -> tuple[tuple[str, ...], int]:
    """Processes with an open perf event as `name (pid)`, and how many may not be looked into."""
    users, unseen = [], 0
    for folder in (root / "proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) == PERF_EVENT for link in (folder / "fd").iterdir()):
                users.append(f"{read_text(folder / 'comm')} ({folder.name})")
        except PermissionError:
            unseen += 1
        except OSError:
            continue  # it has ended meanwhile
    return tuple(sorted(users)), unseen
