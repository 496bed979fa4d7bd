"""The plugin's options: which matrix, which cells and clauses of it, and what happens around a test.

Importing this module is cheap, as that of the plugin is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.config.matrix import Matrix
    from harness.config.models import Cell
    from harness.runs.plan import SearchPlan
    from harness.runs.select import Selection


@dataclass(frozen=True)
class Option:
    """One setting: `--halpmc-NAME` on the command line, HALPMC_NAME in the environment, halpmc_NAME in the ini file.

    `many`: the option may be repeated, its twins separate values by commas. `bare` is the value of the option without
    one. `one_of` are the values that there are.
    """

    metavar: str
    text: str
    many: bool = False
    bare: str = ""
    one_of: tuple[str, ...] = ()


OPTIONS = {
    "matrix": Option(
        "PATH", "matrix file whose cells the tests run in, or the name of a shipped one, such as demo"
    ),
    "runs_dir": Option("PATH", "folder in which a run makes its own folder (default: runs)"),
    "cell": Option("ID", "run only this cell of the matrix", many=True),
    "clause": Option("ID", "only the tests that judge this clause", many=True),
    "k": Option("WORDS", "only cells with these words in their id, such as 'nehalem and not pmu_on'"),
    "cells": Option("EXPRESSION", "only cells for which this holds, such as 'pmu=on and guest~embedded'"),
    "tag": Option("TAGS", "only cells with one of these tags, separated by commas"),
    "since": Option("REV", "only what files changed since this git revision concern (ci/changes.yaml)"),
    "shard": Option("K/N", "only part K of N, of about the same cost each"),
    "costs": Option("PATH", "where costs come from: a folder of runs, or a plan's JSON (default: the runs)"),
    "sequences": Option(
        "N", "random sequences of calls in each cell (default: 100; 10 with a part of the suite)"
    ),
    "seed": Option(
        "N", "what they are drawn from (default: a number of the cell's own, the same in each run)"
    ),
    "baselines": Option(
        "PATH",
        "folder of the baselines that observations are compared with (default: those that come with halpmc)",
    ),
    "strict_baseline": Option(
        "1",
        "1: an observation that is not as in its baseline fails the run",
        bare="1",
        one_of=("0", "1"),
    ),
    "keep": Option(
        "WHEN",
        "keep a VM until you end the session: of the first test that failed, or of the last test (always)",
        bare="failed",
        one_of=("never", "failed", "always"),
    ),
    "pause_on_failure": Option(
        "1",
        "stop at a test that failed, its guest as it left it, until you go on",
        bare="1",
        one_of=("0", "1"),
    ),
    "run_dir": Option(
        "PATH", "append to the run in this folder instead of starting one (used by `halpmc run`)"
    ),
    "replay": Option(
        "CELL_DIR", "run the cell whose folder an earlier run left behind (used by `halpmc replay`)"
    ),
}
#: Where settings come from, the first that has one.
ORIGINS = ("command line", "environment", "ini file", "default")
DEFAULT = ORIGINS[-1]
#: The header tells these by themselves.
TOLD = ("matrix", "runs_dir", "run_dir", "replay")


def add_options(parser: pytest.Parser) -> None:
    """One group; every option has an environment variable and an ini twin (command line > environment > ini)."""
    group = parser.getgroup("halpmc", "hardware performance counters in Windows VMs")
    for name, option in OPTIONS.items():
        flag, twins = (
            f"--halpmc-{name.replace('_', '-')}",
            f"environment: {variable(name)}, ini: halpmc_{name}",
        )
        repeated = "; may be given several times, its twins separate them by commas" if option.many else ""
        text = f"{option.text}{repeated} [{twins}]"
        dest, metavar = f"halpmc_{name}", option.metavar
        if option.many:
            group.addoption(flag, metavar=metavar, dest=dest, help=text, action="append")
        elif option.bare:
            group.addoption(flag, metavar=metavar, dest=dest, help=text, nargs="?", const=option.bare)
        else:
            group.addoption(flag, metavar=metavar, dest=dest, help=text)
        parser.addini(f"halpmc_{name}", option.text)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"HALPMC_{name.upper()}"


def setting(config: pytest.Config, name: str) -> tuple[str | None, str]:
    """The value of a setting and where it comes from; of one with many values, joined by commas.

    Raises UsageError for a value that there is not.
    """
    given = config.getoption(f"halpmc_{name}")
    for value, origin in (
        (",".join(given) if isinstance(given, list) else given, ORIGINS[0]),
        (os.environ.get(variable(name)), ORIGINS[1]),
        (config.getini(f"halpmc_{name}"), ORIGINS[2]),
    ):
        if value:
            return _checked(name, str(value)), origin
    return None, DEFAULT


def settings(config: pytest.Config, name: str) -> tuple[str, ...]:
    """The values of a setting that may have many."""
    value = setting(config, name)[0] or ""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def switch(config: pytest.Config, name: str) -> bool:
    """A setting that is on or off. Raises UsageError."""
    return setting(config, name)[0] == "1"


def _checked(name: str, value: str) -> str:
    option = OPTIONS[name]
    if option.one_of and value not in option.one_of:
        known = ", ".join(option.one_of)
        flag = f"--halpmc-{name.replace('_', '-')}"
        raise UsageError(f"{name} is {value!r}", remedy=f"use one of {known}, as in {flag}={option.bare}")
    return value


def asked_clauses(config: pytest.Config) -> set[str]:
    """The clauses whose tests are wanted; empty: all.

    In a cell of a led run only the command line counts: its leader has planned what runs.
    """
    if setting(config, "run_dir")[0]:
        return set(config.getoption("halpmc_clause") or ())
    return set(settings(config, "clause"))


def replayed(config: pytest.Config) -> str | None:
    """The folder of the cell that is run again; None where a matrix was given by somebody with more say, or neither."""
    (folder, origin), (matrix, other) = setting(config, "replay"), setting(config, "matrix")
    if folder and matrix and ORIGINS.index(other) < ORIGINS.index(origin):
        return None
    return folder


def not_default(config: pytest.Config) -> str:
    """Every other setting that somebody made, with its origin, for the header; empty when there is none."""
    made = []
    for name in OPTIONS:
        value, origin = setting(config, name)
        if value is not None and name not in TOLD:
            made.append(f"{name}={value} ({origin})")
    return ", ".join(made)


def search_plan_of(config: pytest.Config, cell: Cell | None = None) -> SearchPlan:
    """How many random sequences of calls a cell gets, and their seed. Raises UsageError."""
    from harness.config.models import SuitePart
    from harness.runs.plan import SearchPlan

    whole = cell is None or set(cell.suite) == set(SuitePart)
    chosen = setting(config, "sequences")[0], setting(config, "seed")[0]
    return SearchPlan.of(cell.id if cell else "", *chosen, whole=whole)


def strict_baseline(config: pytest.Config) -> bool:
    """Whether an observation that changed fails the run. Raises UsageError."""
    return switch(config, "strict_baseline")


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

    chosen = {name: setting(config, name)[0] or "" for name in ("k", "cells", "since", "shard", "costs")}
    choice = Choice(
        settings(config, "cell"),
        chosen["k"],
        chosen["cells"],
        settings(config, "tag"),
        chosen["since"],
        chosen["shard"],
    )
    costs = (
        load_costs(Path(runs_dir), given=Path(chosen["costs"]) if chosen["costs"] else None)
        if choice.shard
        else Costs()
    )
    selection = select(matrix, choice, costs)
    return selection if config.option.collectonly else on_this_host(matrix, selection)
