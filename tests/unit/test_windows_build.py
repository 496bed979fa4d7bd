"""What a build makes of what its user gives, up to the moment where the machine would be started."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.commands import guest_build
from harness.config.load import guest_names, guests_folder, load_guest, load_guest_file
from harness.config.models import Accel, Arch, Firmware, GuestDefinition
from harness.errors import UsageError
from harness.imaging import windows_build
from harness.imaging.answer_medium import write_medium
from harness.imaging.windows_build import build_windows
from harness.imaging.windows_image import write_definition
from harness.imaging.windows_request import WindowsRequest
from harness.paths import GUESTS_VARIABLE
from harness.vm.firmware import find_uefi
from harness.vm.vm import Vm
from tests.windows_media import make_udf_disc, make_wim, run

GUEST = load_guest("windows-server-2022", guests_folder())
KEY = "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"


class Started(Exception):
    """The build would start its machine now."""


@pytest.fixture
def job_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The build that is about to start its machine."""
    jobs: list[Any] = []

    def start(_folder: Path, _title: str, build: Any, **_settings: Any) -> Path:
        jobs.append(build.__self__)
        raise Started

    monkeypatch.setattr(windows_build, "built_once", start)
    monkeypatch.setenv(GUESTS_VARIABLE, str(tmp_path / "guests"))

    def build(
        language: str = "en-US",
        *,
        guest: GuestDefinition = GUEST,
        arch: int = 9,
        names: Sequence[str] = ("Windows Server 2022 SERVERSTANDARD",),
        **given: Any,
    ) -> Any:
        folder = tmp_path / language
        folder.mkdir(exist_ok=True)
        iso = folder / "windows.iso"
        if not iso.exists():
            server = guest is GUEST
            wim = make_wim(folder / "install.wim", names, language=language, arch=arch, server=server)
            make_udf_disc(iso, {"sources/install.wim": wim.read_bytes()})
        with pytest.raises(Started):
            build_windows(guest, WindowsRequest(iso, **given), tmp_path / "logs", accel=Accel.TCG)
        return jobs[-1]

    return build


@pytest.fixture
def files_for(job_for: Any) -> Any:
    """The files of the answer medium of a build."""

    def render(*language: str, **given: Any) -> dict[str, bytes | Path]:
        job = job_for(*language, **given)
        files: dict[str, bytes | Path] = job._answer_files("aA1-GoldenGoldenGolden", b"ssh-ed25519 AAAA")
        return files

    return render


def text(files: dict[str, bytes | Path], name: str) -> str:
    content = files[name]
    assert isinstance(content, bytes)
    return content.decode()


@pytest.mark.parametrize("name", ["OpenSSH-Win64 (1).zip", "OpenSSH für Windows.zip"])
def test_a_file_may_be_called_as_a_browser_calls_it(name: str, files_for: Any, tmp_path: Path) -> None:
    package = tmp_path / name
    package.write_bytes(b"PK\x03\x04")
    files = files_for(openssh=package)
    assert files["halpmc/openssh.zip"] == package
    assert "Join-Path $here 'openssh.zip'" in text(files, "halpmc/setup.ps1")


@pytest.mark.parametrize("typed", [KEY, f" {KEY.lower()}\n"])
def test_a_product_key_may_be_typed_in_small_letters(typed: str, files_for: Any) -> None:
    assert f"<Key>{KEY}</Key>" in text(files_for(product_key=typed), "autounattend.xml")


def test_what_is_no_product_key_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no product key"):
        build_windows(GUEST, WindowsRequest(tmp_path / "none.iso", product_key="AAAAA"), tmp_path)


def test_setup_is_asked_for_a_language_that_the_medium_has(files_for: Any) -> None:
    assert "<UILanguage>en-US</UILanguage>" in text(files_for("en-US"), "autounattend.xml")
    british = text(files_for("en-GB"), "autounattend.xml")
    assert "<UILanguage>en-GB</UILanguage>" in british and "en-US" not in british


