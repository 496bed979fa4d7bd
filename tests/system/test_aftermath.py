"""A guest that says it will write its own dump gets the time for it; one that never ends does not hold everybody up."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.deadlines import wait_for
from harness.errors import DeadlineExceeded
from harness.runs import aftermath
from harness.vm.vm import Vm
from tests.system.test_vm import HALT, RESET, machine

#: mov dx,0x505; mov al,2; out dx,al: the guest has loaded its crash kernel, and goes on.
LOADED = bytes.fromhex("ba0505b002ee")
#: the same with al=1: it has panicked.
PANICKED = bytes.fromhex("ba0505b001ee")
#: mov cx,N; sti; again: hlt (until the timer ticks, 18 times a second); loop again
TICKS = bytes.fromhex("b90a00fb") + bytes.fromhex("f4e2fd")


def test_a_dump_in_the_making_is_waited_for(tmp_path: Path) -> None:
    described = machine(tmp_path, LOADED + TICKS + RESET, panic_device="pvpanic")
    with Vm(described, tmp_path, overlay_dir=tmp_path) as vm:
        wait_for("crash", 20, lambda _: True if aftermath.crashed(vm) else None)
        assert vm.execute("query-status")["status"] == "running"
        aftermath._let_it_finish(vm)
        assert vm.execute("query-status")["status"] == "shutdown"


def test_a_guest_that_qemu_stopped_at_its_panic_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Windows does that told its bug check; only KVM has the registers for that, so here pvpanic says it."""
    monkeypatch.setattr(aftermath, "bugcheck_of", lambda event: event.name == "GUEST_PANICKED")
    described = machine(tmp_path, PANICKED + TICKS + RESET, panic_device="pvpanic")
    with Vm(described, tmp_path, overlay_dir=tmp_path) as vm:
        wait_for("crash", 20, lambda _: True if aftermath.crashed(vm) else None)
        wait_for("stop", 20, lambda _: vm.execute("query-status")["status"] == aftermath.PANICKED or None)
        aftermath._let_it_finish(vm)
        assert vm.execute("query-status")["status"] == "shutdown"


def test_a_dump_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aftermath, "DUMP_S", 0.5)
    described = machine(tmp_path, LOADED + HALT, panic_device="pvpanic")
    with Vm(described, tmp_path, overlay_dir=tmp_path) as vm:
        wait_for("crash", 20, lambda _: True if aftermath.crashed(vm) else None)
        with pytest.raises(DeadlineExceeded, match=r"the guest.s writing of its dump: no answer .* running"):
            aftermath._let_it_finish(vm)
