"""A hook of MkDocs (mkdocs.yml): the checkout's pages as a site, without a change to them.

The pages are written for GitHub and `halpmc docs`: README.md is the first of them, and they link to files beside docs/.
In the site README.md is the home page, a file that a page outside docs/ or inside it links to is copied, at its path in
the checkout, and the link leads to the copy. A folder has no copy: of such a link the text stays.
A link to what is not there is left as it is, for `mkdocs build --strict` to refuse.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
HOME = ROOT / "README.md"

#: A link of Markdown: its text, its target and the target's anchor.
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs with the files of docs/: adds README.md, and what the pages link to outside docs/."""
    todo, seen = [HOME, *sorted(DOCS.rglob("*.md"))], set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        if not path.is_relative_to(DOCS):
            files.append(File.generated(config, place(path), abs_src_path=str(path)))
        if path.suffix == ".md":
            found = (linked(path, match[2]) for match in LINK.finditer(path.read_text(encoding="utf-8")))
            todo += [target for target in found if target is not None and target.is_file()]
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Called by MkDocs with a page's text: its links lead to the same files where the site has them."""
    source = Path(page.file.abs_src_path)

    def moved(match: re.Match[str]) -> str:
        target = linked(source, match[2])
        if target is None:
            return match[0]
        if target.is_dir():
            return match[1]
        there = os.path.relpath(place(target), Path(place(source)).parent)
        return f"[{match[1]}]({there}{match[3] or ''})"

    return LINK.sub(moved, markdown)


def linked(page: Path, link: str) -> Path | None:
    """The file or folder of the checkout that a link of a page leads to; None when there is none."""
    target = (page.parent / unquote(link)).resolve()
    return target if target.is_relative_to(ROOT) and target.exists() else None


def place(path: Path) -> str:
    """Where the site has a file of the checkout, as if below docs/."""
    if path == HOME:
        return "index.md"
    return path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT).as_posix()
