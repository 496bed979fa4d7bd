"""The pytest face with cells that run: hooks and examples of docs/pytest.md, VMs kept for a person, xdist, JUnit.

Needs `halpmc guest build embedded`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pexpect

from harness.paths import contract_suite, project_root
from harness.report.summary import Summary, summarize
from tests.system.terminal import ANSWER_S, at_terminal, end, found, no_process_left

WriteMatrix = Callable[[str], Path]

EMBEDDED = "  - {id: embedded, guest: embedded, cpu: Nehalem, pmu: off, accel: tcg}\n"
PROBES = "".join(
    f"  - {{id: probe-{number}, guest: none, arch: x86_64, cpu: max, pmu: {pmu}, accel: tcg}}\n"
    for number, pmu in ((1, "on"), (2, "off"), (3, "on"))
)
EXAMPLES = re.findall(r"```python\n(.*?)```", (project_root() / "docs" / "pytest.md").read_text(), re.DOTALL)
RUN_S = 400
PLAIN = ["-p", "no:cacheprovider", "-c", "/dev/null", "--color=no"]

#: The second test proves that the session went on, and that the first one's guest was its own.
FAILING = """
import pytest
from harness.contract.judgement import failed, passed

@pytest.mark.clause("ALLOC-1")
def test_that_fails(guest, settle):
    settle(failed("ALLOC-1", "as it was meant to"))

@pytest.mark.clause("FREE-1")
def test_that_holds(guest, settle):
    assert guest.facts.cpus
    settle(passed("it holds"))
"""


def command(tests: Path | str, matrix: Path, home: Path, *options: str) -> list[str]:
    runs = f"--halpmc-runs-dir={home / 'runs'}"
    place = [f"--rootdir={home}", f"--halpmc-matrix={matrix}", runs]
    return [sys.executable, "-m", "pytest", str(tests), *PLAIN, *place, *options]


def run(tests: Path | str, matrix: Path, home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(tests, matrix, home, *options),
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(project_root())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


def the_run(home: Path) -> tuple[Path, Summary]:
    (folder,) = (home / "runs").glob("*/")
    return folder, summarize(folder)


def terminal(
    tests: Path, matrix: Path, home: Path, *options: str
) -> AbstractContextManager[pexpect.spawn[str]]:
    path = {"PYTHONPATH": str(project_root())}
    return at_terminal(command(tests, matrix, home, *options), path, timeout_s=RUN_S, cwd=home)


def logs_in(child: pexpect.spawn[str]) -> None:
    """The guest answers by the line that was printed, with the host's own ssh."""
    guest = found(child, r"ssh (-F \S+ guest)").split()
    done = subprocess.run(
        ["ssh", *guest, "echo still here"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ANSWER_S,
        check=False,
    )
    assert done.stdout.strip() == "still here", done.stderr
    child.expect(r"halpmc attach \S+monitor\.sock")


def ends(child: pexpect.spawn[str], status: int, home: Path) -> None:
    assert end(child) == status, child.before
    no_process_left(home)
    assert not list(home.glob("runs/**/*.sock"))


def test_the_examples_of_the_documentation(tmp_path: Path, write_matrix: WriteMatrix) -> None:
    """Tests without a clause, every hook, and the properties of a JUnit file; in a repository of somebody's own."""
    tests, hooks = EXAMPLES
    (tmp_path / "test_mine.py").write_text(tests)
    (tmp_path / "conftest.py").write_text(hooks)
    matrix = write_matrix(f"include:\n{EMBEDDED}")
    done = run("test_mine.py", matrix, tmp_path, "-s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
    assert re.search(r"test_the_routines_are_there: build \d+", done.stdout)
    folder, summary = the_run(tmp_path)
    assert summary.planned == 0
    assert (folder / "cells" / "embedded" / "mine.txt").read_text().startswith("embedded started\nunknown: ")
    assert json.loads((folder / "mine.json").read_text()) == {"exit_code": summary.exit_code}


def test_hooks_and_junit_of_the_suite(tmp_path: Path, write_matrix: WriteMatrix) -> None:
    (tmp_path / "conftest.py").write_text(EXAMPLES[1])
    (tmp_path / "test_two.py").write_text(FAILING)
    junit = tmp_path / "junit.xml"
    done = run("test_two.py", write_matrix(f"include:\n{EMBEDDED}"), tmp_path, "-s", f"--junitxml={junit}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "embedded ALLOC-1 fail\n" in done.stdout
    assert "embedded FREE-1 pass\n" in done.stdout
    folder, summary = the_run(tmp_path)
    assert (summary.exit_code, summary.recorded, summary.planned) == (1, 2, 2)
    assert "broken: " in (folder / "cells" / "embedded" / "mine.txt").read_text()
    assert json.loads((folder / "mine.json").read_text()) == {"exit_code": 1}
    found = {}
    for case in ET.parse(junit).getroot().iter("testcase"):
        properties = {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
        found[properties["halpmc_clause"]] = (
            properties["halpmc_cell"],
            properties["halpmc_outcome"],
            case.find("failure") is not None,
        )
    assert found == {"ALLOC-1": ("embedded", "fail", True), "FREE-1": ("embedded", "pass", False)}


def test_pausing_at_a_failure(tmp_path: Path, write_matrix: WriteMatrix) -> None:
    """Under pytest's capture."""
    tests = tmp_path / "test_two.py"
    tests.write_text(FAILING)
    matrix = write_matrix(f"include:\n{EMBEDDED}")
    with terminal(tests, matrix, tmp_path, "--halpmc-pause-on-failure") as child:
        child.expect_exact("test_that_fails[embedded] failed in its call: ")
        logs_in(child)
        child.expect_exact("Enter goes on")
        child.send("\r")
        child.expect("1 failed, 1 passed")
        ends(child, 1, tmp_path)
    assert the_run(tmp_path)[1].recorded == 2


def test_keeping_the_vm_of_the_first_failure(tmp_path: Path, write_matrix: WriteMatrix) -> None:
    tests = tmp_path / "test_two.py"
    tests.write_text(FAILING)
    matrix = write_matrix(f"include:\n{EMBEDDED.replace('}', ', gdb: on}')}")
    with terminal(tests, matrix, tmp_path, "--halpmc-keep=failed", "-q") as child:
        child.expect("1 failed, 1 passed")
        child.expect_exact("kept: the VM of ")
        child.expect_exact("test_that_fails[embedded]")
        logs_in(child)
        child.expect(r"gdb -ex 'target remote \S+gdb\.sock'")
        child.expect_exact("Enter or Ctrl-C ends it")
        assert the_run(tmp_path)[1].finished, "all is reported before it waits"
        child.sendintr()
        ends(child, 1, tmp_path)


def test_workers_of_xdist_take_whole_cells_of_one_run(tmp_path: Path, write_matrix: WriteMatrix) -> None:
    matrix = write_matrix(f"include:\n{PROBES}")
    done = run(contract_suite(), matrix, tmp_path, "-n", "2", "--dist=load", "-v")
    folder, summary = the_run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert summary.exit_code == 0 and summary.finished
    assert [cell.id for cell in summary.cells] == ["probe-1", "probe-2", "probe-3"]
    assert summary.planned == summary.recorded > 0
    workers: dict[str, set[str]] = {}
    for worker, cell in re.findall(r"^\[(gw\d)\] .*\[(probe-\d)", done.stdout, re.MULTILINE):
        workers.setdefault(cell, set()).add(worker)
    assert len(workers) == 3 and all(len(seen) == 1 for seen in workers.values()), workers
    assert len(set().union(*workers.values())) == 2
    assert (folder / "report.html").is_file()
