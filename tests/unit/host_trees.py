"""Recorded hosts: the files of /proc and /sys that the readers look at, written below a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MEMINFO = "MemTotal:       16384000 kB\nMemFree:  1000 kB\nMemAvailable:    8192000 kB\nSwapTotal: 0 kB\n"
EVERY_HOST = {"proc/meminfo": MEMINFO, "proc/self/status": "Name:\tx\nCpus_allowed_list:\t0-3,8-11\n"}


def write_tree(root: Path, *trees: Mapping[str, str]) -> Path:
    """Write the files of all trees below `root`, the later ones over the earlier; returns `root`."""
    for tree in trees:
        for name, text in tree.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def cpuinfo(vendor: str, flags: str) -> dict[str, str]:
    """The first CPU of an x86 host."""
    return {
        "proc/cpuinfo": f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: x\nflags\t\t: fpu {flags}\n\n"
    }


def pmus(*names: str) -> dict[str, str]:
    """The event sources of the kernel, `msr` and `software` among them as everywhere."""
    return {f"sys/bus/event_source/devices/{name}/type": "4" for name in (*names, "msr", "software")}


def kernel(enable_pmu: str = "Y", watchdog: str = "0", paranoid: str = "2") -> dict[str, str]:
    """Settings that every x86 host with KVM has."""
    return {
        "sys/module/kvm/parameters/enable_pmu": f"{enable_pmu}\n",
        "proc/sys/kernel/nmi_watchdog": f"{watchdog}\n",
        "proc/sys/kernel/perf_event_paranoid": f"{paranoid}\n",
    }


INTEL_SERVER = {
    **EVERY_HOST,
    **cpuinfo("GenuineIntel", "vmx arch_perfmon sse4_2"),
    **pmus("cpu"),
    **kernel(),
    "sys/module/kvm_intel/parameters/nested": "Y",
    "sys/module/kvm_intel/parameters/enable_mediated_pmu": "N",
}
INTEL_HYBRID = {
    **EVERY_HOST,
    **cpuinfo("GenuineIntel", "vmx arch_perfmon"),
    **pmus("cpu_core", "cpu_atom"),
    "sys/devices/cpu_core/cpus": "0-11",
    "sys/devices/cpu_atom/cpus": "12-19",
    **kernel(enable_pmu="N", watchdog="1"),
    "sys/module/kvm_intel/parameters/nested": "Y",
}
AMD = {
    **EVERY_HOST,
    **cpuinfo("AuthenticAMD", "svm perfctr_core perfmon_v2"),
    **pmus("cpu"),
    **kernel(),
    "sys/module/kvm_amd/parameters/nested": "1",
    "sys/module/kvm_amd/parameters/enable_mediated_pmu": "Y",
}
NO_KVM = {
    **EVERY_HOST,
    **cpuinfo("GenuineIntel", "vmx"),
    **pmus("cpu"),
    "proc/sys/kernel/nmi_watchdog": "0",
    "proc/sys/kernel/perf_event_paranoid": "3",
}
SOFTWARE_KVM = {  # KVM without hardware virtualization, in a virtual machine without a PMU
    **EVERY_HOST,
    **cpuinfo("AuthenticAMD", "hypervisor perfctr_core"),
    **pmus(),
    **kernel(enable_pmu="N"),
    "sys/module/kvm_pvm/parameters/force": "N",
}
ARM = {
    **EVERY_HOST,
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n",
    **pmus("armv8_pmuv3_0"),
    "sys/module/kvm/parameters/halt_poll_ns": "500000",
    "proc/sys/kernel/perf_event_paranoid": "-1",
}
ARM_BIG_LITTLE = {**ARM, **pmus("armv8_cortex_a55", "armv8_cortex_a76")}
