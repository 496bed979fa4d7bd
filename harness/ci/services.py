"""The CI services that workflow files are made for, and when a workflow runs."""

from __future__ import annotations

from enum import StrEnum


class Service(StrEnum):
    """Whose language a workflow file is in."""

    GITHUB = "github"
    GITLAB = "gitlab"
    JENKINS = "jenkins"


class Kind(StrEnum):
    """When a workflow runs: at a time of the day, for a change that is proposed, or when somebody starts it."""

    NIGHTLY = "nightly"
    PULL_REQUEST = "pull-request"
    MANUAL = "manual"
