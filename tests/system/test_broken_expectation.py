"""An expectation that is wrong on purpose: the suite turns red, and says which fact led to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness.paths import contract_suite, project_root
from harness.runs.record import ClauseRecord
from harness.runs.record_file import read_records

# The reference HAL grants in this cell; what is computed is turned round.
WRONG = """
from harness.contract import expected

right = expected.expect_plain_request

def wrong(facts):
    seen = right(facts)
    assert seen.expected is expected.Expected.GRANTED
    return expected.Expectation(expected.Expected.REFUSED, seen.because.replace("set to grant", "set to refuse"))

expected.expect_plain_request = wrong
"""


def test_a_broken_expectation_is_red_and_explained(
    tmp_path: Path, write_matrix: Callable[[str], Path]
) -> None:
    (tmp_path / "wrong_plugin.py").write_text(WRONG)
    matrix = write_matrix(
        "include:\n  - {id: wrong, guest: embedded, cpu: Nehalem, pmu: off, accel: tcg, suite: [basic]}\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(contract_suite() / "test_allocate.py"), "-q"),
            *("-p", "no:cacheprovider", "-p", "wrong_plugin", "-k", "plain_request"),
            *(f"--halpmc-matrix={matrix}", f"--halpmc-runs-dir={tmp_path / 'runs'}"),
        ],
        cwd=project_root(),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    (folder,) = (tmp_path / "runs").glob("*/")
    (seen,) = (record for record in read_records(folder) if isinstance(record, ClauseRecord))
    assert (done.returncode, seen.clause, seen.outcome) == (1, "ALLOC-1", "fail"), done.stdout
    assert seen.reason.startswith("expected refused as unavailable, got STATUS_SUCCESS (0x00000000) [")
    why = "expected because the PMU probe found no PMU, and the reference HAL is set to refuse all the same"
    assert why in seen.reason
    assert seen.observations[0] == ("expected", f"refused as unavailable, because {why[17:]}")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["exit_code"] == 1
    assert why in summary["cells"][0]["reason"]
    assert why in done.stdout and why in (folder / "report.html").read_text()
