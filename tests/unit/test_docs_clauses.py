"""docs/clauses.md: its table is the catalogue, with every source; its parts of the suite are those of the code."""

from __future__ import annotations

import re

from harness.config.models import Generation, SuitePart
from harness.contract.clauses import CLAUSES, Clause
from harness.paths import project_root

PAGE = (project_root() / "docs" / "clauses.md").read_text()


def row(clause: Clause) -> str:
    both = clause.generations == frozenset(Generation)
    generations = "both" if both else ", ".join(sorted(clause.generations))
    return f"| {clause.id} | {clause.title} | {clause.judgement} | {generations} | {clause.source} |"


def test_its_table_is_the_catalogue() -> None:
    begin = PAGE.index("| clause | what it says |")
    table = PAGE[begin:].split("\n\n")[0].splitlines()[2:]
    assert table == [row(clause) for clause in CLAUSES.values()]


def test_its_parts_are_those_of_the_suite() -> None:
    for part in (SuitePart.CRASH, SuitePart.LIFETIME):
        named = re.search(rf"\| `{part}` \| ([^|]*) \|", PAGE)
        assert named is not None
        assert named[1].split(", ") == [name for name, clause in CLAUSES.items() if clause.part is part]
