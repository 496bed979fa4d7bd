"""Installations whose machine has no serial port for Windows: nothing is told, and the end is asked over SSH.

The stand-in for Setup (tests/standin) writes its marks where the answer medium's scripts do, so to a file here; the
stalls are those of a boot sector that writes none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.config.models import Accel, Firmware, GuestDefinition
from harness.config.windows import Phase
from harness.errors import DeadlineExceeded, GuestError
from harness.imaging import windows_build
from harness.imaging.manifest import read_manifest
from harness.imaging.windows_answer import Answer, render
from harness.imaging.windows_build import build_windows
from harness.imaging.windows_phases import PHASES, UNSEEN
from harness.imaging.windows_request import WindowsRequest
from harness.imaging.windows_supervise import NO_MARKS
from harness.paths import GUESTS_VARIABLE
from tests.standin.boot_sector import EDITION as BOOT_SECTOR
from tests.standin.boot_sector import HALT, RESET, make_medium, marks
from tests.standin.definitions import standin
from tests.standin.setup_medium import EDITION, setup_media

READY_LATER_S = 60
READY = "Send-Line 'halpmc-setup: ready'"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "store"
    monkeypatch.setenv(GUESTS_VARIABLE, str(folder))
    return folder


def definition() -> GuestDefinition:
    limits: dict[Phase, float] = dict.fromkeys(PHASES, 180.0)
    made = standin(
        "unmarked", firmware=Firmware.UEFI, marks="none", limits=limits, spare_reboots=0, edition=EDITION
    )
    return made.model_copy(update={"tpm": True})


def when(told: list[str], text: str) -> float:
    """When it was told, in seconds since the start."""
    line = next(line for line in told if text in line)
    found = re.match(r"\[ *(\d+) s\]", line)
    assert found, line
    return float(found[1])


def install(tmp_path: Path) -> list[str]:
    """A whole build; what it told."""
    media, told = setup_media(), list[str]()
    request = WindowsRequest(media.windows, virtio_iso=media.virtio)

    def say(text: str) -> None:
        told.append(text)
        print(text)

    build_windows(definition(), request, tmp_path / "logs", accel=Accel.TCG, say=say)
    return told


def test_its_end_is_told_over_ssh_and_not_before_the_guest_says_so(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server answers, and lets the harness in, a good while before it is ready."""

    def later(answer: Answer) -> dict[str, str]:
        files = render(answer)
        assert READY in files["halpmc/ready.ps1"]
        pause = f"Start-Sleep -Seconds {READY_LATER_S}\n{READY}"
        return files | {"halpmc/ready.ps1": files["halpmc/ready.ps1"].replace(READY, pause)}

    monkeypatch.setattr(windows_build, "render", later)
    told = install(tmp_path)
    assert any(NO_MARKS in line for line in told)
    for number in (1, 2, 3):
        assert any(f"restart {number}" in line for line in told)
    assert when(told, "] ready") - when(told, "our setup: restart") > READY_LATER_S / 2
    assert "halpmc-setup" not in (tmp_path / "logs" / "serial.log").read_text(errors="replace")
    manifest = read_manifest(store / "unmarked")
    assert manifest.windows is not None
    assert manifest.windows.reboots == 3 and manifest.windows.phases_without_mark == PHASES
    assert set(manifest.stage_seconds) == {"installation"}
    assert (store / "unmarked" / "host_key.pub").read_text().startswith("ssh-ed25519 ")


def boot_sector(program: bytes, folder: Path, **windows: Any) -> None:
    """A build with an installer that writes no marks; `windows` are settings of its definition."""
    section: dict[str, Any] = {"marks": "none", "limits": dict.fromkeys(PHASES, 60.0)} | windows
    described = standin("unmarked", edition=BOOT_SECTOR, **section)
    described = described.model_copy(update={"net_device": "e1000e"})
    request = WindowsRequest(make_medium(folder, program))
    build_windows(described, request, folder / "logs", accel=Accel.TCG)


def test_all_phases_together_have_one_limit(store: Path, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        boot_sector(HALT, tmp_path, limits=dict.fromkeys(PHASES, 1.0))
    assert UNSEEN in caught.value.message and "of 7 s, 0 restarts" in caught.value.message
    assert (tmp_path / "logs" / "evidence" / "screen.png").is_file()


def test_what_does_not_move_is_not_waited_for(store: Path, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded, match=r"something that moves .* within 3\.0 s") as caught:
        boot_sector(HALT, tmp_path, still_s=3.0)
    assert "windows.still_s" in caught.value.remedy


def test_a_mark_on_the_serial_port_is_not_taken_for_the_end(store: Path, tmp_path: Path) -> None:
    """Whoever has no port for marks did not write it."""
    with pytest.raises(DeadlineExceeded, match="something that moves"):
        boot_sector(marks("ready") + HALT, tmp_path, still_s=3.0)


def test_restarts_are_counted_without_marks(store: Path, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="goes round in circles"):
        boot_sector(RESET, tmp_path, reboots=1, spare_reboots=1)
