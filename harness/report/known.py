"""Known issues against what was seen: what they excuse, and which of them are none any more.

A known failure stays a failure in the records and in every report; it only does not turn the run red. An issue whose
time is over excuses nothing, and one whose clause holds is a mistake in the matrix: both are red.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from pydantic import BaseModel, ConfigDict

from harness.config.known import expired
from harness.contract.outcomes import Outcome
from harness.report.text import count
from harness.runs.planned import PlannedIssue

MAX_NAMED = 4


class KnownIssueSummary(BaseModel):
    """A known issue, and what became of it: the results (`cell clause`) that it excuses; why it is red, if it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    reason: str
    until: str
    excused: tuple[str, ...]
    problem: str


@dataclass(frozen=True)
class Known:
    """What the known issues of a run say about it: the issue that excuses each failed clause of each cell."""

    issues: tuple[KnownIssueSummary, ...]
    excused: Mapping[str, Mapping[str, str]]


def weigh(
    issues: Sequence[PlannedIssue],
    outcomes: Mapping[str, Mapping[str, Outcome]],
    builds: Mapping[str, int | None],
    today: date,
) -> Known:
    """Known issues against the outcomes of each cell's clauses, with the build of each cell's guest."""
    excused: dict[str, dict[str, str]] = {}
    found = []
    for issue in issues:
        over: dict[str, list[str]] = {}
        holding, excuses = [], []
        for cell in issue.cells:
            reason = expired(issue.until, today, builds.get(cell))
            if reason:
                over.setdefault(reason, []).append(cell)
                continue
            for clause, outcome in outcomes.get(cell, {}).items():
                if issue.clauses and clause not in issue.clauses:
                    continue
                if outcome is Outcome.FAIL:
                    excused.setdefault(cell, {}).setdefault(clause, issue.id)
                    excuses.append(f"{cell} {clause}")
                elif (
                    outcome is Outcome.PASS and issue.clauses
                ):  # without clauses it never said which of them fail
                    holding.append(f"{clause} in {cell}")
        # In a part of its cells, such as a shard's, nobody can say that it failed in none.
        if (
            not issue.clauses
            and not excuses
            and not over
            and issue.cells
            and set(issue.cells) <= set(outcomes)
        ):
            judged = [cell for cell in issue.cells if Outcome.PASS in outcomes.get(cell, {}).values()]
            holding += [f"every clause in {cell}" for cell in judged]
        problems = [f"expired: {reason} ({_named(cells)})" for reason, cells in over.items()]
        problems += [f"unexpectedly holds: {_named(holding)}"] if holding else []
        found.append(
            KnownIssueSummary(
                id=issue.id,
                reason=issue.reason,
                until=issue.until,
                excused=tuple(excuses),
                problem="; ".join(problems),
            )
        )
    return Known(tuple(found), excused)


def build_of(provenance: Mapping[str, str]) -> int | None:
    """The build of a cell's guest as it was recorded; None when it was not."""
    text = provenance.get("guest_build", "")
    return int(text) if text.isdecimal() else None


def _named(things: Sequence[str]) -> str:
    more = f" and {count(len(things) - MAX_NAMED, 'other')}" if len(things) > MAX_NAMED else ""
    return ", ".join(things[:MAX_NAMED]) + more
