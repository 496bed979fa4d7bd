"""report.md and results.csv: complete, and guest-made text is nothing else."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from harness.contract.outcomes import Outcome, Verdict
from harness.report.write import write_reports
from tests.report.synthetic import RunBuilder, demo, guest_cell, probe_cell, series


def test_the_table_has_a_line_per_result(tmp_path: Path) -> None:
    summary = write_reports(demo(tmp_path, {"embedded-max": {"FREE-2": Outcome.FAIL}}))
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert len(rows) == summary.planned
    assert sum(row["outcome"] == "fail" for row in rows) == summary.counts[Outcome.FAIL]
    bad = next(row for row in rows if row["outcome"] == "fail")
    assert (bad["clause"], bad["verdict"], bad["hal.generation"], bad["pmu"]) == (
        "FREE-2",
        "broken",
        "exclusive",
        "on",
    )
    assert bad["reason"]


def test_what_is_missing_is_in_the_table_too(tmp_path: Path) -> None:
    run = RunBuilder(
        tmp_path, [guest_cell("one"), probe_cell("two")], clauses={"one": ("PRES-1", "FREE-1"), "two": ()}
    )
    run.clause("one", "PRES-1")
    write_reports(tmp_path)
    rows = [
        (row["cell"], row["clause"], row["outcome"])
        for row in csv.DictReader((tmp_path / "results.csv").open())
    ]
    assert rows == [("one", "PRES-1", "pass"), ("one", "FREE-1", "missing"), ("two", "", "")]


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2", "@x", "\t=1", 'a,"b"\nc'])
def test_no_spreadsheet_runs_what_a_guest_wrote(tmp_path: Path, text: str) -> None:
    run = RunBuilder(tmp_path, [guest_cell("one")], clauses={"one": ("FREE-1",)})
    run.clause("one", "FREE-1", Outcome.FAIL, text)
    run.end("one", Verdict.BROKEN)
    write_reports(run.finish(1))
    [row] = csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text()))
    assert row["reason"][0] not in "=+-@\t\r"
    assert " ".join(text.split()) in row["reason"]


def test_markdown_has_findings_cells_and_what_changed(tmp_path: Path) -> None:
    folders = series(tmp_path, 2, {1: {"embedded-max-pmu_on-shared-grant": {"FREE-2": Outcome.FAIL}}})
    write_reports(folders[1], history=True)
    text = (folders[1] / "report.md").read_text()
    assert text.startswith("# ✗ demo: contract violation\n")
    assert "- **FREE-2 violated**" in text
    assert "Newly violated: FREE-2 in 1 of 18 cells." in text
    assert text.count("\n| ") == 1 + 18, "the head, and a line per cell"
    assert "Wine guest with the reference HAL, not Windows" in text
    assert "where hal.generation shared → exclusive" in text


def test_markdown_of_a_hostile_guest(tmp_path: Path) -> None:
    text = "<script>alert(1)</script> | [x](http://evil) ![y](z) `c` # h @all"
    run = RunBuilder(tmp_path, [guest_cell("one")], clauses={"one": ("FREE-1",)})
    run.clause("one", "FREE-1", Outcome.FAIL, text)
    run.end("one", Verdict.BROKEN, text)
    write_reports(run.finish(1))
    markdown = (tmp_path / "report.md").read_text()
    assert (
        "\\<script\\>alert(1)\\</script\\> \\| \\[x\\](http://evil) \\!\\[y\\](z) \\`c\\` \\# h" in markdown
    )
