"""A client in the guest that prints what it should not, over SSH and over the serial lane; and drivers that refuse."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paramiko
import pytest

from harness.config.load import load_guest
from harness.driver import deploy, protocol
from harness.driver.device import ERROR_TIMEOUT, RETURN_S, Device
from harness.driver.session import LOGGED_BYTES, ClientSession
from harness.errors import (
    ContractViolation,
    DeadlineExceeded,
    DriverError,
    GuestError,
    HalpmcError,
    NeverReturned,
    ProtocolError,
)
from harness.guest.lane import LaneChannel
from harness.guest.ssh import SshTransport
from tests.unit.ssh_server import ssh_server
from tests.unit.test_guest_ssh import end

HELLO = {"hello": "pmcctl", "protocol": protocol.PROTOCOL_VERSION, "version": "0", "arch": "x86_64", "pid": 7}
FACTS_S = 5.0

#: Answers a request, given as a dictionary, with any bytes.
Client = Callable[[dict[str, Any]], bytes]
#: Opens a session with a client that answers the greeting well and everything else as the test wants it.
Open = Callable[[Client], ClientSession]


def converse(client: Client, read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
    """The client's side: a request per line, whatever the client says to it."""
    buffer = b""
    with suppress(OSError, EOFError):  # the harness hangs up: that is how these tests end
        while data := read(65536):
            buffer += data
            while b"\n" in buffer:
                line, _, buffer = buffer.partition(b"\n")
                request = json.loads(line)
                write(result(request, HELLO) if request["op"] == "hello" else client(request))


def result(request: dict[str, Any], value: object) -> bytes:
    return json.dumps({"id": request["id"], "ok": True, "result": value}).encode() + b"\n"


def refusal(request: dict[str, Any], code: int, what: str) -> bytes:
    error = {"kind": "win32", "code": code, "what": what}
    return json.dumps({"id": request["id"], "ok": False, "error": error}).encode() + b"\n"


@contextmanager
def over_lane(client: Client, folder: Path) -> Generator[ClientSession, None, None]:
    ours, guest = socket.socketpair()
    with ours, guest:
        threading.Thread(target=converse, args=(client, guest.recv, guest.sendall), daemon=True).start()
        channel = LaneChannel(ours, lambda: None)
        with ClientSession(
            channel, greeting_timeout_s=FACTS_S, log=folder / "client.log", runs=True
        ) as session:
            yield session


@contextmanager
def over_ssh(client: Client, folder: Path) -> Generator[ClientSession, None, None]:
    home = folder / "home"
    home.mkdir()

    def serve(channel: paramiko.Channel) -> None:
        channel.sendall(json.dumps(HELLO).encode() + b"\r\n")
        converse(client, channel.recv, channel.sendall)
        end(channel)

    with ssh_server(home) as server:
        server.commands["pmcctl serve"] = serve
        with (
            SshTransport.connect(
                "127.0.0.1", server.port, "tester", server.client_key_path, server.host_key_text
            ) as transport,
            ClientSession(
                transport.open_session("pmcctl serve"),
                greeting_timeout_s=FACTS_S,
                log=folder / "client.log",
            ) as session,
        ):
            yield session


@pytest.mark.parametrize("version", [protocol.PROTOCOL_VERSION - 1, protocol.PROTOCOL_VERSION + 1])
def test_a_client_of_another_protocol_is_not_talked_to(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HELLO, "protocol", version)
    with (
        pytest.raises(ProtocolError, match=f"the client speaks protocol {version}, the harness"),
        over_lane(lambda _: b"", tmp_path),
    ):
        pass


both_ways = pytest.mark.parametrize("way", [over_ssh, over_lane], ids=["ssh", "lane"])


@both_ways
@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"segmentation fault\n", "a line that is not of the protocol"),
        (b"\n", "a line that is not of the protocol"),
        (b'{"id":1}\n', "a line that is not of the protocol: ok"),
        (b"\xff\xfe\x00garbage\x80\n", "a line that is not of the protocol"),
        ('{"id":1,"ok":true,"result":{"grüße":1}}\n'.encode("cp1252"), "a line that is not of the protocol"),
        (b"[" * 100_000 + b"\n", "a line that is not of the protocol"),
        (b"x" * 10_000_000 + b"\n", "a line that is not of the protocol"),
        (b'{"id":77,"ok":true,"result":{}}\n', "answered request 77 instead of"),
    ],
    ids=[
        "garbage",
        "empty",
        "half-an-answer",
        "no-utf-8",
        "another-encoding",
        "deep",
        "10-mb",
        "another-request",
    ],
)
def test_what_is_no_answer(way: Any, said: bytes, words: str, tmp_path: Path) -> None:
    """One clear error with the start of the line in it; the log keeps a bounded part of it."""
    with way(lambda _: said, tmp_path) as session, pytest.raises(ProtocolError) as caught:
        session.call("facts", protocol.Facts, timeout_s=30)
    assert caught.value.message.startswith("facts: the client ")
    assert words in caught.value.message
    assert len(str(caught.value)) + sum(map(len, caught.value.evidence.values())) < 10_000
    assert (tmp_path / "client.log").stat().st_size < 2 * LOGGED_BYTES


