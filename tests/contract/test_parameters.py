"""Parameters that the documentation reserves, restricts, or is silent about."""

from __future__ import annotations

from typing import Any

import pytest

from harness.config.models import Generation
from harness.contract.expectations import judge_not_granted, judge_not_supported, record_answers
from harness.contract.judgement import combine
from harness.contract.observations import Call
from harness.driver.device import Device
from harness.runs.guest import Guest

from .conftest import Observe, Settle

EVERY_CPU = {"mask": 1, "group": 0, "reserved": [0, 0, 0]}
SINGLE, RANGE, EXTENDED, OVERFLOW, EVENT_BUFFER, TAG = range(6)
LAST_TYPE = TAG


def single(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": SINGLE, "flags": 0, "index": index, **fields}


def tag(number: int) -> dict[str, Any]:
    return {"type": TAG, "flags": 0, "tag": number}


def answers_to(pmc: Device, requests: dict[str, dict[str, Any]]) -> list[tuple[str, Call]]:
    """Ask each request with nothing held before it."""
    answers = []
    for what, arguments in requests.items():
        call = pmc.allocate(**arguments)
        if call.succeeded:
            pmc.free(call.handle)
        answers.append((what, call))
    return answers


@pytest.mark.clause("PARAM-X")
def test_reserved_parameters_are_not_granted(
    pmc: Device, generation: Generation, settle: Settle, observe: Observe
) -> None:
    answers = answers_to(
        pmc,
        {
            "a processor list": {"affinity": [EVERY_CPU]},
            "a group count without a list": {"group_count": 1},
            "a list with group count 0": {"affinity": [EVERY_CPU], "group_count": 0},
            "a resource list": {"resources": {"items": [single(0)]}},
        },
    )
    observe("answers", dict(answers))
    settle(combine(*(judge_not_granted(call, what) for what, call in answers)))


@pytest.mark.clause("PARAM-1")
def test_contradictory_processor_lists(
    guest: Guest, pmc: Device, generation: Generation, settle: Settle, observe: Observe
) -> None:
    offline = 1 << min(guest.facts.cpus, 63)
    answers = answers_to(
        pmc,
        {
            "group count 1 without a list": {"group_count": 1},
            "a list with group count 0": {"affinity": [EVERY_CPU], "group_count": 0},
            "an empty mask": {"affinity": [{**EVERY_CPU, "mask": 0}]},
            "an unknown group": {"affinity": [{**EVERY_CPU, "group": 31}]},
            "reserved fields set": {"affinity": [{**EVERY_CPU, "reserved": [1, 0, 0]}]},
            "a CPU that is not there": {"affinity": [{**EVERY_CPU, "mask": offline}]},
            "one group twice": {"affinity": [EVERY_CPU, EVERY_CPU]},
            "every group, an entry each": {
                "affinity": [{**EVERY_CPU, "group": group} for group in range(guest.facts.groups)]
            },
            "every group, and one that is not there": {
                "affinity": [{**EVERY_CPU, "group": group} for group in range(guest.facts.groups + 1)]
            },
        },
    )
    observe("answers", dict(answers))
    settle(record_answers(answers))


@pytest.mark.clause("PARAM-2")
def test_resource_lists(pmc: Device, generation: Generation, settle: Settle, observe: Observe) -> None:
    answers = answers_to(
        pmc,
        {
            "flags set": {"resources": {"items": [single(0, flags=1)]}},
            "an empty list": {"resources": {"items": []}},
            "an unknown type": {"resources": {"items": [{"type": LAST_TYPE + 1, "flags": 0}]}},
            "an index beyond every PMU": {"resources": {"items": [single(4096)]}},
            "a range that ends before it begins": {
                "resources": {"items": [{"type": RANGE, "flags": 0, "begin": 2, "end": 1}]}
            },
            "one counter twice": {"resources": {"items": [single(0), single(0)]}},
            "a list that claims more than it holds": {"resources": {"items": [single(0)], "count": 4096}},
            "a tag alone": {"resources": {"items": [tag(7)]}},
            "a handler alone": {"resources": {"items": [{"type": OVERFLOW, "flags": 0}]}},
            "a tag twice": {"resources": {"items": [single(0), tag(7), tag(8)]}},
            "a counter, a range, a handler and a tag": {
                "resources": {
                    "items": [
                        single(0),
                        {"type": RANGE, "flags": 0, "begin": 1, "end": 2},
                        {"type": OVERFLOW, "flags": 0},
                        tag(7),
                    ]
                }
            },
        },
    )
    observe("answers", dict(answers))
    settle(record_answers(answers))


@pytest.mark.clause("PARAM-3")
def test_extended_configuration_is_not_supported(
    pmc: Device, generation: Generation, settle: Settle, observe: Observe
) -> None:
    call = pmc.allocate(resources={"items": [{"type": EXTENDED, "flags": 0}]})
    observe("extended counter configuration", call)
    settle(judge_not_supported(call))


@pytest.mark.clause("EVB-1")
def test_event_buffers(pmc: Device, generation: Generation, settle: Settle, observe: Observe) -> None:
    def buffer(threshold: int) -> dict[str, Any]:
        return {"type": EVENT_BUFFER, "flags": 0, "threshold": threshold}

    answers = answers_to(
        pmc,
        {
            "an event buffer with a counter": {"resources": {"items": [single(0), buffer(1)]}},
            "with a threshold of 0": {"resources": {"items": [single(0), buffer(0)]}},
            "with an overflow handler, too": {
                "resources": {"items": [single(0), buffer(1), {"type": OVERFLOW, "flags": 0}]}
            },
            "without a counter": {"resources": {"items": [buffer(1)]}},
        },
    )
    observe("answers", dict(answers))
    settle(record_answers(answers))
