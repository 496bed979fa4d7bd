"""report.html: one page that works offline, with every result of a run and the way to its evidence."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.config.defects import DEFECTS
from harness.contract.clauses import CLAUSES
from harness.contract.outcomes import Outcome
from harness.report import words
from harness.report.findings import Finding, findings
from harness.report.kills import Kill
from harness.report.loading import CellView, RunView
from harness.report.summary import CellSummary, Summary
from harness.report.text import count, seconds, visible, write_atomically
from harness.runs.record import WORST_FIRST

FILE_NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
LINE = 150
"""Characters of an observed value that stay on one line."""
MAX_SHOWN = 4000
"""Characters of one observation or piece of evidence that the page shows; records.jsonl has all of it."""


@dataclass(frozen=True)
class Bar:
    """One phase in a cell's timeline: where it begins and how long it is, in percent of the cell."""

    name: str
    seconds: float
    left: float
    width: float


@dataclass(frozen=True)
class FileLink:
    """A file in the run's folder: its name, its address relative to the page, and its size in bytes."""

    name: str
    href: str
    size: int


@dataclass(frozen=True)
class Group:
    """Cells of one kind of guest, and what their ids begin with."""

    label: str
    prefix: str
    cells: tuple[CellSummary, ...]


def report_html(folder: Path, view: RunView, summary: Summary) -> str:
    """The whole page. `folder` is where it will lie: links to a cell's files are relative to it."""
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    clauses = _clause_order(summary)
    found = findings(summary)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            view=view,
            words=words,
            findings=found,
            concerned={cell for finding in found for cell in finding.cells}
            | {cell.id for cell in summary.cells if cell.missing},
            exit_meaning=summary.exit_meaning,
            headline=_headline(summary, found),
            promised={kill.cell: kill.promised for kill in summary.defects},
            defects=_by_defect(summary),
            catalogue=CLAUSES,
            clauses=clauses,
            families=_families(clauses),
            clause_counts={
                clause: _counts(cell.clauses.get(clause) for cell in summary.cells) for clause in clauses
            },
            clause_tests={clause: _tests(view, clause) for clause in clauses},
            groups=_groups(summary.cells),
            baselines=_baselines(summary),
            strict=any(cell.baseline and cell.baseline.strict for cell in summary.cells),
            verdicts=Counter(cell.verdict for cell in summary.cells),
            realised=Counter(cell.realised for cell in summary.cells),
            probe_only=sum(not cell.clauses and not cell.missing for cell in summary.cells),
            wine=any(words.is_wine(cell) for cell in summary.cells),
            counts=lambda cell: _counts(cell.clauses.values()),
            timeline=_timeline,
            files=partial(_files, folder),
            evidence_link=partial(_evidence_href, folder),
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            script_hash=script_hash,
        )
    )


def write_html(folder: Path, view: RunView, summary: Summary) -> None:
    """Write report.html into the run's folder, whole or not at all."""
    write_atomically(folder / FILE_NAME, report_html(folder, view, summary))


def cell_anchor(cell_id: str, clause: str = "") -> str:
    """The fragment of a cell, or of a clause in it; the same for the same cell in every run."""
    return f"cell-{quote(cell_id, safe='+')}" + (f":{quote(clause)}" if clause else "")


def _environment() -> Environment:
    """All that a template prints is made visible first and escaped then; an unknown name is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: (
            visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
        ),
    )
    environment.filters.update(
        breakable=_breakable, seconds=seconds, flatten=words.flatten, value=_value, shorten=_shorten
    )
    environment.globals.update(
        anchor=cell_anchor,
        clause_anchor=lambda clause: f"clause-{quote(clause)}",
        count=count,
        guest_label=words.guest_label,
        is_wine=words.is_wine,
    )
    return environment


def _baselines(summary: Summary) -> dict[tuple[str, ...], list[str]]:
    """What is not as in its baseline, with all cells of which that is so; changes first."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for cell in summary.cells:
        for entry in cell.baseline.changes if cell.baseline else ():
            key = (entry.clause, entry.test, entry.state, entry.old, entry.new)
            found.setdefault(key, []).append(cell.id)
    return dict(sorted(found.items(), key=lambda item: (item[0][2], item[0][0])))


def _headline(summary: Summary, found: list[Finding]) -> str:
    """The first thing to read: what is the matter, in a few words."""
    survived = sum(kill.survived for kill in summary.defects)
    if summary.defects and (survived or summary.exit_code == 0):
        total = count(len(summary.defects), "defect")
        return f"{survived} of {total} survived" if survived else f"{total}, each noticed"
    violated = dict.fromkeys(
        clause for finding in found if finding.kind == "fail" for clause in finding.clauses
    )
    if summary.exit_code == 1 and not any(finding.kind == "fail" for finding in found):
        return "A known issue is none any more"
    if summary.exit_code == 1:
        cells = {cell for finding in found if finding.kind == "fail" for cell in finding.cells}
        return f"{count(len(violated), 'clause')} violated in {count(len(cells), 'cell')}"
    if summary.exit_code != 0:
        return "Not everything could be judged"
    known = any(cell.known for cell in summary.cells)
    return "Passed with known issues" if known else "Every judged clause holds"


