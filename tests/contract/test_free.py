"""HalFreeHardwareCounters: what it accepts, and what a stale handle may not do."""

from __future__ import annotations

import pytest

from harness.contract.expectations import (
    judge_free,
    judge_invalid_free,
    judge_refused_while_held,
    judge_stale_free,
    record_answers,
    skip_unless_granted,
)
from harness.contract.judgement import combine
from harness.contract.observations import Call
from harness.driver.device import Device
from harness.runs.guest import Guest

from .conftest import Observe, Settle


@pytest.mark.clause("FREE-1")
def test_a_held_handle_is_freed(pmc: Device, held: Call, settle: Settle, observe: Observe) -> None:
    call = pmc.free(held.handle)
    observe("free", call)
    settle(judge_free(call))


@pytest.mark.clause("FREE-2")
def test_a_second_free_is_an_invalid_parameter(
    pmc: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    pmc.free(held.handle)
    call = pmc.free(held.handle)
    observe("second free", call)
    settle(judge_invalid_free(call, "FREE-2"))


@pytest.mark.clause("FREE-3")
def test_null_is_an_invalid_parameter(pmc: Device, settle: Settle, observe: Observe) -> None:
    call = pmc.free(0)
    observe("free(NULL)", call)
    settle(judge_invalid_free(call, "FREE-3"))


@pytest.mark.clause("FREE-3")
def test_null_frees_nothing_of_the_holder(
    pmc: Device, other: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    call = pmc.free(0)
    again = other.allocate()
    observe("free(NULL) while counters are held", call)
    observe("the next request", again)
    settle(
        combine(
            judge_invalid_free(call, "FREE-3"),
            judge_refused_while_held(again, "FREE-3", "after free(NULL) a request"),
        )
    )


@pytest.mark.clause("FREE-5")
def test_a_stale_handle_frees_nothing(
    pmc: Device, other: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    pmc.free(held.handle)
    owner = other.allocate()
    refused = skip_unless_granted(owner)
    if refused is not None:
        settle(refused)
    stale = pmc.free(held.handle)
    again = pmc.allocate()
    observe("the new owner", owner)
    observe("free of the stale handle", stale)
    observe("the next request", again)
    settle(judge_stale_free(held.handle, owner, stale, again))


@pytest.mark.clause("FREE-6")
def test_free_from_elsewhere(guest: Guest, pmc: Device, held: Call, settle: Settle, observe: Observe) -> None:
    """From a system thread, from every other CPU, and from another process than the allocator's."""
    answers: list[tuple[str, Call]] = []

    def answered(what: str, handle: int, call: Call) -> None:
        answers.append((what, call))
        if not call.succeeded:
            pmc.free(handle)  # as who allocated it, so that the next question can be asked

    answered("from a system thread", held.handle, pmc.free(held.handle, worker=True))
    for cpu in range(guest.facts.cpus):
        again = pmc.allocate(cpu=0)
        if again.succeeded:
            answered(f"on CPU {cpu}, allocated on CPU 0", again.handle, pmc.free(again.handle, cpu=cpu))
    again = pmc.allocate()
    with guest.holder(mode="hold") as holder:
        if again.succeeded:
            answered("from another process", again.handle, holder.free(again.handle))
    observe("answers", dict(answers))
    settle(record_answers(answers))
