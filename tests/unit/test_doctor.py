"""The other checks of the doctor: simulated answers, real folders, real locks."""

from __future__ import annotations

import io
import os
from pathlib import Path

import filelock
import pytest
from rich.console import Console

from harness.config.models import Accel, Arch
from harness.doctor import examine as examination
from harness.doctor import programs, space
from harness.doctor.accelerators import judge_choice, judge_pmu
from harness.doctor.examine import exit_code
from harness.doctor.finding import Finding, Status, fail, ok, warn
from harness.doctor.programs import check_tools
from harness.doctor.show import print_findings
from harness.doctor.space import check_disks, check_memory, judge_disk
from harness.doctor.store import allocated_bytes, check_cache, check_guests, is_locked
from harness.errors import DeadlineExceeded, ToolMissing
from harness.host import tools
from harness.host.ledger import Entry
from harness.host.resources import HostResources
from harness.probe.accelerator import AcceleratorChoice
from harness.probe.models import PmuVerdict, ProbeAnswer

FINDINGS = [ok("a", "fine [1]"), warn("b.c", "limited", "do this"), fail("d", "missing", "install it")]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def answer(accel: Accel, verdict: PmuVerdict, arch: Arch = Arch.X86_64) -> ProbeAnswer:
    return ProbeAnswer(
        arch=arch, accel=accel, machine="q35", cpu="max,pmu=on", verdict=verdict, interface="none", version=0,
        general_counters=4, fixed_counters=3, counters=(), advertised={}, elapsed_s=0.1, qemu_version="9.9",
    )  # fmt: skip


# -- accelerators ----------------------------------------------------------------------------------------------


def test_a_kvm_that_is_proved_is_fine() -> None:
    choice = AcceleratorChoice(accel=Accel.KVM, reason="proved: the PMU probe answers under KVM")
    found = judge_choice(Arch.X86_64, choice, answer(Accel.KVM, PmuVerdict.COUNTING), native=True)
    assert (found.status, found.remedy) == (Status.OK, "")
    assert "takes kvm for x86_64 guests" in found.detail


def test_tcg_on_the_hosts_own_architecture_says_why_and_what_to_do() -> None:
    choice = AcceleratorChoice(accel=Accel.TCG, reason="/dev/kvm opens, but hangs", remedy="use another host")
    found = judge_choice(Arch.X86_64, choice, answer(Accel.TCG, PmuVerdict.ABSENT), native=True)
    assert (found.status, found.remedy) == (Status.WARN, "use another host")
    assert "/dev/kvm opens, but hangs" in found.detail


def test_tcg_for_a_foreign_architecture_is_as_it_must_be() -> None:
    choice = AcceleratorChoice(accel=Accel.TCG, reason="foreign", remedy="use an aarch64 host")
    found = judge_choice(
        Arch.AARCH64, choice, answer(Accel.TCG, PmuVerdict.COUNTING, Arch.AARCH64), native=False
    )
    assert (found.status, found.remedy) == (Status.OK, "")


@pytest.mark.parametrize(
    ("accel", "verdict", "status", "words"),
    [
        (Accel.TCG, PmuVerdict.ABSENT, Status.WARN, "TCG emulates none for x86_64; cells with pmu on run"),
        (Accel.KVM, PmuVerdict.ABSENT, Status.WARN, "KVM gives its guests none here"),
        (Accel.KVM, PmuVerdict.DEAD, Status.WARN, "does not count"),
        (Accel.KVM, PmuVerdict.COUNTING, Status.OK, "4 general and 3 fixed counters"),
    ],
)
def test_what_pmu_a_guest_gets(accel: Accel, verdict: PmuVerdict, status: Status, words: str) -> None:
    found = judge_pmu(Arch.X86_64, accel, answer(accel, verdict))
    assert found.status is status
    assert words in found.detail
    assert (found.remedy == "") == (status is Status.OK)


# -- programs --------------------------------------------------------------------------------------------------


def test_a_missing_tool_fails_and_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools, "SYSTEM_FOLDERS", ())
    img = tmp_path / "qemu-img"
    img.write_text("#!/bin/sh\necho 'qemu-img version 9.1.2'\n")
    img.chmod(0o755)
    found = by_name(list(check_tools()))
    assert found["tool.qemu-img"].status is Status.OK
    assert found["tool.qemu-img"].detail == f"qemu-img version 9.1.2; {img}, package qemu-utils"
    missing = found["tool.mformat"]
    assert (missing.status, missing.detail) == (Status.FAIL, "mformat is not installed")
    assert "mtools" in missing.remedy


