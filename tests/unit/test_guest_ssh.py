"""SSH against a scripted server: what works, and every way in which it does not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import paramiko
import psutil
import pytest

from harness.config.models import GuestTimeouts
from harness.errors import (
    DeadlineExceeded,
    GuestError,
    GuestPanicked,
    InfrastructureError,
    ProtocolError,
    TransportError,
    UsageError,
)
from harness.guest import channel as channels
from harness.guest.ssh import SshTransport
from harness.guest.transport import LineChannel, Transport
from tests.unit.ssh_server import SshServer, ssh_server

SHORT = GuestTimeouts(banner_s=0.3, login_s=0.3)


@pytest.fixture
def server(tmp_path: Path) -> Generator[SshServer, None, None]:
    home = tmp_path / "home"
    home.mkdir()
    with ssh_server(home) as running:
        yield running


Connect = Callable[..., SshTransport]


@pytest.fixture
def connect(server: SshServer) -> Generator[Connect, None, None]:
    """Log in; keyword arguments replace what a good client would use."""
    opened: list[SshTransport] = []

    def log_in(**changes: object) -> SshTransport:
        values: dict[str, object] = {
            "port": server.port,
            "user": "tester",
            "key_path": server.client_key_path,
            "host_key": server.host_key_text,
        }
        opened.append(SshTransport.connect("127.0.0.1", **(values | changes)))  # type: ignore[arg-type]
        return opened[-1]

    yield log_in
    for transport in opened:
        transport.close()


class Watched:
    """A VM that is well until a test says otherwise."""

    def __init__(self) -> None:
        self.fault: Exception | None = None

    def check(self) -> None:
        if self.fault:
            raise self.fault


def end(channel: paramiko.Channel, status: int = 0) -> None:
    channel.send_exit_status(status)
    channel.close()


def echo(channel: paramiko.Channel) -> None:
    """A client that repeats lines until its input ends."""
    channel.sendall(b"ready\r\n")
    while data := channel.recv(65536):
        channel.sendall(data)
    end(channel, 7)


def hang(channel: paramiko.Channel) -> None:
    channel.sendall(b"half a li")
    channel.recv(1)


# -- getting in -----------------------------------------------------------------------------------


def test_getting_in(connect: Connect, tmp_path: Path) -> None:
    phases: dict[str, float] = {}
    transport = connect(on_phase=phases.__setitem__, log_path=tmp_path / "ssh.log")
    assert list(phases) == ["banner", "login"]
    assert list(transport.timings) == ["banner", "kex", "auth"]
    transport.close()
    transport.close()
    assert "Authentication (publickey) successful" in (tmp_path / "ssh.log").read_text()


def test_it_is_a_transport(connect: Connect, server: SshServer) -> None:
    server.commands["echo"] = echo
    transport: Transport = connect()
    channel: LineChannel = transport.open_session("echo")
    channel.close()


def test_a_wrong_host_key_is_refused(connect: Connect) -> None:
    other = paramiko.ECDSAKey.generate()
    with pytest.raises(TransportError, match=r"SSH host key: ecdsa.* instead of SHA256:"):
        connect(host_key=f"{other.get_name()} {other.get_base64()}")


def test_a_host_key_of_another_kind_is_refused(connect: Connect, tmp_path: Path) -> None:
    ed25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    with pytest.raises(TransportError, match=r"SSH key exchange: .*host key"):
        connect(host_key=ed25519)


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 ####", "ssh-ed25519 AAAA", "what AAAAC3Nz"])
def test_a_host_key_that_is_none(connect: Connect, text: str) -> None:
    with pytest.raises(UsageError, match="SSH host key"):
        connect(host_key=text)


def test_a_private_key_that_is_none(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("nothing")
    for name in ("key", "absent"):
        with pytest.raises(UsageError, match=rf"SSH key .*{name}"):
            connect(key_path=tmp_path / name)


def test_an_unknown_key_is_refused(connect: Connect, tmp_path: Path) -> None:
    paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / "other"))
    with pytest.raises(TransportError, match="SSH authentication of tester: the server refuses the key"):
        connect(key_path=tmp_path / "other")


def test_a_server_that_accepts_and_says_nothing(connect: Connect, server: SshServer) -> None:
    server.silent = True
    with pytest.raises(DeadlineExceeded, match=r"SSH banner: .*connected, but the server says nothing"):
        connect(timeouts=SHORT)


def test_a_server_that_is_something_else(connect: Connect, server: SshServer) -> None:
    server.greeting = b"220 mail\r\n"
    with pytest.raises(DeadlineExceeded, match="the server says b'220 mail"):
        connect(timeouts=SHORT)


def test_a_server_that_stops_after_its_banner(connect: Connect, server: SshServer) -> None:
    server.greeting = b"SSH-2.0-stuck\r\n"
    with pytest.raises(DeadlineExceeded, match="SSH key exchange"):
        connect(timeouts=SHORT)


def test_nobody_listens(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(DeadlineExceeded, match=r"SSH banner: .*refused"):
        connect(port=port, timeouts=SHORT)


def test_the_banner_is_awaited(connect: Connect, server: SshServer) -> None:
    """As under QEMU: connections are accepted and then lead nowhere, until the guest is up."""
    server.silent = True
    threading.Timer(0.3, lambda: setattr(server, "silent", False)).start()
    assert 0.2 < connect().timings["banner"] < 3


def test_a_server_that_takes_its_time_to_greet(connect: Connect, server: SshServer) -> None:
    """As Windows' does: it starts a process for each connection, which a busy guest takes seconds for."""
    server.greets_after_s = 2.5
    assert 2.4 < connect(timeouts=GuestTimeouts(banner_s=20.0)).timings["banner"] < 6


