"""How far a run is, from its records as they are now; and the runs of a folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from harness.contract.outcomes import Outcome, worst_outcome
from harness.errors import HalpmcError
from harness.report import words
from harness.report.html import FILE_NAME as REPORT
from harness.report.loading import CellView, load_run
from harness.report.summary import FILE_NAME as SUMMARY
from harness.report.summary import Summary, summarize_run
from harness.runs.record_file import FILE_NAME as RECORDS


def list_runs(directory: Path) -> list[dict[str, Any]]:
    """The runs of a folder, the latest first: name, when, how it ended, whether it has a report."""
    folders = sorted((path.parent for path in directory.glob(f"*/{RECORDS}")), reverse=True)
    return [_listed(folder) for folder in folders if not folder.is_symlink()]


def _listed(folder: Path) -> dict[str, Any]:
    """A run that has ended is listed from its summary, which is quick; another one from its records."""
    listed: dict[str, Any] = {"folder": folder.name, "report": (folder / REPORT).is_file()}
    try:
        return listed | _facts(_summary(folder))
    except HalpmcError as error:
        return listed | {"trouble": error.message}


def _summary(folder: Path) -> Summary:
    path = folder / SUMMARY
    try:
        if path.stat().st_mtime_ns >= (folder / RECORDS).stat().st_mtime_ns:
            return Summary.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        pass  # not there yet, or of another version: the records have it all
    return summarize_run(load_run(folder))


def _facts(summary: Summary) -> dict[str, Any]:
    verdicts = Counter(cell.verdict for cell in summary.cells)
    return {
        "name": summary.name,
        "started": summary.started.isoformat(),
        "seconds": summary.duration_s,
        "finished": summary.finished,
        "exit_code": summary.exit_code if summary.finished else None,
        "recorded": summary.recorded,
        "planned": summary.planned,
        "verdicts": [[*words.VERDICTS[verdict][:3], number] for verdict, number in verdicts.items()],
        "violated": summary.counts.get(Outcome.FAIL, 0),
    }


def progress(folder: Path) -> dict[str, Any]:
    """A run as it is now: its numbers, and for each cell how far it is."""
    view = load_run(folder)
    facts = _facts(summarize_run(view))
    cells = [_cell(cell) for cell in view.cells.values()]
    return {
        **facts,
        "folder": folder.name,
        "report": (folder / REPORT).is_file(),
        "ended": sum(cell["state"] == "ended" for cell in cells),
        "cells": cells,
    }


def _cell(cell: CellView) -> dict[str, Any]:
    outcomes = Counter(worst_outcome(record.outcome for record in all_) for all_ in cell.clauses.values())
    state = "ended" if cell.end else "running" if cell.first_time else "waiting"
    last = next(reversed(cell.clauses), "")
    return {
        "id": cell.id,
        "state": state,
        "verdict": list(words.VERDICTS[cell.end.verdict][:3]) if cell.end else None,
        "phase": cell.phases[-1].name if cell.phases else "",
        "last": last,
        "done": len(cell.clauses),
        "planned": len(cell.plan.clauses),
        "results": [[*words.OUTCOMES[outcome][:3], n] for outcome, n in outcomes.items()],
        "trouble": cell.incidents[-1].message if cell.incidents else "",
        "seconds": cell.end.duration_s if cell.end else None,
    }
