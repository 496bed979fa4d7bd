"""`halpmc bench`: what the VM engine costs, and the views of results (docs/performance.md)."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from harness.commands import say

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


def _print_figures(figures: dict[str, float], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value:12.4f}")
