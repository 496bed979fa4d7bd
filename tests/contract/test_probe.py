"""What is really there, before anything is asked of the guest."""

from __future__ import annotations

import pytest

from harness.config.models import Cell
from harness.contract.overflow import judge_probe_overflow
from harness.contract.presence import judge_probe
from harness.probe.models import ProbeAnswer

from .conftest import Observe, Settle


@pytest.mark.clause("PROBE-1")
def test_the_probe_answers(cell: Cell, probe_answer: ProbeAnswer, settle: Settle, observe: Observe) -> None:
    observe("probe", probe_answer.model_dump(mode="json"))
    settle(judge_probe(cell, probe_answer))


@pytest.mark.clause("PROBE-2")
def test_overflows_interrupt_the_probe(probe_answer: ProbeAnswer, settle: Settle, observe: Observe) -> None:
    """No guest is needed: the probe runs where a driver of Windows would, the embedded guest's driver does not."""
    observe("overflows", [overflow.model_dump(mode="json") for overflow in probe_answer.overflows])
    settle(judge_probe_overflow(probe_answer))
