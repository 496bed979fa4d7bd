"""Leading a run: its plan, where its cells run, its reports and its exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console

from harness.commands import say
from harness.commands.choosing import selected
from harness.commands.places import ExecutorKind, Place, place_of
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.commands.places import MakeExecutor
    from harness.runs.costs import Costs
    from harness.runs.executor import CellJob
    from harness.runs.record import RunRecord
    from harness.runs.record_file import Recorder
    from harness.runs.select import Choice

EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Settings:
    """How a run is led: cells at a time (None: as many as there is room for), where, and what it is compared with.

    `scheduler` is the lab's, which is waited for until it has `workers`; None with DASK: a worker of this host alone.
    """

    slots: int | None
    executor: ExecutorKind
    scheduler: str | None
    workers: int
    baselines: Path
    strict: bool

    def place(self, jobs: Sequence[CellJob]) -> AbstractContextManager[Place]:
        """Where these cells run: see place_of."""
        return place_of(self.executor, self.scheduler, self.workers, self.slots, jobs)


def settings_of(
    slots: int | None,
    baselines: Path | None,
    *,
    strict: bool,
    executor: ExecutorKind = ExecutorKind.LOCAL,
    scheduler: str | None = None,
    workers: int | None = None,
) -> Settings:
    """How a run is led. Raises UsageError when the baselines cannot be read, or the executor cannot be had."""
    from harness.commands.worker import require_distributed
    from harness.report.baselines import check_baselines, default_baselines

    if executor is ExecutorKind.DASK:
        require_distributed()
    elif scheduler is not None:
        raise UsageError("--scheduler is for the executor dask", remedy="add: --executor dask")
    if workers is not None and scheduler is None:
        raise UsageError("--workers is for a lab with a scheduler", remedy="add: --scheduler tcp://HOST:8786")
    folder = baselines or default_baselines()
    check_baselines(folder)
    return Settings(slots, executor, scheduler, workers or 1, folder, strict)


def search_in_cells(sequences: int | None, seed: int | None) -> None:
    """Tell the cells' processes how many random sequences they draw, and from what."""
    for name, number in (("HALPMC_SEQUENCES", sequences), ("HALPMC_SEED", seed)):
        if number is not None:
            os.environ[name] = str(number)


def run_matrix(
    matrix: Path,
    choice: Choice,
    known: Costs,
    settings: Settings,
    runs_dir: Path,
    begun: Callable[[Path], None] = lambda _: None,
) -> None:
    """Run the chosen cells of a matrix in a new folder, which `begun` is told. Raises Exit with the run's exit code.

    Returns when there was nothing to run.
    """
    from harness.runs.executor import CellJob
    from harness.runs.plan import plan_run

    loaded, chosen = selected(matrix, choice, known)
    if not chosen.cells:
        print(f"nothing to run: {chosen.words}")
        return
    jobs = [CellJob(cell, requires=loaded.traits_of(cell).requires) for cell in chosen.cells]
    with settings.place(jobs) as place:
        selection = place.fitting(loaded, chosen)
        plan = plan_run(
            loaded,
            selection.cells,
            selection.clauses,
            skipped=selection.skipped,
            selection=selection.words,
            shard=selection.shard,
        )
        _lead_new(plan, known, settings, runs_dir, place, begun)


def _plan_again(folder: Path) -> RunRecord:
    """The plan of the cells that are red in an earlier run. Raises UsageError when none is."""
    from harness.report.summary import is_red, summarize
    from harness.runs.again import rerun

    red = [cell.id for cell in summarize(folder).cells if is_red(cell)]
    if not red:
        raise UsageError(f"no cell of {folder} failed", remedy="run the matrix to run all of them")
    return rerun(folder, red)


def _lead_new(
    plan: RunRecord,
    costs: Costs,
    settings: Settings,
    runs_dir: Path,
    place: Place,
    begun: Callable[[Path], None] = lambda _: None,
) -> NoReturn:
    """Run a plan in a new folder. Raises Exit with the run's exit code."""
    from harness.runs.folder import create_run_folder, leading
    from harness.runs.record_file import Recorder

    make = place.ready(plan)
    folder = create_run_folder(runs_dir, plan.name)
    begun(folder)
    with leading(folder):
        recorder = Recorder(folder)
        recorder.write(plan)
        _lead(folder, recorder, plan, costs, settings, make)


def resume(folder: Path, costs: Costs, settings: Settings) -> NoReturn:
    """Go on with a run in its own folder. Raises Exit with the run's exit code."""
    from harness.runs.again import left_of, open_again
    from harness.runs.folder import leading
    from harness.runs.plan import jobs_of

    with leading(folder):
        plan = left_of(folder)
        with settings.place(jobs_of(plan, costs)) as place:
            make = place.ready(plan)
            _lead(folder, open_again(folder, plan), plan, costs, settings, make)


def rerun_failed(folder: Path, costs: Costs, settings: Settings, runs_dir: Path) -> NoReturn:
    """A new run of the cells that are red in the run in this folder. Raises Exit with the run's exit code."""
    from harness.runs.plan import jobs_of

    plan = _plan_again(folder)
    with settings.place(jobs_of(plan, costs)) as place:
        _lead_new(plan, costs, settings, runs_dir, place)


def _lead(
    folder: Path,
    recorder: Recorder,
    plan: RunRecord,
    costs: Costs,
    settings: Settings,
    make: MakeExecutor,
) -> NoReturn:
    """Run the cells, write the reports, and raise Exit with the exit code."""
    from harness.report.baselines import record_comparison
    from harness.report.summary import summarize
    from harness.report.terminal import LiveProgress, print_summary
    from harness.report.write import write_reports
    from harness.runs.execute import Execution, ctrl_c_drains, end_run
    from harness.runs.plan import jobs_of

    console = Console()
    jobs = jobs_of(plan, costs)
    complete = False
    try:
        with LiveProgress([job.cell for job in jobs], console) as progress:
            progress.update([plan])
            execution = Execution(folder, recorder, make(folder, recorder), progress, say=say)
            with ctrl_c_drains(execution):
                complete = execution.run(jobs)
    except KeyboardInterrupt:
        pass  # the cells have been stopped; what there is gets its report
    finally:
        recorder.close()
    record_comparison(folder, settings.baselines, strict=settings.strict)
    end_run(folder, summarize(folder).exit_code)
    summary = write_reports(folder, history=True, say=say)
    print_summary(summary, folder, console)
    if not complete:
        say(f"interrupted; to go on: halpmc run --resume {folder}")
    raise typer.Exit(summary.exit_code if complete else EXIT_INTERRUPTED)
