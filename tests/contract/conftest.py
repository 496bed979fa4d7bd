"""What the clauses share: devices of both driver instances, and a held allocation."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from harness.config.models import Generation
from harness.contract.expectations import skip_unless_granted
from harness.contract.expected import CellFacts, Expected, expect_generation, set_generation
from harness.contract.judgement import Judgement, skipped
from harness.contract.observations import Call
from harness.driver.deploy import SERVICES
from harness.driver.device import Device
from harness.probe.models import ProbeAnswer
from harness.runs.cell import CellRun
from harness.runs.guest import Guest

Settle = Callable[[Judgement], None]
Observe = Callable[[str, Any], None]


@pytest.fixture(autouse=True)
def _needs_this_generation(cell_run: CellRun, request: pytest.FixtureRequest, settle: Settle) -> None:
    """Where the cell's settings say the generation, a clause of the other one is skipped without a guest."""
    if cell_run.generation is not None:
        _skip_other_generation(request, cell_run.generation, set_generation(cell_run.generation), settle)


def _skip_other_generation(
    request: pytest.FixtureRequest, generation: Generation, because: str, settle: Settle
) -> None:
    for mark in request.node.iter_markers("clause"):
        for name in mark.args:
            expectation = expect_generation(name, generation, because)
            if expectation.expected is Expected.SKIPPED:
                settle(skipped(expectation.because))


@pytest.fixture
def facts(guest: Guest, probe_answer: ProbeAnswer) -> CellFacts:
    """What is known of this cell: expectations are computed from it."""
    return guest.known(probe_answer)


@pytest.fixture
def generation(facts: CellFacts, request: pytest.FixtureRequest, settle: Settle) -> Generation:
    """The generation of the contract that this guest has; skips clauses of the other one with that reason."""
    _skip_other_generation(request, facts.generation, facts.generation_fact, settle)
    return facts.generation


@pytest.fixture
def pmc(guest: Guest) -> Generator[Device, None, None]:
    """A handle to the first instance of the test driver; whatever it holds is free again after the test."""
    with guest.open(SERVICES[0]) as device:
        info = device.info()
        if not (info.allocate_present and info.free_present):
            pytest.skip("the kernel does not export the routines")
        yield device


@pytest.fixture
def other(guest: Guest, pmc: Device) -> Generator[Device, None, None]:
    """A handle to the second driver: the same binary as another service with another device."""
    with guest.open(SERVICES[1]) as device:
        yield device


@pytest.fixture
def held(pmc: Device, settle: Settle, observe: Observe) -> Call:
    """The whole PMU, held by `pmc`; the test is skipped with the reason where it is never granted."""
    call = pmc.allocate()
    observe("first request", call)
    refused = skip_unless_granted(call)
    if refused is not None:
        settle(refused)
    return call
