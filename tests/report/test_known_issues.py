"""Known issues in reports: what they excuse, that it shows, and when they are red themselves."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from harness.contract.outcomes import Outcome, Verdict
from harness.report.findings import findings
from harness.report.live import LiveProgress
from harness.report.markdown import markdown
from harness.report.summary import Summary, is_red, summarize
from harness.report.terminal import print_summary
from harness.report.write import write_reports
from harness.runs.planned import PlannedIssue, SkippedCell
from harness.runs.record import CellRecord, ClauseRecord, RunRecord
from harness.runs.record_file import FILE_NAME, read_records
from tests.report.synthetic import START, RunBuilder, guest_cell

FAILS = {"FREE-2": Outcome.FAIL}


def issue(
    *cells: str, clauses: tuple[str, ...] = ("FREE-2",), until: str = "2999-12-31", name: str = "BUG-7"
) -> PlannedIssue:
    return PlannedIssue(id=name, reason="frees twice", cells=cells, clauses=clauses, until=until)


def a_run(
    folder: Path,
    *issues: PlannedIssue,
    outcomes: dict[str, Outcome] | None = None,
    build: str = "",
    skipped: tuple[SkippedCell, ...] = (),
) -> tuple[Summary, str]:
    """A run of two cells, of which `bad` has the outcomes; its summary, and what a log of it says."""
    run = RunBuilder(folder, [guest_cell("bad"), guest_cell("good")])
    path = folder / FILE_NAME
    plan = next(read_records(folder))
    assert isinstance(plan, RunRecord)
    changed = plan.model_copy(update={"known_issues": issues, "skipped": skipped})
    path.write_text(changed.model_dump_json() + "\n")
    outcomes = FAILS if outcomes is None else outcomes
    run.cell(
        "bad", Verdict.BROKEN if Outcome.FAIL in outcomes.values() else Verdict.PHANTOM, outcomes=outcomes
    )
    if build:
        run.write(CellRecord(time=run.clock, cell="bad", provenance={"guest_build": build}))
    run.cell("good", Verdict.PHANTOM)
    summary = write_reports(run.finish())
    text = io.StringIO()
    print_summary(summary, folder, Console(file=text, width=200))
    return summary, text.getvalue()


def test_a_failure_without_a_known_issue_is_red(tmp_path: Path) -> None:
    summary, text = a_run(tmp_path)
    assert summary.exit_code == 1
    assert "FAIL  FREE-2" in text
    assert [cell.id for cell in summary.cells if is_red(cell)] == ["bad"]


def test_a_known_failure_shows_as_such_and_the_run_passes(tmp_path: Path) -> None:
    summary, text = a_run(tmp_path, issue("bad"))
    bad = summary.cells[0]
    assert summary.exit_code == 0
    assert summary.exit_meaning == "passed with known issues: 1 known failure"
    assert (bad.verdict, bad.clauses["FREE-2"], bad.known) == (
        Verdict.BROKEN,
        Outcome.FAIL,
        {"FREE-2": "BUG-7"},
    )
    assert summary.known_issues[0].excused == ("bad FREE-2",)
    assert "KNOWN FREE-2: BUG-7: frees twice (until 2999-12-31)  [bad]" in text
    assert "FAIL" not in text
    assert "exit code 0: passed with known issues: 1 known failure" in text
    page = (tmp_path / "report.html").read_text()
    assert "Passed with known issues" in page
    assert "BUG-7: frees twice" in page
    assert not is_red(bad)


def test_junit_has_a_known_failure_as_skipped_with_its_id(tmp_path: Path) -> None:
    a_run(tmp_path, issue("bad"))
    root = ET.parse(tmp_path / "junit.xml").getroot()
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    messages = [str(e.get("message")) for e in root.iter("skipped")]
    assert any(message.startswith("known issue BUG-7: ") for message in messages)


@pytest.mark.parametrize(
    "about",
    [issue("good"), issue("bad", clauses=("FREE-1",)), issue("bad", clauses=("FREE-3",))],
    ids=["another cell", "another clause", "a third clause"],
)
def test_an_issue_excuses_only_what_it_is_about(about: PlannedIssue, tmp_path: Path) -> None:
    summary, text = a_run(tmp_path, about)
    assert summary.exit_code == 1
    assert summary.cells[0].known == {}
    assert "FAIL  FREE-2" in text


def test_a_second_failure_beside_a_known_one_is_red(tmp_path: Path) -> None:
    summary, text = a_run(tmp_path, issue("bad"), outcomes={**FAILS, "ALLOC-1": Outcome.FAIL})
    assert summary.exit_code == 1
    assert "FAIL  ALLOC-1" in text
    assert "KNOWN FREE-2" in text


def test_an_issue_that_unexpectedly_passes_is_red(tmp_path: Path) -> None:
    summary, text = a_run(tmp_path, issue("bad"), outcomes={})
    assert summary.exit_code == 1
    assert "STALE known issue BUG-7 unexpectedly holds: FREE-2 in bad" in text
    assert "exit code 1: a known issue is none any more" in text
    assert [finding.kind for finding in findings(summary)] == ["stale"]


def test_an_issue_of_a_whole_cell_passes_unexpectedly_when_nothing_fails(tmp_path: Path) -> None:
    summary, _ = a_run(tmp_path / "a", issue("bad", clauses=()), outcomes={})
    assert "unexpectedly holds: every clause in bad" in summary.known_issues[0].problem
    summary, _ = a_run(tmp_path / "b", issue("bad", clauses=()))
    assert (summary.exit_code, summary.known_issues[0].problem) == (0, "")


def test_an_issue_of_a_whole_cell_in_which_nothing_was_judged_does_not_pass(tmp_path: Path) -> None:
    run = RunBuilder(
        tmp_path, [guest_cell("bad")], clauses={"bad": ("FREE-2",)}, issues=[issue("bad", clauses=())]
    )
    run.clause("bad", "FREE-2", Outcome.ERROR)
    run.end("bad", Verdict.UNKNOWN)
    summary = summarize(run.finish())
    assert (summary.known_issues[0].problem, summary.exit_code) == ("", 3)


@pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.ERROR])
def test_what_was_not_judged_neither_passes_nor_fails(outcome: Outcome, tmp_path: Path) -> None:
    summary, _ = a_run(tmp_path, issue("bad"), outcomes={"FREE-2": outcome})
    assert summary.known_issues[0].problem == ""
    assert (summary.known_issues[0].excused, summary.cells[0].known) == ((), {})
    assert summary.exit_code == (3 if outcome is Outcome.ERROR else 0)


def test_an_expired_issue_excuses_nothing_and_says_so(tmp_path: Path) -> None:
    day = START.date().isoformat()
    assert a_run(tmp_path / "a", issue("bad", until=day))[0].exit_code == 0, "its last day is a day of it"
    summary, text = a_run(tmp_path / "b", issue("bad", until="2025-03-13"))
    assert summary.exit_code == 1
    assert "FAIL  FREE-2" in text
    assert "STALE known issue BUG-7 expired: it was known until 2025-03-13 (bad)" in text


def test_a_run_across_midnight_is_of_the_day_it_began(tmp_path: Path) -> None:
    run = RunBuilder(
        tmp_path, [guest_cell("bad")], clauses={"bad": ("FREE-2",)}, issues=[issue("bad", until="2025-03-14")]
    )
    run.clause("bad", "FREE-2", Outcome.FAIL)
    run.pass_time(24 * 3600)
    run.end("bad", Verdict.BROKEN)
    summary = summarize(run.finish())
    assert (summary.exit_code, summary.cells[0].known) == (0, {"FREE-2": "BUG-7"})


def test_an_expired_issue_is_red_even_when_nothing_fails(tmp_path: Path) -> None:
    summary, _ = a_run(tmp_path, issue("bad", until="2025-03-13"), outcomes={})
    assert summary.exit_code == 1


def test_an_issue_ends_with_the_build_of_the_guest_that_ran(tmp_path: Path) -> None:
    old, _ = a_run(tmp_path / "old", issue("bad", until="build 26200"), build="26100")
    assert old.exit_code == 0
    new, text = a_run(tmp_path / "new", issue("bad", until="build 26200"), build="26200")
    assert new.exit_code == 1
    assert "the guest's build 26200 is not older than 26200 (bad)" in text
    unknown, _ = a_run(tmp_path / "unknown", issue("bad", until="build 26200"))
    assert unknown.exit_code == 0


def test_progress_calls_a_known_failure_known(tmp_path: Path) -> None:
    a_run(tmp_path, issue("bad"))
    text = io.StringIO()
    records = list(read_records(tmp_path))
    assert any(isinstance(r, ClauseRecord) and r.outcome is Outcome.FAIL for r in records)
    with LiveProgress([guest_cell("bad"), guest_cell("good")], Console(file=text, width=200)) as progress:
        progress.update(records)
    assert "FREE-2 fail (known issue BUG-7)" in text.getvalue()


def test_skipped_cells_are_shown_in_every_report(tmp_path: Path) -> None:
    skipped = SkippedCell(id="bare-metal", config={}, reason="requires kvm: there is no /dev/kvm")
    summary, text = a_run(tmp_path, skipped=(skipped,), outcomes={})
    assert summary.exit_code == 0
    assert "SKIP  bare-metal: requires kvm: there is no /dev/kvm" in text
    assert "there is no /dev/kvm" in (tmp_path / "report.html").read_text()
    assert summary.skipped == (skipped,)
    assert "- `bare-metal`: requires kvm: there is no /dev/kvm" in markdown(summary)


def test_a_run_of_skipped_cells_alone_is_no_success(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, [])
    summary = write_reports(run.finish())
    assert summary.exit_code == 3
    assert "no cell ran" in summary.problems[0]
