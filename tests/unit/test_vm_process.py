"""The guards around a started QEMU."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from harness.deadlines import Deadline, wait_for
from harness.vm import process
from harness.vm.process import ChildProcess, tail


def test_a_process_whose_parent_is_gone_already_does_not_start(tmp_path: Path) -> None:
    """The parent may be killed between the fork and the request for the death signal."""
    for parent, starts in ((os.getpid(), True), (os.getpid() + 1, False)):
        mark = tmp_path / str(parent)
        subprocess.run(["sh", "-c", process._ONLY_WITH_PARENT, str(parent), "touch", mark], check=False)
        assert mark.exists() is starts


def test_start_has_that_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = ChildProcess(["touch", str(tmp_path / "mark")], tmp_path / "log")
    another = os.getpid() + 1
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: another)  # as if the parent were another by now
        child.start()
    assert child.wait(20)
    assert child.ended() == "exit status 1"
    assert not (tmp_path / "mark").exists()


def test_a_process_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    words = "import sys; from pathlib import Path; from harness.vm.process import ChildProcess"
    start = "child = ChildProcess(['sleep', '600'], Path(sys.argv[1])); child.start(); print(child.pid, flush=True)"
    command = [sys.executable, "-c", f"{words}; {start}; sys.stdin.read()", str(tmp_path / "log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        started = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    def gone(_: Deadline) -> bool | None:
        return None if started.is_running() and started.status() != psutil.STATUS_ZOMBIE else True

    try:
        wait_for("the end of the process", 20, gone)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            started.kill()


def test_ending_by_sigterm(tmp_path: Path) -> None:
    child = ChildProcess(["sleep", "60"], tmp_path / "log")
    child.start()
    assert child.status is None
    assert child.ended() == "still running"
    assert child.stop(lambda: False, ask_s=5, term_s=5) == "SIGTERM"
    assert child.ended() == "killed by SIGTERM"
    assert child.stop(lambda: True, ask_s=5, term_s=5) == "gone"


def test_an_interrupted_start_is_still_cleaned_up(tmp_path: Path) -> None:
    """`kill` waits for a fork that is under way in the other thread."""
    gate = threading.Event()
    child = ChildProcess(["sleep", "60"], tmp_path / "log")
    process._spawner(os.getpid()).submit(gate.wait)  # holds the spawner back
    child._spawning = process._spawner(os.getpid()).submit(child._spawn, ["sleep", "60"])
    threading.Timer(0.2, gate.set).start()
    assert child.kill()
    assert child.ended() == "killed by SIGKILL"


def test_tail(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert tail(path) == ""
    path.write_bytes(b"x" * 5000 + b"\xffend\n")
    assert tail(path, 10) == "xxxxx\ufffdend"
