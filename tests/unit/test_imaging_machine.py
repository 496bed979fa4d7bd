"""The machine of an image: devices and firmware are those that it was installed with, whatever its definition says."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.config.load import load_guest
from harness.config.models import Accel, Arch, Boot, Cell, Enlightenments, Firmware, GuestKind
from harness.errors import UsageError
from harness.imaging.machine import guest_machine, installed, remembered
from harness.imaging.manifest import InstalledWindows, Manifest
from harness.imaging.store import GuestImage
from harness.vm.command_line import Control, argv
from harness.vm.template import template_digest

SERVER = load_guest("windows-server-2022")
WINDOWS = InstalledWindows(
    medium="x.iso",
    medium_sha256="0",
    edition="x",
    build=20348,
    disk_device="virtio-blk-pci",
    net_device="virtio-net-pci",
    firmware=Firmware.UEFI,
    answer_sha256="0",
    reboots=3,
)


def image(windows: InstalledWindows | None, *, variables: Path | None = None) -> GuestImage:
    manifest = Manifest(
        name="x",
        kind=GuestKind.WINDOWS,
        os="x",
        arch=Arch.X86_64,
        built_at=datetime.now(UTC),
        built_by="x",
        disk_sha256="0",
        disk_bytes=0,
        disk_mtime_ns=0,
        windows=windows,
    )
    return GuestImage(SERVER, Path("/x"), Path("/x/disk"), Path("/x/key"), "", manifest, None, variables)


def cell(**settings: object) -> Cell:
    return Cell.model_validate({"id": "x", "accel": Accel.TCG, **settings})


def test_an_image_with_virtio_drivers_has_virtio_devices() -> None:
    """Its definition names those that need no driver: somebody edited it, or it is the project's own."""
    assert (SERVER.disk_device, SERVER.net_device) == ("ahci", "e1000e")
    built = installed(SERVER, image(WINDOWS), cell())
    assert (built.disk_device, built.net_device) == ("virtio-blk-pci", "virtio-net-pci")
    machine = guest_machine(built, accel=Accel.TCG, cpu="max", disk=Path("/x/disk"))
    line = " ".join(argv(machine, Control(())))
    assert "-device virtio-blk-pci,drive=disk0" in line
    assert "-device virtio-net-pci,netdev=net0" in line


def test_an_image_that_nobody_installed_here_has_its_definitions_devices() -> None:
    assert installed(SERVER, image(None), cell()) == SERVER


@pytest.mark.parametrize("asked", [{"firmware": Boot.BIOS}, {}])
def test_firmware_that_did_not_install_it_cannot_start_it(asked: dict[str, Boot]) -> None:
    definition = SERVER if asked else SERVER.model_copy(update={"firmware": Firmware.BIOS})
    with pytest.raises(UsageError, match="was installed for uefi: bios cannot start it") as caught:
        installed(definition, image(WINDOWS), cell(**asked))
    assert caught.value.remedy == "write firmware: uefi, or install it again"


def test_an_older_manifest_does_not_say_its_firmware() -> None:
    older = WINDOWS.model_copy(update={"firmware": None})
    assert installed(SERVER, image(older), cell(firmware=Boot.UEFI)).firmware is Firmware.UEFI


def test_secure_boot_starts_from_keys_and_not_from_what_was_remembered() -> None:
    found = image(WINDOWS, variables=Path("/x/variables.fd"))
    plain, secure = (installed(SERVER, found, cell(secure_boot=on)) for on in (False, True))
    assert (plain.firmware, secure.firmware) == (Firmware.UEFI, Firmware.SECURE_BOOT)
    assert remembered(found, plain) == Path("/x/variables.fd")
    assert remembered(found, secure) is None


def test_every_setting_of_the_machine_makes_a_template_of_its_own() -> None:
    cells = [
        cell(),
        cell(secure_boot=True),
        cell(tpm=True),
        cell(tpm=True, secure_boot=True),
        cell(machine="pc-q35-7.2"),
    ]
    digests = set()
    for one in cells:
        built = installed(SERVER, image(WINDOWS), one)
        machine = guest_machine(built, accel=Accel.TCG, cpu="max", machine=one.machine, disk=Path("/x/disk"))
        digests.add(template_digest(machine, {}))
    assert len(digests) == len(cells)


def test_a_cells_enlightenments_take_the_place_of_the_guests() -> None:
    assert SERVER.enlightenments is Enlightenments.BASIC
    none = installed(SERVER, image(WINDOWS), cell(enlightenments=Enlightenments.NONE))
    assert none.enlightenments is Enlightenments.NONE
