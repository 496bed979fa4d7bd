"""The VM engine with the real QEMU, under TCG. No guest image: the guests are boot sectors of a few bytes."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from harness.config.models import Accel, Arch
from harness.deadlines import wait_for
from harness.errors import GuestError, GuestPanicked, HalpmcError, InfrastructureError, QemuError
from harness.vm.machine import Machine
from harness.vm.vm import Vm

HALT = bytes.fromhex("f4ebfd")
PANIC = bytes.fromhex("ba0505b001ee") + HALT  # out 0x505, 1: pvpanic's "the kernel panicked"
RESET = bytes.fromhex("b0fee664") + HALT  # out 0x64, 0xfe: the keyboard controller's reset line
POWER_OFF = (
    bytes.fromhex("ba0406b80020ef") + HALT
)  # out 0x604, 0x2000: ACPI S5 (PM1a_CNT, as SeaBIOS sets it up)
GREET = bytes.fromhex("baf803b048eeb069ee") + HALT  # "Hi" to COM1


@pytest.fixture
def overlays(tmp_path: Path) -> Path:
    """Where overlays would be left, if they were."""
    folder = tmp_path / "overlays"
    folder.mkdir()
    return folder


def machine(folder: Path, code: bytes | None = None, **changes: object) -> Machine:
    values: dict[str, object] = {
        "arch": Arch.X86_64,
        "accel": Accel.TCG,
        "machine": "q35",
        "cpu": "qemu64",
        "memory_mib": 32,
        "serial_log": folder / "serial, of a VM.log",
    }
    if code is not None:
        disk = folder / "boot, sector.img"
        disk.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
        values |= {"disk": disk, "disk_format": "raw"}
    return Machine.model_validate(values | changes)


def failure(vm: Vm) -> HalpmcError:
    """The error that `check` comes to raise."""

    def attempt(_: object) -> HalpmcError | None:
        try:
            vm.check()
        except HalpmcError as error:
            return error
        return None

    return wait_for("fault", 20, attempt, interval=0.005)


def test_from_start_to_quit(tmp_path: Path) -> None:
    """About 0.09 s on two idle cores; the limit leaves room for a busy machine."""
    seconds = []
    for _ in range(5):
        start = time.monotonic()
        with Vm(machine(tmp_path), tmp_path) as vm:
            vm.check()
        seconds.append(time.monotonic() - start)
        assert vm.ended_by == "quit"
    assert statistics.median(seconds) < 0.5


@pytest.mark.parametrize("arch", list(Arch))
def test_each_architecture_starts(arch: Arch, tmp_path: Path, overlays: Path) -> None:
    described = machine(tmp_path, HALT)
    if arch is Arch.AARCH64:
        described = described.model_copy(update={"arch": arch, "machine": "virt", "cpu": "max,pmu=on"})
    with Vm(described, tmp_path, overlay_dir=overlays) as vm:
        vm.check()
        assert vm.execute("query-status")["running"] is True


def test_a_guest_runs_and_speaks(tmp_path: Path, overlays: Path) -> None:
    described = machine(tmp_path, GREET)
    log = described.serial_log
    assert log is not None
    with Vm(described, tmp_path, overlay_dir=overlays) as vm:

        def spoke(_: object) -> bool | None:
            vm.check()
            return True if log.read_bytes().endswith(b"Hi") else None

        wait_for("greeting", 20, spoke)


def test_two_vms_have_ports_of_their_own(tmp_path: Path) -> None:
    with Vm(machine(tmp_path), tmp_path) as one, Vm(machine(tmp_path), tmp_path) as two:
        assert one.ssh_port != two.ssh_port
        for vm in (one, two):
            socket.create_connection(("127.0.0.1", vm.ssh_port), timeout=5).close()
        listening = {c.laddr for vm in (one, two) for c in psutil.Process(vm.process.pid).net_connections()}
        assert {address.ip for address in listening if address} == {"127.0.0.1"}


def test_nothing_is_left(tmp_path: Path, overlays: Path) -> None:
    described = machine(tmp_path, HALT)
    assert described.disk is not None
    before = described.disk.read_bytes()
    files = psutil.Process().num_fds()
    with Vm(described, tmp_path, overlay_dir=overlays) as vm:
        pid = vm.process.pid
        names = [str(p.readlink()) for p in Path(f"/proc/{pid}/fd").iterdir()]
        overlay = {name for name in names if name.startswith(str(overlays))}
        assert len(overlay) == 1
        assert overlay.pop().endswith("(deleted)")
    assert not psutil.pid_exists(pid)
    assert not list(overlays.iterdir())
    assert described.disk.read_bytes() == before
    assert psutil.Process().num_fds() == files
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {
        "boot, sector.img",
        "qemu.log",
        "qmp-events.jsonl",
        "serial, of a VM.log",
    }


def test_qemus_refusal_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(QemuError, match=r"refused the machine .*unable to find CPU model 'what'"):
        Vm(machine(tmp_path, cpu="what"), tmp_path).__enter__()


def test_more_memory_than_the_host_can_map(tmp_path: Path) -> None:
    with pytest.raises(QemuError, match=r"refused the machine .*cannot set up guest memory"):
        Vm(machine(tmp_path, memory_mib=1 << 28), tmp_path).__enter__()
    assert not started_in(tmp_path)


def test_a_disk_that_is_none(tmp_path: Path, overlays: Path) -> None:
    described = machine(tmp_path, HALT, disk_format="qcow2")
    with pytest.raises(QemuError, match=r"no overlay over .*not in qcow2 format"):
        Vm(described, tmp_path, overlay_dir=overlays).__enter__()


def test_no_place_for_the_overlay(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"no overlay can be made in .*nowhere"):
        Vm(machine(tmp_path, HALT), tmp_path, overlay_dir=tmp_path / "nowhere").__enter__()


def test_a_real_panic(tmp_path: Path, overlays: Path) -> None:
    described = machine(tmp_path, PANIC, panic_device="pvpanic")
    with Vm(described, tmp_path, overlay_dir=overlays) as vm:
        error = failure(vm)
        assert isinstance(error, GuestPanicked)
        assert "GUEST_PANICKED" in error.evidence["events"]
        assert vm.execute("query-status")["status"] == "guest-panicked"  # it stays, to be looked at


@pytest.mark.parametrize(
    ("code", "words", "status"),
    [
        (RESET, "reset itself (guest-reset)", "shutdown"),
        (POWER_OFF, "shut itself down (guest-shutdown)", "shutdown"),
    ],
)
def test_a_guest_that_goes_away(code: bytes, words: str, status: str, tmp_path: Path, overlays: Path) -> None:
    with Vm(machine(tmp_path, code), tmp_path, overlay_dir=overlays) as vm:
        error = failure(vm)
        assert type(error) is GuestError
        assert words in str(error)
        assert vm.execute("query-status")["status"] == status


def test_a_guest_that_may_reboot(tmp_path: Path, overlays: Path) -> None:
    with Vm(machine(tmp_path, RESET, on_reboot="reset"), tmp_path, overlay_dir=overlays) as vm:
        vm.qmp.wait_event("RESET", timeout_s=20)
        vm.check()


@pytest.mark.parametrize("code", [PANIC, RESET, POWER_OFF])
def test_a_machine_that_ended_boots_again(code: bytes, tmp_path: Path, overlays: Path) -> None:
    """From its own disk, and into the same end: which counts anew, but for a reset, which is allowed from then on."""
    described = machine(tmp_path, code, panic_device="pvpanic")
    with Vm(described, tmp_path, overlay_dir=overlays) as vm:
        first = failure(vm)
        vm.qmp.wait_event("STOP", timeout_s=20)  # it follows the event that tells of the end
        before = vm.qmp.events
        vm.reboot()
        if code == RESET:
            wait_for("another boot", 20, lambda _: [e for e in vm.qmp.events if e not in before][1:] or None)
            vm.check()
        else:
            assert failure(vm).message == first.message
        news = [event for event in vm.qmp.events if event not in before]
        assert news[0].name == "RESET"


def test_a_killed_qemu_is_noticed_at_once(tmp_path: Path) -> None:
    with Vm(machine(tmp_path), tmp_path) as vm:
        start = time.monotonic()
        os.kill(vm.process.pid, signal.SIGKILL)
        assert "QEMU died (killed by SIGKILL)" in str(failure(vm))
        assert time.monotonic() - start < 1
    assert vm.ended_by == "gone"


def test_a_qemu_told_to_end_by_something_else(tmp_path: Path) -> None:
    with Vm(machine(tmp_path), tmp_path) as vm:
        os.kill(vm.process.pid, signal.SIGTERM)
        assert "told QEMU to end" in str(failure(vm))


def test_a_stopped_qemu_is_killed(tmp_path: Path) -> None:
    with Vm(machine(tmp_path), tmp_path) as vm:
        pid = vm.process.pid
        os.kill(pid, signal.SIGSTOP)
    assert vm.ended_by == "SIGKILL"
    assert not psutil.pid_exists(pid)


def test_pausing_and_resuming(tmp_path: Path) -> None:
    with Vm(machine(tmp_path), tmp_path) as vm:
        vm.pause()
        vm.check()
        vm.resume()
        vm.check()
        vm.execute("stop")
        assert "QEMU stopped the guest: paused" in str(failure(vm))


HARNESS = """
    import signal, sys, threading
    from pathlib import Path
    from harness.vm.machine import Machine
    from harness.vm.vm import Vm

    if "orderly" in sys.argv:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits SIG_IGN
        def leave(number, frame):
            raise SystemExit(128 + number)
        signal.signal(signal.SIGTERM, leave)
    machine = Machine.model_validate_json(sys.argv[1])
    print("starting", flush=True)
    with Vm(machine, Path(sys.argv[2]), overlay_dir=Path(sys.argv[3])) as vm:
        print(vm.process.pid, flush=True)
        threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("number", "mode"),
    [
        (signal.SIGKILL, "any"),
        (signal.SIGTERM, "any"),
        (signal.SIGTERM, "orderly"),
        (signal.SIGINT, "orderly"),
    ],
)
def test_qemu_ends_with_the_harness(
    number: signal.Signals, mode: str, tmp_path: Path, overlays: Path
) -> None:
    with start_harness(tmp_path, overlays, mode) as harness:
        assert harness.stdout is not None
        assert harness.stdout.readline() == "starting\n"
        qemu = psutil.Process(int(harness.stdout.readline()))
        harness.send_signal(number)
        try:
            harness.wait(10)
            wait_for("end of QEMU", 5, lambda _: None if runs(qemu) else True)
        finally:
            harness.kill()  # a failed test must neither wait for it nor leave QEMU behind
            if runs(qemu):
                qemu.kill()
    assert not list(overlays.iterdir())


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.03, 0.05, 0.08])
def test_a_harness_killed_while_it_starts_qemu(delay: float, tmp_path: Path, overlays: Path) -> None:
    with start_harness(tmp_path, overlays, "any") as harness:
        assert harness.stdout is not None
        harness.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            harness.wait(delay)
        harness.kill()
    wait_for("end of QEMU", 5, lambda _: None if started_in(tmp_path) else True)
    assert not list(overlays.iterdir())


def start_harness(folder: Path, overlays: Path, mode: str) -> subprocess.Popen[str]:
    """A harness of its own with one VM; prints "starting", then QEMU's pid, and waits."""
    command = [sys.executable, "-c", textwrap.dedent(HARNESS), machine(folder, HALT).model_dump_json()]
    return subprocess.Popen(
        [*command, folder, overlays, mode], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def started_in(folder: Path) -> list[int]:
    """Running processes with that folder in their command line (which a zombie has no more)."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in argument.replace(",,", ",") for argument in process.info["cmdline"] or ())
    ]


def runs(process: psutil.Process) -> bool:
    """Whether it runs: an orphan that nobody has reaped yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
