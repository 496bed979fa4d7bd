"""How soon jobs can be done on so many slots: the bound that no schedule beats, and what longest-first gives."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence


def lower_bound(seconds: Sequence[float], slots: int) -> float:
    """No schedule ends sooner: the slots share all the work, and the longest job is not divided."""
    return max(sum(seconds) / slots, max(seconds, default=0.0))


def makespan(seconds: Iterable[float], slots: int) -> float:
    """When the last job ends, if each starts as soon as a slot is free, in the order given."""
    ends = [0.0] * slots
    for duration in seconds:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)
