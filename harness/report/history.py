"""The history of a folder of runs: how they ended, which results come and go, how long cells take."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.caching import Say
from harness.contract.outcomes import Outcome, Verdict
from harness.errors import UsageError
from harness.report.history_store import FILE_NAME, Store, open_store
from harness.report.speed import MAX_SAMPLES
from harness.report.words import LETTERS, NOT_PLANNED

SCHEMA_VERSION = 1
_OUTCOME = {letter: outcome for outcome, letter in LETTERS.items() if outcome is not None}
_COUNTED = frozenset(LETTERS[outcome] for outcome in Outcome if outcome is not Outcome.SKIPPED)
"""The letters that say something about a clause: a skip or a gap between two results is no change of mind."""
LAST_SHOWN = 20


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PastRun(_Model):
    """A run as the history knows it. `verdicts` counts its cells; `counts` its results by outcome."""

    folder: str
    name: str
    started: datetime
    duration_s: float
    finished: bool
    partial: bool
    exit_code: int
    cells: int
    verdicts: dict[Verdict, int]
    counts: dict[Outcome, int]


class Flaky(_Model):
    """A clause whose result in a cell changed between runs that stand on the same.

    `rate` is changes / pairs: of how many consecutive runs with equal ground (configuration, driver, guest image,
    QEMU, kernel …) how many differ. `last` are the latest results, the newest last.
    """

    matrix: str
    cell: str
    clause: str
    rate: float
    changes: int
    pairs: int
    last: tuple[Outcome, ...]


class CellTimes(_Model):
    """How long a cell takes, in seconds: the median of its runs, the latest, the smallest and the largest.

    `retries` counts what went wrong and was tried again, over all its runs.
    """

    matrix: str
    cell: str
    runs: int
    median_s: float
    last_s: float
    min_s: float
    max_s: float
    retries: int


class History(_Model):
    """The history of a folder of runs, the oldest first; flaky results the most changeable first."""

    schema_version: int = SCHEMA_VERSION
    runs_dir: str
    runs: tuple[PastRun, ...]
    flaky: tuple[Flaky, ...]
    cells: tuple[CellTimes, ...]


def read_history(
    runs_dir: Path, *, name: str | None = None, last: int = 100, say: Say = lambda _: None
) -> History:
    """The history of the last runs in a folder, of one matrix or of all. Raises UsageError, InfrastructureError.

    The file of the history is brought up to date first, from the records of runs that it does not know.
    """
    if not runs_dir.is_dir():
        raise UsageError(f"{runs_dir} is no folder of runs", remedy="give the folder behind --runs-dir")
    with open_store(runs_dir / FILE_NAME, say=say) as store:
        store.sync(runs_dir, say)
        return history_of(store, str(runs_dir), name=name, last=last)


def history_of(
    store: Store, runs_dir: str, *, name: str | None = None, last: int = 100, until: str = "9999"
) -> History:
    """The same from an open file as it is; `until` is the ISO time of the last run that is wanted."""
    runs = _runs(store, name, last, until)
    rows = store.rows(
        "SELECT run.name, result.cell, result.ground, result.outcomes, result.verdict, result.duration_s,"
        " result.retries, run.id FROM result JOIN run ON run.id = result.run"
        " WHERE run.id IN (SELECT value FROM json_each(?)) ORDER BY run.name, result.cell, run.started, run.id",
        json.dumps(list(runs)),
    )
    lists: dict[str, tuple[str, ...]] = {
        row["clauses"]: tuple(json.loads(row["clauses"])) for row in runs.values()
    }
    clauses = {number: lists[row["clauses"]] for number, row in runs.items()}  # equal ones are one object
    flaky: list[Flaky] = []
    times: list[CellTimes] = []
    for (matrix, cell), group in groupby(rows, key=itemgetter(0, 1)):
        results = list(group)
        flaky += _flaky(matrix, cell, results, clauses)
        times.append(_times(matrix, cell, results))
    verdicts: dict[int, Counter[str]] = defaultdict(Counter)
    letters: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        verdicts[row[7]][row[4]] += 1
        letters[row[7]].append(row[3])
    return History(
        runs_dir=runs_dir,
        runs=tuple(_past(row, verdicts[number], "".join(letters[number])) for number, row in runs.items()),
        flaky=tuple(sorted(flaky, key=lambda one: (-one.rate, one.matrix, one.cell, one.clause))),
        cells=tuple(times),
    )


def durations(store: Store, matrix: str, begin: str, end: str) -> dict[str, list[float]]:
    """How long each cell took in the runs that began after `begin` and not after `end` (ISO times), the latest first.

    Only runs are taken that stand on the same as the latest of them, and only cells that were judged.
    """
    rows = store.rows(
        "SELECT result.cell, result.ground, result.duration_s, result.verdict FROM result"
        " JOIN run ON run.id = result.run WHERE run.name = ? AND run.started > ? AND run.started <= ?"
        " ORDER BY result.cell, run.started DESC, run.id DESC",
        matrix,
        begin,
        end,
    )
    found: dict[str, list[float]] = {}
    for cell, group in groupby(rows, key=itemgetter(0)):
        results = list(group)
        found[cell] = [
            seconds
            for _, ground, seconds, verdict in results
            if ground == results[0][1] and verdict != Verdict.UNKNOWN
        ][:MAX_SAMPLES]
    return found


def previous_run(store: Store, folder: str) -> str | None:
    """The folder of the last finished run of the same matrix before this one, or None."""
    found = store.rows(
        "SELECT other.folder FROM run JOIN run AS other ON other.name = run.name"
        " WHERE run.folder = ? AND other.finished AND NOT other.partial"
        " AND (other.started, other.id) < (run.started, run.id)"
        " ORDER BY other.started DESC, other.id DESC LIMIT 1",
        folder,
    )
    return str(found[0][0]) if found else None


def _runs(store: Store, name: str | None, last: int, until: str) -> dict[int, dict[str, Any]]:
    """The last runs, the oldest first, by their numbers."""
    rows = store.rows(
        "SELECT id, folder, name, started, duration_s, finished, partial, exit_code, clauses FROM run"
        " WHERE (?1 IS NULL OR name = ?1) AND started <= ?3 ORDER BY started DESC, id DESC LIMIT ?2",
        name,
        last,
        until,
    )
    keys = ("id", "folder", "name", "started", "duration_s", "finished", "partial", "exit_code", "clauses")
    return {row[0]: dict(zip(keys, row, strict=True)) for row in reversed(rows)}


def _past(row: dict[str, Any], verdicts: Counter[str], letters: str) -> PastRun:
    known = {key: row[key] for key in PastRun.model_fields if key in row}
    counts = {outcome: letters.count(letter) for letter, outcome in _OUTCOME.items()}
    return PastRun(
        **known,
        cells=sum(verdicts.values()),
        verdicts={Verdict(verdict): number for verdict, number in verdicts.items()},
        counts=counts,
    )


def _flaky(
    matrix: str, cell: str, results: Sequence[tuple[Any, ...]], clauses: dict[int, tuple[str, ...]]
) -> Iterable[Flaky]:
    """The clauses of a cell that changed between consecutive runs on the same ground."""
    if all(a[2] != b[2] or (a[3] == b[3] and clauses[a[7]] == clauses[b[7]]) for a, b in pairwise(results)):
        return  # by far the most cells: nothing ever changed
    lists = {id(clauses[row[7]]): clauses[row[7]] for row in results}
    names = tuple(dict.fromkeys(clause for one in lists.values() for clause in one))
    if len(lists) == 1:
        [names] = lists.values()
    grounds = [row[2] for row in results]
    lines = (_aligned(row[3], clauses[row[7]], names) for row in results)
    for clause, letters in zip(names, zip(*lines, strict=True), strict=True):
        if len(set(letters)) == 1:
            continue
        line = [(g, letter) for g, letter in zip(grounds, letters, strict=True) if letter in _COUNTED]
        pairs = [(a[1], b[1]) for a, b in pairwise(line) if a[0] == b[0]]
        changes = sum(a != b for a, b in pairs)
        if changes:
            yield Flaky(
                matrix=matrix,
                cell=cell,
                clause=clause,
                rate=round(changes / len(pairs), 4),
                changes=changes,
                pairs=len(pairs),
                last=tuple(_OUTCOME[letter] for _, letter in line[-LAST_SHOWN:]),
            )


def _aligned(letters: str, clauses: tuple[str, ...], names: tuple[str, ...]) -> str:
    """A line of letters in the order of other names."""
    if clauses is names:
        return letters
    known = dict(zip(clauses, letters, strict=True))
    return "".join(known.get(name, NOT_PLANNED) for name in names)


def _times(matrix: str, cell: str, results: Sequence[tuple[Any, ...]]) -> CellTimes:
    seconds = [row[5] for row in results]
    return CellTimes(
        matrix=matrix,
        cell=cell,
        runs=len(seconds),
        median_s=round(median(seconds), 3),
        last_s=seconds[-1],
        min_s=min(seconds),
        max_s=max(seconds),
        retries=sum(row[6] for row in results),
    )
