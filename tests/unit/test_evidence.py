"""Evidence of machines whose QEMU is scripted: whatever it does, the budget holds and what is there is collected."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.deadlines import wait_for
from harness.errors import NoSpace, QemuError
from harness.vm import memory_dump
from harness.vm.evidence import Evidence, collect
from harness.vm.memory_dump import dump_memory
from harness.vm.pictures import NoDisplay, ppm_to_png, take_screen
from harness.vm.registers import CpuState, describe
from harness.vm.screens import ScreenRing
from tests.unit import dump_files, test_vm_scripted
from tests.unit.test_vm_scripted import RUNNING, MakeVm, happened

scripted = test_vm_scripted.scripted

OK: dict[str, Any] = {"return": {}}
NO_DISPLAY = {"error": {"class": "GenericError", "desc": "There is no console to take a screendump from"}}
NO_PNG = {"error": {"class": "GenericError", "desc": "Parameter 'format' is unexpected"}}
PPM = "P6\n2 1\n255\n" + "\xff\x00\x00" + "\x00\x00\xff"
KDUMP = dump_files.kdump().decode("latin-1")
REGISTERS = {
    "return": "CPU#0\r\nRAX=00 RBX=00\r\nRIP=fffff80000001234 RFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n"
}
DUMPABLE = {
    "query-dump-guest-memory-capability": {"return": {"formats": ["elf", "kdump-zlib", "win-dmp"]}},
    "dump-guest-memory": OK | {"file": KDUMP},
    "query-dump": {"return": {"status": "completed", "completed": 9, "total": 9}},
}
HYPER_V = {"type": "hyper-v", "arg1": 0xD1, "arg2": 0x10, "arg3": 2, "arg4": 0, "arg5": 0xFFFFF80212345678}


def gathered(
    make: MakeVm, folder: Path, steps: list[dict[str, Any]], budget: float = 30.0, **options: Any
) -> Evidence:
    """Start a machine with these steps, collect, close it; nothing is left of it."""
    with make(steps) as vm:
        pid = vm.process.pid
        evidence = collect(vm, folder / "evidence", budget, **options)
        vm.process.kill()
    assert not Path(f"/proc/{pid}").exists()
    assert Evidence.model_validate_json((folder / "evidence" / "index.json").read_text()) == evidence
    on_disk = {path.name for path in (folder / "evidence").iterdir()} - {"index.json"}
    assert on_disk == {file.name for file in evidence.files}, "every file is in the index, and no other"
    assert all(file.size == (folder / "evidence" / file.name).stat().st_size for file in evidence.files)
    return evidence


def answer(**replies: Any) -> list[dict[str, Any]]:
    """Steps of a running machine that answers these commands so."""
    return [{"answer": {name.replace("_", "-"): reply for name, reply in replies.items()}}, *RUNNING]


def files(evidence: Evidence) -> set[str]:
    return {file.name for file in evidence.files}


def notes(evidence: Evidence) -> dict[str, str]:
    return {note.step: note.why for note in evidence.notes}


def test_a_machine_in_good_health(scripted: MakeVm, tmp_path: Path) -> None:
    steps = answer(screendump=OK | {"file": "png"})
    with scripted([*steps, {"hear": "query-status"}]) as vm:
        vm.qmp.monitor("info registers -a")
        evidence = collect(vm, tmp_path / "evidence", 30.0)
        vm.check()
    assert (evidence.reach, evidence.status) == ("answers", "running")
    assert files(evidence) == {
        "process.txt",
        "registers.txt",
        "registers-later.txt",
        "cpus.json",
        "screen.png",
    } | ({"qmp-events.txt"} & files(evidence))
    assert evidence.triage == "the guest runs"


def test_registers_reach_the_sentence(scripted: MakeVm, tmp_path: Path) -> None:
    steps = answer(human_monitor_command=[REGISTERS, REGISTERS], screendump=NO_DISPLAY)
    evidence = gathered(scripted, tmp_path, steps)
    assert evidence.triage == "the guest runs; interrupts stay off on CPU 0 at 0xfffff80000001234"
    assert notes(evidence)["screen"] == "the machine has no display device"


@pytest.mark.parametrize("hung", [False, True])
def test_a_qemu_that_never_answers(hung: bool, scripted: MakeVm, tmp_path: Path) -> None:
    start = time.monotonic()
    evidence = gathered(scripted, tmp_path, answer(query_status=None, quit=None), 4.0, hung=hung)
    assert time.monotonic() - start < 4.0 + 3.0  # and one start and end of a process
    assert evidence.seconds < 4.0
    assert evidence.reach == "silent"
    assert "QMP" in notes(evidence)
    assert "screen" not in notes(evidence), "what QEMU cannot answer is not even tried"
    assert files(evidence) >= {"process.txt"}
    assert evidence.triage.startswith("QEMU does not answer; its process: pid ")


SLOW = [
    "screendump",
    "human-monitor-command",
    "query-cpus-fast",
    "inject-nmi",
    "dump-guest-memory",
    "query-dump",
]


@pytest.mark.parametrize("command", SLOW)
def test_silence_in_the_middle(command: str, scripted: MakeVm, tmp_path: Path) -> None:
    """One step pays for it, the others see that QEMU is gone silent, and the sum stays within the budget."""
    steps = [{"answer": DUMPABLE | {"screendump": NO_DISPLAY, command: None}}, *RUNNING]
    evidence = gathered(scripted, tmp_path, steps, 4.0, hung=True)
    assert evidence.seconds < 4.0 + 2.0
    assert (evidence.reach, evidence.status) == ("answers", "running")
    assert sum("no answer within" in why for why in notes(evidence).values()) == 1
    later = "QEMU does not answer any more"
    dumping = command in ("dump-guest-memory", "query-dump")
    assert (later in notes(evidence).values()) == (not dumping)
    assert ("fell silent" in evidence.triage) == (not dumping)
    assert ("NMI" in evidence.triage) == dumping, "what was not tried is not claimed"


def test_a_dump_that_takes_too_long_is_given_up(scripted: MakeVm, tmp_path: Path) -> None:
    active = {"return": {"status": "active", "completed": 5 << 20, "total": 9 << 20}}
    steps = [{"answer": DUMPABLE | {"screendump": NO_DISPLAY, "query-dump": active}}, *RUNNING]
    evidence = gathered(scripted, tmp_path, [*steps, {"hear": "inject-nmi"}], 4.0, hung=True)
    assert evidence.seconds < 4.0 + 2.0
    assert "last seen: 5 of 9 MiB" in notes(evidence)["memory dump"]
    assert "vmcore.kdump" not in files(evidence), "half a dump is none"


def test_a_dump_that_grows_too_large_is_given_up(scripted: MakeVm, tmp_path: Path) -> None:
    steps = [{"answer": DUMPABLE | {"dump-guest-memory": OK | {"file": KDUMP}}}, *RUNNING]
    with scripted(steps) as vm, pytest.raises(NoSpace, match="grew past the limit of 0 MiB"):
        dump_memory(vm.qmp, vm.machine, tmp_path, limit_mib=0, timeout_s=10)
    assert not (tmp_path / "vmcore.kdump").exists()


def test_a_full_disk_gets_no_dump(scripted: MakeVm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_dump, "RESERVE_MIB", 1 << 40)
    with scripted([{"answer": DUMPABLE}, *RUNNING]) as vm, pytest.raises(NoSpace, match="free some space"):
        dump_memory(vm.qmp, vm.machine, tmp_path, limit_mib=4096, timeout_s=10)


@pytest.mark.parametrize(
    ("devices", "limit", "offered", "tried"),
    [
        ((), 4096, ["elf", "kdump-zlib", "win-dmp"], ["kdump-zlib", "elf"]),
        (("vmcoreinfo",), 4096, ["elf", "kdump-zlib", "win-dmp"], ["win-dmp", "kdump-zlib", "elf"]),
        (("vmcoreinfo",), 4096, ["elf"], ["elf"]),
        (("vmcoreinfo",), 100, ["elf", "kdump-zlib", "win-dmp"], ["kdump-zlib"]),
        ((), 100, ["elf"], []),
    ],
)
def test_each_format_is_tried_and_every_refusal_told(
    devices: tuple[str, ...],
    limit: int,
    offered: list[str],
    tried: list[str],
    scripted: MakeVm,
    tmp_path: Path,
) -> None:
    refused = {
        "query-dump-guest-memory-capability": {"return": {"formats": offered}},
        "query-dump": {"return": {"status": "failed"}},
    }
    told = happened("DUMP_COMPLETED", result={"status": "failed"}, error="invalid vmcoreinfo note size")
    vm = scripted([{"answer": refused}, *RUNNING, told])
    vm.machine = vm.machine.model_copy(update={"devices": devices})
    with vm, pytest.raises(QemuError, match="cannot dump this guest") as caught:
        vm.qmp.wait_event("DUMP_COMPLETED", timeout_s=5)
        dump_memory(vm.qmp, vm.machine, tmp_path, limit_mib=limit, timeout_s=10)
    words = "; ".join(f"{kind}: invalid vmcoreinfo note size" for kind in tried) or "no usable format"
    assert caught.value.message.endswith(words)
    assert not list(tmp_path.glob("vmcore*"))


def test_the_dump_says_what_it_is(scripted: MakeVm, tmp_path: Path) -> None:
    panic = [happened("GUEST_PANICKED", action="pause", info=HYPER_V), happened("STOP")]
    status = {"return": {"status": "guest-panicked", "running": False}}
    steps = [{"answer": DUMPABLE | {"screendump": NO_DISPLAY, "query-status": status}}, *RUNNING, *panic]
    with scripted(steps) as vm:
        vm.qmp.wait_event("STOP", timeout_s=5)
        evidence = collect(vm, tmp_path / "evidence", 30.0, hung=True)
    assert "NMI" not in notes(evidence), "a guest that stands still cannot react"
    assert evidence.triage == (
        "the guest's kernel panicked: bugcheck 0xD1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x10, 0x2, 0x0, 0xfffff80212345678)"
    )
    dump = next(file for file in evidence.files if file.name == "vmcore.kdump")
    assert dump.what.startswith(
        "memory dump: memory of a guest (x86_64 machine, 2 CPUs, physical memory up to 2 MiB)"
    )


def test_no_dump_of_a_guest_that_only_runs(scripted: MakeVm, tmp_path: Path) -> None:
    steps = [{"answer": DUMPABLE | {"screendump": NO_DISPLAY}}, *RUNNING]
    assert "vmcore.kdump" not in files(gathered(scripted, tmp_path, steps))


def test_no_dump_when_none_is_wanted(scripted: MakeVm, tmp_path: Path) -> None:
    steps = [{"answer": DUMPABLE | {"screendump": NO_DISPLAY, "inject-nmi": NO_DISPLAY}}, *RUNNING]
    evidence = gathered(scripted, tmp_path, steps, hung=True, dump_limit_mib=0)
    assert "vmcore.kdump" not in files(evidence)
    assert "memory dump" not in notes(evidence)


def test_a_guest_that_answers_an_nmi(scripted: MakeVm, tmp_path: Path) -> None:
    info = HYPER_V | {"arg1": 0x80, "arg2": 0x4F4454}
    steps = [{"answer": DUMPABLE | {"screendump": OK | {"file": "png"}}}, *RUNNING]
    steps += [{"hear": "inject-nmi"}, happened("GUEST_PANICKED", action="pause", info=info)]
    evidence = gathered(scripted, tmp_path, steps, hung=True)
    assert evidence.triage.startswith(
        "the guest hangs; after an NMI it answered with bugcheck 0x80 NMI_HARDWARE_FAILURE (0x4f4454,"
    )
    assert evidence.bugcheck is not None
    assert evidence.bugcheck.code == 0x80
    assert {"screen.png", "screen-after-nmi.png", "vmcore.kdump"} <= files(evidence)


def test_what_happened_before_the_nmi_is_no_answer_to_it(scripted: MakeVm, tmp_path: Path) -> None:
    vm = scripted([{"answer": DUMPABLE}, *RUNNING, happened("RESET", guest=True, reason="guest-reset")])
    vm.machine = vm.machine.model_copy(update={"on_reboot": "reset"})
    with vm:
        vm.qmp.wait_event("RESET", timeout_s=5)
        evidence = collect(vm, tmp_path / "evidence", 6.0, hung=True)
    assert evidence.triage.startswith("the guest hangs; after an NMI it showed no reaction")
    assert evidence.bugcheck is None


def test_a_qemu_that_is_gone(scripted: MakeVm, tmp_path: Path) -> None:
    with scripted([*RUNNING, {"stderr": "qemu: assertion failed"}]) as vm:
        os.kill(vm.process.pid, signal.SIGKILL)
        assert vm.process.wait(10)
        evidence = collect(vm, tmp_path / "evidence", 30.0, hung=True)
    assert evidence.reach == "gone"
    assert evidence.triage == "QEMU is gone (killed by SIGKILL); its last words: qemu: assertion failed"
    assert "qemu-tail.log" in files(evidence)


def test_a_machine_that_never_started(scripted: MakeVm, tmp_path: Path) -> None:
    evidence = collect(scripted([]), tmp_path / "evidence", 30.0)
    assert evidence.reach == "silent"
    assert notes(evidence)["process"] == "the VM was not started"


def test_an_interrupt_is_not_swallowed(
    scripted: MakeVm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with scripted(RUNNING) as vm:
        monkeypatch.setattr("harness.vm.evidence.take_screen", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collect(vm, tmp_path / "evidence", 30.0)


def test_a_mistake_in_one_step_spares_the_others(
    scripted: MakeVm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = answer(
        query_cpus_fast={"return": [{"cpu-index": 0}]}, screendump=OK
    )  # says yes, and writes no file
    evidence = gathered(scripted, tmp_path, steps)
    assert "No such file" in notes(evidence)["screen"]
    assert "cpus.json" in files(evidence)


# -- registers -------------------------------------------------------------------------------------

AWAY, ON, OFF = (
    CpuState(0, 0x10, False, True),
    CpuState(0, 0x20, True, False),
    CpuState(0, 0x30, False, False),
)
IDLE, ARM = CpuState(0, 0x40, True, True), CpuState(0, 0x50, False, None)


@pytest.mark.parametrize(
    ("first", "later", "words"),
    [
        ((AWAY, AWAY), (AWAY, AWAY), "every CPU is halted with interrupts off (at 0x10, 0x10)"),
        ((AWAY, IDLE), (AWAY, IDLE), "every CPU is idle"),
        ((AWAY, OFF), (AWAY, OFF), "interrupts stay off on CPU 0 at 0x30"),
        ((ON, ON), (OFF, ON), "the CPUs are at 0x30, 0x20"),
        ((OFF,), (ON,), "the CPUs are at 0x20"),
        ((ARM,), (ARM,), "interrupts stay off on CPU 0 at 0x50"),
        ((IDLE,), (ON,), "the CPUs are at 0x20"),
        ((), (), ""),
        ((ON,), (ON, ON), ""),
    ],
)
def test_what_the_cpus_do(first: tuple[CpuState, ...], later: tuple[CpuState, ...], words: str) -> None:
    assert describe(first, later).startswith(words)
    assert bool(describe(first, later)) == bool(words)


# -- pictures --------------------------------------------------------------------------------------


def test_an_old_qemu_without_png(scripted: MakeVm, tmp_path: Path) -> None:
    with scripted(answer(screendump=[NO_PNG, OK | {"file": PPM}])) as vm:
        take_screen(vm.qmp, tmp_path / "screen.png", timeout_s=10)
    assert (tmp_path / "screen.png").read_bytes() == ppm_to_png(PPM.encode("latin-1"))
    assert not list(tmp_path.glob("*.ppm"))


def test_no_display(scripted: MakeVm, tmp_path: Path) -> None:
    with scripted(answer(screendump=NO_DISPLAY)) as vm, pytest.raises(NoDisplay):
        take_screen(vm.qmp, tmp_path / "screen.png", timeout_s=10)
    assert not (tmp_path / "screen.png").exists()


@pytest.mark.parametrize(
    "ppm", [b"", b"P6\n2 1\n255\n12345", b"P3\n1 1\n255\n1 2 3", b"P6\n1 1\n65535\n123456"]
)
def test_what_is_no_picture(ppm: bytes) -> None:
    with pytest.raises(QemuError, match="no PPM"):
        ppm_to_png(ppm)


# -- the ring of screens -----------------------------------------------------------------------------


def picture(shade: int) -> dict[str, Any]:
    return OK | {"file": f"P6\n1 1\n255\n{chr(shade) * 3}"}


def ring(vm: Any, folder: Path, done: Callable[[ScreenRing], bool], keep: int = 2) -> ScreenRing:
    with ScreenRing(vm.qmp, folder, keep=keep, interval_s=0.001) as running:
        wait_for("screens", 20, lambda _: True if done(running) else None, interval=0.005)
    assert not [thread for thread in threading.enumerate() if thread is running._thread]
    return running


def test_the_ring_keeps_the_last_different_screens(scripted: MakeVm, tmp_path: Path) -> None:
    shades = [picture(n) for n in (1, 1, 2, 1, 2, 3, 3, 4)]  # 1, 2, 1, 2 is a blinking cursor
    with scripted(answer(screendump=[*shades, NO_DISPLAY])) as vm:
        kept = ring(vm, tmp_path, lambda running: bool(running.off))
    assert [path.name for path in kept.screens] == ["screen-0003.png", "screen-0004.png"]
    assert sorted(path.name for path in tmp_path.glob("screen*")) == ["screen-0003.png", "screen-0004.png"]
    assert kept.screens[1].read_bytes() == ppm_to_png(b"P6\n1 1\n255\n\4\4\4")


def test_the_ring_is_off_without_a_display(scripted: MakeVm, tmp_path: Path) -> None:
    with scripted(answer(screendump=NO_DISPLAY)) as vm:
        kept = ring(vm, tmp_path, lambda running: not running._thread.is_alive())
    assert kept.off == "the machine has no display device"
    assert kept.screens == ()


def test_the_ring_ends_with_qemu(scripted: MakeVm, tmp_path: Path) -> None:
    with scripted(answer(screendump=[picture(1)] * 3)) as vm:  # then the fake falls over its empty list
        kept = ring(vm, tmp_path, lambda running: not running._thread.is_alive())
    assert kept.off
    assert len(kept.screens) == 1


def test_json_is_json(scripted: MakeVm, tmp_path: Path) -> None:
    gathered(scripted, tmp_path, answer(screendump=NO_DISPLAY))
    index = json.loads((tmp_path / "evidence" / "index.json").read_text())
    assert set(index) == {"triage", "reach", "status", "bugcheck", "files", "notes", "budget_s", "seconds"}
