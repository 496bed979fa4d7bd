"""The contract suite's process, and the names of its tests in records."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness.config.shipped import shipped_path
from harness.paths import contract_suite
from harness.runs.suite import recorded_name, suite_command


def test_what_lies_in_the_users_folder_is_not_taken_for_ours(tmp_path: Path) -> None:
    for name in ("harness", "tests", "yaml"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise AssertionError('taken for ours')\n")
    (tmp_path / "conftest.py").write_text("raise AssertionError('taken for ours')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    command = suite_command("--collect-only", "-q", f"--halpmc-matrix={shipped_path('demo')}")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<Module test_free.py>" in done.stdout


@pytest.mark.parametrize("root", ["tests/contract/", "harness/suite/", "", "../../somewhere/"])
def test_a_test_of_the_suite_has_one_name_wherever_the_session_is_rooted(root: str) -> None:
    name = recorded_name(contract_suite() / "test_free.py", f"{root}test_free.py::test_it[a::b]")
    assert name == "tests/contract/test_free.py::test_it[a::b]"


def test_a_users_test_keeps_its_name(tmp_path: Path) -> None:
    assert (
        recorded_name(tmp_path / "test_free.py", "mine/test_free.py::test_it") == "mine/test_free.py::test_it"
    )


def test_the_suite_imports_nothing_that_a_wheel_has_not() -> None:
    """In a wheel it is harness.suite, and there is no package tests but the user's."""
    for path in contract_suite().glob("*.py"):
        assert not re.search(r"^\s*(from|import) tests\b", path.read_text(), re.MULTILINE), path
