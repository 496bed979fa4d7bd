"""How long each phase took, told as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

OnPhase = Callable[[str, float], None]


class Phases:
    """Measures named phases; one that ends by an exception is not counted, since only finished ones compare.

    `seconds` keeps them in order; `on_phase(name, seconds)` hears each one when it ends.
    """

    def __init__(self, on_phase: OnPhase | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_phase = on_phase

    @contextmanager
    def __call__(self, name: str) -> Generator[None, None, None]:
        """Measure what runs inside."""
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start
        if self._on_phase is not None:
            self._on_phase(name, self.seconds[name])
