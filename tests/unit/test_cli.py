"""Bad input at the command line: one clear line, the documented exit code, no traceback, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
