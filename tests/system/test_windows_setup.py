"""A whole build: from a medium that OVMF boots to an image that others can use, by the command that a user types.

The stand-in for Setup (tests/standin) needs everything that a real one needs, and installs the embedded guest.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.config.load import load_guest
from harness.config.models import Accel, Firmware, GuestDefinition
from harness.errors import DeadlineExceeded
from harness.imaging.check import exit_code, read_report
from harness.imaging.machine import guest_machine
from harness.imaging.manifest import read_manifest as manifest_of
from harness.imaging.windows_build import PASSWORD, build_windows
from harness.imaging.windows_phases import WORDS
from harness.imaging.windows_request import WindowsRequest
from harness.paths import GUESTS_VARIABLE
from harness.vm.machine import Machine
from tests.standin.definitions import standin
from tests.standin.setup_medium import EDITION, SetupMedia, setup_media
from tests.system.conftest import HALPMC

PHASE_S = 60.0
PHASES = ("boot", "winpe", "copy", "specialize", "oobe", "logon", "ready")


@pytest.fixture(scope="module")
def media() -> SetupMedia:
    return setup_media()


def definition(*, tpm: bool = True, **limits: float) -> GuestDefinition:
    seconds = dict.fromkeys(PHASES, PHASE_S) | limits
    made = standin("standin-uefi", firmware=Firmware.UEFI, limits=seconds, reboots=3, spare_reboots=0)
    return made.model_copy(update={"tpm": tpm})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "store"
    monkeypatch.setenv(GUESTS_VARIABLE, str(folder))
    return folder


def test_from_a_medium_to_an_image_in_one_command(media: SetupMedia, store: Path, tmp_path: Path) -> None:
    """Boot image without a prompt, answer file, TPM, drivers, three restarts, SSH; sealed, booted again, checked."""
    file = tmp_path / "standin-uefi.yaml"
    described = definition().model_dump(mode="json", exclude_defaults=True)
    file.write_text(yaml.safe_dump(described))
    command = [*HALPMC, "guest", "build", "windows", "--definition", str(file), "--accel", "tcg"]
    command += ["--iso", str(media.windows), "--virtio-iso", str(media.virtio), "--edition", "2"]
    command += ["--runs-dir", str(tmp_path / "runs"), "--as", "installed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    told = done.stderr
    print(told)
    folder = Path(done.stdout.strip())
    assert folder == store / "installed", done.stdout + told
    report = read_report(folder)
    assert report is not None and done.returncode == exit_code(report)
    assert report.kind == manifest_of(folder).kind == "wine", "what was installed is no Windows"
    assert report.image_sha256 == manifest_of(folder).disk_sha256
    met = {one.name for one in report.requirements if one.status == "ok"}
    assert {"ssh", "administrator", "system", "disk"} <= met
    told = done.stderr
    assert "its SHA-256" in told and "wants a key" not in told
    for number in (1, 2, 3):
        assert f"restart {number}" in told
    manifest = manifest_of(folder)
    windows = manifest.windows
    assert windows is not None
    assert (windows.edition, windows.reboots, windows.phases_without_mark) == (EDITION, 3, ())
    assert windows.disk_device == windows.net_device.replace("net", "blk") == "virtio-blk-pci"
    assert set(manifest.stage_seconds) == set(PHASES)
    assert load_guest("installed").disk_device == "virtio-blk-pci", (
        "the image does not say which devices it wants"
    )
    secret = folder / PASSWORD
    assert secret.stat().st_mode & 0o777 == 0o600
    texts = (folder / "manifest.json").read_text() + (folder / "build.log").read_text() + told
    assert secret.read_text().strip() not in texts
    assert (folder / "disk.qcow2").stat().st_mode & 0o222 == 0
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", folder / "disk.qcow2"]))
    assert "backing-filename" not in info
    assert not (folder / "work").exists()


def failing_build(
    medium: Path,
    definition: GuestDefinition,
    logs: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    lose_answer: bool,
) -> tuple[DeadlineExceeded, list[str]]:
    """A build that stalls; with `lose_answer` the drive with the answer medium is empty when the machine starts."""
    if lose_answer:

        def without_answer(*args: Any, **settings: Any) -> Machine:
            machine = guest_machine(*args, **settings)
            return machine.model_copy(update={"media": machine.media[:1]})

        monkeypatch.setattr("harness.imaging.windows_build.guest_machine", without_answer)
    told: list[str] = []
    request = WindowsRequest(iso=medium)
    with pytest.raises(DeadlineExceeded) as caught:
        build_windows(definition, request, logs, accel=Accel.TCG, say=told.append)
    return caught.value, told


def test_a_medium_that_wants_a_key_gets_it(
    media: SetupMedia, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer file is read then, which is as far as this medium goes: it brings no system to install."""
    # Here a kernel asks, not the firmware: with busy CPUs it asks later than a real medium does.
    monkeypatch.setattr("harness.imaging.windows_supervise.PROMPT_S", 60.0)
    definition_ = definition(tpm=False, copy=6.0)
    error, told = failing_build(
        media.prompting, definition_, tmp_path / "logs", monkeypatch, lose_answer=False
    )
    assert any("wants a key" in line for line in told)
    assert WORDS["copy"] in error.message and "0 restarts" in error.message
    serial = (tmp_path / "logs" / "serial.log").read_text(errors="replace")
    assert "halpmc-setup: winpe" in serial and "halpmc-setup: copy" in serial


def test_without_its_answer_medium_setup_asks_and_the_build_ends(
    media: SetupMedia, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition_ = definition(tpm=False, boot=20.0)
    error, _ = failing_build(media.windows, definition_, tmp_path / "logs", monkeypatch, lose_answer=True)
    assert WORDS["boot"] in error.message
    assert "halpmc-setup" not in (tmp_path / "logs" / "serial.log").read_text(errors="replace")
    assert (tmp_path / "logs" / "evidence" / "screen.png").is_file()
