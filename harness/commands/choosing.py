"""The options by which the commands choose cells of a matrix, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands import complete
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.config.matrix import Matrix
    from harness.runs.costs import Costs
    from harness.runs.select import Choice, Selection

MATRIX_HELP = "matrix file, or the name of a shipped one, such as demo (halpmc matrices lists them)"


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


def parse_slots(text: str) -> int | None:
    """The value of --jobs: a number of cells, or None for `auto`. Raises UsageError."""
    if text == "auto":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise UsageError(f"--jobs {text!r} is no number of cells", remedy="use a number from 1 on, or auto")


def choice_of(
    cell: list[str] | None, keyword: str, cells: str, tag: list[str] | None, since: str, shard: str
) -> Choice:
    """What these options choose."""
    from harness.runs.select import Choice

    return Choice(tuple(cell or ()), keyword, cells, tuple(tag or ()), since, shard)


def selected(matrix: Path, choice: Choice, costs: Costs) -> tuple[Matrix, Selection]:
    """The matrix and the chosen cells, whether a host can run them or not. Raises ConfigError, UsageError."""
    from harness.runs.select import open_matrix, select

    loaded = open_matrix(matrix)
    return loaded, select(loaded, choice, costs)
