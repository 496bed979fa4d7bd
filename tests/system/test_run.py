"""Whole runs with a real VM: the verdicts, and a broken HAL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness.contract.outcomes import Outcome, Verdict
from harness.paths import contract_suite, project_root
from harness.report.summary import Summary, summarize
from tests.system.conftest import HALPMC

RunMatrix = Callable[..., tuple[int, Summary, str]]
WriteMatrix = Callable[[str], Path]

EMBEDDED = "include:\n  - {id: embedded, guest: embedded, cpu: Nehalem, pmu: off, suite: [basic]}\n"


def failing(summary: Summary, cell_id: str) -> set[str]:
    cell = next(cell for cell in summary.cells if cell.id == cell_id)
    return {name for name, outcome in cell.clauses.items() if outcome is Outcome.FAIL}


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
    (folder,) = plain_runs.glob("*/")
    plain = summarize(folder)
    assert plain.cells[0].clauses == led.cells[0].clauses
    assert plain.cells[0].verdict is led.cells[0].verdict is Verdict.PHANTOM
    assert plain.recorded == plain.planned == led.planned
    assert {p.name for p in folder.iterdir()} >= {"records.jsonl", "summary.json", "junit.xml", "report.html"}


def test_two_harnesses_at_once(write_matrix: WriteMatrix, tmp_path: Path) -> None:
    """Started in the same second, in the same folder: a run each, and neither disturbs the other."""
    matrix, runs = write_matrix(EMBEDDED), tmp_path / "runs"
    command = [
        *(sys.executable, "-m", "pytest", str(contract_suite() / "test_free.py"), "-q"),
        *("-p", "no:cacheprovider", f"--halpmc-matrix={matrix}", f"--halpmc-runs-dir={runs}"),
    ]
    outputs = [tmp_path / "one", tmp_path / "two"]
    processes = []
    for output in outputs:
        with output.open("w") as file:
            processes.append(subprocess.Popen(command, cwd=project_root(), stdout=file, stderr=file))
    for process, output in zip(processes, outputs, strict=True):
        assert process.wait(600) == 0, output.read_text()
    one, two = map(summarize, runs.glob("*/"))
    assert one.cells[0].verdict is two.cells[0].verdict is Verdict.PHANTOM
    assert one.cells[0].clauses == two.cells[0].clauses
    assert one.recorded == one.planned == two.recorded > 0


def test_a_cell_is_replayed_from_its_folder(
    write_matrix: WriteMatrix, run_matrix: RunMatrix, tmp_path: Path
) -> None:
    """With the same settings, of which the defect is one; only the test that is asked for, and the plan says so."""
    matrix = write_matrix(
        "include:\n  - {id: broken, guest: embedded, cpu: Nehalem, pmu: off, suite: [basic],"
        " defect: double-free-accepted}\n"
    )
    assert run_matrix(matrix)[0] == 1
    (folder,) = (tmp_path / "runs").glob("*/")
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
    (replayed,) = again.glob("*/")
    summary = summarize(replayed)
    assert (summary.partial, summary.planned, summary.recorded) == (True, 1, 1)
    assert failing(summary, "broken") == {"FREE-2"}
