"""The summary of a run, purely from its records. Its JSON keys are a public interface."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.config.models import Expect
from harness.contract.outcomes import WORST_FIRST, Outcome, Verdict, worst_outcome
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_OK, EXIT_VIOLATION
from harness.probe.models import PmuVerdict, ProbeAnswer
from harness.report.axes import axes_of
from harness.report.changes import CellBaseline, cell_baseline
from harness.report.kills import Kill, Seen, kills
from harness.report.known import KnownIssueSummary, build_of, weigh
from harness.report.loading import CellView, RunView, load_run
from harness.report.nearest import Nearest, Place, nearest_good
from harness.report.reasons import joined
from harness.report.text import count, write_atomically
from harness.report.traceability import TracedClause, trace
from harness.runs.planned import ExcludedCell, SkippedCell
from harness.runs.record import ClauseRecord, IncidentRecord

SCHEMA_VERSION = 1
FILE_NAME = "summary.json"
MAX_NAMED = 8
"""Clauses that a sentence about a shortage names; `missing` has them all."""
UNENDED = "the run ended before this cell did"

EXIT_KILLED = "every defect is noticed, and the sound HAL conforms"
EXIT_MEANINGS = {
    EXIT_OK: "all conform",
    EXIT_VIOLATION: "contract violation",
    EXIT_INFRASTRUCTURE: "infrastructure, something could not be judged",
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(_Model):
    """One phase of a cell and how long it took; phases are in the order in which they ended."""

    name: str
    seconds: float


class Incident(_Model):
    """Something that went wrong outside a clause. `branch` is infrastructure or guest."""

    branch: str
    message: str
    evidence: dict[str, str]


class CellSummary(_Model):
    """One cell: verdict first.

    `realised` is null when the cell did not get far enough to know. `probe` is the verdict of the PMU probe
    or null, and `probe_answer` all that it said. `clauses` maps each recorded clause to the outcome that
    counts: of several tests the first of fail, error, pass, recorded, skipped. `clause_reasons` has the
    reasons of all tests that gave one. `missing` names the clauses that were planned and not recorded.
    `incidents` count in the exit code; `retries` are the ones that another try followed. `nearest` is, for a cell
    that is broken, phantom or dead, the good cell that differs in the fewest axes; null when there is none. `known`
    maps each failed clause that a known issue excuses to the id of the issue. `baseline` is null when the observations
    were not compared with one.
    """

    id: str
    verdict: Verdict
    reason: str
    realised: bool | None
    not_realised: tuple[str, ...]
    probe: PmuVerdict | None
    probe_answer: ProbeAnswer | None
    clauses: dict[str, Outcome]
    clause_reasons: dict[str, str]
    missing: tuple[str, ...]
    known: dict[str, str] = {}
    duration_s: float
    phases: tuple[Phase, ...]
    incidents: tuple[Incident, ...]
    retries: tuple[Incident, ...]
    provenance: dict[str, str]
    config: dict[str, Any]
    baseline: CellBaseline | None
    nearest: Nearest | None = None
    tags: tuple[str, ...] = ()


class Summary(_Model):
    """A run. `planned` counts its pairs of cell and clause, `recorded` those with at least one record.

    A shortage is red: `exit_code` is 3 then (or 1, which outweighs it), and `problems` names it in words.
    `partial` when only some tests of the suite were asked for: the plan then holds their clauses alone.
    `expect` says what is green: with `killed` the violations of `defects` that did not survive are what is wanted.
    `finished` is false for a run that was killed or still goes on. `counts` has the pairs by outcome. `skipped` are
    cells that could not run on this host; `selection` says how the cells were chosen when they are not all.
    """

    schema_version: int
    name: str
    started: datetime
    duration_s: float
    finished: bool
    partial: bool
    planned: int
    recorded: int
    exit_code: int
    counts: dict[Outcome, int]
    problems: tuple[str, ...]
    cells: tuple[CellSummary, ...]
    matrix: str
    matrix_sha256: str
    host: dict[str, str]
    versions: dict[str, str]
    excluded: tuple[ExcludedCell, ...]
    traceability: tuple[TracedClause, ...]
    skipped: tuple[SkippedCell, ...] = ()
    selection: str = ""
    known_issues: tuple[KnownIssueSummary, ...] = ()
    expect: Expect = Expect.CONFORM
    defects: tuple[Kill, ...] = ()

    @property
    def exit_meaning(self) -> str:
        """The exit code in words."""
        if self.defects and self.exit_code != EXIT_INFRASTRUCTURE:
            survivors = [kill.defect for kill in self.defects if kill.survived and kill.judged]
            survived = f"not noticed: {', '.join(dict.fromkeys(survivors))}"
            return EXIT_KILLED if self.exit_code == EXIT_OK else survived if survivors else EXIT_MEANINGS[1]
        excused = sum(len(cell.known) for cell in self.cells)
        if self.exit_code == EXIT_OK and excused:
            return f"passed with known issues: {count(excused, 'known failure')}"
        if self.exit_code == EXIT_VIOLATION and not any(violates(cell) for cell in self.cells):
            return "a known issue is none any more"
        return EXIT_MEANINGS[self.exit_code]


def summarize(folder: Path) -> Summary:
    """The summary of the run in this folder, even when it was killed or goes on. Raises as load_run does."""
    return summarize_run(load_run(folder))


def summarize_run(view: RunView) -> Summary:
    """The summary of a run that has been read."""
    cells = _with_nearest(tuple(_summarize_cell(cell) for cell in view.cells.values()))
    known = weigh(
        view.run.known_issues,
        {cell.id: cell.clauses for cell in cells},
        {cell.id: build_of(cell.provenance) for cell in cells},
        view.run.time.date(),
    )
    cells = tuple(cell.model_copy(update={"known": known.excused.get(cell.id, {})}) for cell in cells)
    planned = sum(len(cell.plan.clauses) for cell in view.cells.values())
    outcomes = [outcome for cell in cells for outcome in cell.clauses.values()]
    problems = [*view.damage, *(f"{cell.id}: {shortage(cell)}" for cell in cells if shortage(cell))]
    if not cells:
        problems.append(f"no cell ran: {count(len(view.run.skipped), 'cell')} skipped")
    defects = kills(_seen(cell, view) for cell in cells) if view.run.expect is Expect.KILLED else ()
    killed = {kill.cell for kill in defects if not kill.survived}
    exit_code = _exit_code(tuple(cell for cell in cells if cell.id not in killed), problems)
    survivors = [kill for kill in defects if kill.survived]
    if any(kill.judged for kill in survivors):
        exit_code = EXIT_VIOLATION
    elif exit_code == EXIT_OK and survivors:
        exit_code = EXIT_INFRASTRUCTURE
    stale = [f"known issue {issue.id} {issue.problem}" for issue in known.issues if issue.problem]
    if stale:
        problems += stale
        exit_code = EXIT_VIOLATION
    if exit_code == EXIT_OK and view.end and view.end.exit_code != EXIT_OK:
        problems.append(f"the run ended with exit code {view.end.exit_code}, and no record says why")
        exit_code = EXIT_INFRASTRUCTURE
    return Summary(
        schema_version=SCHEMA_VERSION,
        name=view.run.name,
        started=view.run.time,
        duration_s=round((view.last_time - view.run.time).total_seconds(), 3),
        finished=view.end is not None,
        partial=view.run.partial,
        planned=planned,
        recorded=planned - sum(len(cell.missing) for cell in cells),
        exit_code=exit_code,
        counts={outcome: outcomes.count(outcome) for outcome in WORST_FIRST},
        problems=tuple(problems),
        cells=cells,
        matrix=view.run.matrix,
        matrix_sha256=view.run.matrix_sha256,
        host=view.run.host,
        versions=view.run.versions,
        excluded=view.run.excluded,
        skipped=view.run.skipped,
        selection=view.run.selection,
        known_issues=known.issues,
        traceability=trace(view.cells.values()),
        expect=view.run.expect,
        defects=defects,
    )


def _seen(cell: CellSummary, view: RunView) -> Seen:
    return Seen(
        cell=cell.id,
        config=cell.config,
        promised=view.cells[cell.id].plan.promised,
        outcomes=cell.clauses,
        reasons=cell.clause_reasons,
    )


def shortage(cell: CellSummary) -> str:
    """What the records of a cell are short of, in words; empty when nothing is."""
    words = [UNENDED] if cell.realised is None else []
    planned = count(len(cell.clauses) + len(cell.missing), "clause")
    if cell.missing and cell.clauses:
        named = ", ".join(cell.missing[:MAX_NAMED])
        more = f" and {len(cell.missing) - MAX_NAMED} more" if len(cell.missing) > MAX_NAMED else ""
        words.append(f"{len(cell.missing)} of {planned} not recorded: {named}{more}")
    elif cell.missing:
        words.append(f"none of {planned} recorded")
    return "; ".join(words)


def write_summary(folder: Path, summary: Summary) -> None:
    """Write summary.json into the run's folder, whole or not at all."""
    write_atomically(folder / FILE_NAME, summary.model_dump_json(indent=2) + "\n")


