"""Which cells and clauses the files changed since a revision concern, by the rules in ci/changes.yaml."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harness.config.document import Document, read_document
from harness.config.expression import Expression, ExpressionError, Facts
from harness.config.facts import parse_choice
from harness.config.models import Model
from harness.config.suggest import did_you_mean
from harness.config.validate import validate
from harness.contract.clauses import CLAUSES
from harness.errors import UsageError
from harness.host.tools import require_tool

RULES = Path("ci/changes.yaml")
GIT_S = 60.0


class Concerns(StrEnum):
    """What a changed file concerns, when it is not some cells or clauses."""

    NOTHING = "nothing"
    EVERYTHING = "everything"
    ITS_CLAUSES = "its clauses"


class Rule(Model):
    """Files by their patterns (`*` within a folder, `**` across folders), and what a change of them concerns."""

    files: Annotated[tuple[str, ...], Field(min_length=1)]
    concerns: Concerns | None = None
    cells: str = ""
    clauses: tuple[str, ...] = ()


class ChangesFile(Model):
    """The form of ci/changes.yaml."""

    schema_version: Literal[1] = Field(alias="schema")
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Concern:
    """What one changed file concerns: the cells of `choice`, or all; these clauses, or (None) the whole suite."""

    choice: Expression | None
    clauses: frozenset[str] | None


@dataclass(frozen=True)
class Changes:
    """What all changed files concern together."""

    files: tuple[str, ...]
    concerns: tuple[Concern, ...]

    def clauses_for(self, facts: Facts, suite: Collection[str]) -> tuple[str, ...]:
        """The clauses of a cell's suite that are concerned, in its order; empty: the cell is not concerned."""
        wanted: set[str] = set()
        for concern in self.concerns:
            if concern.choice is None or concern.choice(facts):
                wanted.update(suite if concern.clauses is None else concern.clauses)
        return tuple(clause for clause in suite if clause in wanted)


def changes_since(revision: str, near: Path) -> Changes:
    """The changes since a revision, uncommitted and new files included, of the git checkout that `near` lies in.

    Raises UsageError when there is no checkout, no such revision or no ci/changes.yaml; ConfigError; ToolMissing.
    """
    top = Path(_git(near.absolute().parent, "rev-parse", "--show-toplevel").strip())
    rules_path = top / RULES
    if not rules_path.is_file():
        raise UsageError(
            f"{rules_path} is missing: nothing says what a changed file concerns",
            remedy="write it (docs/matrices.md), or run without --since",
        )
    commit = _commit(top, revision)
    changed = _git(top, "diff", "-z", "--name-only", "--no-renames", commit, "--").split("\0")
    changed += _git(top, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    files = tuple(sorted({name for name in changed if name}))
    document = read_document(rules_path)
    rules = _checked(validate(document, ChangesFile), document)
    concerns = (_concern(name, rules, top) for name in files)
    return Changes(files, tuple(concern for concern in concerns if concern is not None))


def _checked(
    file: ChangesFile, document: Document
) -> Sequence[tuple[Rule, re.Pattern[str], Expression | None]]:
    """The rules with their patterns and expressions compiled. ConfigError for what is wrong in them."""
    found = []
    for number, rule in enumerate(file.rules):
        here = ("rules", number)
        if (rule.concerns is None) == (not rule.cells and not rule.clauses):
            raise document.error(here, "a rule has either concerns, or cells, clauses or both")
        for index, name in enumerate(rule.clauses):
            if name not in CLAUSES:
                raise document.error(
                    (*here, "clauses", index),
                    f"there is no clause {name!r}",
                    remedy=did_you_mean(name, CLAUSES, plural="clauses"),
                )
        try:
            choice = parse_choice(rule.cells) if rule.cells else None
        except ExpressionError as error:
            raise document.error((*here, "cells"), error.message, remedy=error.remedy) from None
        found.append((rule, re.compile("|".join(map(_pattern, rule.files))), choice))
    return found


def _concern(
    name: str, rules: Sequence[tuple[Rule, re.Pattern[str], Expression | None]], top: Path
) -> Concern | None:
    """What a changed file concerns, by the first rule that matches it; None: nothing."""
    for rule, pattern, choice in rules:
        if pattern.fullmatch(name) is None:
            continue
        if rule.concerns is Concerns.NOTHING:
            return None
        if rule.concerns is Concerns.ITS_CLAUSES:
            return Concern(None, judged_in(top / name))
        return Concern(choice, frozenset(rule.clauses) or None)
    return Concern(None, None)


def judged_in(path: Path) -> frozenset[str] | None:
    """The clauses that a file of tests names in its markers; None, hence all, for one that is gone or unreadable."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
    return (
        frozenset(
            argument.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "clause"
            for argument in node.args
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        )
        or None
    )


def _pattern(glob: str) -> str:
    """A pattern of files as a regular expression over a path with slashes."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(words.get(part, re.escape(part)) for part in parts)


def _commit(top: Path, revision: str) -> str:
    """The hash of a revision, so that none that begins with a dash is taken for an option."""
    try:
        return _git(top, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    except UsageError as error:
        raise UsageError(
            f"there is no revision {revision!r} in {top}",
            remedy="--since takes a commit, branch or tag of this checkout",
            evidence={"git": error.message},
        ) from None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [require_tool("git"), "-C", folder, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=GIT_S,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise UsageError(
            f"git {words[0]} in {folder}: {said}",
            remedy="--since needs a git checkout around the matrix, or around this folder for a shipped one",
        )
    return done.stdout
