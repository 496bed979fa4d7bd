"""A plan as it is recorded: what a run owes, what the other parts of the plan owe, and what is left out and why."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class PlannedCell(BaseModel):
    """A cell of the plan: id, resolved configuration, the clauses that must be recorded for it, its tags.

    `requires` has what it asks of the host that runs it, where it asks anything. `promised`: of these clauses one has
    to notice the cell's defect.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    config: dict[str, Any]
    clauses: tuple[str, ...]
    tags: tuple[str, ...] = ()
    requires: dict[str, Any] = {}
    promised: tuple[str, ...] = ()


class PlannedShard(BaseModel):
    """The run is part `number` of `parts`; `partition` is the fingerprint of how the cells were parted.

    `elsewhere` are the cells of the other parts: with any one of them it is known what all of them owe. `selection`
    says how the cells were chosen before they were parted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    number: int
    parts: int
    partition: str
    elsewhere: tuple[PlannedCell, ...]
    selection: str = ""


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