def _summarize_cell(cell: CellView) -> CellSummary:
    planned = [clause for clause in cell.plan.clauses if clause in cell.clauses]
    order = [*planned, *(clause for clause in cell.clauses if clause not in cell.plan.clauses)]
    reasons = {clause: _reason(cell.clauses[clause]) for clause in order}
    answer = cell.probe.answer if cell.probe else None
    end = cell.end
    return CellSummary(
        id=cell.id,
        verdict=end.verdict if end else Verdict.UNKNOWN,
        reason=end.reason if end else _unended(cell),
        realised=end.realised if end else None,
        not_realised=end.not_realised if end else (),
        probe=answer.verdict if answer else None,
        probe_answer=answer,
        clauses={
            clause: worst_outcome(record.outcome for record in cell.clauses[clause]) for clause in order
        },
        clause_reasons={clause: reason for clause, reason in reasons.items() if reason},
        missing=cell.missing,
        duration_s=end.duration_s if end else _seen_for(cell),
        phases=tuple(Phase(name=phase.name, seconds=phase.seconds) for phase in cell.phases),
        incidents=_told(cell.incidents),
        retries=_told(cell.retries),
        provenance=cell.provenance,
        config=cell.plan.config,
        baseline=cell_baseline(cell),
        tags=cell.plan.tags,
    )


