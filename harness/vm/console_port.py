"""The host's end of the guest's first serial port: a socket in the VM's folder that somebody may connect to."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import QemuError

NAME = "console.sock"


class ConsolePort:
    """A Unix socket at which QEMU waits. As long as nobody is connected, what the guest says goes into its log alone.

    One at a time can be connected; QEMU queues the next. Only this user can connect. QEMU stalls the guest's port
    rather than lose output to a connected reader that is slow. Nothing is there before `listen`.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

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
        connection = socket.socket(socket.AF_UNIX)
        try:
            with _short(self.path) as address:
                connection.connect(address)
        except OSError as error:
            connection.close()
            raise QemuError(f"no connection to {self.path}: {error.strerror}") from None
        return connection

    def close(self) -> None:
        """Remove the socket. Idempotent."""
        self.path.unlink(missing_ok=True)


@contextmanager
def _short(path: Path) -> Generator[str, None, None]:
    """A name for `path` that fits: the kernel takes at most 107 bytes, and folders may be deep (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
