"""The command's own manual: every command and option has help, tables have a --json twin, and shells complete."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from harness.cli import app
from harness.config.load import guest_names, load_matrix
from harness.config.shipped import shipped_names, shipped_path
from harness.report.schemas import NAMES
from tests.unit.test_cli import halpmc

#: Commands without --json, and why.
NO_JSON = {
    "run": "writes summary.json into the run's folder",
    "serve": "answers in the browser",
    "schema": "prints JSON anyway",
    "ci": "prints a workflow file",
    "annotate": "prints lines in the form of a CI service",
    "shell": "hands over a session",
    "attach": "hands over a session",
}


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words."""
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(words), command
        return
    for name, child in below.items():
        yield from commands(child, (*words, name))


ROOT = typer.main.get_command(app)
COMMANDS = dict(commands(ROOT))


def test_all_commands_are_found() -> None:
    assert {"run", "plan", "matrices", "guest list", "driver build", "bench clone", "baseline accept"} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_argument_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help, name
    assert not command.help.split("\n")[0].rstrip().endswith(":"), "the first line stands alone in the list"
    for parameter in command.params:
        assert getattr(parameter, "help", ""), f"{name}: {parameter.name}"


def test_every_group_has_help() -> None:
    groups = [command for command in getattr(ROOT, "commands", {}).values() if hasattr(command, "commands")]
    assert len(groups) >= 4
    assert all(group.help for group in (ROOT, *groups))


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(NO_JSON)))
def test_every_answer_has_a_json_twin(name: str) -> None:
    options = [option for parameter in COMMANDS[name].params for option in parameter.opts]
    assert "--json" in options, f"add --json to `halpmc {name}`, or say in NO_JSON why it has none"


def test_exceptions_are_commands_that_have_no_json() -> None:
    for name in NO_JSON:
        assert "--json" not in [option for parameter in COMMANDS[name].params for option in parameter.opts]


def test_help_tells_the_exit_codes_and_first_steps_under_the_commands_name() -> None:
    done = halpmc("--help", COLUMNS="120")
    assert done.returncode == 0
    for text in (
        "Usage: halpmc [OPTIONS]",
        "halpmc run demo",
        "HALPMC_CACHE",
        "3 infrastructure",
        "--install-completion",
    ):
        assert text in done.stdout


def test_a_flag_is_shown_without_a_value() -> None:
    shown = halpmc("plan", "--help", COLUMNS="100").stdout
    assert "--json" in shown and "<path>" in shown
    assert "<bool>" not in shown


def test_commands_are_grouped() -> None:
    shown = halpmc("--help", COLUMNS="100").stdout
    titles = [line.split("─ ")[1].split(" ─")[0] for line in shown.splitlines() if line.startswith("╭─ ")]
    assert titles[:3] == ["Options", "Plan and run", "Results"], "first things first"
    assert "Commands" not in titles, "a command without a group"


EXAMPLES = [
    line.strip()
    for command in (ROOT, *COMMANDS.values())
    for line in (command.epilog or "").splitlines()
    if line.startswith("  halpmc ")
]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 15


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_command_with_its_options(example: str) -> None:
    """Parsed as it would be when it is run; nothing is run."""
    _, *words = shlex.split(re.sub(r"(?<=\S) {3,}.*", "", example))  # without what stands beside it
    command: Any = ROOT
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("halpmc", words)


def test_matrices_tell_what_they_are() -> None:
    listed = json.loads(halpmc("matrices", "--json").stdout)
    assert [matrix["name"] for matrix in listed] == list(shipped_names())
    for matrix in listed:
        assert matrix["cells"] == len(load_matrix(Path(matrix["path"])).cells)
        assert len(matrix["about"]) > 20
    table = halpmc("matrices", COLUMNS="80").stdout  # no terminal: a line for each
    assert all(matrix["about"] in table for matrix in listed)
    assert len(table.splitlines()) == len(listed) + 1


def test_the_pages_are_listed_and_printed() -> None:
    pages = {page["name"]: page for page in json.loads(halpmc("docs", "--json").stdout)}
    assert pages["faults"]["title"] in halpmc("docs").stdout
    for word in ("faults", "faults.md", "docs/faults.md"):  # as messages name it
        assert halpmc("docs", word).stdout == Path(pages["faults"]["path"]).read_text()
    done = halpmc("docs", "fault")
    assert (done.returncode, "did you mean 'faults'?" in done.stderr) == (2, True)


# -- completion ----------------------------------------------------------------------------------------------------


def offered(*words: str, cwd: Path | None = None) -> list[str]:
    """What bash would offer for the last word."""
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli"],
        env={
            **os.environ,
            "_HALPMC_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["halpmc", *words]),
            "COMP_CWORD": str(len(words)),
        },
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ru",), ["run"]),
        (("run", "de"), ["defects", "demo"]),
        (("plan", "nothing-like-it"), []),
        (("guest", "show", "embedded"), [name for name in guest_names() if name.startswith("embedded")]),
        (("driver", "deploy", "--guest", "embedded-"), ["embedded-arm64"]),
        (("schema", ""), list(NAMES)),
        (("docs", "inst"), ["install"]),
        (("bench", "race", "non"), ["none"]),
        (("run", "no-such-matrix", "--cell", ""), []),
        (("run", "--cell", ""), []),
    ],
)
def test_names_are_completed(words: tuple[str, ...], expected: list[str]) -> None:
    assert sorted(offered(*words)) == sorted(expected)


@pytest.mark.parametrize("words", [("run", "demo", "--cell"), ("plan", "-j", "2", "demo", "--cell")])
def test_cells_of_the_matrix_on_the_line_are_completed(words: tuple[str, ...]) -> None:
    cells = [cell.id for cell in load_matrix(shipped_path("demo")).cells if cell.id.startswith("arm64-")]
    assert len(cells) >= 4
    assert sorted(offered(*words, "arm64-")) == sorted(cells)


def test_a_matrix_with_a_mistake_offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("schema: 1\nname: [\n")
    assert offered("run", "wrong.yaml", "--cell", "", cwd=tmp_path) == []


def test_the_script_for_bash_completes_in_bash(tmp_path: Path) -> None:
    program = tmp_path / "halpmc"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m harness.cli "$@"\n')
    program.chmod(0o755)
    script = (
        "halpmc --show-completion >script || exit; . ./script; COMP_WORDS=(halpmc run dem); COMP_CWORD=2; "
        'complete -p halpmc; _halpmc_completion halpmc; echo "offered ${COMPREPLY[*]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["complete -o default -F _halpmc_completion halpmc", "offered demo"], (
        done.stderr
    )
