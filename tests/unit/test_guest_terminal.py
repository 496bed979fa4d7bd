"""The terminal handed over to a socket: every byte both ways, Ctrl-] ends it, and the terminal is given back."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import termios
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.deadlines import wait_for
from harness.paths import project_root
from harness.vm.unix_port import UnixPort

ANSWER_S = 20.0
ATTACH = [sys.executable, "-m", "harness.cli", "attach"]


@dataclass
class Seat:
    """A person's terminal, the command at it, and the program at the socket's other end."""

    process: subprocess.Popen[bytes]
    keyboard: int
    peer: socket.socket
    before: list[object]

    def reads(self, words: bytes) -> None:
        """Wait until the terminal has shown these bytes."""
        shown = b""
        while words not in shown:
            piece = os.read(self.keyboard, 4096)
            assert piece
            shown += piece

    def wait_for_raw(self) -> None:
        """Wait until the terminal neither echoes nor waits for lines."""

        def raw(_: object) -> bool | None:
            return None if termios.tcgetattr(self.keyboard)[3] & termios.ECHO else True

        wait_for("raw mode", ANSWER_S, raw)


@pytest.fixture
def seat(tmp_path: Path) -> Generator[Seat, None, None]:
    port = UnixPort(tmp_path, "monitor.sock")
    master, slave = pty.openpty()
    before = termios.tcgetattr(master)
    with port.listen() as listener:
        listener.settimeout(ANSWER_S)
        process = subprocess.Popen(
            [*ATTACH, str(port.path)], stdin=slave, stdout=slave, stderr=slave, cwd=project_root()
        )
        peer, _ = listener.accept()
    peer.settimeout(ANSWER_S)
    seat = Seat(process, master, peer, before)
    try:
        yield seat
    finally:
        process.kill()
        process.wait()
        peer.close()
        os.close(master)
        os.close(slave)


def test_keys_and_screen(seat: Seat) -> None:
    seat.reads(b"Ctrl-] ends it")
    seat.wait_for_raw()
    os.write(seat.keyboard, b"\x03\x1a\x00abc\r")
    got = b""
    while len(got) < 7:
        got += seat.peer.recv(100)
    assert got == b"\x03\x1a\x00abc\r", "no key has a meaning here but one"
    seat.peer.sendall(b"\x1b[1mhello\xff")
    seat.reads(b"\x1b[1mhello\xff")
    os.write(seat.keyboard, b"x\x1dy")
    assert seat.peer.recv(100) == b"x"
    assert seat.peer.recv(100) == b""
    assert seat.process.wait(ANSWER_S) == 0
    assert termios.tcgetattr(seat.keyboard) == seat.before


def test_the_other_side_goes(seat: Seat) -> None:
    seat.wait_for_raw()
    seat.peer.close()
    seat.reads(b"the other side has closed it")
    assert seat.process.wait(ANSWER_S) == 0
    assert termios.tcgetattr(seat.keyboard) == seat.before


@pytest.mark.parametrize(
    ("name", "words"), [("none.sock", "needs a terminal, and stdin is none — run it in one")]
)
def test_without_a_terminal(name: str, words: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*ATTACH, str(tmp_path / name)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=project_root(),
    )
    assert done.returncode == 2
    assert words in done.stderr
