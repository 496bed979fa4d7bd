"""The judge of races: valid interleavings pass, overlapping owners fail, a torn log is no verdict."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contract.observations import Call, RaceEvent
from harness.contract.outcomes import Outcome
from harness.contract.race import (
    MEETINGS,
    MOST_RACES,
    ROUNDS,
    THREADS,
    Meetings,
    first_shown,
    judge_cycles,
    judge_race,
    judge_races,
    meetings,
    needed,
)
from harness.driver.device import Device
from harness.driver.protocol import RaceResult
from harness.errors import DriverError
from harness.runs.races import race_until_calls_met

OK, BUSY = 0, 0xC000009A
Log = list[list[int]]
Pick = Callable[[int], int]


def simulate(threads: int, rounds: int, pick: Pick, *, owners: int = 1) -> Log:
    """The log of a race for a lock that admits `owners` at once; `pick(n)` chooses who of n goes on.

    Stamps are drawn outside the lock's own steps, as in the test driver; rounds do not overlap.
    """
    log: Log = []
    held = 0
    for turn in range(rounds):
        todo: list[list[Any]] = [[thread, "ask"] for thread in range(threads)]
        while todo:
            actor = todo[pick(len(todo))]
            thread, step = actor

            def stamp(event: RaceEvent, status: int = 0, thread: int = thread, turn: int = turn) -> None:
                log.append([len(log), thread, turn, event, status])

            if step == "ask":
                stamp(RaceEvent.ALLOCATING)
                actor[1] = "take"
            elif step == "take":
                actor[1] = "granted" if held < owners else "refused"
                held += held < owners
            elif step == "refused":
                stamp(RaceEvent.REFUSED, BUSY)
                todo.remove(actor)
            elif step == "granted":
                stamp(RaceEvent.ALLOCATED, OK)
                actor[1] = "leave"
            elif step == "leave":
                stamp(RaceEvent.FREEING)
                actor[1] = "give"
            elif step == "give":
                held -= 1
                actor[1] = "given"
            else:
                stamp(RaceEvent.FREED, OK)
                todo.remove(actor)
    return log


def picker(seed: int) -> Pick:
    return random.Random(seed).randrange  # noqa: S311 - a repeatable choice, not a secret


SEEDS = st.integers(0, 1 << 32)


@settings(max_examples=200, deadline=None)
@given(SEEDS, st.integers(1, 8), st.integers(1, 6))
def test_every_valid_interleaving_passes(seed: int, threads: int, rounds: int) -> None:
    log = simulate(threads, rounds, picker(seed))
    by_thread = sorted(log, key=lambda entry: entry[1])
    judgement = judge_race(by_thread, threads, rounds)
    assert judgement.outcome is Outcome.PASS, (judgement, log)


@settings(max_examples=200, deadline=None)
@given(st.data(), SEEDS, st.integers(2, 8), st.integers(1, 6))
def test_every_overlap_fails(data: st.DataObject, seed: int, threads: int, rounds: int) -> None:
    """An intact race, but in one round two hold at once: A granted, B granted, then either begins to free."""
    log = simulate(threads, rounds, picker(seed))
    turn = data.draw(st.integers(0, rounds - 1))
    first, second = data.draw(st.permutations(range(threads)).map(lambda order: order[:2]))
    kept = [entry for entry in log if entry[2] != turn or entry[1] not in (first, second)]
    start = next((n for n, entry in enumerate(kept) if entry[2] >= turn), len(kept))
    asking, granted, freeing, freed = (
        RaceEvent.ALLOCATING,
        RaceEvent.ALLOCATED,
        RaceEvent.FREEING,
        RaceEvent.FREED,
    )
    overlap = [(first, asking), (second, asking), (first, granted), (second, granted)]
    overlap += data.draw(
        st.sampled_from(
            [
                [(a, freeing), (a, freed), (b, freeing), (b, freed)]
                for a, b in ((first, second), (second, first))
            ]
        )
    )
    kept[start:start] = [[0, thread, turn, event, OK] for thread, event in overlap]
    seeded = [[number, *entry[1:]] for number, entry in enumerate(kept)]
    judgement = judge_race(seeded, threads, rounds)
    assert judgement.outcome is Outcome.FAIL
    assert "two owners at once" in judgement.reason


def test_a_lock_for_two_fails() -> None:
    judgement = judge_race(simulate(3, 1, lambda n: n - 1 if n == 3 else 0, owners=3), 3, 1)
    assert judgement.outcome is Outcome.PASS  # one after the other: nobody can tell
    steps = iter([0, 1, 0, 1, 0, 1] + [0] * 20)
    judgement = judge_race(simulate(2, 1, lambda n: min(next(steps), n - 1), owners=2), 2, 1)
    assert judgement.outcome is Outcome.FAIL
    assert judgement.reason == (
        "two owners at once: thread 1 in round 0 (allocated, stamp 3) "
        "while thread 0 in round 0 (allocated, stamp 2) had not begun to free"
    )
    assert "never hold them at once" in judgement.because[0]


def test_a_grant_of_an_earlier_round_still_counts() -> None:
    """Thread 0 is slow to free what it got in round 0, and thread 1 is let in in round 1."""
    events = [
        (0, 0, RaceEvent.ALLOCATING, 0), (1, 0, RaceEvent.ALLOCATING, 0), (0, 0, RaceEvent.ALLOCATED, OK),
        (1, 0, RaceEvent.REFUSED, BUSY), (1, 1, RaceEvent.ALLOCATING, 0), (1, 1, RaceEvent.ALLOCATED, OK),
        (0, 0, RaceEvent.FREEING, 0), (0, 0, RaceEvent.FREED, OK), (0, 1, RaceEvent.ALLOCATING, 0),
        (0, 1, RaceEvent.REFUSED, BUSY), (1, 1, RaceEvent.FREEING, 0), (1, 1, RaceEvent.FREED, OK),
    ]  # fmt: skip
    log = [[number, *event] for number, event in enumerate(events)]
    assert judge_race(log, 2, 2).reason == (
        "two owners at once: thread 1 in round 1 (allocated, stamp 5) "
        "while thread 0 in round 0 (allocated, stamp 2) had not begun to free"
    )


@pytest.fixture
def log() -> Log:
    return simulate(2, 2, lambda _: 0)


def change(log: Log, event: RaceEvent, status: int) -> Log:
    found = next(entry for entry in log if entry[3] == event)
    return [[*entry[:4], status] if entry is found else entry for entry in log]


def again(log: Log, number: int) -> Log:
    """The same entries, stamped from `number` on: what is left out of a log cannot be told by its stamps."""
    return [[number + n, *entry[1:]] for n, entry in enumerate(log)]


def test_wrong_statuses_fail(log: Log) -> None:
    for event, status, words in (
        (RaceEvent.FREED, 0xC000000D, "expected STATUS_SUCCESS (0x00000000), got STATUS_INVALID_PARAMETER"),
        (RaceEvent.ALLOCATED, 0x103, "got STATUS_PENDING"),
    ):
        judgement = judge_race(change(log, event, status), 2, 2)
        assert judgement.outcome is Outcome.FAIL
        assert words in judgement.reason
    steps = iter([0, 1] + [0, 0] + [1, 1, 1] + [0] * 20)
    refused = simulate(2, 1, lambda n: min(next(steps, 0), n - 1))
    judgement = judge_race(change(refused, RaceEvent.REFUSED, 0xC0000008), 2, 1)
    assert (
        "expected STATUS_INSUFFICIENT_RESOURCES (0xC000009A), got STATUS_INVALID_HANDLE" in judgement.reason
    )


def test_a_failed_free_that_ends_the_race_is_a_violation_not_a_torn_log(log: Log) -> None:
    stopped = change(log[:4], RaceEvent.FREED, 0xC000000D)
    judgement = judge_race(stopped, 2, 2)
    assert judgement.outcome is Outcome.FAIL
    assert "STATUS_INVALID_PARAMETER" in judgement.reason


def test_a_round_without_a_winner_fails() -> None:
    log = [
        [0, 0, 0, RaceEvent.ALLOCATING, 0],
        [1, 1, 0, RaceEvent.ALLOCATING, 0],
        [2, 0, 0, RaceEvent.REFUSED, BUSY],
        [3, 1, 0, RaceEvent.REFUSED, BUSY],
    ]
    judgement = judge_race(log, 2, 1)
    assert (judgement.outcome, judgement.reason) == (
        Outcome.FAIL,
        "round 0 has no winner: all 2 threads were refused",
    )


@settings(max_examples=100, deadline=None)
@given(st.data(), SEEDS, st.integers(1, 4), st.integers(1, 3))
def test_a_log_with_an_entry_missing_is_no_verdict(
    data: st.DataObject, seed: int, threads: int, rounds: int
) -> None:
    log = simulate(threads, rounds, picker(seed))
    log.pop(data.draw(st.integers(0, len(log) - 1)))
    with pytest.raises(DriverError):
        judge_race(log, threads, rounds)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda log: [*log, log[-1]], "stamp 15 follows stamp 15"),
        (lambda log: [entry for entry in log if entry[0] != 5], "stamp 6 follows stamp 4"),
        (lambda log: [entry for entry in log if entry[2] == 0], "once in each of 2 rounds"),
        (lambda log: log[:4], "does not show 2 threads"),
        (lambda log: log[:-2], r"thread 1 did not end its last round"),
        (lambda log: log[:12], "does not show 2 threads"),  # thread 1 never asks in round 1
        (lambda log: [*log, *again(log[12:], 16)], "ask once in each of 2 rounds"),
        (
            lambda log: [*log[:2], *again(log[4:], 2)],
            r"thread 0 in round 1 \(allocating, stamp \d+\) is out of turn",
        ),
        (lambda _: [], "does not show 2 threads"),
        (lambda _: [[0, 0, 0, 7, 0]], "cannot be read: 7 is not a valid RaceEvent"),
        (lambda _: [[0, 0, 0, 1]], "cannot be read"),
    ],
)
def test_a_torn_log_is_no_verdict(log: Log, damage: Callable[[Log], Log], message: str) -> None:
    with pytest.raises(DriverError, match=message):
        judge_race(damage(log), 2, 2)


def test_the_largest_race_is_judged_within_two_seconds() -> None:
    log = simulate(8, 2000, lambda n: n // 2)
    started = time.process_time()
    assert judge_race(log, 8, 2000).outcome is Outcome.PASS
    assert time.process_time() - started <= 2.0


def test_cycles() -> None:
    assert judge_cycles(10_000, 10_000, None).outcome is Outcome.PASS
    deviated = judge_cycles(41, 10_000, Call(status=BUSY, written=True))
    assert deviated.outcome is Outcome.FAIL
    assert deviated.reason.startswith("cycle 42 of 10000 deviated: expected STATUS_SUCCESS")
    with pytest.raises(DriverError, match="names no deviation"):
        judge_cycles(3, 4, None)


def test_needed_and_the_first_round_that_shows() -> None:
    assert (needed(0.5), needed(1.0), needed(0.038)) == (7, 1, 119)
    assert needed(0.0451) <= MEETINGS < needed(0.045)
    sound = [(0, 0, 0, 0, 0), (1, 0, 0, 1, 0), (2, 0, 0, 3, 0), (3, 0, 0, 4, 0)]
    assert first_shown(sound, 2) is None
    twice = [(0, 0, 3, 0, 0), (1, 1, 3, 0, 0), (2, 0, 3, 1, 0), (3, 1, 3, 1, 0)]
    done = [(4, 0, 3, 3, 0), (5, 0, 3, 4, 0), (6, 1, 3, 3, 0), (7, 1, 3, 4, 0)]
    assert first_shown([*twice, *done], 2) == 3
    lost = [(0, 0, 5, 0, 0), (1, 0, 5, 2, 0xC000009A), (2, 1, 5, 0, 0), (3, 1, 5, 2, 0xC000009A)]
    assert first_shown(lost, 2) == 5
    assert first_shown(lost, 3) is None


def one_after_the_other(_: int) -> int:
    """Each thread does all of its round before the next one begins."""
    return 0


def at_once(seed: int = 1) -> Pick:
    return picker(seed)


def test_meetings_are_rounds_in_which_calls_were_under_way_at_once() -> None:
    assert meetings(simulate(4, 20, one_after_the_other)) == Meetings(0, 0)
    met = meetings(simulate(4, 200, at_once()))
    assert 190 <= met.requests <= 200 and 100 <= met.frees <= 200
    events = [(0, RaceEvent.ALLOCATING), (0, RaceEvent.ALLOCATED), (0, RaceEvent.FREEING),
              (1, RaceEvent.ALLOCATING), (0, RaceEvent.FREED), (1, RaceEvent.REFUSED)]  # fmt: skip
    log = [
        [n, thread, 0, event, BUSY * (event is RaceEvent.REFUSED)] for n, (thread, event) in enumerate(events)
    ]
    assert meetings(log) == Meetings(requests=0, frees=1)
    first_round = meetings(simulate(4, 200, at_once()), until=0)
    assert first_round.requests <= 1 and first_round.frees <= 1


def test_a_race_in_which_nobody_met_is_no_verdict() -> None:
    alone = simulate(THREADS, ROUNDS, one_after_the_other)
    judgement = judge_races([alone, alone], THREADS, ROUNDS, cpus=2)
    assert judgement.outcome is Outcome.SKIPPED
    assert "in 0 of 1000 rounds requests met" in judgement.reason and "too busy" in judgement.reason
    assert "has one CPU" in judge_races([alone], THREADS, ROUNDS, cpus=1).reason
    judgement = judge_races([alone, simulate(THREADS, ROUNDS, at_once())], THREADS, ROUNDS, cpus=2)
    assert judgement.outcome is Outcome.PASS and "never two at once" in judgement.reason


def test_a_violation_counts_however_few_met() -> None:
    alone = simulate(THREADS, ROUNDS, one_after_the_other)
    wrong = change(simulate(THREADS, ROUNDS, one_after_the_other), RaceEvent.FREED, 0xC000000D)
    assert judge_races([alone, wrong, alone], THREADS, ROUNDS, cpus=1).outcome is Outcome.FAIL


class Racing:
    """A device whose races have these logs, one after the other; the last one again and again."""

    def __init__(self, *logs: Log) -> None:
        self._logs = list(logs)

    def race(self, threads: int, rounds: int) -> RaceResult:
        assert (threads, rounds) == (THREADS, ROUNDS)
        log = self._logs.pop(0) if len(self._logs) > 1 else self._logs[0]
        return RaceResult.model_construct(
            successes=0, refusals=0, frees=0, other=0, log=tuple(map(tuple, log))
        )


@pytest.mark.parametrize(
    ("logs", "cpus", "races"),
    [
        pytest.param([simulate(THREADS, ROUNDS, at_once())], 2, 1, id="they-meet"),
        pytest.param([simulate(THREADS, ROUNDS, one_after_the_other)], 2, MOST_RACES, id="they-never-meet"),
        pytest.param([simulate(THREADS, ROUNDS, one_after_the_other)], 1, 1, id="they-cannot-meet"),
        pytest.param(
            [simulate(THREADS, ROUNDS, one_after_the_other), simulate(THREADS, ROUNDS, at_once())],
            2,
            2,
            id="they-meet-later",
        ),
        pytest.param(
            [change(simulate(THREADS, ROUNDS, one_after_the_other), RaceEvent.FREED, 0xC000000D)],
            2,
            1,
            id="a-violation",
        ),
    ],
)
def test_races_are_run_until_calls_met(logs: list[Log], cpus: int, races: int) -> None:
    device: Device = Racing(*logs)  # type: ignore[assignment]
    assert len(race_until_calls_met(device, cpus=cpus)) == races
