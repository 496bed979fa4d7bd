"""An installation that tells nothing by itself: its end, asked over SSH, and what of it can be seen from outside."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path, PureWindowsPath

from harness.config.models import GuestDefinition, GuestTimeouts
from harness.errors import DeadlineExceeded, GuestError, TransportError
from harness.guest.login import ask_host_key
from harness.guest.ssh import SshTransport
from harness.imaging.windows_answer import marks_file
from harness.imaging.windows_phases import Marks
from harness.vm.screens import ScreenRing
from harness.vm.vm import Vm

ASK_EVERY_S = 15.0
LOOK_EVERY_S = 5.0
#: Of one question; a server that is slower is asked again. Most of an installation there is none.
PATIENCE = GuestTimeouts(banner_s=20.0, login_s=60.0)
NO_SERVER = "no SSH server"


class Asker:
    """Reads, again and again, the file in which a guest keeps its marks, with the key of the image.

    Nobody waits for it: questions are asked in a thread of their own. That a server answers is no news, the marks are.
    `last` is what came of the last question. A context manager.
    """

    def __init__(self, vm: Vm, definition: GuestDefinition, key: Path, folder: Path) -> None:
        self.last = ""
        self._vm = vm
        self._user = definition.ssh.user
        self._key = key
        self._file = marks_file(definition.drop_folder)
        self._copy = folder / PureWindowsPath(self._file).name
        self._heard = 0
        self._next = 0.0
        self._question: Future[str | None] | None = None
        self._stop = threading.Event()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="marks-over-ssh")

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._worker.shutdown()

    def news(self, now: float) -> list[str]:
        """The marks that were not heard before. Asks again when it is time to; `now` in seconds."""
        if self._question is None:
            if now >= self._next:
                self._question = self._worker.submit(self._ask)
            return []
        if not self._question.done():
            return []
        question, self._question = self._question, None
        self._next = now + ASK_EVERY_S
        try:
            text = question.result()
        except (
            DeadlineExceeded
        ) as error:  # most likely nobody is there yet: not a sentence of its own each time
            self.last = NO_SERVER if error.name == "SSH banner" else error.message
            return []
        except (TransportError, GuestError) as error:
            self.last = error.message
            return []
        marks = Marks().feed(text or "")
        self.last = (
            f"SSH answers: {marks[-1]!r}" if marks else f"SSH answers, but there is no mark in {self._file}"
        )
        new, self._heard = marks[self._heard :], max(self._heard, len(marks))
        return new

    def _ask(self) -> str | None:
        """The file's text; None while there is no such file."""
        # The port is our own VM's. The key that the file tells is pinned later, by whoever uses the image.
        host_key = ask_host_key(self._vm.ssh_port, self._go_on, PATIENCE)
        place = ("127.0.0.1", self._vm.ssh_port, self._user, self._key, host_key)
        with SshTransport.connect(*place, check=self._go_on, timeouts=PATIENCE) as transport:
            if not transport.files(self._file):
                return None
            transport.get(self._file, self._copy)
        return self._copy.read_text(encoding="utf-8", errors="replace")

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise CancelledError  # nobody waits for the answer any more


class Stillness:
    """For how long nothing has moved: neither the screen, nor what the machine reads and writes.

    A Windows that waits for somebody still writes now and then, and its Setup does not.
    """

    def __init__(self, vm: Vm, screens: ScreenRing) -> None:
        self._vm = vm
        self._screens = screens
        self._seen: object = None
        self._since = 0.0
        self._next = 0.0

    def seconds(self, now: float) -> float:
        """The seconds since something moved. Raises QemuError, DeadlineExceeded."""
        if now >= self._next:
            self._next = now + LOOK_EVERY_S
            drives = self._vm.execute("query-blockstats")
            moved = [[drive["stats"][name] for name in ("rd_bytes", "wr_bytes")] for drive in drives]
            seen = (moved, self._screens.screens[-1:])
            if seen != self._seen:
                self._seen, self._since = seen, now
        return now - self._since
