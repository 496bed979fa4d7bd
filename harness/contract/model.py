"""The contract as a machine: who holds what, and which answers the next call may have.

Where the documentation promises an answer the model allows that one alone, and names the clause; where it is silent it
allows whatever a system may do, and follows what was observed. So it holds for a Windows as for the reference HAL.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.config.models import Generation
from harness.contract.observations import Call
from harness.contract.sequence import PLAIN, Allocate, Caller, Free, Kill, Reopen, Request, Start, Step
from harness.contract.status import (
    STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER,
    STATUS_NOT_SUPPORTED,
    STATUS_SUCCESS,
    documented_allocate,
    documented_free,
    format_status,
)
from harness.errors import DriverError

EVERY_CPU = -1
POISON = 0xAAAA_AAAA_AAAA_AAAA


class Denied:
    """The test driver passed nothing on: the handle was never given to this instance of it."""

    def __str__(self) -> str:
        return "not passed on: the handle is no other of this driver's"


Seen = Call | Denied | None
"""What a step showed; None for steps without a call."""


@dataclass(frozen=True)
class Expectation:
    """The statuses allowed: all but success when `refused`, else those named, else any; and on what that rests."""

    why: str
    clause: str = ""
    statuses: frozenset[int] = frozenset()
    refused: bool = False

    def allows(self, status: int) -> bool:
        """Whether a call may return this."""
        if self.refused:
            return status != STATUS_SUCCESS
        return not self.statuses or status in self.statuses

    @property
    def broken(self) -> str:
        """What is wrong when another status came."""
        return f"{self.clause} does not hold" if self.clause else "no documented status"

    def __str__(self) -> str:
        if self.refused:
            words = "any error"
        else:
            words = " or ".join(format_status(status) for status in sorted(self.statuses)) or "any status"
        return f"{words} ({', '.join(filter(None, (self.clause, self.why)))})"


@dataclass(frozen=True)
class Claim:
    """Counters (None: the whole PMU) on processors (a mask of group 0; EVERY_CPU: all of all groups)."""

    counters: frozenset[int] | None
    cpus: int

    def excludes(self, other: Claim) -> bool:
        """Whether both together would give one counter of one processor to two owners."""
        if self.cpus & other.cpus == 0:
            return False
        if self.counters is None or other.counters is None:  # the whole PMU, and something of it
            return self.counters != frozenset() and other.counters != frozenset()
        return bool(self.counters & other.counters)


@dataclass(frozen=True)
class Holding:
    """What a granted handle stands for: whose it is, and what it holds."""

    caller: Caller
    claim: Claim


@dataclass
class ContractModel:
    """The state of one guest. `plain_granted`: the plain request was granted while nothing was held, before all this.

    `cpus` is the number of processors of group 0. Steps are followed in order, beginning with number 1.
    """

    generation: Generation
    plain_granted: bool
    cpus: int
    holdings: dict[int, Holding] = field(default_factory=dict)
    made: dict[int, tuple[Caller, int]] = field(default_factory=dict)
    granted: set[Request] = field(default_factory=set)
    counters: set[int] = field(default_factory=set)
    released: str = "ALLOC-5"
    process_lost: bool = False

    # -- what is allowed ------------------------------------------------------------------------------------------

    def expect(self, step: Step) -> Expectation | None:
        """What the next step may answer; None for a step without a call."""
        match step:
            case Allocate():
                return self._allocate(step.caller, step.request, step.on)
            case Start():
                return self._allocate(step.caller, PLAIN, None)
            case Free():
                return self._free(step)
            case _:
                return None

    def after_all(self) -> Expectation:
        """What the plain request may answer when every caller is gone."""
        if self.plain_granted:
            why = "everything was closed, and it was granted before"
            return Expectation(why, "LIFE-1", frozenset({STATUS_SUCCESS}))
        return Expectation("it was not granted before", "", documented_allocate(self.generation))

    def _allocate(self, caller: Caller, request: Request, on: int | None) -> Expectation:
        if self.generation is Generation.EXCLUSIVE and not request.plain:
            return Expectation("reserved parameters", "PARAM-X", refused=True)
        extended = [item for item in request.counters or () if item.extended]
        if extended and len(extended) == len(request.counters or ()) == 1 and request.cpus is None:
            return Expectation("never supported", "PARAM-3", frozenset({STATUS_NOT_SUPPORTED}))
        if extended:
            return Expectation("an extended configuration in the list", "PARAM-3", refused=True)
        claim = self._claim(request)
        excluding = [holding for holding in self.holdings.values() if holding.claim.excludes(claim)]
        if excluding:
            clause = self._refusing(caller, request, excluding, on)
            if self._known(request):
                return Expectation("held", clause, frozenset({STATUS_INSUFFICIENT_RESOURCES}))
            return Expectation("some of it is held", clause, refused=True)
        return self._unopposed(request)

    def _unopposed(self, request: Request) -> Expectation:
        """Nothing that is held stands in the way."""
        if not self.holdings and (request in self.granted or (request.plain and self.plain_granted)):
            return Expectation(
                "nothing is held, and it was granted before", self.released, frozenset({STATUS_SUCCESS})
            )
        if not self._well_formed(request):
            return Expectation("malformed, where no page says")
        why = "no page says who may share" if self.holdings else "not seen before"
        return Expectation(why, "ALLOC-7", documented_allocate(self.generation))

    def _free(self, step: Free) -> Expectation:
        invalid = frozenset({STATUS_INVALID_PARAMETER})
        handle = 0 if step.of is None else self.made[step.of][1]
        if handle == 0:
            return Expectation("NULL", "FREE-3", invalid)
        holding = self.holdings.get(handle)
        if holding is None:
            clause = "FREE-5" if self.holdings else "FREE-2"
            return Expectation(f"0x{handle:x} is not held", clause, invalid)
        elsewhere = (
            (step.caller is Caller.P) != (holding.caller is Caller.P) or step.on is not None or step.worker
        )
        if elsewhere:
            return Expectation("held; no page says who else may free it", "ALLOC-7", documented_free())
        return Expectation("held", "FREE-1", frozenset({STATUS_SUCCESS}))

    def _claim(self, request: Request) -> Claim:
        cpus = EVERY_CPU if request.cpus is None else request.cpus
        if request.counters is None:
            return Claim(None, cpus)
        return Claim(frozenset(index for item in request.counters for index in item.indexes), cpus)

    def _well_formed(self, request: Request) -> bool:
        """Whether the documentation says what the request means."""
        if request.cpus is not None and not 0 < request.cpus < 1 << self.cpus:
            return False
        if request.counters is None:
            return True
        indexes = [index for item in request.counters for index in item.indexes]
        empty = any(not item.indexes for item in request.counters)
        return bool(indexes) and not empty and len(set(indexes)) == len(indexes)

    def _known(self, request: Request) -> bool:
        """Whether the request would be granted if nothing were held: then its refusal means that something is."""
        if request in self.granted:
            return True
        if request.cpus is not None or not self._well_formed(request):
            return False
        return request.counters is None or set(self._claim(request).counters or ()) <= self.counters

    def _refusing(self, caller: Caller, request: Request, excluding: list[Holding], on: int | None) -> str:
        """The clause that promises the refusal."""
        whole = request.counters is None
        if whole != any(holding.claim.counters is None for holding in excluding):
            return "SHARE-3"
        if not whole:
            return "SHARE-2"
        if all(holding.caller.second_driver != caller.second_driver for holding in excluding):
            return "ALLOC-3"
        return "ALLOC-2" if on is None else "ALLOC-4"

    # -- what was seen --------------------------------------------------------------------------------------------

    def follow(self, number: int, step: Step, seen: Seen) -> str:
        """Judge what step `number` showed, and go on from there: what is wrong with it, or an empty text.

        Raises DriverError where the test driver itself, not a routine, did something else than it was told to.
        """
        expected = self.expect(step)
        if expected is None:
            self._release(step)
            return ""
        if isinstance(seen, Denied):
            return self._denied(step)
        if not isinstance(seen, Call):
            raise DriverError(f"step {number} ({step}) shows no call")
        if isinstance(step, Allocate | Start):
            return self._follow_allocate(number, step, seen, expected)
        if isinstance(step, Free) and seen.succeeded and step.of is not None:
            self.holdings.pop(self.made[step.of][1], None)
            self.released = "ALLOC-5"
        return "" if expected.allows(seen.status) else expected.broken

    def _follow_allocate(self, number: int, step: Allocate | Start, call: Call, expected: Expectation) -> str:
        self.made[number] = (step.caller, call.handle)
        if not expected.allows(call.status):
            return expected.broken
        if call.status == STATUS_INSUFFICIENT_RESOURCES and not (call.written and call.handle == 0):
            return "ALLOC-2 does not hold: NULL belongs into the handle cell"
        if not call.succeeded:
            return ""
        if not call.written or call.handle == 0:
            return "ALLOC-1 does not hold: a handle belongs into the handle cell"
        if call.handle in self.holdings:
            return "ALLOC-1 does not hold: it is the handle of another allocation, which is held"
        request = step.request if isinstance(step, Allocate) else PLAIN
        claim = self._claim(request)
        self.holdings[call.handle] = Holding(step.caller, claim)
        self.granted.add(request)
        if self._well_formed(request):
            self.counters |= claim.counters or set()
        return ""

    def _denied(self, step: Step) -> str:
        """The driver may deny what it cannot know; anything else is a fault of it."""
        if isinstance(step, Free) and step.of is not None:
            maker, handle = self.made[step.of]
            if maker.second_driver != step.caller.second_driver or handle == POISON:
                self.process_lost |= step.caller is Caller.P  # it ends when its driver denies something
                return ""
        if step.caller is Caller.P and self.process_lost:
            return ""
        raise DriverError(f"the test driver does not pass on what it has to: {step}")

    def _release(self, step: Step) -> None:
        """A handle of the driver was closed: what it held is free again, and no page is needed for that (LIFE-1)."""
        if isinstance(step, Kill):
            self.process_lost = False
        if isinstance(step, Reopen | Kill):
            left = {handle: held for handle, held in self.holdings.items() if held.caller is not step.caller}
            if len(left) != len(self.holdings):
                self.released = "LIFE-1"
            self.holdings = left


@dataclass(frozen=True)
class TraceLine:
    """One step of a sequence that was run: what was allowed, what was seen, and what is wrong with it, if anything."""

    number: int
    step: str
    expected: str
    seen: str
    wrong: str = ""

    def __str__(self) -> str:
        mark = f"  <-- {self.wrong}" if self.wrong else ""
        return f"{self.number}. {self.step}: expected {self.expected}; seen {self.seen}{mark}"


def trace_sequence(
    model: ContractModel, steps: tuple[Step, ...], seen: list[Seen], after: Call
) -> list[TraceLine]:
    """Follow a whole sequence up to its first wrong answer; `after` is the plain request when all was closed."""
    lines = []
    for number, (step, answer) in enumerate(zip(steps, seen, strict=True), start=1):
        expected = model.expect(step)
        wrong = model.follow(number, step, answer)
        lines.append(TraceLine(number, str(step), str(expected or "no call"), _words(answer, step), wrong))
        if wrong:
            return lines
    expected = model.after_all()
    wrong = "" if expected.allows(after.status) else expected.broken
    lines.append(
        TraceLine(len(steps) + 1, "all closed, then the plain request", str(expected), after.answer, wrong)
    )
    return lines


def _words(seen: Seen, step: Step) -> str:
    if isinstance(seen, Call):
        return seen.answer if isinstance(step, Free) else f"{seen.answer}, {seen.cell_text}"
    return "done" if seen is None else str(seen)
