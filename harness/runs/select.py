"""Which cells of a matrix a run is about: what the user chose, less what this host cannot run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.caching import Say
from harness.config.facts import facts_of, parse_choice
from harness.config.load import load_matrix
from harness.config.matrix import Matrix
from harness.config.models import Accel, Cell
from harness.config.requirements import ANY_HOST
from harness.config.shipped import find_matrix
from harness.config.suggest import did_you_mean
from harness.contract.clauses import CLAUSES, suite_for
from harness.errors import InfrastructureError, UsageError
from harness.paths import is_installed, shipped_matrices
from harness.probe.accelerator import choose_accelerator
from harness.runs.capabilities import read_capabilities, unmet
from harness.runs.changes import changes_since
from harness.runs.costs import Costs, fingerprint, partition
from harness.runs.needs import needs_of
from harness.runs.planned import SkippedCell


@dataclass(frozen=True)
class Choice:
    """What the user chose; every part narrows what the others leave.

    `cells` are ids, `keyword` and `expression` the language of harness/config/expression.py, `tags` any of which will
    do, `since` a revision, `shard` K/N.
    """

    cells: tuple[str, ...] = ()
    keyword: str = ""
    expression: str = ""
    tags: tuple[str, ...] = ()
    since: str = ""
    shard: str = ""

    def __str__(self) -> str:
        """The choice as options; empty when nothing was chosen."""
        parts = [f"--cell {name}" for name in self.cells]
        parts += [f"-k {self.keyword!r}"] if self.keyword else []
        parts += [f"--cells {self.expression!r}"] if self.expression else []
        parts += [f"--tag {name}" for name in self.tags]
        parts += [f"--since {self.since}"] if self.since else []
        return " ".join(parts + ([f"--shard {self.shard}"] if self.shard else []))


@dataclass(frozen=True)
class Shard:
    """Part `number` of `parts` of the chosen cells, and how all of them were chosen.

    `elsewhere` are the other parts' cells, each with the clauses to be judged in it.
    """

    number: int
    parts: int
    partition: str
    elsewhere: tuple[tuple[Cell, tuple[str, ...]], ...]
    words: str


@dataclass(frozen=True)
class Selection:
    """The cells that are to run, and those that cannot run here. `clauses` has the cells that only some are judged of.

    `words` say how the cells were chosen; empty when all of the matrix were. `shard` when they are one part of several.
    """

    cells: tuple[Cell, ...]
    skipped: tuple[SkippedCell, ...] = ()
    clauses: Mapping[str, tuple[str, ...]] | None = None
    words: str = ""
    shard: Shard | None = None

    def clauses_of(self, cell: Cell) -> tuple[str, ...]:
        """The clauses to be judged in a cell."""
        return suite_for(cell) if self.clauses is None else self.clauses[cell.id]

    def less(self, reasons: Mapping[str, str]) -> Selection:
        """The selection without the cells that have a reason, which are skipped with it."""
        return replace(
            self,
            cells=tuple(cell for cell in self.cells if cell.id not in reasons),
            skipped=tuple(
                SkippedCell(id=cell.id, config=cell.model_dump(mode="json"), reason=reasons[cell.id])
                for cell in self.cells
                if cell.id in reasons
            ),
        )


def open_matrix(path: Path) -> Matrix:
    """The matrix in a file, or the shipped one of that name; its known issues checked against the contract's clauses.

    Raises ConfigError, UsageError.
    """
    return load_matrix(find_matrix(path), clauses=CLAUSES)


def select(matrix: Matrix, choice: Choice, costs: Costs) -> Selection:
    """The chosen cells; nothing of the host is asked, so that every host with these costs chooses the same.

    Raises UsageError for an id, name or tag that is not there, and for a choice that no cell fits; ExpressionError.
    A choice by changes or by shard may well be empty.
    """
    cells = select_cells(matrix, choice.cells)
    cells = _by_expressions(matrix, cells, choice)
    clauses: dict[str, tuple[str, ...]] | None = None
    words = [matrix.strategy] if matrix.strategy else []
    if choice.since:
        changes = changes_since(choice.since, _place_of_work(matrix.path))
        clauses = {
            cell.id: found
            for cell in cells
            if (found := changes.clauses_for(facts_of(cell, matrix.traits_of(cell).tags), suite_for(cell)))
        }
        cells = tuple(cell for cell in cells if cell.id in clauses)
        files = len(changes.files)
        words.append(f"{files} changed file{'s' * (files != 1)} since {choice.since}")
    shard: Shard | None = None
    if choice.shard:
        whole = replace(choice, shard="")
        told = [f"{len(cells)} of {len(matrix.cells)} cells ({whole})"] if str(whole) else []
        shard, cells = _part(cells, clauses, choice.shard, costs, "; ".join(words + told))
        words.append(f"shard {shard.number} of {shard.parts} of the partition {shard.partition}")
    if str(choice):
        words.append(f"{len(cells)} of {len(matrix.cells)} cells ({choice})")
    return Selection(cells, (), clauses, "; ".join(words), shard)


def on_this_host(
    matrix: Matrix, selection: Selection, *, prove: bool = False, say: Say = lambda _: None
) -> Selection:
    """The selection less the cells whose requirements this host does not meet, which are skipped with the reason.

    With `prove` KVM is proved where a cell requires it, which boots the PMU probe once; else it counts as there while
    nothing speaks against it.
    """
    asked = {cell.id: matrix.traits_of(cell).requires for cell in selection.cells}
    needs = {need for cell in selection.cells for need in needs_of(cell)}
    if all(requires == ANY_HOST for requires in asked.values()) and not needs:
        return selection
    if prove:
        of_kvm = (
            cell for cell in selection.cells if cell.starve_pmu or asked[cell.id].kvm or asked[cell.id].vpmu
        )
        _prove(of_kvm, say)
    host = read_capabilities(
        (cell.guest for cell in selection.cells if cell.guest and asked[cell.id].guest), needs
    )
    found = ((cell.id, unmet(asked[cell.id], cell, host)) for cell in selection.cells)
    return selection.less({name: str(reason) for name, reason in found if reason})


def _place_of_work(matrix: Path) -> Path:
    """A path in the checkout whose changes count: the matrix's; of one that a wheel brought, the current folder's."""
    return Path("-") if is_installed() and matrix.is_relative_to(shipped_matrices()) else matrix


def select_cells(matrix: Matrix, wanted: Iterable[str]) -> tuple[Cell, ...]:
    """The cells with the ids in `wanted`, or all when it is empty. Raises UsageError for an id that is not there."""
    ids = list(wanted)
    known = {cell.id: cell for cell in matrix.cells}
    for cell_id in ids:
        if cell_id not in known:
            raise UsageError(f"{matrix.path} has no cell {cell_id!r}", remedy=_known_cells(cell_id, known))
    return tuple(known[i] for i in sorted(set(ids))) if ids else matrix.cells


def _known_cells(wanted: str, known: Collection[str], most: int = 30) -> str:
    if len(known) > most:
        near = did_you_mean(wanted, known)
        return near if near.startswith("did") else "halpmc plan lists its cells"
    return f"it has: {', '.join(sorted(known))}"


def _by_expressions(matrix: Matrix, cells: tuple[Cell, ...], choice: Choice) -> tuple[Cell, ...]:
    """The cells that fit the words, the expression and the tags. Raises UsageError when none does."""
    known_tags = {tag for cell in matrix.cells for tag in matrix.traits_of(cell).tags}
    for tag in choice.tags:
        if tag not in known_tags:
            raise UsageError(
                f"no cell of {matrix.path} has the tag {tag!r}",
                remedy=did_you_mean(tag, known_tags, plural="tags in it"),
            )
    tests = [parse_choice(text) for text in (choice.keyword, choice.expression) if text]
    if not tests and not choice.tags:
        return cells
    found = []
    for cell in cells:
        facts = facts_of(cell, matrix.traits_of(cell).tags)
        if all(test(facts) for test in tests) and (not choice.tags or set(choice.tags) & set(facts["tag"])):
            found.append(cell)
    if not found:
        raise UsageError(
            f"no cell of {matrix.path} fits {choice}",
            remedy="halpmc plan MATRIX lists the cells and their settings",
        )
    return tuple(found)


def _part(
    cells: tuple[Cell, ...],
    clauses: Mapping[str, tuple[str, ...]] | None,
    text: str,
    costs: Costs,
    words: str,
) -> tuple[Shard, tuple[Cell, ...]]:
    """The part of the cells that --shard names, and which cells these are. Raises UsageError."""
    number, parts = _shard(text)
    seconds = [(cell.id, costs.of(cell).seconds) for cell in cells]
    mine = set(partition(seconds, parts)[number - 1])
    elsewhere = tuple(
        (cell, suite_for(cell) if clauses is None else clauses[cell.id])
        for cell in cells
        if cell.id not in mine
    )
    shard = Shard(number, parts, fingerprint(seconds), elsewhere, words)
    return shard, tuple(cell for cell in cells if cell.id in mine)


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    number, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= parts:
        raise UsageError(f"--shard {text!r} is no shard", remedy="write K/N with K from 1 to N, such as 3/8")
    return number, parts


def _prove(cells: Iterable[Cell], say: Say) -> None:
    for arch, machine in sorted({(cell.arch, cell.machine) for cell in cells}):
        try:
            choose_accelerator(Accel.AUTO, arch, machine, say=say)
        except InfrastructureError:  # the cell meets the same, and records it
            continue
