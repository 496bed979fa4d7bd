"""The two cells of the aarch64 matrix that the demo has not: every clause, and exact counts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.config.load import load_matrix
from harness.config.models import SuitePart
from harness.contract.clauses import CLAUSES, suite_for
from harness.contract.outcomes import Outcome, Verdict
from harness.paths import project_root
from harness.report.summary import summarize

MATRIX = project_root() / "ci" / "matrices" / "aarch64.yaml"
WHOLE, EXACT = "embedded-arm64-whole-suite", "embedded-arm64-exact"


@pytest.mark.timeout(1200)
def test_every_clause_and_exact_counts(tmp_path: Path) -> None:
    done = subprocess.run(
        ["ci/demo", str(MATRIX), "--cell", WHOLE, "--cell", EXACT, "--runs-dir", str(tmp_path)],
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.glob("*/")
    summary = summarize(folder)
    assert summary.recorded == summary.planned
    seen = {cell.id: cell for cell in summary.cells}
    assert {name: cell.verdict for name, cell in seen.items()} == dict.fromkeys(
        (WHOLE, EXACT), Verdict.USABLE
    )
    assert all(cell.realised for cell in summary.cells)
    described = {cell.id: cell for cell in load_matrix(MATRIX).cells}
    outcomes = seen[WHOLE].clauses
    assert set(outcomes) == set(suite_for(described[WHOLE]))
    # What may stop the guest, reboots it or saves its machine: each in a clone of its own.
    beyond = {name: outcomes[name] for name in outcomes if CLAUSES[name].part is not SuitePart.BASIC}
    assert beyond == {
        "PARAM-4": Outcome.RECORDED,
        "FREE-4": Outcome.PASS,
        "IRQL-2": Outcome.SKIPPED,  # a driver at EL0 raises no IRQL
        "LIFE-3": Outcome.RECORDED,
        "LIFE-4": Outcome.RECORDED,
        "LIFE-5": Outcome.SKIPPED,  # this machine neither sleeps nor takes CPUs
    }, seen[WHOLE].clause_reasons
