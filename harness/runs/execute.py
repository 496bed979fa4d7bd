"""Executing a matrix: one process per cell, several at a time, all of them recording into one run."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.caching import Say
from harness.config.matrix import Matrix
from harness.config.models import Cell
from harness.deadlines import Deadline
from harness.errors import InfrastructureError
from harness.host.ledger import Reservation
from harness.host.tools import require_tool
from harness.runs.admission import Admission, record_refusal, record_wait
from harness.runs.folder import cell_folder
from harness.runs.plan import plan_run
from harness.runs.record import (
    CellEndRecord,
    IncidentRecord,
    Record,
    Recorder,
    RunEndRecord,
    tail_records,
)
from harness.runs.suite import suite_command

TICK_S = 0.2
MATRIX = "matrix.yaml"
#: Exit statuses of pytest that records explain: all passed, some failed.
PYTEST_DONE = (0, 1)
STOP_S = 20.0


class Progress(Protocol):
    """Whoever shows the records of a running run as they arrive."""

    def update(self, records: Sequence[Record]) -> None:
        """Show these new records."""


@dataclass
class Job:
    """One cell's process, and the memory that it may use."""

    cell: Cell
    memory: Reservation
    process: subprocess.Popen[bytes]
    pidfd: int
    log: Path


class Execution:
    """Runs the cells of a plan. Cells' processes die with this one, by the kernel's parent-death signal."""

    def __init__(
        self,
        matrix: Matrix,
        cells: Sequence[Cell],
        folder: Path,
        progress: Progress,
        *,
        say: Say = lambda _: None,
    ) -> None:
        self._matrix = matrix
        self._waiting = list(cells)
        self._folder = folder
        self._progress = progress
        self._say = say
        self._recorder = Recorder(folder)
        self._jobs: list[Job] = []
        self._offset = 0
        self._ended: set[str] = set()

    def run(self, slots: int | None = None) -> None:
        """Run all cells in their order: each starts when the host has room for it, at most `slots` at a time.

        On KeyboardInterrupt the running cells are stopped, then it goes on.
        """
        self._recorder.write(plan_run(self._matrix, self._waiting))
        admission = Admission(slots, say=self._say)
        try:
            while self._waiting or self._jobs:
                while self._waiting and self._next(admission):
                    pass
                self._reap(TICK_S)
                self._show()
        finally:
            admission.close()
            self._stop_all()
            self._show()
            self._recorder.close()

    def _next(self, admission: Admission) -> bool:
        """Start the first waiting cell, or give up on it; False when it has to wait."""
        cell = self._waiting[0]
        try:
            admitted = admission.admit(cell, [job.cell for job in self._jobs])
        except InfrastructureError as error:
            record_refusal(self._recorder, cell, error)
            self._waiting.pop(0)
            return True
        if admitted is None:
            return False
        self._waiting.pop(0)
        record_wait(self._recorder, cell, admitted)
        job = self._start(cell, admitted.reservation)
        self._jobs.append(job)
        job.memory.used_by(job.process.pid)
        return True

    def _start(self, cell: Cell, memory: Reservation) -> Job:
        log = cell_folder(self._folder, cell.id) / "pytest.log"
        argv = [
            str(require_tool("setpriv")),
            "--pdeathsig",
            "KILL",  # nothing outlives this process, whatever kills it
            *suite_command(
                f"--halpmc-matrix={(self._folder / MATRIX).absolute()}",
                f"--halpmc-cell={cell.id}",
                f"--halpmc-run-dir={self._folder.absolute()}",
            ),
        ]
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches this process alone, which then ends the cells in order.
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Job(cell, memory, process, os.pidfd_open(process.pid), log)

    def _reap(self, timeout_s: float) -> None:
        """Wait until a job ends or the tick is over, and take the ended ones off."""
        ready, _, _ = select.select([job.pidfd for job in self._jobs], [], [], timeout_s)
        for job in [job for job in self._jobs if job.pidfd in ready]:
            self._jobs.remove(job)
            status = job.process.wait()
            os.close(job.pidfd)
            job.memory.release()
            self._show()
            ended = job.cell.id in self._ended
            if not ended or status not in PYTEST_DONE:
                when = "" if ended else " before the cell did"
                tail = "\n".join(job.log.read_text(errors="replace").splitlines()[-30:])
                self._recorder.write(
                    IncidentRecord(
                        cell=job.cell.id,
                        branch="infrastructure",
                        message=f"the cell's process ended with status {status}{when}",
                        evidence={"log": str(job.log.relative_to(self._folder)), "last lines": tail},
                    )
                )

    def _show(self) -> None:
        records, self._offset = tail_records(self._folder, self._offset)
        self._ended.update(record.cell for record in records if isinstance(record, CellEndRecord))
        self._progress.update(records)

    def _stop_all(self) -> None:
        """Ask the running cells to stop their VMs and end; after the deadline the kernel ends them."""
        for job in self._jobs:
            job.process.send_signal(signal.SIGTERM)
        deadline = Deadline("cells stopping", STOP_S)
        while self._jobs and not deadline.expired():
            self._reap(TICK_S)
        for job in self._jobs:
            job.process.kill()
        while self._jobs:
            self._reap(TICK_S)


def execute(
    matrix: Matrix,
    cells: Sequence[Cell],
    folder: Path,
    *,
    slots: int | None,
    progress: Progress,
    say: Say = lambda _: None,
) -> None:
    """Run the cells into the run's folder, at most `slots` at a time; None: as many as the host has room for.

    `say` hears which cell waits for memory. Raises KeyboardInterrupt after stopping cleanly.
    """
    shutil.copyfile(matrix.path, folder / MATRIX)  # what the cells read: an edit meanwhile changes nothing
    Execution(matrix, cells, folder, progress, say=say).run(slots)


def end_run(folder: Path, exit_code: int) -> None:
    """Write the last record of a run."""
    recorder = Recorder(folder)
    recorder.write(RunEndRecord(exit_code=exit_code))
    recorder.close()
