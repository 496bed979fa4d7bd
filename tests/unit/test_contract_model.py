"""The contract's model: no sound system is accused, every broken one is found, sequences are what their text says."""

from __future__ import annotations

from itertools import islice, product
from pathlib import Path

import pytest

from harness.config.models import Generation
from harness.contract.model import POISON, ContractModel, Denied, Seen
from harness.contract.observations import Call
from harness.contract.outcomes import Outcome
from harness.contract.sequence import Allocate, Caller, Free, Step, format_sequence, parse_sequence, simpler
from harness.contract.status import (
    STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER,
    STATUS_NOT_SUPPORTED,
    STATUS_SUCCESS,
)
from harness.errors import DeadlineExceeded, DriverError, UsageError
from harness.runs.plan import SearchPlan
from harness.runs.random_sequences import random_sequences
from harness.runs.sequences import Search, judge_search, search
from tests.unit.simulated_hal import Kind, SimulatedRunner

SOUND = [
    Kind(),
    Kind(shares=False),
    Kind(reuses_handles=True),
    Kind(frees_for_others=False, reuses_handles=True),
    Kind(grants_lists=False),
    Kind(grants_plain=False),
    Kind(grants_plain=False, grants_lists=False),
    Kind(grants_malformed=True),
    Kind(writes_on_other_errors=False),
    Kind(counters=2, shares=False, writes_on_other_errors=False),
    Kind(Generation.EXCLUSIVE),
    Kind(Generation.EXCLUSIVE, reuses_handles=True, frees_for_others=False, writes_on_other_errors=False),
    Kind(Generation.EXCLUSIVE, grants_plain=False),
]


def explore(kind: Kind, count: int = 1000, seed: int = 7) -> Search:
    return search(SimulatedRunner(kind), SearchPlan(count, seed))


@pytest.mark.parametrize("kind", SOUND, ids=str)
def test_no_sound_system_is_accused(kind: Kind, tmp_path: Path) -> None:
    found = explore(kind, 500)
    assert found.failure is None, [str(line) for line in found.failure.trace]
    assert found.sequences == 500
    assert judge_search(found, tmp_path).outcome is Outcome.PASS


