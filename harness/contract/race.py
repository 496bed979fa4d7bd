"""Expectations about many calls: the race of threads for the counters, and thousands of cycles."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from harness.contract.judgement import Judgement, failed, passed, skipped
from harness.contract.observations import Call, RaceEntry, RaceEvent
from harness.contract.outcomes import Outcome
from harness.contract.status import STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS, format_status
from harness.errors import DriverError

#: A race of the suite.
THREADS, ROUNDS = 4, 500
#: Of a race between threads of the client, each of whose calls goes through the driver.
CLIENT_ROUNDS = 40
#: So many meetings of each kind make a verdict: 99 times in 100 they notice what shows in one of 22 (see needed).
MEETINGS = 100
#: Races that are run until there are as many. Where the host is busy, the guest's CPUs take turns and hardly ever meet.
MOST_RACES = 20

_NEXT = {
    None: {RaceEvent.ALLOCATING},
    RaceEvent.ALLOCATING: {RaceEvent.ALLOCATED, RaceEvent.REFUSED},
    RaceEvent.ALLOCATED: {RaceEvent.FREEING},
    RaceEvent.FREEING: {RaceEvent.FREED},
    RaceEvent.REFUSED: {RaceEvent.ALLOCATING},
    RaceEvent.FREED: {RaceEvent.ALLOCATING},
}
_STATUS_OF = {
    RaceEvent.ALLOCATED: STATUS_SUCCESS,
    RaceEvent.REFUSED: STATUS_INSUFFICIENT_RESOURCES,
    RaceEvent.FREED: STATUS_SUCCESS,
}


class _Entry(NamedTuple):
    sequence: int
    thread: int
    round: int
    event: RaceEvent
    status: int

    def __str__(self) -> str:
        return (
            f"thread {self.thread} in round {self.round} ({self.event.name.lower()}, stamp {self.sequence})"
        )


def judge_race(log: Sequence[RaceEntry], threads: int, rounds: int) -> Judgement:
    """ALLOC-6, from the log of a race in which every thread asks once in every round.

    A thread certainly holds the counters from its stamp 'allocated' (drawn after the call) to its stamp
    'freeing' (drawn before the call): these intervals must not overlap. Every round must have a winner, every
    success a free, and every call the status that belongs to it. Raises DriverError when the log is not
    complete, because then nothing can be said about the routines.
    """
    entries = _in_order(log)
    violation = _overlap(entries) or _wrong_status(entries) or _round_without_winner(entries, threads)
    if violation:
        return failed("ALLOC-6", violation)
    _require_all_rounds(entries, threads, rounds)
    events = Counter(entry.event for entry in entries)
    return passed(
        f"{threads} threads, {rounds} rounds: {events[RaceEvent.ALLOCATED]} grants, never two at once, "
        f"all freed; {events[RaceEvent.REFUSED]} refusals"
    )


@dataclass(frozen=True)
class Meetings:
    """How often a race was one: rounds in which two requests were under way at once, and in which a free met a request.

    Of a call it is known that it was under way somewhere between its two stamps.
    """

    requests: int = 0
    frees: int = 0

    def __add__(self, other: Meetings) -> Meetings:
        return Meetings(self.requests + other.requests, self.frees + other.frees)

    @property
    def enough(self) -> bool:
        """Whether a verdict can rest on them."""
        return min(self.requests, self.frees) >= MEETINGS


def meetings(log: Sequence[RaceEntry], *, until: int | None = None) -> Meetings:
    """The meetings in a race's log; with `until`, those up to the end of this round."""
    requests: set[int] = set()
    frees: set[int] = set()
    asking: set[int] = set()
    freeing: set[int] = set()
    for entry in _in_order(log):
        if until is not None and entry.round > until:
            break
        if entry.event is RaceEvent.ALLOCATING:
            if asking:
                requests.add(entry.round)
            asking.add(entry.thread)
        elif entry.event is RaceEvent.FREEING:
            freeing.add(entry.thread)
        else:
            asking.discard(entry.thread)
            freeing.discard(entry.thread)
        if asking and freeing:
            frees.add(entry.round)
    return Meetings(len(requests), len(frees))


