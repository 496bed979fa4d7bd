"""What becomes of held counters when the machine itself changes: reboot, saved state, sleep, a CPU more."""

from __future__ import annotations

import pytest

from harness.contract.expectations import skip_unless_granted
from harness.contract.judgement import skipped
from harness.contract.observations import Call
from harness.contract.records import record_leak, record_still_held
from harness.driver.device import Device
from harness.runs.cell import CellRun
from harness.runs.guest import Guest
from harness.runs.lifetime import Lifetime, NotHere

from .conftest import Observe, Settle


@pytest.fixture
def lifetime(cell_run: CellRun, fresh_guest: Guest) -> Lifetime:
    """A guest of this test's own, and what can be done to its machine."""
    return Lifetime(cell_run.starter, fresh_guest)


def hold(guest: Guest, settle: Settle, observe: Observe) -> tuple[Device, Call]:
    """The whole PMU, held through a device that stays open; skipped where it is not granted."""
    device = Device.open(guest.session, "pmctest")
    call = device.allocate()
    observe("first request", call)
    refused = skip_unless_granted(call)
    if refused is not None:
        settle(refused)
    return device, call


def ask_again(guest: Guest, device: Device, held: Call) -> tuple[Call, Call, Call]:
    """Another driver's request, the free of what was held, and that driver's request once more."""
    with guest.open("pmctest2") as other:
        return other.allocate(), device.free(held.handle), other.allocate()


@pytest.mark.clause("LIFE-3")
def test_leaked_counters_and_a_reboot(
    lifetime: Lifetime, fresh_guest: Guest, settle: Settle, observe: Observe
) -> None:
    fresh_guest.allow_destructive()
    with fresh_guest.open() as device:
        leaked = device.leak()
    observe("leak", leaked)
    refused = skip_unless_granted(leaked)
    if refused is not None:
        settle(refused)
    with fresh_guest.open() as device:
        before = device.allocate()
    observe("request after the leak", before)
    with lifetime.rebooted() as guest, guest.open() as device:
        after = device.allocate()
    observe("request after the reboot", after)
    settle(record_leak(before, after))


@pytest.mark.clause("LIFE-4")
def test_a_saved_state_while_held(
    lifetime: Lifetime, fresh_guest: Guest, settle: Settle, observe: Observe
) -> None:
    _, held = hold(fresh_guest, settle, observe)
    try:
        with lifetime.restored() as guest, guest.open() as device:
            answers = ask_again(guest, device, held)
    except NotHere as why:
        settle(skipped(str(why)))
    observe("request, free, request in the restored guest", answers)
    settle(record_still_held("a restore in another VM", *answers))


@pytest.mark.clause("LIFE-5")
def test_sleep_while_held(lifetime: Lifetime, fresh_guest: Guest, settle: Settle, observe: Observe) -> None:
    device, held = hold(fresh_guest, settle, observe)
    try:
        lifetime.sleep_and_wake()
    except NotHere as why:
        settle(skipped(f"S3: {why}"))
    answers = ask_again(fresh_guest, device, held)
    observe("request, free, request after S3", answers)
    settle(record_still_held("S3", *answers))


@pytest.mark.clause("LIFE-5")
def test_a_cpu_more_while_held(
    lifetime: Lifetime, fresh_guest: Guest, settle: Settle, observe: Observe
) -> None:
    device, held = hold(fresh_guest, settle, observe)
    try:
        number = lifetime.add_cpu()
    except NotHere as why:
        settle(skipped(f"a CPU more: {why}"))
    answers = ask_again(fresh_guest, device, held)
    observe("request, free, request with one CPU more", answers)
    observe("CPUs that the driver sees", device.info().cpus)
    settle(record_still_held(f"CPU {number} was added", *answers))