#: Defect → the generation that shows it, and the longest call list that should be needed.
DEFECTS = {
    "double-grant": (Generation.EXCLUSIVE, 2),
    "per-driver": (Generation.EXCLUSIVE, 2),
    "null-not-written": (Generation.EXCLUSIVE, 2),
    "null-with-success": (Generation.EXCLUSIVE, 1),
    "wrong-status": (Generation.EXCLUSIVE, 2),
    "double-free-accepted": (Generation.EXCLUSIVE, 3),
    "null-accepted": (Generation.EXCLUSIVE, 1),
    "stale-frees-another": (Generation.EXCLUSIVE, 6),
    "kept-after-close": (Generation.EXCLUSIVE, 1),
    "mixed-up": (Generation.EXCLUSIVE, 1),
    "part-with-whole": (Generation.SHARED, 2),
    "first-counter-only": (Generation.SHARED, 2),
    "extended-accepted": (Generation.SHARED, 1),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_broken_system_is_found_by_a_short_sequence(defect: str, tmp_path: Path) -> None:
    generation, longest = DEFECTS[defect]
    kind = Kind(generation, defect=defect)
    found = explore(kind)
    assert found.failure is not None
    assert found.failure.confirmed
    assert len(found.failure.steps) <= longest, found.failure.line
    again, _ = SimulatedRunner(kind).run(parse_sequence(found.failure.line))
    assert again[-1].wrong
    judgement = judge_search(found, tmp_path / "cells" / "it's")
    assert judgement.outcome is Outcome.FAIL
    assert f"--sequence '{found.failure.line}'" in judgement.reason
    assert "it'\"'\"'s" in judgement.reason  # quoted for a shell


@pytest.mark.parametrize("defect", ["late-failure", "free-leaks"])
def test_what_depends_on_history_is_told_as_such_or_shown_in_one_sequence(
    defect: str, tmp_path: Path
) -> None:
    found = explore(Kind(Generation.EXCLUSIVE, defect=defect))
    assert found.failure is not None
    judgement = judge_search(found, tmp_path)
    assert judgement.outcome is Outcome.FAIL
    if not found.failure.confirmed:
        assert (
            f"as number {found.sequences} of these: HALPMC_SEED=7 HALPMC_SEQUENCES=1000" in judgement.reason
        )


def test_who_needs_longer_than_the_budget_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.runs.sequences.BUDGET_S", 0.0)
    monkeypatch.setattr("harness.runs.sequences.BUDGET_EACH_S", 0.0001)
    with pytest.raises(DeadlineExceeded, match="100 sequences"):
        explore(Kind(), 100)


def test_the_same_seed_gives_the_same_sequences() -> None:
    def run(seed: int) -> list[str]:
        runner, lines = SimulatedRunner(Kind()), []
        inner = runner.run

        def noted(steps: tuple[Step, ...]) -> tuple[list, list[Call]]:  # type: ignore[type-arg]
            lines.append(format_sequence(steps))
            return inner(steps)

        runner.run = noted  # type: ignore[method-assign, assignment]
        search(runner, SearchPlan(50, seed))
        return lines

    first, second, other = run(1), run(1), run(2)
    assert first == second != other
    assert len(first) == len(set(first)) == 50


def test_a_fault_ends_the_search_at_once() -> None:
    runner, calls = SimulatedRunner(Kind()), []

    def broken(steps: tuple[Step, ...]) -> tuple[list, list[Call]]:  # type: ignore[type-arg]
        calls.append(steps)
        raise DriverError("the driver is gone")

    runner.run = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(DriverError, match="the driver is gone"):
        search(runner, SearchPlan(50, 1))
    assert len(calls) == 1


# -- single answers -------------------------------------------------------------------------------------------------

GRANTED = Call(STATUS_SUCCESS, 0x248, True)
REFUSED = Call(STATUS_INSUFFICIENT_RESOURCES, 0, True)


def follow(text: str, *seen: Seen, generation: Generation = Generation.SHARED) -> str:
    """What is wrong with the last step of the sequence; nothing is, with those before it."""
    model = ContractModel(generation, plain_granted=True, cpus=2)
    results = [
        model.follow(number, step, answer)
        for number, (step, answer) in enumerate(zip(parse_sequence(text), seen, strict=True), start=1)
    ]
    assert not any(results[:-1]), results
    return results[-1]


@pytest.mark.parametrize(
    ("text", "seen", "clause"),
    [
        ("a allocate", [REFUSED], "ALLOC-5"),
        ("a allocate", [Call(STATUS_SUCCESS, 0xAAAA, False)], "ALLOC-1"),
        ("a allocate; a allocate", [GRANTED, GRANTED], "ALLOC-2"),
        ("a allocate; c allocate", [GRANTED, GRANTED], "ALLOC-3"),
        ("a allocate; b allocate on=1", [GRANTED, Call(STATUS_SUCCESS, 1, True)], "ALLOC-4"),
        ("a allocate; a allocate", [GRANTED, Call(STATUS_INSUFFICIENT_RESOURCES, 0, False)], "ALLOC-2"),
        ("a allocate counters=0; b allocate", [GRANTED, Call(0, 1, True)], "SHARE-3"),
        ("a allocate; b allocate counters=0", [GRANTED, Call(0, 1, True)], "SHARE-3"),
        ("a allocate cpus=0x1; b allocate counters=3 cpus=0x3", [GRANTED, Call(0, 1, True)], "SHARE-3"),
        ("a allocate counters=0-2; b allocate counters=2", [GRANTED, Call(0, 1, True)], "SHARE-2"),
        (
            "a allocate counters=0; b allocate counters=0",
            [GRANTED, Call(STATUS_INVALID_PARAMETER)],
            "SHARE-2",
        ),
        ("a allocate counters=0; b allocate counters=1", [GRANTED, GRANTED], "ALLOC-1"),
        ("a allocate counters=x", [GRANTED], "PARAM-3"),
        ("a allocate counters=0,x", [GRANTED], "PARAM-3"),
        ("a allocate; a free 1", [GRANTED, Call(STATUS_INVALID_PARAMETER)], "FREE-1"),
        ("a allocate; a free 1; b free 1", [GRANTED, Call(0), Call(0)], "FREE-2"),
        (
            "a allocate; a free 1; a allocate; b free 1",
            [GRANTED, Call(0), Call(0, 1, True), Call(0)],
            "FREE-5",
        ),
        ("a free null", [Call(0)], "FREE-3"),
        ("a allocate; a reopen; b allocate", [GRANTED, None, REFUSED], "LIFE-1"),
        ("p start; p kill; b allocate", [GRANTED, None, REFUSED], "LIFE-1"),
    ],
)
def test_what_is_promised_is_demanded(text: str, seen: list[Seen], clause: str) -> None:
    assert follow(text, *seen).startswith(f"{clause} does not hold")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a allocate counters=0; b allocate counters=1", [GRANTED, REFUSED]),
        ("a allocate counters=0; b allocate counters=1", [GRANTED, Call(0, 1, True)]),
        ("a allocate counters=0 cpus=0x1; b allocate counters=0 cpus=0x2", [GRANTED, Call(0, 1, True)]),
        ("a allocate counters=0; b allocate counters=0,9", [GRANTED, Call(STATUS_INVALID_PARAMETER)]),
        ("a allocate; b allocate counters=0", [GRANTED, Call(STATUS_NOT_SUPPORTED)]),
        ("a allocate; a free 1 on=1", [GRANTED, Call(STATUS_INVALID_PARAMETER)]),
        ("p start; a free 1", [GRANTED, Call(STATUS_INVALID_PARAMETER)]),
        ("a allocate counters=2-1", [Call(0xC0001234, 5, True)]),
        ("a allocate counters=x cpus=0x1", [Call(STATUS_INVALID_PARAMETER)]),
        ("a allocate counters=x,x", [Call(STATUS_INVALID_PARAMETER)]),
        ("a allocate cpus=0x4", [Call(0xC0001234)]),  # the third CPU of two
        (
            "a allocate counters=0; a free 1; b allocate counters=1; a allocate counters=0",
            [GRANTED, Call(0), Call(0, 1, True), REFUSED],
        ),  # granted before, but nothing was held then
        (
            "a allocate counters=0,0; a free 1; b allocate; c allocate counters=0",
            [GRANTED, Call(0), Call(0, 1, True), Call(STATUS_INVALID_PARAMETER)],
        ),  # what a malformed list granted is no counter that is known to be there
        ("a allocate; c free 1", [GRANTED, Denied()]),
        (
            "a allocate; a free 1; b allocate; a free 1",
            [GRANTED, Call(0), GRANTED, Call(0)],
        ),  # the handle again
    ],
)
def test_what_no_page_says_is_followed(text: str, seen: list[Seen]) -> None:
    assert follow(text, *seen) == ""


