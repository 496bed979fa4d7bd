"""VMs that wait for a person at pytest's terminal (a pty): what is told, when, and that each ends in its time.

The guests are stand-ins that note when they start and end; tests/system/test_pytest_cells.py has real ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from harness.paths import project_root

SUITE = """
import pytest
from harness.contract.judgement import failed, passed

@pytest.mark.clause("ALLOC-1")
def test_one(guest, settle):
    settle(passed("it holds"))

@pytest.mark.clause("ALLOC-2")
def test_two(guest, settle):
    print("captured words")
    settle(failed("ALLOC-2", "as it was meant to"))

@pytest.mark.clause("FREE-1")
def test_three(guest, settle):
    settle(failed("FREE-1", "this one, too"))
"""

STAND_IN = """
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from harness.config.load import load_guest
from harness.runs.cell import CellRun
from harness.vm.machine import Machine

LOG = Path(__file__).with_name("log")
MACHINE = Machine(arch="x86_64", accel="tcg", machine="q35", cpu="max", console=True)

def note(*words):
    with LOG.open("a") as file:
        print(*words, file=file)

class Starter:
    isolated = True

    def __init__(self, ports):
        self.ports = ports
        self.image = SimpleNamespace(
            definition=load_guest("embedded"), key=Path("key"), host_key="ssh-ed25519 AAAA"
        )

    @contextmanager
    def start(self, folder):
        folder.mkdir(parents=True)
        note("starts", folder.name)
        yield SimpleNamespace(vm=SimpleNamespace(folder=folder, ssh_port=22, machine=MACHINE))
        note("ends", folder.name)

def boot(running):
    running._starter = running._starter or Starter(running.ports)
    return running._starter

CellRun._boot = boot
CellRun.probe = lambda running: None

def pytest_timeout_cancel_timer(item):
    note("clock of", item.name, "stopped")
"""
WAIT_S = 240
NAMES = ("test_one", "test_two", "test_three")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "conftest.py").write_text(STAND_IN)
    (tmp_path / "matrix.yaml").write_text(
        "schema: 1\nname: m\ninclude: [{id: cell, guest: embedded, accel: tcg, memory_mib: 64}]\n"
    )
    return tmp_path


@contextmanager
def session(home: Path, *options: str, **environment: str) -> Generator[pexpect.spawn[str], None, None]:
    place = ["-c", "/dev/null", f"--rootdir={home}", "-p", "no:cacheprovider", "--color=no"]
    child = pexpect.spawn(
        sys.executable,
        ["-m", "pytest", "test_suite.py", *place, "--halpmc-matrix=matrix.yaml", *options],
        cwd=str(home),
        env=os.environ | {"PYTHONPATH": str(project_root())} | environment,
        encoding="utf-8",
        dimensions=(40, 300),
        timeout=WAIT_S,
    )
    try:
        yield child
    finally:
        child.close(force=True)


def log(home: Path, first: str = "") -> list[str]:
    """What the guests noted, or those lines of it."""
    lines = (home / "log").read_text().splitlines()
    return [line for line in lines if line.startswith(first)]


def ends(child: pexpect.spawn[str]) -> int | None:
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus


def alive(*names: str) -> list[str]:
    """The notes of tests that ran to their end, in order."""
    return [f"{word} {name}" for name in names for word in ("starts", "ends")]


def test_pausing_stops_before_anything_is_torn_down(home: Path) -> None:
    with session(home, "--halpmc-pause-on-failure") as child:
        child.expect(r"test_two\[cell\] failed in its call: as it was meant to")
        child.expect(r"ssh -F \S+/tests/test_two/ssh\.config guest")
        child.expect(r"halpmc attach \S+/tests/test_two/monitor\.sock")
        child.expect_exact("Enter goes on")
        assert "ends test_two" not in log(home)
        assert "clock of test_two[cell] stopped" in log(home), "pytest-timeout does not count a person's time"
        child.send("\r")
        child.expect(r"test_three\[cell\] failed in its call: this one, too")
        assert "ends test_two" in log(home)
        child.send("\r")
        child.expect_exact("captured words")  # the capture went on: they stand in the report of the failure
        child.expect("2 failed, 1 passed")
        assert ends(child) == 1
    assert [line for line in log(home) if "clock" not in line] == alive(*NAMES)


def test_ctrl_c_at_a_pause_ends_the_session_in_order(home: Path) -> None:
    with session(home, "--halpmc-pause-on-failure") as child:
        child.expect_exact("Enter goes on")
        child.sendintr()
        child.expect("KeyboardInterrupt")
        assert ends(child) == 2
    assert [line for line in log(home) if "clock" not in line] == alive("test_one", "test_two")


@pytest.mark.parametrize(
    ("options", "environment", "kept"),
    [
        (["--halpmc-keep"], {}, "test_two"),
        ([], {"HALPMC_KEEP": "failed"}, "test_two"),
        (["-o", "halpmc_keep=always"], {}, "test_three"),
    ],
)
@pytest.mark.parametrize("key", ["\r", "\x03"], ids=["enter", "ctrl-c"])
def test_keeping_one_vm_until_all_is_reported(
    options: list[str], environment: dict[str, str], kept: str, key: str, home: Path
) -> None:
    with session(home, *options, **environment) as child:
        child.expect_exact("planned results recorded")
        child.expect("2 failed, 1 passed")
        child.expect(rf"kept: the VM of \S+{kept}\[cell\]")
        child.expect(rf"ssh -F \S+/tests/{kept}/ssh\.config guest")
        child.expect_exact("Enter or Ctrl-C ends it")
        assert set(log(home, "ends")) == {f"ends {name}" for name in NAMES if name != kept}
        assert list((home / "runs").glob("*/report.html"))
        child.send(key)
        assert ends(child) == 1
    assert log(home, "ends")[-1] == f"ends {kept}"
    assert len(log(home, "ends")) == 3


def test_nothing_failed_so_nothing_is_kept(home: Path) -> None:
    with session(home, "--halpmc-keep", "-k", "test_one") as child:
        ends(child)  # the run is red: a stand-in has no verdict
        assert "1 passed" in str(child.before) and "kept" not in str(child.before)
    assert [line for line in log(home) if "clock" not in line] == alive("test_one")


def test_sigterm_waits_for_nobody(home: Path) -> None:
    text = SUITE.replace(
        '    settle(failed("FREE-1", "this one, too"))',
        "    import os, signal\n    os.kill(os.getpid(), signal.SIGTERM)",
    )
    (home / "test_suite.py").write_text(text)
    with session(home, "--halpmc-keep") as child:
        assert ends(child) == 2
    assert "ends test_two" in log(home)
