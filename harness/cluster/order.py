"""What goes between a run and a worker: the order for a cell, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.cluster.images import ImageOffer
from harness.config.base import Model
from harness.config.models import Cell
from harness.errors import InfrastructureError

#: The kinds of what a worker tells the run while it works on a cell.
RECORDS, SAY, WANT = "records", "say", "want"


class JobOrder(Model):
    """One try of one cell, for one process of a worker.

    `token` names the try, `topic` is where the run listens. `environment` is set for the cell's process; `image` is
    what the run can send when the worker does not have it.
    """

    token: str
    topic: str
    version: str
    incarnation: str
    cell: Cell
    clauses: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    image: ImageOffer | None = None


@dataclass(frozen=True)
class Trouble:
    """An error as data: it comes through as it was, whatever its class wants to be made of."""

    message: str
    remedy: str = ""
    evidence: Mapping[str, str] = field(default_factory=dict)

    def error(self) -> InfrastructureError:
        """The error to raise or record on this side."""
        return InfrastructureError(self.message, remedy=self.remedy, evidence=self.evidence)


@dataclass(frozen=True)
class JobReport:
    """How a try ended. `records` are all lines that the cell wrote, `folder` is its packed folder.

    `left_out` names what stays in `kept` on the worker because it is too large. `leaving`: the worker ended the cell
    because it ends itself. `trouble`: the cell's process could not be started.
    """

    status: int = 0
    seconds: float = 0.0
    tail: str = ""
    records: bytes = b""
    folder: bytes = b""
    left_out: tuple[str, ...] = ()
    kept: str = ""
    leaving: bool = False
    trouble: Trouble | None = None
