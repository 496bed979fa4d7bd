"""The guards around a started QEMU."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

from harness.vm import process
from harness.vm.process import ChildProcess, tail


def test_a_process_whose_parent_is_gone_already_does_not_start(tmp_path: Path) -> None:
    """The parent may be killed between the fork and the request for the death signal."""
    for parent, starts in ((os.getpid(), True), (os.getpid() + 1, False)):
        mark = tmp_path / str(parent)
        subprocess.run(["sh", "-c", process._ONLY_WITH_PARENT, str(parent), "touch", mark], check=False)
        assert mark.exists() is starts


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
