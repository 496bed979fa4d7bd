"""Processes in the guest over SSH channels: to the end, or line by line. All waits watch the VM."""

from __future__ import annotations

import contextlib
import threading
from typing import NoReturn

from paramiko import Channel, SSHException

from harness.deadlines import Deadline, timeout_factor
from harness.errors import GuestError, HalpmcError, ProtocolError, TransportError
from harness.guest.transport import Check, ExecResult

POLL_S = 0.05  # how often a wait looks at the VM; data wakes it at once
END_GRACE_S = 1.0  # between the exit status and the end of the output, which a left-over child may hold open
BLAME_S = 0.3  # for the VM to tell why its connection broke
SEND_S = 30.0
CLOSE_S = 3.0
READ_BYTES = 1 << 16
MAX_OUTPUT = 64 << 20
MAX_LINE = 16 << 20
TAIL_BYTES = 4000
NO_STATUS = -1  # paramiko's word for "the server did not tell"


def blame(check: Check, error: HalpmcError) -> NoReturn:
    """Raise what is wrong with the VM, when that explains a broken connection; else `error`.

    A dying QEMU closes its sockets a moment before it can be seen to be dead.
    """
    deadline = Deadline("the VM's own fault", BLAME_S)
    pause = threading.Event()
    while not deadline.expired():
        check()
        pause.wait(POLL_S)
    raise error


def watch(done: threading.Event, deadline: Deadline, check: Check) -> None:
    """Wait for `done`, looking at the VM and the clock meanwhile."""
    while not done.wait(min(POLL_S, deadline.remaining())):
        check()
        deadline.check()


def words(error: BaseException | None) -> str:
    """An exception in words; some of the library's have none."""
    if isinstance(error, EOFError):
        return "the connection broke"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def text(data: bytes | bytearray) -> str:
    """Output of the guest as text, whatever bytes it is."""
    return bytes(data).decode(errors="replace")


class _Output:
    """Reads one channel's stdout and stderr without blocking for longer than a moment."""

    def __init__(self, channel: Channel) -> None:
        channel.settimeout(POLL_S)
        self.channel = channel
        self.stderr = bytearray()

    def read(self) -> bytes | None:
        """Some of stdout; b"" at its end; None when nothing came for a moment. Takes stderr along."""
        try:
            return self.channel.recv(READ_BYTES)
        except TimeoutError:
            return None
        finally:
            while self.channel.recv_stderr_ready():
                self.stderr += self.channel.recv_stderr(READ_BYTES)
            del self.stderr[:-MAX_OUTPUT]

    def ended(self, seconds: float) -> bool:
        """Whether the exit status arrives, or the channel closes, within so many seconds."""
        return self.channel.status_event.wait(seconds)


def run_to_end(channel: Channel, command: str, check: Check, timeout_s: float) -> ExecResult:
    """Collect what a started command prints until it ends.

    After the exit status, output is taken until it pauses for a second: a child that was left behind may hold
    the pipe open for ever.
    """
    deadline = Deadline(f"command {command!r}", timeout_s)
    output, stdout = _Output(channel), bytearray()
    grace: Deadline | None = None
    while True:
        data = output.read()
        if data:
            stdout += data
            grace = None
            if len(stdout) > MAX_OUTPUT:
                raise GuestError(f"{deadline.name} printed more than {MAX_OUTPUT >> 20} MiB")
        elif data is None:
            check()
        elif output.ended(POLL_S):
            break
        else:
            check()
        if grace is None and output.ended(0):
            grace = Deadline("end of output", END_GRACE_S)
        if grace is not None and grace.expired():
            break
        deadline.last_seen = repr(text((stdout or output.stderr)[-200:]))
        deadline.check()
    output.read()  # stderr that came with the end
    if channel.exit_status == NO_STATUS:
        evidence = {"stdout": text(stdout[-TAIL_BYTES:]), "stderr": text(output.stderr[-TAIL_BYTES:])}
        blame(check, _no_status(channel, deadline.name, evidence))
    return ExecResult(channel.exit_status, text(stdout), text(output.stderr), deadline.elapsed())


