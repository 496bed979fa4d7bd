"""Groups of the `halpmc` command: each imports its parts when it is used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout stays the answer."""
    print(text, file=sys.stderr, flush=True)


def print_table(table: Table) -> None:
    """A table on stdout: within a terminal's width, and with a line for each row where grep or a log reads it."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(
            console.width, console.measure(table, options=console.options.update(width=9_999)).maximum
        )
    console.print(table)
