"""An SSH server on loopback that runs scripted commands, with SFTP into a folder; and its misbehaviours."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from paramiko import sftp

Command = Callable[[paramiko.Channel], None]


@dataclass
class SshServer:
    """What a test sets up, and what it then sees. `commands` maps command lines to what they do."""

    home: Path
    host_key: paramiko.PKey
    client_key: paramiko.PKey
    client_key_path: Path
    commands: dict[str, Command] = field(default_factory=dict)
    silent: bool = False  # accepts connections and never says a word
    greets_after_s: float = 0.0  # as one that has to start a process for each connection first
    greeting: bytes = b""  # says this instead of speaking SSH
    refuse_posix_rename: bool = False
    port: int = 0
    links: list[paramiko.Transport] = field(default_factory=list)

    @property
    def host_key_text(self) -> str:
        return f"{self.host_key.get_name()} {self.host_key.get_base64()} test"

    def drop(self) -> None:
        """Break all connections without a word."""
        for link in filter(paramiko.Transport.is_active, self.links):
            link.sock.shutdown(socket.SHUT_RDWR)


class _Session(paramiko.ServerInterface):
    def __init__(self, server: SshServer) -> None:
        self._server = server

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = username == "tester" and key == self._server.client_key
        return paramiko.common.AUTH_SUCCESSFUL if known else paramiko.common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        work = self._server.commands.get(command.decode())
        if work is not None:
            threading.Thread(target=_run, args=(work, channel), daemon=True).start()
        return work is not None


def _run(work: Command, channel: paramiko.Channel) -> None:
    # A round trip: afterwards the answer to the request for this command has gone out.
    channel.get_transport().global_request("sync@test", wait=True)
    with suppress(OSError, EOFError):  # the client may be gone: that is what some tests are about
        work(channel)


class _Files(paramiko.SFTPServerInterface):
    """`/C:/…` is a folder in the server's home."""

    def __init__(self, server: paramiko.ServerInterface, *args: object, **kwargs: object) -> None:
        super().__init__(server)
        self._owner: SshServer = server._server  # type: ignore[attr-defined]

    def _real(self, path: str) -> str:
        return str(self._owner.home / path.lstrip("/"))

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle | int:
        try:
            fd = os.open(self._real(path), flags, 0o644)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        handle = paramiko.SFTPHandle(flags)
        mode = "r+b" if flags & os.O_RDWR else "wb" if flags & os.O_WRONLY else "rb"
        vars(handle).update(readfile=(file := os.fdopen(fd, mode)), writefile=file)
        return handle

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(self._real(path)))  # noqa: PTH116
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def _do(self, work: Callable[[], None]) -> int:
        try:
            work()
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        return sftp.SFTP_OK

    def mkdir(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return self._do(Path(self._real(path)).mkdir)

    def remove(self, path: str) -> int:
        return self._do(Path(self._real(path)).unlink)

    def rename(self, oldpath: str, newpath: str) -> int:
        if Path(self._real(newpath)).exists():
            return sftp.SFTP_FAILURE  # as servers on Windows, and the standard, have it
        return self._do(lambda: _move(self._real(oldpath), self._real(newpath)))

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        if self._owner.refuse_posix_rename:
            return sftp.SFTP_OP_UNSUPPORTED
        return self._do(lambda: _move(self._real(oldpath), self._real(newpath)))


def _move(source: str, target: str) -> None:
    Path(source).replace(target)


@contextmanager
def ssh_server(home: Path) -> Generator[SshServer, None, None]:
    """A listening server with fresh keys; all its connections end with the context."""
    (home / "C:").mkdir()
    key_path = home / "client_key"
    keys = [paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()]
    keys[0].write_private_key_file(str(key_path))
    server = SshServer(home=home, host_key=keys[1], client_key=keys[0], client_key_path=key_path)
    open_connections: list[socket.socket] = []

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]

        def serve(link: paramiko.Transport) -> None:
            with suppress(paramiko.SSHException, EOFError):  # a client that goes away at once
                link.start_server(event=threading.Event(), server=_Session(server))

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                open_connections.append(connection)
                if server.greeting:
                    connection.sendall(server.greeting)
                if server.silent or server.greeting:
                    continue
                link = paramiko.Transport(connection)
                link.add_server_key(server.host_key)
                link.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files)
                server.links.append(link)
                greets = threading.Timer(server.greets_after_s, serve, [link])
                greets.daemon = True
                greets.start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for link in server.links:
                link.close()
            for connection in open_connections:
                connection.close()
