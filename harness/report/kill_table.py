"""The kill matrix on a terminal: a line per defect and generation, a column per clause."""

from __future__ import annotations

from rich.text import Text

from harness.contract.clauses import CLAUSES
from harness.report.kills import Kill
from harness.report.summary import Summary
from harness.report.text import one_line

KILLED, NOTICED, CHANGED, SILENT, BLIND = "X", "x", "~", "·", "o"
LEGEND = (
    f"{KILLED} noticed by a clause that promises, {NOTICED} by another one, {CHANGED} recorded otherwise than of the "
    f"sound HAL, {BLIND} promised and not noticed, {SILENT} not noticed"
)


def kill_table(summary: Summary) -> Text:
    """The whole table with its head, a column of which reads from top to bottom, and what its signs mean."""
    cells = {cell.id: cell for cell in summary.cells}
    recorded = {name for kill in summary.defects for name in cells[kill.cell].clauses}
    clauses = [name for name in CLAUSES if name in recorded]
    names = [f"{kill.defect} ({kill.generation})" for kill in summary.defects]
    width = max(len(name) for name in names)
    text = Text()
    for row in range(max(map(len, clauses), default=0)):
        text.append(
            " " * (width + 2) + " ".join(f"{name:<8}"[row : row + 1] or " " for name in clauses) + "\n"
        )
    for kill, name in zip(summary.defects, names, strict=True):
        text.append(f"{one_line(name):{width}}  ", "red" if kill.survived else "")
        for clause in clauses:
            sign = _sign(kill, clause)
            text.append(
                f"{sign} ", {KILLED: "bold green", CHANGED: "green", BLIND: "yellow"}.get(sign, "dim")
            )
        if kill.survived:
            text.append(f" {kill.verdict.upper()}", "bold red")
        text.append("\n")
    return text.append(LEGEND + "\n")


def _sign(kill: Kill, clause: str) -> str:
    if clause in kill.changed:
        return CHANGED
    if clause in kill.killed_by:
        return KILLED if clause in kill.promised else NOTICED
    return BLIND if clause in kill.promised else SILENT
