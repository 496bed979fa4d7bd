"""Every way in which an installation can go wrong, with a real machine that boots a real medium.

The installer is a boot sector (tests/standin/boot_sector.py); media, answer file, supervision and evidence are those of
a real build.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from harness.config.models import Accel, GuestDefinition
from harness.config.windows import Phase
from harness.deadlines import wait_for
from harness.errors import DeadlineExceeded, GuestError, HalpmcError, InfrastructureError, NoSpace, UsageError
from harness.imaging.windows_build import build_windows
from harness.imaging.windows_phases import WORDS
from harness.imaging.windows_request import WindowsRequest
from harness.paths import GUESTS_VARIABLE
from tests.standin.boot_sector import HALT, RESET, fill_disk, make_medium, marks
from tests.standin.definitions import standin

BEGUN: dict[Phase, tuple[str, ...]] = {
    "boot": (),
    "winpe": ("winpe",),
    "copy": ("winpe", "copy"),
    "specialize": ("winpe", "copy", "specialize"),
    "oobe": ("winpe", "copy", "specialize", "oobe"),
    "logon": ("winpe", "copy", "specialize", "oobe", "logon"),
    "ready": ("winpe", "copy", "specialize", "oobe", "logon", "step power", "step restart"),
}


class Build:
    """One build of a stand-in, in a store of its own."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.logs = folder / "logs"
        self.store = store
        self.said: list[str] = []
        self.others = set(psutil.Process().children(recursive=True))  # guests that other tests share

    def run(self, medium: Path, definition: GuestDefinition) -> None:
        build_windows(
            definition, WindowsRequest(iso=medium), self.logs, accel=Accel.TCG, say=self.said.append
        )

    def fails(self, medium: Path, definition: GuestDefinition, kind: type[HalpmcError]) -> HalpmcError:
        with pytest.raises(kind) as caught:
            self.run(medium, definition)
        self.left_nothing()
        return caught.value

    def left_nothing(self) -> None:
        """No process of this build, and nothing in the store."""
        left = set(psutil.Process().children(recursive=True)) - self.others
        assert not [child for child in left if "qemu" in child.name() or "swtpm" in child.name()]
        kept = [path for path in self.store.glob("*") if not path.name.endswith(".lock")]
        assert kept == []


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    store = tmp_path / "store"
    monkeypatch.setenv(GUESTS_VARIABLE, str(store))
    return Build(tmp_path, store)


@pytest.mark.parametrize("phase", BEGUN)
def test_a_stall_names_its_phase_and_leaves_evidence(phase: Phase, build: Build, tmp_path: Path) -> None:
    medium = make_medium(tmp_path, marks(*BEGUN[phase]) + HALT)
    limits = {**standin().windows.limits.model_dump(), phase: 1.0}  # type: ignore[union-attr]
    error = build.fails(medium, standin(limits=limits), DeadlineExceeded)
    assert WORDS[phase] in error.message
    assert "last screen" in error.message and "0 restarts" in error.message
    evidence = Path(error.evidence["logs"]) / "evidence"
    assert {"index.json", "screen.png", "registers.txt"} <= {path.name for path in evidence.iterdir()}
    assert (build.logs / "serial.log").read_text().count("halpmc-setup") == len(BEGUN[phase])
    assert (build.logs / "run.sh").stat().st_mode & 0o100
    assert sum(WORDS[phase] in line for line in build.said) == 1


def test_restarts_without_end_are_found(build: Build, tmp_path: Path) -> None:
    medium = make_medium(tmp_path, marks("winpe") + RESET)
    limits = dict.fromkeys(BEGUN, 60.0)
    error = build.fails(medium, standin(reboots=1, spare_reboots=1, limits=limits), GuestError)
    # A machine without an operating system restarts faster than anybody looks at it: one more may be counted.
    seen = re.search(r"restarted (\d+) times, where an installation does it 1 times", error.message)
    assert seen, error.message
    restarts = int(seen[1])
    assert restarts >= 3
    told = [line.partition("] ")[2] for line in build.said if "restart" in line]
    assert told == [f"restart {number}" for number in range(1, restarts + 1)]


def test_a_failing_step_of_our_setup_ends_the_build_with_its_words(build: Build, tmp_path: Path) -> None:
    medium = make_medium(tmp_path, marks(*BEGUN["logon"], "failed openssh: no such capability") + HALT)
    error = build.fails(medium, standin(), GuestError)
    assert "openssh: no such capability" in error.message


def test_a_guest_that_is_ready_without_a_host_key_is_no_guest(build: Build, tmp_path: Path) -> None:
    error = build.fails(make_medium(tmp_path, marks("ready") + HALT), standin(), GuestError)
    assert "host key" in error.message


def test_a_host_disk_that_runs_full_is_found_at_once(build: Build, tmp_path: Path) -> None:
    say = marks("winpe", "copy")
    medium = make_medium(tmp_path, say + fill_disk(len(say)))
    with small_disk(build.store):
        error = build.fails(medium, standin(limits=dict.fromkeys(BEGUN, 60.0)), InfrastructureError)
    assert "disk is full" in error.message


@contextmanager
def small_disk(folder: Path) -> Generator[None, None, None]:
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_too_little_space_is_said_before_anything_starts(build: Build, tmp_path: Path) -> None:
    medium = make_medium(tmp_path, HALT)
    error = build.fails(medium, standin(space_gib=1 << 20), NoSpace)
    assert "GiB" in error.message and not (build.logs / "serial.log").exists()


def test_another_release_and_another_hash_are_refused(build: Build, tmp_path: Path) -> None:
    medium = make_medium(tmp_path, HALT)
    error = build.fails(medium, standin(images=["Windows Server 2022"]), UsageError)
    assert "is not for guest 'standin': it has Stand-in Setup" in error.message
    error = build.fails(medium, standin(edition="Datacenter"), UsageError)
    assert "1 = Stand-in Setup" in str(error)
    with pytest.raises(UsageError, match="not 0000"):
        request = WindowsRequest(iso=medium, sha256="0" * 64)
        build_windows(standin(), request, build.logs, accel=Accel.TCG)
    assert not build.logs.exists()


def test_an_interrupt_leaves_nothing(build: Build, tmp_path: Path) -> None:
    medium = make_medium(tmp_path, marks("winpe") + HALT)
    script = f"""
        import signal
        from pathlib import Path
        from harness.config.models import Accel
        from harness.imaging.windows_build import build_windows
        from harness.imaging.windows_request import WindowsRequest
        from tests.standin.definitions import standin
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits SIG_IGN
        definition = standin(limits=dict.fromkeys({list(BEGUN)}, 600.0))
        build_windows(definition, WindowsRequest(iso=Path({str(medium)!r})), Path({str(build.logs)!r}),
                      accel=Accel.TCG, say=lambda text: print(text, flush=True))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if WORDS["winpe"] in line:
                break
        family = psutil.Process(process.pid).children(recursive=True)
        assert any("qemu" in child.name() for child in family)
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    wait_for("the end of the family", 10.0, lambda _: True if not any(map(alive, family)) else None)
    assert not build.logs.exists()
    build.left_nothing()


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
