"""The summary counts honestly: what was planned, what was recorded, and which exit code that is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.contract.clauses import PROBE_SUITE, SUITE
from harness.contract.outcomes import Outcome, Verdict
from harness.errors import InfrastructureError, UsageError
from harness.probe.models import PmuVerdict
from harness.report.findings import findings
from harness.report.summary import UNENDED, is_red, summarize
from harness.report.write import write_reports
from harness.runs.record import IncidentRecord
from harness.runs.record_file import Recorder
from tests.report.synthetic import START, RunBuilder, demo, guest_cell, probe_cell


def test_the_demo_conforms(tmp_path: Path) -> None:
    summary = summarize(demo(tmp_path))
    assert summary.exit_code == 0
    assert summary.planned == summary.recorded == 16 * len(SUITE) + 2 * len(PROBE_SUITE)
    assert sum(summary.counts.values()) == summary.planned
    assert summary.finished
    assert not summary.problems
    assert not findings(summary)
    verdicts = [cell.verdict for cell in summary.cells]
    assert [
        verdicts.count(v) for v in (Verdict.PHANTOM, Verdict.REFUSED, Verdict.COUNTING, Verdict.ABSENT)
    ] == [8, 8, 1, 1]
    counting = summary.cells[0]
    assert counting.probe is PmuVerdict.COUNTING
    assert counting.probe_answer is not None
    assert counting.realised is True
    asked_for_a_pmu = next(cell for cell in summary.cells if cell.id == "embedded-max-pmu_on-shared-grant")
    assert asked_for_a_pmu.realised is False
    assert asked_for_a_pmu.not_realised
    assert list(asked_for_a_pmu.clauses) == list(SUITE)
    assert [phase.name for phase in asked_for_a_pmu.phases][:3] == ["probe", "qemu", "boot"]
    assert asked_for_a_pmu.provenance["guest_kind"] == "wine"
    assert asked_for_a_pmu.config["hal"]["generation"] == "shared"
    assert summary.excluded[0].reason


def run_with(folder: Path, outcome: Outcome | None = None) -> RunBuilder:
    """A run of one cell that is sound but for the last of its three clauses."""
    run = RunBuilder(folder, [guest_cell("one")], clauses={"one": ("PRES-1", "ALLOC-1", "ALLOC-2")})
    run.clause("one", "PRES-1")
    run.clause("one", "ALLOC-1")
    if outcome:
        run.clause("one", "ALLOC-2", outcome)
    return run


@pytest.mark.parametrize(
    ("outcome", "exit_code"),
    [(Outcome.PASS, 0), (Outcome.RECORDED, 0), (Outcome.SKIPPED, 0), (Outcome.ERROR, 3), (Outcome.FAIL, 1)],
)
def test_exit_code_by_outcome(tmp_path: Path, outcome: Outcome, exit_code: int) -> None:
    run = run_with(tmp_path, outcome)
    run.end("one", Verdict.PHANTOM)
    summary = summarize(run.finish())
    assert summary.exit_code == exit_code
    assert summary.cells[0].clauses["ALLOC-2"] is outcome
    assert bool(findings(summary)) == (exit_code != 0)


@pytest.mark.parametrize(
    ("verdict", "exit_code"),
    [(verdict, {Verdict.BROKEN: 1, Verdict.UNKNOWN: 3}.get(verdict, 0)) for verdict in Verdict],
)
def test_exit_code_by_verdict(tmp_path: Path, verdict: Verdict, exit_code: int) -> None:
    run = run_with(tmp_path, Outcome.PASS)
    run.end("one", verdict)
    summary = summarize(run.finish())
    assert summary.exit_code == exit_code
    assert (
        summary.problems == ()
    )  # no shortage, and no exit code that went unexplained: it is the verdict alone
    assert bool(findings(summary)) == (exit_code != 0)
    assert is_red(summary.cells[0]) == (exit_code != 0)


def test_a_shortage_is_red_and_named(tmp_path: Path) -> None:
    run = run_with(tmp_path)
    run.end("one", Verdict.PHANTOM)
    summary = summarize(run.finish())
    assert (summary.planned, summary.recorded, summary.exit_code) == (3, 2, 3)
    assert summary.cells[0].missing == ("ALLOC-2",)
    assert summary.problems == ("one: 1 of 3 clauses not recorded: ALLOC-2",)
    assert is_red(summary.cells[0])
    assert [finding.kind for finding in findings(summary)] == ["record"]


def test_a_violation_outweighs_a_shortage(tmp_path: Path) -> None:
    run = run_with(tmp_path)
    run.clause("one", "ALLOC-1", Outcome.FAIL)
    run.end("one", Verdict.BROKEN)
    summary = summarize(run.finish())
    assert summary.exit_code == 1
    assert {finding.kind for finding in findings(summary)} == {"fail", "record"}


def test_an_incident_alone_is_infrastructure(tmp_path: Path) -> None:
    run = run_with(tmp_path, Outcome.PASS)
    run.incident("one", "QEMU died", evidence={"serial": "cells/one/serial.log"})
    run.end("one", Verdict.PHANTOM)
    summary = summarize(run.finish())
    assert summary.exit_code == 3
    assert summary.problems == ()
    assert summary.cells[0].incidents[0].message == "QEMU died"
    assert [(finding.kind, finding.reason) for finding in findings(summary)] == [
        ("infrastructure", "QEMU died")
    ]


def test_a_cell_that_an_incident_left_without_a_verdict_is_one_finding(tmp_path: Path) -> None:
    run = run_with(tmp_path, Outcome.PASS)
    run.incident("one", "QEMU died")
    run.end("one", Verdict.UNKNOWN)
    assert [finding.kind for finding in findings(summarize(run.finish()))] == ["infrastructure"]


def test_a_guest_that_stopped_is_a_finding_and_no_violation(tmp_path: Path) -> None:
    """Of the clauses that may stop a guest alone: in the reason of another clause the word means nothing."""
    clauses = ("PARAM-4", "IRQL-2", "ALLOC-8")
    run = RunBuilder(tmp_path, [guest_cell("one")], clauses={"one": clauses})
    stopped = "no handle cell: bugcheck (0x50 PAGE_FAULT_IN_NONPAGED_AREA)"
    for clause, reason in zip(clauses, (stopped, "at IRQL 2: documented error (0)", stopped), strict=True):
        run.clause("one", clause, Outcome.RECORDED, reason)
    run.end("one", Verdict.PHANTOM)
    summary = summarize(run.finish())
    assert summary.exit_code == 0
    assert [(one.kind, one.clauses, one.reason) for one in findings(summary)] == [
        ("crash", ("PARAM-4",), stopped)
    ]


def test_what_went_right_at_the_second_try_is_green_and_told(tmp_path: Path) -> None:
    run = run_with(tmp_path, Outcome.PASS)
    run.write(
        IncidentRecord(time=run.clock, cell="one", branch="infrastructure", message="QEMU died", retried=True)
    )
    run.end("one", Verdict.PHANTOM)
    summary = summarize(run.finish())
    (cell,) = summary.cells
    assert (summary.exit_code, cell.incidents) == (0, ())
    assert [retry.message for retry in cell.retries] == ["QEMU died"]
    assert [(finding.kind, finding.cells) for finding in findings(summary)] == [("retried", ("one",))]


def test_a_run_of_some_tests_says_that_it_is_partial(tmp_path: Path) -> None:
    for partial in (False, True):
        run = RunBuilder(
            tmp_path / str(partial), [guest_cell("one")], clauses={"one": ("ALLOC-2",)}, partial=partial
        )
        run.clause("one", "ALLOC-2")
        run.end("one", Verdict.PHANTOM)
        assert summarize(run.finish()).partial is partial


def test_a_killed_run_says_where_it_was(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, [guest_cell("done"), guest_cell("cut"), guest_cell("never")])
    run.cell("done", Verdict.PHANTOM)
    run.probe("cut")
    run.start("cut")
    run.clause("cut", "PRES-1")
    run.tear_last_line()
    summary = write_reports(tmp_path)
    assert not summary.finished
    assert summary.exit_code == 3
    assert summary.recorded == len(SUITE) + 1
    done, cut, never = summary.cells
    assert done.verdict is Verdict.PHANTOM
    assert (cut.verdict, cut.reason, cut.realised) == (Verdict.UNKNOWN, UNENDED, None)
    assert cut.clauses == {"PRES-1": Outcome.PASS}
    assert cut.duration_s == pytest.approx(0.1)
    assert summary.duration_s == pytest.approx((run.clock - START).total_seconds())
    assert (never.verdict, never.probe, never.duration_s) == (Verdict.UNKNOWN, None, 0.0)
    assert len(never.missing) == len(SUITE)
    missing = [clause for clause in SUITE if clause != "PRES-1"]
    shown, more = ", ".join(missing[:8]), len(missing) - 8
    assert summary.problems == (
        f"cut: {UNENDED}; {len(missing)} of {len(SUITE)} clauses not recorded: {shown} and {more} more",
        f"never: {UNENDED}; none of {len(SUITE)} clauses recorded",
    )
    assert [(finding.kind, finding.cells) for finding in findings(summary)] == [
        ("record", ("cut",)),
        ("record", ("never",)),
    ]


def test_a_cell_whose_process_died_has_the_incident_in_its_reason(tmp_path: Path) -> None:
    run = run_with(tmp_path)
    run.incident("one", "the cell's process ended with status -9")
    assert summarize(run.finish(3)).cells[0].reason == f"{UNENDED}: the cell's process ended with status -9"


def test_of_several_tests_the_worst_counts_and_all_reasons_stay(tmp_path: Path) -> None:
    run = run_with(tmp_path, Outcome.PASS)
    run.clause("one", "ALLOC-2", Outcome.SKIPPED, "one CPU only", test="t::second")
    run.clause("one", "PRES-1", Outcome.SKIPPED, "not asked", test="t::second")
    run.clause("one", "PRES-1", Outcome.ERROR, "SSH broke", test="t::third")
    run.end("one", Verdict.PHANTOM)
    summary = summarize(run.finish(3))
    cell = summary.cells[0]
    assert cell.clauses == {"PRES-1": Outcome.ERROR, "ALLOC-1": Outcome.PASS, "ALLOC-2": Outcome.PASS}
    assert cell.clause_reasons == {"PRES-1": "SSH broke; not asked", "ALLOC-2": "one CPU only"}
    assert summary.recorded == 3


def test_records_that_nobody_planned_are_a_problem(tmp_path: Path) -> None:
    run = run_with(tmp_path, Outcome.PASS)
    run.end("one", Verdict.PHANTOM)
    run.cells["stranger"] = probe_cell("stranger")
    run.probe("stranger")
    summary = summarize(run.finish())
    assert summary.problems == ("records of a cell that was not planned: stranger",)
    assert summary.exit_code == 3
    assert [cell.id for cell in summary.cells] == ["one"]


def test_a_clause_that_nobody_planned_is_shown_and_does_not_hide_a_shortage(tmp_path: Path) -> None:
    run = run_with(tmp_path)
    run.clause("one", "VIRT-2")
    run.end("one", Verdict.PHANTOM)
    summary = summarize(run.finish())
    assert list(summary.cells[0].clauses) == ["PRES-1", "ALLOC-1", "VIRT-2"]
    assert (summary.planned, summary.recorded, summary.exit_code) == (3, 2, 3)


def test_a_damaged_line_is_red(tmp_path: Path) -> None:
    run = run_with(tmp_path, Outcome.PASS)
    with (tmp_path / "records.jsonl").open("ab") as file:
        file.write(b'{"type":"clause","ce\n')
    run.end("one", Verdict.PHANTOM)
    summary = summarize(run.finish())
    assert summary.exit_code == 3
    assert "records.jsonl:5" in summary.problems[0]


def test_an_exit_code_that_no_record_explains_is_not_hidden(tmp_path: Path) -> None:
    run = run_with(tmp_path, Outcome.PASS)
    run.end("one", Verdict.PHANTOM)
    summary = summarize(run.finish(3))
    assert summary.exit_code == 3
    assert "exit code 3" in summary.problems[0]


def test_one_cause_is_one_finding(tmp_path: Path) -> None:
    cells = [guest_cell(f"cell-{n}") for n in range(5)]
    run = RunBuilder(tmp_path, cells, clauses={cell.id: ("ALLOC-1", "ALLOC-2", "FREE-1") for cell in cells})
    for cell in cells[:3]:
        run.incident(cell.id, "SSH: no answer")
        for clause in ("ALLOC-1", "ALLOC-2"):
            run.clause(cell.id, clause, Outcome.ERROR, "boot failed: SSH: no answer")
        run.clause(cell.id, "FREE-1", Outcome.FAIL, "granted twice")
        run.end(cell.id, Verdict.BROKEN)
    summary = summarize(tmp_path)
    found = findings(summary)
    assert [finding.kind for finding in found] == ["fail", "infrastructure", "record"]
    violation, incident, shortage = found
    assert (violation.clauses, len(violation.cells)) == (("FREE-1",), 3)
    assert (violation.reason, incident.reason) == ("granted twice", "SSH: no answer")
    assert (incident.clauses, len(incident.cells)) == (("ALLOC-1", "ALLOC-2"), 3)
    assert shortage.cells == ("cell-3", "cell-4")


def test_writing_again_gives_the_same(tmp_path: Path) -> None:
    folder = demo(tmp_path, {"embedded-max": {"FREE-2": Outcome.FAIL}})
    names = ("summary.json", "junit.xml", "report.md", "results.csv", "report.html")
    write_reports(folder)
    first = {name: (folder / name).read_bytes() for name in names}
    write_reports(folder)
    assert {name: (folder / name).read_bytes() for name in names} == first
    assert {path.name for path in folder.iterdir()} == {*names, "records.jsonl", "cells"}
    assert json.loads(first["summary.json"])["exit_code"] == 1


def test_a_folder_without_a_plan_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"records\.jsonl"):
        write_reports(tmp_path)
    Recorder(tmp_path).close()
    with pytest.raises(InfrastructureError, match="has no plan"):
        write_reports(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"records.jsonl"}


def test_a_report_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    folder = demo(tmp_path)
    (folder / "report.html").mkdir()
    with pytest.raises(InfrastructureError, match=r"report\.html cannot be written"):
        write_reports(folder)
    assert not list(folder.glob(".*.new"))
