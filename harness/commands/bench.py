"""`halpmc bench`: what the VM engine, planning, scheduling and the views of results cost (docs/performance.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.commands import complete, say

app = typer.Typer(no_args_is_help=True, help="Benchmarks: medians and ratios, in one run.")

CELL = {"id": "bench", "guest": "embedded", "cpu": "Nehalem", "pmu": False}


@app.command("clone")
def bench_clone(
    rounds: Annotated[
        int, typer.Option("--rounds", "-n", min=1, help="rounds, of which the median counts")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """How long until a guest answers: cold, as a clone over SSH and over the serial lane, by loadvm."""
    from harness.config.models import Cell
    from harness.runs.bench import bench_clone

    _print_figures(bench_clone(Cell.model_validate(CELL), rounds, say=say), as_json)


@app.command("op")
def bench_op(
    rounds: Annotated[
        int, typer.Option("--rounds", "-n", min=1, help="rounds, of which the median counts")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """What one allocate and free costs in the client's session, against one SSH command each."""
    from harness.config.models import Cell
    from harness.runs.bench import bench_op

    _print_figures(bench_op(Cell.model_validate(CELL), rounds, say=say), as_json)


@app.command("report")
def bench_report(
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """How long the report of 500 cells and 60 clauses takes to write, to open in Chromium, and to filter."""
    from harness.report.bench import bench_report

    _print_figures(bench_report(say=say), as_json)


@app.command("history")
def bench_history(
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """How long the history of 100 such runs takes to answer."""
    from harness.report.bench import bench_history

    _print_figures(bench_history(say=say), as_json)


@app.command("plan")
def bench_plan(
    cells: Annotated[int, typer.Option(min=200, help="cells of the matrix")] = 10_000,
    rounds: Annotated[
        int, typer.Option("--rounds", "-n", min=1, help="rounds, of which the best counts")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """How long `halpmc plan` takes for a large matrix, and where the time goes."""
    from harness.runs.bench_schedule import bench_plan

    _print_figures(bench_plan(cells, rounds), as_json)


@app.command("schedule")
def bench_schedule(
    cells: Annotated[int, typer.Option(min=1, help="simulated cells: processes that sleep")] = 200,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="cells at a time")] = 8,
    seed: Annotated[int, typer.Option(help="another seed gives other durations")] = 0,
    run: Annotated[
        Path | None,
        typer.Option(help="instead: the figures of this real run, which was made with that --jobs"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """How near a run comes to the bound that no schedule beats: all work shared evenly, or the longest cell."""
    from harness.runs.bench_schedule import bench_run, bench_schedule

    _print_figures(bench_run(run, jobs) if run else bench_schedule(cells, jobs, seed), as_json)


@app.command("race")
def bench_race(
    defect: Annotated[
        str,
        typer.Argument(
            help="a defect of the reference HAL, or none (docs/defects.md)", autocompletion=complete.defects
        ),
    ],
    runs: Annotated[int, typer.Option("--runs", "-n", min=1, help="races, each in a guest of its own")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """How surely the suite's race of threads notices a defect that shows only now and then."""
    from harness.config.defects import DEFECTS
    from harness.config.models import Cell
    from harness.config.suggest import did_you_mean
    from harness.errors import UsageError
    from harness.runs.bench_race import bench_race

    if defect != "none" and defect not in DEFECTS:
        raise UsageError(
            f"there is no defect {defect!r}", remedy=did_you_mean(defect, DEFECTS, plural="defects")
        )
    hal = {"defect": None if defect == "none" else defect}
    _print_figures(bench_race(Cell.model_validate({**CELL, "hal": hal}), runs, say=say), as_json)


def _print_figures(figures: dict[str, float], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value:12.4f}")
