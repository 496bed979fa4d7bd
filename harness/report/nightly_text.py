"""A night as one line for a mail's subject, and as a page of Markdown."""

from __future__ import annotations

from email.message import EmailMessage
from typing import TYPE_CHECKING

from harness.errors import EXIT_OK, EXIT_VIOLATION
from harness.report import compare_text, words
from harness.report.comparison import Comparison
from harness.report.findings import Finding
from harness.report.markdown import finding_line
from harness.report.marks import escape
from harness.report.text import count, one_line, seconds

if TYPE_CHECKING:
    from harness.report.nightly import Nightly, Ran

MAX_SUBJECT = 150
MAX_FINDINGS = 20
_WORDS = {EXIT_OK: "passed", EXIT_VIOLATION: "FAILED", 130: "INTERRUPTED"}
NOT_JUDGED = "NOT JUDGED"


def subject(night: Nightly) -> str:
    """One line of ASCII: the matrix, how it ended, and what is new; nothing in it ends a mail's header."""
    if night.run is None:
        what = f"did not run: {night.error}" if night.error else night.meaning
        return _ascii(f"halpmc {night.name}: {what}")
    return _ascii(f"halpmc {night.name}: {_WORDS.get(night.exit_code, NOT_JUDGED)}: {_new(night, night.run)}")


def mail(night: Nightly) -> str:
    """The night as a mail without a recipient: who sends it names that."""
    message = EmailMessage()
    message["Subject"] = night.subject
    message.set_content(night.text)
    return message.as_string()


def _new(night: Nightly, run: Ran) -> str:
    cells = count(run.cells, "cell")
    changes = night.changes
    if changes is None:
        return f"{night.meaning} ({cells})"
    parts = []
    if changes.new_failures:
        names = dict.fromkeys(one.clause or "a verdict" for one in changes.new_failures)
        parts.append(f"newly violated: {compare_text.listed(list(names))}")
    if changes.lost:
        lost = sum(len(one.cells) for one in changes.lost)
        parts.append(f"{count(lost, 'result')} no longer judged")
    if changes.fixed:
        names = dict.fromkeys(one.clause or "a verdict" for one in changes.fixed)
        parts.append(f"fixed: {compare_text.listed(list(names))}")
    if not parts:
        parts.append(
            f"{night.meaning}, as before" if night.exit_code == changes.old.exit_code else night.meaning
        )
    return f"{'; '.join(parts)} ({cells})"


def _ascii(text: str) -> str:
    line = one_line(text).encode("ascii", "replace").decode()
    return line if len(line) <= MAX_SUBJECT else f"{line[: MAX_SUBJECT - 3]}..."


def document(night: Nightly) -> str:
    """The whole as Markdown: what it comes to, what changed, verdicts, findings, where the report is."""
    lines = [f"# {escape(night.subject)}", ""]
    run = night.run
    if run is None:
        lines += [f"Matrix {escape(night.matrix)}: {escape(night.error or night.meaning)}.", ""]
        return "\n".join(lines)
    lines += [
        f"Exit code {night.exit_code}: {escape(night.meaning)}. {run.recorded} of {run.planned} planned results "
        f"recorded in {count(run.cells, 'cell')}"
        + (f", {count(run.skipped, 'cell')} skipped" if run.skipped else "")
        + f"; began {run.started:%d %B %Y, %H:%M UTC}, took {seconds(run.duration_s)}.",
        "",
        f"Report: `{one_line(run.report).replace('`', '')}`",
        "",
        *([f"**The run broke off**: {escape(one_line(night.error))}", ""] if night.error else []),
        *([f"Cells with a guest: **{run.label}**.", ""] if run.label else []),
        *_since(night),
        *_verdicts(run, night.changes),
    ]
    if run.findings:
        lines += ["## Findings", ""]
        lines += [
            finding_line(Finding(one.kind, one.reason, one.cells, one.clauses))
            for one in run.findings[:MAX_FINDINGS]
        ]
        if len(run.findings) > MAX_FINDINGS:
            lines.append(f"- and {len(run.findings) - MAX_FINDINGS} more, in the report")
        lines.append("")
    if night.pruned:
        lines += [f"Deleted: {count(len(night.pruned), 'old run')}.", ""]
    return "\n".join(lines)


def _since(night: Nightly) -> list[str]:
    if night.changes is None:
        return ["## What changed", "", f"Nothing to compare with: {escape(night.not_compared)}.", ""]
    return [
        f"## What changed since {escape(night.compared_with)}",
        "",
        escape(compare_text.opening(night.changes)),
        "",
        *compare_text.markdown_parts(night.changes, "###"),
    ]


def _verdicts(run: Ran, changes: Comparison | None) -> list[str]:
    """How many cells have each verdict, and how many had it before."""
    lines = ["## Verdicts", "", "| verdict | cells | what it means |", "|---|---|---|"]
    for verdict, number in run.verdicts.items():
        shown = words.VERDICTS[verdict]
        moved = [one for one in changes.verdicts if one.new is verdict] if changes else []
        came = sum(len(one.cells) for one in moved)
        note = f" ({came} had another)" if came else ""
        lines.append(f"| {shown.symbol} {shown.text} | {number}{note} | {shown.meaning} |")
    return [*lines, ""]
