"""A run that goes on where it was interrupted, and a run of the cells that failed in an earlier one."""

from __future__ import annotations

from collections.abc import Collection
from itertools import count
from pathlib import Path

from harness import __version__
from harness.errors import UsageError
from harness.host.tools import host_facts
from harness.runs.record import CellEndRecord, ClauseRecord, IncidentRecord, ResumeRecord, RunRecord, now
from harness.runs.record_file import Recorder, drop_unfinished_line, read_records


def planned(folder: Path) -> RunRecord:
    """The plan of the run in this folder. Raises UsageError when there is none."""
    first = next(read_records(folder), None)
    if not isinstance(first, RunRecord):
        raise UsageError(
            f"{folder} has no plan", remedy="the run was killed before it began; run the matrix again"
        )
    return first


def unfinished(folder: Path) -> tuple[str, ...]:
    """The planned cells that did not end, or ended short of a planned clause, in the order of the plan."""
    ended: set[str] = set()
    recorded: dict[str, set[str]] = {}
    for record in read_records(folder):
        match record:
            case ResumeRecord():
                ended.difference_update(record.cells)
                for cell in record.cells:
                    recorded.pop(cell, None)
            case IncidentRecord(restarted=True):
                ended.discard(record.cell)
                recorded.pop(record.cell, None)
            case CellEndRecord():
                ended.add(record.cell)
            case ClauseRecord():
                recorded.setdefault(record.cell, set()).add(record.clause)
            case _:
                pass
    return tuple(
        cell.id
        for cell in planned(folder).cells
        if cell.id not in ended or not recorded.get(cell.id, set()).issuperset(cell.clauses)
    )


def left_of(folder: Path) -> RunRecord:
    """The plan of what is left of a run. Raises UsageError when nothing is."""
    left = unfinished(folder)
    if not left:
        raise UsageError(
            f"every cell of {folder} has ended: there is nothing to resume",
            remedy="--rerun-failed runs those that failed",
        )
    return _only(planned(folder), left)


def open_again(folder: Path, left: RunRecord) -> Recorder:
    """The records of a run that goes on with these cells; what they left before is kept beside, under another name.

    The caller leads the run.
    """
    drop_unfinished_line(folder)
    names = tuple(cell.id for cell in left.cells)
    kept = {name: aside for name in names if (aside := _set_aside(folder, name))}
    recorder = Recorder(folder)
    recorder.write(ResumeRecord(cells=names, kept=kept, host=host_facts(), versions={"halpmc": __version__}))
    return recorder


def rerun(folder: Path, cells: Collection[str]) -> RunRecord:
    """The plan of a new run of these cells, as they were planned in the run in this folder."""
    plan = _only(planned(folder), cells)
    return plan.model_copy(
        update={
            "time": now(),
            "excluded": (),
            "skipped": (),
            "shard": None,
            "selection": f"{len(plan.cells)} cells that failed in {folder.name}",
            "host": host_facts(),
            "versions": {"halpmc": __version__},
        }
    )


def _only(plan: RunRecord, cells: Collection[str]) -> RunRecord:
    issues = tuple(
        issue.model_copy(update={"cells": tuple(cell for cell in issue.cells if cell in cells)})
        for issue in plan.known_issues
    )
    kept = tuple(cell for cell in plan.cells if cell.id in cells)
    return plan.model_copy(update={"cells": kept, "known_issues": issues})


def _set_aside(folder: Path, cell: str) -> str:
    """Rename what an unfinished cell left; its new path in the run's folder, empty when there is nothing."""
    left = folder / "cells" / cell
    if not left.is_dir():
        return ""
    free = next(path for n in count(1) if not (path := left.with_name(f"{cell}~{n}")).exists())
    left.rename(free)
    return str(free.relative_to(folder))
