"""Judgement of the PMU probe's own overflow interrupts."""

from __future__ import annotations

import pytest

from harness.config.models import Accel, Arch
from harness.contract.outcomes import Outcome
from harness.contract.overflow import judge_probe_overflow, overflow_words
from harness.probe.models import (
    Counter,
    CounterState,
    OverflowChecks,
    OverflowInterrupt,
    PmuVerdict,
    ProbeAnswer,
)

CHECKS = list(OverflowChecks.model_fields)
COUNTERS = tuple(
    Counter(name=name, event="cycles", state=CounterState(state), count=9, loop=10)
    for name, state in (("cycle", "counting"), ("event0", "counting"), ("event1", "dead"))
)


def overflow(name: str, *failing: str) -> OverflowInterrupt:
    checks = OverflowChecks(**{check: check not in failing for check in CHECKS})
    return OverflowInterrupt(name=name, event="cycles", interrupts=1, number=23, status="0x1", checks=checks)


GOOD = (overflow("cycle"), overflow("event0"))


def probe(
    *overflows: OverflowInterrupt, untried: str = "", verdict: PmuVerdict = PmuVerdict.COUNTING
) -> ProbeAnswer:
    return ProbeAnswer(
        arch=Arch.AARCH64,
        accel=Accel.TCG,
        machine="virt",
        cpu="max,pmu=on",
        verdict=verdict,
        interface="pmuv3",
        version=4,
        general_counters=2,
        fixed_counters=1,
        counters=COUNTERS,
        overflows=overflows,
        overflows_untried=untried,
        advertised={},
        elapsed_s=0.1,
        qemu_version="7.2",
    )


def test_all_overflows_interrupt() -> None:
    judgement = judge_probe_overflow(probe(*GOOD))
    assert (judgement.outcome, judgement.reason) == (
        Outcome.PASS,
        "the overflows of all 2 counts interrupt, as number 23",
    )
    assert overflow_words(probe(*GOOD)) == "the PMU probe got them from all 2 counts (PROBE-2)"


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_that_fails(check: str) -> None:
    answer = probe(GOOD[0], overflow("event0", check))
    judgement = judge_probe_overflow(answer)
    assert judgement.outcome is Outcome.FAIL
    assert judgement.reason == f"this is not so: {check} of event0 (cycles)"
    assert any("-cpu max,pmu=on" in fact for fact in judgement.because)
    assert judgement.reason in overflow_words(answer)


@pytest.mark.parametrize("overflows", [(), GOOD[:1], (*GOOD, overflow("event1"))])
def test_counters_that_were_forgotten_or_are_dead(overflows: tuple[OverflowInterrupt, ...]) -> None:
    judgement = judge_probe_overflow(probe(*overflows))
    assert judgement.outcome is Outcome.FAIL
    assert "not the same" in judgement.reason


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (probe(untried="no interrupt controller"), "no interrupt controller"),
        (probe(verdict=PmuVerdict.ABSENT), "the PMU probe says absent"),
        (probe(verdict=PmuVerdict.DEAD), "the PMU probe says dead"),
    ],
)
def test_nothing_to_judge(answer: ProbeAnswer, words: str) -> None:
    judgement = judge_probe_overflow(answer)
    assert (judgement.outcome, words in judgement.reason) == (Outcome.SKIPPED, True)
    assert words in overflow_words(answer)