def _no_status(channel: Channel, what: str, evidence: dict[str, str]) -> HalpmcError:
    """The error for a process whose end nobody told."""
    if channel.get_transport().is_active():
        return GuestError(f"{what} was killed in the guest (no exit status)", evidence=evidence)
    return TransportError(f"{what}: the connection broke before it ended", evidence=evidence)


class SshLineChannel:
    """A long-lived process in the guest that talks in lines; see harness.guest.transport.LineChannel."""

    def __init__(self, channel: Channel, command: str, check: Check) -> None:
        self._channel = channel
        self._command = command
        self._check = check
        self._output = _Output(channel)
        self._buffer = bytearray()
        self._scanned = 0

    def send_line(self, line: bytes) -> None:
        """Send a line; the line feed is added."""
        deadline = Deadline(f"sending to {self._command!r}", SEND_S)
        rest = memoryview(line + b"\n")
        while rest:
            try:
                sent = self._channel.send(bytes(rest[:READ_BYTES]))
            except TimeoutError:
                self._take_output()  # the other side may be waiting to be read, too
                self._check()
                deadline.check()
                continue
            except OSError:
                self._ended("a request was sent")
            if sent == 0:
                self._ended("a request was sent")
            rest = rest[sent:]

    def read_line(self, timeout_s: float, what: str = "line") -> bytes:
        """The next line without its end; a line longer than 16 MiB raises ProtocolError."""
        deadline = Deadline(what, timeout_s)
        while (end := self._buffer.find(b"\n", self._scanned)) < 0:
            self._scanned = len(self._buffer)
            if self._scanned > MAX_LINE:
                start = repr(text(self._buffer[:200]))
                raise ProtocolError(
                    f"{what}: a line of more than {MAX_LINE >> 20} MiB", evidence={"start": start}
                )
            data = self._output.read()
            if data == b"":
                self._ended(f"{what} was awaited")
            elif data is None:
                self._check()
                deadline.last_seen = self._last_seen()
            else:
                self._buffer += data
            deadline.check()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line.removesuffix(b"\r")

    def _take_output(self) -> None:
        if len(self._buffer) <= MAX_LINE:
            self._buffer += self._output.read() or b""

    def _last_seen(self) -> str:
        if self._buffer:
            return f"{len(self._buffer)} bytes of a line: {text(self._buffer[-100:])!r}"
        return f"on stderr: {text(self._output.stderr[-200:])!r}" if self._output.stderr else ""

    def _ended(self, when: str) -> NoReturn:
        """The process or the connection is gone."""
        self._output.ended(END_GRACE_S * timeout_factor())
        evidence = {"stderr": self.stderr_tail(), "unfinished line": text(self._buffer[-TAIL_BYTES:])}
        code = self._channel.exit_status
        if code == NO_STATUS:
            blame(self._check, _no_status(self._channel, repr(self._command), evidence))
        error = GuestError(f"{self._command!r} ended with exit code {code} when {when}", evidence=evidence)
        blame(self._check, error)

    def stderr_tail(self) -> str:
        """The last that the process wrote to stderr."""
        return text(self._output.stderr[-TAIL_BYTES:])

    def close(self) -> None:
        """Close the process's input, give it a moment to end, and close the channel."""
        if self._channel.closed:
            return
        deadline = Deadline(f"end of {self._command!r}", CLOSE_S)
        try:
            self._channel.shutdown_write()
            while not self._output.ended(POLL_S) and not deadline.expired():
                self._check()
        except (HalpmcError, OSError, EOFError):
            pass  # VM or connection are gone and the process with them; whoever works with it is told
        finally:
            close_channel(self._channel)


def close_channel(channel: Channel) -> None:
    """Close a channel; that its connection is gone already is no news here: whoever works with it is told."""
    with contextlib.suppress(EOFError, OSError, SSHException):
        channel.close()
