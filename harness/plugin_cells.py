"""What the plugin knows in a pytest session with a matrix: its cells, the run, the cell that is running."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import UsageError
from harness.plugin_hold import Hold
from harness.plugin_options import (
    baselines_folder,
    not_default,
    replayed,
    search_plan_of,
    selected,
    setting,
    strict_baseline,
)
from harness.plugin_xdist import CELLS, shared_folder

if TYPE_CHECKING:
    from harness.config.matrix import Matrix
    from harness.report.summary import Summary
    from harness.runs.cell import CellRun
    from harness.runs.record import Record
    from harness.runs.select import Selection
    from harness.runs.session import RunSession

PLUGIN_NAME = "halpmc-run"


@dataclass
class CellPlugin:
    """Registered only when there is a matrix. `led_by` is the folder of a run that somebody else leads."""

    config: pytest.Config
    matrix: Matrix
    selection: Selection
    runs_dir: Path
    led_by: Path | None
    origins: list[str]
    hold: Hold
    chosen: dict[str, set[str]] = field(default_factory=dict)
    session: RunSession | None = None
    summary: Summary | None = None
    running: CellRun | None = None
    shared: Path | None = None

    @classmethod
    def of(cls, config: pytest.Config) -> CellPlugin | None:
        """As the settings say; None without a matrix. Raises UsageError."""
        from harness.report.baselines import check_baselines
        from harness.runs.replay import replay_matrix
        from harness.runs.select import Selection, open_matrix

        cell, (path, origin) = replayed(config), setting(config, "matrix")
        runs_dir, runs_origin = setting(config, "runs_dir")
        runs_dir, run_dir = runs_dir or "runs", setting(config, "run_dir")[0]
        if cell:
            matrix, origin = replay_matrix(Path(cell)), setting(config, "replay")[1]
            selection = Selection(matrix.cells)  # whatever the environment chooses was chosen already
        elif path is not None:
            matrix = open_matrix(Path(path))
            selection = selected(config, matrix, Path(runs_dir))
        else:
            return None
        search_plan_of(config)
        check_baselines(baselines_folder(config))
        strict_baseline(config)
        skipped = f", {len(selection.skipped)} skipped" if selection.skipped else ""
        place = f"in the run {run_dir}" if run_dir else f"runs in {runs_dir} ({runs_origin})"
        origins = [
            f"halpmc: {f'cell {cell}' if cell else f'matrix {path}'} ({origin}), "
            f"{len(selection.cells)} cells{skipped}, {place}"
        ]
        if others := not_default(config):
            origins.append(f"halpmc: {others}")
        led_by = Path(run_dir) if run_dir else None
        return cls(config, matrix, selection, Path(runs_dir), led_by, origins, Hold.of(config))

    def start(self) -> RunSession:
        """The run of this pytest session, started when the first cell starts."""
        from harness.runs.session import RunSession

        if self.session is None:
            worker_of = shared_folder(self.config)
            self.session = RunSession.open(
                self.matrix,
                self.selection.cells,
                self.runs_dir,
                worker_of or self.led_by,
                self.chosen,
                skipped=self.selection.skipped,
                selection=self.selection.words,
                shard=self.selection.shard,
                shared=worker_of is not None,
                on_record=self._on_record,
            )
        return self.session

    def _on_record(self, record: Record) -> None:
        self.config.hook.pytest_halpmc_record(config=self.config, record=record)

    def shared_run(self) -> Path:
        """The folder of the run that workers take part in, made when it is first asked for."""
        from harness.runs.folder import create_run_folder

        if self.shared is None:
            self.shared = self.led_by or create_run_folder(self.runs_dir, self.matrix.name).absolute()
        return self.shared

    def finish(self) -> Summary | None:
        """Close the records; when this session leads the run, write its last record and the reports."""
        if self.session is not None:
            self.session.close()
            return self._report(self.session.folder) if self.session.leading else None
        if self.shared is None or self.led_by is not None:
            return None
        from harness.runs.record_file import FILE_NAME

        (self.shared / CELLS).unlink(missing_ok=True)
        if not (self.shared / FILE_NAME).exists():  # no worker had a test in a cell
            (self.shared / "cells").rmdir()
            self.shared.rmdir()
            return None
        return self._report(self.shared)

    def _report(self, folder: Path) -> Summary:
        from harness.report.baselines import record_comparison
        from harness.report.summary import summarize
        from harness.report.write import write_reports
        from harness.runs.execute import end_run

        strict = strict_baseline(self.config)
        record_comparison(folder, baselines_folder(self.config), strict=strict)
        end_run(folder, summarize(folder).exit_code)
        self.summary = write_reports(folder, history=True)
        self.config.hook.pytest_halpmc_run_ended(config=self.config, folder=folder, summary=self.summary)
        return self.summary

    @property
    def folder(self) -> Path | None:
        """The run's folder, when there is one."""
        return self.session.folder if self.session is not None else self.shared


def cell_plugin(config: pytest.Config) -> CellPlugin | None:
    """The session's own; None without a matrix."""
    plugin = config.pluginmanager.get_plugin(PLUGIN_NAME)
    return plugin if isinstance(plugin, CellPlugin) else None


def require_matrix(config: pytest.Config) -> None:
    """Raise UsageError for settings that mean nothing without a matrix."""
    if config.getoption("halpmc_cell") or config.getoption("halpmc_run_dir"):
        raise UsageError("--halpmc-cell and --halpmc-run-dir need --halpmc-matrix")
