"""Processors in their groups: where a call ran, against where it was sent.

A processor has an index over all groups (KeGetProcessorNumberFromIndex), and a number within its group. With one group
both are the same. With several nobody documents which index is whose, so there each index has to lead to a processor of
its own that is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from harness.errors import DriverError


class RanOn(Protocol):
    """Where something ran: a group, and the number within it."""

    @property
    def cpu(self) -> int: ...
    @property
    def group(self) -> int: ...


def check_places(what: str, seen: Mapping[int, RanOn], group_cpus: Sequence[int] = ()) -> None:
    """Raise DriverError when something did not run on the processor that it was sent to, by its index.

    `what` is what the test driver was to do: "call". `group_cpus` has the CPUs of each group.
    """
    places: dict[tuple[int, int], int] = {}
    for index, ran in seen.items():
        place = ran.group, ran.cpu
        if len(group_cpus) < 2:
            wrong = place != (0, index)
        else:
            wrong = ran.group >= len(group_cpus) or ran.cpu >= group_cpus[ran.group] or place in places
        if wrong:
            where = f"CPU {ran.cpu}" + (f" of group {ran.group}" if ran.group or len(group_cpus) > 1 else "")
            also = f", as for CPU {places[place]}" if place in places else ""
            raise DriverError(
                f"the test driver was told to {what} on CPU {index} and {what}ed on {where}{also}"
            )
        places[place] = index


def entry(mask: int, group: int = 0) -> dict[str, Any]:
    """A GROUP_AFFINITY of the protocol: these processors of this group."""
    return {"mask": mask, "group": group, "reserved": [0, 0, 0]}


def every_processor(group_cpus: Sequence[int]) -> list[tuple[int, int]]:
    """All processors as (group, number)."""
    return [(group, number) for group, cpus in enumerate(group_cpus) for number in range(cpus)]


def whole_machine(group_cpus: Sequence[int]) -> list[dict[str, Any]]:
    """An array of affinities with all processors of all groups, an entry for each group."""
    return [entry((1 << cpus) - 1, group) for group, cpus in enumerate(group_cpus)]
