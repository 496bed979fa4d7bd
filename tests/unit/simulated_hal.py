"""Systems that never were, as far as the contract shows them: sound ones of many kinds, and broken ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.config.models import Generation
from harness.contract.model import POISON, ContractModel, Denied, Seen, TraceLine, trace_sequence
from harness.contract.observations import Call
from harness.contract.sequence import PLAIN, Allocate, Caller, Free, Kill, Reopen, Request, Start, Step
from harness.contract.status import (
    STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER,
    STATUS_NOT_SUPPORTED,
    STATUS_SUCCESS,
)

ALL = frozenset(range(100))
CPUS = 2


@dataclass(frozen=True)
class Kind:
    """What a system does where the documentation is silent, and one defect or none."""

    generation: Generation = Generation.SHARED
    grants_plain: bool = True
    grants_lists: bool = True
    shares: bool = True  # disjoint counters or processors, with others
    reuses_handles: bool = False
    frees_for_others: bool = True
    grants_malformed: bool = False
    writes_on_other_errors: bool = True
    counters: int = 4
    defect: str = ""

    def __str__(self) -> str:
        usual = Kind()
        return ",".join(f"{n}={v}" for n, v in vars(self).items() if v != getattr(usual, n)) or "usual"


@dataclass
class System:
    """The routines of such a system under two drivers, one of which two processes use."""

    kind: Kind
    held: dict[int, tuple[Caller, frozenset[int], int]] = field(default_factory=dict)
    ever: list[int] = field(default_factory=list)
    frees: int = 0
    allocates: int = 0

    def allocate(self, caller: Caller, request: Request) -> Call:
        self.allocates += 1
        status, handle = self._allocate(caller, request)
        writes = status == STATUS_INSUFFICIENT_RESOURCES or self.kind.writes_on_other_errors
        if self.kind.defect == "null-not-written" and status == STATUS_INSUFFICIENT_RESOURCES:
            writes = False
        if status == STATUS_SUCCESS:
            return Call(status, 0 if self.kind.defect == "null-with-success" else handle, True)
        return Call(status, 0, True) if writes else Call(status, POISON, False)

    def _allocate(self, caller: Caller, request: Request) -> tuple[int, int]:
        counters, cpus, _ = self._claim(request)
        refusal = self._refusal(caller, request)
        if refusal != STATUS_SUCCESS:
            return refusal, 0
        handle = 0x1000 if not self.ever else max(self.ever) + 0x100
        if self.kind.reuses_handles:
            handle = next(h for h in range(0x1000, 0x9000, 0x100) if h not in self.held)
        self.held[handle] = (caller, counters, cpus)
        self.ever.append(handle)
        return STATUS_SUCCESS, handle

    def _refusal(self, caller: Caller, request: Request) -> int:  # noqa: PLR0911 - one for each reason
        kind = self.kind
        if kind.defect == "late-failure" and self.allocates > 40:
            return STATUS_INSUFFICIENT_RESOURCES
        if kind.generation is Generation.EXCLUSIVE and not request.plain and kind.defect != "mixed-up":
            return STATUS_INVALID_PARAMETER
        if any(item.extended for item in request.counters or ()) and kind.defect != "extended-accepted":
            return STATUS_NOT_SUPPORTED
        counters, cpus, valid = self._claim(request)
        if not valid and not kind.grants_malformed:
            return STATUS_INVALID_PARAMETER
        if not request.plain and not kind.grants_lists:
            return STATUS_NOT_SUPPORTED
        if not kind.grants_plain and request.plain:
            return STATUS_INSUFFICIENT_RESOURCES
        if any(self._in_the_way(caller, counters, cpus, item) for item in self.held.values()):
            return (
                STATUS_INVALID_PARAMETER if kind.defect == "wrong-status" else STATUS_INSUFFICIENT_RESOURCES
            )
        return STATUS_SUCCESS

    def _claim(self, request: Request) -> tuple[frozenset[int], int, bool]:
        cpus = (1 << CPUS) - 1 if request.cpus is None else request.cpus
        if request.counters is None:
            return ALL, cpus, 0 < cpus < 1 << CPUS
        named = [index for item in request.counters for index in item.indexes]
        valid = len(set(named)) == len(named) > 0 and all(item.indexes for item in request.counters)
        in_reach = self.kind.grants_malformed or all(index < self.kind.counters for index in named)
        return frozenset(named), cpus, valid and in_reach and 0 < cpus < 1 << CPUS

    def _in_the_way(
        self, caller: Caller, counters: frozenset[int], cpus: int, item: tuple[Caller, frozenset[int], int]
    ) -> bool:
        owner, held, on = item
        defect = self.kind.defect
        if defect == "double-grant" or (
            defect == "per-driver" and owner.second_driver != caller.second_driver
        ):
            return False
        whole = ALL in (held, counters)
        if defect == "part-with-whole" and (held == ALL) != (counters == ALL):
            return False
        overlap = bool(held & counters) and bool(on & cpus)
        if defect == "first-counter-only" and not whole:
            overlap = min(held, default=-1) == min(counters, default=-2) and bool(on & cpus)
        return overlap or not self.kind.shares

    def free(self, caller: Caller, handle: int, *, elsewhere: bool) -> Call:
        self.frees += 1
        defect = self.kind.defect
        if handle in self.held and elsewhere and not self.kind.frees_for_others:
            return Call(STATUS_INVALID_PARAMETER, handle)
        if defect == "stale-frees-another" and handle not in self.held and handle in self.ever and self.held:
            self.held.popitem()
            return Call(STATUS_INVALID_PARAMETER, handle)
        accepted = defect == "double-free-accepted" and handle in self.ever
        if handle in self.held or accepted or (defect == "null-accepted" and handle == 0):
            if not (defect == "free-leaks" and self.frees % 3 == 0):
                self.held.pop(handle, None)
            return Call(STATUS_SUCCESS, handle)
        return Call(STATUS_INVALID_PARAMETER, handle)

    def close(self, caller: Caller) -> None:
        if self.kind.defect != "kept-after-close":
            self.held = {handle: item for handle, item in self.held.items() if item[0] is not caller}


class SimulatedRunner:
    """Runs sequences in a simulated system, as SequenceRunner does in a guest."""

    generation = property(lambda self: self.kind.generation)
    cpus, groups = CPUS, 1

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.renewed = 0
        self.renew()

    def renew(self) -> None:
        self.system = System(self.kind)
        first = self.system.allocate(Caller.A, PLAIN)
        self.plain_granted = first.succeeded
        if first.succeeded:
            self.system.held.clear()
        self.renewed += 1

    def check_clean(self) -> None:
        assert not self.system.held

    def run(self, steps: Sequence[Step]) -> tuple[list[TraceLine], list[Call]]:
        made: dict[int, tuple[Caller, int]] = {}
        seen: list[Seen] = []
        for number, step in enumerate(steps, start=1):
            answer = self._do(step, made)
            if isinstance(step, Allocate | Start) and isinstance(answer, Call):
                made[number] = (step.caller, answer.handle)
            seen.append(answer)
        for caller in Caller:
            self.system.close(caller)
        after = self.system.allocate(Caller.A, PLAIN)
        if after.succeeded:
            self.system.free(Caller.A, after.handle, elsewhere=False)
        model = ContractModel(self.kind.generation, self.plain_granted, CPUS)
        lines = trace_sequence(model, tuple(steps), seen, after)
        if after.succeeded != self.plain_granted:
            self.renew()
        return lines, [call for call in seen if isinstance(call, Call)]

    def _do(self, step: Step, made: dict[int, tuple[Caller, int]]) -> Seen:
        match step:
            case Allocate(caller, request):
                return self.system.allocate(caller, request)
            case Start():
                return self.system.allocate(Caller.P, PLAIN)
            case Free(caller, of, on, worker):
                maker, handle = made[of] if of is not None else (caller, 0)
                if of is not None and (maker.second_driver != caller.second_driver or handle == POISON):
                    return Denied()
                owner = self.system.held.get(handle, (caller,))[0]
                process = (owner is Caller.P) != (caller is Caller.P)
                return self.system.free(caller, handle, elsewhere=process or on is not None or worker)
            case Reopen(caller) | Kill(caller):
                self.system.close(caller)
                return None
