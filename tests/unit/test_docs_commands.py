"""Every command of README.md and docs/ has a row in tests/documents/rows.py, and is what its row says.

Here run those that need no VM; tests/system/test_docs_commands.py runs the others.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.paths import project_root
from tests.documents.commands import BEGINS, all_commands, blocks, of_block, page_name, pages, spans
from tests.documents.desk import Desk, execute, line_of, make_desk
from tests.documents.elsewhere import missing_words, source_of
from tests.documents.forms import Check, Elsewhere, Executed, NotHere, Place
from tests.documents.parsing import UsageError, bare, expand, is_name, names, options, parse, root
from tests.documents.rows import EXCEPTIONS, ROWS


def halpmc_commands(command: str) -> list[str]:
    """The calls of halpmc in a line of shell. A line with an ellipsis stands for many, and is left to its row."""
    if "…" in command.replace("<…>", ""):
        return []
    if command.startswith(("for ", "cd ")):
        return [bare(one) for one in re.findall(r"; (?:do )?((?:\.venv/bin/)?halpmc [^;]*)", command)]
    return [bare(command)] if bare(command).startswith("halpmc ") else []


COMMANDS = {found.text: found for found in all_commands()}
HERE = [row for row in ROWS if isinstance(row, Executed) and row.at is Place.DESK]
ELSEWHERE = [row for row in ROWS if isinstance(row, Elsewhere)]
NOT_HERE = [row for row in ROWS if isinstance(row, NotHere)]

#: Options in the pages that are no option of `halpmc`, nor of its part in pytest: whose they are.
OTHERS = {
    "--collect-only": "pytest",
    "--data": "curl",
    "--device": "docker, podman",
    "--dist": "pytest-xdist",
    "--fail": "curl",
    "--fixtures": "pytest",
    "--group": "adduser",
    "--group-add": "docker, podman",
    "--junitxml": "pytest",
    "--no-dashboard": "dask",
    "--now": "systemctl",
    "--pyargs": "pytest",
    "--strict": "mkdocs",
    "--silent": "curl",
    "--system": "adduser",
    "--version": "QEMU, in the words of an error",
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return make_desk(tmp_path_factory.mktemp("desk"), own_cache=True)


def test_every_command_has_one_row() -> None:
    rows = [row.command for row in ROWS]
    assert len(set(rows)) == len(rows)
    without = [f"{COMMANDS[text].page}:{COMMANDS[text].line}: {text}" for text in COMMANDS.keys() - set(rows)]
    assert sorted(without) == [], "commands without a row in tests/documents/rows.py"
    assert sorted(set(rows) - COMMANDS.keys()) == [], "rows whose command is on no page"


def test_nobody_adds_an_exception_unseen() -> None:
    """The terminal's summary lists them (tests/unit/conftest.py)."""
    assert len(NOT_HERE) == EXCEPTIONS
    assert all(row.reason and row.checks for row in NOT_HERE)
    narrowed = [row for row in ROWS if isinstance(row, Executed) and row.add and not row.narrowed]
    assert narrowed == [], "more words than the page has, and no reason"


@pytest.mark.parametrize("command", [text for text in COMMANDS if halpmc_commands(text)])
def test_the_command_line_parser_takes_it(command: str) -> None:
    for one in halpmc_commands(command):
        parse(one)


@pytest.mark.parametrize("row", HERE, ids=lambda row: row.command)
def test_it_runs_without_a_vm(row: Executed, desk: Desk, tmp_path: Path) -> None:
    execute(row, desk.copy(tmp_path / "desk"))


@pytest.mark.parametrize("row", ELSEWHERE, ids=lambda row: row.command)
def test_another_test_runs_it(row: Elsewhere) -> None:
    source = source_of(row.node)
    if row.through:
        assert row.through in source, f"{row.node} does not start {row.through}"
        source = (project_root() / row.through).read_text()
    assert missing_words(row.command, source) == [], f"{row.through or row.node} does not have them"


@pytest.mark.parametrize("row", NOT_HERE, ids=lambda row: row.command)
def test_what_cannot_run_is_checked_as_far_as_it_can_be(row: NotHere, tmp_path: Path) -> None:
    for check in row.checks:
        CHECKS[check](row.command, tmp_path)


def parsed(command: str, _folder: Path) -> None:
    calls = halpmc_commands(command)
    assert calls
    for call in calls:
        parse(call)


def syntax(command: str, _folder: Path) -> None:
    line = expand(command)
    subprocess.run(["bash", "-n", "-c", line], check=True)
    if line.startswith("ci/"):
        script = project_root() / line.split()[0]
        assert script.stat().st_mode & 0o111
        subprocess.run(["bash", "-n", script], check=True)


