"""What a way into a guest can do. SSH is one (harness.guest.ssh); whatever else comes offers the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.guest.sftp import RemoteFile

#: Asks whether the VM is alive and well, and raises what is wrong with it. Called while anything is waited
#: for.
Check = Callable[[], None]


@dataclass(frozen=True)
class ExecResult:
    """What a command did. `exit_code` is as the guest's SSH server tells it: some cut it to 8 bits."""

    exit_code: int
    stdout: str
    stderr: str
    duration_s: float


class LineChannel(Protocol):
    """A process in the guest that talks in lines.

    Every wait ends at once when the VM dies or its guest panics (GuestPanicked, QemuError …), when the
    process ends (GuestError), when the connection breaks (TransportError), and at its deadline
    (DeadlineExceeded).
    """

    def send_line(self, line: bytes) -> None:
        """Send a line; the line feed is added."""

    def read_line(self, timeout_s: float, what: str = "line") -> bytes:
        """The next line without its end; `what` names it in errors. Raises ProtocolError if it is endless."""

    def stderr_tail(self) -> str:
        """The last that the process wrote to stderr."""

    def close(self) -> None:
        """End the process by closing its input, then the channel. Idempotent; a broken connection is fine."""


class Transport(Protocol):
    """A connection into a guest. Paths in the guest are Windows paths (`C:\\folder\\file`).

    Errors: TransportError and DeadlineExceeded name the step that failed and what was seen last; what is
    wrong with the VM itself comes first.
    """

    def exec(self, command: str, *, timeout_s: float) -> ExecResult:
        """Run a command line to its end."""

    def open_session(self, command: str) -> LineChannel:
        """Start a long-lived process."""

    def put(self, local: Path, remote: str) -> None:
        """Copy a file into the guest: whole or not at all. Missing folders are made."""

    def put_many(self, files: Mapping[Path, str]) -> None:
        """Copy files (local path → path in the guest)."""

    def get(self, remote: str, local: Path) -> None:
        """Copy a file out of the guest: whole or not at all."""

    def files(self, place: str) -> list[RemoteFile]:
        """The file of this path, or the files right below this folder; none where there is neither."""

    def close(self) -> None:
        """End the connection. Idempotent."""
