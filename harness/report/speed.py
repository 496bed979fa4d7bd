"""Whether something became slower: by many samples, never by one. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import median

from pydantic import BaseModel, ConfigDict

MIN_SAMPLES = 5
MAX_SAMPLES = 10
RATIO = 1.1
"""A median that grew by less is not worth anybody's time, however certain it is."""
FALSE_ALARMS = 0.05
"""The part of false alarms among all cells that are called slower (or faster)."""


class Speed(BaseModel):
    """A cell whose duration changed: medians in seconds, how many runs they are of, and how likely chance is.

    `p` is the one-sided probability of the Mann-Whitney U test, ties counted against the change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    old_median_s: float
    new_median_s: float
    ratio: float
    old_runs: int
    new_runs: int
    p: float


def slower(old: Mapping[str, Sequence[float]], new: Mapping[str, Sequence[float]]) -> tuple[Speed, ...]:
    """The cells that became slower, the worst first. Samples are durations in seconds, the latest first.

    A cell with fewer than MIN_SAMPLES on either side is not judged. Of the others those count whose median grew by
    RATIO, and which remain when the part of false alarms is held down (Benjamini and Hochberg): with hundreds of
    cells some look slower by chance.
    """
    tested = sorted(
        (_speed(cell, old[cell], new[cell]) for cell in enough(old, new)), key=lambda speed: speed.p
    )
    kept = 0
    for rank, speed in enumerate(tested, start=1):
        if speed.p <= FALSE_ALARMS * rank / len(tested):
            kept = rank
    return tuple(
        sorted((s for s in tested[:kept] if s.ratio >= RATIO), key=lambda speed: speed.ratio, reverse=True)
    )


def enough(old: Mapping[str, Sequence[float]], new: Mapping[str, Sequence[float]]) -> list[str]:
    """The cells with samples enough on both sides."""
    return [cell for cell in old if len(old[cell]) >= MIN_SAMPLES and len(new.get(cell, ())) >= MIN_SAMPLES]


def _speed(cell: str, old: Sequence[float], new: Sequence[float]) -> Speed:
    before, after = old[:MAX_SAMPLES], new[:MAX_SAMPLES]
    middle = median(before)
    return Speed(
        cell=cell,
        old_median_s=round(middle, 3),
        new_median_s=round(median(after), 3),
        ratio=round(median(after) / middle, 3) if middle > 0 else 1.0,
        old_runs=len(before),
        new_runs=len(after),
        p=greater(before, after),
    )


def greater(old: Sequence[float], new: Sequence[float]) -> float:
    """How likely chance alone makes `new` exceed `old` as often as it does, one-sided: Mann-Whitney, exact."""
    wins = sum(b > a for a in old for b in new)
    n, m = len(new), len(old)
    likely = sum(_ways(n, m, u) for u in range(wins, n * m + 1))
    return likely / math.comb(n + m, n)


@cache
def _ways(n: int, m: int, u: int) -> int:
    """Orders of n new and m old samples in which a new one exceeds an old one u times."""
    if u < 0 or u > n * m:
        return 0
    if n == 0 or m == 0:
        return 1
    return _ways(n - 1, m, u - m) + _ways(n, m - 1, u)
