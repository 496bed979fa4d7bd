"""Generated workflows are run, job by job, in fresh clones, with cells that boot real VMs: PMU probes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from harness.paths import project_root
from harness.report.schemas import json_schema
from tests.ci_scripts import gitlab_scripts, jenkins_scripts, load
from tests.system.ci_service import GitHub, git, shell
from tests.system.conftest import HALPMC

MATRIX = """\
schema: 1
name: tiny
defaults: {guest: none, arch: aarch64, machine: virt, accel: tcg}
axes: {cpu: [max, neoverse-n1], pmu: [on, off]}
"""
CELLS = {f"probe-{cpu}-pmu_{pmu}" for cpu in ("max", "neoverse-n1") for pmu in ("on", "off")}
CHANGES = """\
schema: 1
rules:
  - {files: ['*.md'], concerns: nothing}
  - {files: [n1/**], cells: cpu=neoverse-n1}
"""
INSTALL = """\
#!/bin/sh
mkdir -p bin && printf '#!/bin/sh\\nPYTHONPATH=%s exec %s -m harness.cli "$@"\\n' '{path}' '{python}' >bin/halpmc
chmod +x bin/halpmc && echo bin >.git/info/exclude
"""
OPTIONS = ("tiny.yaml", "--setup", "sh install.sh", "--path", "bin")
NIGHTLY = ("--cron", "1 2 * * *", "--shards", "2", "--container", "none", "--sequences", "10")
PROPOSED = ("--pull-request", "--shards", "2", "--container", "none")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository of a user, with a matrix of his own."""
    folder = tmp_path / "origin"
    (folder / "ci").mkdir(parents=True)
    (folder / "tiny.yaml").write_text(MATRIX)
    (folder / "ci" / "changes.yaml").write_text(CHANGES)
    path = ":".join(entry for entry in [str(project_root()), *sys.path] if entry)
    (folder / "install.sh").write_text(INSTALL.format(path=path, python=sys.executable))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "begin")
    return folder


def made(origin: Path, service: str, *options: str) -> str:
    done = subprocess.run(
        [*HALPMC, "ci", service, *OPTIONS, *options],
        cwd=origin,
        env={"PYTHONPATH": ":".join(filter(None, [str(project_root()), *sys.path])), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def facts(run: int = 1, base: str = "") -> dict[str, str]:
    return {
        "github.run_id": str(run),
        "github.run_attempt": "1",
        "github.ref": "refs/heads/main",
        "github.event.pull_request.base.sha": base,
    }


def report(folder: Path) -> dict[str, object]:
    found = json.loads((folder / "summary.json").read_text())
    jsonschema.validate(found, json_schema("summary"))
    assert isinstance(found, dict)
    return found


def cells_of(folder: Path) -> set[str]:
    cells = report(folder)["cells"]
    assert isinstance(cells, list)
    return {cell["id"] for cell in cells}


def test_a_nightly_on_github_twice_and_a_night_with_a_lost_shard(origin: Path, tmp_path: Path) -> None:
    service = GitHub(origin, tmp_path)
    workflow = load(made(origin, "github", *NIGHTLY))
    first = service.run(workflow, facts(1))
    assert {name: [job.result for job in jobs] for name, jobs in first.items()} == {
        "plan": ["success"],
        "cells": ["success", "success"],
        "report": ["success"],
    }, first
    [told] = first["report"]
    assert told.summary.startswith("# ✓ tiny: all conform")
    assert "::error" not in told.log
    folder = service.artifacts / "report"
    assert cells_of(folder) == CELLS
    assert {path.name for path in (folder / "cells").iterdir()} == CELLS  # logs came along
    assert all((folder / "cells" / cell / "pytest.log").is_file() for cell in CELLS)
    shards = [set(cells_of(next((service.artifacts / f"shard-{n}").iterdir()))) for n in (1, 2)]
    assert shards[0] | shards[1] == CELLS
    assert not shards[0] & shards[1]
    assert min(map(len, shards)) == 2  # of the same cost each

    second = service.run(workflow, facts(2))
    assert "## Since the last run" in second["report"][0].summary
    assert "Nothing is newly violated" in second["report"][0].summary
    plan = json.loads((service.artifacts / "plan" / "plan.json").read_text())
    assert {cell["cost_from"] for cell in plan["cells"]} == {"1 earlier run"}

    third = service.run(workflow, facts(3), lose="shard-2")
    [told] = third["report"]
    assert told.result == "failure"
    assert told.summary.startswith("# ! tiny: infrastructure")
    lost = CELLS - cells_of(next((service.artifacts / "shard-1").iterdir()))
    assert len(lost) == 2
    errors = [line for line in told.log.splitlines() if line.startswith("::error file=tiny.yaml,")]
    assert errors
    assert all(any(cell in line for line in errors) for cell in lost)
    assert report(service.artifacts / "report")["exit_code"] == 3

    shutil.rmtree(service.caches)
    none = service.run(
        {**workflow, "jobs": {**workflow["jobs"], "cells": broken(workflow["jobs"]["cells"])}}, facts(4)
    )
    assert [job.result for job in none["cells"]] == ["failure", "failure"]
    assert none["report"][0].result == "failure"
    assert "No shard left a run" in none["report"][0].summary


def broken(job: dict[str, object]) -> dict[str, object]:
    """The job on a machine on which nothing can be installed."""
    steps = job["steps"]
    assert isinstance(steps, list)
    return {
        **job,
        "steps": [{**step, "run": "exit 1"} if step.get("name") == "set up" else step for step in steps],
    }


def test_a_pull_request_on_github_runs_what_it_concerns(origin: Path, tmp_path: Path) -> None:
    service = GitHub(origin, tmp_path)
    workflow = load(made(origin, "github", *PROPOSED))
    base = git(origin, "rev-parse", "HEAD")
    commit(origin, "notes.md")
    nothing = service.run(workflow, facts(1, base))
    assert [jobs[0].result for jobs in nothing.values()] == ["success", "skipped", "skipped"], nothing
    assert nothing["plan"][0].outputs == {"cells": "0"}
    commit(origin, "n1/table")
    some = service.run(workflow, facts(2, base))
    assert [job.result for jobs in some.values() for job in jobs] == ["success"] * 4, some
    assert cells_of(service.artifacts / "report") == {cell for cell in CELLS if "neoverse" in cell}


def commit(origin: Path, name: str) -> None:
    (origin / name).parent.mkdir(exist_ok=True)
    (origin / name).write_text("x\n")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", name)


def clones(origin: Path, home: Path) -> Iterator[Path]:
    number = 0
    while True:
        number += 1
        git(home, "clone", "--quiet", str(origin), f"clone-{number}")
        yield home / f"clone-{number}"


def test_the_jobs_of_gitlab(origin: Path, tmp_path: Path) -> None:
    jobs = dict(gitlab_scripts(load(made(origin, "gitlab", *NIGHTLY))))
    clone, artifacts = clones(origin, tmp_path), tmp_path / "artifacts"
    plan, cells, told = (jobs[f"halpmc tiny nightly: {name}"] for name in ("plan", "cells", "report"))
    for script, numbers in ((plan, [None]), (cells, [1, 2]), (told, [None])):
        for number in numbers:
            folder = next(clone)
            if artifacts.exists():
                shutil.copytree(artifacts, folder / "halpmc-ci")
            done = shell(script, folder, {"CI_NODE_INDEX": str(number)} if number else {})
            assert done.returncode == 0, done.stdout + done.stderr
            for name in ("plan.json", "shards"):
                if (folder / "halpmc-ci" / name).exists():
                    copy(folder / "halpmc-ci" / name, artifacts / name)
    out = folder / "halpmc-ci"
    assert cells_of(out / "report") == CELLS
    assert {suite.get("name") for suite in ET.parse(out / "report" / "junit.xml").getroot()} == CELLS
    assert json.loads((out / "codequality.json").read_text()) == []


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def test_the_scripts_of_jenkins_on_one_agent(origin: Path, tmp_path: Path) -> None:
    """A workspace that is used again and again, as agents have it; what is stashed in between is kept aside."""
    options = ("--cron", "1 2 * * *", "--shards", "2", "--label", "kvm")
    plan, setup, cells, prepare, told = jenkins_scripts(made(origin, "jenkins", *options))
    workspace, stash = next(clones(origin, tmp_path)), tmp_path / "stash"
    run(plan, workspace)
    copy(workspace / "halpmc-ci" / "plan.json", stash / "plan.json")
    for number in ("1", "2"):
        run(setup, workspace)
        run(cells, workspace, SHARD=number)
        copy(workspace / "halpmc-ci" / "shards", stash / "shards")
    run(prepare, workspace)
    assert not list((workspace / "halpmc-ci" / "shards").iterdir())
    copy(stash, workspace / "halpmc-ci")
    run(told, workspace)
    assert cells_of(workspace / "halpmc-ci" / "report") == CELLS


def run(script: str, folder: Path, **environment: str) -> None:
    done = shell(script, folder, environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_nights_by_cron(tmp_path: Path) -> None:
    """The second night is compared with the first; stdout is the summary and nothing else."""
    matrix = tmp_path / "tiny.yaml"
    matrix.write_text(MATRIX.replace("[max, neoverse-n1]", "[max]"))
    nights = []
    for _ in range(2):
        done = subprocess.run(
            [*HALPMC, "nightly", matrix, "--runs-dir", tmp_path / "runs", "--json"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        nights.append(json.loads(done.stdout))
        jsonschema.validate(nights[-1], json_schema("nightly"))
    assert nights[0]["changes"] is None
    assert nights[0]["run"]["verdicts"] == {"counting": 1, "absent": 1}
    assert nights[1]["compared_with"] == nights[0]["run"]["folder"]
    assert nights[1]["subject"] == "halpmc tiny: passed: all conform, as before (2 cells)"
    assert Path(nights[1]["run"]["report"]).is_file()


def test_the_same_by_hand_as_the_text_says(origin: Path) -> None:
    text = (project_root() / "docs/ci.md").read_text().partition("The same by hand")[2]
    lines = re.findall(r"^ {4}(.*)$", text, re.MULTILINE)
    assert len(lines) == 5
    setup = "sh install.sh; mkdir -p build; PATH=$PWD/bin:$PATH"
    script = "\n".join([setup, *lines]).replace("ci/matrices/demo.yaml", "tiny.yaml")
    run(script, origin)
    [folder] = (origin / "runs").glob("*-tiny")
    assert cells_of(folder) == CELLS
