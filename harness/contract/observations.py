"""What the judgements look at: plain observations of calls, races, counters and CPU identification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from harness.contract.status import STATUS_SUCCESS, format_status
from harness.probe.models import CounterChecks


@dataclass(frozen=True)
class Call:
    """One call of a routine. `handle` is the handle cell after an allocate, the handle given to a free.

    `written` says whether the routine changed the handle cell from its poison; `cpu` of `group` is where the call ran.
    """

    status: int
    handle: int = 0
    written: bool = False
    irql_before: int = 0
    irql_after: int = 0
    cpu: int = 0
    group: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether the routine returned STATUS_SUCCESS."""
        return self.status == STATUS_SUCCESS

    @property
    def answer(self) -> str:
        """The status with its name."""
        return format_status(self.status)

    @property
    def cell_text(self) -> str:
        """What became of the handle cell."""
        if not self.written:
            return "the handle cell was not written"
        return f"the handle cell holds {'NULL' if self.handle == 0 else f'0x{self.handle:x}'}"


class RaceEvent(IntEnum):
    """The events in the log of a race; the stamps of 0 and 3 are drawn before a call, the others after it."""

    ALLOCATING = 0
    ALLOCATED = 1
    REFUSED = 2
    FREEING = 3
    FREED = 4


RaceEntry = Sequence[int]
"""One entry of the log: sequence, thread, round, event, status."""


class CounterSeen(Protocol):
    """One counter as read in the guest: counting, dead or faulted, with what was checked of it."""

    @property
    def name(self) -> str: ...
    @property
    def event(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def checks(self) -> CounterChecks: ...


class Counted(Protocol):
    """The PMU as the driver found it in the guest on one CPU, and the counters as read while the grant was held.

    `interface` and `general`, the number of general counters, are in the words of the PMU probe.
    """

    @property
    def cpu(self) -> int: ...
    @property
    def group(self) -> int: ...
    @property
    def interface(self) -> str: ...
    @property
    def general(self) -> int: ...
    @property
    def counters(self) -> Sequence[CounterSeen]: ...


class OverflowOwner(Protocol):
    """Calls of the overflow handler for one allocation; `bits` are those of all calls together."""

    @property
    def handle(self) -> int: ...
    @property
    def calls(self) -> int: ...
    @property
    def bits(self) -> int: ...


class Grant(Protocol):
    """What the first plain request of a cell gave, and what the counters did while it was held."""

    @property
    def first(self) -> Call: ...
    @property
    def counted(self) -> Counted | None: ...


class CpuidLeaf(Protocol):
    """One leaf of CPUID as executed in the guest."""

    @property
    def leaf(self) -> int: ...
    @property
    def subleaf(self) -> int: ...
    @property
    def eax(self) -> int: ...
    @property
    def ebx(self) -> int: ...
    @property
    def ecx(self) -> int: ...
    @property
    def edx(self) -> int: ...
