"""The records of a run: one JSON line per observation, written at once. All reports are views over them."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from harness.config.models import Expect
from harness.contract.outcomes import Outcome, Verdict
from harness.errors import InfrastructureError, NoSpace, UsageError
from harness.probe.models import ProbeAnswer
from harness.runs.planned import PlannedCell, PlannedShard

SCHEMA_VERSION = 1
FILE_NAME = "records.jsonl"

WORST_FIRST = (Outcome.FAIL, Outcome.ERROR, Outcome.PASS, Outcome.RECORDED, Outcome.SKIPPED)
"""Of several tests of a clause the first of these counts: judging says more than having been skipped."""


def worst_outcome(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome that counts for a clause that several tests judged; there is at least one."""
    return min(outcomes, key=WORST_FIRST.index)


def now() -> datetime:
    """The time that goes into records: UTC with its zone."""
    return datetime.now(UTC)


class RecordModel(BaseModel):
    """Base of all records: immutable, time-stamped, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)
    time: datetime = Field(default_factory=now)


class ExcludedCell(BaseModel):
    """A combination that the matrix leaves out, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    reason: str


class SkippedCell(BaseModel):
    """A cell that was asked for and cannot run on this host: the condition that is not met."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    config: dict[str, Any]
    reason: str


class PlannedIssue(BaseModel):
    """A known issue of the matrix: the planned cells that it is about, and its clauses (none: all of them).

    `until` is the last day (2027-03-31), or the first build of the guest without it (build 26200).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    reason: str
    cells: tuple[str, ...]
    clauses: tuple[str, ...]
    until: str


class RunRecord(RecordModel):
    """First line of a run: what was planned, on which host, with which tools.

    `expect` says when it is green. `partial`: only some tests of the suite were asked for, and the plan holds their
    clauses alone. `selection` says how the cells were chosen when they are not all of the matrix. `shard` is null for a
    run that is not one part of several.
    """

    type: Literal["run"] = "run"
    schema_version: int = SCHEMA_VERSION
    name: str
    matrix: str
    matrix_sha256: str
    expect: Expect = Expect.CONFORM
    cells: tuple[PlannedCell, ...]
    excluded: tuple[ExcludedCell, ...] = ()
    skipped: tuple[SkippedCell, ...] = ()
    selection: str = ""
    shard: PlannedShard | None = None
    known_issues: tuple[PlannedIssue, ...] = ()
    partial: bool = False
    host: dict[str, str]
    versions: dict[str, str]


class ResumeRecord(RecordModel):
    """A run that had ended, or was killed, goes on: these cells run again, and what was recorded of them is void.

    `kept` maps a cell that had begun to the folder where what it left is.
    """

    type: Literal["resume"] = "resume"
    cells: tuple[str, ...]
    kept: dict[str, str] = {}
    host: dict[str, str]
    versions: dict[str, str]


class CellRecord(RecordModel):
    """What a cell really runs on: accelerator and why, guest, guest_kind, hal, start, hashes of its parts."""

    type: Literal["cell"] = "cell"
    cell: str
    provenance: dict[str, str]


class ProbeRecord(RecordModel):
    """The PMU probe answered for a cell."""

    type: Literal["probe"] = "probe"
    cell: str
    answer: ProbeAnswer


class PhaseRecord(RecordModel):
    """One phase of a cell ended, and took so long (probe, start, login, deploy, client, driver …)."""

    type: Literal["phase"] = "phase"
    cell: str
    name: str
    seconds: float


class ClauseRecord(RecordModel):
    """One test judged or recorded one clause in one cell.

    `reason` is the one-line explanation (mandatory unless the outcome is pass or recorded); `observations` is
    what was seen, in order: each a title and any JSON value.
    """

    type: Literal["clause"] = "clause"
    cell: str
    clause: str
    test: str
    outcome: Outcome
    reason: str = ""
    observations: tuple[tuple[str, Any], ...] = ()
    duration_s: float = 0.0


class IncidentRecord(RecordModel):
    """Trouble outside a clause. `branch`: infrastructure or guest; `evidence`: titles to text or paths.

    `retried`: another try followed, whose own records say what became of it. `restarted`: that try is of the whole
    cell, from its beginning, and what was recorded of the cell before is void.
    """

    type: Literal["incident"] = "incident"
    cell: str
    branch: str
    message: str
    evidence: dict[str, str] = {}
    retried: bool = False
    restarted: bool = False


