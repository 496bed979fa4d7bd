"""Who uses the host's counters: VMs with a virtual PMU side by side, or one alone that wants to see what without is."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.deadlines import Deadline, wait_for
from harness.paths import cache_dir

#: The cells that run now end within this, in seconds.
WAIT_S = 3600.0
TICK_S = 0.2


@contextmanager
def counter_use(
    *, alone: bool, folder: Path | None = None, wait_s: float = WAIT_S
) -> Generator[None, None, None]:
    """Use the host's counters while the context lasts, with others of this user who share them, or `alone`.

    Who wants them alone waits for those who have them, and whoever comes later waits behind. Raises DeadlineExceeded.
    """
    folder = folder or cache_dir() / "host"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with ExitStack() as waiting:
            _lock(waiting, folder / ".counters-queue", fcntl.LOCK_EX, wait_s)
            _lock(stack, folder / ".counters", fcntl.LOCK_EX if alone else fcntl.LOCK_SH, wait_s)
        yield


def _lock(stack: ExitStack, path: Path, kind: int, wait_s: float) -> None:
    """Hold a lock as long as `stack` lasts; the kernel frees it when its owner dies."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, fd)

    def locked(deadline: Deadline) -> bool | None:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            deadline.last_seen = f"{path} is locked"
            return None
        return True

    wait_for("the host's counters, which another cell uses", wait_s, locked, interval=TICK_S)
