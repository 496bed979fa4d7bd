"""Evidence of real machines that go wrong, under TCG: guests that hang, panic or reset, a QEMU that is silent or dead.

Most guests are boot sectors of a few bytes; the embedded guest panics as a real kernel does.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from harness.config.models import Arch
from harness.deadlines import Deadline, wait_for
from harness.dumps.models import VmCore
from harness.dumps.read import read_dump
from harness.errors import DumpError, GuestPanicked, HalpmcError
from harness.imaging.store import find_guest
from harness.vm.evidence import Evidence, collect
from harness.vm.machine import Machine
from harness.vm.memory_dump import dump_memory
from harness.vm.pictures import ppm_to_png, take_ppm, take_screen
from harness.vm.screens import ScreenRing
from harness.vm.vm import Vm
from tests.system import test_vm
from tests.system.test_embedded_image import booted
from tests.system.test_vm import HALT, PANIC, RESET

BUDGET_S = 60.0
RUNNING_S = 60.0
DEAF_HALT = bytes.fromhex("fa") + HALT  # cli; hlt: only an NMI wakes it
SPIN = bytes.fromhex("faebfe")  # cli; jmp to itself
#: xor ax,ax; mov ds,ax; mov word [8],0x7c20; mov [10],ax: an NMI goes to 0x7c20, which panics.
PANIC_ON_NMI = (bytes.fromhex("31c08ed8c7060800207ca30a00") + DEAF_HALT).ljust(0x20, b"\x90") + PANIC
#: mov ax,0xb800; mov es,ax; sti; then for ever: hlt (until the timer ticks); inc byte [es:0]: a changing character.
FLICKER = bytes.fromhex("b800b88ec0fb") + bytes.fromhex("f426fe060000ebf8")


def machine(folder: Path, code: bytes, **changes: object) -> Machine:
    """A machine with a screen that boots these few bytes."""
    values = {"net_device": None, "panic_device": "pvpanic", "devices": ("VGA",)}
    return test_vm.machine(folder, code, **(values | changes))


@contextmanager
def started(described: Machine, folder: Path) -> Generator[Vm, None, None]:
    """A running VM that is gone afterwards."""
    with Vm(described, folder, overlay_dir=folder) as vm:
        pid = vm.process.pid
        yield vm
    assert not psutil.pid_exists(pid)


def at(vm: Vm, *places: int) -> None:
    """Wait until the guest has come to one of these addresses."""

    def arrived(wait: Deadline) -> bool | None:
        wait.last_seen = vm.qmp.monitor("info registers")
        return True if any(f"IP={place:08x}" in wait.last_seen for place in places) else None

    wait_for("the guest's own code", RUNNING_S, arrived)


def gather(vm: Vm, folder: Path, *, hung: bool = False, budget_s: float = BUDGET_S) -> Evidence:
    evidence = collect(vm, folder / "evidence", budget_s, hung=hung)
    assert evidence.seconds < evidence.budget_s
    for file in evidence.files:
        assert (folder / "evidence" / file.name).stat().st_size == file.size > 0
    return evidence


def names(evidence: Evidence) -> set[str]:
    return {file.name for file in evidence.files}


def size_of(png: Path) -> tuple[int, int]:
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def core(folder: Path) -> VmCore:
    found = read_dump(folder / "evidence" / "vmcore.kdump")
    assert isinstance(found, VmCore)
    return found


@pytest.mark.parametrize(
    ("code", "ips", "words"),
    [
        (
            DEAF_HALT,
            (0x7C02,),
            "every CPU is halted with interrupts off (at 0x7c02), so only an NMI can wake it",
        ),
        (SPIN, (0x7C01,), "interrupts stay off on CPU 0 at 0x7c01"),
    ],
    ids=["halted", "spinning"],
)
def test_a_guest_that_hangs(code: bytes, ips: tuple[int, ...], words: str, tmp_path: Path) -> None:
    with started(machine(tmp_path, code), tmp_path) as vm:
        at(vm, *ips)
        evidence = gather(vm, tmp_path, hung=True, budget_s=30.0)
    assert (evidence.reach, evidence.status) == ("answers", "running")
    assert evidence.triage.startswith(f"the guest hangs; {words}; after an NMI it showed no reaction")
    assert names(evidence) == {
        "process.txt",
        "screen.png",
        "registers.txt",
        "registers-later.txt",
        "cpus.json",
        "vmcore.kdump",
        "qmp-events.txt",
    }
    assert size_of(tmp_path / "evidence" / "screen.png") == (720, 400)
    assert "HLT=" in (tmp_path / "evidence" / "registers.txt").read_text()
    dump = core(tmp_path)
    assert (dump.machine, dump.cpus) == ("x86_64", 1)
    assert dump.physical_end >= 32 << 20


def test_a_hanging_guest_that_answers_an_nmi(tmp_path: Path) -> None:
    with started(machine(tmp_path, PANIC_ON_NMI), tmp_path) as vm:
        at(vm, 0x7C0F)
        evidence = gather(vm, tmp_path, hung=True)
    assert "after an NMI it answered with GUEST_PANICKED" in evidence.triage
    assert {"screen-after-nmi.png", "vmcore.kdump"} <= names(evidence)
    assert "GUEST_PANICKED" in (tmp_path / "evidence" / "qmp-events.txt").read_text()


@pytest.mark.parametrize(
    ("code", "words", "status"),
    [
        (PANIC, "the guest's kernel panicked", "guest-panicked"),
        (RESET, "the guest reset itself (guest-reset)", "shutdown"),
    ],
)
def test_a_guest_that_ended(code: bytes, words: str, status: str, tmp_path: Path) -> None:
    with started(machine(tmp_path, code), tmp_path) as vm:
        wait_for("end of the guest", RUNNING_S, lambda _: True if _failed(vm) else None)
        evidence = gather(vm, tmp_path, hung=True)
        assert vm.execute("query-status")["status"] == status, "nothing wakes it"
    assert evidence.triage.startswith(words)
    assert evidence.status == status
    assert "NMI" not in evidence.triage
    assert core(tmp_path).cpus == 1


def test_a_windows_dump_of_what_is_no_windows(tmp_path: Path) -> None:
    """QEMU refuses the format that the vmcoreinfo device promises, and the next one is taken."""
    with started(machine(tmp_path, DEAF_HALT, devices=("vmcoreinfo",)), tmp_path) as vm:
        at(vm, 0x7C02)
        path = dump_memory(vm.qmp, vm.machine, tmp_path, limit_mib=4096, timeout_s=RUNNING_S)
        failed = [event.data.get("error") for event in vm.qmp.events if event.name == "DUMP_COMPLETED"]
    assert path.name == "vmcore.kdump"
    assert len(failed) == 2
    assert str(failed[0]).startswith("win-dump:")
    assert not (tmp_path / "memory.dmp").exists()


def test_a_plain_core(tmp_path: Path) -> None:
    """The format of last resort, as QEMU really writes it."""
    with started(machine(tmp_path, HALT, smp=2), tmp_path) as vm:
        path = tmp_path / "vmcore.elf"
        vm.execute("dump-guest-memory", paging=False, protocol=f"file:{path}", timeout_s=RUNNING_S)
    found = read_dump(path)
    assert isinstance(found, VmCore)
    assert (found.dump_type, found.cpus) == ("elf", 2)
    assert found.machine == "i386", "a boot sector runs in 16-bit mode"
    assert found.physical_end >= 32 << 20
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 4096)
    with pytest.raises(DumpError, match="truncated"):
        read_dump(path)


def _failed(vm: Vm) -> bool:
    try:
        vm.check()
    except HalpmcError:
        return True
    return False


def test_a_machine_without_a_display(tmp_path: Path) -> None:
    with started(machine(tmp_path, HALT, devices=()), tmp_path) as vm:
        evidence = gather(vm, tmp_path)
        with ScreenRing(vm.qmp, tmp_path / "screens") as ring:
            wait_for("the ring's end", RUNNING_S, lambda _: ring.off or None)
        vm.check()
    assert {(note.step, note.why) for note in evidence.notes} >= {
        ("screen", "the machine has no display device")
    }
    assert ring.off == "the machine has no display device"
    assert evidence.triage.startswith("the guest runs")
    assert "vmcore.kdump" not in names(evidence)


def test_a_qemu_that_is_stopped(tmp_path: Path) -> None:
    """SIGSTOP: QMP is silent, so only the host's side is left; the end of the machine still works."""
    with started(machine(tmp_path, HALT), tmp_path) as vm:
        os.kill(vm.process.pid, signal.SIGSTOP)
        evidence = gather(vm, tmp_path, hung=True, budget_s=20.0)
    assert evidence.reach == "silent"
    assert "T (stopped)" in evidence.triage
    report = (tmp_path / "evidence" / "process.txt").read_text().splitlines()
    assert len(report) > 2
    assert all("T (stopped)" in line for line in report), "the process, and each of its threads"
    assert "screen.png" not in names(evidence)
    assert vm.ended_by == "SIGKILL"


