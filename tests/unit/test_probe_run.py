"""Running the probe, with small scripts in QEMU's place (a simulation: no guest runs here)."""

from __future__ import annotations

import itertools
import shlex
import sys
from pathlib import Path

import psutil
import pytest

from harness.config.models import Accel, Arch
from harness.errors import DeadlineExceeded, ProtocolError, QemuError, UsageError
from harness.probe.models import PmuVerdict, ProbeAnswer
from harness.probe.run import probe_argv, run_probe

ANSWER = (
    '{"probe":"x86_64","interface":"none","version":"0x0","general":"0x0","fixed":"0x0","width":"0x0",'
    '"loop":"0x4e20","fault":"0x6","counters":[],"overflows":[],"overflows_untried":"","registers":{"cpuid.0x0.eax":"0xd"}}'
)


def fake_qemu(folder: Path, script: str) -> Path:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def probe(folder: Path, script: str, *, deadline_s: float = 20.0, arch: Arch = Arch.X86_64) -> ProbeAnswer:
    qemu = fake_qemu(folder, script)
    image = folder / "image"
    return run_probe(arch, Accel.TCG, "q35", "max,pmu=on", deadline_s=deadline_s, qemu=qemu, image=image)


def test_an_answer_ends_the_run_and_the_process(tmp_path: Path) -> None:
    answer = probe(tmp_path, f"echo $$ >{tmp_path}/pid; echo '{ANSWER}'; exec sleep 600")
    assert (answer.verdict, answer.cpu, answer.machine) == (PmuVerdict.ABSENT, "max,pmu=on", "q35")
    assert 0 < answer.elapsed_s < 20
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_an_answer_in_pieces(tmp_path: Path) -> None:
    assert (
        probe(tmp_path, f"printf '{ANSWER[:50]}'; printf '%s\\n' '{ANSWER[50:]}'").verdict
        is PmuVerdict.ABSENT
    )


def test_a_guest_that_hangs_is_ended_at_the_deadline(tmp_path: Path) -> None:
    script = f"echo $$ >{tmp_path}/pid; printf '{{\"probe\":'; echo slow >&2; exec sleep 600"
    with pytest.raises(DeadlineExceeded, match=r"PMU probe \(tcg, q35, max,pmu=on\)") as caught:
        probe(tmp_path, script, deadline_s=0.7)
    assert "9 bytes of the answer, ending in b'{\"probe\":'" in caught.value.last_seen
    assert caught.value.evidence["stderr"] == "slow\n"
    assert "-cpu max,pmu=on" in caught.value.evidence["argv"]
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def children() -> set[int]:
    """Processes below this one; other tests of the session may have some of their own."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_output_closed_but_still_running_is_ended_at_the_deadline(tmp_path: Path) -> None:
    before = children()
    with pytest.raises(DeadlineExceeded, match="nothing was seen"):
        probe(tmp_path, "exec sleep 600 >&-", deadline_s=0.7)
    assert children() <= before


def test_qemu_refusing_shows_its_words_and_status(tmp_path: Path) -> None:
    with pytest.raises(
        QemuError, match="status 3 before the PMU probe answered: unsupported machine type"
    ) as caught:
        probe(
            tmp_path,
            "echo qemu: warning: x >&2; echo unsupported machine type >&2; echo Use help >&2; exit 3",
        )
    assert caught.value.evidence["stderr"] == "qemu: warning: x\nunsupported machine type\nUse help\n"
    assert shlex.split(caught.value.evidence["argv"])[0].endswith("setpriv")


def test_no_such_qemu(tmp_path: Path) -> None:
    with pytest.raises(QemuError, match="No such file"):
        run_probe(Arch.X86_64, Accel.TCG, "q35", "max", qemu=tmp_path / "none", image=tmp_path / "image")


def test_a_truncated_answer(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="malformed") as caught:
        probe(tmp_path, f"printf '%s' '{ANSWER[:-30]}'")
    assert set(caught.value.evidence) == {"line", "argv", "stderr"}


def test_an_endless_answer_is_cut(tmp_path: Path) -> None:
    before = children()
    with pytest.raises(ProtocolError, match="malformed"):
        probe(tmp_path, "exec tr '\\0' x </dev/zero")
    assert children() <= before


def test_the_answer_of_another_architecture(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="answers for x86_64, not aarch64"):
        probe(tmp_path, f"echo '{ANSWER}'", arch=Arch.AARCH64)


def test_auto_is_not_an_accelerator_to_run_on(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one accelerator"):
        run_probe(Arch.X86_64, Accel.AUTO, "q35", "max", qemu=tmp_path / "none", image=tmp_path / "image")


def test_machine_and_cpu_are_passed_on_exactly(tmp_path: Path) -> None:
    argv = probe_argv(Arch.AARCH64, qemu=Path(sys.executable), image=tmp_path, accel=Accel.KVM,
                      machine="virt,gic-version=3", cpu_string="host,pmu=off", smp=3)  # fmt: skip
    pairs = dict(itertools.pairwise(argv))
    assert (pairs["-accel"], pairs["-machine"], pairs["-cpu"], pairs["-smp"]) == (
        "kvm",
        "virt,gic-version=3",
        "host,pmu=off",
        "3",
    )
    assert argv[1:3] == ["--pdeathsig", "KILL"]
