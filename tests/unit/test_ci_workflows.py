"""Workflow files: valid for the services, their scripts are shell, and the ones that are shipped do not drift."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tree_sitter_groovy
from tree_sitter import Language, Parser

from harness.paths import project_root
from tests.ci_scripts import github_scripts, gitlab_scripts, jenkins_scripts, load
from tests.unit.test_cli import assert_one_line, halpmc

SHIPPED = project_root() / "ci" / "workflows"
SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}
MATRIX = "schema: 1\nname: lab\naxes: {pmu: [on, off]}\ndefaults: {guest: embedded}\ntags: [quick]\n"
WHEN: tuple[list[str], ...] = ([], ["--cron", "17 2 * * *"], ["--pull-request"])
WHERE: tuple[list[str], ...] = (
    [],
    ["--label", "kvm", "--label", "intel"],
    ["--label", "kvm", "--container", "debian:12"],
)
ODD = "pmu=on or id~\"it's ''' a $HOME `x` \\\\ [[ p ]]\""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lab.yaml").write_text(MATRIX)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(project_root()), prepend=os.pathsep)
    return tmp_path


def make(service: str, *options: str) -> str:
    done = halpmc("ci", service, "lab.yaml", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def valid(service: str, *files: Path) -> None:
    """By the schema that the service itself publishes."""
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[service], *files],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def is_shell(script: str) -> None:
    checked = subprocess.run(
        ["bash", "-n"], input=script, capture_output=True, text=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, ""), script


def groovy_errors(text: str) -> bool:
    return Parser(Language(tree_sitter_groovy.language())).parse(text.encode()).root_node.has_error


def test_the_shipped_files_are_what_the_command_makes(tmp_path: Path) -> None:
    made = subprocess.run(
        [SHIPPED / "make", tmp_path / "made"],
        env={**os.environ, "HALPMC": f"{sys.executable} -m harness.cli"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    new = {path.name: path.read_text() for path in (tmp_path / "made").iterdir()}
    assert len(new) == 6
    shipped = {path.name: path.read_text() for path in SHIPPED.iterdir() if path.name != "make"}
    assert new == shipped, "run: ci/workflows/make"


@pytest.mark.parametrize("service", SCHEMAS)
def test_the_shipped_files_are_valid(service: str) -> None:
    files = list(SHIPPED.glob(f"{service}-*.yaml"))
    assert len(files) == 2
    if service == "github":
        files += (project_root() / ".github" / "workflows").iterdir()
    valid(service, *files)


def test_the_shipped_ones_say_when_they_run() -> None:
    nightly = load((SHIPPED / "github-nightly.yaml").read_text())
    assert nightly["on"] == {"workflow_dispatch": None, "schedule": [{"cron": "17 2 * * *"}]}
    assert nightly["jobs"]["cells"]["strategy"]["matrix"]["shard"] == [1, 2, 3, 4]
    proposed = load((SHIPPED / "github-pull-request.yaml").read_text())
    assert proposed["on"] == {"pull_request": None}
    assert proposed["permissions"] == {"contents": "read"}
    scripts = "\n".join(github_scripts(proposed))
    assert scripts.count('--since "$BASE"') == 2
    assert proposed["env"]["BASE"] == "${{ github.event.pull_request.base.sha }}"
    night = "\n".join(github_scripts(nightly))
    assert "--since" not in night
    assert night.count('--sequences 1000 --seed "$(date -u +%Y%m%d)" ') == 1
    assert "--sequences" not in scripts
    assert (project_root() / "ci" / "changes.yaml").is_file()


@pytest.mark.parametrize("service", SCHEMAS)
def test_every_choice_of_options_is_valid_and_all_its_scripts_are_shell(service: str, checkout: Path) -> None:
    files = []
    for number, (when, where) in enumerate(itertools.product(WHEN, WHERE)):
        text = make(service, *when, *where, "--shards", str(1 + number % 3))
        files.append(checkout / f"{number}.yaml")
        files[-1].write_text(text)
        data = load(text)
        scripts = list(github_scripts(data)) if service == "github" else [s for _, s in gitlab_scripts(data)]
        assert len(scripts) >= 3
        for script in scripts:
            is_shell(script)
    valid(service, *files)


@pytest.mark.parametrize("when", WHEN)
def test_a_jenkinsfile_is_groovy_and_all_its_scripts_are_shell(when: list[str], checkout: Path) -> None:
    text = make("jenkins", *when, "--label", "kvm", "--shards", "3")
    assert not groovy_errors(text)
    assert groovy_errors(text.replace("agent none", "agent {"))  # the parser does see such things
    scripts = jenkins_scripts(text)
    assert len(scripts) == 5
    for script in scripts:
        assert script.startswith("#!/usr/bin/env bash\n")
        is_shell(script)


@pytest.mark.parametrize("service", ["github", "gitlab", "jenkins"])
def test_nothing_in_an_option_escapes_its_place(service: str, checkout: Path) -> None:
    """The choice of cells arrives at halpmc as it was written, through YAML or Groovy and the shell."""
    label = ["--label", "it's"] if service == "jenkins" else ["--container", 'a: "b" # c']
    done = halpmc("ci", service, "lab.yaml", "--cells", ODD, *label)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    if service == "jenkins":
        assert not groovy_errors(text)
        scripts = jenkins_scripts(text)
    else:
        (checkout / "odd.yaml").write_text(text)
        valid(service, checkout / "odd.yaml")
        data = load(text)
        scripts = list(github_scripts(data)) if service == "github" else [s for _, s in gitlab_scripts(data)]
    lines = [line for script in scripts for line in script.splitlines() if "--cells" in line]
    assert len(lines) == 2  # plan and run
    for line in lines:
        words = shlex.split(line)
        assert words[words.index("--cells") + 1] == ODD
        is_shell(line)


def test_a_cache_is_kept_where_the_service_s_machines_run_the_jobs(checkout: Path) -> None:
    hosted, own = load(make("github")), load(make("github", "--label", "kvm"))
    uses = [step.get("uses", "") for step in hosted["jobs"]["plan"]["steps"]]
    assert "actions/cache@v4" in uses
    [cache] = [step for step in hosted["jobs"]["plan"]["steps"] if step.get("uses") == "actions/cache@v4"]
    assert "hashFiles('images/**/*', 'guest_driver/**/*'" in cache["with"]["key"]
    assert not [step for step in own["jobs"]["plan"]["steps"] if "cache" in step.get("uses", "")]
    assert own["jobs"]["cells"]["runs-on"] == ["self-hosted", "kvm"]
    assert "HALPMC_CACHE" not in make("github", "--label", "kvm")


def test_a_wrong_request_is_one_line(checkout: Path) -> None:
    assert_one_line(halpmc("ci", "github", "lab.yaml", "--cron", "daily"), 2, "five fields")
    assert_one_line(halpmc("ci", "github", "lab.yaml", "--cron", "1 2 * * $(x)"), 2, "five fields")
    assert_one_line(halpmc("ci", "github", "lab.yaml", "--cron", "1 2 * * *", "--pull-request"), 2, "exclude")
    assert_one_line(halpmc("ci", "jenkins", "lab.yaml"), 2, "--label")
    assert_one_line(halpmc("ci", "github", "lab.yaml", "--tag", "quik"), 2, "quick")
    away = checkout / "away"
    away.mkdir()
    os.chdir(away)
    assert_one_line(halpmc("ci", "github", "../lab.yaml"), 2, "below the current folder")


@pytest.mark.parametrize("service", ["github", "gitlab", "jenkins"])
def test_each_night_draws_a_thousand_sequences_in_every_cell_unless_told_otherwise(
    service: str, checkout: Path
) -> None:
    def drawn(*options: str) -> list[str]:
        return [line for line in make(service, "--label", "kvm", *options).splitlines() if "--seed" in line]

    for options, number in ((["--cron", "1 2 * * *"], 1000), (["--sequences", "7"], 7)):
        [line] = drawn(*options)
        assert f'halpmc run lab.yaml --sequences {number} --seed "$(date -u +%Y%m%d)" --shard' in line
    assert drawn() == drawn("--pull-request") == []


def test_a_file_is_written_whole_and_tells_how_it_was_made(checkout: Path) -> None:
    done = halpmc("ci", "gitlab", "lab.yaml", "--cron", "5 4 * * 1", "-o", "made.yaml")
    assert (done.returncode, done.stdout) == (0, "")
    text = (checkout / "made.yaml").read_text()
    assert "# Made by: halpmc ci gitlab lab.yaml --shards 1 --cron '5 4 * * 1'\n" in text
    assert text.endswith("expire_in: 30 days\n")
