"""The sections of the report's overview, in order. One more is one template in templates/sections/ and one line here.

A section is rendered when the page is written, so that it is there without JavaScript as well. Its template gets the
summary and everything else that templates/macros.html.j2 and the other sections use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.report.findings import Finding
from harness.report.summary import Summary


@dataclass(frozen=True)
class Facts:
    """What decides whether a section has anything to show."""

    summary: Summary
    findings: list[Finding]
    compared: bool


@dataclass(frozen=True)
class Section:
    """`name` is its template, its id in the page, and its address (#name). `number` goes into its link, if any."""

    name: str
    title: str
    shown: Callable[[Facts], bool] = lambda _: True
    number: Callable[[Facts], int] = lambda _: 0


SECTIONS = (
    Section("findings", "Findings", lambda f: bool(f.findings), lambda f: len(f.findings)),
    Section("defects", "Kill matrix", lambda f: bool(f.summary.defects), lambda f: len(f.summary.defects)),
    Section(
        "baselines", "Baselines", lambda f: any(c.baseline and c.baseline.changes for c in f.summary.cells)
    ),
    Section("changes", "Since the last run", lambda f: f.compared),
    Section("cells", "Cells"),
    Section("clauses", "Clauses"),
    Section("traceability", "Traceability"),
    Section("provenance", "Provenance"),
    Section("legend", "Legend"),
)
