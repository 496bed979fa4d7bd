"""What the shell offers when TAB is pressed (docs/install.md). Where nothing is offered, shells offer files.

A matrix with a mistake offers nothing: what is wrong is told when the command is run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from harness.errors import HalpmcError


def matrices(incomplete: str) -> list[str]:
    """Names of the matrices that come with the project."""
    from harness.config.shipped import shipped_names

    return _beginning(shipped_names(), incomplete)


def cells(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of the cells of the matrix that is on the command line already."""
    from harness.runs.select import open_matrix

    # An option that still lacks its value keeps the parser from binding the words before it: they are in ctx.args.
    words = [ctx.params.get("matrix"), *(word for word in ctx.args if not word.startswith("-"))]
    given = next((word for word in words if word is not None), None)
    if given is None:
        return []
    try:
        return _beginning((cell.id for cell in open_matrix(Path(given)).cells), incomplete)
    except HalpmcError:
        return []


def guests(incomplete: str) -> list[str]:
    """Names of guests: the project's definitions, and those in the store."""
    from harness.config.load import guest_names

    return _beginning(guest_names(), incomplete)


def schemas(incomplete: str) -> list[str]:
    """Names of the public formats."""
    from harness.report.schemas import NAMES

    return _beginning(NAMES, incomplete)


def pages(incomplete: str) -> list[str]:
    """Pages of the documentation."""
    from harness.paths import documentation

    return _beginning(documentation(), incomplete)


def defects(incomplete: str) -> list[str]:
    """Defects of the reference HAL."""
    from harness.config.defects import DEFECTS

    return _beginning(("none", *DEFECTS), incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
