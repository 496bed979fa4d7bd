"""Cells on a lab of real worker processes: where they go, what comes back, and what becomes of those that are lost."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest

from harness.cluster.lab import open_lab
from harness.config.matrix import Matrix, Traits
from harness.config.requirements import Requirements
from harness.contract.outcomes import Verdict
from harness.deadlines import wait_for
from harness.errors import InfrastructureError
from harness.report.loading import load_run
from harness.report.summary import summarize
from harness.runs.again import unfinished
from harness.runs.executor import CellJob
from harness.runs.record import PhaseRecord
from harness.runs.record_file import read_records
from harness.runs.select import Selection
from tests.unit.cluster_lab import STEP_S, LabOfTest, Run, cell, end_process, lab_in, runs_on


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[LabOfTest, None, None]:
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path / "cache-run"))
    with lab_in(tmp_path) as made:
        yield made


@pytest.fixture
def start(lab: LabOfTest) -> Generator[Callable[..., Run], None, None]:
    with runs_on(lab) as begin:
        yield begin


def test_cells_run_on_two_workers_and_all_comes_back(lab: LabOfTest, start: Callable[..., Run]) -> None:
    lab.worker("one", ready=False)
    lab.worker("two", ready=False)
    lab.wait_ready("one", "two")
    run = start()
    both: list[set[tuple[str, str]]] = []

    def step() -> None:
        if len(lab.began()) == 2 and not both:
            live = {r.name for r in read_records(run.folder) if isinstance(r, PhaseRecord)}
            if len(live) == 2:  # records come while the cells run
                both.append(lab.began())
                lab.end("a", "b", "c")

    run.steps.append(step)
    assert run(*(CellJob(cell(name)) for name in "abc"))
    assert {worker for _, worker in both[0]} == {"one", "two"}
    assert run.incidents() == []
    view = load_run(run.folder)
    assert view.damage == ()
    for name, found in view.cells.items():
        worker = found.provenance["host"]
        assert [phase.name for phase in found.phases] == [f"begun on {worker}", "process"]
        assert run.text(name, "evidence/seen.txt") == f"seen on {worker}"
        assert f"a line of {name}" in run.text(name, "pytest.log")
        assert json.loads(run.text(name, "config.json"))["id"] == name
        assert found.end and found.end.verdict is Verdict.ABSENT
        assert found.provenance["host_kernel"].startswith("Linux")


def ended(pid: int) -> bool:
    """Whether a process runs no more; nobody may have asked for its exit status yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_killed_workers_cell_runs_again_elsewhere_and_the_report_says_so(
    lab: LabOfTest, start: Callable[..., Run]
) -> None:
    lab.worker("doomed")
    run = start()
    killed: list[int] = []

    def step() -> None:
        phases = {r.name for r in read_records(run.folder) if isinstance(r, PhaseRecord)}
        if not killed and "begun on doomed" in phases:
            killed.append(lab.process_of("a", "doomed"))
            lab.kill("doomed")
            lab.worker("other")
        if ("a", "other") in lab.began():
            lab.end("a")

    run.steps.append(step)
    assert run(CellJob(cell("a")))
    wait_for("the end of a dead worker's cell", 20.0, lambda _: True if ended(killed[0]) else None)
    (incident,) = run.incidents()
    assert (incident.branch, incident.retried, incident.restarted) == ("infrastructure", True, True)
    assert "worker doomed (tcp://127.0.0.1:" in incident.message
    assert "was lost while it ran this cell" in incident.message
    assert "(try 2 of 3)" in incident.message
    assert incident.evidence["results that are void"] == "1 fail"
    found = load_run(run.folder).cells["a"]
    assert [phase.name for phase in found.phases] == ["begun on other", "process"], "the first try is void"
    assert [record.reason for record in found.clauses["PROBE-1"]] == ["of other"]
    assert found.incidents == []
    assert found.retries == [incident]
    assert found.provenance["host"] == "other"
    summary = summarize(run.folder)
    assert summary.cells[0].retries[0].message == incident.message
    assert unfinished(run.folder) == ("a",), "no clause was recorded by this small program, and that counts"


def test_a_cell_that_loses_every_worker_is_given_up_after_three(
    lab: LabOfTest, start: Callable[..., Run]
) -> None:
    names = ("first", "second", "third")
    for name in names:
        lab.worker(name, ready=False)
    lab.wait_ready(*names)
    run = start()

    def step() -> None:
        for cell_id, worker in lab.began():
            if cell_id == "a" and lab.workers[worker].poll() is None:
                lab.kill(worker)

    run.steps.append(step)
    assert run(CellJob(cell("a")))
    *retries, last = run.incidents()
    assert [incident.retried for incident in retries] == [True, True]
    assert not last.retried
    assert "the last of 3 tries" in last.message
    assert all(name in last.message for name in names)
    assert {worker for _, worker in lab.began()} == set(names)
    (found,) = summarize(run.folder).cells
    assert (found.verdict, len(found.retries), len(found.incidents)) == (Verdict.UNKNOWN, 2, 1)


