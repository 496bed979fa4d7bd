"""What a run says at its end, in the same words on a terminal and in the log of a CI job."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.contract.outcomes import Outcome
from harness.contract.overflow import judge_probe_overflow
from harness.probe.models import CounterState, PmuVerdict, ProbeAnswer
from harness.report import words
from harness.report.changes import difference
from harness.report.findings import Finding, findings
from harness.report.html import FILE_NAME as HTML_NAME
from harness.report.kill_table import kill_table
from harness.report.live import LiveProgress
from harness.report.summary import CellSummary, Summary
from harness.report.text import count, one_line, seconds

__all__ = ["LiveProgress", "print_probe", "print_summary"]

LOG_WIDTH = 120
"""A log has no width of its own; this one fits where logs are read."""
MAX_NEAR = 8
"""Cells of which the nearest good one is told."""
MAX_NAMED = 4
"""Cells that a finding names; the report has them all."""

_COLUMNS = {
    Outcome.PASS: "pass",
    Outcome.RECORDED: "rec",
    Outcome.SKIPPED: "skip",
    Outcome.FAIL: "fail",
    Outcome.ERROR: "err",
}
_KINDS = {
    "fail": "FAIL",
    "stale": "STALE",
    "survived": "ALIVE",
    "crash": "CRASH",
    "record": "SHORT",
    "known": "KNOWN",
    "guest": "GUEST",
    "infrastructure": "INFRA",
    "retried": "RETRY",
    "changed": "DIFF",
    "new": "NEW",
}
_EXIT_COLOURS = {0: "bold green", 1: "bold red"}


def print_summary(summary: Summary, folder: Path, console: Console) -> None:
    """Print the cells as a compact table, what needs attention, the exit code, and where the report is."""
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    console.print(_table(summary))
    if summary.defects:
        console.print(kill_table(summary), soft_wrap=True)
    found = findings(summary)
    for finding in found:
        console.print(_finding(finding), soft_wrap=True)
    near = [cell for cell in summary.cells if cell.nearest]
    for cell in near[:MAX_NEAR]:
        console.print(_near(cell), soft_wrap=True)
    if len(near) > MAX_NEAR:
        console.print(
            Text(f"{'':6}{len(near) - MAX_NEAR} more cells have a nearest good one: see the report", "dim")
        )
    for left in summary.skipped:
        console.print(Text(f"SKIP  {one_line(left.id)}: {one_line(left.reason)}", "yellow"), soft_wrap=True)
    if found or near or summary.skipped:
        console.print()
    if summary.selection:
        console.print(Text(f"chosen: {one_line(summary.selection)}"), soft_wrap=True)
    for line in _baseline_lines(summary):
        console.print(line, soft_wrap=True)
    if summary.partial:
        console.print(Text("Only some tests of the suite were asked for."), soft_wrap=True)
    if any(words.is_wine(cell) for cell in summary.cells):
        console.print(Text(f"Cells with a guest: {words.WINE_LABEL}."), soft_wrap=True)
    totals = ", ".join(
        f"{number} {_COLUMNS[outcome]}" for outcome, number in summary.counts.items() if number
    )
    console.print(
        Text(f"{summary.recorded} of {summary.planned} planned results recorded: {totals or 'none'}"),
        soft_wrap=True,
    )
    console.print(
        Text(
            f"exit code {summary.exit_code}: {summary.exit_meaning}",
            _EXIT_COLOURS.get(summary.exit_code, "bold yellow"),
        ),
        soft_wrap=True,
    )
    console.print(Text(f"report: {folder / HTML_NAME}"), soft_wrap=True)


def print_probe(answer: ProbeAnswer, reason: str, console: Console) -> None:
    """Print the answer of one PMU probe; `reason` says why this accelerator was taken."""
    shown = words.PROBES[answer.verdict]
    console.print(
        Text.assemble((shown.text, f"bold {words.COLOURS[shown.style]}"), f": {shown.meaning}"),
        soft_wrap=True,
    )
    console.print(
        Text(
            one_line(
                f"{answer.arch}, {answer.accel} ({reason}), {answer.machine}, -cpu {answer.cpu}, "
                f"QEMU {answer.qemu_version}, {seconds(answer.elapsed_s)}"
            )
        ),
        soft_wrap=True,
    )
    if answer.verdict is not PmuVerdict.ABSENT:
        console.print(
            Text(
                f"{answer.interface} version {answer.version}: "
                f"{count(answer.general_counters, 'general counter')}, {answer.fixed_counters} fixed"
            ),
            soft_wrap=True,
        )
    for counter in answer.counters:
        colour = "green" if counter.state is CounterState.COUNTING else "yellow"
        console.print(
            Text.assemble(
                f"  {counter.name:10} {counter.event:14} ",
                (f"{counter.state:9}", colour),
                f" {counter.count:>14,} in {counter.loop:,} iterations",
            ),
            soft_wrap=True,
        )
    if answer.verdict is PmuVerdict.COUNTING:
        console.print(
            Text(one_line(f"overflow interrupts: {judge_probe_overflow(answer).reason}")), soft_wrap=True
        )


def _baseline_lines(summary: Summary) -> list[Text]:
    """A line for each observation that is not as in its baseline, with all cells; one for all that are new."""
    changed: dict[tuple[str, str], list[str]] = {}
    new = 0
    for cell in summary.cells:
        for entry in cell.baseline.changes if cell.baseline else ():
            if entry.state == "changed":
                changed.setdefault((entry.clause, difference(entry)), []).append(cell.id)
            else:
                new += 1
    lines = [
        _finding(Finding("changed", reason, tuple(cells), (clause,)))
        for (clause, reason), cells in changed.items()
    ]
    if new:
        words = f"{count(new, 'observation')} without a baseline (halpmc baseline accept)"
        lines.append(_finding(Finding("new", words)))
    return lines


def _table(summary: Summary) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("cell", "verdict", "machine", "PMU probe"):
        table.add_column(title, overflow="fold", no_wrap=title != "cell")
    missing = any(cell.missing for cell in summary.cells)
    for title in (*_COLUMNS.values(), *(("missing",) if missing else ()), "time"):
        table.add_column(title, justify="right", no_wrap=True)
    for cell in summary.cells:
        table.add_row(*_row(cell, missing))
    return table


def _row(cell: CellSummary, missing: bool) -> list[Text]:
    outcomes = list(cell.clauses.values())
    probe = words.PROBES[cell.probe] if cell.probe else words.NO_PROBE
    row = [
        Text(one_line(cell.id)),
        _word(words.VERDICTS[cell.verdict]),
        _word(words.REALISED[cell.realised]),
        _word(probe),
    ]
    for outcome in _COLUMNS:
        number = outcomes.count(outcome)
        row.append(
            Text(
                str(number) if number else "·",
                words.COLOURS[words.OUTCOMES[outcome].style] if number else "dim",
            )
        )
    if missing:
        row.append(Text(str(len(cell.missing)) if cell.missing else "·", "red" if cell.missing else "dim"))
    return [*row, Text(seconds(cell.duration_s))]


def _word(shown: words.Shown) -> Text:
    return Text(shown.text, words.COLOURS[shown.style])


def _near(cell: CellSummary) -> Text:
    """One line: a cell in which something is wrong, the nearest one where it is right, and what differs."""
    assert cell.nearest is not None  # noqa: S101 - for the type checker
    differs = ", ".join(f"{axis} {here} → {there}" for axis, (here, there) in cell.nearest.differs.items())
    return Text.assemble(
        (f"{'NEAR':6}", "bold cyan"),
        one_line(
            f"{cell.id} ({words.VERDICTS[cell.verdict].text}): works in {cell.nearest.cell}, where {differs}"
        ),
    )


def _finding(finding: Finding) -> Text:
    """One line: what kind, which clause, why, and where."""
    clause = (
        f"{finding.clauses[0]}: "
        if finding.kind in ("fail", "crash", "changed", "known") and finding.clauses
        else ""
    )
    named = ", ".join(finding.cells[:MAX_NAMED])
    more = f" and {len(finding.cells) - MAX_NAMED} more" if len(finding.cells) > MAX_NAMED else ""
    where = f"  [{named}{more}]" if finding.cells else ""
    colour = "red" if finding.kind in ("fail", "stale", "record", "survived") else "yellow"
    return Text.assemble(
        (f"{_KINDS.get(finding.kind, 'ERROR'):6}", f"bold {colour}"),
        clause,
        one_line(finding.reason or "no reason was recorded"),
        (where, "dim"),
    )
