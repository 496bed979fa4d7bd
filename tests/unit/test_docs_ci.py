"""docs/ci.md: its commands do what it says, its options exist, and its lines for mail and chat work."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from email import message_from_string
from email.policy import default
from pathlib import Path

import pytest

from harness.commands import nightly
from harness.errors import InfrastructureError
from harness.paths import project_root
from harness.report.nightly import did_not_run
from harness.report.nightly_text import mail
from tests.unit.test_ci_workflows import is_shell
from tests.unit.test_cli import halpmc

TEXT = (project_root() / "docs/ci.md").read_text()
CI = re.findall(r"^ {4}(halpmc ci .*)$", TEXT, re.MULTILINE)
SCRIPTS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)


def options_in(section: str) -> set[str]:
    """The options in the first column of a section's tables."""
    text = TEXT.partition(f"## {section}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `-")]
    return {name for row in rows for name in re.findall(r"--?[a-z-]+", row)}


@pytest.mark.parametrize("command", CI)
def test_every_workflow_in_the_text_is_made(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(project_root() / "ci", tmp_path / "ci")
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    done = halpmc(
        *shlex.split(command)[1:], PYTHONPATH=f"{project_root()}:{os.environ.get('PYTHONPATH', '')}"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or (tmp_path / "build" / "Jenkinsfile").is_file()


def test_all_parts_of_the_text_are_found() -> None:
    assert len(CI) == 4
    assert len(SCRIPTS) == 2
    for script in SCRIPTS:
        is_shell(script)


@pytest.mark.parametrize(("section", "command"), [("Cron", "nightly"), ("Workflow files", "ci")])
def test_every_option_in_the_tables_exists(section: str, command: str) -> None:
    options = options_in(section)
    assert len(options) > 5
    help_text = halpmc(command, "--help", COLUMNS="200", NO_COLOR="1").stdout
    assert not {name for name in options if not re.search(rf"(?<![\w-]){name}(?![\w-])", help_text)}


def test_the_exit_codes_are_those_of_the_help() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", TEXT, re.MULTILINE))
    assert list(rows) == ["0", "1", "2", "3", "130"]
    for code, meaning in rows.items():
        assert f"{code} {meaning.partition(':')[0].partition(',')[0]}" in nightly.EXIT_CODES


def test_a_night_is_mailed_with_its_subject_and_posted_with_its_text(tmp_path: Path) -> None:
    """The script of the text, in which the run and the programs that send are stand-ins."""
    night = did_not_run(Path("demo.yaml"), InfrastructureError("no ✓"))
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "night").write_text(mail(night))
    (tmp_path / "night.json").write_text(night.model_dump_json())
    for name, script in {
        "halpmc": f'[ "$5" = --mail ] || exit 9; cat {tmp_path}/night; exit 3',
        "sendmail": f'echo "$1" >{tmp_path}/to; cat >{tmp_path}/sent',
        "curl": f'while [ "$1" != --data ]; do shift; done; cat "${{2#@}}" >{tmp_path}/posted',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    send, post = (
        script.replace(".venv/bin/", "").replace("cd /srv/halpmc", f"cd {tmp_path}") for script in SCRIPTS
    )
    for script, code in ((send, 3), (f"cd {tmp_path}\n{post}", 0)):
        done = subprocess.run(
            ["sh", "-c", script],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stderr) == (code, "")
    message = message_from_string((tmp_path / "sent").read_text(), policy=default)
    assert message["Subject"] == night.subject == "halpmc demo: did not run: no ?"
    assert message.get_content() == night.text
    assert "no ✓" in night.text
    assert (tmp_path / "to").read_text() == "team@example.org\n"
    assert json.loads((tmp_path / "posted").read_text())["text"] == night.text
