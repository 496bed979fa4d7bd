"""What a night came to, for people who read their mail: subject, what changed, verdicts, where the report is.

Its JSON keys are a public interface. Pure but for `nightly_of`, which reads runs, and `write_nightly`.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.caching import Say
from harness.contract.outcomes import Outcome, Verdict
from harness.errors import HalpmcError
from harness.report import words
from harness.report.compare import compare_folders
from harness.report.comparison import Comparison
from harness.report.findings import findings
from harness.report.history import previous_run
from harness.report.history_store import FILE_NAME as HISTORY
from harness.report.history_store import open_store
from harness.report.html import FILE_NAME as REPORT
from harness.report.nightly_text import document, subject
from harness.report.summary import Summary, summarize
from harness.report.text import write_atomically

SCHEMA_VERSION = 1
JSON_NAME, MARKDOWN_NAME = "nightly.json", "nightly.md"
EXIT_INTERRUPTED = 130


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)


class NightlyFinding(_Model):
    """One cause, and what it was seen in; kinds as in harness/report/findings.py, fail before all others."""

    kind: str
    reason: str
    clauses: tuple[str, ...]
    cells: tuple[str, ...]


class Ran(_Model):
    """The run: its folder's name, its report, and what it came to. `planned` and `recorded` count results.

    `label` says what the guests were when they were not Windows.
    """

    folder: str
    report: str
    started: datetime
    finished: bool
    duration_s: float
    cells: int
    skipped: int
    planned: int
    recorded: int
    verdicts: dict[Verdict, int]
    counts: dict[Outcome, int]
    label: str
    problems: tuple[str, ...]
    findings: tuple[NightlyFinding, ...]


class Nightly(_Model):
    """One night. `subject` is one line of ASCII, fit for the header of a mail; `text` the whole as Markdown.

    `exit_code` is that of `halpmc nightly`, `meaning` the same in words. `run` is null when no run came to be, and
    `error` says why; with a run it says what broke it off. `changes` is null when there is no run to compare with, or
    none that can be compared: `not_compared` then says why. `pruned` are the runs that --keep deleted.
    """

    schema_version: int = SCHEMA_VERSION
    subject: str
    name: str
    matrix: str
    exit_code: int
    meaning: str
    error: str = ""
    run: Ran | None = None
    compared_with: str = ""
    not_compared: str = ""
    changes: Comparison | None = None
    pruned: tuple[str, ...] = ()
    text: str = ""

    def told(self) -> Nightly:
        """The same with its subject and text."""
        titled = self.model_copy(update={"subject": subject(self)})
        return titled.model_copy(update={"text": document(titled)})


def nightly_of(
    folder: Path,
    matrix: Path,
    exit_code: int,
    *,
    baseline: Path | None = None,
    url: str = "",
    error: str = "",
    say: Say = lambda _: None,
) -> Nightly:
    """What the run in this folder came to, against `baseline`, or else the run of the same matrix before it.

    `url` is where the folder of runs can be read by others; `error` is what broke the run off. Raises as load_run does.
    """
    summary = summarize(folder)
    other, why, changes = baseline, "", None
    try:
        other = other or _before(folder, say)
        changes = compare_folders(other, folder, say=say) if other else None
        why = "" if other else "it is the first finished run of this matrix here"
    except HalpmcError as trouble:
        why = trouble.message
        say(f"not compared: {why}")
    return Nightly(
        subject="",
        name=summary.name,
        matrix=str(matrix),
        exit_code=exit_code,
        meaning=_meaning(exit_code, summary, error),
        error=error,
        run=_ran(folder, summary, url),
        compared_with=other.name if other and changes else "",
        not_compared=why,
        changes=changes,
    ).told()


def did_not_run(matrix: Path, error: HalpmcError) -> Nightly:
    """A night in which no run came to be: silence would look like a good night."""
    return Nightly(
        subject="",
        name=matrix.stem,
        matrix=str(matrix),
        exit_code=error.exit_code,
        meaning="nothing ran",
        error=str(error),
    ).told()


def nothing_ran(matrix: Path) -> Nightly:
    """A night in which no cell was chosen."""
    return Nightly(
        subject="",
        name=matrix.stem,
        matrix=str(matrix),
        exit_code=0,
        meaning="no cell was chosen",
    ).told()


def write_nightly(folder: Path, nightly: Nightly) -> None:
    """Write nightly.json and nightly.md into the run's folder, each whole or not. Raises InfrastructureError."""
    write_atomically(folder / JSON_NAME, nightly.model_dump_json(indent=2) + "\n")
    write_atomically(folder / MARKDOWN_NAME, nightly.text)


def _meaning(exit_code: int, summary: Summary, error: str) -> str:
    if exit_code == EXIT_INTERRUPTED:
        return "interrupted"
    return "the run broke off" if error else summary.exit_meaning


def _before(folder: Path, say: Say) -> Path | None:
    runs = folder.resolve().parent
    with open_store(runs / HISTORY, say=say) as store:
        store.sync(runs, say)
        name = previous_run(store, folder.resolve().name)
    return runs / name if name else None


def _ran(folder: Path, summary: Summary, url: str) -> Ran:
    place = f"{url.rstrip('/')}/{folder.name}/{REPORT}" if url else str(folder.resolve() / REPORT)
    return Ran(
        folder=folder.name,
        report=place,
        started=summary.started,
        finished=summary.finished,
        duration_s=summary.duration_s,
        cells=len(summary.cells),
        skipped=len(summary.skipped),
        planned=summary.planned,
        recorded=summary.recorded,
        verdicts=dict(Counter(cell.verdict for cell in summary.cells).most_common()),
        counts=summary.counts,
        label=words.WINE_LABEL if any(words.is_wine(cell) for cell in summary.cells) else "",
        problems=summary.problems,
        findings=tuple(
            NightlyFinding(kind=one.kind, reason=one.reason, clauses=one.clauses, cells=one.cells)
            for one in findings(summary)
        ),
    )
