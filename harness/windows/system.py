"""A guest's system by its own interfaces, through the client: numbers, bytes and XML, in any language of Windows."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from harness.driver import protocol
from harness.driver.session import ClientSession
from harness.driver.vocabulary_messages import (
    Boot,
    EtwSources,
    Events,
    FileList,
    FoundFile,
    Memory,
    Process,
    ProcessList,
    ProcessResult,
    ProfileSource,
)
from harness.errors import ClientError, GuestError

RUN_S = 60.0
#: On top of a command's own time, until the client's answer has come.
ANSWER_S = 30.0
EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
ERROR_FILE_NOT_FOUND = 2
MEMORY_MANAGEMENT = r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management"
#: Driver Verifier's standard options in VerifyDriverLevel (Microsoft's "Verifier command line"): special pool 1, IRQL
#: checking 2, pool tracking 8, I/O verification 0x10, deadlock detection 0x20, DMA checking 0x80, security checks
#: 0x100, miscellaneous checks 0x800, DDI compliance checking 0x20000.
STANDARD_FLAGS = 0x209BB
_DRIVER_FILE = re.compile(r"[\w.$-]+\.sys\b", re.IGNORECASE)


@dataclass(frozen=True)
class Ran:
    """How a command ended: `exit_code` has all 32 bits; what it wrote is bytes, in whatever code page it chose."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    def text(self) -> str:
        """The standard output: UTF-16 where it begins with its mark, else UTF-8 as far as it is; lines end as Unix'."""
        encoding = "utf-16" if self.stdout[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        return self.stdout.decode(encoding, "replace").replace("\r\n", "\n")


@dataclass(frozen=True)
class BootId:
    """Tells one boot from another, whatever the clock does: Windows counts its boots, others tell their time."""

    number: int
    booted: datetime

    def same_as(self, other: BootId) -> bool:
        """Whether both are of one boot; two times of one boot differ by as much as its clock was set meanwhile."""
        if self.number or other.number:
            return self.number == other.number
        return abs(self.booted - other.booted) < timedelta(seconds=1)


class System:
    """One guest's system. Raises ClientError with the name of Windows' error, and what the session raises."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    # -- processes ------------------------------------------------------------------------------------------

    def run(self, command: str, *, folder: str | None = None, timeout_s: float = RUN_S) -> Ran:
        """Run a command line (no shell: write `cmd /c …` for one) to its end; at 256 KiB a stream is cut: GuestError.

        Raises GuestError when it does not end in time; it was ended then.
        """
        limit_ms = max(1, int(timeout_s * 1000))
        done = self._session.call(
            "process.run",
            ProcessResult,
            timeout_s=timeout_s + ANSWER_S,
            command=command,
            folder=folder,
            timeout_ms=limit_ms,
        )
        said = {
            "stdout": done.stdout.decode("utf-8", "replace"),
            "stderr": done.stderr.decode("utf-8", "replace"),
        }
        if done.timed_out:
            raise GuestError(f"{command!r} did not end within {timeout_s:g} s in the guest", evidence=said)
        if done.cut:
            raise GuestError(f"{command!r} wrote more than the client keeps of a stream", evidence=said)
        return Ran(done.exit_code, done.stdout, done.stderr)

    def processes(self) -> tuple[Process, ...]:
        """All processes."""
        return self._session.call("process.list", ProcessList).processes

    def kill(self, pid: int) -> None:
        """TerminateProcess, and wait until it is gone."""
        self._session.call("process.kill", protocol.Empty, pid=pid)

    # -- files ----------------------------------------------------------------------------------------------

    def files(self, pattern: str) -> tuple[FoundFile, ...]:
        r"""Entries that match a path with wildcards in its last part (`C:\folder\*`). GuestError beyond 4,096."""
        found = self._session.call("file.list", FileList, pattern=pattern)
        if found.cut:
            raise GuestError(
                f"{pattern} matches more files than the client lists", remedy="use a narrower pattern"
            )
        return found.files

    def delete(self, path: str) -> None:
        """Delete one file."""
        self._session.call("file.delete", protocol.Empty, path=path)

    # -- boots ----------------------------------------------------------------------------------------------

    def boot(self) -> BootId:
        """Which boot this is."""
        boot = self._session.call("boot", Boot)
        return BootId(boot.number, EPOCH + timedelta(microseconds=boot.booted // 10))

    def nonpaged_pool(self) -> int | None:
        """Bytes of the kernel's nonpaged pool, all drivers' together; None where the system does not tell."""
        return self._session.call("memory", Memory).nonpaged

    # -- event log ------------------------------------------------------------------------------------------

    def events(self, channel: str = "System", since: int = 0) -> Generator[str, None, None]:
        """Events of a channel with record numbers above `since` as XML, the oldest first.

        Raises ClientError 50 ERROR_NOT_SUPPORTED in Wine. One that is too long for the client is a GuestError.
        """
        while True:
            found = self._session.call("events.read", Events, channel=channel, since=since)
            if found.left_out:
                raise GuestError(f"{found.left_out} events of {channel} are too long for the client")
            yield from found.events
            if not found.more or not found.events:
                return
            since = record_number(found.events[-1])

    # -- registry -------------------------------------------------------------------------------------------

    def value(self, path: str, name: str) -> int | str | None:
        r"""A value below HKLM\; None where it is not there."""
        try:
            return self._session.call("registry.get", protocol.RegistryValue, path=path, name=name).value
        except ClientError as error:
            if error.code == ERROR_FILE_NOT_FOUND:
                return None
            raise

    def verify_drivers(self, names: Sequence[str], flags: int = STANDARD_FLAGS) -> None:
        """Have Driver Verifier look after these drivers from the next boot on; none switches it off."""
        self._set("VerifyDrivers", "string", " ".join(names))
        self._set("VerifyDriverLevel", "dword", flags if names else 0)

    def verified_drivers(self) -> frozenset[str] | None:
        """File names, in lower case, of the drivers that Driver Verifier watches now; None where its tool fails.

        There is no interface for it. Names of files are the same in every language of the tool.
        """
        done = self.run("verifier /query")
        if done.exit_code != 0:
            return None
        return frozenset(name.lower() for name in _DRIVER_FILE.findall(done.text()))

    def _set(self, name: str, kind: str, value: int | str) -> None:
        self._session.call(
            "registry.set", protocol.Empty, path=MEMORY_MANAGEMENT, name=name, type=kind, value=value
        )

    # -- hardware counters ----------------------------------------------------------------------------------

    def pmc_sources(self) -> tuple[ProfileSource, ...]:
        """What the system's profiling can count; the timer alone where Windows found no PMU for itself."""
        return self._session.call("etw.sources", EtwSources).sources

    @contextmanager
    def pmc_session(self, sources: Sequence[int]) -> Generator[None, None, None]:
        """A trace session that holds counters for these sources as long as the context lasts. Raises as its start."""
        self.start_pmc_session(sources)
        try:
            yield
        finally:
            self.stop_pmc_session()

    def start_pmc_session(self, sources: Sequence[int]) -> None:
        """Start the one trace session of ours. Raises ClientError where Windows does not grant it counters."""
        self._session.call("etw.start", protocol.Empty, sources=list(sources))

    def stop_pmc_session(self) -> None:
        """End it."""
        self._session.call("etw.stop", protocol.Empty)


def record_number(xml: str) -> int:
    """The record number of an event. Raises GuestError for what is no event."""
    _, _, rest = xml.partition("<EventRecordID>")
    number, end, _ = rest.partition("</EventRecordID>")
    if not end or not number.isdecimal():
        raise GuestError("the guest's event log answered what is no event", evidence={"event": xml[:2000]})
    return int(number)
