"""The plugin's options: which matrix, and which cells and clauses of it.

Importing this module is cheap, as that of the plugin is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.config.matrix import Matrix
    from harness.config.models import Cell
    from harness.runs.plan import SearchPlan
    from harness.runs.select import Selection

OPTIONS = {
    "matrix": (
        "PATH",
        "matrix file whose cells the tests run in, or the name of a shipped one, such as demo",
    ),
    "runs_dir": ("PATH", "folder in which a run makes its own folder (default: runs)"),
    "sequences": ("N", "random sequences of calls in each cell (default: 100; 10 with a part of the suite)"),
    "seed": ("N", "what they are drawn from (default: a number of the cell's own, the same in each run)"),
    "baselines": (
        "PATH",
        "folder of the baselines that observations are compared with (default: those that come with halpmc)",
    ),
    "strict_baseline": ("1", "1: an observation that is not as in its baseline fails the run"),
    "k": ("WORDS", "only cells with these words in their id, such as 'nehalem and not pmu_on'"),
    "cells": ("EXPRESSION", "only cells for which this holds, such as 'pmu=on and guest~embedded'"),
    "tag": ("TAGS", "only cells with one of these tags, separated by commas"),
    "since": ("REV", "only what files changed since this git revision concern (ci/changes.yaml)"),
    "shard": ("K/N", "only part K of N, of about the same cost each"),
    "costs": ("PATH", "where costs come from: a folder of runs, or a plan's JSON (default: the runs)"),
}


def add_options(parser: pytest.Parser) -> None:
    """One group; every option has an environment variable and an ini twin (command line > environment > ini)."""
    group = parser.getgroup("halpmc", "hardware performance counters in Windows VMs")
    for name, (value, text) in OPTIONS.items():
        variable = f"HALPMC_{name.upper()}"
        group.addoption(
            f"--halpmc-{name.replace('_', '-')}",
            metavar=value,
            dest=f"halpmc_{name}",
            help=f"{text} [environment: {variable}, ini: halpmc_{name}]",
        )
        parser.addini(f"halpmc_{name}", text)
    group.addoption(
        "--halpmc-cell",
        metavar="ID",
        action="append",
        default=[],
        dest="halpmc_cell",
        help="run only this cell of the matrix (may be given several times)",
    )
    group.addoption(
        "--halpmc-clause",
        metavar="ID",
        action="append",
        default=[],
        dest="halpmc_clause",
        help="only the tests that judge this clause (may be given several times)",
    )
    group.addoption(
        "--halpmc-run-dir",
        metavar="PATH",
        dest="halpmc_run_dir",
        help="append to the run in this folder instead of starting one (used by `halpmc run`)",
    )
    group.addoption(
        "--halpmc-replay",
        metavar="CELL_DIR",
        dest="halpmc_replay",
        help="run the cell whose folder an earlier run left behind (used by `halpmc replay`)",
    )


def setting(config: pytest.Config, name: str) -> tuple[str | None, str]:
    """The value of a setting and where it comes from."""
    for value, origin in (
        (config.getoption(f"halpmc_{name}"), "command line"),
        (os.environ.get(f"HALPMC_{name.upper()}"), "environment"),
        (config.getini(f"halpmc_{name}"), "ini file"),
    ):
        if value:
            return str(value), origin
    return None, "default"


def search_plan_of(config: pytest.Config, cell: Cell | None = None) -> SearchPlan:
    """How many random sequences of calls a cell gets, and their seed. Raises UsageError."""
    from harness.config.models import SuitePart
    from harness.runs.plan import SearchPlan

    whole = cell is None or set(cell.suite) == set(SuitePart)
    chosen = setting(config, "sequences")[0], setting(config, "seed")[0]
    return SearchPlan.of(cell.id if cell else "", *chosen, whole=whole)


def strict_baseline(config: pytest.Config) -> bool:
    """Whether an observation that changed fails the run. Raises UsageError."""
    value = setting(config, "strict_baseline")[0] or "0"
    if value not in ("0", "1"):
        raise UsageError(f"strict_baseline is {value!r}", remedy="use 1, or 0")
    return value == "1"


def baselines_folder(config: pytest.Config) -> Path:
    """The folder of the baselines."""
    from harness.report.baselines import default_baselines

    chosen = setting(config, "baselines")[0]
    return Path(chosen) if chosen else default_baselines()


def selected(config: pytest.Config, matrix: Matrix, runs_dir: Path) -> Selection:
    """The cells that options, environment and ini file choose; less those that cannot run here, unless only collected.

    Raises UsageError.
    """
    from harness.runs.costs import Costs, load_costs
    from harness.runs.select import Choice, on_this_host, select

    chosen = {
        name: setting(config, name)[0] or "" for name in ("k", "cells", "tag", "since", "shard", "costs")
    }
    tags = tuple(tag.strip() for tag in chosen["tag"].split(",") if tag.strip())
    ids = tuple(config.getoption("halpmc_cell"))
    choice = Choice(ids, chosen["k"], chosen["cells"], tags, chosen["since"], chosen["shard"])
    costs = load_costs(Path(chosen["costs"] or runs_dir)) if choice.shard else Costs()
    selection = select(matrix, choice, costs)
    return selection if config.option.collectonly else on_this_host(matrix, selection)