class BaselineEntry(BaseModel):
    """One observation against its baseline: `new` where the baseline has none; else `same` or `changed`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    clause: str
    test: str
    state: Literal["same", "changed", "new"]
    old: tuple[str, ...]
    new: tuple[str, ...]


class BaselineRecord(RecordModel):
    """A cell's observations against the baseline of its guest and class, as it was when the run ended.

    `file` is empty when there was none; `strict`: a change makes the run red.
    """

    type: Literal["baseline"] = "baseline"
    cell: str
    cell_class: str
    file: str
    strict: bool
    entries: tuple[BaselineEntry, ...]


class CellEndRecord(RecordModel):
    """A cell is done: its verdict with the reason, and whether the guest got the machine that was asked for.

    `realised` is False when it did not; `not_realised` names each thing that differed.
    """

    type: Literal["cell-end"] = "cell-end"
    cell: str
    verdict: Verdict
    reason: str
    realised: bool
    not_realised: tuple[str, ...] = ()
    duration_s: float


class RunEndRecord(RecordModel):
    """Last line of a run that was not killed."""

    type: Literal["run-end"] = "run-end"
    exit_code: int


Record = Annotated[
    RunRecord
    | ResumeRecord
    | CellRecord
    | ProbeRecord
    | PhaseRecord
    | ClauseRecord
    | IncidentRecord
    | BaselineRecord
    | CellEndRecord
    | RunEndRecord,
    Field(discriminator="type"),
]
RECORD: TypeAdapter[Record] = TypeAdapter(Record)


class Recorder:
    """Appends records to `records.jsonl`. Several processes may append to one file: a line is one write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        #: Hears of each record that this recorder has written.
        self.on_record: Callable[[Record], None] = lambda _: None

    def write(self, record: Record) -> None:
        """Append one line; when this returns it is in the file. Raises NoSpace when it cannot be written."""
        self._write(_line(record), "a record")
        self.on_record(record)

    def append(self, lines: bytes) -> None:
        """Append whole lines that another recorder wrote: all in one write. Raises NoSpace."""
        self._write(lines, "records")

    def _write(self, line: bytes, what: str) -> None:
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise NoSpace(
                f"{self.path} cannot be written: {error.strerror}", remedy="free some space, then run again"
            ) from None
        if written != len(line):
            raise NoSpace(
                f"{self.path} took only {written} of the {len(line)} bytes of {what}",
                remedy="free some space, then run again",
            )

    def write_first(self, record: Record) -> None:
        """Write a record unless there are records already: of several processes one does."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            if os.fstat(self._fd).st_size == 0:
                self.write(record)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _line(record: Record) -> bytes:
    """A record as one line. Half a surrogate pair, which UTF-8 cannot carry, becomes `?`."""
    try:
        return record.model_dump_json().encode() + b"\n"
    except PydanticSerializationError:
        text = json.dumps(record.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace") + b"\n"


def drop_unfinished_line(folder: Path) -> None:
    """Cut off a last line that was in flight when its writer was killed, so that more can be appended."""
    with (folder / FILE_NAME).open("r+b") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)


def scan_records(folder: Path) -> tuple[list[Record], list[str]]:
    """All records of a run's folder in order, and one sentence for each line that is none.

    A last line without an end was in flight when the writer was killed; it is left out and no damage. Raises
    UsageError when there is no file.
    """
    try:
        lines = (folder / FILE_NAME).read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(
            f"{folder} is not the folder of a run: {FILE_NAME}: {error.strerror}",
            remedy="give the folder that `halpmc run` printed",
        ) from None
    records: list[Record] = []
    damage: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            if line:
                records.append(RECORD.validate_json(line))
        except ValidationError as error:
            if number < len(lines):
                damage.append(f"{FILE_NAME}:{number} is not a record: {error.errors()[0]['msg']}")
    return records, damage


def read_records(folder: Path) -> Iterator[Record]:
    """All records of a run's folder, in order. A last line cut short by a kill is left out.

    Raises InfrastructureError for any other line that is not a record, UsageError when there is no file.
    """
    records, damage = scan_records(folder)
    if damage:
        raise InfrastructureError(
            f"{folder / FILE_NAME} is damaged: {damage[0]}", remedy="run the matrix again"
        )
    yield from records


def tail_records(folder: Path, offset: int) -> tuple[list[Record], int]:
    """The complete records behind byte `offset`, and the offset to continue from: for live progress.

    Lines that are no records are passed over: the reports name them.
    """
    with (folder / FILE_NAME).open("rb") as file:
        file.seek(offset)
        data = file.read()
    complete = data.rfind(b"\n") + 1
    records: list[Record] = []
    for line in data[:complete].split(b"\n"):
        with suppress(ValidationError):
            if line:
                records.append(RECORD.validate_json(line))
    return records, offset + complete