def test_a_worker_that_is_told_to_end_ends_its_cells_in_order_and_gives_them_back(
    lab: LabOfTest, start: Callable[..., Run]
) -> None:
    """One of them takes its time: the worker can be seen all the while, and gets nothing more."""
    lab.worker("leaving", slots=2)
    (lab.home / "slow-b").touch()
    run = start()

    def step() -> None:
        if len(lab.began()) == 2 and "other" not in lab.workers:
            lab.workers["leaving"].send_signal(signal.SIGTERM)
            lab.worker("other", slots=2)
        if ("a", "other") in lab.began():
            (lab.home / "slow-b").unlink(missing_ok=True)
        if ("b", "other") in lab.began():
            lab.end("a", "b")

    run.steps.append(step)
    assert run(CellJob(cell("a")), CellJob(cell("b")))
    assert lab.workers["leaving"].wait(STEP_S) == 0
    assert "its cells are given back" in lab.log("leaving")
    retried = [incident for incident in run.incidents() if incident.retried]
    assert sorted(incident.cell for incident in retried) == ["a", "b"]
    assert all("worker leaving" in incident.message for incident in retried)
    assert {found.provenance["host"] for found in load_run(run.folder).cells.values()} == {"other"}


FAKE_QEMU = """#!/bin/sh
echo 'QEMU emulator version 99.1.0'
"""


def test_a_cell_goes_only_where_its_requirements_are_met(
    lab: LabOfTest, start: Callable[..., Run], tmp_path: Path
) -> None:
    newer = tmp_path / "bin" / "qemu-system-x86_64"
    newer.parent.mkdir()
    newer.write_text(FAKE_QEMU)
    newer.chmod(0o755)
    lab.worker("plain", slots=4, ready=False)
    lab.worker("newer", ready=False, environment={"PATH": f"{newer.parent}:{os.environ['PATH']}"})
    lab.wait_ready("plain", "newer")
    run = start()
    picky = [CellJob(cell(f"picky{n}"), requires=Requirements(qemu="99")) for n in range(3)]
    never = CellJob(cell("never"), requires=Requirements(cpus=5000))
    easy = CellJob(cell("easy"))

    def step() -> None:
        # `newer` has one slot: the picky ones wait in front of `easy`, which must not wait for them.
        if {("picky0", "newer"), ("easy", "plain")} <= lab.began():
            lab.end("picky0", "picky1", "picky2", "easy")

    run.steps.append(step)
    assert run(*picky, never, easy)
    assert lab.began() == {*((f"picky{n}", "newer") for n in range(3)), ("easy", "plain")}
    (incident,) = run.incidents()
    assert (incident.cell, incident.retried) == ("never", False)
    assert "can never run in this lab" in incident.message
    assert re.search(r"requires cpus 5000: newer \(the host has \d+\), plain \(", incident.message)


