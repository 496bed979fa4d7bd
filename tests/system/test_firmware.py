"""What Windows guests need of a machine, with the real OVMF, AAVMF and swtpm: firmware alone, no guest image."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from harness.config.models import Accel, Arch, Firmware
from harness.deadlines import Deadline, wait_for
from harness.errors import DeadlineExceeded, InfrastructureError
from harness.guest.lane import LaneChannel
from harness.vm.by_hand import run_script
from harness.vm.firmware import find_uefi
from harness.vm.machine import Machine
from harness.vm.media import CdRom
from harness.vm.state import Mechanism
from harness.vm.template import Template, make_template
from harness.vm.vm import Vm
from tests.system.firmware_media import bootable_iso, efi_disk

MACHINES = {Arch.X86_64: "q35", Arch.AARCH64: "virt"}


def machine(folder: Path, firmware: Firmware, arch: Arch = Arch.X86_64, **changes: object) -> Machine:
    values: dict[str, object] = {
        "arch": arch,
        "accel": Accel.TCG,
        "machine": MACHINES[arch],
        "cpu": "max",
        "memory_mib": 256,
        "net_device": None,
        "serial_log": folder / "serial.log",
        "uefi": find_uefi(arch, firmware, MACHINES[arch]),
        "disk_format": "raw",
        "on_reboot": "reset",
    }
    return Machine.model_validate(values | changes)


def await_serial(vm: Vm, pattern: str, *, after: int = 0, seconds: float = 60) -> str:
    """The first match of `pattern` on the guest's serial port."""
    log = vm.machine.serial_log
    assert log is not None

    def seen(deadline: Deadline) -> str | None:
        vm.check()
        text = log.read_bytes()[after:].decode(errors="replace")
        deadline.last_seen = repr(text[-300:])
        found = re.search(pattern, text)
        return found.group(0) if found else None

    return wait_for(f"{pattern!r} on the serial port", seconds, seen)


def test_secure_boot_refuses_what_nobody_signed(tmp_path: Path) -> None:
    """The disk that plain UEFI starts below."""
    described = machine(
        tmp_path, Firmware.SECURE_BOOT, disk=efi_disk(tmp_path / "disk.img"), disk_device="ahci"
    )
    with Vm(described, tmp_path) as vm:
        await_serial(vm, 'BdsDxe: failed to load Boot.... "UEFI QEMU HARDDISK[^\n]*Access Denied')


CODE = (
    "ba f803 b0{letter} ee b0fe e664 f4 ebfd"  # a letter to COM1, then the keyboard controller's reset line
)


def boot_sector(letter: str) -> bytes:
    return bytes.fromhex(CODE.format(letter=letter.encode().hex())).ljust(510, b"\0") + b"\x55\xaa"


def test_the_medium_is_booted_once(tmp_path: Path) -> None:
    iso = bootable_iso(tmp_path / "boot.iso", boot_sector("C").ljust(2048, b"\0"), efi=False)
    disk = tmp_path / "disk.img"
    disk.write_bytes(boot_sector("D") + bytes(1 << 20))
    described = machine(
        tmp_path, Firmware.BIOS, disk=disk, disk_device="ahci", media=(CdRom(path=iso),), boot="medium-once"
    )
    with Vm(described, tmp_path) as vm:
        assert await_serial(vm, "^.{3}") == "CDD"


@pytest.mark.parametrize(
    ("bus", "disk_device", "name"),
    [("sata", "ahci", "UEFI QEMU HARDDISK"), ("usb", "nvme", "UEFI QEMU NVMe Ctrl")],
)
def test_uefi_boots_the_medium_once(bus: str, disk_device: str, name: str, tmp_path: Path) -> None:
    """On each bus and disk that Windows Setup has drivers for."""
    disk = efi_disk(tmp_path / "disk.img")
    iso = bootable_iso(tmp_path / "boot.iso", disk.read_bytes(), efi=True)
    media = (CdRom.model_validate({"path": iso, "bus": bus}),)
    described = machine(
        tmp_path, Firmware.UEFI, disk=disk, disk_device=disk_device, media=media, boot="medium-once"
    )
    with Vm(described, tmp_path) as vm:
        first = await_serial(vm, "BdsDxe: starting [^\n]*\n")
        log = described.serial_log
        assert log is not None
        size = log.stat().st_size
        vm.execute("system_reset")
        second = await_serial(vm, "BdsDxe: starting [^\n]*\n", after=size)
    assert (name in first, name in second) == (False, True), (first, second)


# -- TPM --------------------------------------------------------------------------------------------------


def tpm_processes(folder: Path) -> list[psutil.Process]:
    """The swtpm of the VM in `folder`."""
    mark = f"dir={folder / 'tpm'}"
    return [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])]


