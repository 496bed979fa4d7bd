"""What a virtual PMU under KVM depends on, as the host's kernel tells it. The proof is the check pmu.ARCH."""

from __future__ import annotations

from collections.abc import Iterator

from harness.doctor.finding import Finding, ok, warn
from harness.host.kernel import KernelFacts

#: KVM gives guests a PMU on AMD hosts from this many counters on (Linux, arch/x86/kvm/pmu.h).
AMD_LEGACY_COUNTERS = 4
AMD_CORE_COUNTERS = 6
NAMED = 5


def check_vpmu(host: KernelFacts) -> Iterator[Finding]:
    """All preconditions, each on its own: several can be missing at once."""
    yield _kvm(host)
    yield _enable_pmu(host)
    yield _mediated(host)
    yield _counters(host)
    yield _hybrid(host)
    yield _watchdog(host)
    yield _perf_users(host)
    yield _paranoid(host)
    yield _nested(host)


def _kvm(host: KernelFacts) -> Finding:
    check = "vpmu.kvm"
    if not host.modules:
        return warn(check, "no kvm module is loaded", "as root: modprobe kvm_intel, or modprobe kvm_amd")
    detail = f"modules: {', '.join(host.modules)}"
    if host.vendor and not host.hardware_virtualization:
        return warn(
            check,
            f"{detail}; the CPU offers no hardware virtualization (neither vmx nor svm)",
            "enable it in the firmware, or nesting in the hypervisor that this host runs on",
        )
    return ok(check, detail)


def _enable_pmu(host: KernelFacts) -> Finding:
    check = "vpmu.enable_pmu"
    value = host.parameters.get("kvm.enable_pmu")
    if value is None:
        return ok(
            check, "the kvm module has no parameter enable_pmu, hence nothing that switches the PMU off"
        )
    if value == "Y":
        return ok(check, "kvm.enable_pmu is Y")
    return warn(
        check,
        f"kvm.enable_pmu is {value}: no guest gets a PMU, and QEMU accepts pmu=on without a word",
        "boot the host with kvm.enable_pmu=1, or load kvm with it; where it falls back to N the host has no PMU itself",
    )


def _mediated(host: KernelFacts) -> Finding:
    values = {name: value for name, value in host.parameters.items() if name.endswith("enable_mediated_pmu")}
    if not values:
        return ok(
            "vpmu.mediated", "no mediated PMU in this kernel: guests' counters are perf events of the host"
        )
    detail = ", ".join(f"{name} is {value}" for name, value in values.items())
    if "Y" in values.values():
        return ok("vpmu.mediated", f"{detail}: guests have the counters to themselves while they run")
    return ok("vpmu.mediated", f"{detail}: guests' counters are perf events of the host (Y is more exact)")


def _counters(host: KernelFacts) -> Finding:
    check = "vpmu.counters"
    if not host.pmus:
        return warn(
            check,
            "the host's kernel has no counters of the CPU itself: KVM has none to give",
            "use a physical host, or a virtual one whose hypervisor gives it a PMU",
        )
    if host.vendor != "AuthenticAMD":
        return ok(check, f"the host's counters: {', '.join(host.pmus)}")
    core = "perfctr_core" in host.flags
    number = AMD_CORE_COUNTERS if core else AMD_LEGACY_COUNTERS
    version = ", PerfMonV2" if "perfmon_v2" in host.flags else ""
    return ok(
        check,
        f"AMD with {number} counters{version}; -cpu host,pmu=off may leave the legacy ones: see the PMU probe",
    )


def _hybrid(host: KernelFacts) -> Finding:
    check, remedy = "vpmu.hybrid", "use a host whose cores are all of one kind"
    if not host.hybrid:
        return ok(check, "all cores are of one kind")
    kinds = f"cores of different kinds ({', '.join(host.pmus)})"
    if host.vendor:  # only x86 has one
        return warn(check, f"{kinds}: KVM gives no guest a PMU on such a CPU", remedy)
    return warn(check, f"{kinds}: a guest gets the PMU of one kind, and counts on those cores alone", remedy)


def _watchdog(host: KernelFacts) -> Finding:
    if host.nmi_watchdog:
        return warn(
            "vpmu.nmi_watchdog",
            "the NMI watchdog takes one counter of each CPU",
            "as root: sysctl kernel.nmi_watchdog=0",
        )
    return ok("vpmu.nmi_watchdog", "off" if host.nmi_watchdog is False else "this kernel has none")


def _perf_users(host: KernelFacts) -> Finding:
    check = "vpmu.perf_users"
    unseen = f"; processes that this user may not look into: {host.unseen}" if host.unseen else ""
    if not host.perf_users:
        return ok(check, f"no process is seen with an open perf event{unseen}")
    more = f" and {len(host.perf_users) - NAMED} more" if len(host.perf_users) > NAMED else ""
    return warn(
        check,
        f"open perf events: {', '.join(host.perf_users[:NAMED])}{more}{unseen}. "
        "They may take counters away from guests, which then miss events without notice",
        "end these programs while VMs are measured",
    )


def _paranoid(host: KernelFacts) -> Finding:
    check = "vpmu.perf_event_paranoid"
    if host.perf_event_paranoid is None:
        return warn(
            check,
            "the kernel has no perf events at all: KVM has no counters to give",
            "use a kernel with them",
        )
    return ok(
        check,
        f"{host.perf_event_paranoid}: limits users' own perf, not guests, whose events are the kernel's",
    )


def _nested(host: KernelFacts) -> Finding:
    inner = [f"{name} is {value}" for name, value in host.parameters.items() if name.endswith(".nested")]
    guests = f"; hypervisors inside guests: {', '.join(inner)}" if inner else ""
    if host.nested:
        return warn(
            "vpmu.nested",
            f"this host is a virtual machine itself, and those rarely have a PMU to give{guests}",
            "use a physical host for results about virtual PMUs",
        )
    return ok("vpmu.nested", f"not seen to be a virtual machine{guests}")
