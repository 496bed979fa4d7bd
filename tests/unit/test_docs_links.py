"""README.md and docs/: links and anchors lead somewhere, every page is reached, lines fit, named files exist."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from harness.paths import project_root
from tests.documents.commands import blocks, page_name, pages, spans

#: Columns that a line of prose or code may have; rows of tables cannot be broken.
WIDTH = 160
LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
OTHERS = [
    project_root() / "guest_driver" / "PROTOCOL.md",
    project_root() / "guest_driver" / "wdk" / "README.md",
]
PAGES = [*pages(), *OTHERS]
#: Where the project's files are; and a name that stands for a contributor's own.
EXAMPLE = "docs/compat/26100-x86_64/kvm-intel/"
FOLDERS = ("harness", "tests", "ci", "docs", "images", "guest_driver", "baselines")


def prose(page: Path) -> str:
    """The page without its blocks of code and without what stands between backticks."""
    text = "\n".join(line.text for line in blocks(page.read_text())[1])
    return re.sub(r"`[^`]*`", "", text)


def links(page: Path) -> list[str]:
    return LINK.findall("\n".join(line.text for line in blocks(page.read_text())[1]))


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    found: set[str] = set()
    for line in blocks(page.read_text())[1]:
        if heading := re.match(r"#+ +(.*)", line.text):
            text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
            kept = "".join(
                char for char in text if char in " -_" or unicodedata.category(char)[0] in ("L", "N")
            )
            slug = kept.replace(" ", "-")
            numbered = (slug, *(f"{slug}-{number}" for number in range(1, 99)))
            found.add(next(name for name in numbered if name not in found))
    return found


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for link in links(page):
        assert "://" not in link, f"{link}: pages speak of the project alone"
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    todo, seen = [project_root() / "README.md"], set()
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        todo += [
            (page.parent / link.partition("#")[0]).resolve() for link in links(page) if link.partition("#")[0]
        ]
    assert sorted(page_name(page) for page in set(PAGES) - seen) == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_lines_fit(page: Path) -> None:
    wide = [
        f"{number}: {len(line)}"
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if len(line) > WIDTH and not line.startswith("|")
    ]
    assert wide == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_tables_have_as_many_cells_in_every_row(page: Path) -> None:
    ragged = []
    columns = 0
    for line in blocks(page.read_text())[1]:
        cells = len(re.split(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", line.text))) - 2
        if not line.text.startswith("|"):
            columns = 0
        elif columns and cells != columns:
            ragged.append(f"{line.number}: {cells} cells for {columns} columns")
        else:
            columns = cells
    assert ragged == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    missing = []
    for number, text in spans(blocks(page.read_text())[1]):
        name = text.partition("::")[0]
        if name == EXAMPLE or not re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]+", name):
            continue
        if not any((root / name).exists() for root in (project_root(), page.parent)):
            missing.append(f"{number}: {text}")
    assert missing == []


def test_a_dead_link_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One & two\n\n## One & two\n\nA [link](gone.md), [two](#one--two-1).\n\n    [no](link.md)\n"
    )
    assert links(page) == ["gone.md", "#one--two-1"]
    assert anchors(page) == {"one--two", "one--two-1"}
