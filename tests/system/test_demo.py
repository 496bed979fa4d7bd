"""The demo as a new user runs it: one command, a complete report, and the right verdict in every cell."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.config.load import load_matrix
from harness.config.models import Cell, SuitePart, WithoutPmu
from harness.paths import project_root
from harness.report.summary import summarize

DEMO = project_root() / "ci" / "matrices" / "demo.yaml"


def expected(cell: Cell, realised: bool) -> str:
    """The verdict by configuration: the reference HAL does on a machine without a PMU what it was told to."""
    if cell.guest is None:
        return "counting" if cell.pmu else "absent"
    if cell.pmu and realised:  # a host whose KVM gives x86 guests a PMU that counts
        return "usable"
    return "refused" if cell.hal.without_pmu is WithoutPmu.REFUSE else "phantom"


@pytest.mark.timeout(2400)
def test_the_demo_gives_the_right_verdict_in_every_cell(tmp_path: Path) -> None:
    done = subprocess.run(
        ["ci/demo", "--runs-dir", str(tmp_path)],
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=2300,
        check=False,
    )
    print(done.stdout, done.stderr)
    (folder,) = tmp_path.glob("*/")
    summary = summarize(folder)
    cells = {cell.id: cell for cell in load_matrix(DEMO).cells}
    assert done.returncode == 0
    assert summary.recorded == summary.planned
    assert {seen.id for seen in summary.cells} == set(cells)
    wrong = {
        seen.id: f"{seen.verdict}: {seen.reason}"
        for seen in summary.cells
        if seen.verdict != expected(cells[seen.id], bool(seen.realised))
    }
    assert wrong == {}
    for seen in summary.cells:
        cell = cells[seen.id]
        assert seen.reason
        assert seen.realised == (cell.pmu == (seen.probe == "counting")), f"{seen.id}: {seen.not_realised}"
        if cell.guest is not None:
            assert seen.provenance["guest_kind"] == "wine"
            assert seen.provenance["hal"].startswith("reference HAL")
            assert (folder / "cells" / seen.id / "run.sh").stat().st_mode & 0o111
    assert json.loads((folder / "summary.json").read_text())["exit_code"] == 0
    for whole in (seen for seen in summary.cells if seen.config["suite"] == list(SuitePart)):
        if whole.config["guest"] is None:
            continue
        kept = {name: whole.clause_reasons[name] for name in ("LIFE-3", "LIFE-4", "LIFE-5", "PARAM-4")}
        assert "until the reboot, granted after it" in kept["LIFE-3"], kept
        assert "still excludes" in kept["LIFE-4"] and "still frees" in kept["LIFE-4"], kept
        assert "documented error (STATUS_INVALID_PARAMETER" in kept["PARAM-4"], kept
        assert kept["LIFE-5"].count("still excludes") == kept["LIFE-5"].count("still frees") == 2, kept
    suites = ElementTree.parse(folder / "junit.xml").getroot()
    assert {suite.get("name") for suite in suites.iter("testsuite")} >= set(cells)
    assert "not Windows" in (folder / "report.html").read_text()
