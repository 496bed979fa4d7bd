"""Judgement of single calls, and of the PMU that the guest sees: observations and their outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from harness.config.models import Accel, Arch, Cell, Generation
from harness.contract import expectations as e
from harness.contract import presence as p
from harness.contract.expected import Expectation, Expected
from harness.contract.judgement import Judgement
from harness.contract.observations import Call
from harness.contract.outcomes import Outcome
from harness.errors import DriverError
from harness.probe.models import Counter, CounterChecks, CounterState, PmuVerdict, ProbeAnswer

PASS, FAIL, SKIP, RECORDED = Outcome.PASS, Outcome.FAIL, Outcome.SKIPPED, Outcome.RECORDED
SHARED, EXCLUSIVE = Generation.SHARED, Generation.EXCLUSIVE
POISON = 0xAAAA_AAAA_AAAA_AAAA

GRANTED = Call(status=0, handle=0x1010, written=True)
REFUSED = Call(status=0xC000009A, handle=0, written=True)
INVALID = Call(status=0xC000000D, handle=POISON)
UNSUPPORTED = Call(status=0xC00000BB, handle=0, written=True)
ODD = Call(status=0xC0000008, handle=POISON)
SUCCESS_UNWRITTEN = Call(status=0, handle=POISON)
SUCCESS_NULL = Call(status=0, handle=0, written=True)
REFUSED_UNWRITTEN = Call(status=0xC000009A, handle=POISON)
DOCUMENTED = Expectation(Expected.DOCUMENTED, "anything documented")
REFUSED_WITH_HANDLE = Call(status=0xC000009A, handle=0x1010, written=True)


def check(judgement: Judgement, outcome: Outcome, *words: str) -> None:
    assert judgement.outcome is outcome, judgement
    for word in words:
        assert word in judgement.reason
    assert "\n" not in judgement.reason
    assert bool(judgement.because) is (outcome is FAIL)


@pytest.mark.parametrize(
    ("present", "outcome", "words"),
    [
        ((True, True), PASS, ""),
        ((False, True), FAIL, "HalAllocateHardwareCounters"),
        ((True, False), FAIL, "HalFreeHardwareCounters"),
        ((False, False), FAIL, "HalAllocateHardwareCounters and HalFreeHardwareCounters"),
    ],
)
def test_presence(present: tuple[bool, bool], outcome: Outcome, words: str) -> None:
    check(e.judge_presence(*present), outcome, words)


@pytest.mark.parametrize(
    ("call", "generation", "outcome", "words"),
    [
        (GRANTED, SHARED, PASS, "0x1010"),
        (SUCCESS_NULL, SHARED, FAIL, "the handle cell holds NULL"),
        (SUCCESS_UNWRITTEN, SHARED, FAIL, "the handle cell was not written"),
        (REFUSED, EXCLUSIVE, PASS, "STATUS_INSUFFICIENT_RESOURCES (0xC000009A)"),
        (REFUSED_UNWRITTEN, EXCLUSIVE, FAIL, "expected NULL"),
        (REFUSED_WITH_HANDLE, EXCLUSIVE, FAIL, "holds 0x1010"),
        (INVALID, EXCLUSIVE, PASS, "STATUS_INVALID_PARAMETER"),
        (UNSUPPORTED, SHARED, PASS, "STATUS_NOT_SUPPORTED"),
        (UNSUPPORTED, EXCLUSIVE, FAIL, "STATUS_NOT_SUPPORTED"),
        (ODD, SHARED, FAIL, "STATUS_INVALID_HANDLE (0xC0000008)"),
    ],
)
def test_first_allocate(call: Call, generation: Generation, outcome: Outcome, words: str) -> None:
    check(e.judge_first_allocate(call, generation, DOCUMENTED), outcome, words)


@pytest.mark.parametrize(
    ("expected", "call", "outcome"),
    [
        (Expected.GRANTED, GRANTED, PASS),
        (Expected.GRANTED, REFUSED, FAIL),
        (Expected.GRANTED, INVALID, FAIL),
        (Expected.REFUSED, REFUSED, PASS),
        (Expected.REFUSED, GRANTED, FAIL),
        (Expected.REFUSED, INVALID, FAIL),
        (Expected.REFUSED, REFUSED_UNWRITTEN, FAIL),
    ],
)
def test_first_allocate_against_what_the_cell_must_give(
    expected: Expected, call: Call, outcome: Outcome
) -> None:
    judgement = e.judge_first_allocate(call, SHARED, Expectation(expected, "of a fact"))
    check(judgement, outcome)
    if outcome is FAIL and call is not REFUSED_UNWRITTEN:
        assert judgement.reason == f"expected {expected}, got {call.answer}"
        assert judgement.because[1:] == ("expected because of a fact",)


@pytest.mark.parametrize(
    ("call", "outcome", "words"),
    [
        (REFUSED, PASS, ""),
        (GRANTED, FAIL, "two owners at once"),
        (INVALID, FAIL, "expected STATUS_INSUFFICIENT_RESOURCES (0xC000009A), got STATUS_INVALID_PARAMETER"),
        (REFUSED_UNWRITTEN, FAIL, "not written"),
        (replace(REFUSED, written=False), FAIL, "not written"),
        (REFUSED_WITH_HANDLE, FAIL, "expected NULL"),
    ],
)
def test_refused_while_held(call: Call, outcome: Outcome, words: str) -> None:
    check(e.judge_refused_while_held(call), outcome, words)
    check(e.judge_refused_while_held(call, "SHARE-3", "the whole PMU"), outcome, words, "the whole PMU")


def test_skip_unless_granted() -> None:
    assert e.skip_unless_granted(GRANTED) is None
    judgement = e.skip_unless_granted(REFUSED)
    assert judgement is not None
    check(judgement, SKIP, "STATUS_INSUFFICIENT_RESOURCES")


def test_pinned() -> None:
    check(e.judge_pinned({0: REFUSED, 1: replace(REFUSED, cpu=1)}), PASS, "CPU 0", "CPU 1")
    check(e.judge_pinned({0: REFUSED, 1: replace(GRANTED, cpu=1)}), FAIL, "on CPU 1")
    with pytest.raises(DriverError, match="told to call on CPU 1 and called on CPU 0"):
        e.judge_pinned({1: REFUSED})
    with pytest.raises(DriverError):
        e.judge_pinned({})


def test_only_documented_statuses() -> None:
    check(e.judge_documented([GRANTED, REFUSED, INVALID], [GRANTED, INVALID], EXCLUSIVE), PASS)
    check(e.judge_documented([UNSUPPORTED], [], SHARED), PASS)
    check(e.judge_documented([UNSUPPORTED], [], EXCLUSIVE), FAIL, "HalAllocateHardwareCounters returned")
    check(e.judge_documented([], [REFUSED], SHARED), FAIL, "HalFreeHardwareCounters returned STATUS_INSUFF")


def test_handle_on_error_is_recorded() -> None:
    check(e.record_handle_on_error(INVALID), RECORDED, "STATUS_INVALID_PARAMETER", "not written")
    check(e.record_handle_on_error(UNSUPPORTED), RECORDED, "NULL")
    check(e.record_handle_on_error(REFUSED), SKIP)
    check(e.record_handle_on_error(GRANTED), SKIP)


def test_parameters() -> None:
    check(e.judge_not_granted(INVALID, "GroupCount 1"), PASS, "GroupCount 1: STATUS_INVALID_PARAMETER")
    check(e.judge_not_granted(GRANTED, "GroupCount 1"), FAIL, "GroupCount 1", "granted")
    check(e.judge_not_supported(UNSUPPORTED), PASS)
    check(e.judge_not_supported(INVALID), FAIL, "expected STATUS_NOT_SUPPORTED (0xC00000BB)")
    check(
        e.record_answers([("zero mask", INVALID), ("group 9", GRANTED)]),
        RECORDED,
        "zero mask: STATUS_INV",
        "; group 9",
    )


def test_a_list_is_refused_as_a_unit() -> None:
    check(e.judge_refused_as_unit(GRANTED, REFUSED, GRANTED), PASS)
    check(e.judge_refused_as_unit(GRANTED, GRANTED, GRANTED), FAIL, "two owners")
    check(e.judge_refused_as_unit(GRANTED, REFUSED, REFUSED), FAIL, "kept its free counter")
    check(e.judge_refused_as_unit(INVALID, REFUSED, INVALID), SKIP)


def test_a_list_is_granted_as_a_unit() -> None:
    check(e.judge_granted_as_unit(GRANTED, [REFUSED, REFUSED], [GRANTED, GRANTED]), PASS)
    check(e.judge_granted_as_unit(GRANTED, [REFUSED, GRANTED], [GRANTED, GRANTED]), FAIL, "entry 1")
    check(
        e.judge_granted_as_unit(GRANTED, [REFUSED, REFUSED], [REFUSED, GRANTED]),
        FAIL,
        "entry 0",
        "given back",
    )
    check(e.judge_granted_as_unit(REFUSED, [], []), SKIP)


def test_frees() -> None:
    check(e.judge_free(GRANTED), PASS)
    check(e.judge_free(Call(status=0xC000000D, handle=0x1010)), FAIL, "0x1010", "STATUS_INVALID_PARAMETER")
    check(e.judge_invalid_free(INVALID), PASS)
    check(e.judge_invalid_free(Call(status=0, handle=0x10)), FAIL, "already free", "got STATUS_SUCCESS")
    check(e.judge_invalid_free(Call(status=0), "FREE-3"), FAIL, "freeing NULL")
    check(e.judge_invalid_free(ODD, "FREE-3"), FAIL, "got STATUS_INVALID_HANDLE")


def test_stale_free() -> None:
    check(e.judge_stale_free(0x10, GRANTED, INVALID, REFUSED), PASS)
    check(e.judge_stale_free(0x10, GRANTED, GRANTED, REFUSED), FAIL, "a stale handle")
    check(e.judge_stale_free(0x10, GRANTED, INVALID, GRANTED), FAIL, "two owners")
    check(e.judge_stale_free(GRANTED.handle, GRANTED, GRANTED, GRANTED), FAIL, "given out again")
    check(
        e.judge_stale_free(GRANTED.handle, GRANTED, INVALID, REFUSED), PASS
    )  # it tells the two owners apart


@dataclass(frozen=True)
class Owner:
    handle: int
    bits: int
    calls: int = 1


@pytest.mark.parametrize(
    ("granted", "owners", "outcome", "words"),
    [
        (GRANTED, [Owner(0x1010, 0b100, 3)], PASS, ["ran 3 times for counter 2"]),
        (GRANTED, [Owner(0x1010, 0b100), Owner(0x1010, 0b100)], PASS, ["ran 2 times"]),
        (REFUSED, [], SKIP, ["is not granted: STATUS_INSUFFICIENT_RESOURCES"]),
        (GRANTED, [], FAIL, ["counter 2 overflowed, and the handler did not run"]),
        (GRANTED, [Owner(0x2020, 0b100)], FAIL, ["expected the owning handle 0x1010, got 0x2020"]),
        (GRANTED, [Owner(0x1010, 0b100), Owner(0, 0b100)], FAIL, ["owning handle 0x1010, got 0x0"]),
        (GRANTED, [Owner(0x1010, 0b010)], FAIL, ["expected the bits 0x4 of counter 2, got 0x2"]),
        (GRANTED, [Owner(0x1010, 0b110)], FAIL, ["got 0x6"]),
        (GRANTED, [Owner(0x1010, 0b100), Owner(0x1010, 0)], FAIL, ["got 0x0, 0x4"]),
    ],
)
def test_overflow(granted: Call, owners: list[Owner], outcome: Outcome, words: list[str]) -> None:
    counting = Expectation(Expected.COUNTING, "the PMU probe counted")
    judgement = e.judge_overflow(granted, 2, owners, counting)
    check(judgement, outcome, *words)
    if outcome is FAIL:
        assert judgement.because[-1] == "it can overflow here: the PMU probe counted"


def test_irql() -> None:
    check(e.judge_irql([GRANTED, REFUSED]), PASS, "2 calls")
    check(e.judge_irql([GRANTED, replace(GRANTED, irql_before=2)]), FAIL, "called at IRQL 2")
    check(e.judge_irql([replace(GRANTED, irql_after=2)]), FAIL, "returned at IRQL 2")
    check(e.judge_irql([]), SKIP)


def test_released() -> None:
    check(e.judge_released(GRANTED, "LIFE-1", "the client died"), PASS, "the client died")
    check(
        e.judge_released(REFUSED, "LIFE-2", "the unload"), FAIL, "the unload", "STATUS_INSUFFICIENT_RESOURCES"
    )


# -- the PMU ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    name: str
    state: str
    event: str = "cycles"
    checks: CounterChecks = field(default_factory=CounterChecks)


@dataclass(frozen=True)
class Counters:
    counters: Sequence[Seen]
    cpu: int = 0
    group: int = 0
    interface: str = "none"
    general: int = 0


@dataclass(frozen=True)
class Leaf:
    leaf: int
    subleaf: int = 0
    eax: int = 0
    ebx: int = 0
    ecx: int = 0
    edx: int = 0


def probe(verdict: PmuVerdict, **advertised: str) -> ProbeAnswer:
    return ProbeAnswer(
        arch=Arch.X86_64,
        accel=Accel.TCG,
        machine="q35",
        cpu="max,pmu=on",
        verdict=verdict,
        interface="none",
        version=0,
        general_counters=0,
        fixed_counters=0,
        counters=(),
        advertised={key.replace("_", "."): value for key, value in advertised.items()},
        elapsed_s=0.2,
        qemu_version="7.2",
    )


def counters(*states: str) -> Counters:
    return Counters([Seen(f"gp{number}", state) for number, state in enumerate(states)])


ABSENT, COUNTING = probe(PmuVerdict.ABSENT), probe(PmuVerdict.COUNTING)


def test_probe_answers_for_the_machine_of_the_cell() -> None:
    check(p.judge_probe(Cell(id="a"), ABSENT), PASS, "absent under tcg")
    check(p.judge_probe(Cell(id="a", arch=Arch.AARCH64, machine="virt"), ABSENT), FAIL, "aarch64 virt")
    check(
        p.judge_probe(Cell(id="a", machine="pc"), ABSENT),
        FAIL,
        "x86_64 pc, the probe answered about x86_64 q35",
    )


@pytest.mark.parametrize(
    ("answer", "first", "counted", "outcome", "words"),
    [
        (
            ABSENT,
            GRANTED,
            [counters("faulted", "dead")],
            PASS,
            "2 counters were read on each of 1 CPUs, none counts",
        ),
        (ABSENT, GRANTED, [counters()] * 2, PASS, "each of 2 CPUs"),
        (ABSENT, REFUSED, [], PASS, "nothing was granted"),
        (ABSENT, ODD, [], FAIL, "expected a documented status"),
        (ABSENT, GRANTED, [counters("dead", "counting")], FAIL, "gp1 on CPU 0"),
        (ABSENT, GRANTED, [counters("dead"), counters("counting")], FAIL, "gp0 on CPU 1"),
        (COUNTING, GRANTED, [counters("counting")], SKIP, "there is a PMU here"),
    ],
)
def test_nothing_counts_without_a_pmu(
    answer: ProbeAnswer, first: Call, counted: list[Counters], outcome: Outcome, words: str
) -> None:
    by_cpu = dict(enumerate(counted))
    check(p.judge_no_false_counting(answer, first, by_cpu, SHARED), outcome, words)


def test_counters_that_were_not_read_prove_nothing() -> None:
    with pytest.raises(DriverError, match="were not read"):
        p.judge_no_false_counting(ABSENT, GRANTED, {}, SHARED)


ARM = ABSENT.model_copy(
    update={
        "arch": Arch.AARCH64,
        "verdict": PmuVerdict.COUNTING,
        "interface": "pmuv3",
        "general_counters": 6,
        "counters": tuple(
            Counter(name=name, event="cycles", state=CounterState.COUNTING, count=9, loop=10)
            for name in ("gp0", "gp1")
        ),
    }
)


@pytest.mark.parametrize(
    ("answer", "first", "counted", "privileged", "outcome", "words"),
    [
        (ARM, GRANTED, [counters("counting", "counting")] * 2, True, PASS, "all 2 counts"),
        (
            ARM,
            GRANTED,
            [counters("counting", "counting"), counters("counting", "dead")],
            True,
            FAIL,
            "on CPU 1",
        ),
        (ARM, GRANTED, [counters("faulted", "counting")], True, FAIL, "gp0 (cycles)"),
        (ARM, GRANTED, [counters()], True, FAIL, "gp0 (cycles), gp1 (cycles)"),
        (ARM, GRANTED, [counters("faulted", "faulted")], False, SKIP, "without the privilege"),
        (ARM, REFUSED, [], True, SKIP, "nothing was granted"),
        (
            ABSENT,
            GRANTED,
            [counters("counting")],
            True,
            SKIP,
            "no counter must count here: the PMU probe found no PMU",
        ),
    ],
)
def test_counters_count_everywhere(
    answer: ProbeAnswer, first: Call, counted: list[Counters], privileged: bool, outcome: Outcome, words: str
) -> None:
    seen = {cpu: replace(one, cpu=cpu) for cpu, one in enumerate(counted)}
    check(p.judge_counting_everywhere(answer, first, seen, privileged=privileged), outcome, words)


@pytest.mark.parametrize("which", ["started", "in_range", "stopped", "reset", "restored"])
def test_a_counter_that_fails_a_check_in_the_guest(which: str) -> None:
    alive = [f"{c.name} ({c.event})" for c in ARM.counters if c.state is CounterState.COUNTING]
    good = [Seen(c.name, "counting", c.event) for c in ARM.counters]
    bad = [replace(counter, checks=CounterChecks(**{which: False})) for counter in good]
    extra = Seen(
        "gp9", "dead", checks=CounterChecks(started=False)
    )  # dead in the probe, too: nobody promised it
    seen = {0: Counters([*good, extra]), 1: Counters(bad, cpu=1)}
    judgement = p.judge_counting_everywhere(ARM, GRANTED, seen, privileged=True)
    check(judgement, FAIL, f"on CPU 1 this is not so: {which} of {', '.join(alive)}")
    assert "CPU 0" not in judgement.reason and "gp9" not in judgement.reason


def test_counting_on_another_cpu_proves_nothing() -> None:
    seen = {1: counters("counting", "counting")}
    with pytest.raises(DriverError, match="on CPU 1 and counted on CPU 0"):
        p.judge_counting_everywhere(ARM, GRANTED, seen, privileged=True)
    with pytest.raises(DriverError, match="on no CPU"):
        p.judge_counting_everywhere(ARM, GRANTED, {}, privileged=True)


def rest(*enabled: bool | None) -> dict[int, Counters]:
    """Two CPUs; the counters of the second one were found enabled or not."""
    checks = [CounterChecks(at_rest=None if one is None else not one) for one in enabled]
    still = [Seen(f"gp{n}", "counting", checks=CounterChecks(at_rest=True)) for n in range(len(enabled))]
    seen = [Seen(f"gp{n}", "counting", checks=check) for n, check in enumerate(checks)]
    return {0: Counters(still if None not in enabled else seen), 1: Counters(seen, cpu=1)}


@pytest.mark.parametrize(
    ("before", "after", "outcome", "words"),
    [
        (rest(False, False), rest(False, False), PASS, "no counter was left enabled"),
        (rest(True, False), rest(True, False), PASS, ""),  # somebody else's
        (rest(True, False), rest(False, False), PASS, ""),
        (rest(False, False), rest(False, True), FAIL, "on CPU 1 these were left enabled: gp1 (cycles)"),
        (rest(True, False), rest(True, True), FAIL, "on CPU 1 these were left enabled: gp1 (cycles)"),
        (rest(False, False), rest(None, False), PASS, ""),  # nobody knows of it
        (rest(None, None), rest(None, None), SKIP, "no counter could be asked"),
    ],
)
def test_counters_are_at_rest_after_the_free(
    before: dict[int, Counters], after: dict[int, Counters], outcome: Outcome, words: str
) -> None:
    check(p.judge_left_at_rest(before, after), outcome, words)


INTEL = probe(PmuVerdict.COUNTING, cpuid_0xa_eax="0x7300404", cpuid_0xa_edx="0x603")


@pytest.mark.parametrize(
    ("answer", "cpuid", "counted", "outcome", "words"),
    [
        (ABSENT, [Leaf(0xA)], counters("faulted"), PASS, "absent"),
        (ABSENT, [Leaf(1)], None, PASS, "absent"),
        (ABSENT, [Leaf(0xA, eax=0x7300404)], None, FAIL, "CPUID 0xa eax: guest 0x7300404, probe 0x0"),
        (INTEL, [Leaf(0xA, eax=0x7300404, edx=0x603)], counters("counting", "dead"), PASS, "counting"),
        (INTEL, [Leaf(0xA)], None, FAIL, "guest 0x0, probe 0x7300404"),
        (ABSENT, [Leaf(0x23, eax=0xF)], None, FAIL, "CPUID 0x23 eax: guest 0xf, probe 0x0"),
        (ABSENT, [Leaf(0x80000022, ebx=6)], None, FAIL, "CPUID 0x80000022 ebx: guest 0x6, probe 0x0"),
        (INTEL, [Leaf(0xA, eax=0x7300404, edx=0x603)], counters("dead"), FAIL, "do not count in the guest"),
        (INTEL, [Leaf(0xA, eax=0x7300404, edx=0x603)], counters("faulted"), PASS, ""),
        (ABSENT, [], counters("counting"), FAIL, "count in the guest and do not count in the probe"),
        (ABSENT, [], counters("faulted"), PASS, "absent"),
        (ABSENT, [], replace(counters("faulted"), interface="pmuv3", general=6), FAIL, "pmuv3 with 6"),
        (ARM, [], replace(counters("counting"), interface="pmuv3", general=6), PASS, "pmuv3"),
        (ARM, [], replace(counters("counting"), interface="pmuv3", general=4), FAIL, "with 4 general"),
        (ARM, [], counters("faulted"), FAIL, "the driver finds no PMU, the probe pmuv3 with 6 general"),
        (COUNTING, [], counters("counting"), PASS, ""),
        (COUNTING, [], None, SKIP, "no view"),
    ],
)
def test_guest_and_probe_see_the_same(
    answer: ProbeAnswer, cpuid: list[Leaf], counted: Counters | None, outcome: Outcome, words: str
) -> None:
    check(p.judge_view_agreement(answer, cpuid, counted), outcome, words)
