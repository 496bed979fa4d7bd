"""`halpmc docs`: the project's pages, which an installed wheel carries, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.commands import complete


def docs(
    page: Annotated[
        str | None,
        typer.Argument(help="a page, such as faults (default: list them)", autocompletion=complete.pages),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print names, titles and paths as JSON")] = False,
) -> None:
    """Read the documentation: lists the pages, or prints one. Messages name them as docs/NAME.md."""
    from rich.console import Console
    from rich.markdown import Markdown

    from harness.paths import documentation

    pages = documentation()
    if page is None or as_json:
        rows = [
            {"name": name, "title": _title(path), "path": str(path)}
            for name, path in _chosen(pages, page).items()
        ]
        print(
            json.dumps(rows, indent=2)
            if as_json
            else "\n".join(f"{row['name']:20} {row['title']}" for row in rows)
        )
        return
    ((_, path),) = _chosen(pages, page).items()
    text = path.read_text(encoding="utf-8")
    console = Console()
    if console.is_terminal:
        with console.pager(styles=True):
            console.print(Markdown(text))
    else:
        print(text, end="")


def _chosen(pages: dict[str, Path], page: str | None) -> dict[str, Path]:
    """All pages, or the one that is asked for: `faults`, `faults.md` and `docs/faults.md` are the same."""
    from harness.config.suggest import did_you_mean
    from harness.errors import UsageError

    if page is None:
        return pages
    name = Path(page).name.removesuffix(".md")
    if name not in pages:
        raise UsageError(f"there is no page {page!r}", remedy=did_you_mean(name, pages, plural="pages"))
    return {name: pages[name]}


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").rstrip()
