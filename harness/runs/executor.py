"""The seam between the scheduler and whoever runs the cells: this host, or workers elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.config.models import Cell
from harness.config.requirements import ANY_HOST, Requirements
from harness.errors import InfrastructureError


@dataclass(frozen=True)
class CellJob:
    """One cell to run: all clauses of its suite, or (when not empty) only these; how long that should take.

    `requires` has been looked at for this host before a run; an executor elsewhere has to see to it itself
    (harness/runs/capabilities.py).
    """

    cell: Cell
    clauses: tuple[str, ...] = ()
    expected_s: float = 0.0
    requires: Requirements = ANY_HOST


@dataclass(frozen=True)
class JobResult:
    """A job's process has ended, after so many seconds. When the scheduler sees this, the job's records are in the run.

    `status` is the process's exit status; `log` its output's path in the run's folder, `tail` the last lines of it.
    `error`: there was no process to its end, and why.
    """

    job: CellJob
    status: int
    seconds: float
    log: str
    tail: str
    error: InfrastructureError | None = None


def longest_first(jobs: Iterable[CellJob]) -> list[CellJob]:
    """The order that ends soonest when jobs are started one after the other: no long one begins last."""
    return sorted(jobs, key=lambda job: (-job.expected_s, job.cell.id))


class Executor(Protocol):
    """Runs jobs. All calls come from one thread."""

    @property
    def in_order(self) -> bool:
        """Whether a job that has to wait keeps those behind it waiting, so that a host keeps its room for a large one.

        Otherwise each waits for room of its own kind.
        """

    def submit(self, job: CellJob) -> bool:
        """Take a job; False when there is no room for it now: the scheduler then asks again, with the same job.

        Raises InfrastructureError when the job can never run here.
        """

    @property
    def running(self) -> int:
        """How many jobs were taken and have no result yet."""

    def wait(self, timeout_s: float) -> Sequence[JobResult]:
        """The results since the last call; returns as soon as there is one, after `timeout_s` at the latest."""

    def stop(self) -> Sequence[JobResult]:
        """End all running jobs now, each with a chance to shut its VM down, and return their results."""

    def close(self) -> None:
        """Nothing more will be submitted: give back what waits. Idempotent."""
