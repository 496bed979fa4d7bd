"""Whole runs with a real VM: the verdicts, a broken HAL, and a harness that is killed in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from harness.contract.outcomes import Outcome, Verdict
from harness.deadlines import Deadline, wait_for
from harness.paths import contract_suite, project_root
from harness.report.summary import Summary, summarize
from harness.runs.record import FILE_NAME, PhaseRecord, read_records
from tests.system.conftest import HALPMC

RunMatrix = Callable[..., tuple[int, Summary, str]]
WriteMatrix = Callable[[str], Path]

EMBEDDED = "include:\n  - {id: embedded, guest: embedded, cpu: Nehalem, pmu: off}\n"
PROBE_ONLY = "include:\n  - {id: probe, guest: none, arch: x86_64, cpu: max, pmu: off}\n"


def failing(summary: Summary, cell_id: str) -> set[str]:
    cell = next(cell for cell in summary.cells if cell.id == cell_id)
    return {name for name, outcome in cell.clauses.items() if outcome is Outcome.FAIL}


@pytest.mark.parametrize(
    ("defect", "expected"),
    [
        ("double-grant", {"ALLOC-2", "ALLOC-3"}),
        ("double-free-accepted", {"FREE-2"}),
        ("null-not-written", {"ALLOC-2", "ALLOC-3"}),
    ],
)
def test_a_broken_hal_turns_the_right_clauses_red(
    defect: str, expected: set[str], write_matrix: WriteMatrix, run_matrix: RunMatrix
) -> None:
    matrix = write_matrix(
        f"include:\n  - {{id: broken, guest: embedded, cpu: Nehalem, pmu: off, defect: {defect}}}\n"
    )
    code, summary, output = run_matrix(matrix)
    assert code == 1, output
    assert summary.cells[0].verdict is Verdict.BROKEN
    assert expected <= failing(summary, "broken"), output
    assert "FREE-1" not in failing(summary, "broken")


def test_plain_pytest_gives_the_same_results(
    write_matrix: WriteMatrix, run_matrix: RunMatrix, tmp_path: Path
) -> None:
    matrix = write_matrix(EMBEDDED)
    code, led, output = run_matrix(matrix)
    assert code == 0, output
    plain_runs = tmp_path / "plain"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            str(contract_suite()),
            f"--halpmc-matrix={matrix}",
            f"--halpmc-runs-dir={plain_runs}",
            "-q",
            "-p",
            "no:cacheprovider",
        ],
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = plain_runs.iterdir()
    plain = summarize(folder)
    assert plain.cells[0].clauses == led.cells[0].clauses
    assert plain.cells[0].verdict is led.cells[0].verdict is Verdict.PHANTOM
    assert plain.recorded == plain.planned == led.planned
    assert {p.name for p in folder.iterdir()} >= {"records.jsonl", "summary.json", "junit.xml", "report.html"}


def started_run(matrix: Path, runs: Path) -> tuple[subprocess.Popen[bytes], Path, list[psutil.Process]]:
    """A run whose VM has booted: its process, its folder, and all processes below it (QEMU among them)."""
    process = subprocess.Popen(
        [*HALPMC, "run", str(matrix), "--runs-dir", str(runs)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def booted(deadline: Deadline) -> Path | None:
        assert process.poll() is None, "the run ended before its VM was up"
        folders = list(runs.iterdir()) if runs.exists() else []
        if not folders or not (folders[0] / FILE_NAME).exists():
            return None
        phases = [r.name for r in read_records(folders[0]) if isinstance(r, PhaseRecord)]
        deadline.last_seen = f"phases {phases}"
        return folders[0] if "login" in phases else None

    folder = wait_for("VM of the run booted", 180, booted)
    below = psutil.Process(process.pid).children(recursive=True)
    assert any("qemu-system" in p.name() for p in below)
    return process, folder, below


def all_gone(processes: list[psutil.Process], seconds: float) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_kill_9_leaves_no_vm_and_readable_records(
    write_matrix: WriteMatrix, run_matrix: RunMatrix, tmp_path: Path
) -> None:
    process, folder, below = started_run(write_matrix(EMBEDDED), tmp_path / "killed")
    process.kill()
    process.wait(10)
    assert all_gone(below, 5.0)

    done = subprocess.run(
        [*HALPMC, "report", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3, done.stdout + done.stderr
    summary = summarize(folder)
    assert summary.recorded < summary.planned
    assert summary.cells[0].verdict is Verdict.UNKNOWN

    code, after, output = run_matrix(write_matrix(PROBE_ONLY))
    assert (code, after.cells[0].verdict) == (0, Verdict.ABSENT), output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_its_vm_and_says_so(
    number: signal.Signals, write_matrix: WriteMatrix, tmp_path: Path
) -> None:
    process, folder, below = started_run(write_matrix(EMBEDDED), tmp_path / "interrupted")
    process.send_signal(number)
    assert process.wait(30) == 130
    assert all_gone(below, 5.0)
    assert summarize(folder).exit_code == 3


def test_a_cell_is_replayed_from_its_folder(
    write_matrix: WriteMatrix, run_matrix: RunMatrix, tmp_path: Path
) -> None:
    """With the same settings, of which the defect is one; only the test that is asked for, and the plan says so."""
    matrix = write_matrix(
        "include:\n  - {id: broken, guest: embedded, cpu: Nehalem, pmu: off, defect: double-free-accepted}\n"
    )
    assert run_matrix(matrix)[0] == 1
    (folder,) = (tmp_path / "runs").iterdir()
    again = tmp_path / "again"
    done = subprocess.run(
        [
            *(*HALPMC, "replay", str(folder / "cells" / "broken"), "--runs-dir", str(again)),
            *("--test", "second_free"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (replayed,) = again.iterdir()
    summary = summarize(replayed)
    assert (summary.partial, summary.planned, summary.recorded) == (True, 1, 1)
    assert failing(summary, "broken") == {"FREE-2"}
