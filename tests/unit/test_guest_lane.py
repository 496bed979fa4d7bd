"""The serial lane: lines over a socket, and what happens when the other side is slow, silent, talkative or gone."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.driver import protocol
from harness.driver.session import ClientSession
from harness.errors import DeadlineExceeded, GuestPanicked, ProtocolError, TransportError
from harness.guest import lane
from harness.guest.lane import MAX_REQUEST, LaneChannel
from harness.runs.client_sessions import ClientSessions
from harness.vm.vm import Vm

HELLO = {"hello": "pmcctl", "protocol": protocol.PROTOCOL_VERSION, "version": "0", "arch": "x86_64", "pid": 7}


@pytest.fixture
def ends() -> Generator[tuple[socket.socket, socket.socket], None, None]:
    ours, guest = socket.socketpair()
    with ours, guest:
        yield ours, guest


def healthy() -> None:
    """A VM that is well."""


def in_the_guest(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_lines_go_both_ways(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = ends
    channel = LaneChannel(ours, healthy)
    channel.send_line(b'{"id":1}')
    assert guest.recv(100) == b'{"id":1}\n'
    guest.sendall(b"one\r\ntwo\nthr")
    assert channel.read_line(5) == b"one"
    assert channel.read_line(5) == b"two"
    guest.sendall(b"ee\n")
    assert channel.read_line(5) == b"three"


@given(st.lists(st.binary(max_size=200).filter(lambda line: b"\n" not in line), max_size=20), st.data())
def test_however_the_bytes_arrive(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    ours, guest = socket.socketpair()
    with ours, guest:
        channel = LaneChannel(ours, healthy)
        seen = []
        while stream:
            size = data.draw(st.integers(1, len(stream)))
            guest.sendall(stream[:size])
            for _ in range(stream[:size].count(b"\n")):
                seen.append(channel.read_line(5))
            stream = stream[size:]
        assert seen == [line.removesuffix(b"\r") for line in lines]


def test_a_guest_that_says_nothing_or_half_a_line(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, guest = ends
    channel = LaneChannel(ours, healthy)
    with pytest.raises(DeadlineExceeded, match=r"answer: no answer within 0\.1 s; nothing was seen"):
        channel.read_line(0.1, "answer")
    guest.sendall(b'{"id":1,"ok"')
    with pytest.raises(DeadlineExceeded, match="12 bytes of a line"):
        channel.read_line(0.2, "answer")


def test_a_dying_vm_ends_the_wait_at_once(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends

    def panicked() -> None:
        raise GuestPanicked("it died")

    with pytest.raises(GuestPanicked):
        LaneChannel(ours, panicked).read_line(60)


def test_a_closed_lane(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = ends
    channel = LaneChannel(ours, healthy)
    guest.sendall(b"half")
    guest.close()
    with pytest.raises(TransportError, match="the serial lane is closed") as caught:
        channel.read_line(5)
    assert caught.value.evidence["unfinished line"] == "half"


def test_an_endless_line(ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "MAX_LINE", 1 << 16)
    ours, guest = ends
    in_the_guest(lambda: guest.sendall(b"x" * (1 << 17)))
    with pytest.raises(ProtocolError, match="a line of more than"):
        LaneChannel(ours, healthy).read_line(30)


class Booted:
    """A VM whose firmware has written to its ports, as OVMF does to COM1 and COM2, and whose client waits at one."""

    def __init__(self, port: socket.socket) -> None:
        self.ends = SimpleNamespace(lane=port)

    def check(self) -> None:
        """It is well."""


FIRMWARE = (
    b'\x1b[2J\x1b[01;01HBdsDxe: loading Boot0001 "Windows Boot Manager" from HD(1,GPT)\r\n'
    b"BdsDxe: starting Boot0001"
)


def test_what_firmware_has_written_is_no_answer(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    ours, guest = ends
    guest.sendall(FIRMWARE)

    def client() -> None:
        request = json.loads(guest.recv(1000))
        guest.sendall(json.dumps({"id": request["id"], "ok": True, "result": HELLO}).encode() + b"\n")

    in_the_guest(client)
    with ClientSessions.join(cast(ClientSessions, None), cast(Vm, Booted(ours)), tmp_path) as session:
        assert session.hello.pid == HELLO["pid"]


def test_a_lane_that_is_closed_before_anybody_asks(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = ends
    guest.sendall(FIRMWARE)
    guest.close()
    with pytest.raises(TransportError, match="the serial lane is closed"):
        LaneChannel(ours, healthy).discard()


def test_a_request_that_the_port_could_lose(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = ends
    channel = LaneChannel(ours, healthy)
    channel.send_line(b"x" * (MAX_REQUEST - 1))
    assert len(guest.recv(1 << 20)) == MAX_REQUEST
    with pytest.raises(ProtocolError, match="too long for the serial lane"):
        channel.send_line(b"x" * MAX_REQUEST)


def test_joining_a_conversation(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    ours, guest = ends

    def client() -> None:
        request = json.loads(guest.makefile("rb").readline())
        assert request["op"] == "hello"
        answer = {"id": request["id"], "ok": True, "result": HELLO}
        guest.sendall(json.dumps(answer).encode() + b"\n")

    thread = in_the_guest(client)
    channel = LaneChannel(ours, healthy)
    with ClientSession(channel, greeting_timeout_s=5, log=tmp_path / "log", runs=True) as session:
        assert session.hello.pid == 7
    thread.join(5)
    assert ours.fileno() >= 0, "the socket belongs to the VM"
