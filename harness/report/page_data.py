"""What the report's script works on: one compact value for the whole run. The page is drawn from it on demand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.contract.clauses import CLAUSES
from harness.contract.outcomes import Verdict
from harness.report import words
from harness.report.axes import axes_of
from harness.report.loading import CellView, RunView
from harness.report.reasons import seen
from harness.report.summary import CellSummary, Summary

MAX_REASON = 400
"""Characters of a reason that a list shows; the page of its cell shows more."""


def page_data(
    view: RunView,
    summary: Summary,
    clauses: list[str],
    concerned: set[str],
    history: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """All of a run but the details of its cells.

    `cells` are arrays of results: `o` has a letter for each clause, `x` the index of the cell's value on each axis,
    `w` the index of the reason for each clause that has one.
    """
    promised = {kill.cell: kill.promised for kill in summary.defects}
    axes = _axes(summary.cells)
    reasons: dict[str, int] = {}
    return {
        "name": summary.name,
        "words": {
            "outcomes": {
                words.LETTERS[outcome]: _shown(shown)
                for outcome, shown in [*words.OUTCOMES.items(), (None, words.MISSING)]
            },
            "verdicts": {str(verdict): _shown(shown) for verdict, shown in words.VERDICTS.items()},
            "probes": {
                **{name: _shown(shown) for name, shown in words.PROBES.items()},
                "": _shown(words.NO_PROBE),
            },
            "realised": {_yes_no(key): _shown(shown) for key, shown in words.REALISED.items()},
        },
        "axes": [{"key": key, "values": values} for key, values in axes.items()],
        "clauses": [_clause(name, view.cells.values()) for name in clauses],
        "cells": [
            _cell(cell, promised, clauses, axes, reasons, cell.id in concerned) for cell in summary.cells
        ],
        "reasons": list(reasons),
        "history": history,
    }


def _shown(shown: words.Shown) -> list[str]:
    return list(shown)


def _yes_no(realised: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[realised]


def _axes(cells: Iterable[CellSummary]) -> dict[str, list[str]]:
    """Each axis with the values that occur, in their order of appearance."""
    axes: dict[str, dict[str, None]] = {}
    for cell in cells:
        for key, value in _places(cell).items():
            axes.setdefault(key, {})[value] = None
    return {key: list(values) for key, values in axes.items()}


def _places(cell: CellSummary) -> dict[str, str]:
    """Where a cell is on each axis: what came out, what was asked for, and what it really ran on."""
    accelerator = cell.provenance.get("accelerator", "")
    return {
        "verdict": str(cell.verdict),
        "PMU probe": str(cell.probe or words.NO_PROBE.text),
        "machine got": words.REALISED[cell.realised].text,
        "accelerator used": accelerator.split(" ")[0] or "not recorded",
        **axes_of(cell.config),
    }


def _cell(
    cell: CellSummary,
    promised: Mapping[str, tuple[str, ...]],
    clauses: list[str],
    axes: Mapping[str, list[str]],
    reasons: dict[str, int],
    concerned: bool,
) -> dict[str, Any]:
    places = _places(cell)
    number = {clause: index for index, clause in enumerate(clauses)}
    return {
        "id": cell.id,
        "v": str(cell.verdict),
        "r": cell.reason,
        "got": _yes_no(cell.realised),
        "not": list(cell.not_realised),
        "p": str(cell.probe or ""),
        "t": cell.duration_s,
        "g": words.guest_label(cell),
        "wine": words.is_wine(cell),
        "f": concerned,
        "o": "".join(_letter(cell, clause) for clause in clauses),
        "x": [axes[key].index(places[key]) if key in places else -1 for key in axes],
        "w": {
            str(number[clause]): reasons.setdefault(seen(clause, reason)[:MAX_REASON], len(reasons))
            for clause, reason in cell.clause_reasons.items()
        },
        "near": cell.nearest.model_dump() if cell.nearest else None,
        "good": cell.verdict in (Verdict.USABLE, Verdict.COUNTING),
        "promised": [number[clause] for clause in promised.get(cell.id, ()) if clause in number],
    }


def _letter(cell: CellSummary, clause: str) -> str:
    if clause in cell.clauses:
        return words.LETTERS[cell.clauses[clause]]
    return words.LETTERS[None] if clause in cell.missing else words.NOT_PLANNED


def _clause(name: str, cells: Iterable[CellView]) -> dict[str, Any]:
    """A clause's text and source, and the tests that judged it in this run."""
    entry = CLAUSES.get(name)
    tests = dict.fromkeys(record.test for cell in cells for record in cell.clauses.get(name, ()))
    return {
        "id": name,
        "title": entry.title if entry else "not in the catalogue of this version",
        "source": entry.source if entry else "",
        "kind": str(entry.judgement) if entry else "",
        "generations": sorted(str(generation) for generation in entry.generations) if entry else [],
        "tests": list(tests),
    }
