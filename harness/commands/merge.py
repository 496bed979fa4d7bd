"""`halpmc merge`: the runs of shards as one run with one report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.commands import say


def merge(
    runs: Annotated[
        list[Path], typer.Argument(help="folders of runs of one matrix, or folders that have such in them")
    ],
    into: Annotated[Path, typer.Option(help="where the merged run makes its folder")] = Path("runs"),
    plan: Annotated[
        Path | None,
        typer.Option(
            help="the plan that the shards were made from (halpmc plan --json): all its cells are due"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the merged summary as JSON")] = False,
) -> None:
    """Make one run of the runs of shards, with one report. A cell of which no shard left anything is a shortage.

    Prints the merged run's folder; the table goes to stderr. The exit code is that of the merged run.
    """
    from harness.report.merge import find_runs, merge_runs, planned_ids
    from harness.report.terminal import print_summary
    from harness.report.write import write_reports

    wanted = planned_ids(plan) if plan else frozenset()
    folders = find_runs(runs)
    if plan and not wanted and not folders:
        say("nothing to merge: the plan has no cell")
        return
    folder = merge_runs(folders, into, wanted=wanted, say=say)
    summary = write_reports(folder, history=True, say=say)
    print_summary(summary, folder, Console(stderr=True))
    print(summary.model_dump_json(indent=2) if as_json else folder)
    raise typer.Exit(summary.exit_code)
