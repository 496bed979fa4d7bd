"""A judgement: what became of a clause, why, and on which sentence that rests."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contract.clauses import clause
from harness.contract.outcomes import Outcome


@dataclass(frozen=True)
class Judgement:
    """`reason` says in a line what was expected and what was seen; `because` names sentences and facts."""

    outcome: Outcome
    reason: str
    because: tuple[str, ...] = ()


def passed(reason: str) -> Judgement:
    """An asserted clause holds."""
    return Judgement(Outcome.PASS, reason)


def failed(clause_id: str, reason: str, *facts: str) -> Judgement:
    """An asserted clause does not hold: because of its own sentence and source, and of further facts."""
    broken = clause(clause_id)
    return Judgement(Outcome.FAIL, reason, (f"{broken.title.rstrip('.')} ({broken.source})", *facts))


def recorded(reason: str) -> Judgement:
    """An observation that the documentation is silent about."""
    return Judgement(Outcome.RECORDED, reason)


def skipped(reason: str) -> Judgement:
    """A clause that cannot apply here."""
    return Judgement(Outcome.SKIPPED, reason)


def combine(*judgements: Judgement) -> Judgement:
    """Several judgements of one clause as one: a failure counts before a pass, a pass before a skip."""
    for outcome in (Outcome.FAIL, Outcome.ERROR, Outcome.PASS, Outcome.RECORDED, Outcome.SKIPPED):
        chosen = [judgement for judgement in judgements if judgement.outcome is outcome]
        if chosen:
            reasons = dict.fromkeys(judgement.reason for judgement in chosen)
            because = dict.fromkeys(text for judgement in chosen for text in judgement.because)
            return Judgement(outcome, "; ".join(reasons), tuple(because))
    raise ValueError("nothing to combine")
