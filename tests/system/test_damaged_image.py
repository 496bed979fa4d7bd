"""Guest images that are not what was built: a run says so, blames the host, and goes on with its other cells."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.contract.outcomes import Verdict
from harness.imaging.store import DISK, find_guest
from harness.report.summary import Summary
from tests.system.conftest import HALPMC, cache_without_templates

RunMatrix = Callable[..., tuple[int, Summary, str]]
WriteMatrix = Callable[[str], Path]

CELLS = (
    "include:\n"
    "  - {id: guest, guest: embedded, cpu: Nehalem, pmu: off, accel: tcg, start: %s}\n"
    "  - {id: probe, guest: none, arch: x86_64, cpu: max, pmu: off, accel: tcg}\n"
)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The disk of an embedded guest that may be damaged: everything else is linked to the real one."""
    image = find_guest("embedded")
    cache = cache_without_templates(tmp_path)
    (cache / "guests").unlink()
    folder = cache / "guests" / image.folder.name
    folder.mkdir(parents=True)
    for path in image.folder.iterdir():
        if path.name != DISK:
            (folder / path.name).symlink_to(path)
    monkeypatch.setenv("HALPMC_CACHE", str(cache))
    return folder / DISK


def as_large_and_old(disk: Path) -> None:
    """Size and time are those of the disk that was built, as after a bit that flipped on its own."""
    status = real(disk).stat()
    os.truncate(disk, status.st_size)
    os.utime(disk, ns=(status.st_atime_ns, status.st_mtime_ns))


def real(disk: Path) -> Path:
    return (disk.parent / "manifest.json").resolve().with_name(DISK)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("truncated", "was changed after it was built"),
        ("replaced", "was changed after it was built"),
        ("missing", "is missing"),
    ],
)
def test_damage_that_a_look_tells(
    damage: str, words: str, disk: Path, write_matrix: WriteMatrix, tmp_path: Path
) -> None:
    """The run does not even start."""
    if damage == "truncated":
        disk.write_bytes(real(disk).read_bytes()[: 1 << 20])
    elif damage == "replaced":
        disk.write_bytes(b"another disk")
    done = subprocess.run(
        [*HALPMC, "run", str(write_matrix(CELLS % "clone")), "--runs-dir", str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.strip() == f"halpmc: {disk} {words} — delete {disk.parent} and build the guest again"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("start", ["clone", "cold"])
def test_damage_that_only_the_content_tells(
    start: str, disk: Path, write_matrix: WriteMatrix, run_matrix: RunMatrix
) -> None:
    """As a bit that flipped on its own: nothing boots from it, and the other cells run."""
    disk.write_bytes(b"another content of the same size and age")
    as_large_and_old(disk)
    code, summary, output = run_matrix(write_matrix(CELLS % start))
    guest, probe = summary.cells
    assert (code, guest.verdict, probe.verdict) == (3, Verdict.UNKNOWN, Verdict.ABSENT), output
    (incident,) = guest.incidents
    assert incident.branch == "infrastructure"
    assert "has SHA-256" in incident.message
    assert "and build the guest again" in incident.message
    assert "has SHA-256" in output
    assert summary.recorded == summary.planned, "each clause has a record with the reason"
    assert not guest.retries
