"""The findings for people: a table on a terminal, plain lines elsewhere. Both say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.doctor.examine import exit_code
from harness.doctor.finding import Finding, Status

COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}
MEANINGS = {0: "nothing failed", 3: "something that halpmc needs is missing"}


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print all findings, each with its remedy, and what they amount to."""
    if console.is_terminal:
        console.print(_table(findings))
    else:
        for finding in findings:
            line = f"{finding.status:4}  {finding.check}: {finding.detail}"
            console.print(Text(line), soft_wrap=True)
            if finding.remedy:
                console.print(Text(f"      -> {finding.remedy}"), soft_wrap=True)
    counts = Counter(finding.status for finding in findings)
    code = exit_code(findings)
    console.print(
        Text(
            f"{len(findings)} checks: {', '.join(f'{counts[status]} {status}' for status in Status)}; "
            f"exit code {code}: {MEANINGS[code]}"
        ),
        soft_wrap=True,
    )


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("finding", overflow="fold")
    for finding in findings:
        text = Text(finding.detail)
        if finding.remedy:
            text.append(f"\n-> {finding.remedy}", "bold")
        table.add_row(Text(finding.status, COLOURS[finding.status]), Text(finding.check), text)
    return table
