"""What an inspection of a driver file says, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from harness.driver.inspection import Inspection, Status
from harness.report.text import one_line

COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print the findings, one line each, with what to do about them."""

    def line(*parts: str | tuple[str, str]) -> None:
        console.print(Text.assemble(*parts), soft_wrap=True)

    line(
        one_line(
            f"{inspection.path}: {inspection.machine}, {inspection.size} bytes, sha256 {inspection.sha256}"
        )
    )
    for finding in inspection.findings:
        remedy = f" → {finding.remedy}" if finding.remedy else ""
        line(
            (f"  {finding.status:5}", COLOURS[finding.status]),
            f"{finding.check:21}",
            one_line(finding.detail + remedy),
        )
    failures = len(inspection.failures)
    verdict = (
        f"{failures} of these keep it from loading" if failures else "nothing here keeps it from loading"
    )
    line(f"on Windows build {inspection.target.build}: {verdict}")
