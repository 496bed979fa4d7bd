"""The command line's part: what is refused in one line, what is not imported, and what a lab is told to be."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.cluster.announcement import version
from harness.paths import project_root
from tests.unit.cluster_lab import lab_in

DEMO = str(project_root() / "ci" / "matrices" / "demo.yaml")
WITHOUT_DASK = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "distributed" else real(name, *rest)
from harness.cli import main
sys.argv = ["halpmc", *sys.argv[1:]]
main()
"""


def python(*argv: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize(
    "command",
    [
        ["run", DEMO, "--executor", "dask"],
        ["worker", "tcp://127.0.0.1:1"],
        ["worker", "tcp://127.0.0.1:1", "--list"],
    ],
)
def test_without_dask_the_remedy_is_named(command: list[str], tmp_path: Path) -> None:
    line = one_line(python("-c", WITHOUT_DASK, *command, environment={"HALPMC_CACHE": str(tmp_path)}), 2)
    assert "pip install 'halpmc[cluster]'" in line
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_is_for_the_executor_dask() -> None:
    line = one_line(python("-m", "harness.cli", "run", DEMO, "--scheduler", "tcp://127.0.0.1:1"), 2)
    assert "add: --executor dask" in line


def test_workers_are_counted_in_a_lab_with_a_scheduler() -> None:
    line = one_line(python("-m", "harness.cli", "run", DEMO, "--executor", "dask", "--workers", "2"), 2)
    assert "--workers is for a lab with a scheduler" in line


def test_json_is_for_the_list() -> None:
    assert "add: --list" in one_line(python("-m", "harness.cli", "worker", "tcp://127.0.0.1:1", "--json"), 2)


def test_nothing_of_dask_is_imported_without_need() -> None:
    program = (
        "import sys\n"
        "from harness.cli import app\n"
        "import harness.plugin, harness.runs.execute, harness.runs.local\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['run', '--help']).exit_code == 0\n"
        "assert CliRunner().invoke(app, ['worker', '--help']).exit_code == 0\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('dask', 'distributed')])\n"
    )
    done = python("-c", program)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_an_address_where_nobody_is(tmp_path: Path) -> None:
    factor = {"HALPMC_TIMEOUT_FACTOR": "0.1", "HALPMC_CACHE": str(tmp_path)}
    done = python("-m", "harness.cli", "worker", "tcp://127.0.0.1:1", "--list", environment=factor)
    assert done.returncode == 3
    assert done.stderr.startswith("halpmc: no scheduler answers at tcp://127.0.0.1:1 — is `dask scheduler`")
    wrong = python("-m", "harness.cli", "worker", "nonsense://x", "--list", environment=factor)
    assert wrong.returncode == 2, wrong.stderr
    assert "is no address" in wrong.stderr


def test_the_workers_of_a_lab_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path / "cache-run"))
    with lab_in(tmp_path) as lab:
        lab.worker("one", ready=False, slots=3)
        lab.worker("old", ready=False)
        lab.wait_ready("one", "old")
        listed = json.loads(python("-m", "harness.cli", "worker", lab.address, "--list", "--json").stdout)
        shown = python("-m", "harness.cli", "worker", lab.address, "--list", environment={"COLUMNS": "250"})
    (found,) = listed["workers"]
    assert (found["host"], found["slots"], found["version"]) == ("one", 3, version())
    assert found["capabilities"]["cpus"] >= 1
    assert set(found) >= {"pmu", "guests", "facts", "address", "name"}
    (unusable,) = listed["unusable"]
    assert "the worker on old has halpmc 0.0.9" in unusable
    assert re.search(r"^one\s+one\s+x86_64|^one\s+one\s+aarch64", shown.stdout, re.MULTILINE), shown.stdout
    assert "not usable:" in shown.stdout


def test_the_full_version_has_a_hash_of_what_decides() -> None:
    done = python("-m", "harness.cli", "version", "--full")
    assert re.fullmatch(r"\d+\.\d+\.\d+\+[0-9a-f]{16}\n", done.stdout), done.stderr


# -- what ci/lab ships ---------------------------------------------------------------------------------------------


def test_the_container_copies_what_is_there_and_installs_the_extra() -> None:
    text = (project_root() / "ci" / "lab" / "Containerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for name in line.split()[:-1]]
    assert [name for name in copied if not (project_root() / name).exists()] == []
    assert {"harness", "guest_driver", "images", "tests", "ci", "pyproject.toml"} <= set(copied)
    assert ".[cluster]" in text
    assert 'exec .venv/bin/halpmc worker "$SCHEDULER"' in text.replace("\\", "").replace('""', '"')


@pytest.mark.parametrize("name", ["halpmc-worker", "halpmc-scheduler"])
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    """Their programs are where a checkout in /opt would have them: for the check, they are the test's own."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (project_root() / "ci" / "lab" / f"{name}.service").read_text()
    (tmp_path / "program").write_text("#!/bin/sh\n")
    (tmp_path / "program").chmod(0o755)
    unit = tmp_path / f"{name}.service"
    unit.write_text(re.sub(r"/opt/halpmc/\.venv/bin/(halpmc|dask)", str(tmp_path / "program"), text))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
