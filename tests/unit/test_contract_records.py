"""What is kept where the documentation is silent, the crash clauses, and the overflow handler: in words, and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import pytest

from harness.contract import records as r
from harness.contract.crash import (
    Aftermath,
    CrashClass,
    aftermath_of,
    is_finding,
    judge_garbage_free,
    record_aftermath,
)
from harness.contract.expectations import judge_overflow
from harness.contract.expected import Expectation, Expected
from harness.contract.observations import Call
from harness.contract.outcomes import Outcome
from harness.contract.status import documented_free
from harness.errors import ClientError, DeadlineExceeded, GuestPanicked, HalpmcError, QemuError
from harness.probe.models import Counter, CounterState, PmuVerdict
from harness.runs.crash import attempt
from tests.unit.test_contract_expectations import GRANTED, INVALID, ODD, REFUSED, probe

PASS, FAIL, SKIP, RECORDED = Outcome.PASS, Outcome.FAIL, Outcome.SKIPPED, Outcome.RECORDED
FREED = Call(status=0, handle=0x1010)


def test_growth_of_the_nonpaged_pool() -> None:
    """A smallest block in each cycle is growth; what a system does meanwhile is not."""
    assert r.record_pool_growth(None, None, 10).outcome is SKIP
    assert r.record_pool_growth(1 << 20, None, 10).outcome is SKIP
    for grown, words in (
        (0, "does not grow"),
        (319, "does not grow"),
        (-5, "does not grow"),
        (320, "pool grows"),
    ):
        seen = r.record_pool_growth(1 << 20, (1 << 20) + grown, 10)
        assert seen.outcome is RECORDED
        assert words in seen.reason


def test_pairs() -> None:
    seen = r.record_pairs({"a": (GRANTED, GRANTED), "b": (GRANTED, REFUSED), "c": (REFUSED, GRANTED)})
    assert seen.outcome is RECORDED
    assert seen.reason == "a: both are granted; b: the second gets STATUS_INSUFFICIENT_RESOURCES (0xC000009A)"
    assert r.record_pairs({"a": (REFUSED, GRANTED)}).outcome is SKIP


@pytest.mark.parametrize(
    ("granted", "reported", "words"),
    [
        ({0, 1, 2, 3}, 4, "4 of 9 are granted (0-3), as many as the 4 that the CPU reports"),
        ({0, 1, 3, 8}, 6, "4 of 11 are granted (0-1, 3, 8), fewer than the 6"),
        ({0, 1, 2, 3}, 0, "4 of 5 are granted (0-3), more than the 0"),
        (set(), 4, "0 of 9 are granted (none), fewer than the 4"),
    ],
)
def test_index_curve(granted: set[int], reported: int, words: str) -> None:
    calls = [GRANTED if index in granted else INVALID for index in range(reported + r.BEYOND)]
    seen = r.record_index_curve(calls, reported)
    assert seen.outcome is RECORDED
    assert seen.reason.startswith(words)
    assert seen.reason.endswith("the others: STATUS_INVALID_PARAMETER (0xC000000D)")


def test_lifetime() -> None:
    good = r.record_still_held("S3", REFUSED, FREED, GRANTED).reason
    assert good.startswith("after S3: still excludes (STATUS_INSUFF")
    assert good.endswith("still frees, granted again after it")
    bad = r.record_still_held("S3", GRANTED, INVALID, REFUSED).reason
    assert "two owners" in bad and "frees no more" in bad and "not granted after it" in bad
    assert "refused (STATUS_INSUFFICIENT" in r.record_leak(REFUSED, GRANTED).reason
    assert "granted all the same until" in r.record_leak(GRANTED, REFUSED).reason


def counter(name: str, state: CounterState) -> Counter:
    return Counter(
        name=name,
        event="cycles",
        state=state,
        count=0,
        loop=1,
        fault=None,
    )


def test_dead_counters() -> None:
    alive, dead = counter("gp0", CounterState.COUNTING), counter("gp1", CounterState.DEAD)

    def seen(verdict: PmuVerdict, *counters: Counter) -> tuple[Outcome, str]:
        judgement = r.record_dead(probe(verdict).model_copy(update={"counters": counters}))
        return judgement.outcome, judgement.reason

    assert seen(PmuVerdict.ABSENT) == (SKIP, "no PMU is advertised, says the PMU probe")
    assert seen(PmuVerdict.DEAD, dead) == (RECORDED, "advertised but dead (none): gp1 (cycles, dead)")
    assert seen(PmuVerdict.COUNTING, alive, dead)[1].startswith("advertised but dead in part: 1 of 2")
    assert seen(PmuVerdict.COUNTING, alive)[1].startswith("none is dead: all 1")


@pytest.mark.parametrize(
    ("call", "kind", "outcome"),
    [
        (INVALID, CrashClass.DOCUMENTED, PASS),
        (ODD, CrashClass.UNDOCUMENTED, FAIL),
        (FREED, CrashClass.SILENT, FAIL),
    ],
)
def test_a_call_that_returned(call: Call, kind: CrashClass, outcome: Outcome) -> None:
    seen = aftermath_of(call, documented_free())
    assert seen.kind is kind
    assert judge_garbage_free("1", seen).outcome is outcome
    assert not is_finding(record_aftermath("1", seen).reason)


def raising(error: Exception) -> Callable[[], NoReturn]:
    def ask() -> NoReturn:
        raise error

    return ask


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (GuestPanicked("bug check 0x50"), CrashClass.BUGCHECK),
        (DeadlineExceeded("the answer", 3.0), CrashClass.HANG),
    ],
)
def test_a_call_that_stops_the_guest_is_a_finding(error: HalpmcError, kind: CrashClass) -> None:
    def examine(seen: HalpmcError) -> None:
        seen.evidence.update(triage="our driver's fault", evidence="cells/x/evidence/y")

    seen = attempt(raising(error), documented_free(), examine)
    assert seen == Aftermath(kind, f"{error.message}; our driver's fault; cells/x/evidence/y")
    assert is_finding(record_aftermath("NULL", seen).reason)
    assert judge_garbage_free("1", seen).outcome is FAIL


@pytest.mark.parametrize(
    "error", [QemuError("QEMU died"), ClientError("free", "win32", 5, "DeviceIoControl")]
)
def test_what_is_not_the_guests_kernels_doing_is_no_answer(error: HalpmcError) -> None:
    with pytest.raises(type(error)):
        attempt(raising(error), documented_free(), lambda _: None)


@dataclass(frozen=True)
class Owner:
    handle: int
    calls: int
    bits: int


@pytest.mark.parametrize(
    ("owners", "outcome", "words"),
    [
        ([Owner(0x1010, 3, 0b100)], PASS, "3 times"),
        ([], FAIL, "did not run"),
        ([Owner(0x2020, 1, 0b100)], FAIL, "expected the owning handle 0x1010, got 0x2020"),
        ([Owner(0x1010, 1, 0b101)], FAIL, "expected the bits 0x4 of counter 2, got 0x5"),
        ([Owner(0x1010, 1, 0b100), Owner(0x2020, 1, 0b100)], FAIL, "0x2020"),
    ],
)
def test_overflow(owners: list[Owner], outcome: Outcome, words: str) -> None:
    expectation = Expectation(Expected.COUNTING, "the PMU probe ran")
    seen = judge_overflow(GRANTED, 2, owners, expectation)
    assert seen.outcome is outcome and words in seen.reason
    assert judge_overflow(REFUSED, 2, owners, expectation).outcome is SKIP
