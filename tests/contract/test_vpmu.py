"""The virtual PMU: it counts on every CPU or on none, as the probe says, and both see the same."""

from __future__ import annotations

import pytest

from harness.config.models import Generation, Icount
from harness.contract.exact import EXACT_LOOPS, judge_exact_counts
from harness.contract.judgement import combine
from harness.contract.presence import (
    judge_counting_everywhere,
    judge_left_at_rest,
    judge_no_false_counting,
    judge_view_agreement,
)
from harness.contract.records import record_dead
from harness.driver.device import Device
from harness.driver.protocol import CountResult
from harness.probe.models import ProbeAnswer
from harness.runs.guest import Guest

from .conftest import Observe, Settle


def count_everywhere(guest: Guest, pmc: Device, observe: Observe, title: str) -> dict[int, CountResult]:
    """What the counters do on each CPU."""
    counted = {cpu: pmc.count(cpu=cpu) for cpu in range(guest.facts.cpus)}
    observe(title, {cpu: seen.model_dump(mode="json") for cpu, seen in counted.items()})
    return counted


@pytest.mark.clause("VIRT-1")
def test_counters_count_on_every_cpu(
    guest: Guest, pmc: Device, probe_answer: ProbeAnswer, settle: Settle, observe: Observe
) -> None:
    first = pmc.allocate()
    observe("request", first)
    able = first.succeeded and guest.privileged
    counted = count_everywhere(guest, pmc, observe, "counters by CPU") if able else {}
    judgements = [
        judge_counting_everywhere(
            probe_answer,
            first,
            counted,
            privileged=guest.privileged,
            group_cpus=guest.facts.group_cpus,
        )
    ]
    if guest.cell.icount is Icount.EXACT:
        loops = [pmc.count(loop) for loop in EXACT_LOOPS] if able else []
        observe("counters by loop", [seen.model_dump(mode="json") for seen in loops])
        judgements.append(judge_exact_counts(probe_answer, first, loops, privileged=guest.privileged))
    if able:
        pmc.free(first.handle)
        if pmc.allocate().succeeded:
            last = count_everywhere(guest, pmc, observe, "after a free and another request")
            judgements.append(judge_left_at_rest(counted, last))
    settle(combine(*judgements))


@pytest.mark.clause("VIRT-2")
def test_nothing_counts_without_a_pmu(
    guest: Guest,
    pmc: Device,
    probe_answer: ProbeAnswer,
    generation: Generation,
    settle: Settle,
    observe: Observe,
) -> None:
    first = pmc.allocate()
    observe("request", first)
    counted = count_everywhere(guest, pmc, observe, "counters by CPU") if first.succeeded else {}
    settle(judge_no_false_counting(probe_answer, first, counted, generation))


@pytest.mark.clause("VIRT-3")
def test_guest_and_probe_see_the_same_pmu(
    guest: Guest, pmc: Device, probe_answer: ProbeAnswer, settle: Settle, observe: Observe
) -> None:
    counted = pmc.count() if pmc.allocate().succeeded else None
    observe("CPUID in the guest", [leaf.model_dump(mode="json") for leaf in guest.facts.cpuid])
    observe("counters", None if counted is None else counted.model_dump(mode="json"))
    settle(judge_view_agreement(probe_answer, guest.facts.cpuid, counted))


@pytest.mark.clause("VIRT-4")
def test_a_pmu_that_is_advertised_but_dead(
    probe_answer: ProbeAnswer, settle: Settle, observe: Observe
) -> None:
    observe("probe", {counter.name: f"{counter.event}: {counter.state}" for counter in probe_answer.counters})
    settle(record_dead(probe_answer))