def test_a_second_image_of_a_release_is_still_told_by_its_medium(
    job_for: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one, of another name, is in the store with a definition of its own."""
    job_for()
    first = tmp_path / "guests" / "server-2022-virtio"
    first.mkdir(parents=True)
    write_definition(first, GUEST.model_copy(update={"name": first.name, "disk_device": "virtio-blk-pci"}))
    built: list[GuestDefinition] = []
    monkeypatch.setattr(guest_build, "_build_windows", lambda guest, *_, **__: built.append(guest))
    options = ["guest", "build", "windows", "--iso", str(tmp_path / "en-US" / "windows.iso")]
    done = CliRunner().invoke(app, [*options, "--as", "second"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [guest.name for guest in built] == ["second"]
    assert built[0].disk_device == "ahci"


def test_windows_for_arm64_is_not_installed_for_hours_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without NetKVM nobody could ask it for its end."""
    monkeypatch.setenv(GUESTS_VARIABLE, str(tmp_path / "guests"))
    guest = load_guest("windows-11-arm64", guests_folder())
    with pytest.raises(UsageError, match="Windows has no driver for virtio-net-pci") as caught:
        build_windows(guest, WindowsRequest(tmp_path / "none.iso"), tmp_path)
    assert "--virtio-iso" in str(caught.value)
    assert guest.lane is None


def test_the_machine_for_windows_on_arm64_is_one_that_qemu_starts(job_for: Any, tmp_path: Path) -> None:
    """Its media are on USB, since the machine virt has no AHCI; Setup is told not to look for a TPM."""
    guest = load_guest("windows-11-arm64", guests_folder())
    drivers = {f"{name}/w11/ARM64/driver.inf": b";" for name in ("viostor", "vioscsi", "NetKVM")}
    virtio = make_udf_disc(tmp_path / "virtio.iso", drivers)
    job = job_for(guest=guest, arch=12, names=["Windows 11 Home", "Windows 11 Pro"], virtio_iso=virtio)
    xml = text(job._answer_files("aA1-GoldenGoldenGolden", b""), "autounattend.xml")
    assert "BypassTPMCheck" in xml and "COM1" not in xml
    work = tmp_path / "work"
    work.mkdir()
    write_medium({"file": b""}, work / "answer.iso")
    machine, _ = job._machine(work, work / "answer.iso")
    assert [medium.bus for medium in machine.media] == ["usb"] * 3
    assert machine.disk_device == "virtio-blk-pci"
    with Vm(machine, work) as vm:
        assert vm.execute("query-status")["status"] == "running"


def test_an_image_with_the_emergency_console_has_no_client_at_its_port(job_for: Any, tmp_path: Path) -> None:
    assert job_for().definition.lane is not None
    job = job_for(ems=True)
    assert job.definition.lane is None
    write_definition(tmp_path, job.definition)
    assert load_guest_file(tmp_path / "windows-server-2022.yaml").lane is None
    assert "EMSPORT:2" in text(job._answer_files("aA1-GoldenGoldenGolden", b""), "halpmc/setup.ps1")


def features_of(model: str) -> set[str]:
    """The features that QEMU gives a CPU model."""
    command = {
        "execute": "query-cpu-model-expansion",
        "arguments": {"type": "full", "model": {"name": model}},
    }
    asked = [{"execute": "qmp_capabilities"}, command, {"execute": "quit"}]
    done = subprocess.run(
        ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"],
        input="\n".join(map(json.dumps, asked)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    (props,) = (a["return"]["model"]["props"] for a in answers if "model" in a.get("return", {}))
    return {name for name, value in props.items() if value is True}


@pytest.mark.parametrize("name", guest_names(guests_folder()))
def test_a_host_of_an_age_that_runs_every_release_is_not_refused(name: str) -> None:
    """Haswell (2013) runs them all. Its CPUID does not tell of PREFETCHW, which Intel's older CPUs take for a hint."""
    guest = load_guest(name, guests_folder())
    if guest.windows is None or guest.arch is not Arch.X86_64:
        return
    assert set(guest.windows.cpu_features) <= features_of("Haswell")


def test_a_host_whose_firmware_keeps_its_variables_in_qcow2(
    job_for: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_uefi(Arch.X86_64, Firmware.UEFI, "q35")
    assert found is not None
    template = tmp_path / "template.qcow2"
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", found.variables, template)
    as_on_fedora = found.model_copy(update={"variables": template, "variables_format": "qcow2"})
    monkeypatch.setattr("harness.imaging.machine.find_uefi", lambda *_: as_on_fedora)
    work = tmp_path / "work"
    work.mkdir()
    machine, _ = job_for()._machine(work, tmp_path / "answer.iso")
    assert machine.uefi.variables_format == "raw", "the store has them as a raw file"
    assert machine.uefi.variables.read_bytes() == found.variables.read_bytes()
