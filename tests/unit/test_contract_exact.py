"""Judgement of a cell whose instructions are counted: equality, with room for other programs and for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from harness.config.models import Accel, Arch, Cell, Icount
from harness.contract.exact import EXACT_LOOPS, LONG, SHORT, judge_exact_counts
from harness.contract.judgement import Judgement
from harness.contract.observations import Call
from harness.contract.outcomes import Outcome
from harness.contract.verdict import realisation
from harness.errors import DriverError
from harness.probe.models import Counter, CounterState, PmuVerdict, ProbeAnswer

GRANTED, REFUSED = Call(status=0, handle=0x1010, written=True), Call(status=0xC000009A, written=True)
KEYS = [
    ("cycle", "cycles"),
    *((f"event{i}", e) for e in ("cycles", "instructions", "sw-incr") for i in (0, 1)),
]


@dataclass(frozen=True)
class Counted:
    name: str
    event: str
    count: int


@dataclass(frozen=True)
class Seen:
    loop: int
    counters: Sequence[Counted]


def probe(
    keys: Sequence[tuple[str, str]] = tuple(KEYS), *, dead: Sequence[tuple[str, str]] = ()
) -> ProbeAnswer:
    return ProbeAnswer(
        arch=Arch.AARCH64,
        accel=Accel.TCG,
        machine="virt",
        cpu="neoverse-n1,pmu=on",
        verdict=PmuVerdict.COUNTING if keys else PmuVerdict.ABSENT,
        interface="pmuv3",
        version=4,
        general_counters=2,
        fixed_counters=1,
        counters=tuple(
            Counter(name=n, event=e, state=CounterState.COUNTING, count=1, loop=20000) for n, e in keys
        )
        + tuple(Counter(name=n, event=e, state=CounterState.DEAD, count=0, loop=20000) for n, e in dead),
        advertised={},
        elapsed_s=0.1,
        qemu_version="7.2",
    )


def look(loop: int, *, each: int = 10, beside: int = 67, cycles: int = 2) -> Seen:
    instructions = loop * each + beside
    counts = {"instructions": instructions, "cycles": instructions * cycles, "sw-incr": 5}
    return Seen(loop, [Counted(name, event, counts[event]) for name, event in KEYS])


def looks(**changes: int) -> list[Seen]:
    return [look(loop, **changes) for loop in EXACT_LOOPS]


def changed(seen: list[Seen], which: Sequence[int], key: tuple[str, str], more: int) -> list[Seen]:
    """The looks with another count of one counter in some of them."""
    return [
        replace(
            one,
            counters=[
                replace(c, count=c.count + more) if number in which and (c.name, c.event) == key else c
                for c in one.counters
            ],
        )
        for number, one in enumerate(seen)
    ]


def judge(seen: list[Seen]) -> Judgement:
    return judge_exact_counts(probe(), GRANTED, seen, privileged=True)


def test_exact_counts() -> None:
    judgement = judge(looks())
    assert judgement.outcome is Outcome.PASS
    assert "7 counts are exact" in judgement.reason and "67 beside it" in judgement.reason


ALL, SHORTS = range(len(EXACT_LOOPS)), [n for n, loop in enumerate(EXACT_LOOPS) if loop == SHORT]
INSTRUCTIONS = ("event1", "instructions")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        pytest.param(looks(each=11), "9000 iterations more make 99000 more, not 90000", id="longer-iteration"),
        pytest.param(looks(cycles=3), "cycles [30201] are not 2 for each of 10067", id="another-clock"),
        pytest.param(
            changed(looks(), ALL, INSTRUCTIONS, 1), "differ in their instructions: [10067, 10068]", id="one-more"
        ),
        pytest.param(
            changed(looks(), SHORTS, INSTRUCTIONS, -1), "event1 (instructions): 9000 iterations more", id="one-less"
        ),
        pytest.param(
            changed(looks(), SHORTS, ("event0", "sw-incr"), -1), "make 1 more, not 0", id="software-event"
        ),
        pytest.param(
            changed(looks(), SHORTS, ("cycle", "cycles"), 2), "cycle (cycles): 9000 iterations", id="cycle-counter"
        ),
        pytest.param(
            [one for n, seen in enumerate(looks()) for one in changed([seen], [0], INSTRUCTIONS, n // 2)
             for one in changed([one], [0], ("event0", "instructions"), n // 2)
             for one in changed([one], [0], ("cycle", "cycles"), n // 2)],
            "12 of 42 counts are not the same when repeated, such as cycle (cycles): 20135 and 20134",
            id="never-the-same",
        ),
        pytest.param(
            changed(looks(), [n for n in ALL if n not in SHORTS], ("event1", "cycles"), 2),
            "cycles [200134, 200136] are not 2 for each of 100067 instructions",
            id="only-the-long-loops",
        ),
        pytest.param([replace(s, counters=s.counters[1:]) for s in looks()], "cycle (cycles)", id="not-counted"),
        pytest.param(
            [replace(s, counters=s.counters[1:] if n == 2 else s.counters) for n, s in enumerate(looks())],
            "these were not counted in each loop: cycle (cycles)", id="not-counted-once"
        ),
    ],
)  # fmt: skip
def test_inexact_counts(seen: list[Seen], words: str) -> None:
    judgement = judge(seen)
    assert judgement.outcome is Outcome.FAIL
    assert words in judgement.reason
    assert judgement.because


def test_another_program_may_disturb_a_count_now_and_then() -> None:
    judgement = judge(changed(looks(), [SHORTS[0]], INSTRUCTIONS, 354))
    assert judgement.outcome is Outcome.PASS
    assert "another program disturbed 1 of 42 counts" in judgement.reason


@pytest.mark.parametrize(
    ("answer", "first", "privileged", "words"),
    [
        (probe(()), GRANTED, True, "nothing can be counted"),
        (probe(), REFUSED, True, "nothing can be counted"),
        (probe(), GRANTED, False, "nothing can be counted"),
        (probe(KEYS[:1]), GRANTED, True, "no counter of the PMU probe counts instructions"),
    ],
)
def test_nothing_to_judge(answer: ProbeAnswer, first: Call, privileged: bool, words: str) -> None:
    judgement = judge_exact_counts(answer, first, looks(), privileged=privileged)
    assert (judgement.outcome, words in judgement.reason) == (Outcome.SKIPPED, True)


def test_a_counter_that_is_dead_for_the_probe_too_is_not_missed() -> None:
    judgement = judge_exact_counts(
        probe(dead=[("event9", "instructions")]), GRANTED, looks(), privileged=True
    )
    assert judgement.outcome is Outcome.PASS
    assert "7 counts are exact" in judgement.reason


def test_other_loops_prove_nothing() -> None:
    for seen in (looks()[:-1], [replace(one, loop=LONG) for one in looks()], []):
        with pytest.raises(DriverError, match="were to be counted"):
            judge(seen)


def test_a_pmu_without_instructions_does_not_realise_an_exact_cell() -> None:
    cell = Cell(id="a", arch=Arch.AARCH64, smp=1, icount=Icount.EXACT)
    assert realisation(cell, probe()) == ()
    for answer in (probe(KEYS[:1]), probe(KEYS[:1], dead=[INSTRUCTIONS])):
        (missing,) = realisation(cell, answer)
        assert missing == "icount=exact was asked for, no counter of the PMU probe counts instructions"
