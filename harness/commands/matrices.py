"""`halpmc matrices`: what comes with the project, to be called by name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from harness.commands import print_table


@dataclass(frozen=True)
class Shipped:
    """A matrix that comes with the project; `guests` has "none" where cells are the PMU probe alone."""

    name: str
    cells: int
    guests: tuple[str, ...]
    about: str
    path: str


def matrices(as_json: Annotated[bool, typer.Option("--json", help="print the list as JSON")] = False) -> None:
    """The matrices that come with halpmc, by name.

    `halpmc run NAME`, `halpmc plan NAME` and `pytest --halpmc-matrix NAME` take them. A matrix of your own is a file
    (docs/matrices.md); it may build on one of these with `extends: NAME`.
    """
    from rich.table import Table

    from harness.config.shipped import shipped_names

    found = [_described(name) for name in shipped_names()]
    if as_json:
        print(json.dumps([asdict(matrix) for matrix in found], indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("name", "cells", "guests", "what it is"):
        table.add_column(column, justify="right" if column == "cells" else "left")
    for matrix in found:
        table.add_row(matrix.name, str(matrix.cells), ", ".join(matrix.guests), matrix.about)
    print_table(table)


def _described(name: str) -> Shipped:
    from harness.config.load import load_matrix
    from harness.config.shipped import first_words, shipped_path

    matrix = load_matrix(shipped_path(name))
    guests = tuple(sorted({cell.guest or "none" for cell in matrix.cells}))
    return Shipped(name, len(matrix.cells), guests, first_words(matrix.path), str(matrix.path))
