"""Reasons of results for people: what a clause says is told once, and like failures are known as such."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.contract.clauses import CLAUSES

_CHANCE = re.compile(r"\b(handle|handle cell holds|thread|round|stamp) (?:0x[0-9a-f]+|\d+)")
_FOLDER = re.compile(r"(?<!\S)\S*/cells/\S+")


def sentence(clause: str) -> str:
    """A clause's own sentence and source, as the reason of a violation has them; empty for one not in the catalogue."""
    known = CLAUSES.get(clause)
    return f"{known.title.rstrip('.')} ({known.source})" if known else ""


def joined(clause: str, reasons: Sequence[str]) -> str:
    """Reasons of several tests of one clause as one; what they all rest on is behind the last of them alone."""
    reasons = list(reasons)
    if rest := sentence(clause):
        rest = f" [{rest}]"
        last = max((n for n, reason in enumerate(reasons) if reason.endswith(rest)), default=0)
        reasons[:last] = [reason.removesuffix(rest) for reason in reasons[:last]]
    return "; ".join(dict.fromkeys(reasons))


def seen(clause: str, reason: str) -> str:
    """What was seen: a reason without the clause's sentence and source, for where these are shown beside it."""
    if told := sentence(clause):
        reason = reason.replace(f" [{told}]", "").replace(f"[{told}; ", "[")
    return reason


def alike(reason: str) -> str:
    """A reason without what differs from try to try of the same: handles, who was first in a race, and folders."""
    return _FOLDER.sub("…", _CHANCE.sub(r"\1 …", reason))
