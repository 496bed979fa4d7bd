"""Watching an installation: marks, restarts, screens; keys where the medium wants one; an end, whatever happens."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from harness.caching import Say
from harness.config.windows import WindowsSetup
from harness.deadlines import timeout_factor
from harness.errors import DeadlineExceeded, GuestError
from harness.imaging.windows_phases import WORDS, Marks, Progress, Unmarked
from harness.imaging.windows_unmarked import Asker, Stillness
from harness.vm.screens import ScreenRing
from harness.vm.vm import Vm

POLL_S = 0.2
HEARTBEAT_S = 60.0
#: A medium's "Press any key" waits five seconds, from the moment that the firmware starts it.
FIRMWARE_STARTS = "BdsDxe: starting"
PROMPT_S, KEY_EVERY_S = 6.0, 0.5
KEY = "ret"  # which means nothing to the boot manager and to Setup while they load
NO_MARKS = (
    "no marks: this machine has no serial port for Windows; its restarts, screen and disk are watched, "
    "and its end is asked over SSH"
)


@dataclass(frozen=True)
class Installed:
    """How an installation went: seconds per phase, restarts, phases without a mark, and the guest's SSH host key."""

    seconds: dict[str, float]
    reboots: int
    missed: tuple[str, ...]
    host_key: str


class Supervisor:
    """Watches one running VM until its guest is ready.

    `serial` is the log of the first serial port. With `press_keys` the medium waits for a key. With `asker` no marks
    come on the serial port: it brings what the guest can tell, and nothing may stand still for long.
    """

    def __init__(
        self,
        vm: Vm,
        windows: WindowsSetup,
        serial: Path,
        screens: ScreenRing,
        *,
        press_keys: bool,
        say: Say,
        asker: Asker | None = None,
    ) -> None:
        self.progress = (Unmarked if asker else Progress)(windows, timeout_factor())
        self._asker = asker
        self._stillness = Stillness(vm, screens)
        self._vm = vm
        self._serial = serial
        self._screens = screens
        self._press_keys = press_keys
        self._say = say
        self._marks = Marks()
        self._start = time.monotonic()
        self._read = 0
        self._prompt_until = 0.0
        self._next_key = 0.0
        self._next_beat = HEARTBEAT_S

    def run(self) -> Installed:
        """Wait for the end. Raises DeadlineExceeded naming the phase, GuestError, and what `Vm.check` raises."""
        pause = threading.Event()
        self._tell(NO_MARKS if self._asker else WORDS["boot"])
        while not self.progress.finished:
            self._vm.check()
            now = self._now()
            self._listen(now)
            self._count_reboots()
            self._judge(now)
            self._key(now)
            if now >= self._next_beat:
                self._next_beat = now + HEARTBEAT_S
                self._tell(f"still {self.progress.words}: {self._where(now)}")
            pause.wait(POLL_S)
        progress = self.progress
        if not progress.host_key:
            raise GuestError("the guest is ready, but has never told its SSH host key")
        return Installed(dict(progress.seconds), progress.reboots, tuple(progress.missed), progress.host_key)

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _listen(self, now: float) -> None:
        with self._serial.open("rb") as log:
            log.seek(self._read)
            news = log.read()
        self._read += len(news)
        text = news.decode("ascii", errors="replace")
        if FIRMWARE_STARTS in text:
            self._prompt_until = now + PROMPT_S
        for mark in self._asker.news(now) if self._asker else self._marks.feed(text):
            if said := self.progress.hear(mark, now):
                self._tell(said)

    def _count_reboots(self) -> None:
        seen = sum(event.name == "RESET" and bool(event.data.get("guest")) for event in self._vm.qmp.events)
        while self.progress.reboots < seen:
            self.progress.reboots += 1
            self._tell(f"restart {self.progress.reboots}")

    def _judge(self, now: float) -> None:
        progress = self.progress
        if progress.failure:
            raise GuestError(
                f"the guest's setup failed at {progress.failure}",
                remedy="see the last screen and the serial log; then start the build again",
            )
        if progress.too_many_reboots:
            usual = progress.windows.reboots
            raise GuestError(
                f"the machine restarted {progress.reboots} times, where an installation does it {usual} times: "
                "it goes round in circles",
                remedy="look at the last screens: Setup, or Windows' repair, says there why it restarts",
            )
        missed = len(progress.missed)
        if not progress.finished and progress.overdue(now):
            raise DeadlineExceeded(
                f"installing Windows: {progress.words}",
                progress.limit,
                self._where(now),
                remedy="look at the last screen; windows.limits in the guest definition gives a slow host more time",
            )
        if len(progress.missed) > missed:
            self._tell(f"no mark of it, going on: {WORDS[progress.phase]}")
        if self._asker and not progress.finished:
            self._judge_stillness(now)

    def _judge_stillness(self, now: float) -> None:
        limit = self.progress.windows.still_s * timeout_factor()
        if self._stillness.seconds(now) > limit:
            raise DeadlineExceeded(
                "installing Windows: something that moves on its screen, its disk or its media",
                limit,
                self._where(now),
                remedy="look at the last screen: Setup may ask something there; windows.still_s is how long it may",
            )

    def _key(self, now: float) -> None:
        due = self._press_keys and self.progress.booting and now < self._prompt_until
        if due and now >= self._next_key:
            self._next_key = now + KEY_EVERY_S
            self._vm.execute("send-key", keys=[{"type": "qcode", "data": KEY}])

    def _where(self, now: float) -> str:
        progress, screens = self.progress, self._screens.screens
        screen = f", last screen {screens[-1]}" if screens else ""
        step = f", in step {progress.step!r} of our setup" if progress.step else ""
        spent = f"{now - progress.began:.0f} of {progress.limit:.0f} s"
        told = f", {self._asker.last}" if self._asker and self._asker.last else ""
        return f"{spent}, {progress.reboots} restarts{step}{told}{screen}"

    def _tell(self, text: str) -> None:
        self._say(f"[{self._now():5.0f} s] {text}")
