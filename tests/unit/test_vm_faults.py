"""What an event of QEMU means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from harness.errors import GuestError, GuestPanicked, InfrastructureError, QemuError
from harness.vm.faults import fault, stopped
from harness.vm.qmp import QmpEvent


def event(name: str, **data: Any) -> QmpEvent:
    return QmpEvent(name, data, datetime.now(UTC))


HYPER_V = {"type": "hyper-v", "arg1": 0xD1, "arg2": 0x10, "arg3": 2, "arg4": 0, "arg5": 0xFFFFF80212345678}

FAULTS = [
    (event("GUEST_PANICKED", action="pause"), GuestPanicked, "the guest's kernel panicked"),
    (
        event("GUEST_PANICKED", action="pause", info=HYPER_V),
        GuestPanicked,
        "bugcheck 0xD1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x10, 0x2, 0x0, 0xfffff80212345678)",
    ),
    (event("GUEST_PANICKED", info={"type": "hyper-v", "arg1": 0x999}), GuestPanicked, "bugcheck 0x999 (0x0"),
    (event("GUEST_CRASHLOADED", action="run"), GuestPanicked, "loaded its crash kernel"),
    (event("RESET", guest=True, reason="guest-reset"), GuestError, "reset itself (guest-reset)"),
    (event("SHUTDOWN", guest=True, reason="guest-reset"), GuestError, "reset itself (guest-reset)"),
    (event("SHUTDOWN", guest=True, reason="guest-shutdown"), GuestError, "shut itself down"),
    (event("SHUTDOWN", guest=False, reason="host-signal"), QemuError, "told QEMU to end"),
]

HARMLESS = [
    event("RESUME"),
    event("STOP"),
    event("RTC_CHANGE", offset=1),
    event("RESET", guest=False, reason="host-qmp-system-reset"),
    event("SHUTDOWN", guest=False, reason="host-qmp-quit"),
    event("NIC_RX_FILTER_CHANGED"),
]


@pytest.mark.parametrize(("seen", "kind", "words"), FAULTS)
def test_faults(seen: QmpEvent, kind: type[Exception], words: str) -> None:
    error = fault(seen)
    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize("seen", HARMLESS, ids=str)
def test_harmless(seen: QmpEvent) -> None:
    assert fault(seen) is None


def test_a_guest_that_may_reboot() -> None:
    assert fault(event("RESET", guest=True, reason="guest-reset"), reboots=True) is None
    assert fault(event("SHUTDOWN", guest=True, reason="guest-shutdown"), reboots=True) is not None


def test_a_stopped_machine_is_an_infrastructure_fault_with_a_remedy() -> None:
    error = stopped("io-error")
    assert isinstance(error, InfrastructureError)
    assert "full disk" in str(error)