def _by_defect(summary: Summary) -> list[tuple[str, str, dict[str, Kill]]]:
    """Each defect with what it does, and its kill in each generation."""
    found: dict[str, dict[str, Kill]] = {}
    for kill in summary.defects:
        found.setdefault(kill.defect, {})[kill.generation] = kill
    return [(name, DEFECTS[name].does if name in DEFECTS else "", by) for name, by in found.items()]


def _clause_order(summary: Summary) -> list[str]:
    """All clauses planned or recorded, in the order of the catalogue; unknown ones behind."""
    seen = dict.fromkeys(clause for cell in summary.cells for clause in (*cell.clauses, *cell.missing))
    return [clause for clause in CLAUSES if clause in seen] + [
        clause for clause in seen if clause not in CLAUSES
    ]


def _tests(view: RunView, clause: str) -> list[str]:
    """The tests that judged a clause in any cell, by name."""
    records = (record for cell in view.cells.values() for record in cell.clauses.get(clause, ()))
    return list(dict.fromkeys(record.test.rpartition("::")[2] or record.test for record in records))


def _families(clauses: list[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Clauses by the word they begin with, for the head of the matrix: ALLOC: (1, ALLOC-1), (2, ALLOC-2) …"""
    families: dict[str, list[tuple[str, str]]] = {}
    for clause in clauses:
        family, _, number = clause.rpartition("-")
        families.setdefault(family or clause, []).append((number if family else "", clause))
    return list(families.items())


def _groups(cells: Iterable[CellSummary]) -> list[Group]:
    """Cells by what their guest really is, in the order of the plan."""
    groups: dict[str, list[CellSummary]] = {}
    for cell in cells:
        groups.setdefault(words.guest_label(cell), []).append(cell)
    return [Group(label, _prefix(members), tuple(members)) for label, members in groups.items()]


def _prefix(cells: list[CellSummary]) -> str:
    """The guest's name in front of all ids: it names the group, so lines of the table need not repeat it."""
    prefix = f"{cells[0].config.get('guest')}-"
    return prefix if all(cell.id.startswith(prefix) for cell in cells) else ""


def _counts(outcomes: Iterable[Outcome | None]) -> list[tuple[words.Shown, int]]:
    """How often each outcome occurs, the worst first, those that do not occur left out."""
    counted = Counter(outcome for outcome in outcomes if outcome is not None)
    return [(words.OUTCOMES[outcome], counted[outcome]) for outcome in WORST_FIRST if counted[outcome]]


def _timeline(cell: CellView) -> list[Bar]:
    """The phases on the time axis of their cell; a phase is recorded when it ends."""
    spans = [(phase, phase.time.timestamp() - phase.seconds) for phase in cell.phases]
    if not spans:
        return []
    begin = min(start for _, start in spans)
    total = max(start + phase.seconds for phase, start in spans) - begin or 1.0
    return [
        Bar(phase.name, phase.seconds, 100 * (start - begin) / total, 100 * phase.seconds / total)
        for phase, start in spans
    ]


def _files(folder: Path, cell_id: str) -> list[FileLink]:
    """What lies in a cell's folder, run.sh first: it is what one needs to see the same again."""
    home = _inside(folder, f"cells/{cell_id}")
    if home is None or not home.is_dir():
        return []
    paths = sorted(
        (path for path in home.rglob("*") if path.is_file()),
        key=lambda path: (path.name != "run.sh", str(path)),
    )
    return [FileLink(str(path.relative_to(home)), _href(folder, path), path.stat().st_size) for path in paths]


def _evidence_href(folder: Path, text: str) -> str:
    """The address of a piece of evidence that is a file of the run, or an empty text when it is none."""
    path = _inside(folder, text)
    return _href(folder, path) if path and path.is_file() else ""


def _inside(folder: Path, name: str) -> Path | None:
    """The path of that name in the folder; None for what is no name, or leads out of the folder."""
    if not (0 < len(name) <= 200 and name.isascii() and name.isprintable()):
        return None
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) else None


def _href(folder: Path, path: Path) -> str:
    return quote(str(path.relative_to(folder.resolve())))


def _breakable(text: str) -> Markup:
    """An id that may break into lines behind its parts."""
    return Markup("").join(escape(visible(part)) + Markup("<wbr>") for part in re.split("(?<=-)", text))


def _value(value: Any) -> str:
    """An observed value as text: JSON, in which each part is on one line where that is short."""
    if isinstance(value, str):
        return value
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) > MAX_SHOWN else _laid_out(value)


def _laid_out(value: Any, indent: str = "") -> str:
    line = json.dumps(value, ensure_ascii=False)
    if len(line) <= LINE or not isinstance(value, list | dict):
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(key, ensure_ascii=False)}: {_laid_out(item, inner)}" for key, item in value.items()
        ]
        return "{\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _laid_out(item, inner) for item in value) + f"\n{indent}]"


def _shorten(text: str) -> str:
    """The beginning of a long text, saying how much is not shown and where it is."""
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[:MAX_SHOWN]}\n… {len(text) - MAX_SHOWN:,} more characters are in records.jsonl"