def gone(process: psutil.Process) -> bool | None:
    try:
        return True if process.status() == psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(("arch", "device"), [(Arch.X86_64, "tpm-crb"), (Arch.AARCH64, "tpm-tis")])
def test_the_firmware_uses_its_tpm(arch: Arch, device: str, tmp_path: Path) -> None:
    """It writes to it while it starts. A TPM that dies ends every wait; one that does not is gone with the VM."""
    described = machine(tmp_path, Firmware.UEFI, arch, tpm=True)
    assert described.uefi is not None
    template = described.uefi.variables.stat()
    with Vm(described, tmp_path) as vm:
        assert [tpm["model"] for tpm in vm.execute("query-tpm")] == [device]
        (process,) = tpm_processes(tmp_path)
        await_serial(vm, "BdsDxe: ", seconds=120)
        assert (tmp_path / "tpm" / "tpm2-00.permall").stat().st_size > 0
        if arch is Arch.AARCH64:
            process.kill()
            with pytest.raises(InfrastructureError, match=r"TPM died .swtpm: killed by SIGKILL"):
                await_serial(vm, "never")
    assert gone(process)
    assert not (tmp_path / "tpm").exists()
    assert described.uefi.variables.stat().st_mtime_ns == template.st_mtime_ns, "written, not copied"


def test_a_tpm_ends_with_its_qemu(tmp_path: Path) -> None:
    with Vm(machine(tmp_path, Firmware.UEFI, tpm=True), tmp_path) as vm:
        (process,) = tpm_processes(tmp_path)
        psutil.Process(vm.process.pid).kill()
        wait_for("the end of swtpm", 20, lambda _: gone(process))


def test_a_tpm_ends_with_a_killed_harness(tmp_path: Path) -> None:
    code = f"""
        from pathlib import Path
        from tests.system.test_firmware import Firmware, Vm, machine
        folder = Path({str(tmp_path)!r})
        with Vm(machine(folder, Firmware.UEFI, tpm=True), folder):
            print("up", flush=True)
            input()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as harness:
        assert harness.stdout is not None
        assert harness.stdout.readline() == b"up\n"
        (process,) = tpm_processes(tmp_path)
        harness.send_signal(signal.SIGKILL)
        wait_for("the end of swtpm", 20, lambda _: gone(process))


@pytest.mark.parametrize("mechanism", list(Mechanism))
def test_clones_have_the_firmware_and_the_tpm_of_their_template(mechanism: Mechanism, tmp_path: Path) -> None:
    disk = efi_disk(tmp_path / "disk.img")
    described = machine(
        tmp_path, Firmware.UEFI, disk=disk, disk_device="ahci", net_device="e1000e", tpm=True, vmgenid=True
    )
    folder = tmp_path / "template"
    folder.mkdir()
    states: list[bytes] = []

    def ready(vm: Vm) -> None:
        await_serial(vm, "BdsDxe: starting")
        states.append((folder / "tpm" / "tpm2-00.permall").read_bytes())

    make_template(described, folder, ready, mechanism)
    template = Template(folder)
    clone = template.clone_of(described)
    with Vm(clone, tmp_path, saved=template.saved) as vm:
        assert (tmp_path / "tpm" / "tpm2-00.permall").read_bytes() == states[0]
        vm.execute("system_reset")
        await_serial(vm, "BdsDxe: starting")  # it finds its variables


def quiet(lane: LaneChannel, port: socket.socket) -> bool | None:
    """Discards; True when nothing comes after it."""
    lane.discard()
    return None if select.select([port], [], [], 0.5)[0] else True


def test_the_lane_begins_behind_what_the_firmware_writes_to_it(tmp_path: Path) -> None:
    """OVMF's console is at both serial ports of a PC: without care, its words were the client's first answer."""
    described = machine(
        tmp_path,
        Firmware.UEFI,
        disk=efi_disk(tmp_path / "disk.img"),
        disk_device="ahci",
        lane_device="isa-serial",
    )
    with Vm(described, tmp_path) as vm:
        await_serial(vm, "BdsDxe: starting")
        vm.pause()
        lane = LaneChannel(vm.ends.lane, vm.check)
        assert b"BdsDxe: " in vm.ends.lane.recv(1 << 16, socket.MSG_PEEK)
        wait_for("what was still on its way", 20, lambda _: quiet(lane, vm.ends.lane))
        with pytest.raises(DeadlineExceeded, match="nothing was seen"):
            lane.read_line(0.5, "answer")


def test_by_hand_with_a_tpm(tmp_path: Path) -> None:
    """The script starts a TPM of its own, and QEMU finds it."""
    script = tmp_path / "run.sh"
    script.write_text(run_script(machine(tmp_path, Firmware.UEFI, tpm=True)))
    done = subprocess.run(
        ["sh", script], input="info tpm\nquit\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "tpm-crb" in done.stdout
