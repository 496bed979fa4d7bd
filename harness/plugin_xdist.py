"""pytest-xdist: each worker takes whole cells, all of them record into one run, and the controller writes the reports.

Without xdist nothing here is called.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import WorkerController

RUN_DIR = "halpmc_run_dir"
CELLS = "worker-cells.json"


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


def tell_cells(folder: Path, cells: Mapping[str, str]) -> None:
    """In a worker: the controller knows tests by their node ids alone, so it is told which of them runs in which cell.

    Parameters in a node id would not do: of two cells one's id may be the beginning of the other's.
    """
    scratch = folder / f"{CELLS}.{os.getpid()}"
    scratch.write_text(json.dumps(cells))
    scratch.replace(folder / CELLS)  # all workers tell the same, or xdist refuses them


class Leader(Protocol):
    """Who leads the run: the plugin of a session with cells."""

    def shared_run(self) -> Path:
        """The folder of the one run that all workers record into."""
        ...


class Controller:
    """What the controller does: one folder for all workers, whole cells for each. Only where there are workers."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerController) -> None:
        """Tell the worker where the run is."""
        node.workerinput[RUN_DIR] = str(self._leader.shared_run())

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> LoadScopeScheduling:
        """Tests of one cell go to one worker, other tests by their module, whatever --dist says."""
        from xdist.scheduler import LoadScopeScheduling

        folder = self._leader.shared_run()

        @cache
        def cells() -> dict[str, str]:
            return dict(json.loads((folder / CELLS).read_text()))

        class ByCell(LoadScopeScheduling):  # type: ignore[misc]
            """Units of work are cells."""

            def _split_scope(self, nodeid: str) -> str:
                return cells().get(nodeid) or str(super()._split_scope(nodeid))

        return ByCell(config, log)
