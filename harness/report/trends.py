"""What the page of a run shows of the runs before it: how they ended, how long each cell took, what comes and goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.caching import Say
from harness.errors import HalpmcError
from harness.report.compare import compare_folders
from harness.report.history import history_of, previous_run
from harness.report.history_store import FILE_NAME, Store, open_store
from harness.report.html import Past

RUNS = 30
FLAKY = 200


def past_of(folder: Path, *, say: Say = lambda _: None) -> Past:
    """What other runs in the same folder of runs say. A history that cannot be used is told in the page, no more."""
    runs_dir = folder.resolve().parent
    try:
        with open_store(runs_dir / FILE_NAME, say=say) as store:
            store.sync(runs_dir, say)
            before = previous_run(store, folder.resolve().name)
            trends = trends_of(store, folder.resolve().name)
        changes = compare_folders(runs_dir / before, folder, say=say) if before else None
    except HalpmcError as error:
        say(f"history: {error}")
        return Past(trends={"trouble": str(error)})
    return Past(changes=changes, trends=trends)


def trends_of(store: Store, folder: str) -> dict[str, Any]:
    """The last runs of the same matrix up to the one in this folder; a cell's duration is null where it was not run."""
    [(name, started)] = store.rows("SELECT name, started FROM run WHERE folder = ?", folder)
    history = history_of(store, "", name=name, last=RUNS, until=started)
    place = {run.folder: index for index, run in enumerate(history.runs)}
    cells: dict[str, list[Any]] = {one.cell: [None] * len(place) for one in history.cells}
    for run, cell, duration in store.rows(
        "SELECT run.folder, result.cell, result.duration_s FROM result JOIN run ON run.id = result.run"
        " WHERE run.name = ?",
        name,
    ):
        if run in place:
            cells[cell][place[run]] = duration
    return {
        "runs": [run.model_dump(mode="json") for run in history.runs],
        "cells": cells,
        "flaky": [one.model_dump(mode="json") for one in history.flaky[:FLAKY]],
        "flaky_all": len(history.flaky),
    }
