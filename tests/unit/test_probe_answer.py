"""The probe's answer line: parsed strictly, and judged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ProtocolError
from harness.probe.answer import parse_answer
from harness.probe.models import CounterState, PmuVerdict

CHECKS = {"started": True, "in_range": True, "stopped": True, "reset": True, "rdpmc": False, "overflow": None}
COUNTER = {
    "name": "gp0", "event": "instructions", "state": "counting", "count": "0x30d80", "fault": "0x0",
    "checks": {**CHECKS, "restored": True},
}  # fmt: skip
FLAGS = ("enabled", "disabled", "masked", "cleared", "delivered", "by_software")
OVERFLOW = {
    "name": "gp0", "event": "instructions", "interrupts": "0x1", "number": "0x17", "status": "0x80000000",
    "checks": {name: name != "masked" for name in FLAGS},
}  # fmt: skip
LINE: dict[str, Any] = {
    "probe": "x86_64", "interface": "intel-arch", "version": "0x2", "general": "0x4", "fixed": "0x3",
    "width": "0x30", "loop": "0x4e20", "fault": "0x0", "counters": [COUNTER], "overflows": [OVERFLOW],
    "overflows_untried": "",
    "registers": {"cpuid.0xa.eax": "0x7300402"},
}  # fmt: skip


def line(**changes: Any) -> bytes:
    return json.dumps({**LINE, **changes}).encode()


def test_a_full_answer() -> None:
    answer = parse_answer(line())
    assert (answer.interface, answer.version, answer.general, answer.fixed) == ("intel-arch", 2, 4, 3)
    assert answer.registers == {"cpuid.0xa.eax": "0x7300402"}
    (counter,) = answer.counter_models
    assert (counter.count, counter.loop, counter.state, counter.fault) == (
        200064,
        20000,
        CounterState.COUNTING,
        None,
    )
    assert (counter.checks.started, counter.checks.rdpmc, counter.checks.overflow) == (True, False, None)
    (overflow,) = answer.overflow_models
    assert (overflow.interrupts, overflow.number, overflow.status) == (1, 23, "0x80000000")
    assert (overflow.checks.masked, overflow.checks.delivered) == (False, True)


@pytest.mark.parametrize(
    ("general", "fixed", "states", "verdict"),
    [
        pytest.param("0x4", "0x3", ["dead", "counting"], PmuVerdict.COUNTING, id="one-counts"),
        pytest.param("0x4", "0x0", ["dead", "faulted"], PmuVerdict.DEAD, id="advertised-but-dead"),
        pytest.param("0x0", "0x1", ["dead"], PmuVerdict.DEAD, id="only-fixed-advertised"),
        pytest.param("0x4", "0x0", [], PmuVerdict.DEAD, id="advertised-nothing-measured"),
        pytest.param("0x0", "0x0", ["dead"] * 4, PmuVerdict.ABSENT, id="legacy-registers-read-0"),
        pytest.param("0x0", "0x0", ["faulted"] * 4, PmuVerdict.ABSENT, id="rdpmc-faults"),
        pytest.param(
            "0x0", "0x0", ["counting"] * 4, PmuVerdict.COUNTING, id="legacy-amd-counts-unadvertised"
        ),
    ],
)
def test_verdicts(general: str, fixed: str, states: list[str], verdict: PmuVerdict) -> None:
    counters = [{**COUNTER, "state": state} for state in states]
    assert parse_answer(line(general=general, fixed=fixed, counters=counters)).verdict is verdict


def test_a_fault_code_is_kept() -> None:
    answer = parse_answer(line(counters=[{**COUNTER, "state": "faulted", "fault": "0xd"}]))
    assert answer.counter_models[0].fault == "0xd"


@pytest.mark.parametrize(
    ("bad", "names"),
    [
        pytest.param(b"", "the line", id="empty"),
        pytest.param(b"SeaBIOS (version 1.16)", "the line", id="chatter"),
        pytest.param(line()[:-20], "the line", id="cut-short"),
        pytest.param(b"[1]", "the line", id="no-object"),
        pytest.param(line(surprise=1), "surprise", id="unknown-key"),
        pytest.param(line(loop=20000), "loop", id="number-instead-of-hex"),
        pytest.param(line(loop="0x1" + "0" * 16), "loop", id="more-than-64-bits"),
        pytest.param(line(loop="-0x1"), "loop", id="negative"),
        pytest.param(line(counters=[{**COUNTER, "state": "alive"}]), "counters.0.state", id="unknown-state"),
        pytest.param(b"\xff\xfe{", "the line", id="not-utf8"),
    ],
)
def test_malformed_lines_are_named(bad: bytes, names: str) -> None:
    with pytest.raises(ProtocolError, match="malformed") as caught:
        parse_answer(bad)
    assert f": {names}: " in caught.value.message
    assert "line" in caught.value.evidence


def test_the_probes_own_death_in_the_middle_of_an_answer() -> None:
    cut = b'{"probe":"x86_64","interface":"no{"probe":"x86_64","died":"0xd","where":"0x100200"}'
    with pytest.raises(ProtocolError, match="died of an unexpected exception 0xd at 0x100200"):
        parse_answer(cut)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(noise: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_answer(noise)
