"""The embedded guest's image, booted as a Windows disk would be, must look like Windows over SSH."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.config.models import Accel
from harness.deadlines import wait_for
from harness.errors import GuestPanicked
from harness.guest.ssh import SshTransport
from harness.imaging.store import GuestImage, find_guest, verify
from harness.vm.machine import Machine
from harness.vm.vm import Vm

COMMAND_S = 60.0
BOOT_S = 120.0


@dataclass(frozen=True)
class Booted:
    """The running guest, and the log of its first serial port."""

    vm: Vm
    ssh: SshTransport
    serial: Path

    def cmd(self, line: str) -> tuple[int, str]:
        """Exit code and stdout of a command line."""
        result = self.ssh.exec(line, timeout_s=COMMAND_S)
        return result.exit_code, result.stdout


@pytest.fixture(scope="module")
def image() -> GuestImage:
    return find_guest("embedded")


@pytest.fixture(scope="module")
def guest(image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Generator[Booted, None, None]:
    with booted(image, tmp_path_factory.mktemp("guest")) as running:
        yield running


@contextmanager
def booted(image: GuestImage, folder: Path) -> Generator[Booted, None, None]:
    """Boots the image and logs in."""
    definition = image.definition
    serial = folder / "serial.log"
    machine = Machine(
        arch=definition.arch,
        accel=Accel.TCG,
        machine=definition.machine,
        cpu=",".join(("Nehalem", *definition.tcg_cpu_flags)),
        smp=2,
        memory_mib=512,
        disk=image.disk,
        disk_device=definition.disk_device,
        net_device=definition.net_device,
        devices=definition.devices,
        serial_log=serial,
    )
    with (
        Vm(machine, folder) as vm,
        SshTransport.connect(
            "127.0.0.1", vm.ssh_port, definition.ssh.user, image.key, image.host_key, check=vm.check
        ) as ssh,
    ):
        yield Booted(vm, ssh, serial)


def test_the_manifest_says_what_is_in_it(image: GuestImage) -> None:
    verify(image)
    manifest = image.manifest
    assert manifest.wine_version and manifest.wine_version == manifest.packages["libwine"]
    assert "cloud-amd64" in manifest.kernel
    assert {"openssh-server", "busybox-static", "base-files"} <= set(manifest.packages)
    assert image.host_key.startswith("ssh-ed25519 ")
    assert image.key.stat().st_mode & 0o077 == 0
    assert image.disk.stat().st_mode & 0o222 == 0, "nobody writes to the image"


def test_phases_are_on_the_serial_log(guest: Booted) -> None:
    def ready(_: object) -> bool | None:
        text = guest.serial.read_text(errors="replace")
        return True if "halpmc: sshd up" in text and "halpmc: wine ready" in text else None

    assert wait_for("Wine's session", BOOT_S, ready)


def test_it_says_that_it_is_windows_10(guest: Booted) -> None:
    code, text = guest.cmd("ver")
    assert code == 0
    assert "Windows 10.0" in text


@pytest.mark.parametrize(("line", "code"), [("exit 0", 0), ("exit 3", 3), ("cmd /c exit 77", 77)])
def test_exit_codes(guest: Booted, line: str, code: int) -> None:
    assert guest.cmd(line)[0] == code


def test_a_command_that_does_not_exist_fails(guest: Booted) -> None:
    assert guest.cmd("no-such-command")[0] != 0


def test_an_exit_code_above_255_never_looks_like_success(guest: Booted) -> None:
    assert guest.cmd("exit 256")[0] == 255
    assert guest.cmd("exit 1060")[0] == 1060 & 0xFF


@pytest.mark.parametrize(
    ("line", "output"),
    [
        ('echo "two words"', '"two words"'),
        ("echo a ^& b", "a & b"),
        ("echo 1&echo 2", "1\n2"),
        (r"echo C:\dir with blanks\x\ ", "C:\\dir with blanks\\x\\"),
        ("echo it's $HOME `date` * ;", "it's $HOME `date` * ;"),
        ('cmd /c "echo deep ""quotes"""', 'deep ""quotes""'),
        ("echo %OS%", "Windows_NT"),
    ],
)
def test_the_command_line_reaches_cmd_unchanged(guest: Booted, line: str, output: str) -> None:
    _, text = guest.cmd(line)
    assert [part.rstrip() for part in text.splitlines()] == output.splitlines()


def test_sftp_and_cmd_see_the_same_files(guest: Booted, tmp_path: Path) -> None:
    content = secrets.token_bytes(300_000) + b"\r\nlast line"
    local, back = tmp_path / "file.bin", tmp_path / "back.bin"
    local.write_bytes(content)
    guest.ssh.put(local, r"C:\halpmc test\file.bin")
    guest.ssh.get(r"C:\halpmc test\file.bin", back)
    assert back.read_bytes() == content
    _, listing = guest.cmd(r'dir "C:\halpmc test"')
    assert "300,011" in listing


def test_overwriting_hal_dll_changes_only_that_file(guest: Booted, tmp_path: Path) -> None:
    def fetch(path: str) -> bytes:
        guest.ssh.get(path, tmp_path / "fetched")
        return (tmp_path / "fetched").read_bytes()

    own, library = r"C:\windows\system32\hal.dll", r"Z:\usr\lib\x86_64-linux-gnu\wine\x86_64-windows\hal.dll"
    marker, at = b"Wine builtin DLL", 64
    original, forwarded = fetch(own), fetch(r"C:\windows\system32\halwine.dll")
    assert original[at:].startswith(marker)
    assert forwarded[at:].startswith(bytes(len(marker))), "halwine.dll has to load as native"
    assert guest.cmd(f"echo overwritten>{own}")[0] == 0
    assert fetch(own).strip() == b"overwritten"
    assert guest.cmd(rf"copy {library} C:\library.dll")[0] == 0
    assert fetch(r"C:\library.dll") == original


def test_the_power_button_ends_it(image: GuestImage, tmp_path: Path) -> None:
    with booted(image, tmp_path) as guest:
        guest.vm.power_down(30.0)
        assert "halpmc: power button" in guest.serial.read_text(errors="replace")


def test_a_dying_driver_host_looks_like_a_bugcheck(image: GuestImage, tmp_path: Path) -> None:
    """What Wine calls when winedevice.exe dies, called by hand for each process number, one of which is it."""
    with booted(image, tmp_path) as guest:
        with pytest.raises(GuestPanicked):
            guest.ssh.exec("for /L %p in (32,4,800) do @bugcheck.exe %p 0", timeout_s=4 * COMMAND_S)
        assert "halpmc: bugcheck" in guest.serial.read_text(errors="replace")
