"""Fewer cells than all combinations, chosen so that the same seed always gives the same ones, on every machine."""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

Combination = Mapping[str, Any]
"""The value of each axis."""


def rank(seed: int, name: str) -> bytes:
    """A place in an order that looks random: the same everywhere, and not moved by what else is in the list."""
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def sample(ids: Sequence[str], count: int, seed: int) -> set[str]:
    """`count` of the ids, or all. A new id pushes out at most one of those chosen before."""
    return set(heapq.nsmallest(count, ids, key=lambda name: rank(seed, name)))


def pairwise(combinations: Mapping[str, Combination], seed: int) -> set[str]:
    """Ids of few combinations in which every pair of values meets that meets in any of `combinations`.

    Greedy: the next one is always the one with the most new pairs. What a combination adds only ever shrinks, so
    that a stale figure on the heap is an upper bound, and few have to be counted again.
    """
    pairs = {name: _pairs(settings) for name, settings in combinations.items()}
    missing = set(itertools.chain.from_iterable(pairs.values()))
    heap = [(-len(found), rank(seed, name), name) for name, found in pairs.items()]
    heapq.heapify(heap)
    chosen: set[str] = set()
    while missing:
        _, place, name = heapq.heappop(heap)
        new = len(pairs[name] & missing)
        if heap and -new > heap[0][0]:
            heapq.heappush(heap, (-new, place, name))
            continue
        chosen.add(name)
        missing -= pairs[name]
    return chosen


def _pairs(settings: Combination) -> frozenset[object]:
    """All pairs of axes with their values; of a single axis, its value."""
    values = [(key, str(value)) for key, value in settings.items()]
    return frozenset(itertools.combinations(values, 2) if len(values) > 1 else values)
