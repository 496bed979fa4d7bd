"""pytest-xdist: each worker takes whole cells, all of them record into one run, and the controller writes the reports.

Without xdist nothing here is called.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import WorkerController

    from harness.plugin_cells import CellPlugin

RUN_DIR = "halpmc_run_dir"


def distributed(config: pytest.Config) -> bool:
    """Whether tests run in workers: this is their controller, or one of them."""
    if config.option.collectonly:
        return False
    controls = config.getoption("dist", "no") != "no" and bool(config.getoption("tx", None))
    return controls or hasattr(config, "workerinput")


def shared_folder(config: pytest.Config) -> Path | None:
    """The folder of the run that a worker takes part in; None in any other process."""
    given: dict[str, Any] = getattr(config, "workerinput", {})
    return Path(given[RUN_DIR]) if RUN_DIR in given else None


def cell_of(nodeid: str, cells: Collection[str]) -> str | None:
    """The cell that a test runs in, by its node id; of several that fit, the one with the longest id."""
    _, bracket, parameters = nodeid.partition("[")
    words = parameters.rpartition("]")[0] if bracket else ""
    fitting = [cell for cell in cells if re.search(rf"(?:^|-){re.escape(cell)}(?:-|$)", words)]
    return max(fitting, key=len, default=None)


class Controller:
    """What the controller does: one folder for all workers, whole cells for each. Only where there are workers."""

    def __init__(self, plugin: CellPlugin) -> None:
        self._plugin = plugin

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerController) -> None:
        """Tell the worker where the run is."""
        node.workerinput[RUN_DIR] = str(self._plugin.shared_run())

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> LoadScopeScheduling:
        """Tests of one cell go to one worker, other tests by their module, whatever --dist says."""
        from xdist.scheduler import LoadScopeScheduling

        cells = [cell.id for cell in self._plugin.selection.cells]

        class ByCell(LoadScopeScheduling):  # type: ignore[misc]
            """Units of work are cells."""

            def _split_scope(self, nodeid: str) -> str:
                return cell_of(nodeid, cells) or str(super()._split_scope(nodeid))

        return ByCell(config, log)
