"""`halpmc doctor` on this host, whatever it is: its verdicts are compared with evidence of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.config.models import Accel, Arch
from harness.errors import DeadlineExceeded, InfrastructureError, ProtocolError
from harness.host.tools import host_arch
from harness.paths import cache_dir
from harness.probe.models import PmuVerdict
from harness.probe.run import DEFAULT_MACHINES, run_probe
from harness.report.schemas import json_schema
from tests.system.conftest import HALPMC


@pytest.fixture
def cold_proofs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache in which everything is built and nothing is proved."""
    own = tmp_path / "cache"
    own.mkdir()
    for kind in ("probe", "zig", "guests"):
        (cache_dir() / kind).mkdir(parents=True, exist_ok=True)
        (own / kind).symlink_to(cache_dir() / kind)
    monkeypatch.setenv("HALPMC_CACHE", str(own))


def doctor(*options: str, **environment: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    done = subprocess.run(
        [*HALPMC, "doctor", "--json", *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )
    findings = json.loads(done.stdout)
    jsonschema.validate(findings, json_schema("doctor"))
    named = {finding["check"]: finding for finding in findings}
    assert len(named) == len(findings)
    return done.returncode, named, done.stderr


def kvm_answers(arch: Arch) -> bool:
    """Whether KVM runs guests here: seen by running one, without asking the code under test."""
    if host_arch() is not arch or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    try:
        run_probe(arch, Accel.KVM, DEFAULT_MACHINES[arch], "host")
    except (DeadlineExceeded, InfrastructureError, ProtocolError):
        return False
    return True


@pytest.mark.usefixtures("cold_proofs")
def test_the_verdict_about_this_hosts_accelerators_is_true() -> None:
    code, found, progress = doctor()
    assert code == (3 if any(finding["status"] == "fail" for finding in found.values()) else 0)
    for arch in Arch:
        accelerator, pmu = found[f"accelerator.{arch}"], found[f"pmu.{arch}"]
        accel = Accel.KVM if kvm_answers(arch) else Accel.TCG
        assert f"accel auto takes {accel} for {arch} guests" in accelerator["detail"], accelerator
        assert (accelerator["status"] == "ok") == (accel is Accel.KVM or host_arch() is not arch)
        if accel is Accel.TCG:  # what TCG has is the same on every host
            real = arch is Arch.AARCH64
            assert pmu["status"] == ("ok" if real else "warn")
            assert ("a real PMU that counts" if real else "TCG emulates none for x86_64") in pmu["detail"]
        else:
            verdict = run_probe(arch, accel, DEFAULT_MACHINES[arch], "host,pmu=on").verdict
            assert (pmu["status"] == "ok") == (verdict is PmuVerdict.COUNTING)
        if accel is Accel.TCG and host_arch() is arch:
            assert "/dev/kvm" in accelerator["detail"]
            assert accelerator["remedy"]
    assert "doctor: accelerator x86_64" in progress


@pytest.mark.usefixtures("cold_proofs")
def test_a_host_that_was_prepared_for_halpmc_has_no_failure() -> None:
    code, found, _ = doctor()
    assert code == 0, [finding for finding in found.values() if finding["status"] == "fail"]
    assert found["qemu.x86_64.devices"]["status"] == "ok"
    assert found["qemu.aarch64.migration"]["status"] == "ok"
    assert found["tool.qemu-img"]["detail"].endswith("package qemu-utils")


def test_a_host_without_qemu_fails_in_every_check_that_needs_it(tmp_path: Path) -> None:
    code, found, _ = doctor(PATH=str(tmp_path), HALPMC_CACHE=str(tmp_path / "cache"))
    assert code == 3
    for check in ("tool.qemu-system-x86_64", "qemu.x86_64", "accelerator.x86_64"):
        assert found[check]["status"] == "fail"
        assert "qemu-system-x86" in found[check]["remedy"]
    assert found["memory"]["status"] in ("ok", "warn")
