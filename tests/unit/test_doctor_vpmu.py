"""What a virtual PMU depends on, on recorded hosts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.doctor.finding import Finding, Status
from harness.doctor.vpmu import check_vpmu
from harness.host.kernel import read_kernel
from tests.unit.host_trees import (
    AMD,
    ARM,
    ARM_BIG_LITTLE,
    INTEL_HYBRID,
    INTEL_SERVER,
    NO_KVM,
    SOFTWARE_KVM,
    cpuinfo,
    write_tree,
)

Judge = Callable[..., dict[str, Finding]]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """The findings about a recorded host by the names of their checks."""

    def run(*trees: Mapping[str, str]) -> dict[str, Finding]:
        findings = list(check_vpmu(read_kernel(write_tree(tmp_path, *trees))))
        named = {finding.check.removeprefix("vpmu."): finding for finding in findings}
        assert len(named) == len(findings)
        for finding in findings:
            assert (finding.status is Status.OK) == (finding.remedy == ""), finding
        return named

    return run


def warned(findings: dict[str, Finding]) -> set[str]:
    assert Status.FAIL not in {finding.status for finding in findings.values()}  # nothing here stops VMs
    return {name for name, finding in findings.items() if finding.status is Status.WARN}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (INTEL_SERVER, set()),
        (AMD, set()),
        (ARM, set()),
        (INTEL_HYBRID, {"enable_pmu", "hybrid", "nmi_watchdog"}),
        (NO_KVM, {"kvm"}),
        (SOFTWARE_KVM, {"kvm", "enable_pmu", "counters", "nested"}),
        (ARM_BIG_LITTLE, {"hybrid"}),
    ],
    ids=["intel", "amd", "arm", "hybrid", "no-kvm", "software-kvm", "big-little"],
)
def test_each_host_is_warned_of_what_it_has(
    judge: Judge, tree: Mapping[str, str], expected: set[str]
) -> None:
    assert warned(judge(tree)) == expected


def test_an_intel_server(judge: Judge) -> None:
    found = judge(INTEL_SERVER)
    assert found["kvm"].detail == "modules: kvm, kvm_intel"
    assert "cpu" in found["counters"].detail
    assert "perf events of the host" in found["mediated"].detail
    assert "kvm_intel.nested is Y" in found["nested"].detail


def test_a_hybrid_cpu_names_its_kinds_of_cores(judge: Judge) -> None:
    assert "cpu_atom, cpu_core" in judge(INTEL_HYBRID)["hybrid"].detail


def test_a_hybrid_cpu_with_one_kind_switched_on_is_still_hybrid(judge: Judge) -> None:
    tree = {name: text for name, text in INTEL_HYBRID.items() if "cpu_atom" not in name}
    assert "hybrid" in warned(judge(tree))


def test_amd_counters_are_counted(judge: Judge) -> None:
    found = judge(AMD)
    assert found["counters"].detail.startswith("AMD with 6 counters, PerfMonV2")
    assert "to themselves" in found["mediated"].detail


def test_an_older_amd_has_four(judge: Judge) -> None:
    assert judge(AMD, cpuinfo("AuthenticAMD", "svm"))["counters"].detail.startswith("AMD with 4 counters;")


def test_a_pmu_that_is_switched_off_and_how_to_switch_it_on(judge: Judge) -> None:
    finding = judge(INTEL_SERVER, {"sys/module/kvm/parameters/enable_pmu": "N"})["enable_pmu"]
    assert finding.status is Status.WARN
    assert "QEMU accepts pmu=on without a word" in finding.detail
    assert "kvm.enable_pmu=1" in finding.remedy


def test_a_kernel_without_perf_events(judge: Judge) -> None:
    tree = {name: text for name, text in INTEL_SERVER.items() if "perf_event_paranoid" not in name}
    assert "perf_event_paranoid" in warned(judge(tree))


def test_who_uses_perf_is_named(judge: Judge, tmp_path: Path) -> None:
    for pid, link in ((41, "/dev/null"), (42, "anon_inode:[perf_event]")):
        folder = tmp_path / "proc" / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "fd" / "3").symlink_to(link)
        (folder / "comm").write_text("perf\n")
    finding = judge(INTEL_SERVER)["perf_users"]
    assert finding.status is Status.WARN
    assert "perf (42)" in finding.detail
    assert "41" not in finding.detail


def test_processes_that_cannot_be_looked_into_are_said(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc" / "43").mkdir(parents=True)

    def refuse(_self: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "may not look into: 1" in judge(INTEL_SERVER)["perf_users"].detail


def test_this_host_can_be_read() -> None:
    facts = read_kernel()
    assert facts.flags or os.uname().machine != "x86_64"
    assert list(check_vpmu(facts))
