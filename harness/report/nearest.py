"""The nearest good cell: what is different where the same thing works. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import ne

from pydantic import BaseModel, ConfigDict

from harness.contract.outcomes import Verdict

_BETTER = {Verdict.PHANTOM: Verdict.USABLE, Verdict.DEAD: Verdict.COUNTING}
"""What a cell of this verdict would have to be."""
_NOT_GOOD = frozenset({Verdict.BROKEN, Verdict.UNKNOWN})


class Nearest(BaseModel):
    """The closest good cell, and each axis that differs: its value here, and its value there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    differs: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Place:
    """A cell as seen from here: its axes, its verdict, and the clauses that are violated and that hold in it."""

    id: str
    axes: Mapping[str, str]
    verdict: Verdict
    failed: frozenset[str] = frozenset()
    passed: frozenset[str] = frozenset()


def nearest_good(places: Iterable[Place]) -> dict[str, Nearest]:
    """For each cell that is broken, phantom or dead the good cell with the fewest axes that differ, if there is one.

    Good is a cell in which nothing is violated and all clauses hold that are violated here; for a phantom cell one
    that is usable, for a dead one one that counts. Of equally close cells the first of the plan is taken.
    """
    everywhere = list(places)
    keys = list(dict.fromkeys(key for place in everywhere for key in place.axes))
    values = {place.id: tuple(place.axes.get(key, "") for key in keys) for place in everywhere}
    found: dict[str, Nearest] = {}
    for place in everywhere:
        here = values[place.id]
        good = [other for other in everywhere if _works(place, other)]
        if good:
            best = min(good, key=lambda other: sum(map(ne, here, values[other.id])))
            pairs = zip(keys, here, values[best.id], strict=True)
            found[place.id] = Nearest(cell=best.id, differs={key: (a, b) for key, a, b in pairs if a != b})
    return found


def _works(here: Place, there: Place) -> bool:
    """Whether something is wrong here that is right there."""
    if there.failed or there.verdict in _NOT_GOOD:
        return False
    if here.failed:
        return here.failed <= there.passed
    if here.verdict is Verdict.BROKEN:
        return True
    return there.verdict is _BETTER.get(here.verdict)
