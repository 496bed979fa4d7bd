"""Expectations computed from the facts of a cell: what, and because of which fact."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.config.models import Generation, GuestKind, HalKind, HalSettings, WithoutPmu
from harness.contract.expected import (
    CellFacts,
    Expected,
    expect_clause,
    expect_counters,
    expect_overflow,
    expect_plain_request,
)
from harness.probe.models import PmuVerdict
from tests.unit.test_contract_expectations import probe

REFERENCE, SYSTEM = HalKind.REFERENCE, HalKind.SYSTEM
ABSENT, DEAD, COUNTING = PmuVerdict.ABSENT, PmuVerdict.DEAD, PmuVerdict.COUNTING


def facts(
    verdict: PmuVerdict = ABSENT,
    *,
    hal: HalKind = REFERENCE,
    settings: HalSettings | None = None,
    build: int = 17763,
    privileged: bool = True,
    no_interrupt: str = "",
) -> CellFacts:
    return CellFacts(
        kind=GuestKind.WINE if hal is REFERENCE else GuestKind.WINDOWS,
        hal=hal,
        hal_settings=settings or HalSettings(),
        os_build=build,
        probe=probe(verdict),
        privileged=privileged,
        no_interrupt=no_interrupt,
    )


@pytest.mark.parametrize(
    ("hal", "build", "setting", "generation", "because"),
    [
        (SYSTEM, 17763, Generation.SHARED, Generation.EXCLUSIVE, "build 17763"),
        (SYSTEM, 18361, Generation.SHARED, Generation.EXCLUSIVE, "build 18361"),
        (SYSTEM, 18362, Generation.EXCLUSIVE, Generation.SHARED, "build 18362"),
        (SYSTEM, 20348, Generation.EXCLUSIVE, Generation.SHARED, "build 20348"),
        (REFERENCE, 20348, Generation.EXCLUSIVE, Generation.EXCLUSIVE, "the reference HAL is set to"),
    ],
)
def test_the_generation(
    hal: HalKind, build: int, setting: Generation, generation: Generation, because: str
) -> None:
    known = facts(hal=hal, build=build, settings=HalSettings(generation=setting))
    assert known.generation is generation
    assert because in known.generation_fact
    own, other = ("PARAM-X", "PARAM-3") if generation is Generation.EXCLUSIVE else ("PARAM-3", "PARAM-X")
    assert expect_clause(own, known).expected is Expected.JUDGED
    assert expect_clause("ALLOC-1", known).expected is Expected.JUDGED
    skipped = expect_clause(other, known)
    assert skipped.expected is Expected.SKIPPED
    assert because in skipped.because and f"this cell is of the {generation} one" in skipped.because


@pytest.mark.parametrize(
    ("hal", "verdict", "without_pmu", "expected", "because"),
    [
        (SYSTEM, COUNTING, WithoutPmu.GRANT, Expected.DOCUMENTED, "promise no grant"),
        (SYSTEM, ABSENT, WithoutPmu.GRANT, Expected.DOCUMENTED, "promise no grant"),
        (REFERENCE, ABSENT, WithoutPmu.GRANT, Expected.GRANTED, "set to grant"),
        (REFERENCE, ABSENT, WithoutPmu.REFUSE, Expected.REFUSED, "set to refuse"),
        (REFERENCE, COUNTING, WithoutPmu.REFUSE, Expected.GRANTED, "found a PMU"),
        (REFERENCE, DEAD, WithoutPmu.REFUSE, Expected.GRANTED, "found a PMU"),
    ],
)
def test_the_plain_request(
    hal: HalKind, verdict: PmuVerdict, without_pmu: WithoutPmu, expected: Expected, because: str
) -> None:
    seen = expect_plain_request(facts(verdict, hal=hal, settings=HalSettings(without_pmu=without_pmu)))
    assert seen.expected is expected
    assert because in seen.because


@pytest.mark.parametrize(
    ("verdict", "privileged", "expected", "because"),
    [
        (COUNTING, True, Expected.COUNTING, "-cpu"),
        (COUNTING, False, Expected.SKIPPED, "privilege"),
        (ABSENT, True, Expected.SILENT, "found no PMU"),
        (ABSENT, False, Expected.SILENT, "found no PMU"),
        (DEAD, True, Expected.SILENT, "advertised"),
    ],
)
def test_counters(verdict: PmuVerdict, privileged: bool, expected: Expected, because: str) -> None:
    seen = expect_counters(probe(verdict), privileged=privileged)
    assert seen.expected is expected
    assert because in seen.because


def test_an_overflow_needs_a_counter_that_counts_and_may_interrupt() -> None:
    known = facts(COUNTING)
    assert expect_overflow(known).expected is Expected.COUNTING
    for changed, because in (
        (replace(known, no_interrupt="it is at EL0"), "it is at EL0"),
        (replace(known, privileged=False), "privilege"),
        (facts(ABSENT), "found no PMU"),
        (facts(DEAD), "dead"),
    ):
        seen = expect_overflow(changed)
        assert seen.expected is Expected.SKIPPED
        assert because in seen.because
