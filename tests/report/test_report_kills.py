"""The kill matrix: what makes it green, what is red, and how each report shows it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from harness.config.models import HalSettings
from harness.contract.outcomes import Outcome, Verdict
from harness.report.findings import findings
from harness.report.live import LiveProgress
from harness.report.summary import Summary, summarize
from harness.report.terminal import print_summary
from harness.report.write import write_reports
from harness.runs.record_file import tail_records
from tests.report.synthetic import RunBuilder, guest_cell

SOUND, BROKEN = "sound", "broken"
CLAUSES = ("ALLOC-2", "FREE-2", "FREE-6")
Results = dict[str, tuple[Outcome, str]]


def run_of(
    folder: Path,
    broken: Results,
    *,
    sound: Results | None = None,
    promised: tuple[str, ...] = ("FREE-2",),
    record: tuple[str, ...] = CLAUSES,
) -> Summary:
    """A sound cell, and one with the defect double-free-accepted; a clause that is not named passes."""
    cells = [
        guest_cell(SOUND, hal=HalSettings()),
        guest_cell(BROKEN, hal=HalSettings(defect="double-free-accepted")),
    ]
    plan = {cell.id: CLAUSES for cell in cells}
    run = RunBuilder(folder, cells, name="defects", clauses=plan, promised={BROKEN: promised})
    for cell, results in ((SOUND, sound or {}), (BROKEN, broken)):
        run.start(cell)
        for clause in record if cell == BROKEN else CLAUSES:
            outcome, reason = results.get(clause, (Outcome.PASS, ""))
            run.clause(cell, clause, outcome, reason)
        failing = any(outcome is Outcome.FAIL for outcome, _ in results.values())
        run.end(cell, Verdict.BROKEN if failing else Verdict.PHANTOM, "a reason")
    run.finish(0)
    return summarize(folder)


def test_a_noticed_defect_is_green(tmp_path: Path) -> None:
    summary = run_of(tmp_path, {"FREE-2": (Outcome.FAIL, "seen"), "ALLOC-2": (Outcome.FAIL, "seen")})
    (kill,) = summary.defects
    assert findings(summary) == []
    assert (kill.defect, kill.generation, kill.cell) == ("double-free-accepted", "shared", BROKEN)
    assert (kill.promised, kill.killed_by, kill.changed) == (("FREE-2",), ("ALLOC-2", "FREE-2"), ())
    assert (kill.survived, kill.judged, kill.verdict) == (False, True, "killed")
    assert (summary.exit_code, summary.exit_meaning) == (
        0,
        "every defect is noticed, and the sound HAL conforms",
    )


def test_a_survivor_is_red_also_when_another_clause_noticed(tmp_path: Path) -> None:
    for number, noticed in enumerate(({}, {"ALLOC-2": (Outcome.FAIL, "seen")})):
        summary = run_of(tmp_path / str(number), noticed)
        assert summary.defects[0].survived
        assert summary.defects[0].verdict == "survived"
        assert (summary.exit_code, summary.exit_meaning) == (1, "not noticed: double-free-accepted")


def test_a_violation_of_the_sound_hal_is_red(tmp_path: Path) -> None:
    summary = run_of(
        tmp_path, {"FREE-2": (Outcome.FAIL, "seen")}, sound={"ALLOC-2": (Outcome.FAIL, "a false alarm")}
    )
    assert (summary.exit_code, summary.exit_meaning) == (1, "contract violation")


@pytest.mark.parametrize("judged", [True, False])
def test_nobody_can_say_is_no_survivor_and_not_green(judged: bool, tmp_path: Path) -> None:
    results: Results = {"FREE-2": (Outcome.ERROR, "QEMU died")} if judged else {}
    record = CLAUSES if judged else ("ALLOC-2", "FREE-6")
    summary = run_of(tmp_path, results, record=record)
    assert (summary.defects[0].survived, summary.defects[0].judged) == (True, False)
    assert summary.defects[0].verdict == "not judged"
    assert summary.exit_code == 3


def test_a_promise_that_was_skipped_is_no_survivor(tmp_path: Path) -> None:
    """Such as a race on a host that is too busy for calls to meet."""
    summary = run_of(tmp_path, {"FREE-2": (Outcome.SKIPPED, "calls did not meet")})
    assert (summary.defects[0].survived, summary.defects[0].judged, summary.exit_code) == (True, False, 3)


def test_a_survivor_outweighs_what_nobody_can_say(tmp_path: Path) -> None:
    names = ("double-free-accepted", "free-keeps")
    cells = [guest_cell(name, hal=HalSettings(defect=name)) for name in names]
    run = RunBuilder(
        tmp_path, cells, clauses=dict.fromkeys(names, ("FREE-2",)), promised=dict.fromkeys(names, ("FREE-2",))
    )
    for name, outcome in zip(names, (Outcome.ERROR, Outcome.PASS), strict=True):
        run.clause(name, "FREE-2", outcome)
        run.end(name, Verdict.PHANTOM)
    summary = summarize(run.finish())
    assert [kill.verdict for kill in summary.defects] == ["not judged", "survived"]
    assert (summary.exit_code, summary.exit_meaning) == (1, "not noticed: free-keeps")


def test_what_could_not_be_judged_beside_the_promise_does_not_matter(tmp_path: Path) -> None:
    summary = run_of(
        tmp_path, {"FREE-2": (Outcome.FAIL, "seen"), "ALLOC-2": (Outcome.ERROR, "the guest hangs")}
    )
    assert summary.exit_code == 0


def test_a_changed_record_notices(tmp_path: Path) -> None:
    """Compared with the cell that is the same but sound."""
    sound: Results = {"FREE-6": (Outcome.RECORDED, "from another thread: granted")}
    same: Results = {"FREE-6": (Outcome.RECORDED, "from another thread: granted")}
    other: Results = {"FREE-6": (Outcome.RECORDED, "from another thread: refused")}
    alive = run_of(tmp_path / "same", same, sound=sound, promised=("FREE-6",))
    assert (alive.exit_code, alive.defects[0].killed_by) == (1, ())
    dead = run_of(tmp_path / "other", other, sound=sound, promised=("FREE-6",))
    assert (dead.exit_code, dead.defects[0].killed_by, dead.defects[0].changed) == (
        0,
        ("FREE-6",),
        ("FREE-6",),
    )


def test_without_the_sound_twin_a_record_says_nothing(tmp_path: Path) -> None:
    cells = [guest_cell(BROKEN, hal=HalSettings(defect="only-its-thread-frees"))]
    run = RunBuilder(tmp_path, cells, clauses={BROKEN: ("FREE-6",)}, promised={BROKEN: ("FREE-6",)})
    run.clause(BROKEN, "FREE-6", Outcome.RECORDED, "refused")
    run.end(BROKEN, Verdict.PHANTOM, "a reason")
    run.finish(0)
    summary = summarize(tmp_path)
    assert (summary.exit_code, summary.defects[0].killed_by, summary.defects[0].verdict) == (
        3,
        (),
        "not judged",
    )


def test_a_matrix_that_expects_conformity_has_no_kills(tmp_path: Path) -> None:
    cells = [guest_cell(BROKEN, hal=HalSettings(defect="double-free-accepted"))]
    run = RunBuilder(tmp_path, cells, clauses={BROKEN: ("FREE-2",)})
    run.clause(BROKEN, "FREE-2", Outcome.FAIL, "seen")
    run.end(BROKEN, Verdict.BROKEN, "a reason")
    run.finish(1)
    summary = summarize(tmp_path)
    assert (summary.exit_code, summary.defects) == (1, ())


# -- the reports -----------------------------------------------------------------------------------------


def test_the_table_on_a_terminal(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    summary = run_of(tmp_path, {"ALLOC-2": (Outcome.FAIL, "seen")})
    print_summary(summary, tmp_path, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert re.search(r"^double-free-accepted \(shared\)  x o ·  SURVIVED$", text, re.MULTILINE)
    assert (
        "ALIVE the defect double-free-accepted survived in the shared generation: promised by FREE-2" in text
    )
    assert "FAIL" not in text, "what a broken cell shows is no finding"
    row = next(line for line in text.splitlines() if "x o ·" in line)
    head = [line for line in text[: text.index(row)].splitlines() if line.startswith(" ")]
    assert "".join(line[row.index("x")] for line in head) == "ALLOC-2"


def test_the_page_and_junit(tmp_path: Path) -> None:
    run_of(tmp_path, {"FREE-2": (Outcome.FAIL, "seen")})
    write_reports(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "1 defect, each noticed" in page
    assert '"promised":[' in page.replace(" ", "")
    assert "Says of a stale handle that it was freed." in page
    suites = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suites.get("failures"), suites.get("errors")) == ("0", "0")
    names = [case.get("name") for case in suites.iter("testcase") if case.get("classname") == BROKEN]
    assert names == ["the defect double-free-accepted is noticed"]


def test_survivors_in_junit_and_page(tmp_path: Path) -> None:
    run_of(tmp_path, {})
    write_reports(tmp_path)
    suites = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suites.get("failures"), suites.get("errors")) == ("1", "0")
    assert "1 of 1 defect survived" in (tmp_path / "report.html").read_text()


def test_a_defect_that_could_not_be_judged_is_an_error_in_junit(tmp_path: Path) -> None:
    run_of(tmp_path, {"FREE-2": (Outcome.ERROR, "QEMU died")})
    write_reports(tmp_path)
    suites = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suites.get("failures"), suites.get("errors")) == ("0", "1")


def test_progress_is_quiet_about_what_is_wanted(tmp_path: Path) -> None:
    summary = run_of(
        tmp_path, {"FREE-2": (Outcome.FAIL, "wanted")}, sound={"ALLOC-2": (Outcome.FAIL, "alarm")}
    )
    console = Console(file=io.StringIO(), force_terminal=False)
    cells = [guest_cell(cell.id) for cell in summary.cells]
    with LiveProgress(cells, console) as progress:
        progress.update(tail_records(tmp_path, 0)[0])
    assert isinstance(console.file, io.StringIO)
    assert "alarm" in console.file.getvalue()
    assert "wanted" not in console.file.getvalue()
