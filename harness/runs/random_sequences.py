"""Random sequences of calls by several callers, the same ones for the same seed.

Drawn with Python's own generator. hypothesis, whose draws lean towards what shrinks well, made two thirds of all
requests plain ones, and did not find an overlap of two resource lists in a thousand sequences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from harness.config.models import Generation
from harness.contract.sequence import (
    PLAIN,
    Allocate,
    Caller,
    Counters,
    Free,
    Kill,
    Reopen,
    Request,
    Start,
    Step,
)

SHORTEST, LONGEST = 2, 10
#: Counters that sequences ask for: a machine may have fewer, and then says so.
COUNTERS = 4
#: One sequence in so many has a second process, whose start costs as much as a hundred calls.
PROCESS_IN = 40
CALLERS = (Caller.A, Caller.B, Caller.C)


def random_sequences(seed: int, generation: Generation, cpus: int, groups: int) -> Iterator[tuple[Step, ...]]:
    """Sequences without end, for a guest of this generation with so many CPUs in group 0, and so many groups."""
    random = Random(seed)  # noqa: S311 - no secrets
    while True:
        yield _Drawing(random, generation, cpus, pinned=groups == 1).sequence()


@dataclass
class _Drawing:
    """One sequence as it grows."""

    random: Random
    generation: Generation
    cpus: int
    pinned: bool
    steps: list[Step] = field(default_factory=list)
    running: bool = False

    def sequence(self) -> tuple[Step, ...]:
        """Draw it."""
        process = self._one_in(PROCESS_IN)
        for _ in range(self.random.randint(SHORTEST, LONGEST)):
            self.steps.append(self._process_step() if process and self._one_in(3) else self._step())
        return tuple(self.steps)

    def _step(self) -> Step:
        caller = self.random.choice(CALLERS)
        chance = self.random.random()
        allocates = self._allocates()
        if chance < 0.08:
            return Reopen(caller)
        if chance < 0.13:
            return Free(caller, None, self._on())
        if chance < 0.55 or not allocates:
            return Allocate(caller, self._request(), self._on())
        of = self.random.choice(allocates[-4:])
        maker = self.steps[of - 1].caller
        if self.random.random() < 0.7 and maker is not Caller.P:
            caller = maker
        return Free(caller, of, self._on(), worker=self._one_in(10))

    def _process_step(self) -> Step:
        """Frees of what another request than the plain one left are for others: a denied one ends the process."""
        if not self.running:
            self.running = True
            return Start()
        targets = [number for number in self._allocates() if self._for_process(self.steps[number - 1])]
        if targets and self._one_in(2):
            return Free(Caller.P, self.random.choice(targets))
        self.running = False
        return Kill()

    def _allocates(self) -> list[int]:
        return [n for n, step in enumerate(self.steps, start=1) if isinstance(step, Allocate | Start)]

    @staticmethod
    def _for_process(step: Step) -> bool:
        plain = isinstance(step, Start) or (isinstance(step, Allocate) and step.request.plain)
        return plain and not step.caller.second_driver

    def _request(self) -> Request:
        """Before 1903, where all but the plain request is refused, few others."""
        if self.random.random() < (0.85 if self.generation is Generation.EXCLUSIVE else 0.25):
            return PLAIN
        counters = None if self._one_in(6) else self._counters()
        cpus = self.random.randrange(1, 1 << min(self.cpus, 4)) if self._one_in(3) else None
        return Request(counters, cpus)

    def _counters(self) -> tuple[Counters, ...]:
        """Mostly one descriptor: several would often name one counter twice."""
        return tuple(self._item() for _ in range(self.random.choice((1, 1, 1, 2, 3))))

    def _item(self) -> Counters:
        begin, more = self.random.randrange(COUNTERS), self.random.choice((-1, 0, 1, 1, 2, 2))
        if self._one_in(12):
            return Counters(extended=True)
        return Counters(begin, None if self._one_in(2) else max(begin + more, 0))

    def _on(self) -> int | None:
        return self.random.randrange(self.cpus) if self.pinned and self._one_in(4) else None

    def _one_in(self, number: int) -> bool:
        return self.random.randrange(number) == 0
