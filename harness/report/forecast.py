"""A plan on the terminal: a line per cell, in the same form for three cells and for ten thousand."""

from __future__ import annotations

from harness.report.text import count, one_line, seconds
from harness.runs.forecast import Forecast


def print_forecast(plan: Forecast) -> None:
    """Print the cells in the order in which they would start, what is left out and why, and what it would cost."""
    print("\n".join(_lines(plan)))


def _lines(plan: Forecast) -> list[str]:
    width = max((len(cell.id) for cell in plan.cells), default=4)
    lines = [f"{'cell':{width}}  {'cost':>8}  from"] if plan.cells else []
    for cell in plan.cells:
        tags = f"  [{', '.join(cell.tags)}]" if cell.tags else ""
        lines.append(f"{cell.id:{width}}  {seconds(cell.cost_s):>8}  {cell.cost_from}{tags}")
    lines += [f"SKIP  {one_line(cell.id)}: {one_line(cell.reason)}" for cell in plan.skipped]
    lines += [f"left out  {one_line(cell.id)}: {one_line(cell.reason)}" for cell in plan.excluded]
    for issue in plan.known_issues:
        scope = f"{', '.join(issue.clauses) or 'all clauses'} in {issue.cells or 'all cells'}"
        state = f"EXPIRED ({issue.expired})" if issue.expired else f"until {issue.until}"
        lines.append(f"known issue  {one_line(issue.id)}, {state}: {one_line(f'{issue.reason} [{scope}]')}")
    if plan.selection:
        lines.append(f"chosen: {one_line(plan.selection)}")
    guessed = sum(cell.cost_from == "default" for cell in plan.cells)
    note = f"; the cost of {guessed} is a guess, for want of earlier runs" if guessed else ""
    clauses = sum(len(cell.clauses) for cell in plan.cells)
    lines.append(
        f"{count(len(plan.cells), 'cell')}, {count(clauses, 'result')}, {len(plan.skipped)} skipped, "
        f"{len(plan.excluded)} left out by the matrix"
    )
    lines.append(
        f"expected: {seconds(plan.expected_s)} with {count(plan.slots, 'cell')} at a time, "
        f"{seconds(plan.total_s)} in all{note}"
    )
    return lines