def test_a_capable_worker_that_is_lost_for_good_leaves_an_error_and_no_skip(
    lab: LabOfTest, start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is left cannot run it: that looks like a cell to be skipped, and is none."""
    newer = tmp_path / "bin" / "qemu-system-x86_64"
    newer.parent.mkdir()
    newer.write_text(FAKE_QEMU)
    newer.chmod(0o755)
    lab.worker("plain", ready=False)
    lab.worker("newer", ready=False, environment={"PATH": f"{newer.parent}:{os.environ['PATH']}"})
    lab.wait_ready("plain", "newer")
    monkeypatch.setattr("harness.cluster.roster.WORKER_WAIT_S", 1.0)
    run = start()
    picky, never = cell("picky"), cell("never")
    traits = {
        "picky": Traits(requires=Requirements(qemu="99")),
        "never": Traits(requires=Requirements(cpus=5000)),
    }
    matrix = Matrix(name="t", path=tmp_path, sha256="", cells=(picky, never), excluded=(), traits=traits)
    wait_for("both", STEP_S, lambda _: True if len(run.roster.members()) == 2 else None)
    selection = run.roster.fitting(matrix, Selection((picky, never)))
    assert selection.cells == (picky,)

    def step() -> None:
        if ("picky", "newer") in lab.began() and lab.workers["newer"].poll() is None:
            lab.kill("newer")

    run.steps.append(step)
    assert run(CellJob(picky, requires=Requirements(qemu="99")), skipped=selection.skipped)
    retry, last = run.incidents()
    assert (retry.cell, retry.retried, last.cell, last.retried) == ("picky", True, "picky", False)
    assert "the workers that could run it are lost, and none came back within 1 s" in last.message
    summary = summarize(run.folder)
    [left] = summary.skipped
    assert left.id == "never"
    assert re.fullmatch(
        r"requires cpus 5000: newer \(the host has \d+\), plain \(the host has \d+\)", left.reason
    )
    assert [(found.id, found.verdict) for found in summary.cells] == [("picky", Verdict.UNKNOWN)]
    assert unfinished(run.folder) == ("picky",)
    assert summary.exit_code == 3


def test_stopping_lets_cells_end_in_order_and_brings_home_what_there_is(
    lab: LabOfTest, start: Callable[..., Run]
) -> None:
    lab.worker("one", slots=2)
    run = start()

    def step() -> None:
        if len(lab.began()) == 2:
            run.steps.clear()
            raise KeyboardInterrupt

    run.steps.append(step)
    with pytest.raises(KeyboardInterrupt):
        run(*(CellJob(cell(name)) for name in "abc"))
    assert {name for name, _ in lab.began()} == {"a", "b"}
    messages = {incident.message for incident in run.incidents()}
    assert messages == {"stopped on one", "the cell's process ended with status 7 before the cell did"}
    assert run.text("a", "evidence/seen.txt") == "seen on one"
    for name in "ab":
        assert not psutil.pid_exists(lab.process_of(name, "one"))


def test_the_cells_of_a_run_that_dies_are_stopped(lab: LabOfTest, tmp_path: Path) -> None:
    lab.worker("one")
    program = f"""
import pathlib
from tests.unit.cluster_lab import CellJob, Run, cell, open_lab
with open_lab({lab.address!r}, None, say=print) as lab:
    Run(pathlib.Path({str(tmp_path / "run")!r}), lab, {{}})(CellJob(cell("a")))
"""
    leader = lab.start(
        "leader", [sys.executable, "-c", program], {"HALPMC_CACHE": str(tmp_path / "cache-run")}
    )
    wait_for("cell", STEP_S, lambda _: lab.began() or None)
    process = psutil.Process(lab.process_of("a", "one"))
    leader.kill()
    leader.wait(STEP_S)
    process.wait(STEP_S)
    wait_for("worker's word", STEP_S, lambda _: "a: ended" in lab.log("one") or None)
    assert lab.workers["one"].poll() is None, "the worker is there for the next run"


def test_a_scheduler_that_comes_back_costs_its_cells_another_try(
    lab: LabOfTest, start: Callable[..., Run]
) -> None:
    lab.worker("one")
    run = start()

    def step() -> None:
        if lab.began() and "again" not in lab.workers:
            lab.restart_scheduler()
            lab.worker("again")  # as systemd does
        if ("a", "again") in lab.began():
            lab.end("a")

    run.steps.append(step)
    assert run(CellJob(cell("a")))
    assert lab.workers["one"].wait(STEP_S) == 1, "a worker ends with its scheduler, as failed"
    assert not psutil.pid_exists(lab.process_of("a", "one"))
    (incident,) = (incident for incident in run.incidents() if incident.restarted)
    assert "worker one" in incident.message
    assert load_run(run.folder).cells["a"].provenance["host"] == "again"


def test_a_scheduler_that_stays_away_ends_the_run_with_failed_cells(
    lab: LabOfTest, start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.worker("one")
    run = start()
    monkeypatch.setattr("harness.cluster.executor.RECONNECT_S", 0.5)

    def step() -> None:
        if lab.began() and lab.scheduler.poll() is None:
            end_process(lab.scheduler)

    run.steps.append(step)
    assert run(CellJob(cell("a")), CellJob(cell("b")))
    assert {incident.cell for incident in run.incidents() if not incident.retried} == {"a", "b"}
    assert {"is gone" in incident.message for incident in run.incidents() if not incident.retried} == {True}


def test_another_version_is_refused_at_once(lab: LabOfTest) -> None:
    lab.worker("old")
    with (
        pytest.raises(InfrastructureError, match=r"the worker on old has halpmc 0\.0\.9") as caught,
        open_lab(lab.address, None, say=lambda _: None),
    ):
        pass
    assert "install the same halpmc" in caught.value.remedy


def test_records_of_another_cell_are_refused(lab: LabOfTest, start: Callable[..., Run]) -> None:
    lab.worker("one")
    run = start()
    (lab.home / "foreign-a").touch()
    lab.end("a")
    assert run(CellJob(cell("a")))
    (incident,) = run.incidents()
    assert "sent lines that are no records of this cell" in incident.message
    phases = [record for record in read_records(run.folder) if isinstance(record, PhaseRecord)]
    assert {record.cell for record in phases} == {"a"}
    assert {record.name for record in phases} == {"begun on one", "process"}
