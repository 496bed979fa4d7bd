"""Leading a run: its plan, where its cells run, its reports and its exit code."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console

from harness.commands import say
from harness.commands.choosing import selected
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.runs.costs import Costs
    from harness.runs.executor import Executor
    from harness.runs.record import Recorder, RunRecord
    from harness.runs.select import Choice

    MakeExecutor = Callable[[Path, Recorder], Executor]

EXIT_INTERRUPTED = 130


class ExecutorKind(StrEnum):
    """Where cells run."""

    LOCAL = "local"
    DASK = "dask"


@dataclass(frozen=True)
class Settings:
    """How a run is led: cells at a time (None: as many as there is room for), where, and what it is compared with.

    `scheduler` is the lab's; None with DASK: a worker of this host alone.
    """

    slots: int | None
    executor: ExecutorKind
    scheduler: str | None
    baselines: Path
    strict: bool


def settings_of(
    slots: int | None,
    baselines: Path | None,
    *,
    strict: bool,
    executor: ExecutorKind = ExecutorKind.LOCAL,
    scheduler: str | None = None,
) -> Settings:
    """How a run is led. Raises UsageError when the baselines cannot be read, or the executor cannot be had."""
    from harness.commands.worker import require_distributed
    from harness.report.baselines import check_baselines, default_baselines

    if executor is ExecutorKind.DASK:
        require_distributed()
    elif scheduler is not None:
        raise UsageError("--scheduler is for the executor dask", remedy="add: --executor dask")
    folder = baselines or default_baselines()
    check_baselines(folder)
    return Settings(slots, executor, scheduler, folder, strict)


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
    from harness.runs.plan import plan_run

    elsewhere = settings.executor is ExecutorKind.DASK  # there each cell is looked at with each worker
    loaded, selection = selected(matrix, choice, known, here=not elsewhere, prove=True)
    if not selection.cells and not selection.skipped:
        print(f"nothing to run: {selection.words}")
        return
    plan = plan_run(
        loaded,
        selection.cells,
        selection.clauses,
        skipped=selection.skipped,
        selection=selection.words,
        shard=selection.shard,
    )
    _lead_new(plan, known, settings, runs_dir, begun)


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
    begun: Callable[[Path], None] = lambda _: None,
) -> NoReturn:
    """Run a plan in a new folder. Raises Exit with the run's exit code."""
    from harness.runs.folder import create_run_folder, leading
    from harness.runs.record import Recorder

    with _executors(plan, settings) as make:
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

    with leading(folder):
        plan = left_of(folder)
        with _executors(plan, settings) as make:
            _lead(folder, open_again(folder, plan), plan, costs, settings, make)


def rerun_failed(folder: Path, costs: Costs, settings: Settings, runs_dir: Path) -> NoReturn:
    """A new run of the cells that are red in the run in this folder. Raises Exit with the run's exit code."""
    _lead_new(_plan_again(folder), costs, settings, runs_dir)


@contextmanager
def _executors(plan: RunRecord, settings: Settings) -> Generator[MakeExecutor, None, None]:
    """What makes the executor, with all that the plan's cells need prepared. Raises what is missing."""
    from harness.config.models import Cell

    cells = [Cell.model_validate(cell.config) for cell in plan.cells]
    if settings.executor is ExecutorKind.DASK:
        from harness.cluster.executor import DaskExecutor
        from harness.cluster.images import offers
        from harness.cluster.lab import open_lab

        images = offers({cell.guest for cell in cells if cell.guest})
        with open_lab(settings.scheduler, settings.slots, say=say) as lab:
            yield lambda folder, recorder: DaskExecutor(
                folder, recorder, lab, images, settings.slots, say=say
            )
        return
    from harness.runs.local import LocalExecutor
    from harness.runs.prepare import prepare

    prepare(cells, say=say)
    yield lambda folder, recorder: LocalExecutor(folder, recorder, settings.slots, say=say)


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
