"""`halpmc run` and `halpmc plan`: a matrix, or what an earlier run left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands import complete, leading
from harness.commands.choosing import (
    MATRIX_HELP,
    CellIds,
    CostsFrom,
    Expression,
    Jobs,
    Keyword,
    MatrixFile,
    Shard,
    Since,
    Tags,
    choice_of,
    parse_slots,
    selected,
)
from harness.commands.places import ExecutorKind
from harness.errors import UsageError

Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", help="with --executor dask: address of the lab's scheduler (docs/lab.md)"),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="with --scheduler: wait for so many workers before it is decided what is skipped (default: 1)",
    ),
]
RunsDir = Annotated[Path, typer.Option(help="where the run makes its folder")]


def run(
    matrix: Annotated[Path | None, typer.Argument(help=MATRIX_HELP, autocompletion=complete.matrices)] = None,
    jobs: Jobs = "auto",
    executor: Annotated[
        ExecutorKind, typer.Option(help="local: cells run on this host; dask: on workers that are elsewhere")
    ] = ExecutorKind.LOCAL,
    scheduler: Scheduler = None,
    workers: Workers = None,
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

    settings = leading.settings_of(
        parse_slots(jobs),
        baselines,
        strict=strict_baseline,
        executor=executor,
        scheduler=scheduler,
        workers=workers,
    )
    leading.search_in_cells(sequences, seed)
    choice = choice_of(cell, keyword, cells, tag, since, shard)
    known = load_costs((resume or rerun_failed or runs_dir / "-").parent, given=costs)
    if resume or rerun_failed:
        if matrix or str(choice) or (resume and rerun_failed):
            raise UsageError(
                "--resume and --rerun-failed take everything from the earlier run",
                remedy="give one of them, without a matrix or a choice of cells",
            )
        if resume:
            leading.resume(resume, known, settings)
        elif rerun_failed:
            leading.rerun_failed(rerun_failed, known, settings, runs_dir)
        return
    if matrix is None:
        raise UsageError(
            "a matrix is missing", remedy="halpmc run demo, for example; halpmc matrices lists more"
        )
    leading.run_matrix(matrix, choice, known, settings, runs_dir)


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
    from harness.runs.select import on_this_host

    known = load_costs(runs_dir, given=costs)
    choice = choice_of(cell, keyword, cells, tag, since, shard)
    loaded, chosen = selected(matrix, choice, known)
    planned = forecast(loaded, on_this_host(loaded, chosen), known, parse_slots(jobs))
    if as_json:
        print(planned.model_dump_json(indent=2))
    else:
        print_forecast(planned)
