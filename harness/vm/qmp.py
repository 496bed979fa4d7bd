"""QMP behind a synchronous face: a pump thread per machine, which hears every event at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qemu.qmp import (
    ConnectError,
    EventListener,
    ExecInterruptedError,
    ExecuteError,
    Message,
    QMPClient,
    QMPError,
    Runstate,
)

from harness.deadlines import Deadline, timeout_factor
from harness.errors import QemuError

COMMAND_S = 10.0
LOST_S = 2.0
KEPT_EVENTS = 1000
CLOSED = "QEMU closed the connection"

# A lost connection is reported here, as an error; the library's own words about it go nowhere by default.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class QmpEvent:
    """One event of QEMU. `time` is QEMU's own time stamp."""

    name: str
    data: dict[str, Any]
    time: datetime

    @classmethod
    def parse(cls, message: Message) -> QmpEvent:
        """From the wire (QMP specification, "Asynchronous events")."""
        stamp: Any = message.get("timestamp") or {}
        seconds = stamp.get("seconds", 0) + stamp.get("microseconds", 0) / 1e6
        data: Any = message.get("data") or {}
        return cls(str(message["event"]), dict(data), datetime.fromtimestamp(max(0.0, seconds), UTC))

    def __str__(self) -> str:
        data = f" {json.dumps(self.data)}" if self.data else ""
        return f"{self.time:%H:%M:%S.%f} {self.name}{data}"


class _Ear(EventListener):
    """Hands each event over while it is dispatched: in order, before the reply to any later command."""

    def __init__(self, hear: Callable[[Message], None]) -> None:
        super().__init__()
        self._hear = hear

    def accept(self, event: Message) -> bool:
        self._hear(event)
        return False


