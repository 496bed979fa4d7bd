"""docs/troubleshooting.md: every message of an error that harness/ raises is on it, and no other message."""

from __future__ import annotations

import re

from harness.paths import project_root
from tests.documents.raised import FAMILIES, Raised, raised, texts

PAGE = (project_root() / "docs" / "troubleshooting.md").read_text()
#: These classes make their message themselves; how it looks is on the page.
MADE = {"ToolMissing": "… is not installed", "DeadlineExceeded": "…: no answer within … s…"}
CODE = re.compile(r"``(.+?)``(?!`)|(?<!`)`([^`]+)`(?!`)")


def rows(heading: str) -> list[list[str]]:
    """The rows of all tables that begin with this heading."""
    found: list[list[str]] = []
    inside = False
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if cells and cells[0].strip("| ") == heading:
            inside = True
        elif not cells:
            inside = False
        elif inside and not line.startswith("|--"):
            found.append(cells)
    return found


def code(cell: str) -> list[str]:
    return [double or single for double, single in CODE.findall(cell)]


QUOTED = [text for row in rows("what is said") for text in code(row[0])]
QUOTED += [text for row in rows("said by") for text in code(row[1])]


def has_words(message: str) -> bool:
    """Whether there is anything but gaps in it."""
    return re.search(r"[a-z]{2}", message.replace("of", "")) is not None


def expected() -> list[Raised]:
    return [one for one in raised() if one.family not in MADE and has_words(one.message)]


def test_every_message_that_is_raised_is_on_the_page() -> None:
    assert len(expected()) > 250
    missing = [f"{one.place}: {one.message}" for one in expected() if one.message not in QUOTED]
    assert missing == []


def test_every_message_on_the_page_is_raised() -> None:
    assert len(QUOTED) == len(set(QUOTED)), sorted(text for text in set(QUOTED) if QUOTED.count(text) > 1)
    known = texts() | set(MADE.values())
    assert [text for text in QUOTED if text not in known] == []


def test_every_row_says_what_it_means() -> None:
    assert len(rows("what is said")) > 90
    for row in rows("what is said"):
        assert len(row) == 2, row
        assert code(row[0]) and len(row[1]) > 8, row


def test_every_class_of_the_error_tree_has_its_exit_code() -> None:
    table = {
        name: (int(row[0]), row[1]) for row in rows("exit code") if row[0] != "130" for name in code(row[-1])
    }
    table["HalpmcError"] = (3, "infrastructure")
    assert table == {name: (family.exit_code, family.branch) for name, family in FAMILIES.items()}
