"""The virtual PMU: nothing may count where the probe found none, and both views agree."""

from __future__ import annotations

import pytest

from harness.config.models import Generation
from harness.contract.presence import judge_no_false_counting, judge_view_agreement
from harness.driver.device import Device
from harness.probe.models import ProbeAnswer
from harness.runs.guest import Guest
from tests.contract.conftest import Observe, Settle


@pytest.mark.clause("VIRT-2")
def test_nothing_counts_without_a_pmu(
    pmc: Device, probe_answer: ProbeAnswer, generation: Generation, settle: Settle, observe: Observe
) -> None:
    first = pmc.allocate()
    counted = pmc.count() if first.succeeded else None
    observe("request", first)
    observe("counters", None if counted is None else counted.model_dump(mode="json"))
    settle(judge_no_false_counting(probe_answer, first, counted, generation))


@pytest.mark.clause("VIRT-3")
def test_guest_and_probe_see_the_same_pmu(
    guest: Guest, pmc: Device, probe_answer: ProbeAnswer, settle: Settle, observe: Observe
) -> None:
    counted = pmc.count() if pmc.allocate().succeeded else None
    observe("CPUID in the guest", [leaf.model_dump(mode="json") for leaf in guest.facts.cpuid])
    observe("counters", None if counted is None else counted.model_dump(mode="json"))
    settle(judge_view_agreement(probe_answer, guest.facts.cpuid, counted))
