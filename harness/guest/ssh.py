"""SSH into a guest: every step has a name and a deadline, and the VM is watched throughout."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import paramiko

from harness.config.models import GuestTimeouts
from harness.deadlines import Deadline
from harness.errors import InfrastructureError, TransportError
from harness.guest import sftp
from harness.guest.channel import SshLineChannel, blame, close_channel, run_to_end, watch, words
from harness.guest.login import await_banner, close_link, load_key, log_in, log_to, parse_host_key
from harness.guest.transport import Check, ExecResult
from harness.vm.phases import OnPhase, Phases

T = TypeVar("T")

CHANNEL_S = 60.0
TRANSFER_S = 120.0


class SshTransport:
    """One SSH connection with its sessions and one SFTP client; see harness.guest.transport.Transport.

    Made by `connect`. A context manager. `timings` has the seconds of banner, kex (key exchange) and auth.
    A step that hangs ends the whole connection: nobody knows what state it is in. Not thread-safe.
    """

    def __init__(
        self,
        link: paramiko.Transport,
        connection: socket.socket,
        check: Check,
        timings: dict[str, float],
        cleanup: ExitStack,
    ) -> None:
        self.timings = timings
        self._link = link
        self._connection = connection
        self._check = check
        self._cleanup = cleanup
        self._sftp: paramiko.SFTPClient | None = None
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ssh-step")

    @classmethod
    def connect(
        cls,
        host: str,
        port: int,
        user: str,
        key_path: Path,
        host_key: str,
        *,
        check: Check = lambda: None,
        timeouts: GuestTimeouts | None = None,
        log_path: Path | None = None,
        on_phase: OnPhase | None = None,
    ) -> SshTransport:
        """Wait for the guest's SSH server and log in; phases "banner" and "login".

        `host_key` is the text of the one public key that is accepted ("ssh-ed25519 AAAA…"). Raises
        TransportError (refused, wrong host key, broken), DeadlineExceeded, and what `check` raises.
        """
        limits = timeouts or GuestTimeouts()
        key, pinned = load_key(key_path), parse_host_key(host_key)
        phases = Phases(on_phase)
        with ExitStack() as cleanup:
            with phases("banner"):
                connection = await_banner(host, port, check, limits.banner_s)
            cleanup.callback(connection.close)
            link = paramiko.Transport(connection)
            link.set_log_channel(log_to(log_path, cleanup))
            cleanup.callback(close_link, link, connection)
            with phases("login"):
                details = log_in(link, user, key, pinned, check=check, limit_s=limits.login_s)
            timings = {"banner": phases.seconds["banner"], **details}
            return cls(link, connection, check, timings, cleanup.pop_all())

    def close(self) -> None:
        """End the connection. Idempotent."""
        self._cleanup.close()
        self._worker.shutdown()  # a step that was stuck in the library is free now

    def __enter__(self) -> SshTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- processes --------------------------------------------------------------------------------

    def exec(self, command: str, *, timeout_s: float) -> ExecResult:
        """Run a command line to its end.

        Raises DeadlineExceeded with the last output, TransportError, GuestError (killed, endless output).
        """
        channel = self._start(command)
        try:
            return run_to_end(channel, command, self._check, timeout_s)
        finally:
            close_channel(channel)

    def open_session(self, command: str) -> SshLineChannel:
        """Start a long-lived process that talks in lines."""
        return SshLineChannel(self._start(command), command, self._check)

    def _start(self, command: str) -> paramiko.Channel:
        channel = self._step(Deadline("SSH channel", CHANNEL_S), self._link.open_session)
        self._step(Deadline(f"start of {command!r}", CHANNEL_S), lambda: channel.exec_command(command))
        return channel

    # -- files ------------------------------------------------------------------------------------

    def put(self, local: Path, remote: str) -> None:
        """Copy a file into the guest: whole or not at all. Missing folders are made."""
        try:
            source, size = local.open("rb"), local.stat().st_size
        except OSError as error:
            raise InfrastructureError(f"cannot read {local}: {error.strerror}") from None
        with source:
            self._transfer(
                f"copying {local.name} to {remote}",
                lambda client, progress: sftp.upload(client, source, size, remote, progress),
            )

    def put_many(self, files: Mapping[Path, str]) -> None:
        """Copy files (local path → path in the guest) over one SFTP session."""
        for local, remote in files.items():
            self.put(local, remote)

    def get(self, remote: str, local: Path) -> None:
        """Copy a file out of the guest: whole or not at all."""
        self._transfer(
            f"copying {remote} to {local.name}",
            lambda client, progress: sftp.download(client, remote, local, progress),
        )

    def files(self, place: str) -> list[sftp.RemoteFile]:
        """The file of this path, or the files right below this folder; none where there is neither."""
        found: list[sftp.RemoteFile] = []
        self._transfer(f"listing {place}", lambda client, _: found.extend(sftp.list_files(client, place)))
        return found

    def _transfer(self, name: str, work: Callable[[paramiko.SFTPClient, sftp.Progress], None]) -> None:
        client = self._sftp = self._sftp or self._step(Deadline("SFTP session", CHANNEL_S), self._open_sftp)
        deadline = Deadline(name, TRANSFER_S)

        def progress(done: int, size: int) -> None:
            deadline.last_seen = f"{done} of {size} bytes"

        self._step(deadline, lambda: work(client, progress))

    def _open_sftp(self) -> paramiko.SFTPClient:
        client = paramiko.SFTPClient.from_transport(self._link)
        if client is None:
            raise paramiko.SSHException("the server gave no channel")
        return client

    # -- steps ------------------------------------------------------------------------------------

    def _step(self, deadline: Deadline, work: Callable[[], T]) -> T:
        """Do a blocking step of the library in the worker's thread; meanwhile watch the VM and the clock."""
        if not self._link.is_active():
            blame(self._check, TransportError(f"{deadline.name}: the connection is closed"))
        done = threading.Event()
        future: Future[T] = self._worker.submit(work)
        future.add_done_callback(lambda _: done.set())
        try:
            watch(done, deadline, self._check)
        except BaseException:
            self.close()
            raise
        try:
            return future.result()
        except (paramiko.SSHException, OSError, EOFError) as error:
            blame(self._check, TransportError(f"{deadline.name}: {words(error)}"))
