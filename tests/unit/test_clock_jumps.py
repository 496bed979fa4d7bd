"""The host's clock jumps, forward and back, at every look at it: nothing that waits may notice."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.deadlines import Deadline, wait_for
from harness.errors import DeadlineExceeded
from harness.guest.lane import LaneChannel
from harness.guest.ssh import SshTransport
from harness.runs.record import PhaseRecord
from harness.runs.record_file import Recorder, read_records
from tests.unit import test_vm_scripted
from tests.unit.ssh_server import ssh_server
from tests.unit.test_guest_ssh import end
from tests.unit.test_vm_scripted import RUNNING, MakeVm

scripted = test_vm_scripted.scripted

YEAR_S = 365 * 86400.0


@pytest.fixture(autouse=True)
def jumps(monkeypatch: pytest.MonkeyPatch) -> Generator[list[float], None, None]:
    """Every look at the time of day is a year away from the one before; gives the looks that were taken."""
    real, away, taken = time.time, itertools.cycle((YEAR_S, -YEAR_S)), []

    def jumping() -> float:
        taken.append(real() + next(away))
        return taken[-1]

    monkeypatch.setattr(time, "time", jumping)
    yield taken


def test_a_wait_lasts_as_long_as_it_should(jumps: list[float]) -> None:
    assert abs(time.time() - time.time()) > YEAR_S, "the clock jumps"
    deadline = Deadline("x", 60)
    assert 59 < deadline.remaining() <= 60
    assert wait_for("the third look", 60, lambda _: True if len(jumps) > 4 else time.time() and None) is True
    with pytest.raises(DeadlineExceeded):
        wait_for("nothing", 0.05, lambda _: None)


def test_a_login_and_a_command(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with ssh_server(home) as server:
        server.commands["ver"] = end
        with SshTransport.connect(
            "127.0.0.1", server.port, "tester", server.client_key_path, server.host_key_text
        ) as transport:
            assert all(0 <= seconds < 60 for seconds in transport.timings.values())
            assert 0 <= transport.exec("ver", timeout_s=30).duration_s < 30


def test_the_serial_lane() -> None:
    ours, guest = socket.socketpair()
    with ours, guest:
        guest.sendall(b"one\n")
        assert LaneChannel(ours, lambda: None).read_line(30) == b"one"


def test_a_vm(scripted: MakeVm) -> None:
    with scripted(RUNNING) as vm:
        vm.check()
        assert vm.execute("query-status", timeout_s=30)["running"]
    assert 0 <= vm.phases.seconds["qemu"] < 60
    assert vm.ended_by == "quit"


def test_records_keep_their_order(tmp_path: Path) -> None:
    """They are in the order in which they were written, whatever the clock said."""
    recorder = Recorder(tmp_path)
    late, early = datetime(2030, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
    recorder.write(PhaseRecord(time=late, cell="a", name="first", seconds=1.0))
    recorder.write(PhaseRecord(time=early, cell="a", name="second", seconds=1.0))
    recorder.close()
    assert [json.loads(record.model_dump_json())["name"] for record in read_records(tmp_path)] == [
        "first",
        "second",
    ]
