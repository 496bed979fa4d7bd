"""Traceability: every clause with its source, the tests that judged it, and what came of it in this run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from harness.config.models import Generation
from harness.contract.clauses import CLAUSES, JudgementKind
from harness.contract.outcomes import WORST_FIRST, Outcome, worst_outcome
from harness.report.loading import CellView


class TracedTest(BaseModel):
    """A test of a clause, and in how many cells it had which outcome."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    test: str
    outcomes: dict[Outcome, int]


class TracedClause(BaseModel):
    """A clause of the catalogue, or one that only the records know. `result` is null where no test judged it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    clause: str
    title: str
    source: str
    judgement: JudgementKind | None
    generations: tuple[Generation, ...]
    tests: tuple[TracedTest, ...]
    result: Outcome | None


def trace(cells: Iterable[CellView]) -> tuple[TracedClause, ...]:
    """All clauses in the order of the catalogue, unknown ones behind."""
    tests: dict[str, dict[str, Counter[Outcome]]] = {name: {} for name in CLAUSES}
    for cell in cells:
        for clause, records in cell.clauses.items():
            for record in records:
                tests.setdefault(clause, {}).setdefault(record.test, Counter())[record.outcome] += 1
    return tuple(_trace(clause, found) for clause, found in tests.items())


def _trace(name: str, tests: dict[str, Counter[Outcome]]) -> TracedClause:
    known = CLAUSES.get(name)
    outcomes = [outcome for counts in tests.values() for outcome in counts]
    return TracedClause(
        clause=name,
        title=known.title if known else "",
        source=known.source if known else "",
        judgement=known.judgement if known else None,
        generations=tuple(sorted(known.generations)) if known else (),
        tests=tuple(
            TracedTest(
                test=test, outcomes={outcome: counts[outcome] for outcome in WORST_FIRST if counts[outcome]}
            )
            for test, counts in tests.items()
        ),
        result=worst_outcome(outcomes) if outcomes else None,
    )
