"""The ports of a VM for people: who may connect, that QEMU is behind them, and that nothing stays."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.config.load import load_guest
from harness.config.models import Accel, Arch, Cell, Kd
from harness.deadlines import wait_for
from harness.runs.start import GuestStarter
from harness.vm.by_hand import run_script
from harness.vm.machine import Machine
from harness.vm.ports import GDB, KD, MONITOR, VNC, Ports
from harness.vm.unix_port import connect
from harness.vm.vm import Vm

ANSWER_S = 10.0


def machine(folder: Path, kd: Kd) -> Machine:
    """Firmware without anything to boot."""
    return Machine(
        arch=Arch.X86_64,
        accel=Accel.TCG,
        machine="q35",
        cpu="max",
        memory_mib=64,
        serial_log=folder / "serial.log",
        lane_device="isa-serial",
        kd=kd,
    )


def said(path: Path, ask: bytes, pattern: bytes) -> bytes:
    """What answers at a socket, until it matches."""
    with connect(path) as connection:
        connection.settimeout(ANSWER_S)
        connection.sendall(ask)
        text = b""
        while not re.search(pattern, text):
            piece = connection.recv(4096)
            assert piece, text
            text += piece
    return text


def test_every_port_answers_its_owner_alone(tmp_path: Path) -> None:
    """In a folder whose path no socket could have."""
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    with Vm(machine(folder, Kd.SERIAL), folder, ports=Ports(monitor=True, gdb=True, vnc=True)) as vm:
        for name in (MONITOR, GDB, VNC, KD):
            assert (folder / name).stat().st_mode & 0o777 == 0o600, name
        said(folder / VNC, b"", rb"^RFB 003\.\d+\n")
        said(folder / MONITOR, b"info status\n", rb"VM status: running")
        said(folder / GDB, b"+$qSupported#37", rb"\$PacketSize=[0-9a-f]+;")
        stopped = wait_for(
            "the debugger's stop",
            ANSWER_S,
            lambda _: vm.execute("query-status")["status"] != "running" or None,
        )
        assert stopped
        vm.check()  # which somebody wanted
        vm.execute("cont")
        base = vm.execute("qom-get", path="/machine/peripheral/kd-port", property="iobase")
        assert base == 0x3E8, "COM3, whatever other ports there are"
    assert not list(folder.glob("*.sock"))


def test_a_machine_without_ports_takes_a_stop_for_a_fault(tmp_path: Path) -> None:
    with Vm(machine(tmp_path, Kd.NONE), tmp_path) as vm:
        assert not list(tmp_path.glob("*.sock"))
        vm.execute("stop")
        with pytest.raises(Exception, match="QEMU stopped the guest: paused"):
            vm.check()


def test_the_cable_of_the_kernel_debugger(tmp_path: Path) -> None:
    """It is plugged in, out and in again; the guest's own network keeps no way out."""
    with Vm(machine(tmp_path, Kd.NET), tmp_path) as vm:

        def plugged(yes: bool) -> None:
            def attempt(_: object) -> bool | None:
                line = re.search(r"kd: index=0,type=stream,(.*)", vm.qmp.monitor("info network"))
                assert line is not None
                return (bool(line[1].strip()) is yes) or None

            wait_for(f"the cable is plugged {'in' if yes else 'out'}", ANSWER_S, attempt)

        for _ in range(2):
            cable = connect(tmp_path / KD)
            plugged(True)
            cable.close()
            plugged(False)
        assert "net0: index=0,type=user,net=10.0.2.0,restrict=on" in vm.qmp.monitor("info network")
        place = vm.execute("qom-get", path="/machine/peripheral/kd-card", property="addr")
        assert place == 16 << 3, "device 16, function 0: where bcdedit's busparams looks for it"


def test_the_record_of_a_cell_says_what_could_look_into_it(tmp_path: Path) -> None:
    """Needs `halpmc guest build embedded`; no VM is started."""
    definition = load_guest("embedded")
    told = {}
    for cell in (
        Cell(id="plain"),
        Cell(id="looked-into", kd=Kd.SERIAL, gdb=True),
    ):
        starter = GuestStarter(cell, definition, accel=Accel.TCG)
        assert starter.machine(tmp_path).kd is cell.kd
        assert starter.ports == Ports(gdb=cell.gdb)
        told[cell.id] = starter.provenance()
    assert "kd" not in told["plain"] and "gdb" not in told["plain"]
    assert told["looked-into"]["kd"] == "a port for the kernel debugger: serial"
    assert "debugger" in told["looked-into"]["gdb"]


@pytest.mark.parametrize(
    ("kd", "words"), [(Kd.SERIAL, "isa-serial,id=kd-port,index=2"), (Kd.NET, "stream,id=kd")]
)
def test_the_script_has_the_port_too(kd: Kd, words: str, tmp_path: Path) -> None:
    text = run_script(machine(tmp_path, kd))
    assert words in text and "kd-by-hand.sock" in text
