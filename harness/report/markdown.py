"""report.md: a run in a page of Markdown, for the summary of a CI job, a mail, a chat."""

from __future__ import annotations

from harness.report import compare_text, words
from harness.report.comparison import Comparison
from harness.report.findings import Finding, findings
from harness.report.marks import escape, ids
from harness.report.summary import EXIT_MEANINGS, CellSummary, Summary
from harness.report.text import count, one_line, seconds

FILE_NAME = "report.md"
MAX_CELLS = 200
"""Cells that the table shows; those with something wrong come first when there are more."""
MAX_REASON = 300
_SYMBOL = {0: "✓", 1: "✗"}
_KINDS = {
    "record": "Records",
    "guest": "Guest trouble",
    "infrastructure": "Infrastructure trouble",
    "retried": "Tried again",
}


def markdown(summary: Summary, changes: Comparison | None = None) -> str:
    """The whole document."""
    counts = ", ".join(f"{n} {words.OUTCOMES[o].text}" for o, n in summary.counts.items() if n)
    lines = [
        f"# {_SYMBOL.get(summary.exit_code, '!')} {escape(summary.name)}: {EXIT_MEANINGS[summary.exit_code]}",
        "",
        f"{summary.recorded} of {summary.planned} planned results recorded in {count(len(summary.cells), 'cell')}, "
        f"{seconds(summary.duration_s)}, {summary.started:%d %B %Y, %H:%M UTC}"
        + (f". {counts}." if counts else "."),
        "",
    ]
    if summary.partial:
        lines += ["Only some tests of the suite were asked for.", ""]
    if any(words.is_wine(cell) for cell in summary.cells):
        lines += [f"Cells with a guest: **{words.WINE_LABEL}**.", ""]
    found = findings(summary)
    if found:
        lines += ["## Findings", "", *map(finding_line, found), ""]
    if changes:
        lines += ["## Since the last run", "", escape(compare_text.opening(changes)), ""]
    if summary.skipped:
        lines += ["## Skipped cells", "", *_skipped(summary), ""]
    lines += _cells(summary)
    return "\n".join(lines)


def finding_line(finding: Finding) -> str:
    """One finding as an item of a list."""
    reason = one_line(finding.reason)[:MAX_REASON] or "no reason was recorded"
    where = f" — {ids(finding.cells)}" if finding.cells else ""
    return f"- **{escape(finding_title(finding))}**: {escape(reason)}{where}"


def finding_title(finding: Finding) -> str:
    """What kind of thing a finding is, with the clause that is violated."""
    if finding.kind == "fail":
        return f"{finding.clauses[0]} violated" if finding.clauses else "Broken"
    return _KINDS.get(finding.kind, "Not judged")


def _skipped(summary: Summary) -> list[str]:
    """Each cell that could not run, with the condition that is not met."""
    lines = [f"- {ids([left.id])}: {escape(one_line(left.reason))}" for left in summary.skipped[:MAX_CELLS]]
    more = len(summary.skipped) - len(lines)
    return [*lines, f"- {more} more are in report.html and summary.json."] if more else lines


def _cells(summary: Summary) -> list[str]:
    cells = list(summary.cells)
    lines = [
        "## Cells",
        "",
        "| verdict | cell | machine | PMU probe | results | time |",
        "|---|---|---|---|---|---|",
    ]
    if len(cells) > MAX_CELLS:
        cells = sorted(cells, key=lambda cell: not (cell.nearest or cell.missing or cell.incidents))[
            :MAX_CELLS
        ]
    lines += [_row(cell) for cell in cells]
    if len(cells) < len(summary.cells):
        lines += ["", f"{len(summary.cells) - len(cells)} more cells are in report.html and summary.json."]
    near = [cell for cell in cells if cell.nearest]
    if near:
        lines += ["", "## Nearest good cells", ""]
    for cell in near:
        assert cell.nearest is not None  # noqa: S101 - for the type checker
        axes = ", ".join(f"{axis} {a} → {b}" for axis, (a, b) in cell.nearest.differs.items())
        lines.append(f"- {ids([cell.id])} ({cell.verdict}): {ids([cell.nearest.cell])}, where {escape(axes)}")
    return [*lines, ""]


def _row(cell: CellSummary) -> str:
    verdict = words.VERDICTS[cell.verdict]
    probe = words.PROBES[cell.probe] if cell.probe else words.NO_PROBE
    outcomes = list(cell.clauses.values())
    results = [f"{shown.symbol} {outcomes.count(o)}" for o, shown in words.OUTCOMES.items() if o in outcomes]
    if cell.missing:
        results.append(f"? {len(cell.missing)}")
    parts = (
        f"{verdict.symbol} {verdict.text}",
        ids([cell.id]),
        words.REALISED[cell.realised].text,
        probe.text,
        " ".join(results) or "–",  # noqa: RUF001
        seconds(cell.duration_s),
    )
    return f"| {' | '.join(parts)} |"
