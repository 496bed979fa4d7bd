"""The model-based search: random sequences against guest and model, and the shortest one that they disagree about."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from harness.config.models import Generation
from harness.contract.judgement import Judgement, failed, passed
from harness.contract.model import ContractModel, TraceLine, trace_sequence
from harness.contract.observations import Call
from harness.contract.sequence import Start, Step, format_sequence, simpler
from harness.deadlines import Deadline
from harness.driver.device import Device
from harness.driver.sequences import run_sequence
from harness.errors import GuestError
from harness.runs.guest import Guest
from harness.runs.plan import SearchPlan
from harness.runs.random_sequences import random_sequences

#: The budget of a search in seconds: for itself, and for each sequence.
BUDGET_S, BUDGET_EACH_S = 60.0, 0.5
#: What shortening a failure may take, in seconds.
SHORTEN_S = 90.0

Trace = list[TraceLine]
FreshGuest = Callable[[], AbstractContextManager[Guest]]


class Runner(Protocol):
    """Whatever answers sequences: a guest, or a simulation of one."""

    @property
    def generation(self) -> Generation: ...
    @property
    def cpus(self) -> int: ...
    @property
    def groups(self) -> int: ...
    def run(self, steps: Sequence[Step]) -> tuple[Trace, list[Call]]: ...
    def renew(self) -> None: ...
    def check_clean(self) -> None: ...


class SequenceRunner:
    """Runs sequences in a guest; takes a fresh one after a sequence that left its guest other than it was."""

    def __init__(self, fresh: FreshGuest) -> None:
        self._fresh = fresh
        self._stack = ExitStack()
        self._guest: Guest | None = None
        self._watcher: Device | None = None
        self.plain_granted = False
        self.guests = 0

    def __enter__(self) -> SequenceRunner:
        self._renew()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def guest(self) -> Guest:
        """The guest that is running."""
        assert self._guest is not None, "inside the context"  # noqa: S101 - a mistake of ours
        return self._guest

    @property
    def generation(self) -> Generation:
        """Of the contract, in this guest."""
        return self.guest.generation

    @property
    def cpus(self) -> int:
        """CPUs of group 0."""
        return self.guest.facts.group_cpus[0]

    @property
    def groups(self) -> int:
        """Processor groups."""
        return self.guest.facts.groups

    def renew(self) -> None:
        """Go on in a fresh guest."""
        self._stack.close()
        self._renew()

    def check_clean(self) -> None:
        """Raises GuestError when a driver still holds something."""
        left = self.guest.left_over()
        if left:
            raise GuestError(f"after the sequences {left}")

    def _renew(self) -> None:
        self._guest = self._stack.enter_context(self._fresh())
        device = self._stack.enter_context(self._guest.open())
        first = device.allocate()
        if first.succeeded:
            device.free(first.handle)
        self._watcher = device
        self.plain_granted = first.succeeded
        self.guests += 1

    def run(self, steps: Sequence[Step]) -> tuple[Trace, list[Call]]:
        """The trace of one sequence, up to its first wrong answer, and its calls."""
        assert self._watcher is not None, "inside the context"  # noqa: S101 - a mistake of ours
        outcome = run_sequence(self.guest.session, self._watcher.number, steps)
        model = ContractModel(self.generation, self.plain_granted, self.cpus)
        lines = trace_sequence(model, tuple(steps), outcome.seen, outcome.after)
        if outcome.after.succeeded != self.plain_granted:
            self.renew()
        return lines, [call for call in outcome.seen if isinstance(call, Call)]


@dataclass(frozen=True)
class Failure:
    """A sequence that guest and model disagree about. `confirmed`: it fails alone in a fresh guest, too."""

    steps: tuple[Step, ...]
    trace: Trace
    confirmed: bool

    @property
    def line(self) -> str:
        """The sequence as its line of text."""
        return format_sequence(self.steps)


@dataclass
class Search:
    """What a search did, and what it found. `calls` counts what was called, and what was granted."""

    plan: SearchPlan
    sequences: int = 0
    seconds: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    failure: Failure | None = None

    def add(self, steps: Sequence[Step], calls: Sequence[Call]) -> None:
        """Count one more sequence."""
        self.sequences += 1
        self.calls["steps"] += len(steps)
        self.calls["calls"] += len(calls)
        self.calls["granted or freed"] += sum(call.succeeded for call in calls)
        self.calls["processes"] += sum(isinstance(step, Start) for step in steps)

    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {
            "seed": self.plan.seed,
            "sequences asked for": self.plan.sequences,
            "sequences": self.sequences,
            "seconds": round(self.seconds, 1),
            **dict(sorted(self.calls.items())),
        }


def search(runner: Runner, plan: SearchPlan) -> Search:
    """Run so many different random sequences, and shorten the first that fails.

    Raises DeadlineExceeded when they take longer than their budget, and what the guest raises. The same seed gives
    the same sequences.
    """
    found = Search(plan)
    begun = time.monotonic()
    budget = Deadline(f"{plan.sequences} sequences", BUDGET_S + BUDGET_EACH_S * plan.sequences)
    done: set[tuple[Step, ...]] = set()
    for steps in random_sequences(plan.seed, runner.generation, runner.cpus, runner.groups):
        if steps in done:
            continue
        budget.check()
        done.add(steps)
        trace, calls = runner.run(steps)
        found.add(steps, calls)
        if trace[-1].wrong:
            found.failure = _shorten(runner, steps, trace)
            break
        if found.sequences == plan.sequences:
            runner.check_clean()
            break
    found.seconds = time.monotonic() - begun
    return found


def _shorten(runner: Runner, steps: tuple[Step, ...], trace: Trace) -> Failure:
    """Take out whatever the failure does not need, as long as there is time; then run it where nothing ran before."""
    deadline = Deadline("shortening", SHORTEN_S)
    candidates = simpler(steps)
    while not deadline.expired() and (candidate := next(candidates, None)) is not None:
        again, _ = runner.run(candidate)
        if again[-1].wrong:
            steps, trace, candidates = candidate, again, simpler(candidate)
    runner.renew()
    again, _ = runner.run(steps)
    confirmed = bool(again[-1].wrong)
    return Failure(steps, again if confirmed else trace, confirmed)


def judge_search(found: Search, folder: Path) -> Judgement:
    """MODEL-1; `folder` is the cell's, for the command that shows a failure again."""
    if found.failure is None:
        return passed(f"{found.sequences} sequences, {found.calls['calls']} calls (seed {found.plan.seed})")
    failure = found.failure
    wrong = failure.trace[-1]
    if failure.confirmed:
        again = f"halpmc replay {shlex.quote(str(folder))} --sequence {shlex.quote(failure.line)}"
    else:
        again = (
            f"not alone in a fresh guest, but as number {found.sequences} of these: HALPMC_SEED={found.plan.seed} "
            f"HALPMC_SEQUENCES={found.plan.sequences} halpmc replay {shlex.quote(str(folder))} --test sequences"
        )
    reason = f"{wrong.step}: expected {wrong.expected}, seen {wrong.seen}; {wrong.wrong}; again: {again}"
    return failed("MODEL-1", reason)
