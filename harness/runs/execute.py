"""Executing the cells of a run, all of them recording into one file, until they are done or the user ends it."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

from harness.caching import Say
from harness.errors import InfrastructureError
from harness.runs.admission import record_refusal
from harness.runs.costs import PROCESS_PHASE
from harness.runs.executor import CellJob, Executor, JobResult
from harness.runs.record import CellEndRecord, IncidentRecord, PhaseRecord, Record, RunEndRecord
from harness.runs.record_file import Recorder, tail_records

TICK_S = 0.2
#: Exit statuses of pytest that records explain: all passed, some failed.
PYTEST_DONE = (0, 1)


class Progress(Protocol):
    """Whoever shows the records of a running run as they arrive."""

    def update(self, records: Sequence[Record]) -> None:
        """Show these new records."""


class Execution:
    """Runs jobs by an executor, in the order given. Records that are there already are not shown."""

    def __init__(
        self,
        folder: Path,
        recorder: Recorder,
        executor: Executor,
        progress: Progress,
        *,
        say: Say = lambda _: None,
    ) -> None:
        self._folder = folder
        self._recorder = recorder
        self._executor = executor
        self._progress = progress
        self._say = say
        self._offset = recorder.path.stat().st_size
        self._ended: set[str] = set()
        self._draining = self._said = False

    def run(self, jobs: Iterable[CellJob]) -> bool:
        """Run the jobs; False when `drain` kept some from being started.

        On KeyboardInterrupt the running cells are stopped, then it goes on.
        """
        waiting = list(jobs)
        try:
            while (waiting and not self._draining) or self._executor.running:
                self._start(waiting)
                if self._draining and not self._said:
                    self._said = True
                    self._say(
                        f"interrupted: {self._executor.running} running cells end first, {len(waiting)} are not "
                        "started; Ctrl-C again stops now"
                    )
                self._finish(self._executor.wait(TICK_S))
                self._show()
        finally:
            self._executor.close()
            self._finish(self._executor.stop())
            self._show()
        return not waiting

    def drain(self) -> None:
        """Start no more cells; `run` returns when the running ones have ended."""
        self._draining = True

    def _start(self, waiting: list[CellJob]) -> None:
        """Hand over the jobs that there is room for, and take them off."""
        for job in list(waiting):
            if self._draining:
                return
            if self._submit(job):
                waiting.remove(job)
            elif self._executor.in_order:
                return

    def _submit(self, job: CellJob) -> bool:
        """Hand a job over, or give up on it; False when it has to wait."""
        try:
            return self._executor.submit(job)
        except InfrastructureError as error:
            record_refusal(self._recorder, job.cell, error)
            return True

    def _finish(self, results: Sequence[JobResult]) -> None:
        """Record how the jobs' processes ended."""
        if results:
            self._show()
        for result in results:
            cell = result.job.cell.id
            if result.error is not None:
                record_refusal(self._recorder, result.job.cell, result.error)
                continue
            self._recorder.write(PhaseRecord(cell=cell, name=PROCESS_PHASE, seconds=round(result.seconds, 3)))
            ended = cell in self._ended
            if not ended or result.status not in PYTEST_DONE:
                when = "" if ended else " before the cell did"
                self._recorder.write(
                    IncidentRecord(
                        cell=cell,
                        branch="infrastructure",
                        message=f"the cell's process ended with status {result.status}{when}",
                        evidence={"log": result.log, "last lines": result.tail},
                    )
                )

    def _show(self) -> None:
        records, self._offset = tail_records(self._folder, self._offset)
        for record in records:
            match record:
                case CellEndRecord():
                    self._ended.add(record.cell)
                case IncidentRecord(restarted=True):
                    self._ended.discard(record.cell)
        self._progress.update(records)


@contextmanager
def ctrl_c_drains(execution: Execution) -> Generator[None, None, None]:
    """The first Ctrl-C lets the running cells end and starts no more; the second raises KeyboardInterrupt."""

    def first(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        execution.drain()

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_run(folder: Path, exit_code: int) -> None:
    """Write the last record of a run."""
    recorder = Recorder(folder)
    recorder.write(RunEndRecord(exit_code=exit_code))
    recorder.close()
