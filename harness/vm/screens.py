"""What the screen showed lately: the last few different screens of a running machine."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from pathlib import Path
from types import TracebackType

from harness.deadlines import Deadline
from harness.errors import DeadlineExceeded, HalpmcError
from harness.vm.pictures import ppm_to_png, take_ppm
from harness.vm.qmp import Qmp

SCREEN_S = 5.0


class ScreenRing:
    """Keeps the last `keep` different screens as `folder`/screen-NNNN.png, looking every `interval_s`.

    A screen counts as new when it is none of those kept: a blinking cursor is no news. Runs inside the `with`
    block. It ends by itself when there is nothing to look at (no display device, QEMU gone), and `off` says why;
    nothing else of the harness is touched by that.
    """

    def __init__(self, qmp: Qmp, folder: Path, *, keep: int = 8, interval_s: float = 2.0) -> None:
        self.off = ""
        self._qmp = qmp
        self._folder = folder
        self._interval_s = interval_s
        self._kept: deque[tuple[bytes, Path]] = deque()
        self._keep = keep
        self._taken = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="screen-ring", daemon=True)

    def __enter__(self) -> ScreenRing:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Look no more. Idempotent."""
        self._stop.set()
        self._thread.join()

    @property
    def screens(self) -> tuple[Path, ...]:
        """The kept screens, oldest first."""
        return tuple(path for _, path in tuple(self._kept))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
            except DeadlineExceeded:
                pass  # QEMU is busy; the next look may be luckier
            except (HalpmcError, OSError) as error:
                self.off = str(error)
                return
            self._stop.wait(self._interval_s)

    def _look(self) -> None:
        ppm = take_ppm(self._qmp, self._folder / "screen.ppm", Deadline("the machine's screen", SCREEN_S))
        digest = hashlib.blake2b(ppm).digest()
        if digest in (known for known, _ in self._kept):
            return
        self._taken += 1
        path = self._folder / f"screen-{self._taken:04}.png"
        path.write_bytes(ppm_to_png(ppm))
        self._kept.append((digest, path))
        if len(self._kept) > self._keep:
            _, oldest = self._kept.popleft()
            oldest.unlink(missing_ok=True)
