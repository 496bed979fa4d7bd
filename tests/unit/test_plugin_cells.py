"""The pytest face with cells that start no VM: one run of several workers, hooks, JUnit, tests that judge no clause."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.paths import project_root
from harness.report.summary import Summary, summarize
from harness.runs.record import CellEndRecord, RunRecord
from harness.runs.record_file import read_records

MATRIX = "schema: 1\nname: cells\ninclude:\n" + "".join(
    f"  - {{id: cell{name}, guest: none, cpu: max, pmu: off, accel: tcg, memory_mib: 64}}\n"
    for name in ("", "-1", "-2")
)

#: In each cell a test of a clause that holds, and one that does not in the last cell; their cells' folders are theirs.
SUITE = """
import pytest
from harness.contract.judgement import failed, passed

@pytest.mark.clause("PROBE-1")
def test_that_holds(cell_run, settle, observe):
    observe("seen", 1)
    settle(passed("it holds"))

@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.clause("PROBE-1")
def test_that_may_fail(cell_run, settle, number):
    bad = cell_run.cell.id == "cell-2" and number == 2
    settle(failed("PROBE-1", "as it was meant to") if bad else passed("it holds"))
"""

HOOKS = """
import json

def note(config, *words):
    with (config.rootpath / "heard.jsonl").open("a") as file:
        file.write(json.dumps(words) + "\\n")

def pytest_halpmc_cell_started(config, cell, folder):
    note(config, "started", cell.id, folder.name, folder.is_dir())

def pytest_halpmc_record(config, record):
    note(config, "record", record.type)

def pytest_halpmc_cell_ended(config, cell, end):
    note(config, "ended", cell.id, end.type, end.cell)

def pytest_halpmc_run_ended(config, folder, summary):
    note(config, "run ended", summary.exit_code, (folder / "report.html").is_file())
"""


def run(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (home / "matrix.yaml").write_text(MATRIX)
    place = ["-c", "/dev/null", f"--rootdir={home}", "-p", "no:cacheprovider", "test_suite.py"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *place, "--halpmc-matrix=matrix.yaml", *options],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(project_root())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def the_run(home: Path) -> tuple[Path, Summary]:
    (folder,) = (home / "runs").glob("*/")
    return folder, summarize(folder)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "test_suite.py").write_text(SUITE)
    return tmp_path


@pytest.mark.parametrize("options", [["-n", "2"], ["-n", "2", "--dist=worksteal"], ["-n", "3"]])
def test_workers_take_whole_cells_of_one_run(options: list[str], home: Path) -> None:
    """One of the cells' ids is the beginning of the others': each has its own cell all the same."""
    done = run(home, "-v", *options)
    folder, summary = the_run(home)
    assert done.returncode == 1, done.stdout + done.stderr
    assert [cell.id for cell in summary.cells] == ["cell", "cell-1", "cell-2"]
    assert summary.planned == summary.recorded == 3 and summary.finished
    records = list(read_records(folder))
    assert [isinstance(record, RunRecord) for record in records].count(True) == 1
    assert isinstance(records[0], RunRecord)
    ended = [record.cell for record in records if isinstance(record, CellEndRecord)]
    assert sorted(ended) == ["cell", "cell-1", "cell-2"], "each cell was run once"
    took = dict(
        re.findall(r"^\[(gw\d)\].* PASSED \S+::test_that_holds\[(\S+)\] *$", done.stdout, re.MULTILINE)
    )
    assert len(took) == int(options[1]), (
        f"each worker has a cell, and names are as without workers: {done.stdout}"
    )
    assert "1 failed, 11 passed" in done.stdout
    assert (folder / "report.html").is_file()
    assert not list(folder.glob("worker-cells*"))
    assert done.stdout.count("planned results recorded") == 1, "the controller tells of the run, and it alone"


def test_workers_without_a_test_in_a_cell_make_no_run(home: Path) -> None:
    (home / "test_suite.py").write_text("def test_it(): pass\n")
    done = run(home, "-n", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list((home / "runs").glob("*"))


def test_hooks(home: Path) -> None:
    (home / "conftest.py").write_text(HOOKS)
    done = run(home, "--halpmc-cell=cell-2")
    assert done.returncode == 1, done.stdout + done.stderr
    heard = [json.loads(line) for line in (home / "heard.jsonl").read_text().splitlines()]
    assert heard[0] == ["record", "run"]
    assert heard[1] == ["started", "cell-2", "cell-2", True]
    assert heard.count(["record", "clause"]) == 4
    assert heard.index(["record", "cell-end"]) < heard.index(["ended", "cell-2", "cell-end", "cell-2"])
    assert heard[-1] == ["run ended", the_run(home)[1].exit_code, True]


def test_a_hook_that_fails_ends_the_session(home: Path) -> None:
    (home / "conftest.py").write_text("def pytest_halpmc_cell_started(cell):\n    1 / 0\n")
    done = run(home)
    assert done.returncode == 1, done.stdout
    assert "ZeroDivisionError" in done.stdout
    assert the_run(home)[1].exit_code == 3, "what was planned was not recorded"


def test_a_hook_that_there_is_not_is_named(home: Path) -> None:
    (home / "conftest.py").write_text("def pytest_halpmc_cell_startde(cell): pass\n")
    done = run(home)
    assert done.returncode != 0
    assert "unknown hook 'pytest_halpmc_cell_startde'" in done.stdout + done.stderr


def test_junit_of_pytest_names_cell_clause_and_outcome(home: Path) -> None:
    run(home, "--halpmc-cell=cell-2", "--junitxml=junit.xml")
    found = []
    for case in ET.parse(home / "junit.xml").getroot().iter("testcase"):
        properties = {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
        failure = case.find("failure")
        found.append((case.attrib["name"], properties, failure is not None and failure.attrib["message"]))
    told = {"halpmc_cell": "cell-2", "halpmc_clause": "PROBE-1"}
    assert [(name, properties) for name, properties, _ in found] == [
        ("test_that_holds[cell-2]", told | {"halpmc_outcome": "pass"}),
        ("test_that_may_fail[cell-2-1]", told | {"halpmc_outcome": "pass"}),
        ("test_that_may_fail[cell-2-2]", told | {"halpmc_outcome": "fail"}),
        ("test_that_may_fail[cell-2-3]", told | {"halpmc_outcome": "pass"}),
    ]
    failures = [message for *_, message in found if message]
    assert len(failures) == 1 and str(failures[0]).startswith("as it was meant to")


def test_tests_that_judge_no_clause_are_pytest_s_business(home: Path) -> None:
    (home / "test_suite.py").write_text("def test_mine(cell_run):\n    assert cell_run.folder.is_dir()\n")
    done = run(home)
    assert done.returncode == 0, done.stdout + done.stderr
    (home / "test_suite.py").write_text("def test_mine(cell_run):\n    assert not cell_run.folder\n")
    assert run(home).returncode == 1
