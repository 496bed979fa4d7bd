"""The socket at which QEMU waits for somebody to talk to the guest's console."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from harness.errors import QemuError
from harness.vm.unix_port import UnixPort


def test_in_a_deep_folder(tmp_path: Path) -> None:
    """A socket's path has at most 107 bytes, and folders are what they are."""
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    port = UnixPort(folder)
    with port.listen() as listener, port.connect() as ours:
        theirs, _ = listener.accept()
        ours.sendall(b"hello")
        assert theirs.recv(10) == b"hello"
        theirs.close()
    assert stat.S_IMODE(port.path.stat().st_mode) == 0o600, "a root shell may be behind it"
    port.close()
    port.close()
    assert not list(folder.iterdir())


def test_one_that_a_killed_harness_left(tmp_path: Path) -> None:
    UnixPort(tmp_path).listen().close()
    with UnixPort(tmp_path).listen():
        UnixPort(tmp_path).connect().close()


def test_nobody_waits(tmp_path: Path) -> None:
    with pytest.raises(QemuError, match=r"no connection to .*console\.sock: No such file"):
        UnixPort(tmp_path).connect()
