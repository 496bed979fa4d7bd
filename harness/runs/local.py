"""Cells on this host: a process for each, started when the host has the memory and the CPUs for its VM."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.caching import Say
from harness.deadlines import Deadline
from harness.host.ledger import Reservation
from harness.host.tools import require_tool
from harness.runs.admission import Admission, record_wait
from harness.runs.executor import CellJob, JobResult
from harness.runs.folder import cell_folder, write_config
from harness.runs.record_file import Recorder
from harness.runs.suite import suite_command

TICK_S = 0.2
STOP_S = 20.0
LOG = "pytest.log"
TAIL_LINES = 30

#: The argument vector of a job's process, given the job and the run's folder.
Command = Callable[[CellJob, Path], list[str]]


def cell_command(job: CellJob, run: Path) -> list[str]:
    """pytest with the contract suite, in the cell whose configuration lies in the cell's folder."""
    return suite_command(
        f"--halpmc-replay={cell_folder(run, job.cell.id).absolute()}",
        f"--halpmc-run-dir={run.absolute()}",
        *(f"--halpmc-clause={clause}" for clause in job.clauses),
    )


@dataclass
class _Running:
    """A job's process, and the memory that it may use."""

    job: CellJob
    memory: Reservation
    process: subprocess.Popen[bytes]
    pidfd: int
    log: Path
    since: float


class LocalExecutor:
    """Runs jobs as processes of this host, which die with this one by the kernel's parent-death signal.

    At most `slots` at a time; None: as many as the host has room for. `environment` replaces this process's own.
    """

    in_order = True

    def __init__(
        self,
        run: Path,
        recorder: Recorder,
        slots: int | None,
        *,
        command: Command = cell_command,
        environment: Mapping[str, str] | None = None,
        say: Say = lambda _: None,
    ) -> None:
        self._run = run
        self._recorder = recorder
        self._command = command
        self._environment = environment
        self._admission = Admission(slots, say=say)
        self._jobs: list[_Running] = []

    @property
    def running(self) -> int:
        """How many processes there are."""
        return len(self._jobs)

    def submit(self, job: CellJob) -> bool:
        """Start the job's process if the host has room for it. Raises NoSpace, DeadlineExceeded (no memory)."""
        admitted = self._admission.admit(job.cell, [running.job.cell for running in self._jobs])
        if admitted is None:
            return False
        record_wait(self._recorder, job.cell, admitted)
        started = self._start(job, admitted.reservation)
        self._jobs.append(started)
        started.memory.used_by(started.process.pid)
        return True

    def _start(self, job: CellJob, memory: Reservation) -> _Running:
        folder = cell_folder(self._run, job.cell.id)
        write_config(folder, job.cell)
        log = folder / LOG
        argv = [
            str(require_tool("setpriv")),
            "--pdeathsig",
            "KILL",  # nothing outlives this process, whatever kills it
            *self._command(job, self._run),
        ]
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches this process alone, which then ends the cells in order.
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        return _Running(job, memory, process, os.pidfd_open(process.pid), log, time.monotonic())

    def wait(self, timeout_s: float) -> Sequence[JobResult]:
        """Wait until a process ends or the time is over, and take the ended ones off."""
        ready, _, _ = select.select([job.pidfd for job in self._jobs], [], [], timeout_s)
        return [self._ended(job) for job in list(self._jobs) if job.pidfd in ready]

    def _ended(self, running: _Running) -> JobResult:
        self._jobs.remove(running)
        status = running.process.wait()
        os.close(running.pidfd)
        running.memory.release()
        lines = running.log.read_text(errors="replace").splitlines()
        return JobResult(
            job=running.job,
            status=status,
            seconds=time.monotonic() - running.since,
            log=str(running.log.relative_to(self._run)),
            tail="\n".join(lines[-TAIL_LINES:]),
        )

    def stop(self) -> Sequence[JobResult]:
        """Ask the running cells to stop their VMs and end; after the deadline the kernel ends them."""
        for job in self._jobs:
            job.process.send_signal(signal.SIGTERM)
        results: list[JobResult] = []
        deadline = Deadline("cells stopping", STOP_S)
        while self._jobs and not deadline.expired():
            results += self.wait(TICK_S)
        for job in self._jobs:
            job.process.kill()
        while self._jobs:
            results += self.wait(TICK_S)
        return results

    def close(self) -> None:
        """Leave the queue for memory. Idempotent."""
        self._admission.close()
