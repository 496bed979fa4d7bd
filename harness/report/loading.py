"""The records of a run, sorted by what they are about. All reports start here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from harness.errors import InfrastructureError, UsageError
from harness.runs.planned import PlannedCell
from harness.runs.record import (
    SCHEMA_VERSION,
    BaselineRecord,
    CellEndRecord,
    CellRecord,
    ClauseRecord,
    IncidentRecord,
    PhaseRecord,
    ProbeRecord,
    Record,
    ResumeRecord,
    RunEndRecord,
    RunRecord,
)
from harness.runs.record_file import scan_records


@dataclass
class CellView:
    """All that was recorded about one cell. `clauses` maps a clause to the records of its tests, in order."""

    plan: PlannedCell
    provenance: dict[str, str] = field(default_factory=dict)
    probe: ProbeRecord | None = None
    phases: list[PhaseRecord] = field(default_factory=list)
    clauses: dict[str, list[ClauseRecord]] = field(default_factory=dict)
    incidents: list[IncidentRecord] = field(default_factory=list)
    retries: list[IncidentRecord] = field(default_factory=list)
    baseline: BaselineRecord | None = None
    end: CellEndRecord | None = None
    first_time: datetime | None = None
    last_time: datetime | None = None

    @property
    def id(self) -> str:
        """The cell's id."""
        return self.plan.id

    @property
    def missing(self) -> tuple[str, ...]:
        """Clauses that were planned and of which nothing was recorded."""
        return tuple(clause for clause in self.plan.clauses if clause not in self.clauses)

    def add(
        self,
        record: CellRecord
        | ProbeRecord
        | PhaseRecord
        | ClauseRecord
        | IncidentRecord
        | BaselineRecord
        | CellEndRecord,
    ) -> None:
        """Sort one more record in."""
        if isinstance(record, BaselineRecord):  # written when the run ended: no part of the cell's time
            self.baseline = record
            return
        self.first_time = self.first_time or record.time
        self.last_time = record.time
        match record:
            case CellRecord():
                self.provenance.update(record.provenance)
            case ProbeRecord():
                self.probe = record
            case PhaseRecord():
                self.phases.append(record)
            case ClauseRecord():
                self.clauses.setdefault(record.clause, []).append(record)
            case IncidentRecord():
                (self.retries if record.retried else self.incidents).append(record)
            case CellEndRecord():
                self.end = record


@dataclass
class RunView:
    """A run as recorded: its plan, its cells in that order, and what is wrong with the records themselves."""

    run: RunRecord
    cells: dict[str, CellView]
    end: RunEndRecord | None
    last_time: datetime
    damage: tuple[str, ...]


def load_run(folder: Path) -> RunView:
    """Read a run's folder; a run that was killed, or still goes on, is read as far as it got.

    Raises UsageError when the folder holds no run, or one of a newer format; InfrastructureError when the run
    has no plan.
    """
    records, damage = scan_records(folder)
    if not records or not isinstance(records[0], RunRecord):
        raise InfrastructureError(
            f"{folder} has no plan: its first record is not of a run",
            remedy="the run was killed before it began; run the matrix again",
        )
    run = records[0]
    if run.schema_version > SCHEMA_VERSION:
        raise UsageError(
            f"{folder} has records of format {run.schema_version}, newer than {SCHEMA_VERSION}",
            remedy="use the halpmc that made it, or a newer one",
        )
    cells = {plan.id: CellView(plan) for plan in run.cells}
    end: RunEndRecord | None = None
    strays: dict[str, None] = {}
    for record in records[1:]:
        match record:
            case RunRecord():
                damage.append("a second run was recorded in the same folder")
            case RunEndRecord():
                end = record
            case ResumeRecord():
                end = None
                cells |= {name: _begun_again(cells[name], record) for name in record.cells if name in cells}
            case _ if record.cell in cells:
                if isinstance(record, IncidentRecord) and record.restarted:
                    cells[record.cell] = _fresh(cells[record.cell])
                cells[record.cell].add(record)
            case _:
                strays[record.cell] = None
    damage += [f"records of a cell that was not planned: {cell}" for cell in strays]
    return RunView(run, cells, end, _latest(records), tuple(damage))


def _begun_again(cell: CellView, resumed: ResumeRecord) -> CellView:
    """A cell that runs again because it had not ended: what was recorded of it is void, and that it was is shown."""
    fresh = _fresh(cell)
    kept = resumed.kept.get(cell.id, "")
    if cell.first_time is not None or kept:  # it had begun; perhaps before anything of it was recorded
        fresh.retries.append(
            IncidentRecord(
                time=resumed.time,
                cell=cell.id,
                branch="infrastructure",
                message="the cell had not ended when the run was interrupted; it ran again from its beginning",
                evidence={"folder": kept} if kept else {},
                retried=True,
            )
        )
    return fresh


def _fresh(cell: CellView) -> CellView:
    """A cell that runs again from its beginning: void but for what went wrong and was tried again."""
    return CellView(cell.plan, retries=list(cell.retries))


def _latest(records: list[Record]) -> datetime:
    return max(record.time for record in records)
