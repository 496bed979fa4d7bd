"""The words of a result: the outcome of a clause in a cell, and the verdict of a cell."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Outcome(StrEnum):
    """What became of one clause in one cell."""

    PASS = "pass"  # noqa: S105 - an asserted clause holds
    FAIL = "fail"  # an asserted clause does not hold
    RECORDED = "recorded"  # the text is silent: the observation is kept, nothing is judged
    SKIPPED = "skipped"  # could not apply here; the reason is always given
    ERROR = "error"  # infrastructure or guest fault: neither pass nor fail


WORST_FIRST = (Outcome.FAIL, Outcome.ERROR, Outcome.PASS, Outcome.RECORDED, Outcome.SKIPPED)
"""Of several tests of a clause the first of these counts: judging says more than having been skipped."""


def worst_outcome(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome that counts for a clause that several tests judged; there is at least one."""
    return min(outcomes, key=WORST_FIRST.index)


class Verdict(StrEnum):
    """What a configuration is good for. The return code alone never decides that a vPMU is there."""

    USABLE = "usable"  # granted, and counters count
    PHANTOM = "phantom"  # granted, and nothing counts
    REFUSED = "refused"  # never granted, with a documented error
    ABSENT = "absent"  # routines not exported (or, probe only: no PMU)
    BROKEN = "broken"  # an asserted clause failed
    UNKNOWN = "unknown"  # could not be run; the reason is given
    COUNTING = "counting"  # probe-only cell: the PMU counts
    DEAD = "dead"  # probe-only cell: advertised, but nothing counts
