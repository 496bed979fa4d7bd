"""Annotations: at the test that found a violation, else at the matrix; nothing in them ends one or begins another."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.contract.outcomes import Outcome, Verdict
from harness.paths import project_root
from harness.report.annotations import MAX_SHOWN, Annotation, Level, annotate, github, gitlab
from harness.report.loading import load_run
from harness.report.summary import summarize_run
from tests.report.synthetic import RunBuilder, demo, guest_cell
from tests.unit.test_cli import halpmc

COMMAND = re.compile(r"::(error|warning|notice) (?:file=([^,:]+),line=(\d+),)?title=([^,:]+)::([^\r\n]*)")


def found(folder: Path) -> list[Annotation]:
    view = load_run(folder)
    return annotate(view, summarize_run(view), project_root())


def test_a_run_without_findings_has_no_annotations(tmp_path: Path) -> None:
    assert found(demo(tmp_path / "run")) == []
    assert (github([]), json.loads(gitlab([]))) == ([], [])


def test_a_violation_is_shown_at_its_test_and_trouble_at_the_matrix(tmp_path: Path) -> None:
    test = "tests/contract/test_free.py"
    text = (project_root() / test).read_text().splitlines()
    [line, *_] = [number for number, words in enumerate(text, 1) if words.startswith("def test_")]
    name = text[line - 1].removeprefix("def ").partition("(")[0]
    run = RunBuilder(
        tmp_path / "run",
        [guest_cell("one"), guest_cell("two")],
        name="demo",
        clauses={"one": ("FREE-2",), "two": ("FREE-1",)},
    )
    run.start("one")
    run.clause("one", "FREE-2", Outcome.FAIL, "freed twice", test=f"{test}::{name}[one]")
    run.end("one", Verdict.BROKEN)
    run.incident("two", "QEMU died")
    run.finish(1)
    violation, trouble, *rest = found(tmp_path / "run")
    assert (violation.level, violation.file, violation.line) == (Level.ERROR, test, line)
    assert (violation.title, violation.message) == ("FREE-2 violated", "freed twice (one)")
    assert (trouble.level, trouble.file, trouble.line) == (Level.ERROR, "ci/matrices/demo.yaml", 1)
    assert (trouble.title, trouble.message) == ("Infrastructure trouble", "QEMU died (two)")
    assert [one.title for one in rest] == ["Records"]  # what QEMU's death left short
    quality = json.loads(gitlab([violation, trouble]))
    assert quality[0]["location"] == {"path": test, "lines": {"begin": line}}
    assert len({one["fingerprint"] for one in quality}) == 2


@pytest.mark.parametrize(
    "reason", ["a\n::error::b", "100%0A::error::x", "x\r\n::stop-commands::y", "a::b,c=d\x1b[31m"]
)
def test_a_guest_cannot_write_commands(reason: str, tmp_path: Path) -> None:
    run = RunBuilder(tmp_path / "run", [guest_cell("one")], clauses={"one": ("FREE-2",)})
    run.start("one")
    run.clause("one", "FREE-2", Outcome.FAIL, reason)
    run.end("one", Verdict.BROKEN)
    lines = github(found(run.finish(1)))
    assert len(lines) == 1
    shown = COMMAND.fullmatch(lines[0])
    assert shown is not None
    assert "\x1b" not in lines[0]
    assert "%0A" not in shown[5].replace("%250A", "")


def test_there_are_no_more_than_are_shown_and_the_rest_is_counted() -> None:
    many = [Annotation(Level.ERROR, "t", f"m{n}", "f", 1) for n in range(25)]
    lines = github([*many, Annotation(Level.WARNING, "a: b, c", "w", "f,g:h", 3)])
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == MAX_SHOWN
    assert errors[-1] == "::error title=halpmc::16 more errors in the report"
    assert lines[-1] == "::warning file=f%2Cg%3Ah,line=3,title=a%3A b%2C c::w"
    assert len(github(many[:MAX_SHOWN])) == MAX_SHOWN
    assert "more" not in github(many[:MAX_SHOWN])[-1]


def test_the_command_prints_them(tmp_path: Path) -> None:
    demo(tmp_path / "run", {"embedded-max-pmu_on": {"FREE-2": Outcome.FAIL}})
    done = halpmc("annotate", str(tmp_path / "run"))
    assert done.returncode == 0
    assert "title=FREE-2 violated::" in done.stdout
    assert (
        json.loads(halpmc("annotate", str(tmp_path / "run"), "--format", "gitlab").stdout)[0]["severity"]
        == "major"
    )
