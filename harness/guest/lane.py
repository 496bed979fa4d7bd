"""The serial lane: a client that already waits at the guest's second serial port, reached without network or login."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import NoReturn

from harness.deadlines import Deadline
from harness.errors import ProtocolError, TransportError
from harness.guest.channel import MAX_LINE, POLL_S, SEND_S, TAIL_BYTES, blame, text
from harness.guest.transport import Check

READ_BYTES = 1 << 16
#: More than this at once could overrun the guest's receive buffers: the port has no flow control.
MAX_REQUEST = 16 << 10


class LaneChannel:
    """Lines over the host's end of a serial port; see harness.guest.transport.LineChannel.

    The socket belongs to the VM, which closes it. The client on the other side lives on when the channel is closed.
    """

    def __init__(self, port: socket.socket, check: Check) -> None:
        self._port = port
        self._check = check
        self._buffer = bytearray()
        port.setblocking(False)

    def forget(self) -> None:
        """Drop what came before anybody was asked: UEFI firmware writes its console to every serial port."""
        with contextlib.suppress(OSError):
            while self._port.recv(READ_BYTES):
                pass

    def send_line(self, line: bytes) -> None:
        """Send a line; the line feed is added. Raises ProtocolError for one that the port cannot take."""
        if len(line) >= MAX_REQUEST:
            raise ProtocolError(
                f"a request of {len(line)} bytes is too long for the serial lane ({MAX_REQUEST})",
                remedy="send it in parts, or over SSH",
            )
        deadline = Deadline("sending over the serial lane", SEND_S)
        rest = memoryview(line + b"\n")
        while rest:
            try:
                rest = rest[self._port.send(rest) :]
            except BlockingIOError:
                select.select([], [self._port], [], POLL_S)
            except OSError as error:
                self._broken(error)
            self._check()
            deadline.check()

    def read_line(self, timeout_s: float, what: str = "line") -> bytes:
        """The next line without its end; a line longer than 16 MiB raises ProtocolError."""
        deadline = Deadline(what, timeout_s)
        scanned = 0
        while (end := self._buffer.find(b"\n", scanned)) < 0:
            scanned = len(self._buffer)
            if scanned > MAX_LINE:
                start = repr(text(self._buffer[:200]))
                raise ProtocolError(
                    f"{what}: a line of more than {MAX_LINE >> 20} MiB", evidence={"start": start}
                )
            if not select.select([self._port], [], [], min(POLL_S, deadline.remaining()))[0]:
                self._check()
                deadline.last_seen = self._last_seen()
                deadline.check()
                continue
            try:
                data = self._port.recv(READ_BYTES)
            except OSError as error:
                self._broken(error)
            if not data:
                self._broken(None)
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def _last_seen(self) -> str:
        if not self._buffer:
            return ""
        return f"{len(self._buffer)} bytes of a line: {text(self._buffer[-100:])!r}"

    def _broken(self, error: OSError | None) -> NoReturn:
        """QEMU is gone, or somebody closed the VM."""
        why = f" ({error.strerror})" if error else ""
        evidence = {"unfinished line": text(self._buffer[-TAIL_BYTES:])} if self._buffer else {}
        blame(self._check, TransportError(f"the serial lane is closed{why}", evidence=evidence))

    def stderr_tail(self) -> str:
        """Nothing: a serial port has no second stream."""
        return ""

    def close(self) -> None:
        """Nothing to do: the port belongs to the VM."""
