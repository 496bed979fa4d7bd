"""The history on a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report import words
from harness.report.history import History, PastRun
from harness.report.text import count, one_line, seconds

LOG_WIDTH = 120
SHOWN = 20


def print_history(history: History, console: Console) -> None:
    """Print the runs, what comes and goes, and the slowest cells."""
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    if not history.runs:
        console.print(Text(f"{history.runs_dir} holds no runs yet"))
        return
    console.print(_runs(history.runs))
    if history.flaky:
        console.print(
            Text(f"\n{count(len(history.flaky), 'result')} that came and went on the same ground", "bold")
        )
        console.print(_flaky(history))
    else:
        console.print(Text("\nOn the same ground no result ever changed."))
    console.print(Text("\nSlowest cells", "bold"))
    console.print(_cells(history))


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _runs(runs: tuple[PastRun, ...]) -> Table:
    table = _table("run", "exit", "verdicts", "violated", "not judged", "time")
    for run in runs:
        verdicts = " ".join(f"{words.VERDICTS[v].text} {n}" for v, n in run.verdicts.items())
        notes = "".join((" (partial)" if run.partial else "", "" if run.finished else " (not finished)"))
        table.add_row(
            Text(one_line(run.folder) + notes),
            Text(str(run.exit_code), {0: "green", 1: "red"}.get(run.exit_code, "yellow")),
            Text(verdicts),
            *(
                Text(str(sum(n for o, n in run.counts.items() if o == outcome)))
                for outcome in ("fail", "error")
            ),
            Text(seconds(run.duration_s)),
        )
    return table


def _flaky(history: History) -> Table:
    table = _table("clause", "cell", "changes", "latest, the newest last")
    for one in history.flaky[:SHOWN]:
        table.add_row(
            Text(one_line(one.clause)),
            Text(one_line(one.cell)),
            Text(f"{one.changes} in {one.pairs} ({one.rate:.0%})"),
            Text("").join(
                Text(words.OUTCOMES[o].symbol, words.COLOURS[words.OUTCOMES[o].style]) for o in one.last
            ),
        )
    return table


def _cells(history: History) -> Table:
    table = _table("cell", "runs", "median", "latest", "from", "to", "tried again")
    slowest = sorted(history.cells, key=lambda cell: cell.median_s, reverse=True)
    for one in slowest[:SHOWN]:
        times = (one.median_s, one.last_s, one.min_s, one.max_s)
        table.add_row(
            Text(one_line(one.cell)),
            Text(str(one.runs)),
            *(Text(seconds(time)) for time in times),
            Text(str(one.retries) if one.retries else "·"),
        )
    return table
