"""A person at the session: a failed test's VM to look into, at once (pause) or when the session is over (keep).

A VM is a child of the session and dies with it, whatever ends that: nothing is ever left behind. So a VM that is kept
needs a session that stays, and that needs somebody who ends it. Without a terminal both are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from harness.errors import HalpmcError, UsageError
from harness.plugin_options import setting, switch
from harness.plugin_xdist import distributed

if TYPE_CHECKING:
    from harness.runs.cell import CellRun
    from harness.runs.guest import Guest
    from harness.vm.vm import Vm


@dataclass
class Kept:
    """A VM that outlives its test: what keeps it, and what to tell of it."""

    resources: ExitStack
    text: list[str]


@dataclass
class Hold:
    """What this session does with VMs for the person at the terminal."""

    config: pytest.Config
    keep: str
    pause: bool
    failed: list[Vm] = field(default_factory=list)
    kept: Kept | None = None
    dropped: bool = False
    test: str = ""

    @classmethod
    def of(cls, config: pytest.Config) -> Hold:
        """As the settings say. Raises UsageError where nobody could end it."""
        keep = setting(config, "keep")[0] or "never"
        hold = cls(config, keep, switch(config, "pause_on_failure"))
        if hold.active and not config.option.collectonly:
            hold._require_somebody()
        return hold

    @property
    def active(self) -> bool:
        """Whether a VM may have to wait for somebody."""
        return self.pause or self.keep != "never"

    def _require_somebody(self) -> None:
        name = "pause_on_failure" if self.pause else "keep"
        remedy = (
            "run pytest in a terminal, in one process; elsewhere a failed test leaves its evidence in the cell's "
            "folder, and `halpmc shell CELL_FOLDER` starts the same VM again"
        )
        if distributed(self.config):
            raise UsageError(f"{name}: the workers of xdist have no terminal", remedy=remedy)
        with self._terminal():
            if not sys.stdin.isatty():
                raise UsageError(
                    f"{name}: a VM waits for you at this terminal, and stdin is none", remedy=remedy
                )

    def attach_to(self, running: CellRun) -> None:
        """Have the cell's VMs ready for a person, and hear of their end."""
        if self.active:
            running.ports = running.ports.model_copy(update={"monitor": True})
            running.on_leave = lambda guest, resources: self._leave(running, guest, resources)

    def saw(self, item: pytest.Item, running: CellRun, report: pytest.TestReport) -> None:
        """Hear of a test's result while its guest still stands; stop here when that is wanted."""
        self.test = item.nodeid
        guest = running.standing
        if not report.failed or guest is None:
            return
        self.failed.append(guest.vm)
        if self.pause:
            _stop_the_clock(item)
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = str(crash.message if crash is not None else report.longrepr).strip().partition("\n")[0]
            title = f"halpmc: {item.nodeid} failed in its {report.when}: {reason}"
            self._wait([title, *ways_into(running, guest), "Enter goes on, Ctrl-C ends the session: "])

    def _leave(self, running: CellRun, guest: Guest, resources: ExitStack) -> None:
        """Take over a guest that is about to end, when it is the one to keep."""
        first_failed = self.keep == "failed" and guest.vm in self.failed and self.kept is None
        if first_failed or self.keep == "always":
            self.drop()
            text = [f"halpmc: kept: the VM of {self.test}", *ways_into(running, guest)]
            self.kept = Kept(resources.pop_all(), text)

    def wait_at_the_end(self) -> None:
        """Wait with the kept VM until the person is done with it, then end it."""
        if self.kept is None:
            return
        try:
            if not self.dropped:
                self._wait([*self.kept.text, "Enter or Ctrl-C ends it: "])
        except KeyboardInterrupt:
            pass
        finally:
            self.drop()

    def drop(self) -> None:
        """End the VM that is kept. What goes wrong with it now is nobody's result any more."""
        kept, self.kept = self.kept, None
        if kept is not None:
            with suppress(HalpmcError):
                kept.resources.close()

    def _wait(self, text: Iterable[str]) -> None:
        """Print, and read a line from the terminal."""
        with self._terminal():
            sys.stdout.write("\n" + "\n".join(text))
            sys.stdout.flush()
            sys.stdin.readline()

    @contextmanager
    def _terminal(self) -> Generator[None, None, None]:
        """The terminal instead of pytest's capture.

        Between the phases of a test, and outside of tests, pytest has suspended its capture but for stdin.
        """
        capture = self.config.pluginmanager.getplugin("capturemanager")
        if capture is None:
            yield
            return
        capture.suspend_global_capture(in_=True)
        try:
            yield
        finally:
            capture.resume_global_capture()
            capture.suspend_global_capture(in_=False)


def ways_into(running: CellRun, guest: Guest) -> list[str]:
    """The ways into a guest as lines, or why there is none."""
    from harness.runs.access import lines, ways

    starter = running.starter
    try:
        return lines(ways(guest.vm, starter.image, guest.vm.folder, starter.ports, patient=True))
    except HalpmcError as error:  # the VM is gone: that may be what failed
        return [f"no way into it: {error.message}"]


def _stop_the_clock(item: pytest.Item) -> None:
    """pytest-timeout, where it is there, does not count the time of a person."""
    if item.config.pluginmanager.hasplugin("timeout"):
        item.config.hook.pytest_timeout_cancel_timer(item=item)
