"""The pytest face: parametrizes tests over the cells of a matrix, and writes a record for every clause judged.

Importing this module is cheap: VMs, SSH and reports are imported when a test first needs them, so that
`--collect-only` touches no VM, accelerator or image.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from harness import hooks
from harness.errors import HalpmcError, UsageError
from harness.plugin_cells import PLUGIN_NAME, CellPlugin, cell_plugin, require_matrix
from harness.plugin_fixtures import (  # noqa: F401 - pytest finds fixtures in the plugin's own module
    cell_run,
    fresh_guest,
    guest,
    name_of,
    observe,
    probe_answer,
    search_plan,
    settle,
)
from harness.plugin_options import add_options, asked_clauses, setting
from harness.plugin_xdist import Controller, distributed, shared_folder, tell_cells

if TYPE_CHECKING:
    from harness.config.models import Cell


def pytest_addoption(parser: pytest.Parser) -> None:
    """One group; every option has an environment variable and an ini twin (command line > environment > ini)."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """What extensions can hear of a run."""
    pluginmanager.add_hookspecs(hooks)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; load the matrix, whose mistakes are usage errors before anything starts."""
    config.addinivalue_line("markers", "clause(id, ...): the clauses of the contract that this test judges")
    try:
        plugin = CellPlugin.of(config)
        if plugin is None:
            require_matrix(config)
            return
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(plugin, PLUGIN_NAME)
    if distributed(config) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Controller(plugin), f"{PLUGIN_NAME}-xdist")


def pytest_report_header(config: pytest.Config) -> list[str] | None:
    """Where each setting came from."""
    plugin = cell_plugin(config)
    return plugin.origins if plugin is not None else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per cell, cells in the order of their ids. Tests that need a guest are not made for probe-only cells."""
    own = [str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize") if mark.args]
    if "cell" not in metafunc.fixturenames or any("cell" in names.split(",") for names in own):
        return
    if "cell" in metafunc._arg2fixturedefs:  # somebody's own fixture of that name
        return
    plugin = cell_plugin(metafunc.config)
    if plugin is None:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid} runs inside the cells of a matrix: "
            "give one with --halpmc-matrix, such as demo (docs/install.md)"
        )
    needs_guest = "guest" in metafunc.fixturenames
    cells = [cell for cell in plugin.selection.cells if cell.guest is not None or not needs_guest]
    metafunc.parametrize("cell", cells, ids=[cell.id for cell in cells], scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run cell by cell in the order of their ids; every clause named by a marker must be in the catalogue.

    Tests of clauses that are in no part of the suite that their cell runs are left out: the plan has none of them.
    """
    _deselect(config, items)
    items.sort(key=_cell_id)
    named = [(item, name) for item in items for mark in item.iter_markers("clause") for name in mark.args]
    if named:
        from harness.contract.clauses import clause

        for item, name in named:
            try:
                clause(name)
            except UsageError as error:
                raise pytest.UsageError(f"{item.nodeid}: {error}") from None
    outside = {item for item, _ in named if not _in_suite(item)}
    if outside:
        items[:] = [item for item in items if item not in outside]
        config.hook.pytest_deselected(items=list(outside))


def _in_suite(item: pytest.Item) -> bool:
    """Whether a test judges a clause that its cell's suite has; tests outside cells are nobody's business here."""
    from harness.contract.clauses import suite_for

    cell = _cell(item)
    names = {name for mark in item.iter_markers("clause") for name in mark.args}
    return cell is None or not names.isdisjoint(suite_for(cell))