@both_ways
def test_half_a_line(way: Any, tmp_path: Path) -> None:
    half = b'{"id":1,"ok":true,"resu'
    with (
        way(lambda _: half, tmp_path) as session,
        pytest.raises(DeadlineExceeded, match=r"client's answer to facts: .*23 bytes of a line: '\{\"id\":1"),
    ):
        session.call("facts", protocol.Facts, timeout_s=1.5)


@both_ways
def test_nothing_at_all(way: Any, tmp_path: Path) -> None:
    with (
        way(lambda _: b"", tmp_path) as session,
        pytest.raises(DeadlineExceeded, match="client's answer to facts: no answer within"),
    ):
        session.call("facts", protocol.Facts, timeout_s=1.5)


@both_ways
@pytest.mark.parametrize(
    ("op", "code", "words"),
    [
        ("service.create", 1072, "marked for deletion: close every handle to it, or reboot the guest"),
        ("service.create", 1073, "use a fresh guest"),
        ("service.start", 2, "the driver's file is not where the service points"),
        ("service.start", 577, "bcdedit /set testsigning on"),
        ("service.start", 1058, "the service is disabled"),
        ("service.start", 1275, "blocked by policy"),
        ("service.start", 31, "DriverEntry failed, or a routine that the driver imports is not there"),
        ("service.start", 4711, "see the guest's logs in the cell's folder"),
    ],
)
def test_a_driver_that_does_not_start(way: Any, op: str, code: int, words: str, tmp_path: Path) -> None:
    """The error names the service, Windows' error number, and what to do about it."""

    def client(request: dict[str, Any]) -> bytes:
        return refusal(request, code, "the call") if request["op"] == op else result(request, {})

    with way(client, tmp_path) as session, pytest.raises(DriverError) as caught:
        deploy.start_drivers(session, load_guest("embedded"))
    error: HalpmcError = caught.value
    assert error.message.startswith("the test driver does not start as service pmctest: ")
    assert f"failed with win32 error {code} " in error.message
    assert words in error.remedy
    assert error.branch == "guest"


def lane_client(create: int, asked: list[str]) -> Client:
    """A client whose service.create is refused with that error."""

    def client(request: dict[str, Any]) -> bytes:
        asked.append(request["op"])
        if request["op"] == "service.create":
            return refusal(request, create, "CreateService")
        return result(request, {"state": 4})

    return client


def test_an_image_that_has_the_lanes_service_already(tmp_path: Path) -> None:
    """As an installed Windows has: the service is started as it is."""
    asked: list[str] = []
    with over_lane(lane_client(1073, asked), tmp_path) as session:
        deploy.start_lane(session, load_guest("embedded"), "COM2")
    assert asked == ["service.create", "service.start"]


def test_any_other_error_of_the_lanes_service_is_told(tmp_path: Path) -> None:
    asked: list[str] = []
    with over_lane(lane_client(1072, asked), tmp_path) as session, pytest.raises(GuestError, match="1072"):
        deploy.start_lane(session, load_guest("embedded"), "COM2")
    assert asked == ["service.create"]


def test_a_call_that_never_returns_is_a_violation_and_its_handle_is_left_alone(tmp_path: Path) -> None:
    """The client has given the call up; closing the device would wait for the driver, which hangs with the routine."""
    asked: list[dict[str, Any]] = []

    def client(request: dict[str, Any]) -> bytes:
        asked.append(request)
        call = {"status": 0, "handle": "0x0", "irql_before": 0, "irql_after": 0, "cpu": 0, "group": 0}
        given_up = {**call, "written": False, "transport": ERROR_TIMEOUT}
        return result(request, {"device": 1} if request["op"] == "device.open" else given_up)

    with over_lane(client, tmp_path) as session:
        device = Device.open(session, "pmctest")
        with pytest.raises(NeverReturned, match="allocate: the routine did not return within"):
            device.allocate()
        device.close()
    assert [request["op"] for request in asked] == ["device.open", "allocate"]
    assert asked[1]["args"]["timeout_ms"] >= RETURN_S * 1000
    assert issubclass(NeverReturned, ContractViolation)
    assert device.calls == []
