"""A CI service as far as a shell goes: fresh clones, steps in order, artifacts and caches carried between jobs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BASH = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
JOB_S = 300.0


def git(folder: Path, *words: str) -> str:
    """git with an identity of its own; its output."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", "-C", folder, *identity, *words], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def shell(script: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A script as a service runs it."""
    return subprocess.run(
        [*BASH, "-c", script],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=JOB_S,
        check=False,
    )


@dataclass
class Job:
    """What became of a job: its result as GitHub calls it, its output, what it wrote into its summary."""

    result: str
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


class GitHub:
    """Runs a workflow: actions that move files are done here, and each `run` step by the shell."""

    def __init__(self, origin: Path, home: Path) -> None:
        self.origin = origin
        self.home = home
        self.artifacts = home / "artifacts"
        self.caches = home / "caches"
        self._clones = 0

    def run(
        self, workflow: dict[str, Any], facts: Mapping[str, str], *, lose: str = ""
    ) -> dict[str, list[Job]]:
        """All jobs in the order in which they are written; `lose` is an artifact that never arrives."""
        shutil.rmtree(self.artifacts, ignore_errors=True)
        done: dict[str, list[Job]] = {}
        known = dict(facts)
        for name, job in workflow["jobs"].items():
            needs = job.get("needs", [])
            for other in [needs] if isinstance(needs, str) else needs:
                results = {one.result for one in done[other]}
                known[f"needs.{other}.result"] = "success" if results == {"success"} else "failure"
                for key, value in done[other][0].outputs.items():
                    known[f"needs.{other}.outputs.{key}"] = value
            shards = job.get("strategy", {}).get("matrix", {}).get("shard", [None])
            if not holds(job.get("if", "true"), known):
                done[name] = [Job("skipped")]
                continue
            done[name] = [
                self._job(workflow, job, {**known, **({} if n is None else {"matrix.shard": str(n)})})
                for n in shards
            ]
            if lose:
                shutil.rmtree(self.artifacts / lose, ignore_errors=True)
        return done

    def _job(self, workflow: dict[str, Any], job: dict[str, Any], known: dict[str, str]) -> Job:
        self._clones += 1
        folder = self.home / f"clone-{self._clones}"
        files = {
            name: self.home / f"{name}-{self._clones}"
            for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
        }
        for path in files.values():
            path.touch()
        environment = {name: str(path) for name, path in files.items()}
        for level in (workflow, job):
            environment |= {key: filled(value, known) for key, value in level.get("env", {}).items()}
        found = Job("success")
        for step in job["steps"]:
            always = "always()" in step.get("if", "") or "cancelled()" in step.get("if", "")
            if found.result == "failure" and not always:
                continue
            if "uses" in step:
                ok = self._action(step, folder, known)
            else:
                programs = ":".join([*files["GITHUB_PATH"].read_text().split(), os.environ["PATH"]])
                extra = dict(line.split("=", 1) for line in files["GITHUB_ENV"].read_text().splitlines())
                ran = shell(filled(step["run"], known), folder, {**environment, **extra, "PATH": programs})
                found.log += ran.stdout + ran.stderr
                ok = ran.returncode == 0
                for line in files["GITHUB_OUTPUT"].read_text().splitlines():
                    key, value = line.split("=", 1)
                    known[f"steps.{step['id']}.outputs.{key}"] = value
                files["GITHUB_OUTPUT"].write_text("")
            if not ok:
                found.result = "failure"
        found.outputs = {key: filled(value, known) for key, value in job.get("outputs", {}).items()}
        found.summary = files["GITHUB_STEP_SUMMARY"].read_text()
        return found

    def _action(self, step: dict[str, Any], folder: Path, known: Mapping[str, str]) -> bool:
        given = {key: filled(str(value), known) for key, value in step.get("with", {}).items()}
        match step["uses"].partition("@")[0]:
            case "actions/checkout":
                git(self.home, "clone", "--quiet", str(self.origin), str(folder))
            case "actions/upload-artifact":
                return self._upload(folder / given["path"], given)
            case "actions/download-artifact":
                self._download(folder / given["path"], given)
            case "actions/cache/save":
                self._copy(folder, self.caches / given["key"], given["path"])
            case "actions/cache/restore":
                for kept in sorted(self.caches.glob(given["restore-keys"] + "*"))[-1:]:
                    self._copy(kept, folder, given["path"])
            case action:
                raise AssertionError(f"{action} is not known here")
        return True

    def _upload(self, source: Path, given: Mapping[str, str]) -> bool:
        if not source.exists():
            return given.get("if-no-files-found") != "error"
        target = self.artifacts / given["name"]
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        if source.is_dir():  # an artifact begins below the folder that was named
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
        return True

    def _download(self, target: Path, given: Mapping[str, str]) -> None:
        if "name" in given:
            shutil.copytree(self.artifacts / given["name"], target, dirs_exist_ok=True)
            return
        for artifact in self.artifacts.glob(given["pattern"]):
            shutil.copytree(artifact, target / artifact.name)

    @staticmethod
    def _copy(source: Path, target: Path, pattern: str) -> None:
        for path in source.glob(pattern):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)


def filled(text: object, known: Mapping[str, str]) -> str:
    """A text with its expressions replaced; one that is not known is an error."""
    return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda match: known[match[1]], str(text))


def holds(condition: object, known: Mapping[str, str]) -> bool:
    """A condition of the few forms that our workflows have."""
    text = str(condition).removeprefix("${{").removesuffix("}}").strip()
    for term in text.split("&&"):
        compared = re.fullmatch(r"([\w.]+) (==|!=) '([^']*)'", term.strip())
        if compared:
            if (known.get(compared[1], "") == compared[3]) is not (compared[2] == "=="):
                return False
        elif term.strip().lower() not in ("true", "!cancelled()", "always()"):
            raise AssertionError(f"{term} is not known here")
    return True
