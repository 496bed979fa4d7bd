"""What comes from workers into the folder of a run: records and folders of the very cells that they were given."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from harness.cluster.order import JobReport
from harness.cluster.parcel import unpack
from harness.cluster.placement import Member
from harness.errors import InfrastructureError
from harness.runs.folder import cell_folder
from harness.runs.record import (
    RECORD,
    CellRecord,
    IncidentRecord,
    Recorder,
    ResumeRecord,
    RunEndRecord,
    RunRecord,
)


class Intake:
    """Takes in one try of one cell. Records may come early, in pieces; the report brings them all again."""

    def __init__(self, run: Path, recorder: Recorder, cell: str, member: Member) -> None:
        self._run = run
        self._recorder = recorder
        self._cell = cell
        self._member = member
        self._received = 0
        self._strange = False

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
        good = [line for line in lines if _is_record_of(line, self._cell)]
        if good:
            self._recorder.append(b"".join(good))
        if len(good) < len(lines) and not self._strange:
            self._strange = True
            self._recorder.write(
                IncidentRecord(
                    cell=self._cell,
                    branch=InfrastructureError.branch,
                    message=f"worker {self._member} sent lines that are no records of this cell; they were left out",
                )
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


def _is_record_of(line: bytes, cell: str) -> bool:
    try:
        record = RECORD.validate_json(line)
    except ValidationError:
        return False
    return not isinstance(record, RunRecord | ResumeRecord | RunEndRecord) and record.cell == cell
