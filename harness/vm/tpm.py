"""A TPM 2.0 of a machine's own: swtpm, which lives and dies with the VM.

QEMU and swtpm talk over an inherited pair of sockets, so there is no path that another process could connect to. A
saved state of the machine carries the TPM's state in it: a clone's swtpm starts empty and is told it.
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from harness.errors import InfrastructureError
from harness.vm.process import ChildProcess, tail

PROGRAM = "swtpm"
TERM_S = 2.0


class Tpm:
    """swtpm with an empty state of its own below `folder`, which also gets swtpm.log."""

    def __init__(self, folder: Path) -> None:
        self._state = folder / "tpm"
        self._log = folder / "swtpm.log"
        self._process: ChildProcess | None = None

    def start(self) -> socket.socket:
        """Start it; QEMU's end of the connection, which the caller passes on and closes. Raises ToolMissing."""
        shutil.rmtree(self._state, ignore_errors=True)
        self._state.mkdir()
        ours, theirs = socket.socketpair()
        with theirs:
            command = [PROGRAM, "socket", "--tpm2", "--terminate"]
            command += ["--tpmstate", f"dir={self._state.absolute()}", "--flags", "startup-clear"]
            command += ["--ctrl", f"type=unixio,clientfd={theirs.fileno()}"]
            self._process = ChildProcess(command, self._log, pass_fds=[theirs.fileno()])
            try:
                self._process.start()
            except BaseException:
                ours.close()
                raise
        return ours

    def check(self) -> None:
        """Raise InfrastructureError when it is gone: its guest would only see a TPM that does not answer."""
        if self._process is not None and self._process.status is not None:
            said = tail(self._log)
            raise InfrastructureError(
                f"the VM's TPM died (swtpm: {self._process.ended()})",
                evidence={"swtpm": said} if said else {},
            )

    @property
    def pid(self) -> int:
        """Process id of swtpm."""
        if self._process is None:
            raise InfrastructureError("the TPM was not started")
        return self._process.pid

    def close(self) -> None:
        """End it, and throw its state away. Idempotent."""
        try:
            if self._process is not None:
                self._process.stop(lambda: False, ask_s=0, term_s=TERM_S)
        finally:
            shutil.rmtree(self._state, ignore_errors=True)