def test_no_connection_that_was_tried_stays(connect: Connect, server: SshServer) -> None:
    server.silent = True
    with pytest.raises(DeadlineExceeded) as caught:
        connect(timeouts=GuestTimeouts(banner_s=1.5))
    assert caught.tb  # which keeps what was not closed
    ours = [c for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr[1] == server.port]
    assert [c for c in ours if c.status == psutil.CONN_ESTABLISHED] == []


def test_a_panic_ends_the_wait_for_the_banner(connect: Connect, server: SshServer) -> None:
    server.silent = True
    vm = Watched()
    threading.Timer(0.1, lambda: setattr(vm, "fault", GuestPanicked("it died"))).start()
    start = time.monotonic()
    with pytest.raises(GuestPanicked):
        connect(check=vm.check)
    assert time.monotonic() - start < 1


# -- commands -------------------------------------------------------------------------------------


def test_a_command(connect: Connect, server: SshServer) -> None:
    def work(channel: paramiko.Channel) -> None:
        channel.sendall("grüße\r\n".encode() + b"\xff\xfe")
        channel.sendall_stderr(b"oh")
        end(channel, 200)

    server.commands["cmd /c x"] = work
    result = connect().exec("cmd /c x", timeout_s=5)
    assert (result.exit_code, result.stdout, result.stderr) == (200, "grüße\r\n\ufffd\ufffd", "oh")
    assert 0 < result.duration_s < 5


def test_ten_megabytes(connect: Connect, server: SshServer) -> None:
    def work(channel: paramiko.Channel) -> None:
        channel.sendall(b"x" * 10_000_000)
        end(channel)

    server.commands["big"] = work
    assert len(connect().exec("big", timeout_s=30).stdout) == 10_000_000


