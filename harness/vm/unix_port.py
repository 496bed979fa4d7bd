"""A port of a VM for people and programs of the host: a socket in the VM's folder that somebody may connect to."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import QemuError

#: The guest's first serial port.
CONSOLE = "console.sock"


class UnixPort:
    """A Unix socket at which QEMU waits. Nothing is there before `listen`.

    One at a time can be connected; QEMU queues the next. Only this user can connect. Where a serial port of the guest
    is behind it, QEMU stalls that rather than lose output to a connected reader that is slow.
    """

    def __init__(self, folder: Path, name: str = CONSOLE) -> None:
        self.path = folder / name

    def listen(self) -> socket.socket:
        """The listening socket, for QEMU to inherit."""
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        try:
            with _short(self.path) as address:
                listener.bind(address)
            self.path.chmod(0o600)
            listener.listen(1)
        except OSError as error:
            listener.close()
            raise QemuError(f"{self.path} cannot be made: {error.strerror}") from None
        return listener

    def connect(self) -> socket.socket:
        """A new connection, which the caller closes. Raises QemuError."""
        return connect(self.path)

    def close(self) -> None:
        """Remove the socket. Idempotent."""
        self.path.unlink(missing_ok=True)


def connect(path: Path) -> socket.socket:
    """A new connection to a socket, however long its path is; the caller closes it. Raises QemuError."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as address:
            connection.connect(address)
    except OSError as error:
        connection.close()
        raise QemuError(f"no connection to {path}: {error.strerror}") from None
    return connection


@contextmanager
def _short(path: Path) -> Generator[str, None, None]:
    """A name for `path` that fits: the kernel takes at most 107 bytes, and folders may be deep (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