def _with_nearest(cells: tuple[CellSummary, ...]) -> tuple[CellSummary, ...]:
    """The same cells, each that needs one with its nearest good cell."""
    near = nearest_good(
        Place(
            cell.id,
            axes_of(cell.config),
            cell.verdict,
            frozenset(clause for clause, outcome in cell.clauses.items() if outcome is Outcome.FAIL),
            frozenset(clause for clause, outcome in cell.clauses.items() if outcome is Outcome.PASS),
        )
        for cell in cells
    )
    return tuple(
        cell.model_copy(update={"nearest": near[cell.id]}) if cell.id in near else cell for cell in cells
    )


def _told(incidents: list[IncidentRecord]) -> tuple[Incident, ...]:
    return tuple(Incident(branch=i.branch, message=i.message, evidence=i.evidence) for i in incidents)


def _reason(records: list[ClauseRecord]) -> str:
    """The reasons of all tests of a clause, the worst first: nothing that was skipped hides behind a pass."""
    ranked = sorted(records, key=lambda record: WORST_FIRST.index(record.outcome))
    reasons = list(dict.fromkeys(record.reason for record in ranked if record.reason))
    return joined(records[0].clause, reasons) if records else ""


def _unended(cell: CellView) -> str:
    return f"{UNENDED}: {cell.incidents[-1].message}" if cell.incidents else UNENDED


def _seen_for(cell: CellView) -> float:
    """How long a cell without an end was seen, in seconds."""
    if cell.first_time is None or cell.last_time is None:
        return 0.0
    return round((cell.last_time - cell.first_time).total_seconds(), 3)


def is_red(cell: CellSummary) -> bool:
    """Whether a cell keeps a run from being green: a violation that no known issue excuses, or something not judged."""
    return violates(cell) or _not_judged(cell) or bool(shortage(cell))


def violates(cell: CellSummary) -> bool:
    """Whether a clause does not hold in this cell, and no known issue says so; or it is not as its strict baseline."""
    failed = [clause for clause, outcome in cell.clauses.items() if outcome is Outcome.FAIL]
    if cell.baseline and cell.baseline.violated:
        return True
    return any(clause not in cell.known for clause in failed) or (
        cell.verdict is Verdict.BROKEN and not failed
    )


def _not_judged(cell: CellSummary) -> bool:
    return Outcome.ERROR in cell.clauses.values() or cell.verdict is Verdict.UNKNOWN or bool(cell.incidents)


def _exit_code(cells: tuple[CellSummary, ...], problems: list[str]) -> int:
    """A violation outweighs everything; then comes whatever could not be judged."""
    if any(violates(cell) for cell in cells):
        return EXIT_VIOLATION
    return EXIT_INFRASTRUCTURE if problems or any(_not_judged(cell) for cell in cells) else EXIT_OK
