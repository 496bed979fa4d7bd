"""Known issues of a matrix: which cells and clauses each is about, and whether its time is over."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from harness.config.document import Document
from harness.config.expression import ExpressionError
from harness.config.facts import parse_choice
from harness.config.schema import BUILD, MatrixFile
from harness.config.suggest import did_you_mean


def check_known_issues(file: MatrixFile, document: Document, clauses: Collection[str]) -> None:
    """Raise ConfigError for a known issue whose expression, clause or id is wrong."""
    seen: set[str] = set()
    for number, issue in enumerate(file.known_issues):
        here = ("known_issues", number)
        if issue.id in seen:
            raise document.error((*here, "id"), f"there are two known issues {issue.id!r}")
        seen.add(issue.id)
        if issue.cells:
            try:
                parse_choice(issue.cells)
            except ExpressionError as error:
                raise document.error((*here, "cells"), error.message, remedy=error.remedy) from None
        for index, clause in enumerate(issue.clauses):
            if clauses and clause not in clauses:
                raise document.error(
                    (*here, "clauses", index),
                    f"there is no clause {clause!r}",
                    remedy=did_you_mean(clause, clauses, plural="clauses"),
                )


def expired(until: str, today: date, build: int | None) -> str:
    """Why a known issue is none any more, in words; empty while it is one.

    `build` is that of the guest: an issue that ends with a build does not end where the build is not known.
    """
    if until.startswith(BUILD):
        first = int(until.removeprefix(BUILD))
        return f"the guest's build {build} is not older than {first}" if build and build >= first else ""
    return f"it was known until {until}" if today > date.fromisoformat(until) else ""
