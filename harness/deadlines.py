"""Every wait has a name and a deadline, and says on expiry where it was stuck and what it last saw."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from harness.errors import DeadlineExceeded, UsageError

T = TypeVar("T")

FACTOR_VARIABLE = "HALPMC_TIMEOUT_FACTOR"


def timeout_factor() -> float:
    """The one global factor that scales all deadlines (environment variable HALPMC_TIMEOUT_FACTOR, default 1)."""
    text = os.environ.get(FACTOR_VARIABLE, "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0.0 < factor <= 1000.0:
        raise UsageError(
            f"{FACTOR_VARIABLE}={text!r} is not a factor", remedy="use a number above 0, such as 2.5"
        )
    return factor


class Deadline:
    """A point in time with a name. `last_seen` is kept up to date by whoever waits, for the error message."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.seconds = seconds * timeout_factor()
        self.last_seen = ""
        self._start = time.monotonic()

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._start + self.seconds - time.monotonic())

    def remaining_unscaled(self) -> float:
        """Seconds left, for a callee that scales what it is given by the same factor."""
        return self.remaining() / timeout_factor()

    def elapsed(self) -> float:
        """Seconds since the deadline was set."""
        return time.monotonic() - self._start

    def expired(self) -> bool:
        """Whether the time is up."""
        return self.remaining() == 0.0

    def error(self) -> DeadlineExceeded:
        """The error to raise when the time is up."""
        return DeadlineExceeded(self.name, self.seconds, self.last_seen)

    def check(self) -> None:
        """Raise DeadlineExceeded when the time is up."""
        if self.expired():
            raise self.error()


def wait_for(
    name: str,
    seconds: float,
    attempt: Callable[[Deadline], T | None],
    *,
    interval: float = 0.05,
    wake: threading.Event | None = None,
) -> T:
    """Call `attempt` until it returns something that is not None, at most for `seconds` (scaled).

    `attempt` gets the deadline, may set its `last_seen`, and may raise to end the wait at once. Between attempts the
    wait blocks on `wake`, so that a caller with an event to wait for loses no time.
    """
    deadline = Deadline(name, seconds)
    pause = wake or threading.Event()
    while True:
        result = attempt(deadline)
        if result is not None:
            return result
        deadline.check()
        pause.wait(min(interval, deadline.remaining()))
