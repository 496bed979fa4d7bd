"""Somebody else who wants the counters: another handle of the same device, another driver, an ETW session."""

from __future__ import annotations

import pytest

from harness.contract.expectations import record_answers
from harness.contract.judgement import skipped
from harness.contract.observations import Call
from harness.driver.device import Device
from harness.runs.etw import etw_facility
from harness.runs.guest import Guest
from harness.runs.lifetime import NotHere

from .conftest import Observe, Settle


@pytest.mark.clause("CONT-1")
def test_a_second_handle_of_the_same_process(
    guest: Guest, pmc: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    with guest.open(pmc.service) as second:
        answers = [("a second handle's request", second.allocate())]
        answers.append(("the free of the first one's by the second", second.free(held.handle)))
        taken = second.allocate()
        answers.append(("its request then", taken))
        answers.append(("the first one's request meanwhile", pmc.allocate()))
    answers.append(("the first one's after the second was closed", pmc.allocate()))
    observe("answers", dict(answers))
    settle(record_answers(answers))


@pytest.mark.clause("CONT-1")
def test_a_second_driver_both_ways_round(
    pmc: Device, other: Device, held: Call, settle: Settle, observe: Observe
) -> None:
    answers = [("the second driver while the first one holds", other.allocate())]
    pmc.free(held.handle)
    answers.append(("the second driver after that", other.allocate()))
    answers.append(("the first driver while the second one holds", pmc.allocate()))
    observe("answers", dict(answers))
    settle(record_answers(answers))


@pytest.mark.clause("CONT-1")
def test_an_etw_session_both_ways_round(guest: Guest, pmc: Device, settle: Settle, observe: Observe) -> None:
    try:
        etw = etw_facility(guest)
    except NotHere as why:
        settle(skipped(str(why)))
    with etw.session() as refusal:
        observe("the session, with nothing held", refusal or "started")
        observe("what ETW offers", etw.offered())
        meanwhile = pmc.allocate()
    answers = [("while the session records", meanwhile)]
    if meanwhile.succeeded:
        pmc.free(meanwhile.handle)
    held = pmc.allocate()
    answers.append(("after it", held))
    with etw.session() as refusal:
        observe("the session, with the counters held", refusal or "started")
    observe("answers", dict(answers))
    settle(record_answers(answers))
