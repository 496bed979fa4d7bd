"""docs/faults.md: every row names tests, and they all exist."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from harness.paths import project_root
from tests.system.test_faults import ROWS

ROW_ENDS = re.compile(r"(?<!\\)\|")
TEST = re.compile(r"`(tests/[^`]+\.py::[^`]+)`")


def rows() -> list[list[str]]:
    text = (project_root() / "docs" / "faults.md").read_text()
    cells = [
        [cell.strip() for cell in ROW_ENDS.split(line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [row for row in cells if row[0] != "fault" and not row[0].startswith("---")]


@pytest.fixture(scope="module")
def existing() -> set[str]:
    """The tests in the files that the document names: each with its parameters, and without."""
    files = sorted({name.partition("::")[0] for row in rows() for name in TEST.findall(row[3])})
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert listed.returncode == 0, listed.stdout + listed.stderr
    found = {line for line in listed.stdout.splitlines() if "::" in line}
    return found | {name.partition("[")[0] for name in found}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_row_names_tests_that_exist(row: list[str], existing: set[str]) -> None:
    assert len(row) == 4
    assert all(row)
    names = TEST.findall(row[3])
    assert names
    assert TEST.sub("", row[3]).strip() == "", "nothing but tests"
    assert [name for name in names if name not in existing] == []


def test_every_fault_inside_a_cell_has_a_row() -> None:
    named = {name for row in rows() for name in TEST.findall(row[3])}
    assert {f"tests/system/test_faults.py::test_the_user_sees[{test}]" for test in ROWS} <= named
