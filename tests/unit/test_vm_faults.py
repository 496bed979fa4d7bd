"""What an event of QEMU means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from harness.errors import GuestError, GuestPanicked, InfrastructureError, QemuError
from harness.vm.faults import bugcheck_of, fault, stopped
from harness.vm.qmp import QmpEvent


def event(name: str, **data: Any) -> QmpEvent:
    return QmpEvent(name, data, datetime(2026, 1, 2, tzinfo=UTC))  # a part of tests' names


HYPER_V = {"type": "hyper-v", "arg1": 0xD1, "arg2": 0x10, "arg3": 2, "arg4": 0, "arg5": 0xFFFFF80212345678}

FAULTS = [
    (event("GUEST_PANICKED", action="pause"), GuestPanicked, "the guest's kernel panicked"),
    (
        event("GUEST_PANICKED", action="pause", info=HYPER_V),
        GuestPanicked,
        "bugcheck 0xD1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x10, 0x2, 0x0, 0xfffff80212345678)",
    ),
    (event("GUEST_PANICKED", info={"type": "hyper-v", "arg1": 0x999}), GuestPanicked, "bugcheck 0x999 (0x0"),
    (  # the code is 32 bits of a register of 64, which may be filled with its sign
        event("GUEST_PANICKED", info={"type": "hyper-v", "arg1": -0x3FFFFFDE, "arg2": -1}),
        GuestPanicked,
        "bugcheck 0xC0000022 (0xffffffffffffffff, 0x0, 0x0, 0x0)",
    ),
    (event("GUEST_CRASHLOADED", action="run"), GuestPanicked, "loaded its crash kernel"),
    (event("RESET", guest=True, reason="guest-reset"), GuestError, "reset itself (guest-reset)"),
    (event("SHUTDOWN", guest=True, reason="guest-reset"), GuestError, "reset itself (guest-reset)"),
    (event("SHUTDOWN", guest=True, reason="guest-shutdown"), GuestError, "shut itself down"),
    (event("SHUTDOWN", guest=True, reason="guest-panic"), GuestError, "panicked and was ended (guest-panic)"),
    (event("SHUTDOWN", guest=False, reason="host-signal"), QemuError, "told QEMU to end"),
    (event("SHUTDOWN", guest=False, reason="host-error"), QemuError, "gave up on the guest"),
    (event("SUSPEND"), GuestError, "went to sleep"),
    (event("WATCHDOG", action="pause"), GuestError, "watchdog expired: it hangs (action pause)"),
    (
        event("BLOCK_IO_ERROR", device="disk0", operation="write", action="stop", nospace=True, reason="x"),
        InfrastructureError,
        "could not write the guest's disk: the disk is full",
    ),
    (
        event("BLOCK_IO_ERROR", operation="read", action="report", reason="Input/output error"),
        InfrastructureError,
        "could not read the guest's disk: Input/output error",
    ),
    (
        event("MEMORY_FAILURE", recipient="guest", action="inject", flags={}),
        InfrastructureError,
        "the host's memory failed",
    ),
]

HARMLESS = [
    event("RESUME"),
    event("STOP"),
    event("RTC_CHANGE", offset=1),
    event("RESET", guest=False, reason="host-qmp-system-reset"),
    event("SHUTDOWN", guest=False, reason="host-qmp-quit"),
    event("NIC_RX_FILTER_CHANGED"),
    event("DUMP_COMPLETED", result={"status": "completed"}),
    event("BLOCK_IO_ERROR", operation="read", action="ignore", reason="x"),
    event("MEMORY_FAILURE", recipient="hypervisor", action="ignore"),
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


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("guest-panicked", GuestPanicked),
        ("shutdown", GuestError),
        ("suspended", GuestError),
        ("watchdog", GuestError),
        ("internal-error", InfrastructureError),
        ("paused", InfrastructureError),
        ("something new", InfrastructureError),
    ],
)
def test_whose_fault_a_stop_is(status: str, kind: type[Exception]) -> None:
    assert type(stopped(status)) is kind
    assert stopped(status) is not stopped(status)


def test_the_bugcheck_of_hyper_v() -> None:
    seen = bugcheck_of(event("GUEST_PANICKED", info=HYPER_V))
    assert seen is not None
    assert (seen.code, seen.name) == (0xD1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL")
    assert seen.parameters == (0x10, 2, 0, 0xFFFFF80212345678)
    negative = bugcheck_of(event("GUEST_PANICKED", info=HYPER_V | {"arg5": -1}))
    assert negative is not None
    assert negative.parameters[3] == 0xFFFFFFFFFFFFFFFF
    assert bugcheck_of(event("GUEST_PANICKED", action="pause")) is None
    assert bugcheck_of(event("GUEST_PANICKED", info={"type": "s390", "core": 1})) is None
    assert bugcheck_of(event("RESET", info=HYPER_V)) is None


def test_a_stopped_machine_is_an_infrastructure_fault_with_a_remedy() -> None:
    error = stopped("io-error")
    assert isinstance(error, InfrastructureError)
    assert "full disk" in str(error)
