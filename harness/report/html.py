"""report.html: one page that works offline, with every result of a run and the way to its evidence.

The overview is rendered here, so that it is there without JavaScript. Matrix, cells, clauses and trends are drawn by
the page's script from the data that is embedded in it: a page of 30,000 results opens at once that way.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.config.defects import DEFECTS
from harness.contract.clauses import CLAUSES
from harness.contract.outcomes import WORST_FIRST, Outcome
from harness.report import compare_text, words
from harness.report.comparison import Comparison
from harness.report.embed import as_json, packed
from harness.report.findings import Finding, findings
from harness.report.kills import Kill
from harness.report.loading import RunView
from harness.report.page_data import page_data
from harness.report.page_details import Details, shorten
from harness.report.reasons import seen
from harness.report.sections import SECTIONS, Facts
from harness.report.summary import CellSummary, Summary
from harness.report.text import count, seconds, visible, write_atomically

FILE_NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = (
    "dom.js",
    "state.js",
    "data.js",
    "filter.js",
    "overview.js",
    "matrix.js",
    "timeline.js",
    "cell.js",
    "clause.js",
    "trends.js",
    "main.js",
)
"""The page's script, in order: each file is one part, and all of them share one scope."""


@dataclass(frozen=True)
class Past:
    """What other runs say: `changes` since the last run, and `trends` over many; None where unknown."""

    changes: Comparison | None = None
    trends: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Group:
    """Cells of one kind of guest."""

    label: str
    cells: tuple[CellSummary, ...]


def report_html(folder: Path, view: RunView, summary: Summary, past: Past | None = None) -> str:
    """The whole page. `folder` is where it will lie: links to a cell's files are relative to it."""
    past = past or Past()
    clauses = clause_order(summary)
    found = findings(summary)
    facts = Facts(summary, found, past.changes is not None)
    concerned = {cell for finding in found for cell in finding.cells} | {
        cell.id for cell in summary.cells if cell.missing
    }
    details = Details(folder)
    script = _script()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            view=view,
            words=words,
            sections=[section for section in SECTIONS if section.shown(facts)],
            facts=facts,
            findings=found,
            concerned=concerned,
            exit_meaning=summary.exit_meaning,
            headline=headline(summary, found),
            defects=_by_defect(summary),
            catalogue=CLAUSES,
            clauses=clauses,
            clause_counts={
                clause: _counts(cell.clauses.get(clause) for cell in summary.cells) for clause in clauses
            },
            clause_tests={clause: _tests(view, clause) for clause in clauses},
            groups=_groups(summary.cells),
            baselines=_baselines(summary),
            strict=any(cell.baseline and cell.baseline.strict for cell in summary.cells),
            verdicts=Counter(cell.verdict for cell in summary.cells),
            realised=Counter(cell.realised for cell in summary.cells),
            wine=any(words.is_wine(cell) for cell in summary.cells),
            counts=lambda cell: _counts(cell.clauses.values()),
            changes=past.changes,
            changes_opening=compare_text.opening(past.changes) if past.changes else "",
            changes_parts=compare_text.parts_of(past.changes) if past.changes else [],
            changes_timing=compare_text.timing_note(past.changes) if past.changes else "",
            data=Markup(as_json(page_data(view, summary, clauses, concerned, past.trends))),  # noqa: S704 - has no `<`
            details=[Markup(packed(details.of(cell, view.cells[cell.id]))) for cell in summary.cells],  # noqa: S704 - base64
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def write_html(folder: Path, view: RunView, summary: Summary, past: Past | None = None) -> None:
    """Write report.html into the run's folder, whole or not at all."""
    write_atomically(folder / FILE_NAME, report_html(folder, view, summary, past))


def cell_link(cell_id: str, clause: str = "") -> str:
    """The address of a cell in the page, or of a clause in it; the same for the same cell in every run."""
    return f"#/cell/{quote(cell_id, safe='')}" + (f"/{quote(clause, safe='')}" if clause else "")


def clause_link(clause: str) -> str:
    """The address of a clause in the page."""
    return f"#/clause/{quote(clause, safe='')}"


def clause_order(summary: Summary) -> list[str]:
    """All clauses planned or recorded, in the order of the catalogue; unknown ones behind."""
    seen = dict.fromkeys(clause for cell in summary.cells for clause in (*cell.clauses, *cell.missing))
    return [clause for clause in CLAUSES if clause in seen] + [
        clause for clause in seen if clause not in CLAUSES
    ]


def headline(summary: Summary, found: list[Finding]) -> str:
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


def _script() -> str:
    parts = (f"// {name}\n{(TEMPLATES / 'js' / name).read_text(encoding='utf-8')}" for name in SCRIPTS)
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


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
    environment.filters.update(breakable=_breakable, seconds=seconds, shorten=shorten, seen=_seen)
    environment.globals.update(
        cell_href=cell_link, clause_href=clause_link, count=count, guest_label=words.guest_label, words=words
    )
    environment.globals["catalogue"] = CLAUSES
    return environment


def _baselines(summary: Summary) -> dict[tuple[str, ...], list[str]]:
    """What is not as in its baseline, with all cells of which that is so; changes first."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for cell in summary.cells:
        for entry in cell.baseline.changes if cell.baseline else ():
            key = (entry.clause, entry.test, entry.state, entry.old, entry.new)
            found.setdefault(key, []).append(cell.id)
    return dict(sorted(found.items(), key=lambda item: (item[0][2], item[0][0])))


def _by_defect(summary: Summary) -> list[tuple[str, str, dict[str, Kill]]]:
    """Each defect with what it does, and its kill in each generation."""
    found: dict[str, dict[str, Kill]] = {}
    for kill in summary.defects:
        found.setdefault(kill.defect, {})[kill.generation] = kill
    return [(name, DEFECTS[name].does if name in DEFECTS else "", by) for name, by in found.items()]


def _tests(view: RunView, clause: str) -> list[str]:
    """The tests that judged a clause in any cell, by name."""
    records = (record for cell in view.cells.values() for record in cell.clauses.get(clause, ()))
    return list(dict.fromkeys(record.test.rpartition("::")[2] or record.test for record in records))


def _groups(cells: Iterable[CellSummary]) -> list[Group]:
    """Cells by what their guest really is, in the order of the plan."""
    groups: dict[str, list[CellSummary]] = {}
    for cell in cells:
        groups.setdefault(words.guest_label(cell), []).append(cell)
    return [Group(label, tuple(members)) for label, members in groups.items()]


def _counts(outcomes: Iterable[Outcome | None]) -> list[tuple[words.Shown, int]]:
    """How often each outcome occurs, the worst first, those that do not occur left out."""
    counted = Counter(outcome for outcome in outcomes if outcome is not None)
    return [(words.OUTCOMES[outcome], counted[outcome]) for outcome in WORST_FIRST if counted[outcome]]


def _seen(finding: Finding) -> str:
    """A finding's reason; of a violated clause without its sentence and source, which stand beside it."""
    violated = finding.kind == "fail" and finding.clauses
    return seen(finding.clauses[0], finding.reason) if violated else finding.reason


def _breakable(text: str) -> Markup:
    """An id that may break into lines behind its parts."""
    return Markup("").join(escape(visible(part)) + Markup("<wbr>") for part in re.split("(?<=-)", text))
