"""Where an installation is, from the marks that the guest writes to its serial port, and from its restarts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, get_args

from harness.config.windows import Phase, WindowsSetup
from harness.imaging.windows_answer import MARK_PREFIX

PHASES: tuple[Phase, ...] = get_args(Phase)
#: What begins each phase; the first begins with the power. `ready` ends the last one.
BEGINS: dict[str, Phase] = {
    "winpe": "winpe",
    "copy": "copy",
    "specialize": "specialize",
    "oobe": "oobe",
    "logon": "logon",
    "step restart": "ready",
}
END = "ready"
WORDS: dict[Phase, str] = {
    "boot": "starting the medium",
    "winpe": "Windows PE",
    "copy": "laying out the disk and copying Windows",
    "specialize": "finding devices (specialize)",
    "oobe": "first start (OOBE)",
    "logon": "first logon, and our setup",
    "ready": "restart, until it is ready",
}
UNSEEN = "the installation, whose phases nobody tells"


class Marks:
    """Complete lines out of a growing serial log: the guest's marks, whatever the firmware writes in between."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str]:
        """The marks in `text` and in what came before it, without their prefix."""
        *lines, self._rest = (self._rest + text).split("\n")
        found = (line.rpartition(MARK_PREFIX) for line in lines)
        return [mark.strip() for _, prefix, mark in found if prefix]


@dataclass
class Progress:
    """The state of one installation. Times are seconds since its start, given by whoever has the clock; limits are
    scaled by `factor`.

    `begins` has the marks that begin a phase; `seconds` how long each finished phase took; `missed` the phases whose
    beginning was never told.
    """

    begins: ClassVar[Mapping[str, Phase]] = BEGINS

    windows: WindowsSetup
    factor: float = 1.0
    phase: Phase = "boot"
    began: float = 0.0
    reboots: int = 0
    finished: bool = False
    step: str = ""
    host_key: str = ""
    failure: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    missed: list[Phase] = field(default_factory=list)

    def hear(self, mark: str, now: float) -> str:
        """Take in a mark; what to tell the user, empty when there is nothing new."""
        if mark.startswith("hostkey "):
            self.host_key = mark.removeprefix("hostkey ").strip()
            return "the guest has told its host key"
        if mark.startswith("failed "):
            self.failure = mark.removeprefix("failed ")
            return f"failed: {self.failure}"
        if mark == END:
            self._leave(now)
            self.finished = True
            return "ready"
        if mark.startswith("step "):
            self.step = mark.removeprefix("step ")
        begun = self.begins.get(mark)
        if begun is None:
            return f"our setup: {self.step}" if mark.startswith("step ") else ""
        if PHASES.index(begun) <= PHASES.index(self.phase):
            return ""
        self._leave(now)
        self.missed += PHASES[PHASES.index(self.phase) + 1 : PHASES.index(begun)]
        self.phase = begun
        return WORDS[begun]

    def overdue(self, now: float) -> bool:
        """Whether the phase takes longer than it may. One that may pass unseen is passed, and is not overdue."""
        while now - self.began > self.limit:
            if self.phase not in self.windows.quiet_phases:
                return True
            at = self.began + self.limit
            self._leave(at)
            self.phase = PHASES[PHASES.index(self.phase) + 1]
            self.missed.append(self.phase)
        return False

    @property
    def limit(self) -> float:
        """How long the phase may take, in seconds."""
        return self.windows.limits.of(self.phase) * self.factor

    @property
    def words(self) -> str:
        """The phase, for the user."""
        return WORDS[self.phase]

    @property
    def booting(self) -> bool:
        """Whether the medium is being started, which may want a key: later a key would start it anew."""
        return self.phase == "boot"

    @property
    def too_many_reboots(self) -> bool:
        """Whether the machine was restarted more often than an installation does it."""
        return self.reboots > self.windows.reboots + self.windows.spare_reboots

    def _leave(self, now: float) -> None:
        self.seconds[self.phase] = round(now - self.began, 1)
        self.began = now


@dataclass
class Unmarked(Progress):
    """An installation whose machine has no serial port for Windows: one stretch, up to the end that SSH tells.

    Its marks come late, out of a file of the guest, so they say what has happened, and never when.
    """

    begins: ClassVar[Mapping[str, Phase]] = {}

    @property
    def limit(self) -> float:
        """How long all of it may take, in seconds."""
        return self.windows.limits.total * self.factor

    @property
    def words(self) -> str:
        """What is known: no phase."""
        return UNSEEN

    @property
    def booting(self) -> bool:
        """Whether the machine was never restarted: the medium starts once."""
        return self.reboots == 0

    def overdue(self, now: float) -> bool:
        """Whether it takes longer than all phases together may."""
        return now > self.limit

    def _leave(self, now: float) -> None:
        self.seconds["installation"] = round(now, 1)
        self.missed = list(PHASES)