class Qmp:
    """One QMP connection over a connected socket, which it owns.

    `on_event` is called in the pump's thread and must not block. `log`, if given, gets each event as a JSON
    line the moment it arrives.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        on_event: Callable[[QmpEvent], None] = lambda _: None,
        log: Path | None = None,
    ) -> None:
        self._connection = connection
        self._on_event = on_event
        self._log = log.open("a", buffering=1) if log else None
        self._events: deque[QmpEvent] = deque(maxlen=KEPT_EVENTS)
        self._changed = threading.Condition()
        self._settled = threading.Event()  # connected, or failed to
        self._client = QMPClient()
        self._client.register_listener(_Ear(self._hear))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lost = ""
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._pump()), name="qmp-pump", daemon=True
        )

    # -- the pump's thread -------------------------------------------------------------------------

    async def _pump(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            await self._client.connect(self._connection)
            self._settled.set()
            while self._client.runstate is Runstate.RUNNING:
                await self._client.runstate_changed()
            await self._client.disconnect()
            self._lost = CLOSED
        except (QMPError, EOFError, OSError) as error:
            cause = error.exc if isinstance(error, ConnectError) else error
            self._lost = (
                CLOSED if isinstance(cause, EOFError | ConnectionError) else " ".join(str(error).split())
            )
        finally:
            with self._changed:
                self._lost = self._lost or "the pump failed"
                self._settled.set()
                self._changed.notify_all()

    def _hear(self, message: Message) -> None:
        event = QmpEvent.parse(message)
        if self._log is not None:
            line = {"time": event.time.isoformat(), "event": event.name, "data": event.data}
            self._log.write(json.dumps(line) + "\n")
        with self._changed:
            self._events.append(event)
            self._on_event(event)
            self._changed.notify_all()

    # -- the caller's threads ----------------------------------------------------------------------

    def connect(self, timeout_s: float = COMMAND_S) -> None:
        """Start the pump and shake hands.

        Raises QemuError when the peer ends or speaks something else, DeadlineExceeded.
        """
        deadline = Deadline("QMP greeting", timeout_s)
        self._thread.start()
        if not self._settled.wait(deadline.remaining()):
            raise deadline.error()
        if self._lost:
            raise QemuError(f"QMP: {self._lost}")

    def execute(self, command: str, *, timeout_s: float = COMMAND_S, **arguments: Any) -> Any:
        """Run a command and return its value.

        Raises QemuError (with QEMU's own words) when QEMU refuses or is gone, DeadlineExceeded.
        """
        deadline = Deadline(f"QMP command {command}", timeout_s)
        if self._loop is None or self._lost:
            raise QemuError(f"QMP command {command}: no connection ({self._lost or 'not connected'})")
        call = self._client.execute(command, arguments or None)
        pending = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return pending.result(deadline.remaining())
        except FutureTimeout:
            pending.cancel()
            deadline.last_seen = str(self._events[-1]) if self._events else ""
            raise deadline.error() from None
        except ExecuteError as error:
            raise QemuError(f"QMP command {command}: {error.error_class}: {error}") from None
        except (ExecInterruptedError, QMPError, OSError) as error:
            if isinstance(error, ExecInterruptedError | OSError):
                with (
                    self._changed
                ):  # the pump is about to see it, too: whoever asks for `lost` next must know
                    self._changed.wait_for(lambda: bool(self._lost), LOST_S * timeout_factor())
            raise QemuError(f"QMP command {command}: {error}") from None

    def pass_file(self, fd: int, name: str) -> None:
        """Give QEMU an open file by a name that migration URIs take (`fd:NAME`). Raises as `execute` does."""
        if self._loop is None or self._lost:
            raise QemuError(f"QMP getfd: no connection ({self._lost or 'not connected'})")
        sent: Future[None] = Future()

        def send() -> None:
            try:
                self._client.send_fd_scm(fd)
                sent.set_result(None)
            except (QMPError, OSError, AssertionError) as error:
                sent.set_exception(QemuError(f"QMP getfd: the file cannot be sent: {error}"))

        self._loop.call_soon_threadsafe(send)
        deadline = Deadline("sending a file to QEMU", COMMAND_S)
        try:
            sent.result(deadline.remaining())
        except FutureTimeout:
            raise deadline.error() from None
        self.execute("getfd", fdname=name)

    def monitor(self, line: str, *, timeout_s: float = COMMAND_S) -> str:
        """Run a command of the human monitor: for the few things that QMP lacks. Raises as `execute` does."""
        arguments: dict[str, Any] = {"command-line": line}
        return str(self.execute("human-monitor-command", timeout_s=timeout_s, **arguments))

    @property
    def events(self) -> tuple[QmpEvent, ...]:
        """The last events, oldest first."""
        with self._changed:
            return tuple(self._events)

    @property
    def lost(self) -> str:
        """Why there is no connection any more; empty while there is one."""
        return self._lost

    def wait_event(self, *names: str, timeout_s: float) -> QmpEvent:
        """The first kept event with one of these names, now or later.

        Raises DeadlineExceeded, and QemuError when QEMU goes.
        """
        deadline = Deadline(f"QMP event {' or '.join(names)}", timeout_s)
        with self._changed:
            while True:
                for event in self._events:
                    if event.name in names:
                        return event
                if self._lost:
                    raise QemuError(f"{deadline.name}: the connection is gone ({self._lost})")
                deadline.last_seen = str(self._events[-1]) if self._events else ""
                if not self._changed.wait(deadline.remaining()) and deadline.expired():
                    raise deadline.error()

    @property
    def qemu_version(self) -> str:
        """Version of QEMU as it says itself (major.minor.micro)."""
        greeting = self._client.greeting
        version: Any = greeting.QMP.version["qemu"] if greeting else {}
        return ".".join(str(version.get(part, "?")) for part in ("major", "minor", "micro"))

    def close(self) -> None:
        """End the pump and free everything. Idempotent."""
        with contextlib.suppress(OSError):  # the pump has closed it already
            self._connection.shutdown(socket.SHUT_RDWR)  # which the pump sees as the end of the stream
        if self._thread.ident is not None:
            self._thread.join(COMMAND_S)
        self._connection.close()
        if self._log is not None:
            self._log.close()
