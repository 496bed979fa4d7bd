"""A VM whose QEMU is scripted: every misbehaviour on demand, in no time."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.config.models import Accel, Arch
from harness.deadlines import FACTOR_VARIABLE, wait_for
from harness.errors import (
    DeadlineExceeded,
    GuestPanicked,
    HalpmcError,
    InfrastructureError,
    QemuError,
    ToolMissing,
)
from harness.vm import vm as vms
from harness.vm.machine import Machine
from harness.vm.vm import Vm

GREET: dict[str, Any] = {"greet": True}
RUNNING: list[dict[str, Any]] = [GREET, {"hear": "cont"}]
STAMP = {"seconds": 1700000000, "microseconds": 250000}
MakeVm = Callable[[list[dict[str, Any]]], Vm]


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeVm:
    """A VM whose QEMU follows the given steps."""
    fake = tmp_path / "bin" / "qemu-system-x86_64"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -S {Path(__file__).with_name("fake_qemu.py")} "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    machine = Machine(arch=Arch.X86_64, accel=Accel.TCG, machine="q35", cpu="max")

    def make(steps: list[dict[str, Any]]) -> Vm:
        monkeypatch.setenv("FAKE_QEMU", json.dumps(steps))
        return Vm(machine, tmp_path)

    return make


def happened(name: str, **data: Any) -> dict[str, Any]:
    return {"say": {"event": name, "data": data, "timestamp": STAMP}}


def failure(vm: Vm) -> HalpmcError:
    """The error that `check` comes to raise."""

    def attempt(_: object) -> HalpmcError | None:
        try:
            vm.check()
        except HalpmcError as error:
            return error
        return None

    return wait_for("fault", 5, attempt, interval=0.005)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_start_and_an_end(scripted: MakeVm, tmp_path: Path) -> None:
    phases: list[str] = []
    with scripted([*RUNNING, happened("RESUME")]) as vm:
        pid = vm.process.pid
        vm.check()
        assert vm.ssh_port == 40022
        assert vm.qmp.qemu_version == "9.8.7"
        assert vm.qmp.wait_event("RESUME", timeout_s=5).time.year == 2023
        phases += vm.phases.seconds
    assert (vm.ended_by, phases) == ("quit", ["qemu"])
    assert is_gone(pid)
    line = json.loads((tmp_path / "qmp-events.jsonl").read_text())
    assert line == {"time": "2023-11-14T22:13:20.250000+00:00", "event": "RESUME", "data": {}}
    assert not [thread for thread in threading.enumerate() if thread.name == "qmp-pump"]


def test_refused_with_qemus_words(scripted: MakeVm) -> None:
    steps: list[dict[str, Any]] = [
        {"stderr": "noise"},
        {"stderr": "qemu: unable to find CPU model 'x'"},
        {"exit": 1},
    ]
    with (
        pytest.raises(QemuError, match=r"refused the machine \(exit status 1\): .*CPU model 'x'") as caught,
        scripted(steps),
    ):
        pass
    assert caught.value.evidence["qemu"].startswith("noise")


@pytest.mark.parametrize("before", [[], [{"stderr": "still starting"}]])
def test_killed_before_it_speaks_qmp(before: list[dict[str, Any]], scripted: MakeVm) -> None:
    vm = scripted([*before, {"signal": 9}])
    with pytest.raises(QemuError, match=r"QEMU refused the machine \(killed by SIGKILL\)"), vm:
        pass
    assert is_gone(vm.process.pid)


def test_killed_while_it_is_set_up(scripted: MakeVm) -> None:
    """After the greeting, before the CPUs run."""
    vm = scripted([{"answer": {"cont": None}}, GREET, {"hear": "cont"}, {"signal": 9}])
    with pytest.raises(QemuError, match=r"QEMU died before its CPUs ran \(killed by SIGKILL\)"), vm:
        pass
    assert is_gone(vm.process.pid)


def test_a_missing_qemu_is_named_with_its_package(
    scripted: MakeVm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("harness.host.tools.SYSTEM_FOLDERS", ())
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "setpriv").symlink_to("/usr/bin/setpriv")
    vm = scripted([])
    monkeypatch.setenv("PATH", str(tmp_path / "only"))
    with pytest.raises(ToolMissing, match="qemu-system-x86"), vm:
        pass


def test_what_is_no_qmp(scripted: MakeVm) -> None:
    with pytest.raises(QemuError, match="Did not understand Greeting"), scripted([{"raw": "login: \n"}]):
        pass


def test_no_greeting(scripted: MakeVm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FACTOR_VARIABLE, "0.02")
    with pytest.raises(DeadlineExceeded, match="QMP greeting: no answer"), scripted([{"deaf": True}]):
        pass


def test_a_command_that_fails_says_why(scripted: MakeVm) -> None:
    refusal = {"error": {"class": "GenericError", "desc": "no such device"}}
    with (
        scripted([{"answer": {"device_del": refusal}}, *RUNNING]) as vm,
        pytest.raises(QemuError, match="QMP command device_del: GenericError: no such device"),
    ):
        vm.execute("device_del", id="x")


def test_a_command_without_an_answer(scripted: MakeVm) -> None:
    steps = [{"answer": {"query-block": None}}, *RUNNING, happened("RESUME")]
    with scripted(steps) as vm:
        with pytest.raises(DeadlineExceeded, match=r"QMP command query-block: .* last seen: .*RESUME"):
            vm.execute("query-block", timeout_s=0.2)
        assert vm.execute("query-status")["running"] is True  # the connection is still good


def test_death_wakes_whoever_waits(scripted: MakeVm) -> None:
    with scripted(
        [{"answer": {"query-block": None}}, *RUNNING, {"hear": "query-block"}, {"signal": 9}]
    ) as vm:
        start = time.monotonic()
        with pytest.raises(QemuError, match="query-block"):
            vm.execute("query-block", timeout_s=30)
        assert "killed by SIGKILL" in str(failure(vm))
        assert time.monotonic() - start < 2
    assert vm.ended_by == "gone"


def test_death_ends_the_wait_for_an_event(scripted: MakeVm) -> None:
    with scripted(RUNNING) as vm:
        start = time.monotonic()
        threading.Timer(0.2, os.kill, (vm.process.pid, signal.SIGKILL)).start()
        with pytest.raises(QemuError, match="SHUTDOWN: the connection is gone"):
            vm.qmp.wait_event("SHUTDOWN", timeout_s=30)
        assert time.monotonic() - start < 5
        assert "killed by SIGKILL" in str(failure(vm))


def test_the_first_fault_counts(scripted: MakeVm) -> None:
    reset = happened("SHUTDOWN", guest=True, reason="guest-reset")
    with scripted(
        [*RUNNING, happened("GUEST_PANICKED", action="pause"), happened("STOP"), reset, {"exit": 1}]
    ) as vm:
        vm.qmp.wait_event("SHUTDOWN", timeout_s=5)
        error = failure(vm)
        assert isinstance(error, GuestPanicked)
        assert "GUEST_PANICKED" in error.evidence["events"]


def test_an_event_before_the_cpus_run_is_heard(scripted: MakeVm) -> None:
    with scripted([GREET, happened("GUEST_PANICKED"), {"hear": "cont"}]) as vm:
        assert isinstance(failure(vm), GuestPanicked)


def test_an_unasked_stop(scripted: MakeVm) -> None:
    status = {"return": {"status": "io-error", "running": False}}
    with scripted([{"answer": {"query-status": status}}, *RUNNING, happened("STOP")]) as vm:
        error = failure(vm)
        assert type(error) is InfrastructureError
        assert "io-error" in str(error)


def test_a_pause_of_our_own_is_no_fault(scripted: MakeVm) -> None:
    status = {"return": {"status": "paused", "running": False}}
    with scripted([{"answer": {"query-status": status}}, *RUNNING, {"hear": "stop"}, happened("STOP")]) as vm:
        vm.pause()
        vm.qmp.wait_event("STOP", timeout_s=5)
        vm.check()
        vm.resume()


def test_powering_down(scripted: MakeVm) -> None:
    steps = [
        *RUNNING,
        {"hear": "system_powerdown"},
        happened("SHUTDOWN", guest=True, reason="guest-shutdown"),
    ]
    with scripted(steps) as vm:
        vm.power_down(timeout_s=5)
    assert vm.ended_by == "quit"


def test_a_guest_that_only_wakes_its_screen_is_asked_again(
    scripted: MakeVm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vms, "PRESS_AGAIN_S", 0.1)
    off = happened("SHUTDOWN", guest=True, reason="guest-shutdown")
    with scripted([*RUNNING, {"hear": "system_powerdown"}, {"hear": "system_powerdown"}, off]) as vm:
        vm.power_down(timeout_s=5)


def test_a_guest_that_stays_on_is_told(scripted: MakeVm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vms, "PRESS_AGAIN_S", 0.1)
    presses = [{"hear": "system_powerdown"}] * 20
    with (
        scripted([*RUNNING, *presses]) as vm,
        pytest.raises(DeadlineExceeded, match="the guest to power itself off"),
    ):
        vm.power_down(timeout_s=0.3)


def test_the_ladder_ends_at_sigkill(scripted: MakeVm, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted([*RUNNING, {"deaf": True}]) as vm:
        pid = vm.process.pid
        monkeypatch.setenv(FACTOR_VARIABLE, "0.05")
    assert vm.ended_by == "SIGKILL"
    assert is_gone(pid)


def test_an_interrupt_on_the_ladder_kills_at_once(scripted: MakeVm, monkeypatch: pytest.MonkeyPatch) -> None:
    vm = scripted([*RUNNING, {"deaf": True}])
    vm.__enter__()
    pid = vm.process.pid

    def interrupted() -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(vm, "_ask_to_quit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        vm.close()
    assert is_gone(pid)


def test_closing_twice(scripted: MakeVm) -> None:
    with scripted(RUNNING) as vm:
        pass
    vm.close()
    assert vm.ended_by == "quit"


def test_started_from_a_thread_that_ends(scripted: MakeVm) -> None:
    """The death signal follows the thread that forked; a VM must outlive the thread that asked for it."""
    vm = scripted(RUNNING)
    starter = threading.Thread(target=vm.__enter__)
    starter.start()
    starter.join()
    with vm.qmp._changed:
        vm.qmp._changed.wait(0.2)
    vm.check()
    vm.close()
    assert vm.ended_by == "quit"
