"""What a cell's settings need of the host, and with which words a cell is skipped that asks for more."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harness.config.models import Accel, Arch, Boot, Cell
from harness.config.requirements import Requirements
from harness.host.kernel import KernelFacts, read_kernel
from harness.host.starve import KernelPerf
from harness.runs.capabilities import read_capabilities, unmet
from harness.runs.needs import lacking, needs_of
from harness.vm.firmware import find_uefi
from tests.unit.test_runs_select import HOST
from tests.unit.test_starve import SmallPerf

ALL = Cell(
    id="all", accel=Accel.KVM, firmware=Boot.UEFI, secure_boot=True, tpm=True, vbs=True, starve_pmu=True
)
NEEDS = ("tpm", "secure-boot x86_64 q35", "vbs", "starve_pmu")


def kernel(**parameters: str) -> KernelFacts:
    return KernelFacts(
        vendor="GenuineIntel",
        flags=frozenset(),
        modules=("kvm",),
        parameters={name.replace("__", "."): value for name, value in parameters.items()},
        pmus=("cpu",),
        nmi_watchdog=None,
        perf_event_paranoid=0,
        perf_users=(),
        unseen=0,
    )


def test_only_what_is_asked_for_is_needed() -> None:
    assert needs_of(ALL) == NEEDS
    assert needs_of(Cell(id="x")) == ()
    assert needs_of(Cell(id="x", firmware=Boot.BIOS, tpm=False, vbs=False)) == ()
    arm = Cell(id="x", arch=Arch.AARCH64, machine="virt,gic-version=3", firmware=Boot.UEFI)
    assert needs_of(arm) == ("uefi aarch64 virt",)
    assert needs_of(Cell(id="x", vbs=True, accel=Accel.TCG)) == ()


def test_a_host_with_all_of_it() -> None:
    assert lacking(NEEDS, kernel(kvm_intel__nested="Y"), "", "", SmallPerf()) == {}
    assert lacking(["vbs"], kernel(), "", "", SmallPerf()) == {}, "a kernel that does not say may have it"
    assert lacking(["vbs"], kernel(kvm_amd__nested="1"), "", "", SmallPerf()) == {}


@pytest.mark.parametrize(
    ("need", "facts", "no_kvm", "no_vpmu", "refuse", "reason"),
    [
        ("vbs", {"kvm_intel__nested": "N"}, "", "", None, "kvm_intel.nested is N: guests cannot run"),
        ("starve_pmu", {}, "there is no /dev/kvm", "", None, "there is no /dev/kvm"),
        ("starve_pmu", {}, "", "kvm.enable_pmu is N", None, "kvm.enable_pmu is N"),
        (
            "starve_pmu",
            {"kvm_intel__enable_mediated_pmu": "Y"},
            "",
            "",
            None,
            "kvm_intel.enable_mediated_pmu is on: guests then have the counters to themselves",
        ),
        ("starve_pmu", {}, "", "", errno.EACCES, "this user may not count on whole CPUs: kernel.perf_event"),
        ("starve_pmu", {}, "", "", errno.ENOENT, "the host's kernel has no counters of the CPU itself"),
    ],
)
def test_the_condition_that_fails(
    need: str, facts: dict[str, str], no_kvm: str, no_vpmu: str, refuse: int | None, reason: str
) -> None:
    found = lacking([need], kernel(**facts), no_kvm, no_vpmu, SmallPerf(refuse=refuse))
    assert found[need].startswith(reason)
    host = HOST.model_copy(update={"lacks": found})
    assert str(unmet(Requirements(), ALL, host)) == f"{need} is asked for: {found[need]}"
    assert unmet(Requirements(), Cell(id="x"), host) is None


def test_vbs_without_kvm_is_left_to_the_guest_to_tell() -> None:
    assert lacking(["vbs"], kernel(kvm_intel__nested="N"), "no kvm", "", SmallPerf()) == {}


def test_programs_and_firmware_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(find_uefi, "__defaults__", ([tmp_path],))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("harness.host.tools.SYSTEM_FOLDERS", ())
    found = lacking(NEEDS[:2], kernel(), "", "", SmallPerf())
    assert found == {
        "tpm": "swtpm is not installed",
        "secure-boot x86_64 q35": "UEFI firmware with Secure Boot for x86_64 q35 is not installed",
    }
    reason = unmet(Requirements(), ALL, HOST.model_copy(update={"lacks": found}))
    assert str(reason) == "tpm is asked for: swtpm is not installed"


def test_this_host_says_what_it_cannot_starve() -> None:
    """For real: the kernel's own answer to perf_event_open, or what is against KVM before it."""
    found = read_capabilities((), ["starve_pmu"])
    if found.vpmu_missing:
        assert found.lacks["starve_pmu"] in (found.kvm_missing, found.vpmu_missing)
    reason = lacking(["starve_pmu"], read_kernel(), "", "", KernelPerf()).get("starve_pmu", "")
    if not Path("/sys/bus/event_source/devices/cpu").exists():
        assert reason == "the host's kernel has no counters of the CPU itself"
    elif os.geteuid() == 0:
        assert reason == ""
