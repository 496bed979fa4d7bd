"""ETW sessions that hold a guest's counters: who else wants them on Windows."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from harness.driver.vocabulary_messages import ProfileSource
from harness.errors import ClientError
from harness.runs.guest import Guest
from harness.runs.lifetime import NotHere
from harness.windows.system import System

TIMER = 0
"""The profile source that needs no PMU (KPROFILE_SOURCE, wdm.h: ProfileTime)."""


class EtwFacility:
    """Starts ETW sessions that record hardware counters ("PMU events are for one session only")."""

    def __init__(self, system: System, sources: tuple[ProfileSource, ...]) -> None:
        self._system = system
        self._sources = sources

    @contextmanager
    def session(self) -> Generator[str, None, None]:
        """A session that lasts as long as the context; its value is what Windows said when it was asked to start.

        Empty where it started: then the session holds a counter.
        """
        try:
            self._system.start_pmc_session([self._sources[0].source])
        except ClientError as error:
            yield error.message
            return
        try:
            yield ""
        finally:
            self._system.stop_pmc_session()

    def offered(self) -> str:
        """The sources that Windows offers: with counters of its own, more than the timer."""
        return ", ".join(source.name for source in self._sources)


def etw_facility(guest: Guest) -> EtwFacility:
    """The guest's own. Raises NotHere with what the guest says where there is none, or where it counts nothing."""
    system = System(guest.session)
    try:
        sources = tuple(source for source in system.pmc_sources() if source.source != TIMER)
    except ClientError as error:
        raise NotHere(f"the guest cannot be asked for ETW's sources: {error.message}") from None
    if not sources:
        raise NotHere(
            "ETW offers the timer alone: Windows found no PMU for itself, so no session can hold one"
        )
    return EtwFacility(system, sources)
