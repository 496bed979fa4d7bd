"""What QEMU says about itself: scripted programs, and the judgement of their answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.config.models import Arch
from harness.doctor.finding import Status
from harness.doctor.programs import NEEDED, WANTED, judge_qemu
from harness.errors import DeadlineExceeded, QemuError
from harness.host import qemu
from harness.host.qemu import QemuFeatures, ask_qemu

ANSWERS: dict[str, Any] = {
    "qmp_capabilities": {},
    "query-machines": [{"name": "pc-q35-9.0", "alias": "q35"}, {"name": "none"}],
    "query-migrate-capabilities": [{"capability": "x-ignore-shared", "state": False}],
    "qom-list-types": {
        "accel": [{"name": "tcg-accel"}, {"name": "accel"}],
        "device": [{"name": "vmcoreinfo"}],
    },
    "quit": {},
}
SCRIPT = """#!{python}
import json, sys
answers = {answers!r}
if {refuses!r} and "-sandbox" in sys.argv:
    sys.exit("qemu: -sandbox on: seccomp is not supported")
print(json.dumps({{"QMP": {{}}}}))
for line in sys.stdin:
    question = json.loads(line)
    value = answers[question["execute"]]
    if question["execute"] == "qom-list-types":
        value = value[question["arguments"]["implements"]]
    print(json.dumps({{"return": value, "id": question["id"]}}))
    print(json.dumps({{"event": "SHUTDOWN"}}))
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "qemu-system-x86_64"
    path.write_text(text)
    path.chmod(0o755)
    return path


def fake(folder: Path, *, refuses: bool = False) -> Path:
    return program(folder, SCRIPT.format(python=sys.executable, answers=ANSWERS, refuses=refuses))


def test_answers_are_told_apart_from_events(tmp_path: Path) -> None:
    assert ask_qemu(fake(tmp_path), "on") == QemuFeatures(
        accelerators=frozenset({"tcg"}),
        machines=frozenset({"pc-q35-9.0", "q35", "none"}),
        devices=frozenset({"vmcoreinfo"}),
        migration=frozenset({"x-ignore-shared"}),
        sandbox_refusal="",
    )


def test_a_sandbox_that_is_refused_is_told_and_the_rest_is_known(tmp_path: Path) -> None:
    features = ask_qemu(fake(tmp_path, refuses=True), "on")
    assert "seccomp is not supported" in features.sandbox_refusal
    assert features.accelerators == {"tcg"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#!/bin/sh\necho hello\n", "does not speak QMP"),
        ("#!/bin/sh\necho broken >&2; exit 3\n", "ended with status 3: broken"),
        ("#!/bin/sh\nexit 0\n", "does not answer over QMP"),
    ],
)
def test_something_that_is_not_qemu(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(QemuError, match=message):
        ask_qemu(program(tmp_path, text), "on")


def test_a_qemu_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "ANSWER_S", 0.2)
    with pytest.raises(DeadlineExceeded, match="over QMP"):
        ask_qemu(program(tmp_path, f"#!{sys.executable}\nimport signal\nsignal.pause()\n"), "on")


FULL = QemuFeatures(
    accelerators=frozenset({"tcg", "kvm"}),
    machines=frozenset({"q35", "virt", "none"}),
    devices=NEEDED[Arch.X86_64] | NEEDED[Arch.AARCH64] | WANTED,
    migration=frozenset({"x-ignore-shared"}),
    sandbox_refusal="",
)


def statuses(features: QemuFeatures, arch: Arch = Arch.X86_64) -> dict[str, Status]:
    return {
        finding.check.removeprefix(f"qemu.{arch}."): finding.status
        for finding in judge_qemu(arch, features)
        if finding.status is not Status.OK
    }


@pytest.mark.parametrize("arch", list(Arch))
def test_a_full_qemu(arch: Arch) -> None:
    assert statuses(FULL, arch) == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"accelerators": frozenset({"kvm"})}, {"accelerators": Status.WARN}),
        ({"machines": frozenset({"pc"})}, {"machines": Status.FAIL}),
        ({"devices": FULL.devices - {"pvpanic-pci"}}, {"devices": Status.FAIL}),
        ({"devices": FULL.devices - {"vmcoreinfo"}}, {"devices": Status.WARN}),
        ({"migration": frozenset()}, {"migration": Status.WARN}),
        ({"sandbox_refusal": "no seccomp"}, {"sandbox": Status.FAIL}),
    ],
    ids="-".join,
)
def test_what_is_missing(change: dict[str, Any], expected: dict[str, Status]) -> None:
    assert statuses(FULL.model_copy(update=change)) == expected
