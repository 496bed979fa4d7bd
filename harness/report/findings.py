"""What needs somebody's attention, grouped so that one cause is one line, the most serious first."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from harness.contract.clauses import CLAUSES, JudgementKind
from harness.contract.crash import is_finding
from harness.contract.outcomes import Outcome, Verdict
from harness.report.reasons import alike
from harness.report.summary import CellSummary, Summary, shortage


@dataclass(frozen=True)
class Finding:
    """One cause, and the cells and clauses it was seen in.

    `kind` is fail, survived (a defect did), crash (a guest stopped where no page says what must happen), stale (a known
    issue that is none any more), infrastructure, guest, error, unknown, record, known (a failure that a known issue
    excuses), or retried: went wrong once and right the next time.
    """

    kind: str
    reason: str
    cells: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()


def findings(summary: Summary) -> list[Finding]:
    """All findings of a run, the most serious first. Empty when nothing went wrong, and nothing stopped a guest.

    What cells with a defect show is none: that a defect survives is one.
    """
    survivors = _survivors(summary)
    broken = {kill.cell for kill in summary.defects}
    summary = summary.model_copy(
        update={"cells": tuple(cell for cell in summary.cells if cell.id not in broken)}
    )
    return [
        *survivors,
        *_violations(summary),
        *_stale(summary),
        *_crashes(summary),
        *_incidents(summary),
        *_errors(summary),
        *_unknown(summary),
        *_records(summary),
        *_known(summary),
        *_retries(summary),
    ]


def _survivors(summary: Summary) -> list[Finding]:
    """Defects that no clause noticed which promises against them."""
    return [
        Finding(
            "survived",
            f"the defect {kill.defect} {'survived' if kill.judged else 'could not be judged'} "
            f"in the {kill.generation} generation: "
            f"promised by {', '.join(kill.promised)}, noticed by {', '.join(kill.killed_by) or 'none'}",
            (kill.cell,),
            kill.promised,
        )
        for kill in summary.defects
        if kill.survived
    ]


def _violations(summary: Summary) -> list[Finding]:
    """One finding for each clause and reason, with all cells that have it, and the reason as the first has it."""
    seen: dict[tuple[str, str], list[str]] = defaultdict(list)
    first: dict[tuple[str, str], str] = {}
    for cell in summary.cells:
        for clause, outcome in cell.clauses.items():
            if outcome is Outcome.FAIL and clause not in cell.known:
                reason = cell.clause_reasons.get(clause, "")
                key = clause, alike(reason)
                first.setdefault(key, reason)
                seen[key].append(cell.id)
    broken = [
        Finding("fail", cell.reason, (cell.id,))
        for cell in summary.cells
        if cell.verdict is Verdict.BROKEN and Outcome.FAIL not in cell.clauses.values()
    ]
    return [
        Finding("fail", first[clause, key], tuple(cells), (clause,)) for (clause, key), cells in seen.items()
    ] + broken


def _stale(summary: Summary) -> list[Finding]:
    """Known issues that have expired, or whose clause holds."""
    return [
        Finding("stale", f"known issue {issue.id} {issue.problem}")
        for issue in summary.known_issues
        if issue.problem
    ]


def _known(summary: Summary) -> list[Finding]:
    """One finding for each known issue and clause that it excuses, with the cells."""
    seen: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in summary.cells:
        for clause, issue in cell.known.items():
            seen[issue, clause].append(cell.id)
    about = {issue.id: f"{issue.id}: {issue.reason} (until {issue.until})" for issue in summary.known_issues}
    return [
        Finding("known", about[issue], tuple(cells), (clause,)) for (issue, clause), cells in seen.items()
    ]


def _crashes(summary: Summary) -> list[Finding]:
    """One finding for each clause of the crash part whose question stopped a guest, with all cells that have it."""
    seen: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in summary.cells:
        for clause, outcome in cell.clauses.items():
            reason = cell.clause_reasons.get(clause, "")
            if outcome is Outcome.RECORDED and _is_crash(clause) and is_finding(reason):
                seen[clause, reason].append(cell.id)
    return [Finding("crash", reason, tuple(cells), (clause,)) for (clause, reason), cells in seen.items()]


def _is_crash(clause: str) -> bool:
    return clause in CLAUSES and CLAUSES[clause].judgement is JudgementKind.CRASH


def _incidents(summary: Summary) -> list[Finding]:
    """One finding for each message, with the clauses that could not be judged because of it."""
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    clauses: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for cell in summary.cells:
        for incident in cell.incidents:
            key = (incident.branch, incident.message)
            cells[key].append(cell.id)
            clauses[key].update(
                dict.fromkeys(
                    clause
                    for clause, outcome in cell.clauses.items()
                    if outcome is Outcome.ERROR and incident.message in cell.clause_reasons.get(clause, "")
                )
            )
    return [
        Finding(branch, message, tuple(dict.fromkeys(where)), tuple(clauses[branch, message]))
        for (branch, message), where in cells.items()
    ]


def _retries(summary: Summary) -> list[Finding]:
    """What went wrong and was tried again: a result that needed two tries says so."""
    seen: dict[str, dict[str, None]] = defaultdict(dict)
    for cell in summary.cells:
        for retry in cell.retries:
            seen[retry.message][cell.id] = None
    return [Finding("retried", message, tuple(cells)) for message, cells in seen.items()]


def _errors(summary: Summary) -> list[Finding]:
    """One finding for each reason that no incident explains."""
    cells: dict[str, dict[str, None]] = defaultdict(dict)
    clauses: dict[str, dict[str, None]] = defaultdict(dict)
    for cell in summary.cells:
        for clause, outcome in cell.clauses.items():
            reason = cell.clause_reasons.get(clause, "")
            if outcome is Outcome.ERROR and not _explained(cell, reason):
                cells[reason][cell.id] = None
                clauses[reason][clause] = None
    return [Finding("error", reason, tuple(where), tuple(clauses[reason])) for reason, where in cells.items()]


def _explained(cell: CellSummary, reason: str) -> bool:
    return any(incident.message in reason for incident in cell.incidents)


def _unknown(summary: Summary) -> list[Finding]:
    """Cells without a verdict that nothing else explains."""
    return [
        Finding("unknown", cell.reason, (cell.id,))
        for cell in summary.cells
        if cell.verdict is Verdict.UNKNOWN
        and not cell.incidents
        and not shortage(cell)
        and Outcome.ERROR not in cell.clauses.values()
    ]


def _records(summary: Summary) -> list[Finding]:
    """What is wrong with the records, and one finding for all cells that are short of the same."""
    short: dict[str, list[str]] = defaultdict(list)
    for cell in summary.cells:
        if shortage(cell):
            short[shortage(cell)].append(cell.id)
    named = {f"{cell}: {words}" for words, cells in short.items() for cell in cells}
    named |= {finding.reason for finding in _stale(summary)}
    return [
        *(Finding("record", problem) for problem in summary.problems if problem not in named),
        *(Finding("record", words, tuple(cells)) for words, cells in short.items()),
    ]
