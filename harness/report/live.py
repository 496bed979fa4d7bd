"""Progress of a running run: one line per running cell on a terminal, one line per event in a log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.config.models import Cell
from harness.contract.outcomes import Outcome, worst_outcome
from harness.report import words
from harness.report.text import one_line, seconds
from harness.runs.planned import PlannedIssue
from harness.runs.record import (
    CellEndRecord,
    ClauseRecord,
    IncidentRecord,
    PhaseRecord,
    Record,
    ResumeRecord,
    RunEndRecord,
    RunRecord,
)

_TALLY = {
    Outcome.PASS: "passed",
    Outcome.FAIL: "failed",
    Outcome.ERROR: "not judged",
    Outcome.RECORDED: "recorded",
    Outcome.SKIPPED: "skipped",
}


@dataclass
class _Running:
    """A cell that has begun: what was seen of it so far."""

    since: float
    phase: str = "starting"
    last: str = ""
    outcomes: dict[str, Outcome] = field(default_factory=dict)


class LiveProgress:
    """Shows records as they arrive: a context manager whose `update` takes them.

    On a terminal a live table shows each running cell with its last finished phase and last clause; elsewhere
    every beginning, violation, incident and end of a cell is one plain line.
    """

    def __init__(
        self, cells: Sequence[Cell], console: Console, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._clock = clock
        self._begin = clock()
        self._total = len(cells)
        self._width = max((len(cell.id) for cell in cells), default=0)
        self._planned: dict[str, int] = {}
        self._known: tuple[PlannedIssue, ...] = ()
        self._running: dict[str, _Running] = {}
        self._ended: set[str] = set()
        self._broken: set[str] = set()  # cells in which violations are wanted
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> LiveProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, records: Sequence[Record]) -> None:
        """Show these new records, and the time that has passed."""
        for record in records:
            match record:
                case RunRecord():
                    self._planned = {cell.id: len(cell.clauses) for cell in record.cells}
                    self._known = record.known_issues
                    self._broken = {cell.id for cell in record.cells if cell.promised}
                case RunEndRecord() | ResumeRecord():
                    pass
                case IncidentRecord(restarted=True):
                    self._ended.discard(record.cell)
                    self._show(record.cell, record)
                    self._running.pop(record.cell, None)
                case _ if record.cell not in self._ended:
                    self._show(record.cell, record)
        if self._live:
            self._live.update(self._table(), refresh=True)

    def _show(self, cell: str, record: Record) -> None:
        running = self._running.get(cell)
        if running is None:
            running = self._running[cell] = _Running(self._clock())
            if not self._live:
                self._line(f"{'':{self._margin}}{one_line(cell)}  started")
        match record:
            case PhaseRecord():
                running.phase = record.name
            case ClauseRecord():
                running.last = f"{record.clause} {record.outcome}"
                before = running.outcomes.get(record.clause, record.outcome)
                running.outcomes[record.clause] = worst_outcome((before, record.outcome))
                if record.outcome in (Outcome.FAIL, Outcome.ERROR) and cell not in self._broken:
                    issue = self._known_issue(record) if record.outcome is Outcome.FAIL else ""
                    self._alarm(
                        cell,
                        f"{record.clause} {record.outcome}{issue}: {record.reason}",
                        record.outcome is Outcome.FAIL and not issue,
                    )
            case IncidentRecord():
                running.last = record.message
                self._alarm(cell, f"{record.branch}: {record.message}", False)
            case CellEndRecord():
                self._end(record)

    def _known_issue(self, record: ClauseRecord) -> str:
        """A failure that a known issue is about says so; whether that issue's time is over is the report's to tell."""
        for issue in self._known:
            if record.cell in issue.cells and (not issue.clauses or record.clause in issue.clauses):
                return f" (known issue {issue.id})"
        return ""

    def _end(self, record: CellEndRecord) -> None:
        running = self._running.pop(record.cell)
        self._ended.add(record.cell)
        shown = words.VERDICTS[record.verdict]
        realised = words.REALISED[record.realised]
        tally = Counter(running.outcomes.values())
        missing = self._planned.get(record.cell, 0) - len(running.outcomes)
        parts = [f"{tally[outcome]} {name}" for outcome, name in _TALLY.items() if tally[outcome]]
        if missing > 0:
            parts.append(f"{missing} not recorded")
        self._line(
            Text.assemble(
                self._position(),
                f"{one_line(record.cell):{self._width}}  ",
                (f"{shown.text:8}", words.COLOURS[shown.style]),
                "  ",
                (f"({realised.text})", words.COLOURS[realised.style]),
                f"  {' '.join(parts) or 'no clauses'}",
                f"  {seconds(record.duration_s)}",
            )
        )

    def _alarm(self, cell: str, words_: str, red: bool) -> None:
        self._line(
            Text.assemble(
                f"{'':{self._margin}}", (f"{one_line(cell)}  {one_line(words_)}", "red" if red else "yellow")
            )
        )

    def _line(self, text: Text | str) -> None:
        """One line above the live table, or in the log; never wrapped, so that a search finds it whole."""
        self._console.print(Text(text) if isinstance(text, str) else text, soft_wrap=True)

    def _position(self) -> str:
        digits = len(str(self._total))
        return f"[{len(self._ended):{digits}}/{self._total}] "

    @property
    def _margin(self) -> int:
        return len(self._position())

    def _table(self) -> Group:
        now = self._clock()
        table = Table.grid(padding=(0, 2))
        for cell, running in self._running.items():
            done = f"{len(running.outcomes)}/{self._planned.get(cell, 0)}"
            table.add_row(
                Text(one_line(cell), no_wrap=True),
                Text(running.phase, "cyan"),
                Text(done),
                Text(one_line(running.last), no_wrap=True, overflow="ellipsis"),
                Text(seconds(now - running.since)),
            )
        head = Text(
            f"{len(self._ended)} of {self._total} cells done, {len(self._running)} running, "
            f"{seconds(now - self._begin)}",
            "bold",
        )
        return Group(head, table)
