"""What a run will do, decided before any VM starts: the first record, against which shortage is measured."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from harness import __version__
from harness.config.defects import DEFECTS
from harness.config.facts import facts_of, parse_choice
from harness.config.matrix import Matrix
from harness.config.models import Cell, Expect
from harness.config.requirements import Requirements
from harness.config.schema import KnownIssue
from harness.contract.clauses import suite_for
from harness.errors import UsageError
from harness.host.tools import host_facts
from harness.runs.costs import Costs
from harness.runs.executor import CellJob, longest_first
from harness.runs.planned import ExcludedCell, PlannedCell, PlannedIssue, PlannedShard, SkippedCell
from harness.runs.record import RunRecord
from harness.runs.select import Shard

#: Random sequences in a cell that runs the whole suite, and in one that runs a part of it to be quick.
SEQUENCES, FEW_SEQUENCES = 100, 10
#: In each cell of a nightly run, from a seed of that night.
NIGHTLY_SEQUENCES = 1000


def plan_run(
    matrix: Matrix,
    cells: Iterable[Cell],
    chosen: Mapping[str, Collection[str]] | None = None,
    *,
    skipped: Iterable[SkippedCell] = (),
    selection: str = "",
    shard: Shard | None = None,
) -> RunRecord:
    """The first record of a run of these cells of the matrix.

    `chosen` maps the id of each cell that is run to the clauses that are judged there, when the tests were chosen.
    """
    planned = tuple((cell, _clauses(cell, chosen)) for cell in cells if chosen is None or chosen.get(cell.id))
    elsewhere = shard.elsewhere if shard else ()
    return RunRecord(
        name=matrix.name,
        matrix=str(matrix.path),
        matrix_sha256=matrix.sha256,
        expect=matrix.expect,
        cells=tuple(_planned_cell(matrix, cell, clauses) for cell, clauses in planned),
        skipped=tuple(skipped),
        selection=selection,
        shard=PlannedShard(
            number=shard.number,
            parts=shard.parts,
            partition=shard.partition,
            elsewhere=tuple(_planned_cell(matrix, cell, clauses) for cell, clauses in elsewhere),
            selection=shard.words,
        )
        if shard
        else None,
        known_issues=tuple(_issue(matrix, issue, (*planned, *elsewhere)) for issue in matrix.known_issues),
        partial=any(clauses != suite_for(cell) for cell, clauses in planned),
        excluded=tuple(ExcludedCell(id=cell_id, reason=reason) for cell_id, reason in matrix.excluded),
        host=host_facts(),
        versions={"halpmc": __version__},
    )


def _planned_cell(matrix: Matrix, cell: Cell, clauses: tuple[str, ...]) -> PlannedCell:
    traits = matrix.traits_of(cell)
    return PlannedCell(
        id=cell.id,
        config=cell.model_dump(mode="json"),
        clauses=clauses,
        tags=traits.tags,
        requires=traits.requires.model_dump(mode="json", exclude_none=True),
        promised=_promised(cell) if matrix.expect is Expect.KILLED else (),
    )


def _issue(
    matrix: Matrix, issue: KnownIssue, planned: Iterable[tuple[Cell, tuple[str, ...]]]
) -> PlannedIssue:
    """A known issue with the planned cells that it is about, those of other shards among them."""
    choice = parse_choice(issue.cells) if issue.cells else None
    return PlannedIssue(
        id=issue.id,
        reason=issue.reason,
        cells=tuple(
            cell.id
            for cell, _ in planned
            if choice is None or choice(facts_of(cell, matrix.traits_of(cell).tags))
        ),
        clauses=issue.clauses,
        until=issue.until,
    )


def _promised(cell: Cell) -> tuple[str, ...]:
    """The clauses that promise against the cell's defect."""
    return DEFECTS[cell.hal.defect].promises if cell.hal.defect is not None else ()


def _clauses(cell: Cell, chosen: Mapping[str, Collection[str]] | None) -> tuple[str, ...]:
    """The clauses to be recorded for a cell, in the order of the suite."""
    return tuple(clause for clause in suite_for(cell) if chosen is None or clause in chosen[cell.id])


def jobs_of(plan: RunRecord, costs: Costs) -> list[CellJob]:
    """The jobs of a plan, the most expensive first."""
    jobs = []
    for planned in plan.cells:
        cell = Cell.model_validate(planned.config)
        clauses = () if planned.clauses == suite_for(cell) else planned.clauses
        requires = Requirements.model_validate(planned.requires)
        jobs.append(CellJob(cell, clauses, costs.of(cell).seconds, requires))
    return longest_first(jobs)


@dataclass(frozen=True)
class SearchPlan:
    """How many different sequences, and the seed that they are drawn from."""

    sequences: int
    seed: int

    @classmethod
    def of(
        cls, cell_id: str, sequences: str | None, seed_text: str | None, *, whole: bool = True
    ) -> SearchPlan:
        """The plan for a cell from what the user set; by default a seed of the cell's own, the same each time.

        `whole`: the cell runs the whole suite, and gets more of them unless the user says how many. Raises UsageError
        for what is no number.
        """
        default = SEQUENCES if whole else FEW_SEQUENCES
        seed_value = zlib.crc32(cell_id.encode()) if seed_text is None else _whole("seed", seed_text, 0)
        return cls(default if sequences is None else _whole("sequences", sequences, 1), seed_value)


def _whole(name: str, text: str, least: int) -> int:
    if text.isascii() and text.isdecimal() and least <= int(text) < 1 << 32:
        return int(text)
    raise UsageError(f"{name} {text!r} is no number", remedy=f"use a whole number from {least} on")
