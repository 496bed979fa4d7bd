"""The forms of a row in rows.py: how a command is executed, by whom, or why by nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Place(StrEnum):
    """Where a command is executed."""

    DESK = "desk"  # no VM: tests/unit/test_docs_commands.py
    FIRST = "first"  # one command: it makes the run that those at RUN share
    RUN = "run"  # beside the folder of a real run, with VMs: tests/system/test_docs_commands.py


class Check(StrEnum):
    """What is checked of a command that cannot be executed."""

    PARSED = "parsed"  # every `halpmc` in it, by the real parser, up to the point before any work begins
    SYNTAX = "syntax"  # bash -n: of the line, and of the script that it names
    PLANNED = "planned"  # `halpmc run` in it becomes `halpmc plan`, which is executed
    COLLECTED = "collected"  # pytest finds tests for it (--collect-only), and runs none


@dataclass(frozen=True)
class Executed:
    """A command that a test executes. `prints` is a regular expression, found in what it prints."""

    command: str
    prints: str
    at: Place = Place.DESK
    instead: Mapping[str, str] = field(default_factory=dict)
    add: str = ""
    narrowed: str = ""
    code: int = 0


@dataclass(frozen=True)
class Elsewhere:
    """A command that another test executes."""

    command: str
    node: str
    through: str = ""


@dataclass(frozen=True)
class NotHere:
    """A command that cannot be executed here, and why."""

    command: str
    reason: str
    checks: tuple[Check, ...]


Row = Executed | Elsewhere | NotHere