def test_a_qemu_that_was_killed(tmp_path: Path) -> None:
    with started(machine(tmp_path, HALT), tmp_path) as vm:
        vm.qmp.wait_event("RESUME", timeout_s=RUNNING_S)
        os.kill(vm.process.pid, signal.SIGKILL)
        assert vm.process.wait(RUNNING_S)
        evidence = gather(vm, tmp_path, hung=True)
    assert evidence.reach == "gone"
    assert evidence.triage == "QEMU is gone (killed by SIGKILL); its last words: none"
    assert names(evidence) == {"qmp-events.txt"}


def test_an_aarch64_guest(tmp_path: Path) -> None:
    spin = struct.pack("<II", 0xD50342DF, 0x14000000)  # msr daifset, #2; b .
    firmware = tmp_path / "firmware.bin"
    firmware.write_bytes(spin.ljust(1 << 16, b"\0"))
    described = machine(
        tmp_path, HALT, arch=Arch.AARCH64, machine="virt", cpu="max", devices=(), panic_device=None
    )
    described = described.model_copy(
        update={"disk": None, "devices": (f"loader,file={firmware},addr=0x40200000,cpu-num=0",)}
    )
    with started(described, tmp_path) as vm:
        at_pc = "PC=0000000040200004"
        wait_for(
            "the guest's own code",
            RUNNING_S,
            lambda _: True if at_pc in vm.qmp.monitor("info registers") else None,
        )
        evidence = gather(vm, tmp_path, hung=True)
    assert "interrupts stay off on CPU 0 at 0x40200004" in evidence.triage
    assert (core(tmp_path).machine, core(tmp_path).cpus) == ("unknown", 1)  # aarch64 is not named by QEMU 7.2


