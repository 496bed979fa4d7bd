"""IRQL of the calls, and what happens to an allocation when its holder goes away."""

from __future__ import annotations

import pytest

from harness.contract.expectations import judge_irql, judge_released, skip_unless_granted
from harness.contract.observations import Call
from harness.driver.deploy import SERVICES
from harness.driver.device import Device
from harness.runs.guest import Guest

from .conftest import Observe, Settle


@pytest.mark.clause("IRQL-1")
def test_calls_are_made_at_passive_level(guest: Guest, pmc: Device, settle: Settle, observe: Observe) -> None:
    for cpu in range(guest.facts.cpus):
        call = pmc.allocate(cpu=cpu)
        pmc.free(call.handle if call.succeeded else 0, cpu=cpu)
    pmc.free(0, worker=True)
    observe("calls", pmc.calls)
    settle(judge_irql(pmc.calls))


@pytest.mark.clause("LIFE-1")
@pytest.mark.parametrize("mode", ["hold", "busy"])
def test_a_killed_process_holds_nothing(
    mode: str, guest: Guest, pmc: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    """Killed while it holds the counters, and killed in the middle of calls."""
    pmc.free(held.handle)
    with guest.holder(mode=mode) as holder:
        observe(f"the other process ({mode})", holder.first)
        refused = skip_unless_granted(holder.first)
        if refused is not None:
            settle(refused)
        if mode == "hold":
            while_held = pmc.allocate()
            observe("while it holds them", while_held)
            if while_held.succeeded:
                pytest.skip("the other process did not keep the counters (see ALLOC-2)")
        holder.kill()
        call = pmc.allocate()
    observe("after its death", call)
    settle(judge_released(call, "LIFE-1", f"the process died ({mode})"))


@pytest.mark.clause("LIFE-2")
def test_an_unloaded_driver_holds_nothing(guest: Guest, settle: Settle, observe: Observe) -> None:
    """No handle of the first driver is open, else its unload would wait; the second one stays loaded, and asks."""
    holding = guest.hold_in_driver()
    observe("first driver's request", holding)
    refused = skip_unless_granted(holding)
    if refused is not None:
        settle(refused)
    with guest.unloaded(), guest.open(SERVICES[1]) as other:
        call = other.allocate()
        observe("second driver's request, after the first was unloaded", call)
    settle(judge_released(call, "LIFE-2", "the driver was unloaded"))