def test_endless_output(connect: Connect, server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MAX_OUTPUT", 1 << 20)
    server.commands["yes"] = lambda channel: channel.sendall(b"y" * 50_000_000)
    with pytest.raises(GuestError, match="printed more than 1 MiB"):
        connect().exec("yes", timeout_s=30)


def test_much_on_stderr_alone(connect: Connect, server: SshServer) -> None:
    def work(channel: paramiko.Channel) -> None:
        channel.sendall_stderr(b"e" * 5_000_000)
        end(channel, 3)

    server.commands["noise"] = work
    result = connect().exec("noise", timeout_s=30)
    assert (result.exit_code, len(result.stderr)) == (3, 5_000_000)


def test_a_command_that_hangs_says_what_it_printed(connect: Connect, server: SshServer) -> None:
    server.commands["hang"] = hang
    transport = connect()
    with pytest.raises(
        DeadlineExceeded, match=r"command 'hang': no answer within 0.2 s; last seen: 'half a li'"
    ):
        transport.exec("hang", timeout_s=0.2)
    server.commands["fine"] = end
    assert transport.exec("fine", timeout_s=5).exit_code == 0  # the connection is still good


def test_a_left_over_child_holds_the_output_open(
    connect: Connect, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(channel: paramiko.Channel) -> None:
        channel.sendall(b"done")
        channel.send_exit_status(0)
        channel.recv(1)

    monkeypatch.setattr(channels, "END_GRACE_S", 0.1)
    server.commands["daemonize"] = work
    assert connect().exec("daemonize", timeout_s=20).stdout == "done"


def test_an_unknown_command(connect: Connect) -> None:
    with pytest.raises(TransportError, match="start of 'nope'"):
        connect().exec("nope", timeout_s=5)


def test_a_killed_command(connect: Connect, server: SshServer) -> None:
    server.commands["die"] = lambda channel: channel.close()
    with pytest.raises(GuestError, match="'die' was killed in the guest"):
        connect().exec("die", timeout_s=5)


def test_a_drop_in_the_middle(connect: Connect, server: SshServer) -> None:
    def work(channel: paramiko.Channel) -> None:
        channel.sendall(b"so far")
        channel.recv(
            1,
        )

    server.commands["long"] = work
    transport = connect()
    threading.Timer(0.3, server.drop).start()
    with pytest.raises(TransportError, match="command 'long': the connection broke") as caught:
        transport.exec("long", timeout_s=20)
    assert caught.value.evidence["stdout"] == "so far"
    with pytest.raises(TransportError, match="connection is closed"):
        transport.exec("long", timeout_s=20)


def test_a_dead_vm_explains_the_drop(connect: Connect, server: SshServer) -> None:
    """QEMU closes its sockets a moment before its death can be seen."""
    server.commands["hang"] = hang
    vm = Watched()

    def die() -> None:
        server.drop()
        threading.Timer(0.1, lambda: setattr(vm, "fault", GuestPanicked("it died"))).start()

    transport = connect(check=vm.check)
    threading.Timer(0.1, die).start()
    with pytest.raises(GuestPanicked):
        transport.exec("hang", timeout_s=20)


def test_a_panic_ends_a_command_at_once(connect: Connect, server: SshServer) -> None:
    server.commands["hang"] = hang
    vm = Watched()
    transport = connect(check=vm.check)
    threading.Timer(0.1, lambda: setattr(vm, "fault", GuestPanicked("it died"))).start()
    start = time.monotonic()
    with pytest.raises(GuestPanicked):
        transport.exec("hang", timeout_s=20)
    assert time.monotonic() - start < 1


# -- line sessions --------------------------------------------------------------------------------


def test_lines(connect: Connect, server: SshServer) -> None:
    server.commands["echo"] = echo
    session = connect().open_session("echo")
    assert session.read_line(5, "greeting") == b"ready"
    session.send_line(b'{"a":"\xc3\xbc"}')
    session.send_line(b"two")
    assert [session.read_line(5), session.read_line(5)] == [b'{"a":"\xc3\xbc"}', b"two"]
    session.close()
    session.close()


def test_a_long_line_both_ways(connect: Connect, server: SshServer) -> None:
    server.commands["echo"] = echo
    session = connect().open_session("echo")
    session.read_line(5)
    line = b"z" * 5_000_000
    session.send_line(line)
    assert session.read_line(30) == line


def test_an_endless_line(connect: Connect, server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MAX_LINE", 1 << 20)
    server.commands["endless"] = lambda channel: channel.sendall(b"z" * 10_000_000)
    session = connect().open_session("endless")
    with pytest.raises(ProtocolError, match="a line of more than 1 MiB") as caught:
        session.read_line(30)
    assert caught.value.evidence["start"].startswith("'zzz")


def test_half_a_line(connect: Connect, server: SshServer) -> None:
    server.commands["hang"] = hang
    session = connect().open_session("hang")
    with pytest.raises(DeadlineExceeded, match=r"allocate: .*9 bytes of a line: 'half a li'"):
        session.read_line(0.2, "allocate")


def test_the_process_ends(connect: Connect, server: SshServer) -> None:
    def work(channel: paramiko.Channel) -> None:
        channel.sendall_stderr(b"no driver\n")
        end(channel, 5)

    server.commands["serve"] = work
    session = connect().open_session("serve")
    with pytest.raises(GuestError, match="'serve' ended with exit code 5 when hello was awaited") as caught:
        session.read_line(5, "hello")
    assert "no driver" in caught.value.evidence["stderr"]
    assert "no driver" in session.stderr_tail()
    with pytest.raises(GuestError, match="when a request was sent"):
        session.send_line(b"x")


def test_the_connection_drops(connect: Connect, server: SshServer) -> None:
    server.commands["hang"] = hang
    session = connect().open_session("hang")
    threading.Timer(0.1, server.drop).start()
    with pytest.raises(TransportError, match="'hang': the connection broke"):
        session.read_line(20)
    session.close()


def test_a_panic_ends_the_wait_for_a_line(connect: Connect, server: SshServer) -> None:
    server.commands["hang"] = hang
    vm = Watched()
    session = connect(check=vm.check).open_session("hang")
    vm.fault = GuestPanicked("it died")
    with pytest.raises(GuestPanicked):
        session.read_line(20)
    start = time.monotonic()
    session.close()
    assert time.monotonic() - start < 1


def test_a_peer_that_does_not_read(
    connect: Connect, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "SEND_S", 0.3)
    stay = threading.Event()
    server.commands["deaf"] = lambda _: (stay.wait(20), None)[1]
    session = connect().open_session("deaf")
    with pytest.raises(DeadlineExceeded, match="sending to 'deaf'"):
        session.send_line(b"x" * 10_000_000)
    stay.set()


# -- files ----------------------------------------------------------------------------------------


def test_putting_files(connect: Connect, server: SshServer, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(bytes(range(256)) * 1000)
    two.write_bytes(b"")
    connect().put_many({one: r"C:\halpmc\deep\one.sys", two: "c:/two.exe"})
    assert (server.home / "C:/halpmc/deep/one.sys").read_bytes() == one.read_bytes()
    assert sorted(p.name for p in server.home.rglob("*") if p.is_file()) == [
        "client_key",
        "one.sys",
        "two.exe",
    ]


@pytest.mark.parametrize("windows", [False, True])
def test_replacing_a_file(connect: Connect, server: SshServer, tmp_path: Path, windows: bool) -> None:
    server.refuse_posix_rename = windows
    (server.home / "C:/old.sys").write_text("old")
    (tmp_path / "new").write_text("new")
    connect().put(tmp_path / "new", r"C:\old.sys")
    assert (server.home / "C:/old.sys").read_text() == "new"


def test_getting_a_file(connect: Connect, server: SshServer, tmp_path: Path) -> None:
    (server.home / "C:/dump").write_bytes(b"d" * 100_000)
    connect().get(r"C:\dump", tmp_path / "dump")
    assert (tmp_path / "dump").read_bytes() == b"d" * 100_000


def test_getting_what_is_not_there(connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"copying C:\\none to here: No such file"):
        connect().get(r"C:\none", tmp_path / "here")
    assert not list(tmp_path.glob("here*"))


def test_putting_what_cannot_be_written(connect: Connect, server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (server.home / "C:/taken").write_text("a file, no folder")
    with pytest.raises(TransportError, match="copying file to"):
        connect().put(tmp_path / "file", r"C:\taken\file")
    with pytest.raises(InfrastructureError, match=r"cannot read .*absent"):
        connect().put(tmp_path / "absent", r"C:\x")


def test_a_panic_ends_a_transfer(connect: Connect, server: SshServer, tmp_path: Path) -> None:
    vm = Watched()
    transport = connect(check=vm.check)
    (tmp_path / "file").write_text("x")
    transport.put(tmp_path / "file", r"C:\file")
    vm.fault = GuestPanicked("it died")
    with pytest.raises(GuestPanicked):
        transport.put(_endless(tmp_path), r"C:\file")
    assert (server.home / "C:/file").read_text() == "x"


def _endless(folder: Path) -> Path:
    path = folder / "big"
    with path.open("wb") as file:
        file.truncate(500_000_000)
    return path


def test_nothing_is_left(connect: Connect, server: SshServer, tmp_path: Path) -> None:
    before = set(client_threads())  # another test's may still be ending
    with connect() as transport:
        (tmp_path / "file").write_text("x")
        transport.put(tmp_path / "file", r"C:\file")
        assert len(set(client_threads()) - before) == 2
    assert not set(client_threads()) - before


def client_threads() -> list[threading.Thread]:
    """The threads of the client's side: the library's reader, and the worker."""
    return [
        thread
        for thread in threading.enumerate()
        if (isinstance(thread, paramiko.Transport) and not thread.server_mode)
        or thread.name.startswith("ssh-step")
    ]