def test_before_1903_reserved_parameters_are_never_granted() -> None:
    exclusive = Generation.EXCLUSIVE
    assert follow("a allocate counters=0", GRANTED, generation=exclusive).startswith("PARAM-X")
    assert follow("a allocate cpus=0x1", Call(0xC0001234), generation=exclusive) == ""


def test_a_driver_that_does_not_pass_on_what_it_must_is_no_violation() -> None:
    with pytest.raises(DriverError, match="does not pass on"):
        follow("a allocate; b free 1", GRANTED, Denied())


def test_a_process_that_its_driver_denied_something_has_ended_until_it_is_started_again() -> None:
    """Step 1 leaves the poison, which the driver may deny; the second process ends with that."""
    lost = "a allocate counters=2-1; p start; p free 1; "
    seen: list[Seen] = [Call(0xC0001234, POISON), GRANTED, Denied()]
    assert follow(f"{lost}p free 2", *seen, Denied()) == ""
    with pytest.raises(DriverError, match="does not pass on"):  # nobody else ended
        follow(f"{lost}b free 2", *seen, Denied())
    with pytest.raises(DriverError, match="does not pass on"):
        follow(f"{lost}p kill; p start; p free 5", *seen, None, GRANTED, Denied())


# -- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("generation", "groups"), list(product(Generation, (1, 2))))
def test_a_sequence_is_what_its_text_says(generation: Generation, groups: int) -> None:
    for steps in islice(random_sequences(5, generation, 2, groups), 500):
        assert parse_sequence(format_sequence(steps)) == steps
        assert groups == 1 or all(getattr(step, "on", None) is None for step in steps)
        for simple in simpler(steps):
            assert parse_sequence(format_sequence(simple)) == simple != steps


def test_text_is_read_as_documented() -> None:
    steps = parse_sequence(
        " a allocate ; b allocate counters=0,2-3,x cpus=0x1 on=1;c free 1 worker;a free null"
    )
    assert [type(step) for step in steps] == [Allocate, Allocate, Free, Free]
    assert steps[2:] == (Free(Caller.C, 1, None, worker=True), Free(Caller.A))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has 1 to 24 steps"),
        ("a allocate;" * 25, "has 1 to 24 steps"),
        ("a dance", "no step"),
        ("d allocate", "no step"),
        ("p allocate", "no step"),
        ("a free 1", "no allocate in front"),
        ("a allocate; a free 2", "no allocate in front"),
        ("a reopen; a free 1", "no allocate in front"),
        ("a allocate; a free 0", "no allocate in front"),
        ("p kill", "does not run"),
        ("p start; p start", "runs already"),
        ("p start; p kill; p free 1", "does not run"),
        ("c allocate; p start; p free 1", "no handle of the second driver"),
        ("a allocate counters=1;rm", "no step"),
        ("a allocate on=99999", "no step"),
    ],
)
def test_what_is_no_sequence_is_a_usage_error(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_sequence(text)


@pytest.mark.parametrize(("sequences_text", "seed"), [("0", None), ("x", None), ("1e3", None), (None, "-1")])
def test_a_plan_that_is_none_is_a_usage_error(sequences_text: str | None, seed: str | None) -> None:
    with pytest.raises(UsageError, match="is no number"):
        SearchPlan.of("cell", sequences_text, seed)


def test_a_plan_has_a_seed_of_the_cell_unless_one_is_given() -> None:
    assert (
        SearchPlan.of("one", None, None)
        == SearchPlan.of("one", "100", None)
        != SearchPlan.of("two", None, None)
    )
    assert SearchPlan.of("one", "1000", "5") == SearchPlan(1000, 5)
    assert SearchPlan.of("one", None, "5", whole=False) == SearchPlan(10, 5)
    assert SearchPlan.of("one", "7", "5", whole=False) == SearchPlan(7, 5)