def test_a_tool_that_hangs_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(path: Path) -> str:
        if path.name == "cpio":
            raise DeadlineExceeded("cpio --version", 10)
        return "1.0"

    monkeypatch.setattr(programs, "tool_version", version)
    monkeypatch.setattr(programs, "require_tool", Path)
    found = list(check_tools())
    assert [finding.check for finding in found if finding.status is Status.FAIL] == ["tool.cpio"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the other way round for ordinary users")
def test_user_namespaces_are_no_matter_for_root() -> None:
    assert "tool.newuidmap" not in by_name(list(check_tools()))


# -- memory and disks ------------------------------------------------------------------------------------------


def memory(total: int, available: int, *entries: Entry) -> dict[str, Finding]:
    return by_name(list(check_memory(HostResources(total, available, 2.0, "/sys/fs/cgroup/x"), entries)))


def test_memory() -> None:
    granted = Entry(owner=1, label="cell a", memory_mib=900, granted=True)
    waiting = Entry(owner=1, label="cell b", memory_mib=700)
    found = memory(8192, 8000, granted, waiting)["memory"]
    assert found.status is Status.OK
    assert "limit of /sys/fs/cgroup/x" in found.detail
    assert "900 MiB are promised to 1 running VMs" in found.detail
    assert memory(8192, 300)["memory"].status is Status.WARN
    assert memory(700, 600)["memory"].status is Status.FAIL


def test_a_folder_that_is_not_there_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    found = judge_disk("disk.x", tmp_path / "not" / "there", 1, 1, "move")
    assert (found.status, "GiB free" in found.detail) == (Status.OK, True)
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("needed", "wanted", "status"), [(1 << 60, 1 << 60, Status.FAIL), (1, 1 << 60, Status.WARN)]
)
def test_too_little_space(tmp_path: Path, needed: int, wanted: int, status: Status) -> None:
    found = judge_disk("disk.x", tmp_path, needed, wanted, "move")
    assert (found.status, found.remedy) == (status, "move")


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert "may not write" in judge_disk("disk.x", tmp_path, 1, 1, "move").detail


def test_overlays_in_memory_are_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(space, "_file_system", lambda _: "tmpfs")
    found = by_name(list(check_disks(tmp_path)))["disk.overlays"]
    assert found.status is not Status.OK
    assert str(tmp_path) in found.detail


# -- cache -----------------------------------------------------------------------------------------------------


def test_an_empty_cache() -> None:
    found = by_name(list(check_cache()))
    assert {finding.status for finding in found.values()} == {Status.OK}
    assert "empty" in found["cache.size"].detail


def test_builds_that_go_on_and_those_that_were_killed(own_cache: Path) -> None:
    kind = own_cache / "guests"
    for name in (".alive-1.tmp-abc", ".dead-2.tmp-def"):
        (kind / name).mkdir(parents=True)
        (kind / name / "file").write_bytes(b"x" * 100_000)
    (kind / ".dead-2.lock").touch()
    with filelock.FileLock(kind / ".alive-1.lock"):
        found = by_name(list(check_cache()))
        assert "guests/alive-1" in found["cache.locks"].detail
        assert "dead" not in found["cache.locks"].detail
        left = found["cache.leftovers"]
        assert left.status is Status.WARN
        assert str(kind / ".dead-2.tmp-def") in left.detail
        assert "alive" not in left.detail
        assert is_locked(kind / ".alive-1.lock")  # the look took nothing away
    assert not is_locked(kind / ".alive-1.lock")
    assert len(list(kind.iterdir())) >= 3  # nothing was deleted


def test_holes_take_no_space(tmp_path: Path) -> None:
    with (tmp_path / "ram").open("wb") as file:
        file.truncate(1 << 30)
    assert allocated_bytes(tmp_path) < 1 << 20


def test_a_guest_that_is_not_built_is_no_failure() -> None:
    found = by_name(list(check_guests()))["guest.embedded"]
    assert found.status is Status.WARN
    assert "halpmc guest build embedded" in found.remedy


# -- all together ----------------------------------------------------------------------------------------------


def test_a_check_that_ends_in_an_error_fails_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(arch: Arch, *_: object) -> list[Finding]:
        raise ToolMissing(f"qemu-system-{arch}", "qemu-system")

    monkeypatch.setattr(examination, "check_qemu", missing)
    monkeypatch.setattr(examination, "check_accelerator", missing)
    said: list[str] = []
    found = by_name(examination.examine(tmp_path, say=said.append))
    assert found["qemu.x86_64"].status is Status.FAIL
    assert found["accelerator.aarch64"].detail == "qemu-system-aarch64 is not installed"
    assert "guest.embedded" in found
    assert len(said) > 5


def test_only_a_failure_fails() -> None:
    assert exit_code(FINDINGS[:2]) == 0
    assert exit_code(FINDINGS) == 3


def test_a_log_has_one_line_for_each_finding_and_one_for_each_remedy() -> None:
    text = io.StringIO()
    print_findings(FINDINGS, Console(file=text, width=20))
    assert text.getvalue().splitlines() == [
        "ok    a: fine [1]",
        "warn  b.c: limited",
        "      -> do this",
        "fail  d: missing",
        "      -> install it",
        "3 checks: 1 ok, 1 warn, 1 fail; exit code 3: something that halpmc needs is missing",
    ]


def test_a_terminal_has_a_table_with_the_same_words() -> None:
    text = io.StringIO()
    print_findings(FINDINGS, Console(file=text, width=80, force_terminal=True, color_system=None))
    for word in ("fine [1]", "b.c", "-> do this", "-> install it", "exit code 3"):
        assert word in text.getvalue()
