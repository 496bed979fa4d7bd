"""The shell scripts in workflow files, as the services would run them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml


def load(text: str) -> dict[str, Any]:
    """A workflow file as data. `on` is a word here, as it is for GitHub, and not YAML 1.1's true."""
    data = yaml.safe_load(re.sub(r"^on:", '"on":', text, flags=re.MULTILINE))
    assert isinstance(data, dict)
    return data


def github_scripts(workflow: dict[str, Any]) -> Iterator[str]:
    for job in workflow["jobs"].values():
        yield from (step["run"] for step in job["steps"] if "run" in step)


def gitlab_scripts(workflow: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and whole script of each job: what comes before is part of the same shell."""
    for name, job in workflow.items():
        if not name.startswith("."):
            base = workflow[job["extends"]]
            yield name, "\n".join((*base["before_script"], *job["script"]))


def jenkins_scripts(text: str) -> list[str]:
    """What Groovy hands to the shell: the texts in triple quotes, their escapes undone."""
    return [
        re.sub(r"\\(.)", r"\1", script) for script in re.findall(r"sh '''(.*?)(?<!\\)'''", text, re.DOTALL)
    ]