def judge_races(logs: Sequence[Sequence[RaceEntry]], threads: int, rounds: int, *, cpus: int) -> Judgement:
    """ALLOC-6, from races one after the other: red for the first violation, and no verdict where calls hardly met."""
    judgements = [judge_race(log, threads, rounds) for log in logs]
    for judgement in judgements:
        if judgement.outcome is Outcome.FAIL:
            return judgement
    met = sum(map(meetings, logs), Meetings())
    seen = f"in {met.requests} of {len(logs) * rounds} rounds requests met, and in {met.frees} a free met a request"
    if not met.enough:
        why = (
            "the guest has one CPU"
            if cpus == 1
            else "the host is too busy for the guest's CPUs to run at once"
        )
        return skipped(f"no violation, but {seen}, of {MEETINGS} each that a verdict needs: {why}")
    return passed("; ".join([*(judgement.reason for judgement in judgements[-1:]), seen]))


def needed(p: float, certainty: float = 0.99) -> int:
    """Meetings (or rounds) until something that shows in one with probability `p` has shown with this certainty."""
    return math.ceil(math.log(1 - certainty) / math.log(1 - p)) if p < 1 else 1


def first_shown(log: Sequence[RaceEntry], threads: int) -> int | None:
    """The round in which two threads first held at once, or all were refused; None when that never happened."""
    held = False
    refused: Counter[int] = Counter()
    for entry in _in_order(log):
        if entry.event is RaceEvent.ALLOCATED and held:
            return entry.round
        if entry.event in (RaceEvent.ALLOCATED, RaceEvent.FREEING):
            held = entry.event is RaceEvent.ALLOCATED
        refused[entry.round] += entry.event is RaceEvent.REFUSED
        if refused[entry.round] == threads:
            return entry.round
    return None


def judge_cycles(completed: int, count: int, deviation: Call | None) -> Judgement:
    """ALLOC-5: `count` times allocate and free; `deviation` is the first call that did not succeed."""
    if deviation is not None:
        wanted = format_status(STATUS_SUCCESS)
        reason = f"cycle {completed + 1} of {count} deviated: expected {wanted}, got {deviation.answer}"
        return failed("ALLOC-5", reason)
    if completed != count:
        raise DriverError(f"the test driver did {completed} of {count} cycles and names no deviation")
    return passed(f"{count} cycles alike")


def _overlap(entries: list[_Entry]) -> str:
    holder: _Entry | None = None
    for entry in entries:
        if entry.event is RaceEvent.ALLOCATED:
            if holder is not None:
                return f"two owners at once: {entry} while {holder} had not begun to free"
            holder = entry
        elif entry.event is RaceEvent.FREEING:
            holder = None
    return ""


def _wrong_status(entries: list[_Entry]) -> str:
    for entry in entries:
        expected = _STATUS_OF.get(entry.event, entry.status)
        if entry.status != expected:
            return f"{entry}: expected {format_status(expected)}, got {format_status(entry.status)}"
    return ""


def _round_without_winner(entries: list[_Entry], threads: int) -> str:
    """The first round in which all threads were refused; a round that did not end says nothing."""
    refused = Counter(entry.round for entry in entries if entry.event is RaceEvent.REFUSED)
    lost = sorted(turn for turn, count in refused.items() if count == threads)
    return f"round {lost[0]} has no winner: all {threads} threads were refused" if lost else ""


def _in_order(log: Sequence[RaceEntry]) -> list[_Entry]:
    """The log in the order of its stamps, without a gap, each thread's events in turn."""
    try:
        entries = sorted(
            _Entry(seq, who, turn, RaceEvent(event), status) for seq, who, turn, event, status in log
        )
    except ValueError as error:
        raise DriverError(f"the log of the race cannot be read: {error}") from None
    for before, after in pairwise(entries):
        if after.sequence != before.sequence + 1:
            raise DriverError(
                f"the log of the race is not complete: stamp {after.sequence} follows stamp {before.sequence}"
            )
    last: dict[int, RaceEvent | None] = defaultdict(lambda: None)
    for entry in entries:
        if entry.event not in _NEXT[last[entry.thread]]:
            raise DriverError(f"the log of the race is not complete: {entry} is out of turn")
        last[entry.thread] = entry.event
    for thread, event in last.items():
        if event not in (RaceEvent.REFUSED, RaceEvent.FREED):
            raise DriverError(
                f"the log of the race is not complete: thread {thread} did not end its last round"
            )
    return entries


def _require_all_rounds(entries: list[_Entry], threads: int, rounds: int) -> None:
    asked = Counter((entry.thread, entry.round) for entry in entries if entry.event is RaceEvent.ALLOCATING)
    size = len({thread for thread, _ in asked}), len({turn for _, turn in asked})
    if size != (threads, rounds) or len(asked) != threads * rounds or max(asked.values()) != 1:
        raise DriverError(f"the log does not show {threads} threads that ask once in each of {rounds} rounds")
