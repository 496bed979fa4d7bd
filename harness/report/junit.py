"""junit.xml (xunit2) for CI services: a suite per cell, a case per clause, and one for the cell's verdict.

A cell with a defect that is to be noticed has one case: that it is.

A violation is a failure; one that a known issue excuses is skipped, with the issue's id. Trouble of
infrastructure or guest is an error, and so is what was planned and not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from harness.contract.clauses import CLAUSES
from harness.contract.outcomes import Outcome, Verdict
from harness.report.kills import Kill
from harness.report.loading import CellView, RunView
from harness.report.summary import CellSummary, Summary, violates
from harness.report.text import count, one_line, visible, write_atomically

FILE_NAME = "junit.xml"
VERDICT_CASE = "cell verdict"

_TAGS = {Outcome.FAIL: "failure", Outcome.ERROR: "error", Outcome.SKIPPED: "skipped"}


def junit_xml(view: RunView, summary: Summary) -> str:
    """The whole document. Text is escaped; what XML cannot carry is written as an escape such as \\x1b."""
    root = ET.Element("testsuites", name=visible(summary.name))
    for cell in summary.cells:
        root.append(_suite(view.cells[cell.id], cell, summary))
    if summary.problems:
        root.append(_records_suite(summary))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", f"{summary.duration_s:.3f}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def write_junit(folder: Path, view: RunView, summary: Summary) -> None:
    """Write junit.xml into the run's folder, whole or not at all."""
    write_atomically(folder / FILE_NAME, junit_xml(view, summary))


def _suite(view: CellView, cell: CellSummary, summary: Summary) -> ET.Element:
    for kill in summary.defects:
        if kill.cell == cell.id:
            return _counted(
                cell.id, [_kill_case(kill, cell)], time=cell.duration_s, started=_began(view, summary)
            )
    cases = [_verdict_case(view, cell)]
    cases += [_clause_case(view, cell, clause) for clause in cell.clauses]
    for clause in cell.missing:
        case = _case(cell.id, clause, 0.0, _clause_properties(clause))
        _result(case, "error", "planned, and not recorded")
        cases.append(case)
    suite = _counted(cell.id, cases, time=cell.duration_s, started=_began(view, summary))
    suite.insert(
        0,
        _properties(
            {
                "run": summary.name,
                "verdict": str(cell.verdict),
                "reason": cell.reason,
                "realised": {True: "yes", False: "no", None: "unknown"}[cell.realised],
                "not_realised": "; ".join(cell.not_realised),
                "probe": str(cell.probe or "none"),
                **{f"provenance.{key}": value for key, value in cell.provenance.items()},
            }
        ),
    )
    return suite


def _began(view: CellView, summary: Summary) -> str:
    return (view.first_time or summary.started).isoformat()


def _kill_case(kill: Kill, cell: CellSummary) -> ET.Element:
    """A cell with a defect: what fails in it is what was wanted."""
    properties = {"promised": ", ".join(kill.promised), "killed_by": ", ".join(kill.killed_by)}
    case = _case(cell.id, f"the defect {kill.defect} is noticed", cell.duration_s, properties)
    if kill.survived:
        _result(case, "failure" if kill.judged else "error", f"{kill.verdict}: {', '.join(kill.promised)}")
    return case


def _verdict_case(view: CellView, cell: CellSummary) -> ET.Element:
    """The cell as a whole: trouble outside any clause is counted, and a cell without clauses is seen."""
    case = _case(cell.id, VERDICT_CASE, cell.duration_s, {"verdict": str(cell.verdict)})
    if cell.verdict is Verdict.BROKEN and not violates(cell):
        _result(
            case, "skipped", f"known issues: {', '.join(dict.fromkeys(cell.known.values()))}: {cell.reason}"
        )
    elif cell.verdict is Verdict.BROKEN:
        _result(case, "failure", f"broken: {cell.reason}")
    elif cell.incidents or cell.verdict is Verdict.UNKNOWN or view.end is None:
        messages = "; ".join(dict.fromkeys(f"{i.branch}: {i.message}" for i in cell.incidents))
        details = "\n\n".join(
            f"{title}:\n{text}" for i in cell.incidents for title, text in i.evidence.items()
        )
        _result(case, "error", messages or f"{cell.verdict}: {cell.reason}", details)
    return case


def _clause_case(view: CellView, cell: CellSummary, clause: str) -> ET.Element:
    records = view.clauses[clause]
    outcome = cell.clauses[clause]
    properties = _clause_properties(clause) | {
        "outcome": str(outcome),
        "tests": ", ".join(r.test for r in records),
    }
    case = _case(cell.id, clause, sum(record.duration_s for record in records), properties)
    reason = cell.clause_reasons.get(clause, "")
    if clause in cell.known:
        _result(case, "skipped", f"known issue {cell.known[clause]}: {reason}")
    elif outcome in _TAGS:
        _result(case, _TAGS[outcome], reason or f"no reason was recorded for {outcome}")
    elif reason:
        ET.SubElement(case, "system-out").text = visible(reason)
    return case


def _clause_properties(clause: str) -> dict[str, str]:
    known = CLAUSES.get(clause)
    return (
        {"title": known.title, "judgement": known.judgement} if known else {"title": "not in the catalogue"}
    )


def _records_suite(summary: Summary) -> ET.Element:
    """What is wrong with the records as a whole: shortages, damage, cells that never ended."""
    case = _case(summary.name, "records", 0.0, {})
    _result(
        case,
        "error",
        f"{count(len(summary.problems), 'problem')}: {summary.problems[0]}",
        "\n".join(summary.problems),
    )
    return _counted("records", [case], time=0.0, started=summary.started.isoformat())


def _counted(name: str, cases: list[ET.Element], *, time: float, started: str) -> ET.Element:
    def number(tag: str) -> str:
        return str(sum(case.find(tag) is not None for case in cases))

    suite = ET.Element(
        "testsuite",
        name=visible(name),
        tests=str(len(cases)),
        failures=number("failure"),
        errors=number("error"),
        skipped=number("skipped"),
        time=f"{time:.3f}",
        timestamp=started,
    )
    suite.extend(cases)
    return suite


def _case(suite: str, name: str, seconds: float, properties: Mapping[str, str]) -> ET.Element:
    case = ET.Element("testcase", classname=visible(suite), name=visible(name), time=f"{seconds:.3f}")
    if properties:
        case.append(_properties(properties))
    return case


def _properties(values: Mapping[str, str]) -> ET.Element:
    element = ET.Element("properties")
    for name, value in values.items():
        ET.SubElement(element, "property", name=visible(name), value=one_line(value))
    return element


def _result(case: ET.Element, tag: str, message: str, text: str = "") -> None:
    ET.SubElement(case, tag, message=one_line(message)).text = visible(text or message)
