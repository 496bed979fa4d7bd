"""Cells on a lab: a real scheduler, real worker processes on 127.0.0.1, cells that end when the test says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from harness.cluster.executor import DaskExecutor
from harness.cluster.lab import Lab, open_lab
from harness.cluster.roster import Offers
from harness.config.matrix import Matrix
from harness.config.models import Accel, Cell
from harness.config.requirements import Requirements
from harness.contract.outcomes import Verdict
from harness.deadlines import Deadline, wait_for
from harness.errors import InfrastructureError
from harness.paths import project_root
from harness.report.loading import load_run
from harness.report.summary import summarize
from harness.runs.again import unfinished
from harness.runs.execute import Execution
from harness.runs.executor import CellJob
from harness.runs.plan import plan_run
from harness.runs.record import IncidentRecord, PhaseRecord, Record, Recorder, RunRecord, read_records

STEP_S = 60.0


def cell(name: str, **settings: object) -> Cell:
    return Cell.model_validate(
        {"id": name, "guest": None, "accel": Accel.TCG, "smp": 1, "memory_mib": 64, **settings}
    )


class LabOfTest:
    """A scheduler and workers as processes, each worker with a cache of its own, as if it were another host."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self.home = home
        self._stack = stack
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.scheduler = self._start_scheduler("0")
        self.address = wait_for("scheduler", STEP_S, lambda _: self._read("address"))

    def _start(
        self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self.home / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            stdout=log,
            stderr=log,
            cwd=project_root(),
            env={**os.environ, "PYTHONPATH": str(project_root()), **(environment or {})},
        )
        self._stack.callback(_end, process)
        return process

    def _start_scheduler(self, port: str) -> subprocess.Popen[bytes]:
        return self._start("scheduler", [sys.executable, "-c", SCHEDULER, str(self.home / "address"), port])

    def restart_scheduler(self) -> None:
        """Another scheduler at the address of the first, which is killed."""
        _end(self.scheduler)
        self.scheduler = self._start_scheduler(self.address.rpartition(":")[2])

    def _read(self, name: str) -> str | None:
        path = self.home / name
        return path.read_text() if path.exists() else None

    def worker(
        self, name: str, *, slots: int = 1, environment: Mapping[str, str] | None = None, ready: bool = True
    ) -> None:
        cache = self.home / f"cache-{name}"
        argv = [
            sys.executable,
            "-m",
            "tests.unit.cluster_worker",
            self.address,
            name,
            str(self.home),
            str(slots),
        ]
        self.workers[name] = self._start(name, argv, {"HALPMC_CACHE": str(cache), **(environment or {})})
        if ready:
            self.wait_ready(name)

    def wait_ready(self, *names: str) -> None:
        def look(deadline: Deadline) -> bool | None:
            deadline.last_seen = "".join(self.log(name) for name in names)
            return True if all("is ready" in self.log(name) for name in names) else None

        wait_for(f"workers {names}", STEP_S, look)

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text(errors="replace")

    def began(self) -> set[tuple[str, str]]:
        """Cells that have begun, each with the worker."""
        names = (path.name.split("-", 2) for path in self.home.glob("began-*"))
        return {(cell_id, worker) for _, cell_id, worker in names}

    def process_of(self, cell_id: str, worker: str) -> int:
        return int((self.home / f"began-{cell_id}-{worker}").read_text())

    def end(self, *cells: str, status: int = 0) -> None:
        """Let cells end, also those that have not begun."""
        for cell_id in cells:
            scratch = self.home / f"scratch-end-{cell_id}"
            scratch.write_text(str(status))
            scratch.rename(self.home / f"end-{cell_id}")

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        self.workers[name].send_signal(number)
        self.workers[name].wait(STEP_S)


SCHEDULER = """
import asyncio, pathlib, sys
from distributed import Scheduler
async def main():
    async with Scheduler(host="127.0.0.1", port=int(sys.argv[2]), dashboard=False) as scheduler:
        scratch = pathlib.Path(sys.argv[1] + ".tmp")
        scratch.write_text(scheduler.address)
        scratch.rename(sys.argv[1])
        await scheduler.finished()
asyncio.run(main())
"""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(STEP_S)