def _deselect(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out the tests of cells that judge no clause that was asked for, or that changes concern."""
    plugin = cell_plugin(config)
    asked = asked_clauses(config)
    concerned = plugin.selection.clauses if plugin is not None else None
    if not asked and concerned is None:
        return
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        names = {str(name) for mark in item.iter_markers("clause") for name in mark.args}
        wanted = (not asked or names & asked) and (
            concerned is None or names & set(concerned.get(_cell_id(item), ()))
        )
        (kept if wanted or not _cell_id(item) else dropped).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


@pytest.hookimpl(tryfirst=True)  # before xdist tells the controller what was collected
def pytest_collection_finish(session: pytest.Session) -> None:
    """Know the clauses that the chosen tests judge: they are the plan of a run that this session leads."""
    plugin = cell_plugin(session.config)
    if plugin is None:
        return
    for item in session.items:
        names = {str(name) for mark in item.iter_markers("clause") for name in mark.args}
        if names and _cell_id(item):
            plugin.chosen.setdefault(_cell_id(item), set()).update(names)
    folder = shared_folder(session.config)
    if folder is not None:
        tell_cells(folder, {item.nodeid: cell for item in session.items if (cell := _cell_id(item))})


def _cell_id(item: pytest.Item) -> str:
    """The id of the cell that a test runs in; empty, hence first, for tests outside cells."""
    return getattr(_cell(item), "id", "")


def _cell(item: pytest.Item) -> Cell | None:
    """The cell of the matrix that a test runs in."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return None
    cell: Cell | None = item.callspec.params.get("cell")  # type: ignore[assignment]
    return cell if hasattr(cell, "suite") else None


def pytest_runtestloop(session: pytest.Session) -> None:
    """Let SIGTERM unwind like Ctrl-C while cells run, so that VMs are shut down and the records are closed."""
    plugin = cell_plugin(session.config)
    if plugin is None:
        return
    hold = plugin.hold

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        hold.dropped = True  # nobody is waited for
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Write the record of every clause that this test judged, as soon as it is known."""
    report: pytest.TestReport = yield
    plugin = cell_plugin(item.config)
    names = [name for mark in item.iter_markers("clause") for name in mark.args]
    # The last test of a cell is reported after the cell's own teardown: its record then comes behind the cell's end.
    running = plugin.running if plugin is not None else None
    if plugin is None or running is None or running.cell.id != _cell_id(item):
        return report
    error = call.excinfo.value if call.excinfo else None
    if error is not None:
        running.examine(name_of(item), error)  # now: the guest's VM is gone after the teardown
    if names and (report.when == "call" or report.outcome != "passed"):
        from harness.runs.suite import recorded_name

        name = recorded_name(item.path, item.nodeid)
        outcome = running.results.record(names, name, report.when or "", report.outcome, error, call.duration)
        properties = [("halpmc_cell", running.cell.id), ("halpmc_outcome", str(outcome))]
        item.user_properties += [*properties, *(("halpmc_clause", name) for name in names)]  # for --junitxml
    if isinstance(error, HalpmcError):
        found = "".join(f"\n{title}: {text}" for title, text in error.evidence.items() if "\n" not in text)
        report.longrepr = f"{error}{found}\nfolder: {running.folder}"
    plugin.hold.saw(item, running, report)
    return report


@pytest.hookimpl(trylast=True)  # after pytest has torn down what is left: an interrupted cell ends in that
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Close the records; when this session led the run, write its last record and the reports."""
    plugin = cell_plugin(session.config)
    summary = plugin.finish() if plugin is not None else None
    if (
        plugin is None
        or summary is None
        or session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    ):
        return
    if setting(session.config, "replay")[0]:
        session.exitstatus = summary.exit_code  # the command's exit codes, not pytest's
    elif summary.exit_code and (summary.planned or plugin.running is None):
        # Tests of somebody's own that judge no clause are pytest's business alone.
        session.exitstatus = pytest.ExitCode.TESTS_FAILED  # red in the report is red here, too


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of the run and the path of its report."""
    plugin = cell_plugin(config)
    if plugin is not None and plugin.folder is not None and plugin.summary is not None:
        from rich.console import Console

        from harness.report.terminal import print_summary

        terminalreporter.section("halpmc")
        print_summary(plugin.summary, plugin.folder, Console())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Reports are written, the table is printed: now there is time for a VM that is kept."""
    plugin = cell_plugin(config)
    if plugin is not None:
        plugin.hold.wait_at_the_end()
