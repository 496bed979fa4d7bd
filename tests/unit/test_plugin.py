"""The pytest face: what is collected, what is refused, and that collecting touches nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.config.load import load_matrix
from harness.contract.clauses import suite_for
from harness.paths import contract_suite, project_root
from harness.plugin_options import OPTIONS

ROOT = project_root()
DEMO = ROOT / "ci" / "matrices" / "demo.yaml"

# Fails on the first process started, socket opened, or file opened that belongs to KVM, the cache or a run.
WATCH = """
import sys
def watch(event, args):
    if event in ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec", "socket.connect", "socket.bind"):
        raise AssertionError(f"collecting did {event} {args[:1]}")
    if event == "open" and isinstance(args[0], (str, bytes)):
        name = args[0] if isinstance(args[0], str) else args[0].decode()
        if name.startswith("/dev/kvm") or "/forbidden-cache" in name or "records.jsonl" in name:
            raise AssertionError(f"collecting opened {name}")
sys.addaudithook(watch)
"""


def pytest_run(
    *args: str, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd or ROOT,
        env={**os.environ, **(environment or {})},
    )


def test_collecting_the_demo_touches_no_vm_kvm_or_image(tmp_path: Path) -> None:
    (tmp_path / "watch_plugin.py").write_text(WATCH)
    done = pytest_run(
        str(contract_suite()),
        f"--halpmc-matrix={DEMO}",
        "--collect-only",
        "-q",
        "-p",
        "watch_plugin",
        environment={
            "PYTHONPATH": str(tmp_path),
            "PATH": "/nonexistent",
            "HALPMC_CACHE": str(tmp_path / "forbidden-cache"),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    known = [cell.id for cell in load_matrix(DEMO).cells]
    ids = [line.partition("[")[2].rstrip("]") for line in done.stdout.splitlines() if "::" in line]
    cells = [next(cell for cell in known if name == cell or name.startswith(f"{cell}-")) for name in ids]
    assert list(dict.fromkeys(cells)) == sorted(known), "all cells, in the order of their ids"
    assert cells == sorted(cells), "one cell after the other"
    assert not (tmp_path / "forbidden-cache").exists()


def test_every_clause_of_the_suite_has_a_test_in_every_cell(tmp_path: Path) -> None:
    (tmp_path / "marks_plugin.py").write_text(
        "def pytest_collection_finish(session):\n"
        "    for item in session.items:\n"
        "        for mark in item.iter_markers('clause'):\n"
        "            for name in mark.args:\n"
        "                print('MARK', item.callspec.params['cell'].id, name)\n"
    )
    done = pytest_run(
        str(contract_suite()),
        f"--halpmc-matrix={DEMO}",
        "--collect-only",
        "-q",
        "-s",
        "-p",
        "marks_plugin",
        environment={"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    marks = {tuple(line.split()[1:]) for line in done.stdout.splitlines() if line.startswith("MARK")}
    expected = {(cell.id, name) for cell in load_matrix(DEMO).cells for name in suite_for(cell)}
    assert marks == expected


def test_an_unknown_clause_id_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n@pytest.mark.clause('ALOC-1')\ndef test_it(): pass\n"
    )
    done = pytest_run(str(tmp_path), f"--rootdir={tmp_path}", "-c", "/dev/null", cwd=tmp_path)
    assert done.returncode == 4
    assert "ALOC-1" in done.stderr and "ALLOC-1" in done.stderr


def test_cells_without_a_matrix_are_an_error_not_a_skip() -> None:
    done = pytest_run(str(contract_suite()))
    assert done.returncode != 0
    assert "--halpmc-matrix" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("environment", "options", "origin"),
    [
        ({"HALPMC_MATRIX": str(DEMO)}, [], "(environment)"),
        ({"HALPMC_MATRIX": "/nonexistent.yaml"}, [f"--halpmc-matrix={DEMO}"], "(command line)"),
        ({}, ["-o", f"halpmc_matrix={DEMO}"], "(ini file)"),
    ],
)
def test_settings_come_from_the_command_line_then_environment_then_ini(
    environment: dict[str, str], options: list[str], origin: str
) -> None:
    done = pytest_run(str(contract_suite()), "--collect-only", *options, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{DEMO} {origin}" in done.stdout


def test_a_wrong_matrix_is_a_usage_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("schema: 1\nname: x\naxis: {}\n")
    done = pytest_run(str(contract_suite()), f"--halpmc-matrix={path}")
    assert done.returncode == 4
    assert "m.yaml:3:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "environment", "cells"),
    [
        (["--halpmc-k", "arm64 and pmu_on"], {}, {"arm64-pmu_on-exclusive", "arm64-pmu_on-shared"}),
        (
            ["--halpmc-cells", "arch=aarch64 and pmu=on and guest!=none"],
            {},
            {"arm64-pmu_on-exclusive", "arm64-pmu_on-shared"},
        ),
        ([], {"HALPMC_CELLS": "id=arm64-pmu_on-shared"}, {"arm64-pmu_on-shared"}),
        (["--halpmc-shard", "23/23", "--halpmc-costs", str(DEMO.parent)], {}, {"aarch64-probe-pmu_on"}),
        (
            ["--halpmc-cells", "guest=none"],
            {"HALPMC_CELLS": "guest=embedded"},
            {"aarch64-probe-pmu_off", "aarch64-probe-pmu_on"},
        ),
    ],
)
def test_cells_are_chosen_by_option_and_environment(
    options: list[str], environment: dict[str, str], cells: set[str]
) -> None:
    done = pytest_run(
        str(contract_suite()),
        f"--halpmc-matrix={DEMO}",
        "--collect-only",
        "-q",
        *options,
        environment=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    known = [cell.id for cell in load_matrix(DEMO).cells]
    assert {name for name in known if re.search(rf"\[{re.escape(name)}[]-]", done.stdout)} == cells


def test_a_wrong_choice_is_a_usage_error() -> None:
    for options, words in (
        (["--halpmc-cells", "gest=on"], "column 1: there is no name 'gest'"),
        (["--halpmc-tag", "a,b"], "has the tag 'a'"),
    ):
        done = pytest_run(str(contract_suite()), f"--halpmc-matrix={DEMO}", "--collect-only", "-q", *options)
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert words in done.stderr


def test_only_the_tests_of_a_clause_are_kept() -> None:
    done = pytest_run(
        *(str(contract_suite()), f"--halpmc-matrix={DEMO}", "--collect-only", "-q"),
        *("--halpmc-cell=arm64-pmu_on-shared", "--halpmc-clause=FREE-2", "--halpmc-clause=PROBE-1"),
    )
    names = [line.split("::")[1].split("[")[0] for line in done.stdout.splitlines() if "::" in line]
    assert len(names) == 2, done.stdout
    assert "deselected" in done.stdout


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--halpmc-sequences=0", "sequences '0' is no number"),
        ("--halpmc-seed=x", "seed 'x' is no number"),
        ("--halpmc-strict-baseline=yes", "strict_baseline is 'yes'"),
    ],
)
def test_a_setting_that_is_none_is_a_usage_error_before_anything_starts(option: str, words: str) -> None:
    done = pytest_run(str(contract_suite()), f"--halpmc-matrix={DEMO}", option, "--collect-only", "-q")
    assert done.returncode == 4
    assert words in done.stderr


def test_every_option_has_its_twins_and_its_line_in_the_documentation() -> None:
    done = pytest_run("--help")
    text = " ".join(done.stdout.split())
    documented = (ROOT / "docs" / "pytest.md").read_text()
    for name in OPTIONS:
        assert f"--halpmc-{name.replace('_', '-')}" in text
        assert f"[environment: HALPMC_{name.upper()}, ini: halpmc_{name}]" in text
        assert f"`{name}`" in documented
    assert set(re.findall(r"--(halpmc-[a-z-]+)", done.stdout)) == {
        f"halpmc-{name.replace('_', '-')}" for name in OPTIONS
    }


def test_the_header_names_every_setting_that_somebody_made(tmp_path: Path) -> None:
    """And the twins of options that may be repeated choose as the options do."""
    done = pytest_run(
        *(str(contract_suite()), "--collect-only", "-q", "-v", f"--halpmc-matrix={DEMO}"),
        *("--halpmc-seed=7", "-o", "halpmc_clause=FREE-2, PROBE-1"),
        environment={"HALPMC_CELL": "arm64-pmu_on-shared,arm64-pmu_on-exclusive"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("halpmc: ") and "seed" in line]
    assert set(line.removeprefix("halpmc: ").split("), ")) == {
        "cell=arm64-pmu_on-shared,arm64-pmu_on-exclusive (environment",
        "clause=FREE-2, PROBE-1 (ini file",
        "seed=7 (command line)",
    }
    names = {
        line.strip().split("::")[-1].rstrip(">") for line in done.stdout.splitlines() if "<Function" in line
    }
    cells = {re.sub(r".*\[(.*)\]", r"\1", name) for name in names}
    assert cells == {"arm64-pmu_on-shared", "arm64-pmu_on-exclusive"}
    assert len(names) == 4


def test_a_cell_of_a_led_run_takes_its_clauses_from_its_leader_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(load_matrix(DEMO).cells[0].model_dump_json())
    led = (str(contract_suite()), f"--halpmc-replay={tmp_path}", f"--halpmc-run-dir={tmp_path}")
    done = pytest_run(*led, "--collect-only", "-q", environment={"HALPMC_CLAUSE": "NO-SUCH"})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--halpmc-keep"], "keep: a VM waits for you at this terminal, and stdin is none"),
        (["--halpmc-keep=always"], "keep: a VM waits for you"),
        (["--halpmc-pause-on-failure"], "pause_on_failure: a VM waits for you"),
        (["--halpmc-pause-on-failure", "-s"], "pause_on_failure: a VM waits for you"),
        (["--halpmc-keep=failed", "-n", "2"], "keep: the workers of xdist have no terminal"),
        (["--halpmc-keep=yes"], "keep is 'yes' — use one of never, failed, always, as in --halpmc-keep="),
    ],
)
def test_a_vm_for_a_person_without_a_person_is_refused(options: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(contract_suite()), f"--halpmc-matrix={DEMO}", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 4, done.stdout + done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
