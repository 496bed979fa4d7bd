"""The records of a run, one for each thing that happened. All reports are views over them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from harness.config.models import Expect
from harness.contract.outcomes import Outcome, Verdict
from harness.probe.models import ProbeAnswer
from harness.runs.planned import ExcludedCell, PlannedCell, PlannedIssue, PlannedShard, SkippedCell

SCHEMA_VERSION = 1


def now() -> datetime:
    """The time that goes into records: UTC with its zone."""
    return datetime.now(UTC)


class RecordModel(BaseModel):
    """Base of all records: immutable, time-stamped, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)
    time: datetime = Field(default_factory=now)


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
