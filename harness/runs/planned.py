"""What a run owes: its cells with their clauses, and what the other parts of the same plan owe."""

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
