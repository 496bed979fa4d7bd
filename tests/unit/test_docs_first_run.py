"""docs/first-run.md and docs/report.md: the words that they explain are those that are printed, all of them."""

from __future__ import annotations

import re

import pytest

from harness.contract.outcomes import Verdict
from harness.paths import project_root
from harness.report import terminal, words

FIRST_RUN = (project_root() / "docs" / "first-run.md").read_text()
REPORT = (project_root() / "docs" / "report.md").read_text()


def explained(page: str, heading: str) -> list[str]:
    """What stands between backticks in the first column of the table with this heading."""
    table = page[page.index(f"| {heading} |") :].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [word for line in table for word in re.findall(r"`([^`]+)`", line.split("|")[1])]


def test_every_line_that_a_summary_begins_with_is_explained() -> None:
    assert sorted(explained(FIRST_RUN, "begins with")) == sorted(
        {*terminal._KINDS.values(), "ERROR", "NEAR", "SKIP"}
    )


def test_every_column_is_explained() -> None:
    named = explained(FIRST_RUN, "line")
    assert set(terminal._COLUMNS.values()) <= set(named)
    assert {"verdict", "machine", "PMU probe"} <= set(named)


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_is_explained(verdict: Verdict) -> None:
    assert words.VERDICTS[verdict].text in explained(REPORT, "verdict")
    assert f"`{verdict}`" in FIRST_RUN or verdict is Verdict.UNKNOWN


def test_every_sign_is_explained() -> None:
    for shown in (*words.OUTCOMES.values(), words.MISSING):
        assert (
            f"{shown.symbol} {shown.text.split()[-1]}" in REPORT or f"{shown.symbol} {shown.text}" in REPORT
        )
