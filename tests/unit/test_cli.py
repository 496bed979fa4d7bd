"""Bad input at the command line: one clear line, the documented exit code, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from harness.paths import project_root

DEMO = project_root() / "ci" / "matrices" / "demo.yaml"


def halpmc(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "schema: 1\nname: x\ndefaults: {smpp: 2}\ninclude: [{guest: none}]\n",
            ("matrix.yaml:3:", "smpp", "smp"),
        ),
        ("schema: 1\nname: x\ndefaults: {smp: lots}\ninclude: [{guest: none}]\n", ("matrix.yaml:3:", "smp")),
        ("schema: 1\nname: x\n", ("matrix.yaml:1:", "empty")),
        (
            "schema: 1\nname: x\naxes: {pmu: [on]}\nexclude: [{when: {pmu: on}, reason: all}]\n",
            ("matrix.yaml:4:", "exclu"),
        ),
        (
            "schema: 1\nname: x\ninclude: [{id: a, guest: none}, {id: a, guest: none}]\n",
            ("matrix.yaml:3:", "duplicate", "'a'"),
        ),
        ("schema: 1\nname: x\ninclude: [{guest: beos5}]\n", ("matrix.yaml:3:", "beos5", "embedded")),
        ("schema: 1\nname: [x\n", ("matrix.yaml:",)),
    ],
)
def test_a_wrong_matrix_names_file_and_line(text: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(text)
    runs = tmp_path / "runs"
    assert_one_line(halpmc("run", str(path), "--runs-dir", str(runs)), 2, *parts)
    assert not runs.exists()


def test_a_matrix_that_is_not_there(tmp_path: Path) -> None:
    assert_one_line(halpmc("run", str(tmp_path / "none.yaml")), 2, "none.yaml")


def test_an_unknown_cell_lists_the_known_ones(tmp_path: Path) -> None:
    assert_one_line(
        halpmc("run", str(DEMO), "--cell", "nope", "--runs-dir", str(tmp_path)),
        2,
        "nope",
        "aarch64-probe-pmu_on",
    )


def test_a_guest_that_was_never_built_names_the_command(tmp_path: Path) -> None:
    done = halpmc(
        "run", str(DEMO), "--runs-dir", str(tmp_path / "runs"), HALPMC_CACHE=str(tmp_path / "cache")
    )
    assert_one_line(done, 2, "embedded", "halpmc guest build embedded")
    assert not (tmp_path / "runs").exists()


def test_a_missing_tool_names_its_package(tmp_path: Path) -> None:
    done = halpmc("probe", "--accel", "tcg", PATH=str(tmp_path), HALPMC_CACHE=str(tmp_path / "cache"))
    assert_one_line(done, 3, "qemu-system-x86_64 is not installed", "qemu-system-x86")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    assert_one_line(halpmc("report", str(tmp_path)), 2, "records.jsonl")


def test_bad_options_are_usage_errors() -> None:
    done = halpmc("run", str(DEMO), "--no-such-option")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("value", ["0", "-1", "many", ""])
def test_a_wrong_number_of_slots(value: str, tmp_path: Path) -> None:
    assert_one_line(
        halpmc("run", str(DEMO), f"--jobs={value}", "--runs-dir", str(tmp_path)), 2, "--jobs", "auto"
    )


def test_every_schema_prints() -> None:
    for name in ("records", "summary", "probe", "doctor", "matrix", "protocol"):
        assert halpmc("schema", name).returncode == 0
    assert_one_line(halpmc("schema", "nope"), 2, "nope", "summary")


def test_a_plan_says_what_would_run_what_is_skipped_and_what_it_costs(tmp_path: Path) -> None:
    matrix = tmp_path / "m.yaml"
    matrix.write_text(
        "schema: 1\nname: x\naxes: {pmu: [on, off], guest: [none, embedded]}\n"
        "exclude: [{when: {guest: none, pmu: on}, reason: not needed}]\n"
        "override: [{when: {guest: embedded}, requires: {memory_mib: 900000000}, tags: [huge]}]\n"
        "known_issues: [{id: OLD, reason: r, clauses: [FREE-1], until: 2020-01-01}]\n"
    )
    runs = ("--runs-dir", str(tmp_path / "runs"))
    done = halpmc("plan", str(matrix), *runs)
    assert done.returncode == 0, done.stderr
    for part in (
        "probe-pmu_off",
        "3.0 s  default",
        "SKIP  embedded-pmu_on: requires memory_mib 900000000: the host has",
        "left out  probe-pmu_on: not needed",
        "known issue  OLD, EXPIRED (it was known until 2020-01-01): r [FREE-1 in all cells]",
        "1 cell, 2 results, 2 skipped, 1 left out by the matrix",
        "the cost of 1 is a guess, for want of earlier runs",
    ):
        assert part in done.stdout, done.stdout
    plan = json.loads(halpmc("plan", str(matrix), *runs, "--json", "-j", "3").stdout)
    jsonschema.validate(plan, json.loads(halpmc("schema", "plan").stdout))
    assert [cell["id"] for cell in plan["cells"]] == ["probe-pmu_off"]
    assert (plan["slots"], plan["total_s"], plan["expected_s"]) == (3, 3.0, 3.0)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--cells", "pmu=onn"), ("'pmu=onn', column 5", "did you mean 'on'?")),
        (("-k", "nowhere"), ("no cell of", "-k 'nowhere'")),
        (("--shard", "9"), ("--shard '9'", "K/N")),
        (("--tag", "x"), ("no cell of", "the tag 'x'")),
        (("--costs", str(DEMO)), ("is no plan with costs", "halpmc plan MATRIX --json")),
        (("--resume", "runs/x"), ("--resume and --rerun-failed take everything from the earlier run",)),
        (("--since", "no-such-revision"), ("there is no revision 'no-such-revision'",)),
    ],
)
def test_a_wrong_choice_of_cells(options: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    done = halpmc("run", str(DEMO), *options, "--runs-dir", str(runs))
    assert done.returncode == 2, done.stderr
    for part in parts:
        assert part in done.stderr.splitlines()[0]
    assert not runs.exists()


def test_there_is_nothing_to_run_or_to_resume(tmp_path: Path) -> None:
    assert_one_line(halpmc("run"), 2, "a matrix is missing")
    assert_one_line(halpmc("run", "--resume", str(tmp_path)), 2, "is not the folder of a run")
    assert_one_line(halpmc("run", "--rerun-failed", str(tmp_path)), 2, "is not the folder of a run")
    done = halpmc("run", str(DEMO), "--shard", "30/30", "--runs-dir", str(tmp_path / "runs"))
    assert (done.returncode, done.stdout.startswith("nothing to run: shard 30 of 30")) == (0, True)
    assert not (tmp_path / "runs").exists()


def test_a_run_that_skips_everything_is_no_success(tmp_path: Path) -> None:
    matrix = tmp_path / "m.yaml"
    matrix.write_text("schema: 1\nname: x\nrequires: {cpus: 1000000}\ninclude: [{id: a, guest: none}]\n")
    done = halpmc("run", str(matrix), "--runs-dir", str(tmp_path / "runs"))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "SKIP  a: requires cpus 1000000: the host has" in done.stdout
    assert "no cell ran: 1 cell skipped" in done.stdout
    (folder,) = (tmp_path / "runs").glob("*/")
    summary = json.loads((folder / "summary.json").read_text())
    assert [cell["id"] for cell in summary["skipped"]] == ["a"]
    assert "requires cpus 1000000" in (folder / "report.html").read_text()
