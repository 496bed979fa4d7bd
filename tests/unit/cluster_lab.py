"""A lab for tests: a real scheduler, real worker processes on 127.0.0.1, cells that end when the test says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.cluster.executor import DaskExecutor
from harness.cluster.lab import Lab, open_lab
from harness.cluster.roster import Offers, Roster
from harness.config.matrix import Matrix
from harness.config.models import Accel, Cell
from harness.deadlines import Deadline, wait_for
from harness.paths import project_root
from harness.runs.execute import Execution
from harness.runs.executor import CellJob
from harness.runs.plan import plan_run
from harness.runs.planned import SkippedCell
from harness.runs.record import IncidentRecord, Record
from harness.runs.record_file import Recorder, read_records

STEP_S = 60.0


def cell(name: str, **settings: object) -> Cell:
    return Cell.model_validate(
        {"id": name, "guest": None, "accel": Accel.TCG, "smp": 1, "memory_mib": 64, **settings}
    )


class LabOfTest:
    """A scheduler and workers as processes, each worker with a cache of its own, as if it were another host."""

    def __init__(self, home: Path, stack: ExitStack, protocol: str) -> None:
        self.home = home
        self._stack = stack
        self._protocol = protocol
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.scheduler = self._start_scheduler("0")
        self.address = wait_for("scheduler", STEP_S, lambda _: self._read("address"))

    def start(
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
        self._stack.callback(end_process, process)
        return process

    def _start_scheduler(self, port: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", SCHEDULER, str(self.home / "address"), port, self._protocol]
        return self.start("scheduler", argv)

    def restart_scheduler(self) -> None:
        """Another scheduler at the address of the first, which is killed."""
        end_process(self.scheduler)
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
        self.workers[name] = self.start(name, argv, {"HALPMC_CACHE": str(cache), **(environment or {})})
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
    async with Scheduler(
        host="127.0.0.1", port=int(sys.argv[2]), protocol=sys.argv[3], dashboard=False
    ) as scheduler:
        scratch = pathlib.Path(sys.argv[1] + ".tmp")
        scratch.write_text(scheduler.address)
        scratch.rename(sys.argv[1])
        await scheduler.finished()
asyncio.run(main())
"""


def end_process(process: subprocess.Popen[bytes]) -> None:
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
        self.roster = Roster(lab, images, say=self.said.append)
        executor = DaskExecutor(folder, self.recorder, lab, self.roster, slots, say=self.said.append)
        self.executor = executor
        self.execution = Execution(folder, self.recorder, executor, self, say=self.said.append)
        self._deadline = Deadline("run", STEP_S)

    def update(self, records: Sequence[Record]) -> None:
        self._deadline.last_seen = f"{self.executor.running} running, said {self.said}"
        self._deadline.check()
        for step in self.steps:
            step()

    def __call__(self, *jobs: CellJob, skipped: Sequence[SkippedCell] = ()) -> bool:
        cells = tuple(job.cell for job in jobs)
        matrix = Matrix(name="t", path=self.folder, sha256="", cells=cells, excluded=())
        self.recorder.write(plan_run(matrix, cells, skipped=skipped))
        return self.execution.run(jobs)

    def incidents(self) -> list[IncidentRecord]:
        return [record for record in read_records(self.folder) if isinstance(record, IncidentRecord)]

    def text(self, cell_id: str, name: str) -> str:
        return (self.folder / "cells" / cell_id / name).read_text()


@contextmanager
def lab_in(home: Path, protocol: str = "tcp") -> Generator[LabOfTest, None, None]:
    """A lab whose processes end with the context."""
    with ExitStack() as stack:
        yield LabOfTest(home, stack, protocol)


@contextmanager
def runs_on(lab: LabOfTest) -> Generator[Callable[..., Run], None, None]:
    """Makes runs on a lab, in the lab's home."""
    with ExitStack() as stack:

        def begin(images: Offers | None = None, slots: int | None = None) -> Run:
            opened = stack.enter_context(open_lab(lab.address, slots, say=lambda _: None))
            return Run(lab.home / "run", opened, images or {}, slots)

        yield begin
