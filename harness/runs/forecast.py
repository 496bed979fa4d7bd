"""What a run would do and cost, without touching a VM: the answer of `halpmc plan`. Its JSON is a public interface."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.config.known import expired
from harness.config.matrix import Matrix
from harness.config.models import Cell
from harness.host.resources import read_resources
from harness.host.slots import VCPUS_PER_CPU
from harness.runs.costs import Costs
from harness.runs.planned import ExcludedCell, SkippedCell
from harness.runs.schedule import makespan
from harness.runs.select import Selection

SCHEMA_VERSION = 1


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)


class ForecastCell(_Model):
    """A cell that would run; `cost_s` in seconds, and where that figure comes from."""

    id: str
    config: dict[str, Any]
    tags: tuple[str, ...]
    clauses: tuple[str, ...]
    cost_s: float
    cost_from: str


class ForecastIssue(_Model):
    """A known issue; `expired` says why it excuses nothing any more, as far as that is known before the run."""

    id: str
    reason: str
    cells: str
    clauses: tuple[str, ...]
    until: str
    expired: str


class Forecast(_Model):
    """The cells of a run in the order in which they would start, with what each is expected to cost.

    `skipped` cannot run on this host, `excluded` are left out by the matrix. `total_s` is the sum of all costs, and
    `expected_s` when the last cell would end with `slots` cells at a time.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    matrix: str
    matrix_sha256: str
    selection: str
    cells: tuple[ForecastCell, ...]
    skipped: tuple[SkippedCell, ...]
    excluded: tuple[ExcludedCell, ...]
    known_issues: tuple[ForecastIssue, ...]
    slots: int
    total_s: float
    expected_s: float


def forecast(matrix: Matrix, selection: Selection, costs: Costs, slots: int | None) -> Forecast:
    """What a run of the selection would do; `slots` None: as many cells at a time as the host's CPUs are good for."""
    cells = []
    for cell in selection.cells:
        cost = costs.of(cell)
        cells.append(
            ForecastCell.model_construct(  # parts of the project's own making, of which there may be thousands
                id=cell.id,
                config=cell.model_dump(mode="json"),
                tags=matrix.traits_of(cell).tags,
                clauses=selection.clauses_of(cell),
                cost_s=cost.seconds,
                cost_from=cost.source,
            )
        )
    cells.sort(key=lambda cell: (-cell.cost_s, cell.id))
    at_once = slots or _likely_slots(selection.cells)
    seconds = [cell.cost_s for cell in cells]
    return Forecast.model_construct(
        name=matrix.name,
        matrix=str(matrix.path),
        matrix_sha256=matrix.sha256,
        selection=selection.words,
        cells=tuple(cells),
        skipped=selection.skipped,
        excluded=tuple(ExcludedCell(id=name, reason=reason) for name, reason in matrix.excluded),
        known_issues=tuple(
            ForecastIssue(
                id=issue.id,
                reason=issue.reason,
                cells=issue.cells,
                clauses=issue.clauses,
                until=issue.until,
                expired=expired(issue.until, datetime.now(UTC).date(), None),
            )
            for issue in matrix.known_issues
        ),
        slots=at_once,
        total_s=round(sum(seconds), 1),
        expected_s=round(makespan(seconds, at_once), 1),
    )


def _likely_slots(cells: Sequence[Cell]) -> int:
    """How many cells the host's CPUs are good for at a time, by the vCPUs of most of them."""
    if not cells:
        return 1
    usual = sorted(cell.smp for cell in cells)[len(cells) // 2]
    return max(1, int(VCPUS_PER_CPU * read_resources().cpus) // usual)
