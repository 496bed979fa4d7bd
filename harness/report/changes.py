"""A cell's observations against its baseline, as the summary has them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from harness.report.loading import CellView
from harness.runs.record import BaselineEntry


class CellBaseline(BaseModel):
    """`file` is the baseline, empty when there was none; `same` counts what is as it was, `changes` has the rest.

    A change has the state `changed`, or `new` where the baseline has nothing; with `strict` the former is a violation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    cell_class: str
    file: str
    strict: bool
    same: int
    changes: tuple[BaselineEntry, ...]

    @property
    def violated(self) -> bool:
        """Whether a change makes the run red."""
        return self.strict and any(entry.state == "changed" for entry in self.changes)


def cell_baseline(cell: CellView) -> CellBaseline | None:
    """None for a cell that was not compared."""
    record = cell.baseline
    if record is None:
        return None
    changes = tuple(entry for entry in record.entries if entry.state != "same")
    return CellBaseline(
        cell_class=record.cell_class,
        file=record.file,
        strict=record.strict,
        same=len(record.entries) - len(changes),
        changes=changes,
    )


def difference(entry: BaselineEntry) -> str:
    """What is different, in one line: old and new, without the parts that are in both."""
    old = [part for part in entry.old if part not in entry.new]
    new = [part for part in entry.new if part not in entry.old]
    if entry.state == "new":
        return "; ".join(entry.new)
    if not old and not new:
        return "the same parts in another order"
    return f"was {'; '.join(old) or 'nothing more'}; is {'; '.join(new) or 'nothing more'}"
