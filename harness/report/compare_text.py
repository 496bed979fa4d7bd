"""A comparison as something that one would send round: what it comes to first, then each thing with its cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.contract.clauses import CLAUSES
from harness.report.comparison import Change, Comparison, Difference
from harness.report.marks import escape, ids
from harness.report.text import count, one_line, seconds

MAX_NAMED = 4
MAX_REASON = 300


@dataclass(frozen=True)
class Point:
    """One thing to tell: a line, what explains it, and the cells it is about."""

    line: str
    notes: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """Things of one kind under their title."""

    title: str
    points: tuple[Point, ...]


def title(comparison: Comparison) -> str:
    """What is compared."""
    old, new = comparison.old, comparison.new
    name = new.name if new.name == old.name else f"{new.name} with {old.name}"
    return f"{name}: the run of {_when(new.started)} against that of {_when(old.started)}"


def opening(comparison: Comparison) -> str:
    """The whole in two or three sentences."""
    c = comparison
    failed = list(dict.fromkeys(change.clause or "the verdict" for change in c.new_failures))
    if failed:
        cells = {cell for change in c.new_failures for cell in change.cells}
        begin = f"Newly violated: {listed(failed)} in {count(len(cells), 'cell')}."
    else:
        begin = "Nothing is newly violated."
    fixed = list(dict.fromkeys(change.clause or "the verdict" for change in c.fixed))
    parts = [begin]
    if fixed:
        parts.append(f"Fixed: {listed(fixed)}.")
    if c.lost:
        lost = sum(len(change.cells) for change in c.lost)
        parts.append(f"{count(lost, 'result')} that could be judged cannot be judged now.")
    if c.still_failing:
        parts.append(
            f"{listed(list(dict.fromkeys(change.clause for change in c.still_failing)))} "
            "were violated before, and still are."
        )
    if not c.new.finished:
        parts.append("The new run did not end: it was killed, or still goes on.")
    different = list(dict.fromkeys(one.title for one in c.provenance))
    parts.append(
        f"What differs between the runs: {listed(different)}."
        if different
        else "Both runs stand on the same: guest, driver, QEMU, kernel."
    )
    return " ".join(parts)


def parts_of(comparison: Comparison) -> list[Part]:
    """All that there is to tell, the most serious first; kinds of which there is nothing are left out."""
    c = comparison
    parts = [
        Part("Newly violated", tuple(_change(change) for change in c.new_failures)),
        Part("Fixed", tuple(_change(change) for change in c.fixed)),
        Part("No longer judged", tuple(_change(change, told=True) for change in c.lost)),
        Part("Judged again", tuple(_change(change, told=True) for change in c.regained)),
        Part("Still violated", tuple(_change(change) for change in c.still_failing)),
        Part(
            "Other verdicts",
            tuple(
                Point(f"{one.old} → {one.new} in {count(len(one.cells), 'cell')}", (), one.cells)
                for one in c.verdicts
            ),
        ),
        Part(
            "Recorded differently (nothing is promised here)",
            tuple(
                Point(
                    f"{one.clause} in {count(len(one.cells), 'cell')}",
                    (f"{one_line(one.what)}: {one_line(one.old)} → {one_line(one.new)}",),
                    one.cells,
                )
                for one in c.records
            ),
        ),
        Part("Cells that are new", _cells(c.new_cells)),
        Part("Cells that are gone", _cells(c.removed_cells)),
        Part("Slower", tuple(_speed(one.model_dump()) for one in c.slower)),
        Part("Faster", tuple(_speed(one.model_dump()) for one in c.faster)),
        Part("What differs between the runs", tuple(_difference(one) for one in c.provenance)),
    ]
    return [part for part in parts if part.points]


def timing_note(comparison: Comparison) -> str:
    """How durations were judged, or why they were not."""
    timing = comparison.timing
    if not timing.judged:
        return "Durations are not judged: that takes five runs on each side."
    few = f" {count(timing.too_few, 'cell')} had too few runs." if timing.too_few else ""
    return f"Durations of {count(timing.judged, 'cell')} were judged by five to ten runs on each side.{few}"


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    lines = [f"# {escape(title(comparison))}", "", escape(opening(comparison)), ""]
    return "\n".join([*lines, *markdown_parts(comparison), escape(timing_note(comparison)), ""])


def markdown_parts(comparison: Comparison, level: str = "##") -> list[str]:
    """Each thing with its cells as lines of Markdown, under titles of this level."""
    lines: list[str] = []
    for part in parts_of(comparison):
        lines += [f"{level} {part.title}", ""]
        for point in part.points:
            lines.append(f"- **{escape(point.line)}**" + (f": {ids(point.cells)}" if point.cells else ""))
            lines += [f"  <br>{escape(note)}" for note in point.notes]
        lines.append("")
    return lines


def plain(comparison: Comparison) -> str:
    """The comparison as plain text for a terminal or a mail."""
    lines = [title(comparison), "", opening(comparison)]
    for part in parts_of(comparison):
        lines += ["", part.title]
        for point in part.points:
            lines.append(f"  * {point.line}")
            lines += [f"    {note}" for note in point.notes]
            if point.cells:
                lines.append(f"    cells: {_named(point.cells)}")
    return "\n".join([*lines, "", timing_note(comparison), ""])


def _change(change: Change, *, told: bool = False) -> Point:
    what = change.clause or f"the verdict is {change.new}"
    how = f": {change.old} → {change.new}" if told else ""
    notes = [CLAUSES[change.clause].title] if change.clause in CLAUSES else []
    if change.reason:
        notes.append(one_line(change.reason)[:MAX_REASON])
    return Point(f"{one_line(what)} in {count(len(change.cells), 'cell')}{how}", tuple(notes), change.cells)


def _cells(cells: Sequence[str]) -> tuple[Point, ...]:
    return (Point(count(len(cells), "cell"), (), tuple(cells)),) if cells else ()


def _speed(one: dict[str, float | str]) -> Point:
    ratio, p = float(one["ratio"]), float(one["p"])
    times = f"{seconds(float(one['old_median_s']))} → {seconds(float(one['new_median_s']))}"
    runs = f"medians of {one['old_runs']} and {one['new_runs']} runs, p = {p:.2g}"
    return Point(f"{one_line(str(one['cell']))}: {times} ({ratio - 1:+.0%})", (runs,))


def _difference(one: Difference) -> Point:
    old, new = (_short(one_line(text)) for text in (one.old, one.new))
    return Point(f"{one.title}: {old} → {new}", (), one.cells)


def _short(text: str) -> str:
    """A hash by its beginning, as people call it."""
    return text[:12] if re.fullmatch("[0-9a-f]{40,}", text) else text


def _when(moment: object) -> str:
    return f"{moment:%d %B %Y, %H:%M}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: a, b and c; the first four of many."""
    names = [one_line(name) for name in names]
    if len(names) > MAX_NAMED + 1:
        names = [*names[:MAX_NAMED], f"{len(names) - MAX_NAMED} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _named(cells: Iterable[str]) -> str:
    return listed(list(cells))
