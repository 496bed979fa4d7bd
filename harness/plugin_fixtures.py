"""The plugin's fixtures: a cell being run, its probe's answer, its guests; and what a test says of what it saw."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from harness.plugin_cells import cell_plugin
from harness.plugin_options import search_plan_of

if TYPE_CHECKING:
    from harness.config.models import Cell
    from harness.contract.judgement import Judgement
    from harness.probe.models import ProbeAnswer
    from harness.runs.cell import CellRun
    from harness.runs.guest import Guest
    from harness.runs.plan import SearchPlan


@pytest.fixture(scope="session")
def cell_run(cell: Cell, pytestconfig: pytest.Config) -> Generator[CellRun, None, None]:
    """The run of one cell: its folder, its records, its verdict at the end."""
    plugin = cell_plugin(pytestconfig)
    assert plugin is not None
    with plugin.start().cell(cell) as running:
        plugin.running = running
        plugin.hold.attach_to(running)
        pytestconfig.hook.pytest_halpmc_cell_started(config=pytestconfig, cell=cell, folder=running.folder)
        yield running
    pytestconfig.hook.pytest_halpmc_cell_ended(
        config=pytestconfig, cell=cell, folder=running.folder, end=running.end
    )


@pytest.fixture(scope="session")
def probe_answer(cell_run: CellRun) -> ProbeAnswer:
    """What the PMU probe found with this cell's accelerator, machine and CPU string."""
    return cell_run.probe()


@pytest.fixture
def guest(
    cell_run: CellRun,
    probe_answer: ProbeAnswer,  # noqa: ARG001 - the probe answers first
    request: pytest.FixtureRequest,
) -> Generator[Guest, None, None]:
    """The cell's guest for this test: test drivers loaded, client answering, nothing allocated.

    A pristine VM of this test's own where the guest has a serial lane; else one VM for all tests of the cell, which
    must be left as it was found: that is checked.
    """
    with cell_run.guest(name_of(request.node)) as running:
        _ready(request, cell_run, running)
        yield running


@pytest.fixture
def fresh_guest(
    cell_run: CellRun,
    probe_answer: ProbeAnswer,  # noqa: ARG001 - the probe answers first
    request: pytest.FixtureRequest,
) -> Generator[Guest, None, None]:
    """A guest for this test alone, always: for what may leave it broken."""
    with cell_run.fresh_guest(name_of(request.node)) as running:
        _ready(request, cell_run, running)
        yield running


def _ready(request: pytest.FixtureRequest, cell_run: CellRun, guest: Guest) -> None:
    config = request.config
    config.hook.pytest_halpmc_guest_ready(
        config=config, cell=cell_run.cell, guest=guest, test=name_of(request.node)
    )


@pytest.fixture
def search_plan(cell: Cell, pytestconfig: pytest.Config) -> SearchPlan:
    """How many random sequences of calls this cell gets, and their seed."""
    return search_plan_of(pytestconfig, cell)


def name_of(item: pytest.Item) -> str:
    """The test's name with its own parameters, but without its cell, after which the folder above is named."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return item.name
    own = [str(value) for name, value in item.callspec.params.items() if name != "cell"]
    return "-".join([item.originalname, *own])


@pytest.fixture
def observe(cell_run: CellRun) -> Generator[Any, None, None]:
    """`observe(title, value)` keeps what was seen with the clauses of this test; the value is any JSON value."""
    cell_run.results.observations.clear()
    yield cell_run.results.observe


@pytest.fixture
def settle(cell_run: CellRun) -> Any:
    """`settle(judgement)` ends the test the way the judgement says: fail, skip with its reason, or go on."""

    def end(judgement: Judgement) -> None:
        cell_run.results.settle(judgement)

    return end
