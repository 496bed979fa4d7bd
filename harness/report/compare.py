"""Two runs side by side: what broke, what was fixed, what is different about them. Pure but for `compare_folders`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.caching import Say
from harness.contract.clauses import CLAUSES
from harness.contract.outcomes import Outcome, Verdict
from harness.contract.status import format_status
from harness.report.axes import axes_of
from harness.report.comparison import (
    NOT_PLANNED,
    NOT_RECORDED,
    Change,
    Comparison,
    Difference,
    RecordChange,
    RunRef,
    Timing,
    VerdictChange,
)
from harness.report.ground import TITLES, ground
from harness.report.history import durations
from harness.report.history_store import FILE_NAME, open_store
from harness.report.loading import CellView, RunView, load_run
from harness.report.speed import Speed, enough, slower
from harness.report.summary import CellSummary, Summary, summarize_run
from harness.report.words import WINE_LABEL, is_wine

_GOOD = frozenset({Outcome.PASS, Outcome.RECORDED})
_JUDGED = _GOOD | {Outcome.FAIL}
_VOLATILE = frozenset({"cpu", "handle"})
"""Of a call, what differs between two runs of the same: where it ran, and the value of a handle that is not NULL."""


@dataclass(frozen=True)
class Side:
    """One run with all that is needed of it; `samples` are durations of each cell in this and like runs."""

    view: RunView
    summary: Summary
    folder: str
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def cells(self) -> dict[str, CellSummary]:
        """Its cells by id."""
        return {cell.id: cell for cell in self.summary.cells}

    @property
    def ref(self) -> RunRef:
        """What is said of it."""
        summary = self.summary
        return RunRef(
            folder=self.folder,
            name=summary.name,
            started=summary.started,
            finished=summary.finished,
            exit_code=summary.exit_code,
            cells=len(summary.cells),
            exit_meaning=summary.exit_meaning,
            counts=summary.counts,
            label=WINE_LABEL if any(is_wine(cell) for cell in summary.cells) else "",
        )


def compare_folders(old: Path, new: Path, *, say: Say = lambda _: None) -> Comparison:
    """Compare the runs in two folders. Durations come from the history of the folders that they lie in.

    Raises UsageError and InfrastructureError as load_run and the history do.
    """
    views = load_run(old), load_run(new)
    before, after = (summarize_run(view) for view in views)
    return compare(
        Side(views[0], before, old.name, _samples(old, before, "", say)),
        Side(views[1], after, new.name, _samples(new, after, before.started.isoformat(), say)),
    )


def _samples(folder: Path, summary: Summary, begin: str, say: Say) -> dict[str, list[float]]:
    runs = folder.resolve().parent
    with open_store(runs / FILE_NAME, say=say) as store:
        store.sync(runs, say)
        return durations(store, summary.name, begin, summary.started.isoformat())


def compare(old: Side, new: Side) -> Comparison:
    """What differs between two runs."""
    both = [cell for cell in new.cells if cell in old.cells]
    changes = _changes(old, new)
    records = _records(old, new, both)
    seen_otherwise = {cell for change in records for cell in change.cells}
    return Comparison(
        old=old.ref,
        new=new.ref,
        provenance=_provenance(old, new, both),
        new_failures=changes["new_failures"],
        fixed=changes["fixed"],
        lost=changes["lost"],
        regained=changes["regained"],
        still_failing=changes["still_failing"],
        verdicts=_verdicts(old, new, both),
        records=records,
        new_cells=tuple(cell for cell in new.cells if cell not in old.cells),
        removed_cells=tuple(cell for cell in old.cells if cell not in new.cells),
        unchanged=tuple(
            cell
            for cell in both
            if _shown(old.cells[cell]) == _shown(new.cells[cell]) and cell not in seen_otherwise
        ),
        slower=slower(old.samples, new.samples),
        faster=_faster(old.samples, new.samples),
        timing=Timing(
            judged=len(enough(old.samples, new.samples)),
            too_few=len(both) - len([c for c in enough(old.samples, new.samples) if c in set(both)]),
        ),
    )


def _faster(old: Mapping[str, Sequence[float]], new: Mapping[str, Sequence[float]]) -> tuple[Speed, ...]:
    """Slower with the sides changed, told the right way round."""
    return tuple(
        Speed(
            cell=one.cell,
            old_median_s=one.new_median_s,
            new_median_s=one.old_median_s,
            ratio=round(1 / one.ratio, 3),
            old_runs=one.new_runs,
            new_runs=one.old_runs,
            p=one.p,
        )
        for one in slower(new, old)
    )


def _shown(cell: CellSummary) -> tuple[object, ...]:
    """What a cell says, without its reasons."""
    return cell.verdict, cell.realised, dict(cell.clauses), set(cell.missing)


def _outcome(cell: CellSummary | None, clause: str) -> str:
    if cell is None:
        return NOT_PLANNED
    if clause in cell.clauses:
        return cell.clauses[clause]
    return NOT_RECORDED if clause in cell.missing else NOT_PLANNED


def _kind(old: str, new: str, *, known: bool) -> str:
    """What a change is called; empty for none worth telling. `known`: the cell was in the old run."""
    if new == Outcome.FAIL:
        return "still_failing" if old == Outcome.FAIL else "new_failures"
    if old == Outcome.FAIL and new in _GOOD:
        return "fixed"
    if known and old in _JUDGED and new not in _JUDGED:
        return "lost"
    if known and old not in _JUDGED and new in _GOOD:
        return "regained"
    return ""


def _changes(old: Side, new: Side) -> dict[str, tuple[Change, ...]]:
    """Changes of results, one for each clause and reason with all its cells."""
    found: dict[str, dict[tuple[str, str, str], list[tuple[str, str]]]] = {
        kind: defaultdict(list) for kind in ("new_failures", "fixed", "lost", "regained", "still_failing")
    }
    was = old.cells
    for cell in new.summary.cells:
        before = was.get(cell.id)
        clauses = dict.fromkeys((*cell.clauses, *cell.missing, *(before.clauses if before else ())))
        for clause in clauses:
            a, b = _outcome(before, clause), _outcome(cell, clause)
            kind = _kind(a, b, known=before is not None)
            if kind:
                told = before if before and kind == "fixed" else cell
                found[kind][clause, b, told.clause_reasons.get(clause, "")].append((cell.id, a))
        if cell.verdict is Verdict.BROKEN and Outcome.FAIL not in cell.clauses.values():
            a = before.verdict if before else NOT_PLANNED
            kind = "still_failing" if a == Verdict.BROKEN else "new_failures"
            found[kind]["", cell.verdict, cell.reason].append((cell.id, a))
    return {
        kind: tuple(
            Change(
                clause=clause,
                old=" or ".join(dict.fromkeys(a for _, a in cells)),
                new=b,
                reason=reason,
                cells=tuple(cell for cell, _ in cells),
                title=CLAUSES[clause].title if clause in CLAUSES else "",
                source=CLAUSES[clause].source if clause in CLAUSES else "",
            )
            for (clause, b, reason), cells in changes.items()
        )
        for kind, changes in found.items()
    }


def _verdicts(old: Side, new: Side, both: Iterable[str]) -> tuple[VerdictChange, ...]:
    changed: dict[tuple[Verdict, Verdict], list[str]] = defaultdict(list)
    for cell in both:
        pair = old.cells[cell].verdict, new.cells[cell].verdict
        if pair[0] is not pair[1]:
            changed[pair].append(cell)
    return tuple(VerdictChange(old=a, new=b, cells=tuple(cells)) for (a, b), cells in changed.items())


def _provenance(old: Side, new: Side, both: Sequence[str]) -> tuple[Difference, ...]:
    """What the results stand on and what differs in it. What differs in all cells alike names none."""
    before = {cell: ground(old.summary, old.cells[cell]) for cell in both}
    after = {cell: ground(new.summary, new.cells[cell]) for cell in both}
    found: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    told: Counter[str] = Counter()
    for cell in both:
        for key in (
            before[cell].keys() & after[cell].keys()
        ):  # a cell that did not get far enough says nothing
            told[key] += 1
            if key == "configuration":
                for axis, a, b in _axes_that_differ(old.cells[cell], new.cells[cell]):
                    found[key, axis, a, b].append(cell)
            elif before[cell][key] != after[cell][key]:
                found[key, TITLES[key], before[cell][key], after[cell][key]].append(cell)
    if old.summary.matrix_sha256 != new.summary.matrix_sha256:
        found["matrix", TITLES["matrix"], old.summary.matrix_sha256, new.summary.matrix_sha256] = []
    return tuple(
        Difference(
            key=key,
            title=title,
            old=a,
            new=b,
            cells=() if len(cells) == told[key] else tuple(cells),
        )
        for (key, title, a, b), cells in sorted(found.items(), key=lambda item: [*TITLES].index(item[0][0]))
    )


def _axes_that_differ(old: CellSummary, new: CellSummary) -> Iterable[tuple[str, str, str]]:
    before, after = axes_of(old.config), axes_of(new.config)
    for axis in dict.fromkeys((*before, *after)):
        a, b = before.get(axis, "not there"), after.get(axis, "not there")
        if a != b:
            yield axis, a, b


def _records(old: Side, new: Side, both: Iterable[str]) -> tuple[RecordChange, ...]:
    """Recorded clauses that showed something else, the same difference in several cells told once."""
    found: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for cell in both:
        before, after = old.view.cells[cell], new.view.cells[cell]
        for clause, outcome in new.cells[cell].clauses.items():
            if outcome is Outcome.RECORDED and old.cells[cell].clauses.get(clause) is Outcome.RECORDED:
                difference = _difference(_seen(before, clause), _seen(after, clause))
                if difference:
                    found[(clause, *difference)].append(cell)
    return tuple(
        RecordChange(
            clause=clause,
            cells=tuple(cells),
            what=what,
            old=a,
            new=b,
            title=CLAUSES[clause].title if clause in CLAUSES else "",
        )
        for (clause, what, a, b), cells in found.items()
    )


def _seen(cell: CellView, clause: str) -> dict[str, Any]:
    """What the tests of a clause saw, as flat names and values, without what differs from run to run."""
    flat: dict[str, Any] = {}
    for record in cell.clauses[clause]:
        test = record.test.rpartition("::")[2]
        for title, value in record.observations:
            _flatten(flat, f"{test}: {title}", value)
    return flat


def _flatten(flat: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "handle":
                flat[f"{name}, handle"] = "NULL" if item in (0, "0x0") else "not NULL"
            elif key not in _VOLATILE:
                _flatten(flat, f"{name}, {key}", item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _flatten(flat, f"{name}, {number}", item)
    else:
        flat[name] = value


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The first thing that was seen differently: its name, and both values as text."""
    for name in dict.fromkeys((*new, *old)):
        a, b = old.get(name, "not seen"), new.get(name, "not seen")
        if a != b:
            return name, _text(name, a), _text(name, b)
    return None


def _text(name: str, value: Any) -> str:
    if name.endswith(", status") and isinstance(value, int):
        return format_status(value)
    return str(value)
