"""`halpmc baseline`: what was observed where the documentation is silent, reviewed and kept (docs/baselines.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="Baselines of what is recorded where the documentation is silent."
)


@app.command("accept")
def baseline_accept(
    run_dir: Annotated[Path, typer.Argument(help="folder of a run, as printed by `halpmc run`")],
    baselines: Annotated[
        Path | None,
        typer.Option(
            help="folder of the baselines (default: the checkout's; an installed wheel has none to write to)"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print what changed as JSON")] = False,
) -> None:
    """Make what a run recorded the baseline of its guests and classes of cells, and show what changes."""
    from harness.report.baselines import accept, own_baselines
    from harness.report.changes import difference

    accepted = accept(run_dir, baselines or own_baselines())
    if as_json:
        result = [
            {
                "file": str(item.path),
                "entries": [entry.model_dump(mode="json") for entry in item.entries],
                "removed": item.removed,
            }
            for item in accepted
        ]
        print(json.dumps(result, indent=2))
        return
    for item in accepted:
        states = [entry.state for entry in item.entries]
        print(
            f"{item.path}: {states.count('changed')} changed, {states.count('new')} new, {len(item.removed)} removed"
        )
        for entry in item.entries:
            print(f"  {entry.state} {entry.clause} {entry.test}: {difference(entry)}")
        for name in item.removed:
            print(f"  removed {name}")
