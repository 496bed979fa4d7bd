"""The overflow handler that a resource list brings along."""

from __future__ import annotations

import pytest

from harness.config.models import Generation
from harness.contract.expectations import judge_overflow
from harness.contract.expected import CellFacts, Expected, expect_overflow
from harness.contract.judgement import failed, skipped
from harness.driver.device import Device

from .conftest import Observe, Settle

SINGLE, OVERFLOW = 0, 3
INDEX = 0


@pytest.mark.clause("OVF-1")
def test_the_handler_runs_for_the_counter_that_overflows(
    pmc: Device, facts: CellFacts, generation: Generation, settle: Settle, observe: Observe
) -> None:
    granted = pmc.allocate(
        resources={
            "items": [
                {"type": SINGLE, "flags": 0, "index": INDEX},
                {"type": OVERFLOW, "flags": 0},
            ]
        }
    )
    observe("counter 0 with a handler", granted)
    expectation = expect_overflow(facts)
    if expectation.expected is Expected.SKIPPED:
        settle(skipped(expectation.because))
    if granted.succeeded:
        made = pmc.make_overflow(INDEX)
        observe("the overflow", made.model_dump(mode="json"))
        if made.status != 0 or [counter.state for counter in made.counters] != ["counting"]:
            settle(failed("OVF-1", f"counter {INDEX} was granted and did not overflow: {made.counters}"))
    seen = pmc.overflows()
    observe("calls of the handler", seen.model_dump(mode="json"))
    settle(judge_overflow(granted, INDEX, seen.owners, expectation))
