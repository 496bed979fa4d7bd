"""Baselines: accepted from a run, compared with the next; a difference is shown, and gates only when asked to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from harness.cli import app
from harness.config.models import Accel, Arch, Cell, Generation, HalKind, HalSettings, WithoutPmu
from harness.contract.cell_class import cell_class
from harness.contract.clauses import CLAUSES, JudgementKind
from harness.contract.outcomes import Outcome, Verdict
from harness.errors import UsageError
from harness.paths import project_root
from harness.probe.models import PmuVerdict
from harness.report.baselines import (
    accept,
    check_baselines,
    default_baselines,
    load_baseline,
    record_comparison,
)
from harness.report.summary import Summary, summarize
from harness.report.terminal import print_summary
from harness.report.write import write_reports
from harness.runs.record import CellRecord
from tests.report.synthetic import RunBuilder, guest_cell, probe_answer

CLASS = "shared-pmu_absent-grant-smp2"
SEEN = {
    "PARAM-2": "flags set: STATUS_A (0xC000000D); a list: STATUS_B (0xC000009A)",
    "ALLOC-8": "handle 0x248 after 3.2 s",
}


def run(folder: Path, *cells: dict[str, str], skipped: tuple[str, ...] = ()) -> Path:
    """A run whose cells recorded these reasons."""
    names = [f"cell{number}" for number in range(len(cells))]
    clauses = {name: ("PRES-1", *cell) for name, cell in zip(names, cells, strict=True)}
    built = RunBuilder(folder, [guest_cell(name) for name in names], clauses=clauses)
    for name, cell in zip(names, cells, strict=True):
        built.start(name)
        built.write(CellRecord(cell=name, provenance={"generation": "shared", "class": CLASS}))
        built.clause(name, "PRES-1")
        for clause, reason in cell.items():
            built.clause(name, clause, Outcome.SKIPPED if clause in skipped else Outcome.RECORDED, reason)
        built.end(name, Verdict.PHANTOM)
    return folder


def compared(folder: Path, baselines: Path, *, strict: bool = False) -> Summary:
    record_comparison(folder, baselines, strict=strict)
    return summarize(folder)


def test_what_was_accepted_is_the_same_in_the_next_run(tmp_path: Path) -> None:
    (item,) = accept(run(tmp_path / "a", SEEN), tmp_path)
    assert [entry.state for entry in item.entries] == ["new", "new"]
    assert item.path == tmp_path / "embedded" / f"{CLASS}.yaml"
    first = item.path.read_bytes()
    data = yaml.safe_load(first)
    assert list(data["observations"]) == ["ALLOC-8", "PARAM-2"]
    assert data["observations"]["PARAM-2"]["test_param_2"] == [
        "flags set: STATUS_A (0xC000000D)",
        "a list: STATUS_B (0xC000009A)",
    ]
    volatile = {**SEEN, "ALLOC-8": "handle 0xffffa1 after 11 s"}
    summary = compared(run(tmp_path / "b", volatile), tmp_path, strict=True)
    assert summary.exit_code == 0
    assert summary.cells[0].baseline is not None
    assert (summary.cells[0].baseline.same, summary.cells[0].baseline.changes) == (2, ())
    accept(tmp_path / "b", tmp_path)
    assert item.path.read_bytes() == first


@pytest.mark.parametrize(("strict", "exit_code"), [(False, 0), (True, 1)])
def test_a_change_is_shown_with_old_and_new_and_gates_only_when_asked(
    strict: bool, exit_code: int, tmp_path: Path
) -> None:
    accept(run(tmp_path / "a", SEEN), tmp_path)
    changed = {**SEEN, "PARAM-2": "flags set: STATUS_SUCCESS (0x00000000); a list: STATUS_B (0xC000009A)"}
    folder = run(tmp_path / "b", changed)
    assert compared(folder, tmp_path, strict=strict).exit_code == exit_code
    summary = write_reports(folder)
    (entry,) = json.loads((folder / "summary.json").read_text())["cells"][0]["baseline"]["changes"]
    assert (entry["state"], entry["clause"], entry["old"][0], entry["new"][0]) == (
        "changed",
        "PARAM-2",
        "flags set: STATUS_A (0xC000000D)",
        "flags set: STATUS_SUCCESS (0x00000000)",
    )
    page = (folder / "report.html").read_text()
    assert "≠ changed" in page and "STATUS_A (0xC000000D)" in page
    console = Console(record=True, width=300)
    print_summary(summary, folder, console)
    text = console.export_text()
    assert (
        "DIFF  PARAM-2: was flags set: STATUS_A (0xC000000D); is flags set: STATUS_SUCCESS (0x00000000)"
        in text
    )


def test_a_new_observation_is_shown_and_no_failure(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", SEEN)
    summary = compared(folder, tmp_path, strict=True)
    assert summary.exit_code == 0
    assert summary.cells[0].baseline is not None
    assert {entry.state for entry in summary.cells[0].baseline.changes} == {"new"}
    assert summary.cells[0].baseline.file == "", "there is none"
    console = Console(record=True, width=300)
    print_summary(summary, folder, console)
    assert "2 observations without a baseline" in console.export_text()


def test_a_record_clause_that_is_skipped_now_is_a_change(tmp_path: Path) -> None:
    accept(run(tmp_path / "a", SEEN), tmp_path)
    summary = compared(run(tmp_path / "b", SEEN, skipped=("PARAM-2",)), tmp_path)
    assert summary.cells[0].baseline is not None
    (entry,) = summary.cells[0].baseline.changes
    assert (entry.state, entry.new[0][:9]) == ("changed", "skipped: ")


def test_a_clause_that_promises_and_was_skipped_observed_nothing(tmp_path: Path) -> None:
    """Nor did a clause of the other generation, which is recorded as skipped."""
    assert CLAUSES["FREE-2"].judgement is JudgementKind.ASSERT
    assert CLAUSES["PARAM-2"].generations == {Generation.SHARED}
    reasons = {"FREE-2": "nothing was granted", "ALLOC-8": "no other error was seen"}
    (item,) = accept(run(tmp_path / "a", reasons, skipped=tuple(reasons)), tmp_path)
    assert list(load_baseline(item.path)) == ["ALLOC-8"]
    built = RunBuilder(tmp_path / "b", [guest_cell("one")], clauses={"one": ("PARAM-2", "ALLOC-8")})
    built.start("one")
    built.write(CellRecord(cell="one", provenance={"generation": "exclusive", "class": "old"}))
    for clause in ("PARAM-2", "ALLOC-8"):
        built.clause("one", clause, Outcome.SKIPPED, "a reason")
    built.end("one", Verdict.PHANTOM)
    (item,) = accept(built.folder, tmp_path)
    assert list(load_baseline(item.path)) == ["ALLOC-8"]


def test_a_test_that_records_twice_has_both_in_their_order(tmp_path: Path) -> None:
    def twice(folder: Path, *reasons: str) -> Path:
        built = RunBuilder(folder, [guest_cell("one")], clauses={"one": ("ALLOC-8",)})
        built.start("one")
        built.write(CellRecord(cell="one", provenance={"class": CLASS}))
        for reason in reasons:
            built.clause("one", "ALLOC-8", Outcome.RECORDED, reason)
        built.end("one", Verdict.PHANTOM)
        return built.folder

    (item,) = accept(twice(tmp_path / "a", "first after 7 seconds", "second"), tmp_path)
    assert load_baseline(item.path) == {"ALLOC-8": {"test_alloc_8": ("first after … seconds", "second")}}
    same, turned = (
        compared(twice(tmp_path / name, *reasons), tmp_path, strict=True)
        for name, reasons in (
            ("b", ("first after 11.5 seconds", "second")),
            ("c", ("second", "first after 7 seconds")),
        )
    )
    assert (same.exit_code, turned.exit_code) == (0, 1)


def test_a_run_of_some_tests_leaves_the_rest_of_the_baseline(tmp_path: Path) -> None:
    accept(run(tmp_path / "a", SEEN), tmp_path)
    built = RunBuilder(tmp_path / "b", [guest_cell("one")], clauses={"one": ("ALLOC-8",)}, partial=True)
    built.start("one")
    built.write(CellRecord(cell="one", provenance={"generation": "shared", "class": CLASS}))
    built.clause("one", "ALLOC-8", Outcome.RECORDED, "other")
    built.end("one", Verdict.PHANTOM)
    (item,) = accept(built.folder, tmp_path)
    assert item.removed == []
    kept = load_baseline(item.path)
    assert kept["ALLOC-8"] == {"test_alloc_8": ("other",)}
    assert kept["PARAM-2"] == {"test_param_2": tuple(SEEN["PARAM-2"].split("; "))}


def test_cells_of_one_class_add_up(tmp_path: Path) -> None:
    """What only one of them could observe belongs to their class; a cell that did not end is passed over."""
    first = {"ALLOC-8": SEEN["ALLOC-8"]}
    (item,) = accept(run(tmp_path / "a", first, SEEN), tmp_path)
    assert list(load_baseline(item.path)) == ["ALLOC-8", "PARAM-2"]
    cut = RunBuilder(tmp_path / "b", [guest_cell("cut")], clauses={"cut": ("ALLOC-8",)})
    cut.start("cut")
    cut.write(CellRecord(cell="cut", provenance={"class": "cut-class"}))
    cut.clause("cut", "ALLOC-8", Outcome.RECORDED, "half")
    with pytest.raises(UsageError, match="no cell whose guest was observed"):
        accept(cut.folder, tmp_path)
    assert not (tmp_path / "embedded" / "cut-class.yaml").exists()


def test_a_whole_run_takes_out_what_is_gone(tmp_path: Path) -> None:
    accept(run(tmp_path / "a", SEEN), tmp_path)
    (item,) = accept(run(tmp_path / "b", {"ALLOC-8": SEEN["ALLOC-8"]}), tmp_path)
    assert item.removed == ["PARAM-2 test_param_2"]
    assert list(load_baseline(item.path)) == ["ALLOC-8"]


def test_cells_of_one_class_that_differ_cannot_be_accepted(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", SEEN, {**SEEN, "ALLOC-8": "other"})
    with pytest.raises(UsageError, match=r"cell0 and cell1 are both embedded shared.* differ in ALLOC-8"):
        accept(folder, tmp_path)
    assert not (tmp_path / "embedded").exists()


def test_the_command_accepts_and_says_what_changes(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", SEEN)
    done = CliRunner().invoke(app, ["baseline", "accept", str(folder), "--baselines", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "0 changed, 2 new, 0 removed" in done.output.replace("\n", "")
    done = CliRunner().invoke(
        app, ["baseline", "accept", str(folder), "--baselines", str(tmp_path), "--json"]
    )
    assert json.loads(done.output)[0]["entries"] == []


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "schema: 2\nguest: a\nclass: b\nobservations: {}\n",
        "guest: a\n",
        "\x00",
        "schema: 1\n",
        "schema: 1\nguest: ../a\nclass: b\nobservations: {}\n",
    ],
)
def test_a_file_that_is_no_baseline_is_a_usage_error_before_the_run(text: str, tmp_path: Path) -> None:
    path = tmp_path / "embedded" / "x.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UsageError, match=r"x\.yaml"):
        check_baselines(tmp_path)


def test_the_projects_baselines_are_of_the_demos_classes_and_known_clauses() -> None:
    check_baselines(default_baselines())
    files = sorted(default_baselines().glob("*/*.yaml"))
    assert {path.parent.name for path in files} == {"embedded", "embedded-arm64"}
    for path in files:
        data = yaml.safe_load(path.read_text())
        assert (data["guest"], data["class"]) == (path.parent.name, path.stem)
        assert set(data["observations"]) <= set(CLAUSES)


def test_the_class_is_what_is_there_not_what_was_asked_for() -> None:
    def kind(cell: Cell, verdict: PmuVerdict, hal: HalKind = HalKind.REFERENCE) -> str:
        return cell_class(cell, hal, Generation.SHARED, probe_answer(cell, verdict), 2)

    asked, not_asked = Cell(id="a", pmu=True, cpu="max"), Cell(id="b", pmu=False, cpu="Nehalem")
    assert kind(asked, PmuVerdict.ABSENT) == kind(not_asked, PmuVerdict.ABSENT) == CLASS
    refusing = asked.model_copy(update={"hal": HalSettings(without_pmu=WithoutPmu.REFUSE)})
    assert kind(refusing, PmuVerdict.ABSENT) == CLASS.replace("grant", "refuse")
    assert kind(refusing, PmuVerdict.ABSENT, HalKind.SYSTEM) == "shared-pmu_absent-smp2"
    arm = Cell(id="c", arch=Arch.AARCH64, accel=Accel.TCG)
    assert kind(arm, PmuVerdict.COUNTING) != kind(arm, PmuVerdict.DEAD)
    assert kind(arm, PmuVerdict.DEAD).endswith("_dead-smp2")


def test_every_clause_is_traced_to_its_tests_and_result(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", SEEN, {"ALLOC-8": "same"}, skipped=("ALLOC-8",))
    summary = write_reports(folder)
    traced = {entry.clause: entry for entry in summary.traceability}
    assert list(traced) == list(CLAUSES)
    assert all(entry.source == CLAUSES[name].source for name, entry in traced.items())
    assert (traced["MODEL-1"].result, traced["MODEL-1"].tests) == (None, ())
    (test,) = traced["PRES-1"].tests
    assert (traced["PRES-1"].result, test.outcomes) == (Outcome.PASS, {Outcome.PASS: 2})
    assert test.test.endswith("::test_pres_1")
    page = (folder / "report.html").read_text()
    section = page[page.index('id="traceability"') : page.index('id="provenance"')]
    assert all(f'<th scope="row">{name}</th>' in section for name in CLAUSES)


def test_every_clause_of_the_suite_has_a_test() -> None:
    """So the table has no clause that only its catalogue knows."""
    from harness.contract.clauses import SUITE

    suite = "".join(path.read_text() for path in (project_root() / "tests" / "contract").glob("test_*.py"))
    assert [name for name in SUITE if f'clause("{name}"' not in suite] == []