class Run:
    """A run on a lab: its steps are called at every turn of the execution."""

    def __init__(self, folder: Path, lab: Lab, images: Offers, slots: int | None = None) -> None:
        folder.mkdir()
        self.folder = folder
        self.recorder = Recorder(folder)
        self.said: list[str] = []
        self.steps: list[Callable[[], None]] = []
        executor = DaskExecutor(folder, self.recorder, lab, images, slots, say=self.said.append)
        self.executor = executor
        self.execution = Execution(folder, self.recorder, executor, self, say=self.said.append)
        self._deadline = Deadline("run", STEP_S)

    def update(self, records: Sequence[Record]) -> None:
        self._deadline.last_seen = f"{self.executor.running} running, said {self.said}"
        self._deadline.check()
        for step in self.steps:
            step()

    def __call__(self, *jobs: CellJob) -> bool:
        cells = tuple(job.cell for job in jobs)
        matrix = Matrix(name="t", path=self.folder, sha256="", cells=cells, excluded=())
        self.recorder.write(plan_run(matrix, cells))
        return self.execution.run(jobs)

    def incidents(self) -> list[IncidentRecord]:
        return [record for record in read_records(self.folder) if isinstance(record, IncidentRecord)]

    def text(self, cell_id: str, name: str) -> str:
        return (self.folder / "cells" / cell_id / name).read_text()


@pytest.fixture
def lab(tmp_path: Path) -> Generator[LabOfTest, None, None]:
    with ExitStack() as stack:
        yield LabOfTest(tmp_path, stack)


@pytest.fixture
def start(
    lab: LabOfTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Callable[..., Run], None, None]:
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path / "cache-run"))
    with ExitStack() as stack:

        def begin(images: Offers | None = None, slots: int | None = None) -> Run:
            opened = stack.enter_context(open_lab(lab.address, slots, say=lambda _: None))
            return Run(tmp_path / "run", opened, images or {}, slots)

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
    assert not psutil.pid_exists(killed[0]), "the cell of a dead worker must not live on"
    (incident,) = run.incidents()
    assert (incident.branch, incident.retried, incident.restarted) == ("infrastructure", True, True)
    assert "worker doomed (tcp://127.0.0.1:" in incident.message
    assert "was lost while it ran this cell" in incident.message
    assert "(try 2 of 3)" in incident.message
    found = load_run(run.folder).cells["a"]
    assert [phase.name for phase in found.phases] == ["begun on other", "process"], "the first try is void"
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


def test_a_worker_that_is_told_to_end_ends_its_cell_in_order_and_gives_it_back(
    lab: LabOfTest, start: Callable[..., Run]
) -> None:
    lab.worker("leaving")
    run = start()

    def step() -> None:
        if ("a", "leaving") in lab.began() and "other" not in lab.workers:
            lab.kill("leaving", signal.SIGTERM)
            lab.worker("other")
        if ("a", "other") in lab.began():
            lab.end("a")

    run.steps.append(step)
    assert run(CellJob(cell("a")))
    assert lab.workers["leaving"].returncode == 0
    assert "its cells are given back" in lab.log("leaving")
    (retried,) = (incident for incident in run.incidents() if incident.retried)
    assert "worker leaving" in retried.message
    assert load_run(run.folder).cells["a"].provenance["host"] == "other"


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
    assert "plain: requires cpus 5000: the host has" in incident.message
    assert "newer: requires cpus 5000: the host has" in incident.message


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
from tests.unit.test_cluster import CellJob, Run, cell, open_lab
with open_lab({lab.address!r}, None, say=print) as lab:
    Run(pathlib.Path({str(tmp_path / "run")!r}), lab, {{}})(CellJob(cell("a")))
"""
    leader = lab._start(
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
            _end(lab.scheduler)

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
    assert {record.cell for record in read_records(run.folder) if not isinstance(record, RunRecord)} == {"a"}
