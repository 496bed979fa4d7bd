"""Shards put together: nothing is lost, nothing is counted twice, and what a lost shard owes is red."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.contract.outcomes import Outcome, Verdict
from harness.errors import EXIT_INFRASTRUCTURE, InfrastructureError, UsageError
from harness.report.compare import compare_folders
from harness.report.ground import ground
from harness.report.loading import load_run
from harness.report.merge import find_runs, merge_runs
from harness.report.summary import Summary, summarize
from harness.report.write import write_reports
from harness.runs.again import unfinished
from harness.runs.costs import Costs
from harness.runs.plan import plan_run
from harness.runs.planned import PlannedCell
from harness.runs.record import CellEndRecord, CellRecord, ClauseRecord, RunEndRecord
from harness.runs.record_file import Recorder
from harness.runs.select import Choice, open_matrix, select
from tests.unit.test_cli import halpmc

MATRIX = """\
schema: 1
name: shards
defaults: {guest: none, arch: aarch64, machine: virt, cpu: max}
axes: {smp: [1, 2, 3, 4], pmu: [on, off]}
"""
CELLS = {f"probe-smp_{n}-pmu_{pmu}" for n in range(1, 5) for pmu in ("on", "off")}


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    path = tmp_path / "shards.yaml"
    path.write_text(MATRIX)
    return path


def shard(
    matrix: Path,
    folder: Path,
    part: str,
    *,
    fail: str = "",
    end: int | None = 0,
    kernel: str = "6.1",
    costs: Costs | None = None,
    leave_out: str = "",
) -> Path:
    """The run of a shard as `halpmc run --shard` would leave it."""
    loaded = open_matrix(matrix)
    chosen = select(loaded, Choice(shard=part), costs or Costs())
    plan = plan_run(loaded, chosen.cells, chosen.clauses, selection=chosen.words, shard=chosen.shard)
    folder.mkdir(parents=True)
    recorder = Recorder(folder)
    recorder.write(plan.model_copy(update={"host": {"kernel": kernel, "cpu": "Example"}}))
    for cell in plan.cells:
        if cell.id == leave_out:
            continue
        (folder / "cells" / cell.id).mkdir(parents=True)
        (folder / "cells" / cell.id / "log").write_text(part)
        record_cell(recorder, cell, failed=cell.id == fail)
    if end is not None:
        recorder.write(RunEndRecord(exit_code=end))
    recorder.close()
    return folder


def record_cell(recorder: Recorder, cell: PlannedCell, *, failed: bool) -> None:
    recorder.write(CellRecord(cell=cell.id, provenance={"accelerator": "tcg"}))
    for clause in cell.clauses:
        outcome = Outcome.FAIL if failed else Outcome.PASS
        recorder.write(
            ClauseRecord(cell=cell.id, clause=clause, test=f"t::{clause}", outcome=outcome, reason="seen")
        )
    verdict = Verdict.BROKEN if failed else Verdict.COUNTING
    recorder.write(CellEndRecord(cell=cell.id, verdict=verdict, reason="seen", realised=True, duration_s=1.0))


def merged(tmp_path: Path, *places: Path) -> tuple[Path, Summary]:
    folder = merge_runs(find_runs(places), tmp_path / "merged")
    return folder, write_reports(folder)


def test_all_shards_together_are_the_whole_matrix(matrix: Path, tmp_path: Path) -> None:
    for n in (1, 2, 3):
        shard(matrix, tmp_path / "shards" / f"artifact-{n}" / "run", f"{n}/3")
    folder, found = merged(tmp_path, tmp_path / "shards")
    assert {cell.id for cell in found.cells} == CELLS
    assert found.planned == found.recorded == 2 * len(CELLS)
    assert (found.exit_code, found.finished, found.problems) == (0, True, ())
    assert {path.name for path in (folder / "cells").iterdir()} == CELLS
    assert load_run(folder).run.shard is None
    assert "merged from 3 runs" in found.selection
    assert "shard 1 of 3" not in found.selection


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_lost_shard_is_a_shortage_by_name(lost: int, matrix: Path, tmp_path: Path) -> None:
    """Also when the shard that is left is the only one: it knows what the others owe."""
    for n in (1, 2, 3):
        shard(matrix, tmp_path / "shards" / str(n), f"{n}/3")
    gone = {cell.id for cell in load_run(tmp_path / "shards" / str(lost)).run.cells}
    shutil.rmtree(tmp_path / "shards" / str(lost))
    folder, found = merged(tmp_path, tmp_path / "shards")
    assert {cell.id for cell in found.cells if cell.missing} == gone
    assert found.planned - found.recorded == 2 * len(gone)
    assert found.exit_code == EXIT_INFRASTRUCTURE
    assert all(any(problem.startswith(cell) for problem in found.problems) for cell in gone)
    assert set(unfinished(folder)) == gone  # and --resume would run them


def test_a_violation_outweighs_a_lost_shard(matrix: Path, tmp_path: Path) -> None:
    one = shard(matrix, tmp_path / "1", "1/2", fail="probe-smp_1-pmu_off")
    fails = [cell.id for cell in summarize(one).cells if Outcome.FAIL in cell.clauses.values()]
    two = shard(matrix, tmp_path / "2", "2/2", fail="probe-smp_1-pmu_off")
    fails += [cell.id for cell in summarize(two).cells if Outcome.FAIL in cell.clauses.values()]
    assert fails == ["probe-smp_1-pmu_off"]
    _, found = merged(tmp_path, one, two)
    assert found.exit_code == 1
    assert found.recorded == found.planned


def test_a_cell_without_records_stays_short(matrix: Path, tmp_path: Path) -> None:
    one = shard(matrix, tmp_path / "1", "1/2", end=None)
    name = load_run(one).run.cells[0].id
    shutil.rmtree(one)
    one = shard(matrix, tmp_path / "1", "1/2", end=None, leave_out=name)
    with (one / "records.jsonl").open("ab") as file:
        file.write(b'{"type":"cell","cell":"torn')
    _, found = merged(tmp_path, one, shard(matrix, tmp_path / "2", "2/2"))
    assert [cell.id for cell in found.cells if cell.missing] == [name]
    assert found.exit_code == EXIT_INFRASTRUCTURE
    assert not found.finished


def test_damage_and_an_end_that_no_record_explains_stay_red(matrix: Path, tmp_path: Path) -> None:
    damaged = shard(matrix, tmp_path / "1", "1/2")
    lines = (damaged / "records.jsonl").read_bytes().split(b"\n")
    (damaged / "records.jsonl").write_bytes(b"\n".join([*lines[:2], b"no record", *lines[2:]]))
    _, found = merged(tmp_path, damaged, shard(matrix, tmp_path / "2", "2/2"))
    assert found.exit_code == EXIT_INFRASTRUCTURE
    assert "is not a record" in found.problems[0]
    _, found = merged(
        tmp_path, shard(matrix, tmp_path / "3", "1/2"), shard(matrix, tmp_path / "4", "2/2", end=3)
    )
    assert found.exit_code == EXIT_INFRASTRUCTURE
    assert "no record says why" in found.problems[0]


def test_shards_that_do_not_belong_together_are_refused(matrix: Path, tmp_path: Path) -> None:
    one = shard(matrix, tmp_path / "1", "1/2")
    with pytest.raises(UsageError, match="is in"):
        merge_runs([one, shard(matrix, tmp_path / "again", "1/2")], tmp_path / "merged")
    other = shard(matrix, tmp_path / "2", "2/2", costs=Costs(planned={"probe-smp_1-pmu_on": 99.0}))
    with pytest.raises(UsageError, match="do not fit together"):
        merge_runs([one, other], tmp_path / "merged")
    matrix.write_text(MATRIX.replace("3, 4", "3"))
    with pytest.raises(UsageError, match="another matrix"):
        merge_runs([one, shard(matrix, tmp_path / "3", "2/2")], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    with pytest.raises(InfrastructureError, match="no shard left one"):
        merge_runs([], tmp_path / "merged")


def test_each_cell_stands_on_its_own_host(matrix: Path, tmp_path: Path) -> None:
    one = shard(matrix, tmp_path / "1", "1/2")
    two = shard(matrix, tmp_path / "2", "2/2", kernel="6.12")
    _, found = merged(tmp_path, one, two)
    kernels = {cell.id: ground(found, cell)["host_kernel"] for cell in found.cells}
    assert {kernels[cell.id] for cell in load_run(one).run.cells} == {"6.1"}
    assert {kernels[cell.id] for cell in load_run(two).run.cells} == {"6.12"}
    assert found.host["kernel"] == "6.1; 6.12"
    assert found.host["cpu"] == "Example"


def test_a_merged_run_compares_as_any_other(matrix: Path, tmp_path: Path) -> None:
    old, _ = merged(tmp_path, *(shard(matrix, tmp_path / f"a{n}", f"{n}/2") for n in (1, 2)))
    new, _ = merged(tmp_path, shard(matrix, tmp_path / "b1", "1/2"))
    found = compare_folders(old, new)
    assert found.gate == EXIT_INFRASTRUCTURE
    assert {change.new for change in found.lost} == {"not recorded"}


def test_a_known_issue_without_clauses_is_judged_over_all_shards(matrix: Path, tmp_path: Path) -> None:
    """The shard in which nothing fails does not say that the issue is none any more: its other cell does fail."""
    matrix.write_text(
        MATRIX + "known_issues:\n  - {id: B-1, reason: it fails, cells: smp=1, until: 2999-12-31}\n"
    )
    fail = "probe-smp_1-pmu_on"
    parts = [shard(matrix, tmp_path / str(n), f"{n}/8", fail=fail) for n in range(1, 9)]
    assert [summarize(part).exit_code for part in parts] == [0] * 8
    _, found = merged(tmp_path, *parts)
    assert (found.exit_code, found.known_issues[0].problem) == (0, "")
    _, held = merged(tmp_path, *(shard(matrix, tmp_path / f"h{n}", f"{n}/8") for n in range(1, 9)))
    assert held.exit_code == 1
    assert "unexpectedly holds" in held.known_issues[0].problem


def test_the_command_says_what_is_missing_and_exits_so(matrix: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(halpmc("plan", str(matrix), "--json").stdout)
    shard(matrix, tmp_path / "shards" / "1", "1/2")
    command = ("merge", str(tmp_path / "shards"), "--plan", str(plan), "--into", str(tmp_path / "runs"))
    done = halpmc(*command, "--json")
    assert done.returncode == EXIT_INFRASTRUCTURE, done.stderr
    assert json.loads(done.stdout)["planned"] == 2 * len(CELLS)
    assert {path.name for path in next((tmp_path / "runs").glob("*-shards")).iterdir()} >= {
        "junit.xml",
        "report.html",
        "report.md",
        "records.jsonl",
    }
    shutil.rmtree(tmp_path / "shards" / "1")
    none = halpmc(*command)
    assert none.returncode == EXIT_INFRASTRUCTURE
    assert "no shard left one" in none.stderr
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "cells": []}))
    empty = halpmc(*command)
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "nothing to merge: the plan has no cell" in empty.stderr


def test_a_plan_of_something_else_is_refused(matrix: Path, tmp_path: Path) -> None:
    one = shard(matrix, tmp_path / "1", "1/1")
    with pytest.raises(UsageError, match="no shard knows of: another"):
        merge_runs([one], tmp_path / "merged", wanted=frozenset({"another"}))
