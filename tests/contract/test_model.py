"""Random sequences of calls by several callers, against the guest and against the contract's model."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pytest

from harness.driver.device import Device
from harness.runs.cell import CellRun
from harness.runs.guest import Guest
from harness.runs.plan import SearchPlan
from harness.runs.sequences import SequenceRunner, judge_search, search

from .conftest import Observe, Settle


@pytest.mark.clause("MODEL-1")
def test_sequences_are_answered_as_the_model_allows(
    guest: Guest, pmc: Device, cell_run: CellRun, search_plan: SearchPlan, settle: Settle, observe: Observe
) -> None:
    """In this guest while sequences leave it as it was; after one that does not, in a fresh one."""
    pmc.info()
    guests = 0

    @contextmanager
    def fresh() -> Generator[Guest, None, None]:
        nonlocal guests
        guests += 1
        if guests == 1:
            yield guest
            return
        with cell_run.fresh_guest(f"sequences-{guests}") as another:
            yield another

    with SequenceRunner(fresh) as runner:
        found = search(runner, search_plan)
    observe("search", found.facts())
    if found.failure is not None:
        observe("sequence", found.failure.line)
        observe("calls", [str(line) for line in found.failure.trace])
    settle(judge_search(found, cell_run.folder))
