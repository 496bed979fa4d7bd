"""A comparison as something that one would send round: what it comes to first, then each thing with its cells."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.contract.outcomes import Outcome
from harness.report.comparison import Change, Comparison, Difference
from harness.report.marks import escape, ids
from harness.report.reasons import seen
from harness.report.text import count, one_line, seconds

MAX_NAMED = 4
MAX_REASON = 300
WIDTH = 78
"""Columns of the plain text: a mail is read as it was sent."""
MAX_VALUE = 40
"""Characters of a value that fits into a sentence."""

_NUMBERS = {
    Outcome.FAIL: "violated",
    Outcome.ERROR: "not judged",
    Outcome.PASS: "pass",
    Outcome.RECORDED: "recorded",
    Outcome.SKIPPED: "skipped",
}


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
    """The whole in a few sentences."""
    c = comparison
    parts = [_newly_violated(c)]
    fixed = list(dict.fromkeys(change.clause or "the verdict" for change in c.fixed))
    if fixed:
        parts.append(f"Fixed: {listed(fixed)}.")
    if c.lost:
        lost = sum(len(change.cells) for change in c.lost)
        parts.append(f"{count(lost, 'result')} that could be judged cannot be judged now.")
    if c.still_failing:
        still = list(dict.fromkeys(change.clause or "the verdict" for change in c.still_failing))
        parts.append(f"Violated before, and still: {listed(still)}.")
    if not c.new.finished:
        parts.append("The new run did not end: it was killed, or still goes on.")
    if c.unchanged and len(c.unchanged) == c.new.cells:
        parts.append("Every cell shows what it showed before.")
    elif c.unchanged:
        shows = "cell shows what it" if len(c.unchanged) == 1 else "cells show what they"
        parts.append(f"{len(c.unchanged):,} other {shows} showed before.")
    last = sorted(c.provenance, key=lambda one: one.key == "matrix")  # two hashes tell the least
    different = list(dict.fromkeys(_in_a_word(one) for one in last))
    parts.append(
        f"What differs between the runs: {listed(different)}."
        if different
        else "Both runs stand on the same: guest, driver, QEMU, kernel."
    )
    return " ".join(parts)


def _newly_violated(c: Comparison) -> str:
    failed = list(dict.fromkeys(change.clause or "the verdict" for change in c.new_failures))
    if not failed:
        return "Nothing is newly violated."
    cells = {cell for change in c.new_failures for cell in change.cells}
    of = (
        f"{len(cells):,} of {count(c.new.cells, 'cell')}"
        if c.new.cells > len(cells)
        else count(len(cells), "cell")
    )
    return f"Newly violated: {listed(failed)} in {of}."


def _in_a_word(one: Difference) -> str:
    """What differs, with its values where they are words that a sentence has room for."""
    values = [_short(one_line(text)) for text in (one.old, one.new)]
    if one.key == "matrix" or any(
        len(v) > MAX_VALUE or v != one_line(t) for v, t in zip(values, (one.old, one.new), strict=True)
    ):
        return one.title
    return f"{one.title} ({values[0]} → {values[1]})"


def runs_of(comparison: Comparison) -> tuple[tuple[str, str, str, str], ...]:
    """Both runs, each as: before or now, when it began, what it came to, its results in numbers."""
    return tuple(
        (
            word,
            _when(run.started),
            (run.exit_meaning or f"exit code {run.exit_code}")
            + ("" if run.finished else " (it did not end)"),
            ", ".join(f"{n:,} {_NUMBERS[o]}" for o in _NUMBERS if (n := run.counts.get(o, 0)))
            or "no results",
        )
        for word, run in (("before", comparison.old), ("now", comparison.new))
    )


def guests_of(comparison: Comparison) -> str:
    """What the guests were, where they were not Windows: nothing simulated is called real. Else empty."""
    labels = list(dict.fromkeys(filter(None, (comparison.old.label, comparison.new.label))))
    return f"Cells with a guest: {'; '.join(labels)}." if labels else ""


def parts_of(comparison: Comparison) -> list[Part]:
    """All that there is to tell, the most serious first; kinds of which there is nothing are left out."""
    c = comparison
    parts = [
        Part("Newly violated", _changes(c.new_failures)),
        Part("Fixed", _changes(c.fixed)),
        Part("No longer judged", _changes(c.lost, told=True)),
        Part("Judged again", _changes(c.regained, told=True)),
        Part("Still violated", _changes(c.still_failing)),
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
                    (
                        *((one.title,) if one.title else ()),
                        f"seen: {_seen(one.what)}: {one_line(one.old)} → {one_line(one.new)}",
                    ),
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
    lines += ["| run | began | came to | results |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(escape(one_line(text)) for text in row)} |" for row in runs_of(comparison)]
    lines.append("")
    if guests := guests_of(comparison):
        lines += [escape(guests), ""]
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
    lines = [*_wrapped(title(comparison)), "", *_wrapped(opening(comparison)), ""]
    for word, began, came_to, results in runs_of(comparison):
        lines += _wrapped(f"{word:6}  {began}: {came_to}", "  ", " " * 10)
        lines += _wrapped(results, " " * 10, " " * 10)
    if guests := guests_of(comparison):
        lines += ["", *_wrapped(guests)]
    for part in parts_of(comparison):
        lines += ["", part.title]
        for point in part.points:
            lines += _wrapped(point.line, "  * ", "    ")
            for note in point.notes:
                lines += _wrapped(note, "    ", "      ")
            if point.cells:
                lines += _wrapped(f"cells: {_named(point.cells)}", "    ", "      ")
    return "\n".join([*lines, "", *_wrapped(timing_note(comparison)), ""])


def _wrapped(text: str, first: str = "", then: str = "") -> list[str]:
    """Lines of a mail; what has no blank in it stays whole, such as a path or a cell's id."""
    if len(first) + len(text) <= WIDTH:
        return [first + text]
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _changes(changes: Iterable[Change], *, told: bool = False) -> tuple[Point, ...]:
    """A point for each clause: that it went wrong in other words in another cell makes no second one."""
    by_clause: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        key = (change.clause, change.old, change.new) if told or not change.clause else (change.clause,)
        by_clause.setdefault(key, []).append(change)
    return tuple(_change(alike, told=told) for alike in by_clause.values())


