"""The nearest known name to one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def did_you_mean(word: str, known: Collection[str], *, plural: str = "known names") -> str:
    """The remedy for an unknown word: the nearest known one, or all of them when none is near."""
    spelled = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    if near:
        return f"did you mean {spelled[near[0]]!r}?"
    return f"{plural}: {', '.join(sorted(known))}" if known else f"there are no {plural}"
