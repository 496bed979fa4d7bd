"""Messages of the Windows vocabulary: processes, files, event log, boots, ETW. Numbers and XML, never a tool's text."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

from harness.driver.wire import HexInt, Message, UInt32

MOST_EVENTS = 256
MOST_COUNTERS = 8


def _bytes(value: object) -> object:
    return bytes.fromhex(value) if isinstance(value, str) else value


#: Bytes, which travel as hexadecimal digits.
HexBytes = Annotated[
    bytes,
    BeforeValidator(_bytes, json_schema_input_type=str),
    PlainSerializer(lambda data: data.hex(), return_type=str),
]


class ProcessRun(Message):
    """A command line for CreateProcess (no shell), its working folder, and how long it may take in milliseconds."""

    command: str
    folder: str | None = None
    timeout_ms: UInt32 = 30_000


class ProcessResult(Message):
    """How it ended, with all 32 bits. `cut`: more than 256 KiB came on a stream. `timed_out`: it was ended."""

    pid: UInt32
    exit_code: UInt32
    timed_out: bool
    cut: bool
    stdout: HexBytes
    stderr: HexBytes


class Process(Message):
    """A running process."""

    pid: UInt32
    parent: UInt32
    threads: UInt32
    name: str


class ProcessList(Message):
    """All of them."""

    processes: tuple[Process, ...]


class Pid(Message):
    """Which process."""

    pid: UInt32


class FilePattern(Message):
    r"""A path whose last part may have wildcards: `C:\folder\*`."""

    pattern: str


class FoundFile(Message):
    """One entry of a folder; `written` is a FILETIME (100 ns since 1601, UTC)."""

    name: str
    size: HexInt
    written: HexInt
    folder: bool


class FileList(Message):
    """What was found; `cut`: there was more."""

    files: tuple[FoundFile, ...]
    cut: bool


class DeletePath(Message):
    """Which file."""

    path: str


class EventQuery(Message):
    """Events of a channel with record numbers above `since`."""

    channel: str
    since: HexInt = 0
    most: Annotated[int, Field(ge=1, le=MOST_EVENTS)] = MOST_EVENTS


class Events(Message):
    """Events as XML, the oldest first. `left_out`: were too long; `more`: ask again from the last record number on."""

    events: tuple[str, ...]
    left_out: UInt32
    more: bool


class Boot(Message):
    """When the system booted (FILETIME, by its own clock), and the number of the boot; Wine has no numbers: 0."""

    booted: HexInt
    number: UInt32


class Memory(Message):
    """Bytes of the system's nonpaged pool, in whole pages; None where the system does not tell, as Wine."""

    nonpaged: HexInt | None


class ProfileSource(Message):
    """A source of the profiler: its number, the least and the largest interval, and its name."""

    source: UInt32
    least: UInt32
    most: UInt32
    name: str


class EtwSources(Message):
    """What the system can count: where there is no PMU for it, only the timer."""

    sources: tuple[ProfileSource, ...]


class EtwStart(Message):
    """Numbers of sources that a session shall count."""

    sources: Annotated[tuple[UInt32, ...], Field(min_length=1, max_length=MOST_COUNTERS)]