def _change(alike: Sequence[Change], *, told: bool) -> Point:
    change = alike[0]
    cells = tuple(dict.fromkeys(cell for one in alike for cell in one.cells))
    what = change.clause or f"the verdict is {change.new}"
    how = f": {change.old} → {change.new}" if told else ""
    notes = [change.title] if change.title else []
    if change.source:
        notes.append(f"source: {change.source}")
    reasons = list(dict.fromkeys(filter(None, (_without_clause(one) for one in alike))))
    if reasons:
        others = f" (and {count(len(reasons) - 1, 'other reason')} like it)" if reasons[1:] else ""
        notes.append(f"seen: {reasons[0]}{others}")
    return Point(f"{one_line(what)} in {count(len(cells), 'cell')}{how}", tuple(notes), cells)


def _without_clause(change: Change) -> str:
    """What was seen: a reason without the clause's own sentence and source, which stand above it."""
    reason = seen(change.clause, one_line(change.reason))
    if len(reason) <= MAX_REASON:
        return reason
    end = reason.rfind("; ", 0, MAX_REASON)
    return f"{reason[:end]}; …" if end > 0 else textwrap.shorten(reason, MAX_REASON, placeholder=" …")


def _seen(what: str) -> str:
    """What was observed, without the name of the test, which the data have."""
    return one_line(re.sub(r"^test_\w+: ", "", what))


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
    return f"{moment:%d %B %Y, %H:%M} UTC"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: a, b and c; the first four of many."""
    names = [one_line(name) for name in names]
    if len(names) > MAX_NAMED + 1:
        names = [*names[:MAX_NAMED], f"{len(names) - MAX_NAMED} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _named(cells: Iterable[str]) -> str:
    return listed(list(cells))
