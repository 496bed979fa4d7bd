"""What a comparison of two runs says. Its JSON keys are a public interface."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from harness.contract.outcomes import Outcome, Verdict
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_OK, EXIT_VIOLATION
from harness.report.speed import Speed

SCHEMA_VERSION = 1
NOT_RECORDED = "not recorded"
NOT_PLANNED = "not planned"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunRef(_Model):
    """One of the two runs.

    `exit_meaning` is the exit code in words, `counts` has its results by outcome, and `label` says what its guests were
    when they were not Windows.
    """

    folder: str
    name: str
    started: datetime
    finished: bool
    exit_code: int
    cells: int
    exit_meaning: str = ""
    counts: dict[Outcome, int] = Field(default_factory=dict)
    label: str = ""


class Difference(_Model):
    """A part that results stand on and that is not the same; `cells` are those it differs in (none: all)."""

    key: str
    title: str
    old: str
    new: str
    cells: tuple[str, ...]


class Change(_Model):
    """A clause whose result changed in the same way, for the same reason, in these cells.

    `old` and `new` are outcomes, "not recorded" or "not planned"; several old ones are joined by "or". An empty clause
    is the verdict of the cell itself. `title` is the clause's sentence and `source` the page that it is from; both are
    empty where the clause is not in the catalogue.
    """

    clause: str
    old: str
    new: str
    reason: str
    cells: tuple[str, ...]
    title: str = ""
    source: str = ""


class VerdictChange(_Model):
    """Cells whose verdict changed in the same way."""

    old: Verdict
    new: Verdict
    cells: tuple[str, ...]


class RecordChange(_Model):
    """A clause that is only recorded, and what was seen is not what it was: the first difference, in words."""

    clause: str
    cells: tuple[str, ...]
    what: str
    old: str
    new: str
    title: str = ""


class Timing(_Model):
    """How the durations were judged: cells with runs enough on both sides, and cells with too few."""

    judged: int
    too_few: int


class Comparison(_Model):
    """All that differs between two runs.

    `new_failures` holds in the new run and not in the old one; `fixed` the other way round; `lost` could be judged and
    cannot now, `regained` the other way round. `unchanged` are cells that show the same in both runs. `slower` and
    `faster` come from several runs on each side.
    """

    schema_version: int = SCHEMA_VERSION
    old: RunRef
    new: RunRef
    provenance: tuple[Difference, ...]
    new_failures: tuple[Change, ...]
    fixed: tuple[Change, ...]
    lost: tuple[Change, ...]
    regained: tuple[Change, ...]
    still_failing: tuple[Change, ...]
    verdicts: tuple[VerdictChange, ...]
    records: tuple[RecordChange, ...]
    new_cells: tuple[str, ...]
    removed_cells: tuple[str, ...]
    unchanged: tuple[str, ...] = ()
    slower: tuple[Speed, ...]
    faster: tuple[Speed, ...]
    timing: Timing

    @property
    def gate(self) -> int:
        """The exit code of a gate: 1 for a new failure, 3 when something that was judged no longer can be."""
        if self.new_failures:
            return EXIT_VIOLATION
        missing = any(change.new in (Outcome.ERROR, NOT_RECORDED) for change in self.lost)
        return EXIT_INFRASTRUCTURE if missing or not self.new.finished else EXIT_OK
