"""Reasons: a clause's sentence is told once, like failures are one finding, and other statuses are other failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.contract.judgement import failed
from harness.contract.outcomes import Outcome, Verdict
from harness.report.findings import findings
from harness.report.reasons import alike, joined, seen
from harness.report.summary import summarize
from tests.report.synthetic import RunBuilder, guest_cell


def told(reason: str, *facts: str) -> str:
    """A violation of SHARE-3 as a cell's process records it."""
    judgement = failed("SHARE-3", reason, *facts)
    return f"{judgement.reason} [{'; '.join(judgement.because)}]"


def test_the_sentence_of_several_tests_is_told_once_and_last() -> None:
    rest = told("").strip()
    assert joined("SHARE-3", [told("a"), told("b"), "held"]) == f"a; b {rest}; held"
    assert joined("SHARE-3", [told("a", "a fact"), told("b")]) == f"{told('a', 'a fact')}; {told('b')}"
    assert joined("NONE-9", ["a [b]", "a [b]", "c"]) == "a [b]; c"
    assert joined("SHARE-3", []) == ""


def test_what_was_seen_is_without_the_sentence() -> None:
    assert seen("SHARE-3", f"{told('a')}; {told('b', 'a fact')}") == "a; b [a fact]"
    assert seen("ALLOC-2", told("a")) == told("a"), "of another clause it stays"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (
            "thread 1 in round 0 (stamp 3) while thread 2",
            "thread 0 in round 7 (stamp 1) while thread 3",
            True,
        ),
        ("granted (handle 0x248)", "granted (handle 0x1f0)", True),
        (
            "again: halpmc replay /a/runs/1/cells/x --sequence 'a'",
            "again: halpmc replay r/cells/y --sequence 'a'",
            True,
        ),
        ("seen STATUS_SUCCESS (0x00000000)", "seen STATUS_UNSUCCESSFUL (0xC0000001)", False),
        ("on CPU 0", "on CPU 1", False),
        ("counter 2", "counter 3", False),
    ],
)
def test_chance_makes_no_other_failure(one: str, other: str, same: bool) -> None:
    assert (alike(one) == alike(other)) == same


def test_a_race_lost_in_two_cells_is_one_finding(tmp_path: Path) -> None:
    cells = ("one", "two", "three")
    run = RunBuilder(
        tmp_path / "run", [guest_cell(c) for c in cells], clauses=dict.fromkeys(cells, ("ALLOC-6",))
    )
    for cell, reason in zip(cells, ("thread 1 held", "thread 2 held", "nobody held"), strict=True):
        run.start(cell)
        run.clause(cell, "ALLOC-6", Outcome.FAIL, reason)
        run.end(cell, Verdict.BROKEN)
    run.finish()
    found = [(one.reason, one.cells) for one in findings(summarize(tmp_path / "run"))]
    assert found == [("thread 1 held", ("one", "two")), ("nobody held", ("three",))]
