"""What the unit tests say at the end; and children that hear Ctrl-C."""

from __future__ import annotations

import signal

from pytest import TerminalReporter

# A shell that starts this in the background ignores Ctrl-C for it and for every child. The children are to hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

MODULE = "tests/unit/test_docs_commands.py::"


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Whenever the commands of the pages were tested: how many nobody executes, and why."""
    passed = terminalreporter.stats.get("passed", [])
    if not any(report.nodeid.startswith(MODULE) for report in passed):
        return
    from tests.documents.forms import Elsewhere, Executed, NotHere
    from tests.documents.rows import ROWS

    not_here = [row for row in ROWS if isinstance(row, NotHere)]
    executed = [row for row in ROWS if isinstance(row, Executed)]
    narrowed = sum(bool(row.narrowed) for row in executed)
    elsewhere = sum(isinstance(row, Elsewhere) for row in ROWS)
    terminalreporter.section("commands of README.md and docs/")
    terminalreporter.line(
        f"{len(ROWS)} commands: {len(executed)} are executed (of these {narrowed} in part), "
        f"{elsewhere} by other tests, {len(not_here)} by nobody:"
    )
    for row in not_here:
        terminalreporter.line(f"  {row.command}: {row.reason} ({', '.join(row.checks)})")
