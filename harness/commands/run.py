"""`halpmc run` and `halpmc plan`: a matrix, or what an earlier run left."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from harness.commands import complete, say
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.config.matrix import Matrix
    from harness.runs.costs import Costs
    from harness.runs.executor import Executor
    from harness.runs.record import Recorder, RunRecord
    from harness.runs.select import Choice, Selection

    MakeExecutor = Callable[[Path, Recorder], Executor]

EXIT_INTERRUPTED = 130

MATRIX_HELP = "matrix file, or the name of a shipped one, such as demo (halpmc matrices lists them)"


class ExecutorKind(StrEnum):
    """Where cells run."""

    LOCAL = "local"
    DASK = "dask"


MatrixFile = Annotated[Path, typer.Argument(help=MATRIX_HELP, autocompletion=complete.matrices)]
Jobs = Annotated[
    str, typer.Option("--jobs", "-j", help="cells at a time; auto: as many as the host has room for")
]
CellIds = Annotated[
    list[str] | None,
    typer.Option("--cell", help="only this cell (repeatable)", autocompletion=complete.cells),
]
Keyword = Annotated[
    str, typer.Option("-k", help="only cells with these words in their id: 'nehalem and not pmu_on'")
]
Expression = Annotated[
    str, typer.Option("--cells", help="only cells for which this holds: 'pmu=on and guest~embedded'")
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="only cells with this tag (repeatable: any of them)")
]
Since = Annotated[
    str,
    typer.Option("--since", help="only what files changed since this git revision concern (ci/changes.yaml)"),
]
Shard = Annotated[
    str, typer.Option("--shard", help="only part K of N, such as 3/8, of about the same cost each")
]
CostsFrom = Annotated[
    Path | None,
    typer.Option(
        "--costs", help="where costs come from: a folder of runs, or a plan's JSON (default: --runs-dir)"
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", help="with --executor dask: address of the lab's scheduler (docs/lab.md)"),
]
RunsDir = Annotated[Path, typer.Option(help="where the run makes its folder")]


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
    """Raises UsageError when the baselines cannot be read, or the executor cannot be had."""
    from harness.commands.worker import require_distributed
    from harness.report.baselines import check_baselines, default_baselines

    if executor is ExecutorKind.DASK:
        require_distributed()
    elif scheduler is not None:
        raise UsageError("--scheduler is for the executor dask", remedy="add: --executor dask")
    folder = baselines or default_baselines()
    check_baselines(folder)
    return Settings(slots, executor, scheduler, folder, strict)


def run(
    matrix: Annotated[Path | None, typer.Argument(help=MATRIX_HELP, autocompletion=complete.matrices)] = None,
    jobs: Jobs = "auto",
    executor: Annotated[
        ExecutorKind, typer.Option(help="local: cells run on this host; dask: on workers that are elsewhere")
    ] = ExecutorKind.LOCAL,
    scheduler: Scheduler = None,
    cell: CellIds = None,
    keyword: Keyword = "",
    cells: Expression = "",
    tag: Tags = None,
    since: Since = "",
    shard: Shard = "",
    costs: CostsFrom = None,
    resume: Annotated[
        Path | None, typer.Option(help="go on with the run in this folder: its cells that did not end")
    ] = None,
    rerun_failed: Annotated[
        Path | None, typer.Option(help="a new run of the cells that are red in the run in this folder")
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    sequences: Annotated[
        int | None,
        typer.Option(
            min=1, help="random sequences of calls in each cell (default: 100; 10 with a part of the suite)"
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="what they are drawn from (default: the same in each run)")
    ] = None,
    baselines: Annotated[
        Path | None, typer.Option(help="folder of the baselines (default: those that come with halpmc)")
    ] = None,
    strict_baseline: Annotated[
        bool, typer.Option("--strict-baseline", help="an observation that changed fails the run")
    ] = False,
) -> None:
    """Run every cell of a matrix and write the compatibility report.

    Ctrl-C once lets the running cells end and starts no more; twice stops at once. `--resume` goes on afterwards.
    """
    from harness.runs.costs import load_costs

    settings = settings_of(
        parse_slots(jobs), baselines, strict=strict_baseline, executor=executor, scheduler=scheduler
    )
    for name, number in (("HALPMC_SEQUENCES", sequences), ("HALPMC_SEED", seed)):
        if number is not None:
            os.environ[name] = str(number)  # for the cells' processes
    choice = _choice(cell, keyword, cells, tag, since, shard)
    known = load_costs((resume or rerun_failed or runs_dir / "-").parent, given=costs)
    if resume or rerun_failed:
        if matrix or str(choice) or (resume and rerun_failed):
            raise UsageError(
                "--resume and --rerun-failed take everything from the earlier run",
                remedy="give one of them, without a matrix or a choice of cells",
            )
        if resume:
            _resume(resume, known, settings)
        elif rerun_failed:
            _lead_new(_rerun(rerun_failed), known, settings, runs_dir)
        return
    if matrix is None:
        raise UsageError(
            "a matrix is missing", remedy="halpmc run demo, for example; halpmc matrices lists more"
        )
    run_matrix(matrix, choice, known, settings, runs_dir)


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
    loaded, selection = _selected(matrix, choice, known, here=not elsewhere, prove=True)
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


def plan(
    matrix: MatrixFile,
    jobs: Jobs = "auto",
    cell: CellIds = None,
    keyword: Keyword = "",
    cells: Expression = "",
    tag: Tags = None,
    since: Since = "",
    shard: Shard = "",
    costs: CostsFrom = None,
    runs_dir: Annotated[Path, typer.Option(help="folder of earlier runs, whose durations count")] = Path(
        "runs"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="print the plan as JSON")] = False,
) -> None:
    """What a run would do: cells, skips and expected costs. Touches no VM."""
    from harness.report.forecast import print_forecast
    from harness.runs.costs import load_costs
    from harness.runs.forecast import forecast

    known = load_costs(runs_dir, given=costs)
    choice = _choice(cell, keyword, cells, tag, since, shard)
    loaded, selection = _selected(matrix, choice, known)
    planned = forecast(loaded, selection, known, parse_slots(jobs))
    if as_json:
        print(planned.model_dump_json(indent=2))
    else:
        print_forecast(planned)


def parse_slots(text: str) -> int | None:
    """The value of --jobs: a number of cells, or None for `auto`. Raises UsageError."""
    if text == "auto":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise UsageError(f"--jobs {text!r} is no number of cells", remedy="use a number from 1 on, or auto")


def _choice(
    cell: list[str] | None, keyword: str, cells: str, tag: list[str] | None, since: str, shard: str
) -> Choice:
    from harness.runs.select import Choice

    return Choice(tuple(cell or ()), keyword, cells, tuple(tag or ()), since, shard)


def _selected(
    matrix: Path, choice: Choice, costs: Costs, *, here: bool = True, prove: bool = False
) -> tuple[Matrix, Selection]:
    from harness.runs.select import on_this_host, open_matrix, select

    loaded = open_matrix(matrix)
    chosen = select(loaded, choice, costs)
    return loaded, on_this_host(loaded, chosen, prove=prove, say=say) if here else chosen


def _rerun(folder: Path) -> RunRecord:
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


def _resume(folder: Path, costs: Costs, settings: Settings) -> NoReturn:
    """Go on with a run in its own folder. Raises Exit with the run's exit code."""
    from harness.runs.again import left_of, open_again
    from harness.runs.folder import leading

    with leading(folder):
        plan = left_of(folder)
        with _executors(plan, settings) as make:
            _lead(folder, open_again(folder, plan), plan, costs, settings, make)


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