def test_our_png_is_as_large_as_qemus(tmp_path: Path) -> None:
    with started(machine(tmp_path, DEAF_HALT), tmp_path) as vm:
        at(vm, 0x7C02)
        take_screen(vm.qmp, tmp_path / "qemu.png", timeout_s=RUNNING_S)
        ppm = take_ppm(vm.qmp, tmp_path / "screen.ppm", Deadline("screen", RUNNING_S))
    (tmp_path / "ours.png").write_bytes(ppm_to_png(ppm))
    assert size_of(tmp_path / "ours.png") == size_of(tmp_path / "qemu.png") == (720, 400)


def test_the_ring_of_screens(tmp_path: Path) -> None:
    with (
        started(machine(tmp_path, FLICKER), tmp_path) as vm,
        ScreenRing(vm.qmp, tmp_path / "screens", keep=3, interval_s=0.02) as ring,
    ):
        last = wait_for(
            "the fifth screen", RUNNING_S, lambda _: [p for p in ring.screens if "0005" in p.name] or None
        )
        assert size_of(last[0]) == (720, 400)
    assert len(ring.screens) == 3
    assert set((tmp_path / "screens").iterdir()) == set(ring.screens)
    assert ring.off == ""


def test_the_embedded_guest_panics(tmp_path: Path) -> None:
    """A real kernel: it answers an NMI on its console, panics through pvpanic, and its memory is dumped."""
    with booted(find_guest("embedded"), tmp_path) as guest:
        vm, pid = guest.vm, guest.vm.process.pid
        alive = collect(vm, tmp_path / "alive", 20.0, hung=True, dump_limit_mib=0)
        assert "after an NMI it wrote to its serial port" in alive.triage
        assert "NMI received" in guest.serial.read_text()
        with pytest.raises(GuestPanicked):
            guest.cmd(r"echo c> Z:\proc\sysrq-trigger")
        evidence = gather(vm, tmp_path)
    assert not psutil.pid_exists(pid)
    assert evidence.triage.startswith("the guest's kernel panicked")
    assert "panic" in (tmp_path / "evidence" / "serial-tail.log").read_text().lower()
    dump = core(tmp_path)
    assert (dump.machine, dump.cpus) == ("x86_64", 2)
    assert dump.physical_end >= 512 << 20
