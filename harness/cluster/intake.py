"""What comes from workers into the folder of a run: records and folders of the very cells that they were given."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pydantic import ValidationError

from harness.cluster.order import JobReport
from harness.cluster.parcel import unpack
from harness.cluster.placement import Member
from harness.contract.outcomes import Outcome
from harness.errors import InfrastructureError
from harness.runs.folder import cell_folder
from harness.runs.record import (
    RECORD,
    CellRecord,
    ClauseRecord,
    IncidentRecord,
    Record,
    ResumeRecord,
    RunEndRecord,
    RunRecord,
)
from harness.runs.record_file import Recorder


class Intake:
    """Takes in one try of one cell. Records may come early, in pieces; the report brings them all again."""

    def __init__(self, run: Path, recorder: Recorder, cell: str, member: Member) -> None:
        self._run = run
        self._recorder = recorder
        self._cell = cell
        self._member = member
        self._received = 0
        self._strange = False
        self._outcomes: Counter[Outcome] = Counter()

    def begin(self) -> None:
        """Record where the cell runs."""
        facts = self._member.said.facts
        self._provenance(
            {
                "host": self._member.said.host,
                "host_kernel": facts.get("kernel", ""),
                "host_cpu": facts.get("cpu", ""),
                "worker": self._member.name,
            }
        )

    def records(self, offset: int, data: bytes) -> None:
        """Whole lines that the cell wrote, from that byte on. What leaves a gap is left to the report."""
        if offset != self._received:
            return
        self._received += len(data)
        lines = data.splitlines(keepends=True)
        good = {line: record for line in lines if (record := _record_of(line, self._cell))}
        self._outcomes.update(record.outcome for record in good.values() if isinstance(record, ClauseRecord))
        if good:
            self._recorder.append(b"".join(line for line in lines if line in good))
        if not good.keys() >= set(lines) and not self._strange:
            self._strange = True
            self._recorder.write(
                IncidentRecord(
                    cell=self._cell,
                    branch=InfrastructureError.branch,
                    message=f"worker {self._member} sent lines that are no records of this cell; they were left out",
                )
            )

    @property
    def results(self) -> str:
        """What the clauses came to so far, in words."""
        return (
            ", ".join(f"{number} {outcome}" for outcome, number in sorted(self._outcomes.items())) or "none"
        )

    def report(self, report: JobReport) -> None:
        """The rest of the records, and the cell's folder. Raises InfrastructureError when that is refused."""
        self.records(self._received, report.records[self._received :])
        unpack(report.folder, cell_folder(self._run, self._cell))
        if report.left_out:
            where = f"{self._member.said.host}:{report.kept}"
            self._provenance({f"too large, left in {where}": ", ".join(report.left_out)})

    def _provenance(self, told: dict[str, str]) -> None:
        self._recorder.write(CellRecord(cell=self._cell, provenance=told))


def _record_of(line: bytes, cell: str) -> Record | None:
    """The record in a line, if it is one of this cell."""
    try:
        record = RECORD.validate_json(line)
    except ValidationError:
        return None
    if isinstance(record, RunRecord | ResumeRecord | RunEndRecord) or record.cell != cell:
        return None
    return record
