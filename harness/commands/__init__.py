"""Groups of the `halpmc` command: each imports its parts when it is used."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout stays the answer."""
    print(text, file=sys.stderr, flush=True)
