"""The file behind the history: what all runs of a folder came to, made from their records, and made again at will.

records.jsonl stays the truth. A cell's results are one row, a letter for each clause: a hundred runs of 500 cells
and 60 clauses are 50,000 rows, which are read in a fraction of a second, where three million are not.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.caching import Say
from harness.errors import HalpmcError, InfrastructureError
from harness.report.ground import ground
from harness.report.summary import Summary, summarize
from harness.report.words import LETTERS, NOT_PLANNED
from harness.runs.record_file import FILE_NAME as RECORDS

FILE_NAME = "history.sqlite"
FORMAT = json.dumps([1, {str(outcome): letter for outcome, letter in LETTERS.items()}])
"""A file with another format, letters included, is made again."""
WAIT_S = 30.0

_TABLES = """
CREATE TABLE meta (format TEXT NOT NULL);
CREATE TABLE run (
  id INTEGER PRIMARY KEY, folder TEXT NOT NULL UNIQUE, stamp TEXT NOT NULL, name TEXT NOT NULL, started TEXT NOT NULL,
  duration_s REAL NOT NULL, finished INTEGER NOT NULL, partial INTEGER NOT NULL, exit_code INTEGER NOT NULL,
  clauses TEXT NOT NULL
);
CREATE TABLE ground (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE result (
  run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, cell TEXT NOT NULL, verdict TEXT NOT NULL,
  duration_s REAL NOT NULL, retries INTEGER NOT NULL, ground INTEGER NOT NULL REFERENCES ground, outcomes TEXT NOT NULL,
  PRIMARY KEY (run, cell)
) WITHOUT ROWID;
CREATE INDEX run_by_name ON run (name, started);
"""


@dataclass(frozen=True)
class RunRow:
    """One run. `clauses` are the names that the letters of its results stand for, in that order."""

    folder: str
    name: str
    started: str
    duration_s: float
    finished: bool
    partial: bool
    exit_code: int
    clauses: tuple[str, ...]


@dataclass(frozen=True)
class ResultRow:
    """One cell of a run. `ground` is equal for results that stand on the same; `outcomes` has a letter per clause."""

    cell: str
    verdict: str
    duration_s: float
    retries: int
    ground: str
    outcomes: str


def rows_of(folder: str, summary: Summary) -> tuple[RunRow, list[ResultRow]]:
    """A run's summary as rows."""
    clauses = tuple(
        dict.fromkeys(clause for cell in summary.cells for clause in (*cell.clauses, *cell.missing))
    )
    run = RunRow(
        folder,
        summary.name,
        summary.started.isoformat(),
        summary.duration_s,
        summary.finished,
        summary.partial,
        summary.exit_code,
        clauses,
    )
    return run, [
        ResultRow(
            cell.id,
            str(cell.verdict),
            cell.duration_s,
            len(cell.retries),
            json.dumps(ground(summary, cell), sort_keys=True),
            "".join(
                LETTERS[cell.clauses.get(clause)]
                if clause in cell.clauses or clause in cell.missing
                else NOT_PLANNED
                for clause in clauses
            ),
        )
        for cell in summary.cells
    ]


class Store:
    """The open file. Several processes may use it: each change is one transaction, and waits for its turn."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def add(self, run: RunRow, stamp: str, results: Iterable[ResultRow]) -> None:
        """Put a run in, or in the place of what was known of the same folder."""
        with self.connection:
            self.connection.execute("DELETE FROM run WHERE folder = ?", (run.folder,))
            number = self.connection.execute(
                "INSERT INTO run (folder, stamp, name, started, duration_s, finished, partial, exit_code, clauses)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run.folder,
                    stamp,
                    run.name,
                    run.started,
                    run.duration_s,
                    run.finished,
                    run.partial,
                    run.exit_code,
                    json.dumps(run.clauses),
                ),
            ).lastrowid
            grounds: dict[str, int] = {}
            self.connection.executemany(
                "INSERT INTO result VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        number,
                        one.cell,
                        one.verdict,
                        one.duration_s,
                        one.retries,
                        self._ground(one.ground, grounds),
                        one.outcomes,
                    )
                    for one in results
                ),
            )

    def _ground(self, text: str, known: dict[str, int]) -> int:
        if text not in known:
            self.connection.execute("INSERT OR IGNORE INTO ground (text) VALUES (?)", (text,))
            [[known[text]]] = self.connection.execute("SELECT id FROM ground WHERE text = ?", (text,))
        return known[text]

    def rows(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows that answer a question in SQL."""
        with closing(self.connection.execute(question, values)) as cursor:
            return cursor.fetchall()

    def sync(self, runs_dir: Path, say: Say) -> None:
        """Read the runs that are new or have grown, and forget those that are gone.

        A folder that holds no readable run is passed over, and said.
        """
        known = dict(self.rows("SELECT folder, stamp FROM run"))
        there = {path.parent.name: path for path in sorted(runs_dir.glob(f"*/{RECORDS}"))}
        with self.connection:
            self.connection.executemany(
                "DELETE FROM run WHERE folder = ?", [(name,) for name in known.keys() - there.keys()]
            )
        for name, path in there.items():
            facts = path.stat()
            stamp = f"{facts.st_size} {facts.st_mtime_ns}"
            if known.get(name) == stamp:
                continue
            try:
                run, results = rows_of(name, summarize(path.parent))
            except HalpmcError as error:
                say(f"history: {name} is left out: {error.message}")
                continue
            self.add(run, stamp, results)


@contextmanager
def open_store(path: Path, *, say: Say = lambda _: None) -> Iterator[Store]:
    """Open the file, which is made when it is missing, damaged, or of another format. Raises InfrastructureError."""
    try:
        try:
            connection = _connect(path)
        except sqlite3.OperationalError:
            raise  # busy, or a disk that is full: no damage
        except sqlite3.DatabaseError:
            say(f"history: {path} is made again from the records")
            path.unlink()
            connection = _connect(path)
        with closing(connection):
            yield Store(connection)
    except sqlite3.Error as error:
        raise InfrastructureError(
            f"{path} cannot be used: {error}",
            remedy="make its folder writable, or delete the file: it is made again from the records",
        ) from None


def _connect(path: Path) -> sqlite3.Connection:
    """An open file with its tables. Raises sqlite3.DatabaseError for one that is damaged, or of another format."""
    connection = sqlite3.connect(path, timeout=WAIT_S)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file. Raises sqlite3.DatabaseError for a file of another format."""
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        for statement in _TABLES.split(";\n"):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES (?)", (FORMAT,))
    found = connection.execute("SELECT format FROM meta").fetchone()
    connection.commit()
    if found != (FORMAT,):
        raise sqlite3.DatabaseError("another format")