def planned(command: str, folder: Path) -> None:
    write_examples(folder)
    (folder / "ci").symlink_to(project_root() / "ci")
    for call in halpmc_commands(command):
        words = shlex.split(call)[1:]
        assert words[0] == "run"
        done = subprocess.run(
            [sys.executable, "-m", "harness.cli", "plan", *words[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "expected" in done.stdout


def write_examples(folder: Path) -> None:
    """Files that a page shows and a command beside it names."""
    text = (project_root() / "docs" / "windows.md").read_text()
    block = next(
        "\n".join(line.text for line in one) for one in blocks(text)[0] if "schema: 1" in one[0].text
    )
    (folder / "first-windows.yaml").write_text(f"{block}\n")


def collected(command: str, _folder: Path) -> None:
    program, *words = shlex.split(command)
    assert program == "pytest"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", *words],
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+(/\d+)? tests collected", done.stdout, re.MULTILINE), done.stdout


CHECKS = {
    Check.PARSED: parsed,
    Check.SYNTAX: syntax,
    Check.PLANNED: planned,
    Check.COLLECTED: collected,
}


def code_of(page: Path) -> list[tuple[int, str]]:
    """Every line of a block, and everything between backticks."""
    found, prose = blocks(page.read_text())
    return [(line.number, line.text) for block in found for line in block] + spans(prose)


def test_every_option_that_a_page_names_exists() -> None:
    known = {spelling for command in (root(), *names().values()) for spelling in options(command)}
    known |= OTHERS.keys()
    plugin = (project_root() / "harness" / "plugin_options.py").read_text()
    known |= {f"--halpmc-{name.replace('_', '-')}" for name in re.findall(r'"(?:halpmc_)?([a-z_]+)"', plugin)}
    unknown = [
        f"{page_name(page)}:{number}: {word}"
        for page in pages()
        for number, text in code_of(page)
        for word in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text)
        if word not in known
    ]
    assert unknown == []


def test_every_subcommand_that_a_page_names_exists() -> None:
    unknown = [
        f"{page_name(page)}:{number}: {text}"
        for page in pages()
        for number, text in spans(blocks(page.read_text())[1])
        if re.fullmatch(r"halpmc [a-z -]+", text) and not is_name(text) and text not in COMMANDS
    ]
    assert unknown == []


def test_every_variable_that_a_page_names_exists() -> None:
    source = "".join(path.read_text() for path in (project_root() / "harness").rglob("*.py"))
    twins = set(re.findall(r'"(?:halpmc_)?([a-z_]+)"', source))
    unknown = [
        f"{page_name(page)}: {name}"
        for page in pages()
        for name in re.findall(r"\bHALPMC_[A-Z_]+[A-Z]", page.read_text())
        if f'"{name}"' not in source and name.removeprefix("HALPMC_").lower() not in twins
    ]
    assert unknown == []


def test_a_wrong_command_would_be_noticed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such option: --no-such"):
        parse("halpmc run MATRIX --no-such")
    with pytest.raises(UsageError, match="No such command 'flu'"):
        parse("halpmc flu")
    with pytest.raises(UsageError, match=r"^Missing "):
        parse("halpmc report")
    with pytest.raises(UsageError, match="valid integer"):
        parse("halpmc run MATRIX --seed soon")
    code, _ = blocks("Text\n\n    halpmc doctor   # a comment\n    rm -rf /\n")
    with pytest.raises(ValueError, match=r"page:4: among commands, and of no known program: rm -rf /"):
        of_block("page", code[0])
    with pytest.raises(LookupError, match="there is no test test_gone"):
        source_of("tests/system/test_demo.py::test_gone")
    assert missing_words("halpmc run MATRIX --tag NAME", source_of(ELSEWHERE[0].node)) == ["--tag"]


def test_blocks_are_read_as_they_are_typed() -> None:
    code, prose = blocks(
        "Try `halpmc\ndoctor --json`:\n\n    $ halpmc run M \\\n        --cell a\n    output of it\n    $ ci/test\n\n"
        "```sh\nhalpmc guest import DISK\n                --as N   # where\n```\n```yaml\nhalpmc: no\n```\n"
        "```sh\n#!/bin/sh\ncd x\nf=$(halpmc doctor)  # in it\n```\n"
    )
    assert [[found.text for found in of_block("page", block)] for block in code] == [
        ["halpmc run M --cell a", "ci/test"],
        ["halpmc guest import DISK --as N"],
        ["cd x; f=$(halpmc doctor)"],
    ]
    assert (
        bare("f=$(halpmc plan M --json)")
        == bare(".venv/bin/halpmc plan M --json 2>log >f")
        == "halpmc plan M --json"
    )
    assert spans(prose) == [(1, "halpmc doctor --json")]
    assert BEGINS.match("halpmc-setup: x") is None


def test_the_lines_for_the_shell_are_the_commands() -> None:
    """Only what a row says differs from the page."""
    for row in ROWS:
        if isinstance(row, Executed) and not row.instead and not row.add and "<" not in row.command:
            line = line_of(row)
            assert line == expand(row.command) or re.search(r"runs/(FOLDER|OLD)", row.command), line
