"""ETW sessions that hold a guest's counters: who else wants them on Windows."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from harness.driver import protocol
from harness.errors import ClientError
from harness.runs.guest import Guest
from harness.runs.lifetime import NotHere

WPR = r"C:\Windows\System32\wpr.exe"
"""The Windows Performance Recorder: part of Windows 10, of Server 2016, and of later ones."""


class EtwFacility(Protocol):
    """Starts ETW sessions that record hardware counters ("PMU events are for one session only")."""

    def session(self) -> AbstractContextManager[str]:
        """A session that lasts as long as the context; its value is what the recorder said when it was asked to start.

        Empty where it started: then the session holds the counters.
        """

    def holder(self) -> str:
        """Who holds the counters, as the recorder lists it (`wpr -pmcsources`)."""


def etw_facility(guest: Guest) -> EtwFacility:
    """The guest's own. Raises NotHere with what the guest says where there is none."""
    try:
        guest.session.call("file.hash", protocol.FileHash, path=WPR)
    except ClientError as error:
        raise NotHere(f"the guest has no ETW recorder ({WPR}): {error.message}") from None
    raise NotHere(f"the guest has {WPR}, which the harness cannot drive yet")
