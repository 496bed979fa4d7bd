"""A HAL that owns the counters as one: exclusive, refusing, or not there at all."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.driver.emulator.machine import Machine

SUCCESS = 0
INVALID_PARAMETER = 0xC000000D
INSUFFICIENT_RESOURCES = 0xC000009A
NOT_SUPPORTED = 0xC00000BB


@dataclass(frozen=True)
class Allocation:
    """The arguments of one call, as the HAL saw them."""

    affinity: bytes | None
    group_count: int
    resources: bytes | None
    irql: int
    null_cell: bool = False


@dataclass
class Hal:
    """`answer` other than SUCCESS refuses every request; `free_answer` refuses every free.

    A NULL pointer for the handle is an invalid parameter.
    """

    present: bool = True
    answer: int = SUCCESS
    free_answer: int = SUCCESS
    exclusive: bool = True
    held: set[int] = field(default_factory=set)
    allocations: list[Allocation] = field(default_factory=list)
    frees: list[int] = field(default_factory=list)
    free_irqls: list[int] = field(default_factory=list)
    most_held: int = 0
    _next: int = 0xFFFF8000_00001000

    def allocate(self, machine: Machine) -> int:
        """HalAllocateHardwareCounters."""
        affinity, count, resources, cell = (machine.argument(i) for i in range(4))
        count &= 0xFFFFFFFF
        self.allocations.append(
            Allocation(
                machine.read(affinity, 16 * count) if affinity else None,
                count,
                self._read_list(machine, resources) if resources else None,
                machine.irql,
                cell == 0,
            )
        )
        if cell == 0:
            return INVALID_PARAMETER
        answer = self.answer
        if answer == SUCCESS and self.exclusive and self.held:
            answer = INSUFFICIENT_RESOURCES
        handle = 0
        if answer == SUCCESS:
            handle = self._next
            self._next += 0x40
            self.held.add(handle)
            self.most_held = max(self.most_held, len(self.held))
        machine.write_int(cell, handle)
        return answer

    @staticmethod
    def _read_list(machine: Machine, at: int) -> bytes:
        """As the shared generation reads it: everything that the count claims has to be there."""
        return machine.read(at, 8 + 24 * machine.read_int(at, 4))

    def free(self, machine: Machine) -> int:
        """HalFreeHardwareCounters."""
        handle = machine.argument(0)
        self.frees.append(handle)
        self.free_irqls.append(machine.irql)
        if self.free_answer != SUCCESS:
            return self.free_answer
        if handle not in self.held:
            return INVALID_PARAMETER
        self.held.remove(handle)
        return SUCCESS
