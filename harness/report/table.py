"""results.csv: a line per cell and clause, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
import re

from harness.report.axes import axes_of
from harness.report.summary import Summary
from harness.report.text import one_line

FILE_NAME = "results.csv"
_FORMULA = re.compile(r"[=+\-@\t\r]")
"""What makes a spreadsheet take a text for a formula when it begins with it."""


def results_csv(summary: Summary) -> str:
    """The whole file: cell, verdict, probe, clause, outcome, reason, seconds, and a column for each axis.

    A clause that was planned and not recorded has the outcome `missing`; a cell without clauses has one line.
    """
    places = [axes_of(cell.config) for cell in summary.cells]
    axes = list(dict.fromkeys(axis for place in places for axis in place))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["cell", "verdict", "realised", "probe", "clause", "outcome", "reason", "cell_seconds", *axes]
    )
    for cell, place in zip(summary.cells, places, strict=True):
        realised = {True: "yes", False: "no", None: "unknown"}[cell.realised]
        results = [
            *((clause, str(outcome)) for clause, outcome in cell.clauses.items()),
            *((clause, "missing") for clause in cell.missing),
        ]
        for clause, outcome in results or [("", "")]:
            row = [
                cell.id,
                str(cell.verdict),
                realised,
                str(cell.probe or ""),
                clause,
                outcome,
                cell.clause_reasons.get(clause, "" if clause else cell.reason),
                f"{cell.duration_s:.3f}",
                *(place.get(axis, "") for axis in axes),
            ]
            writer.writerow([_inert(value) for value in row])
    return text.getvalue()


def _inert(value: str) -> str:
    """One line of text that no spreadsheet runs: guests make some of it."""
    line = one_line(value)
    return f"'{line}" if _FORMULA.match(line) else line
