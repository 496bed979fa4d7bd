"""All reports of a run, written from its records: as often as one likes, also when the run was killed."""

from __future__ import annotations

from pathlib import Path

from harness.report.html import write_html
from harness.report.junit import write_junit
from harness.report.loading import load_run
from harness.report.summary import Summary, summarize_run, write_summary


def write_reports(folder: Path) -> Summary:
    """Write summary.json, junit.xml and report.html into the run's folder, each whole or not at all.

    Raises UsageError or InfrastructureError when the folder holds no readable run, or cannot be written.
    """
    view = load_run(folder)
    summary = summarize_run(view)
    write_summary(folder, summary)
    write_junit(folder, view, summary)
    write_html(folder, view, summary)
    return summary
