"""HalAllocateHardwareCounters: the plain request, refusal while held, repetition, races, and its statuses."""

from __future__ import annotations

import pytest

from harness.config.models import Generation
from harness.contract.expectations import (
    judge_documented,
    judge_first_allocate,
    judge_pinned,
    judge_presence,
    judge_refused_while_held,
    judge_released,
    record_handle_on_error,
)
from harness.contract.expected import CellFacts, expect_plain_request
from harness.contract.judgement import combine
from harness.contract.observations import Call
from harness.contract.race import CLIENT_ROUNDS, ROUNDS, THREADS, judge_cycles, judge_race, judge_races
from harness.contract.records import record_pool_growth
from harness.driver.device import Device, to_call
from harness.runs.guest import Guest
from harness.runs.races import race_until_calls_met
from harness.windows.system import System

from .conftest import Observe, Settle

CYCLES = 10_000


@pytest.mark.clause("PRES-1")
def test_both_routines_are_exported(guest: Guest, settle: Settle, observe: Observe) -> None:
    with guest.open() as device:
        info = device.info()
    observe("driver", info.model_dump(mode="json"))
    settle(judge_presence(info.allocate_present, info.free_present))


@pytest.mark.clause("ALLOC-1")
def test_the_plain_request_gives_a_handle_or_a_documented_error(
    pmc: Device, facts: CellFacts, settle: Settle, observe: Observe
) -> None:
    expectation = expect_plain_request(facts)
    call = pmc.allocate()
    observe("expected", f"{expectation.expected}, because {expectation.because}")
    observe("allocate(NULL, 0, NULL)", call)
    settle(judge_first_allocate(call, facts.generation, expectation))


@pytest.mark.clause("ALLOC-2")
def test_a_second_request_is_refused_while_held(
    pmc: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    call = pmc.allocate()
    observe("second request", call)
    settle(judge_refused_while_held(call, "ALLOC-2", "a second request of the same driver"))


@pytest.mark.clause("ALLOC-3")
def test_a_second_driver_is_refused_while_held(
    other: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    call = other.allocate()
    observe("second driver's request", call)
    settle(judge_refused_while_held(call, "ALLOC-3", "a second driver's request"))


@pytest.mark.clause("ALLOC-4")
def test_requests_from_every_cpu_are_refused_while_held(
    guest: Guest, pmc: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    calls = {cpu: pmc.allocate(cpu=cpu) for cpu in range(guest.facts.cpus)}
    observe("requests by CPU", calls)
    settle(judge_pinned(calls, guest.facts.group_cpus))


@pytest.mark.clause("ALLOC-5")
def test_ten_thousand_cycles_behave_alike(pmc: Device, held: Call, settle: Settle, observe: Observe) -> None:
    pmc.free(held.handle)
    before = pmc.info().pool_bytes
    result = pmc.cycles(CYCLES)
    deviation = None if result.first_deviation is None else to_call("cycles", result.first_deviation)
    observe(
        "cycles", {"completed": result.completed, "elapsed_us": result.elapsed_us, "deviation": deviation}
    )
    observe("nonpaged pool of the test driver", {"before": before, "after": pmc.info().pool_bytes})
    settle(judge_cycles(result.completed, CYCLES, deviation))


@pytest.mark.clause("ALLOC-5")
def test_cycles_and_the_nonpaged_pool(
    guest: Guest, pmc: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    """The system's own, in which a HAL that forgets something with each cycle would show."""
    system = System(guest.session)
    before = system.nonpaged_pool()
    if before is not None:
        pmc.free(held.handle)
        pmc.cycles(CYCLES)
    after = system.nonpaged_pool()
    observe("bytes of the nonpaged pool", {"before": before, "after": after})
    settle(record_pool_growth(before, after, CYCLES))


@pytest.mark.clause("ALLOC-5")
def test_freed_counters_can_be_allocated_from_every_cpu(
    guest: Guest, pmc: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    pmc.free(held.handle)
    calls = {}
    for cpu in range(guest.facts.cpus):
        calls[cpu] = pmc.allocate(cpu=cpu)
        if calls[cpu].succeeded:
            pmc.free(calls[cpu].handle)
    observe("requests by CPU", calls)
    settle(
        combine(*(judge_released(call, "ALLOC-5", f"a free, on CPU {cpu}") for cpu, call in calls.items()))
    )


@pytest.mark.clause("ALLOC-6")
def test_racing_threads_never_own_at_once(pmc: Device, held: Call, settle: Settle, observe: Observe) -> None:
    pmc.free(held.handle)
    cpus = pmc.info().cpus
    races = race_until_calls_met(pmc, cpus=cpus)
    observe(
        f"{len(races)} x {THREADS} threads x {ROUNDS} rounds",
        {
            "successes": sum(race.successes for race in races),
            "refusals": sum(race.refusals for race in races),
            "frees": sum(race.frees for race in races),
            "other": sum(race.other for race in races),
        },
    )
    settle(judge_races([race.log for race in races], THREADS, ROUNDS, cpus=cpus))


@pytest.mark.clause("ALLOC-6")
def test_racing_programs_never_own_at_once(
    pmc: Device, other: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    """Threads that ask through the drivers, as programs do: two through the first one, two through the second."""
    pmc.free(held.handle)
    race = pmc.race_of_clients(THREADS, CLIENT_ROUNDS, other)
    observe(
        f"{THREADS} threads of the client x {CLIENT_ROUNDS} rounds, through two drivers",
        race.model_dump(mode="json", exclude={"log"}),
    )
    settle(judge_race(race.log, THREADS, CLIENT_ROUNDS))


@pytest.mark.clause("ALLOC-7")
def test_documented_uses_give_documented_statuses(
    pmc: Device, generation: Generation, settle: Settle, observe: Observe
) -> None:
    allocates = [pmc.allocate(), pmc.allocate()]
    frees = [pmc.free(call.handle) for call in allocates if call.succeeded]
    frees.append(pmc.free(0))
    observe("allocates", allocates)
    observe("frees", frees)
    settle(judge_documented(allocates, frees, generation))


@pytest.mark.clause("ALLOC-8")
def test_handle_cell_after_other_errors(pmc: Device, settle: Settle, observe: Observe) -> None:
    call = pmc.allocate(affinity=[{"mask": 0, "group": 0, "reserved": [0, 0, 0]}])
    observe("request with an empty processor mask", call)
    settle(record_handle_on_error(call))
