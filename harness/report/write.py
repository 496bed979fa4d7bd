"""All reports of a run, written from its records: as often as one likes, also when the run was killed."""

from __future__ import annotations

from pathlib import Path

from harness.caching import Say
from harness.report.html import Past, write_html
from harness.report.junit import write_junit
from harness.report.loading import load_run
from harness.report.markdown import FILE_NAME as MARKDOWN
from harness.report.markdown import markdown
from harness.report.summary import Summary, summarize_run, write_summary
from harness.report.table import FILE_NAME as CSV
from harness.report.table import results_csv
from harness.report.text import write_atomically
from harness.report.trends import past_of


def write_reports(folder: Path, *, history: bool = False, say: Say = lambda _: None) -> Summary:
    """Write summary.json, junit.xml, report.md, results.csv and report.html into the run's folder, each whole or not.

    With `history` the page says what changed since the last run in the same folder of runs, and shows trends. Raises
    UsageError or InfrastructureError when the folder holds no readable run, or cannot be written.
    """
    view = load_run(folder)
    summary = summarize_run(view)
    write_summary(folder, summary)
    write_junit(folder, view, summary)
    past = past_of(folder, say=say) if history else Past()
    write_atomically(folder / MARKDOWN, markdown(summary, past.changes))
    write_atomically(folder / CSV, results_csv(summary))
    write_html(folder, view, summary, past)
    return summary
