"""A guest's serial console as a terminal: text without escape codes; waits watch the VM and name their step."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from pexpect import EOF, TIMEOUT
from pexpect.fdpexpect import fdspawn

from harness.deadlines import Deadline
from harness.errors import GuestError, TransportError, UsageError
from harness.guest.channel import POLL_S, TAIL_BYTES, blame, words
from harness.guest.transport import Check, ExecResult

MAX_OUTPUT = 4 << 20
#: A terminal of Linux takes lines of up to 4095 bytes (N_TTY_BUF_SIZE), cmd.exe of up to 8191 characters; our own marks
#: go around the command.
MAX_COMMAND = 3500
SEEN = 200
ENTER = "\r"
INTERRUPT = "\x03"

#: Control sequences (ECMA-48: CSI, OSC, and the short ones), of which VT-UTF8 is a part.
_SEQUENCE = re.compile(r"\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,200}\x1b?|[ -/]*)\Z")
_NOISE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class PlainText:
    """Takes what a terminal would obey out of a stream of text, however it is cut into pieces.

    A cursor that is put into the first column begins a line; so it is with programs that paint a screen.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """The text in this piece, and in what was held back of the one before."""
        piece = self._held + piece
        unfinished = _UNFINISHED.search(piece)
        self._held = unfinished.group() if unfinished else ""
        piece = piece[: len(piece) - len(self._held)]
        return _NOISE.sub("", _SEQUENCE.sub(self._meaning, piece))

    @staticmethod
    def _meaning(sequence: re.Match[str]) -> str:
        parameters, final = sequence.group(1), sequence.group(2)
        if final not in ("H", "f"):
            return ""
        _, _, column = (parameters or "").partition(";")
        return "\r\n" if column in ("", "0", "1") else ""


class _Stream(fdspawn):  # type: ignore[type-arg]
    """pexpect over a descriptor, reading plain text; `transcript` is the last of it."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, timeout=POLL_S, encoding="utf-8", codec_errors="replace", use_poll=True)
        self.transcript = ""
        self._plain = PlainText()

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> str:
        piece = self._plain.feed(super().read_nonblocking(size, timeout))
        self.transcript = (self.transcript + piece)[-TAIL_BYTES:]
        return piece


@dataclass(frozen=True)
class Seen:
    """What ended a wait: which of the patterns, its match, and the text in front of it."""

    index: int
    match: Any
    before: str


class Console:
    """The host's end of a serial console; owns the connection. A context manager.

    Errors name their step and what was seen last: TransportError (closed, refused), DeadlineExceeded, GuestError
    (endless output); what `check` raises about the VM comes first.
    """

    def __init__(self, connection: socket.socket, check: Check) -> None:
        self._connection = connection
        self._check = check
        self._stream = _Stream(connection.fileno())

    def send(self, keys: str, step: str) -> None:
        """Type `keys`."""
        try:
            self._stream.send(keys)
        except OSError as error:
            self._closed(step, words(error))

    def expect(self, patterns: Sequence[str], deadline: Deadline) -> Seen:
        """Wait for the first of these regular expressions to match; the deadline's name is the step's."""
        while (seen := self.try_expect(patterns, deadline, deadline.seconds)) is None:
            pass
        return seen

    def try_expect(self, patterns: Sequence[str], deadline: Deadline, seconds: float) -> Seen | None:
        """As `expect`, but None when nothing matches within so many seconds (scaled) of the deadline's time."""
        compiled = [re.compile(pattern) for pattern in patterns]
        turn = Deadline(deadline.name, seconds)
        while True:
            try:
                pause = min(POLL_S, turn.remaining(), deadline.remaining())
                index = self._stream.expect_list([*compiled, TIMEOUT], timeout=pause)
            except EOF:
                self._closed(deadline.name, "")
            except OSError as error:
                self._closed(deadline.name, words(error))
            if index < len(compiled):
                return Seen(index, self._stream.match, str(self._stream.before))
            self._check()
            if len(self._stream.buffer) > MAX_OUTPUT:
                raise GuestError(
                    f"{deadline.name}: more than {MAX_OUTPUT >> 20} MiB of output",
                    remedy="have the guest write it to a file",
                    evidence={"console": self._stream.transcript},
                )
            seen = self._stream.transcript[-SEEN:]
            deadline.last_seen = repr(seen) if seen else ""
            deadline.check()
            if turn.expired():
                return None

    def skip(self, deadline: Deadline) -> None:
        """Forget what was said before."""
        self.try_expect([r"(?s).+\Z"], deadline, POLL_S)

    def fail(self, step: str, why: str, *, remedy: str = "") -> NoReturn:
        """Raise the TransportError of a step that the guest refused."""
        raise TransportError(f"{step}: {why}", remedy=remedy, evidence=self._evidence())

    def _closed(self, step: str, why: str) -> NoReturn:
        reason = f" ({why})" if why else ""
        message = f"{step}: the console was closed{reason}"
        blame(self._check, TransportError(message, evidence=self._evidence()))

    def _evidence(self) -> dict[str, str]:
        return {"console": self._stream.transcript} if self._stream.transcript.strip() else {}

    def close(self) -> None:
        """End the connection. Idempotent."""
        self._connection.close()

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ConsoleShell(Protocol):
    """A command line at a console. The console has one stream: stderr comes in `stdout`, in the order of writing.

    After an error nobody knows what state it is in: close it, and open it anew.
    """

    def run(self, command: str, *, timeout_s: float) -> ExecResult:
        """Run a command, given in one line, to its end."""

    def close(self) -> None:
        """Leave the command line as it was found, and end the connection. Idempotent."""


def one_line(command: str) -> str:
    """The command, when it can be typed. Raises UsageError."""
    if len(command.encode()) > MAX_COMMAND or not command.isprintable():
        raise UsageError(
            f"a console takes a command of one printable line of at most {MAX_COMMAND} bytes: {command[:60]!r}",
            remedy="put it into a script in the guest, in parts",
        )
    return command


def lines(output: str) -> str:
    """Output of a terminal with line feeds alone."""
    return re.sub(r"\r+\n", "\n", output).replace("\r", "")
