"""Hooks for extensions: what a conftest.py or a plugin can hear of a run under pytest. See docs/pytest.md.

They are called in the process that runs the cell: under `halpmc run` and under xdist that is one of several. An
exception in a hook ends the session, as everywhere in pytest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.config.models import Cell
    from harness.report.summary import Summary
    from harness.runs.guest import Guest
    from harness.runs.record import CellEndRecord, Record


@pytest.hookspec
def pytest_halpmc_cell_started(config: pytest.Config, cell: Cell, folder: Path) -> None:
    """A cell starts: no VM of it was started yet. `folder` is its own, and stays with the run."""


@pytest.hookspec
def pytest_halpmc_guest_ready(config: pytest.Config, cell: Cell, guest: Guest, test: str) -> None:
    """A test gets its guest: test drivers loaded, client answering. Whatever is done to it here, the test sees.

    `test` is the test's name without its cell.
    """


@pytest.hookspec
def pytest_halpmc_record(config: pytest.Config, record: Record) -> None:
    """A record stands in records.jsonl: the plan, a phase, a judged clause, an incident, a cell's end …"""


@pytest.hookspec
def pytest_halpmc_cell_ended(config: pytest.Config, cell: Cell, folder: Path, end: CellEndRecord) -> None:
    """A cell ended: its VMs are gone. `end` has the verdict, its reason, and what was not realised."""


@pytest.hookspec
def pytest_halpmc_run_ended(config: pytest.Config, folder: Path, summary: Summary) -> None:
    """The run that this session leads ended, and its reports are written. Not called in the cells of `halpmc run`."""
