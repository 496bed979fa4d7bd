"""Where the cells of a run go: this host, or a lab. Each place says which cells it cannot run, and runs the others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.commands import say

if TYPE_CHECKING:
    from harness.cluster.lab import Lab
    from harness.cluster.roster import Roster
    from harness.config.matrix import Matrix
    from harness.runs.executor import CellJob, Executor
    from harness.runs.record import RunRecord
    from harness.runs.record_file import Recorder
    from harness.runs.select import Selection

    MakeExecutor = Callable[[Path, Recorder], Executor]


class ExecutorKind(StrEnum):
    """Where cells run."""

    LOCAL = "local"
    DASK = "dask"


class Place(Protocol):
    """Where a run's cells go."""

    def fitting(self, matrix: Matrix, chosen: Selection) -> Selection:
        """The chosen cells less those that cannot run there, which are skipped with the condition that is not met."""

    def ready(self, plan: RunRecord) -> MakeExecutor:
        """What makes the executor, with all that the plan's cells need prepared. Raises what is missing."""


@dataclass(frozen=True)
class _Here:
    slots: int | None

    def fitting(self, matrix: Matrix, chosen: Selection) -> Selection:
        from harness.runs.select import on_this_host

        return on_this_host(matrix, chosen, prove=True, say=say)

    def ready(self, plan: RunRecord) -> MakeExecutor:
        from harness.config.models import Cell
        from harness.runs.local import LocalExecutor
        from harness.runs.prepare import prepare

        prepare([Cell.model_validate(cell.config) for cell in plan.cells], say=say)
        return lambda folder, recorder: LocalExecutor(folder, recorder, self.slots, say=say)


@dataclass(frozen=True)
class _InLab:
    slots: int | None
    lab: Lab
    roster: Roster

    def fitting(self, matrix: Matrix, chosen: Selection) -> Selection:
        return self.roster.fitting(matrix, chosen)

    def ready(self, plan: RunRecord) -> MakeExecutor:  # noqa: ARG002 - workers prepare what their cells need
        from harness.cluster.executor import DaskExecutor

        return lambda folder, recorder: DaskExecutor(
            folder, recorder, self.lab, self.roster, self.slots, say=say
        )


@contextmanager
def place_of(
    kind: ExecutorKind, scheduler: str | None, workers: int, slots: int | None, jobs: Sequence[CellJob]
) -> Generator[Place, None, None]:
    """The place for these cells. Raises what is missing of a lab, and of images that its workers get from here."""
    if kind is ExecutorKind.LOCAL:
        yield _Here(slots)
        return
    from harness.cluster.images import offers
    from harness.cluster.lab import open_lab
    from harness.cluster.roster import Roster

    guests = {job.cell.guest for job in jobs if job.cell.guest and not job.requires.guest}
    spare = {job.cell.guest for job in jobs if job.cell.guest and job.requires.guest}
    images = offers(guests, spare)
    with open_lab(scheduler, slots, workers=workers, say=say) as lab:
        yield _InLab(slots, lab, Roster(lab, images, say=say))
