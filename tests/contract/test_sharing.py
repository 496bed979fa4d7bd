"""The shared generation: what two callers may hold at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.config.models import Generation
from harness.contract.expectations import (
    judge_granted_as_unit,
    judge_refused_as_unit,
    judge_refused_while_held,
    skip_unless_granted,
)
from harness.contract.judgement import combine
from harness.contract.observations import Call
from harness.contract.processors import entry, every_processor, whole_machine
from harness.contract.records import BEYOND, record_index_curve, record_pairs
from harness.driver.device import Device
from harness.probe.models import ProbeAnswer
from harness.runs.guest import Guest

from .conftest import Observe, Settle


def counters(*indexes: int) -> dict[str, Any]:
    """A resource list that names these counters one by one."""
    return {"items": [{"type": 0, "flags": 0, "index": index} for index in indexes]}


@pytest.fixture
def counter_0(pmc: Device, generation: Generation, settle: Settle, observe: Observe) -> Call:
    """Counter 0, held by `pmc`; skipped with the reason where it is not granted."""
    call = pmc.allocate(resources=counters(0))
    observe("counter 0", call)
    refused = skip_unless_granted(call)
    if refused is not None:
        settle(refused)
    return call


@pytest.mark.clause("SHARE-2")
def test_overlapping_counters_are_refused(
    other: Device, counter_0: Call, settle: Settle, observe: Observe
) -> None:
    same = other.allocate(resources=counters(0))
    overlap = other.allocate(resources={"items": [{"type": 1, "flags": 0, "begin": 0, "end": 1}]})
    observe("the same counter", same)
    observe("a range that contains it", overlap)
    settle(
        combine(
            judge_refused_while_held(same, "SHARE-2", "a request for the same counter"),
            judge_refused_while_held(overlap, "SHARE-2", "a request for a range that contains it"),
        )
    )


@pytest.mark.clause("SHARE-2")
def test_each_counter_of_a_range_is_held(
    pmc: Device, other: Device, generation: Generation, settle: Settle, observe: Observe
) -> None:
    granted = pmc.allocate(resources={"items": [{"type": 1, "flags": 0, "begin": 0, "end": 1}]})
    observe("the range 0-1", granted)
    refused = skip_unless_granted(granted)
    if refused is not None:
        settle(refused)
    calls = {index: other.allocate(resources=counters(index)) for index in (0, 1)}
    observe("each counter of it", calls)
    settle(
        combine(
            *(
                judge_refused_while_held(call, "SHARE-2", f"a request for counter {index} of a held range")
                for index, call in calls.items()
            )
        )
    )


@pytest.mark.clause("SHARE-3")
def test_the_whole_is_refused_while_a_part_is_held(
    other: Device, counter_0: Call, settle: Settle, observe: Observe
) -> None:
    call = other.allocate()
    observe("the whole PMU", call)
    settle(judge_refused_while_held(call, "SHARE-3", "a request for the whole PMU"))


@pytest.mark.clause("SHARE-3")
def test_a_part_is_refused_while_the_whole_is_held(
    other: Device, generation: Generation, held: Call, settle: Settle, observe: Observe
) -> None:
    call = other.allocate(resources=counters(0))
    observe("counter 0", call)
    settle(judge_refused_while_held(call, "SHARE-3", "a request for a part"))


@pytest.mark.clause("SHARE-3")
def test_the_whole_of_a_cpu_is_refused_while_the_whole_is_held(
    guest: Guest, other: Device, generation: Generation, held: Call, settle: Settle, observe: Observe
) -> None:
    calls = {
        name(group, number): other.allocate(affinity=[entry(1 << number, group)])
        for group, number in every_processor(guest.facts.group_cpus)
    }
    observe("the PMU of one CPU", calls)
    settle(
        combine(
            *(
                judge_refused_while_held(call, "SHARE-3", f"a request for the PMU of {cpu}")
                for cpu, call in calls.items()
            )
        )
    )


@pytest.mark.clause("SHARE-3")
def test_the_whole_by_name_is_refused_while_the_whole_is_held(
    guest: Guest, other: Device, generation: Generation, held: Call, settle: Settle, observe: Observe
) -> None:
    """All processors, an entry for each group: where there are several, an array of several."""
    call = other.allocate(affinity=whole_machine(guest.facts.group_cpus))
    observe(f"the PMU of {len(guest.facts.group_cpus)} processor groups", call)
    settle(judge_refused_while_held(call, "SHARE-3", "a request for all processors of all groups"))


@pytest.mark.clause("SHARE-2")
def test_a_counter_of_every_group_is_held_on_each_processor(
    guest: Guest, pmc: Device, other: Device, generation: Generation, settle: Settle, observe: Observe
) -> None:
    group_cpus = guest.facts.group_cpus
    granted = pmc.allocate(affinity=whole_machine(group_cpus), resources=counters(0))
    observe(f"counter 0 of {len(group_cpus)} processor groups", granted)
    refused = skip_unless_granted(granted)
    if refused is not None:
        settle(refused)
    calls = {
        name(group, number): other.allocate(**on_cpus(1 << number, group))
        for group, number in every_processor(group_cpus)
    }
    observe("counter 0 of one CPU", calls)
    settle(
        combine(
            *(
                judge_refused_while_held(call, "SHARE-2", f"a request for the same counter of {cpu}")
                for cpu, call in calls.items()
            )
        )
    )


@pytest.mark.clause("SHARE-6")
def test_a_refused_list_keeps_nothing(
    other: Device, counter_0: Call, settle: Settle, observe: Observe
) -> None:
    alone = other.allocate(resources=counters(1))
    if alone.succeeded:
        other.free(alone.handle)
    whole = other.allocate(resources=counters(1, 0))
    remainder = other.allocate(resources=counters(1))
    observe("counter 1 alone", alone)
    observe("counters 1 and 0, of which 0 is held", whole)
    observe("counter 1 again", remainder)
    settle(judge_refused_as_unit(alone, whole, remainder))


@pytest.mark.clause("SHARE-6")
def test_a_granted_list_is_held_and_freed_as_one(
    pmc: Device, other: Device, generation: Generation, settle: Settle, observe: Observe
) -> None:
    whole = pmc.allocate(resources=counters(0, 1))
    while_held = [other.allocate(resources=counters(index)) for index in (0, 1)]
    after_free = []
    if whole.succeeded:
        pmc.free(whole.handle)
        after_free = [other.allocate(resources=counters(index)) for index in (0, 1)]
    observe("counters 0 and 1", whole)
    observe("each alone, while held", while_held)
    observe("each alone, after the free", after_free)
    settle(judge_granted_as_unit(whole, while_held, after_free))


Pair = tuple[Call, Call]


@pytest.fixture
def both(pmc: Device, other: Device) -> Callable[[dict[str, Any], dict[str, Any]], Pair]:
    """Asks by two drivers, one after the other, and gives back what was granted."""

    def ask(first: dict[str, Any], second: dict[str, Any]) -> Pair:
        calls = pmc.allocate(**first), other.allocate(**second)
        for device, call in zip((pmc, other), calls, strict=True):
            if call.succeeded:
                device.free(call.handle)
        return calls

    return ask


@pytest.mark.clause("SHARE-1")
def test_disjoint_counters_of_the_same_cpus(
    generation: Generation, both: Callable[..., Pair], settle: Settle, observe: Observe
) -> None:
    def range_of(begin: int, end: int) -> dict[str, Any]:
        return {"resources": {"items": [{"type": 1, "flags": 0, "begin": begin, "end": end}]}}

    pairs = {
        "counters 0 and 1": both({"resources": counters(0)}, {"resources": counters(1)}),
        "counters 1 and 0": both({"resources": counters(1)}, {"resources": counters(0)}),
        "ranges 0-1 and 2-3": both(range_of(0, 1), range_of(2, 3)),
        "counter 0 and range 1-2": both({"resources": counters(0)}, range_of(1, 2)),
    }
    observe("first and second caller", pairs)
    settle(record_pairs(pairs))


def on_cpus(mask: int, group: int = 0) -> dict[str, Any]:
    """Counter 0 of these processors."""
    return {"affinity": [entry(mask, group)], "resources": counters(0)}


def name(group: int, number: int) -> str:
    """A processor in words; with one group, as everybody calls it."""
    return f"CPU {number}" + (f" of group {group}" if group else "")


@pytest.mark.clause("SHARE-4")
def test_the_same_counter_of_disjoint_cpus(
    guest: Guest, generation: Generation, both: Callable[..., Pair], settle: Settle, observe: Observe
) -> None:
    _, *others = every_processor(guest.facts.group_cpus)
    if not others:
        pytest.skip("the guest has one CPU")
    pairs = {
        f"{name(group, number)} and CPU 0": both(on_cpus(1 << number, group), on_cpus(1))
        for group, number in others
    }
    observe("first and second caller", pairs)
    settle(record_pairs(pairs))


@pytest.mark.clause("SHARE-4")
def test_the_same_counter_of_disjoint_groups(
    guest: Guest, generation: Generation, both: Callable[..., Pair], settle: Settle, observe: Observe
) -> None:
    groups = guest.facts.groups
    if groups < 2:
        pytest.skip(f"the guest says that its {guest.facts.cpus} CPUs are one processor group")
    pairs = {f"group {n} and group 0": both(on_cpus(1, n), on_cpus(1, 0)) for n in range(1, groups)}
    observe("first and second caller", pairs)
    settle(record_pairs(pairs))


@pytest.mark.clause("SHARE-5")
def test_single_counters_by_index(
    pmc: Device, generation: Generation, probe_answer: ProbeAnswer, settle: Settle, observe: Observe
) -> None:
    reported = probe_answer.general_counters
    calls = []
    for index in range(reported + BEYOND):
        call = pmc.allocate(resources=counters(index))
        if call.succeeded:
            pmc.free(call.handle)
        calls.append(call)
    observe("by index", calls)
    settle(record_index_curve(calls, reported))
