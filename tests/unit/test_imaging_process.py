"""Running a recipe: stages are timed, a failure shows the log, and nothing outlives it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from harness.deadlines import wait_for
from harness.errors import BuildError, DeadlineExceeded
from harness.imaging.process import run_recipe


def run(tmp_path: Path, script: str, limit_s: float = 20.0) -> tuple[dict[str, float], list[str]]:
    said: list[str] = []
    stages = run_recipe(
        ["sh", "-c", script],
        environment={"COLOUR": "green"},
        log=tmp_path / "building it.log",
        limit_s=limit_s,
        first_stage="first",
        say=said.append,
    )
    return stages, said


def test_stages_are_told_and_timed(tmp_path: Path) -> None:
    stages, said = run(tmp_path, 'echo "halpmc: stage second"; echo $COLOUR; echo "halpmc: stage third" >&2')
    assert list(stages) == ["first", "second", "third"]
    assert said == ["building it: first", "building it: second", "building it: third"]
    assert "green" in (tmp_path / "building it.log").read_text()


def test_a_failure_names_its_stage_and_shows_the_log(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"failed in stage 'second' \(exit status 3\)") as caught:
        run(tmp_path, 'echo "halpmc: stage second"; echo no such thing >&2; exit 3')
    assert "no such thing" in caught.value.evidence["log"]


def test_a_stuck_recipe_ends_at_its_deadline_with_all_it_started(tmp_path: Path) -> None:
    # The pid as the host sees it, since as root the recipe has process numbers of its own.
    mark = f"halpmc-test-{os.getpid()}"
    script = f"{sys.executable} -c 'import signal; signal.pause()' {mark} & echo waiting; wait"
    with pytest.raises(DeadlineExceeded, match="last seen: waiting"):
        run(tmp_path, script, limit_s=1.5)

    def gone(_: object) -> bool | None:
        alive = [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])]
        return None if alive else True

    if os.geteuid() == 0:
        assert wait_for("the recipe's children to end", 5.0, gone)
