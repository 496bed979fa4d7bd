"""The pytest face: parametrizes tests over the cells of a matrix, and writes a record for every clause judged.

Importing this module is cheap: VMs, SSH and reports are imported when a test first needs them, so that
`--collect-only` touches no VM, accelerator or image.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from harness.errors import HalpmcError, UsageError
from harness.plugin_options import (
    add_options,
    baselines_folder,
    search_plan_of,
    selected,
    setting,
    strict_baseline,
)

if TYPE_CHECKING:
    from harness.config.matrix import Matrix
    from harness.config.models import Cell
    from harness.contract.judgement import Judgement
    from harness.probe.models import ProbeAnswer
    from harness.report.summary import Summary
    from harness.runs.cell import CellRun
    from harness.runs.guest import Guest
    from harness.runs.plan import SearchPlan
    from harness.runs.select import Selection
    from harness.runs.session import RunSession

PLUGIN_NAME = "halpmc-run"


def pytest_addoption(parser: pytest.Parser) -> None:
    """One group; every option has an environment variable and an ini twin (command line > environment > ini)."""
    add_options(parser)


@dataclass
class CellPlugin:
    """What the plugin knows in this pytest session; registered only when there is a matrix."""

    matrix: Matrix
    selection: Selection
    runs_dir: Path
    run_dir: Path | None
    origins: str
    chosen: dict[str, set[str]] = field(default_factory=dict)
    session: RunSession | None = None
    summary: Summary | None = None
    running: CellRun | None = None

    def start(self) -> RunSession:
        """The run of this pytest session, started when the first cell starts."""
        from harness.runs.session import RunSession

        if self.session is None:
            self.session = RunSession.open(
                self.matrix,
                self.selection.cells,
                self.runs_dir,
                self.run_dir,
                self.chosen,
                skipped=self.selection.skipped,
                selection=self.selection.words,
                shard=self.selection.shard,
            )
        return self.session


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; load the matrix, whose mistakes are usage errors before anything starts."""
    config.addinivalue_line("markers", "clause(id, ...): the clauses of the contract that this test judges")
    matrix_path, matrix_origin = setting(config, "matrix")
    replayed = config.getoption("halpmc_replay")
    if matrix_path is None and replayed is None:
        if config.getoption("halpmc_cell") or config.getoption("halpmc_run_dir"):
            raise pytest.UsageError("--halpmc-cell and --halpmc-run-dir need --halpmc-matrix")
        return
    from harness.report.baselines import check_baselines
    from harness.runs.replay import replay_matrix
    from harness.runs.select import Selection, open_matrix

    runs_dir, runs_origin = setting(config, "runs_dir")
    run_dir = config.getoption("halpmc_run_dir")
    try:
        if replayed:
            matrix = replay_matrix(Path(replayed))
            selection = Selection(matrix.cells)  # whatever the environment chooses was chosen already
        else:
            matrix = open_matrix(Path(str(matrix_path)))
            selection = selected(config, matrix, Path(runs_dir or "runs"))
        search_plan_of(config)
        check_baselines(baselines_folder(config))
        strict_baseline(config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    skipped = f", {len(selection.skipped)} skipped" if selection.skipped else ""
    plugin = CellPlugin(
        matrix,
        selection,
        Path(runs_dir or "runs"),
        Path(run_dir) if run_dir else None,
        f"halpmc: {f'cell {replayed}' if replayed else f'matrix {matrix_path}'} ({matrix_origin}), "
        f"{len(selection.cells)} cells{skipped}, "
        f"runs in {runs_dir or 'runs'} ({runs_origin})",
    )
    config.pluginmanager.register(plugin, PLUGIN_NAME)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Where each setting came from."""
    plugin = config.pluginmanager.get_plugin(PLUGIN_NAME)
    return plugin.origins if isinstance(plugin, CellPlugin) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per cell, cells in the order of their ids. Tests that need a guest are not made for probe-only cells."""
    own = [str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize") if mark.args]
    if "cell" not in metafunc.fixturenames or any("cell" in names.split(",") for names in own):
        return
    if "cell" in metafunc._arg2fixturedefs:  # somebody's own fixture of that name
        return
    plugin = metafunc.config.pluginmanager.get_plugin(PLUGIN_NAME)
    if not isinstance(plugin, CellPlugin):
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
    plugin = config.pluginmanager.get_plugin(PLUGIN_NAME)
    asked = set(config.getoption("halpmc_clause"))
    concerned = plugin.selection.clauses if isinstance(plugin, CellPlugin) else None
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


def pytest_collection_finish(session: pytest.Session) -> None:
    """Know the clauses that the chosen tests judge: they are the plan of a run that this session leads."""
    plugin = session.config.pluginmanager.get_plugin(PLUGIN_NAME)
    if not isinstance(plugin, CellPlugin):
        return
    for item in session.items:
        names = {str(name) for mark in item.iter_markers("clause") for name in mark.args}
        if names and _cell_id(item):
            plugin.chosen.setdefault(_cell_id(item), set()).update(names)


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
    if isinstance(session.config.pluginmanager.get_plugin(PLUGIN_NAME), CellPlugin):
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Write the record of every clause that this test judged, as soon as it is known."""
    report: pytest.TestReport = yield
    plugin = item.config.pluginmanager.get_plugin(PLUGIN_NAME)
    names = [name for mark in item.iter_markers("clause") for name in mark.args]
    # The last test of a cell is reported after the cell's own teardown: its record then comes behind the cell's end.
    running = plugin.running if isinstance(plugin, CellPlugin) else None
    if running is not None and running.cell.id == _cell_id(item) and names:
        error = call.excinfo.value if call.excinfo else None
        if error is not None:
            running.examine(_test_name(item), error)  # now: the guest's VM is gone after the teardown
        if report.when == "call" or report.outcome != "passed":
            from harness.runs.suite import recorded_name

            name = recorded_name(item.path, item.nodeid)
            running.record_test(names, name, report.when or "", report.outcome, error, call.duration)
        if isinstance(error, HalpmcError):
            found = "".join(
                f"\n{title}: {text}" for title, text in error.evidence.items() if "\n" not in text
            )
            report.longrepr = f"{error}{found}\nfolder: {running.folder}"
    return report


@pytest.hookimpl(trylast=True)  # after pytest has torn down what is left: an interrupted cell ends in that
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Close the records; when this session led the run, write its last record and the reports."""
    plugin = session.config.pluginmanager.get_plugin(PLUGIN_NAME)
    if not isinstance(plugin, CellPlugin) or plugin.session is None:
        return
    plugin.session.close()
    if plugin.session.leading:
        from harness.report.baselines import record_comparison
        from harness.report.summary import summarize
        from harness.report.write import write_reports
        from harness.runs.execute import end_run

        strict = strict_baseline(session.config)
        record_comparison(plugin.session.folder, baselines_folder(session.config), strict=strict)
        end_run(plugin.session.folder, summarize(plugin.session.folder).exit_code)
        plugin.summary = write_reports(plugin.session.folder, history=True)
        if session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return
        if session.config.getoption("halpmc_replay"):
            session.exitstatus = plugin.summary.exit_code  # the command's exit codes, not pytest's
        elif plugin.summary.exit_code:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED  # red in the report is red here, too


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of the run and the path of its report."""
    plugin = config.pluginmanager.get_plugin(PLUGIN_NAME)
    if isinstance(plugin, CellPlugin) and plugin.session is not None and plugin.summary is not None:
        from rich.console import Console

        from harness.report.terminal import print_summary

        terminalreporter.section("halpmc")
        print_summary(plugin.summary, plugin.session.folder, Console())


@pytest.fixture(scope="session")
def cell_run(cell: Cell, pytestconfig: pytest.Config) -> Generator[CellRun, None, None]:
    """The run of one cell: its folder, its records, its verdict at the end."""
    plugin = pytestconfig.pluginmanager.get_plugin(PLUGIN_NAME)
    assert isinstance(plugin, CellPlugin)
    with plugin.start().cell(cell) as running:
        plugin.running = running
        yield running


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
    with cell_run.guest(_test_name(request.node)) as running:
        yield running


@pytest.fixture
def fresh_guest(
    cell_run: CellRun,
    probe_answer: ProbeAnswer,  # noqa: ARG001 - the probe answers first
    request: pytest.FixtureRequest,
) -> Generator[Guest, None, None]:
    """A guest for this test alone, always: for what may leave it broken."""
    with cell_run.fresh_guest(_test_name(request.node)) as running:
        yield running


@pytest.fixture
def search_plan(cell: Cell, pytestconfig: pytest.Config) -> SearchPlan:
    """How many random sequences of calls this cell gets, and their seed."""
    return search_plan_of(pytestconfig, cell)


def _test_name(item: pytest.Item) -> str:
    """The test's name with its own parameters, but without its cell, after which the folder above is named."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return item.name
    own = [str(value) for name, value in item.callspec.params.items() if name != "cell"]
    return "-".join([item.originalname, *own])


@pytest.fixture
def observe(cell_run: CellRun) -> Generator[Any, None, None]:
    """`observe(title, value)` keeps what was seen with the clauses of this test; the value is any JSON value."""
    cell_run.observations.clear()
    yield cell_run.observe


@pytest.fixture
def settle(cell_run: CellRun) -> Any:
    """`settle(judgement)` ends the test the way the judgement says: fail, skip with its reason, or go on."""

    def end(judgement: Judgement) -> None:
        cell_run.settle(judgement)

    return end
