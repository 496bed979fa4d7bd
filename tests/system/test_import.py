"""Disks made with qemu-img from the embedded guest: imported, checked, and run as a cell, by the commands alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.config.models import Firmware
from harness.host.tools import require_tool
from harness.imaging.store import find_guest, find_image
from harness.report.summary import Summary
from tests.system.conftest import HALPMC

#: Of a guest that is Wine: what only Windows has.
UNKNOWN = {"test_signing", "secure_boot", "vbs", "bitlocker", "crash_control", "licence", "verifier"}


def halpmc(*words: str | Path) -> Any:
    """The JSON that a command prints."""
    done = subprocess.run(
        [*HALPMC, "guest", *map(str, words), "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("form", "options", "name"), [("vhdx", "subformat=dynamic", "vhdx"), ("vpc", "subformat=fixed", "vhd")]
)
def test_from_a_disk_to_a_cell(
    form: str,
    options: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_matrix: Callable[[str], Path],
    run_matrix: Callable[..., tuple[int, Summary, str]],
) -> None:
    monkeypatch.setenv("HALPMC_GUESTS", str(tmp_path / "guests"))
    embedded = find_guest("embedded")
    disk = tmp_path / "a disk"
    convert: list[str | Path] = [require_tool("qemu-img"), "convert", "-O", form, "-o", options]
    subprocess.run([*convert, embedded.disk, disk], check=True)
    added = halpmc("import", disk, "--as", name, "--ssh-key", embedded.key, "--definition", "embedded")
    disk.unlink()
    assert (added["manifest"]["source"]["format"], added["entry"]["state"]) == (name, "unchecked")

    report = halpmc("check", name, "--accel", "tcg")
    judged = {one["name"]: one["status"] for one in report["requirements"]}
    assert judged.pop("clock") in (
        "ok",
        "warn",
    )  # on a busy host an emulated clock runs late, and that is said
    assert {requirement for requirement, status in judged.items() if status == "unknown"} == UNKNOWN
    assert {requirement for requirement, status in judged.items() if status not in ("ok", "unknown")} == set()
    (system,) = [one["detail"] for one in report["requirements"] if one["name"] == "system"]
    assert system.startswith("Wine 8.0")
    assert "not Windows" in system
    assert report["state"]["bitlocker"] == 2, "its cmd.exe has run the line that asks, and found no such tool"
    assert report["image_sha256"] == added["manifest"]["disk_sha256"]
    shown = halpmc("show", name)
    assert (shown["entry"]["state"], shown["check"]) == ("ready", report)
    assert (tmp_path / "guests" / name / "host_key.pub").read_text().split() == embedded.host_key.split()[:2]

    code, summary, output = run_matrix(
        write_matrix(
            "defaults: {start: cold, accel: tcg, cpu: Nehalem, suite: [basic]}\n"
            f"axes: {{guest: [{name}], pmu: [false]}}\n"
        )
    )
    assert code == 0, output
    (cell,) = summary.cells
    assert cell.provenance["guest"] == name
    assert cell.provenance["image_sha256"] == report["image_sha256"]
    assert halpmc("rm", name)["why"] == "asked for"
    assert not (tmp_path / "guests" / name).exists()


def test_the_disk_of_the_aarch64_guest_is_one_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells load the kernel beside the disk; whoever imports the disk has no such kernel, and UEFI starts it."""
    monkeypatch.setenv("HALPMC_GUESTS", str(tmp_path / "guests"))
    embedded = find_guest("embedded-arm64")
    halpmc(
        *("import", embedded.disk, "--as", "arm", "--ssh-key", embedded.key),
        *("--definition", "embedded-arm64"),
    )
    imported = find_image("arm")
    assert (imported.direct_boot, imported.definition.firmware) == (None, Firmware.UEFI)
    report = halpmc("check", "arm", "--accel", "tcg")
    failed = [one for one in report["requirements"] if one["status"] == "fail"]
    assert not failed
    assert find_guest("arm").host_key.split() == embedded.host_key.split()[:2]
