"""Findings where a CI service shows them: beside the file that they are about.

A violation is shown at the test that found it, everything else at the matrix.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.contract.outcomes import Outcome
from harness.report.findings import Finding, findings
from harness.report.loading import RunView
from harness.report.markdown import finding_title
from harness.report.summary import Summary
from harness.report.text import count, one_line

MAX_SHOWN = 10
"""As many of a level as GitHub shows of a step."""
MAX_NAMED = 6
MAX_MESSAGE = 1000


class Level(StrEnum):
    """How loud an annotation is; the values are GitHub's words."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


_LEVELS = {"crash": Level.WARNING, "retried": Level.WARNING, "known": Level.NOTICE}
_SEVERITY = {Level.ERROR: "major", Level.WARNING: "minor", Level.NOTICE: "info"}


@dataclass(frozen=True)
class Annotation:
    """One finding: its title and text in one line each, and the file and line where it is shown."""

    level: Level
    title: str
    message: str
    file: str
    line: int


def annotate(view: RunView, summary: Summary, top: Path) -> list[Annotation]:
    """All findings of a run as annotations, the most serious first; files are relative to `top`, the checkout."""
    return [_annotation(finding, view, summary, top) for finding in findings(summary)]


def github(found: Sequence[Annotation]) -> list[str]:
    """Workflow commands, a line each. Of each level only so many are shown, and the last says how many there are."""
    lines = []
    for level in Level:
        of_level = [one for one in found if one.level is level]
        shown = of_level[:MAX_SHOWN] if len(of_level) <= MAX_SHOWN else of_level[: MAX_SHOWN - 1]
        lines += [
            f"::{level} file={_property(one.file)},line={one.line},title={_property(one.title)}"
            f"::{_data(one.message)}"
            for one in shown
        ]
        if len(shown) < len(of_level):
            left = count(len(of_level) - len(shown), f"more {level}")
            lines.append(f"::{level} title=halpmc::{left} in the report")
    return lines


def gitlab(found: Iterable[Annotation]) -> str:
    """A code quality report (JSON), in the format that GitLab reads."""
    return json.dumps(
        [
            {
                "description": f"{one.title}: {one.message}",
                "check_name": one.title,
                "fingerprint": hashlib.sha256(f"{one.file}\0{one.title}\0{one.message}".encode()).hexdigest(),
                "severity": _SEVERITY[one.level],
                "location": {"path": one.file, "lines": {"begin": one.line}},
            }
            for one in found
        ],
        indent=2,
    )


def _annotation(finding: Finding, view: RunView, summary: Summary, top: Path) -> Annotation:
    cells = [*finding.cells[:MAX_NAMED]]
    if len(finding.cells) > MAX_NAMED:
        cells.append(f"{len(finding.cells) - MAX_NAMED} more")
    where = f" ({', '.join(cells)})" if cells else ""
    file, line = _place(finding, view, top) or (_relative(Path(summary.matrix), top), 1)
    return Annotation(
        level=_LEVELS.get(finding.kind, Level.ERROR),
        title=one_line(finding_title(finding)),
        message=one_line((finding.reason or "no reason was recorded")[:MAX_MESSAGE] + where),
        file=file,
        line=line,
    )


def _place(finding: Finding, view: RunView, top: Path) -> tuple[str, int] | None:
    """File and line of the test that found a violation; None where there is none in this checkout."""
    if finding.kind != "fail" or not finding.clauses:
        return None
    for cell in finding.cells:
        for record in view.cells[cell].clauses.get(finding.clauses[0], ()):
            file, _, name = record.test.partition("::")
            if record.outcome is Outcome.FAIL and (top / file).is_file():
                return _relative(Path(file), top), _line_of(top / file, name.partition("[")[0])
    return None


def _line_of(path: Path, function: str) -> int:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return 1
    names = function.split("::")
    return next(
        (
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == names[-1]
        ),
        1,
    )


def _relative(path: Path, top: Path) -> str:
    whole = (top / path).resolve()
    return (whole.relative_to(top.resolve()) if whole.is_relative_to(top.resolve()) else path).as_posix()


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
