"""What an event of QEMU means: nothing, or the end of the cell, and whose fault it is. Pure."""

from __future__ import annotations

import json
from typing import Any

from harness.errors import GuestError, GuestPanicked, HalpmcError, InfrastructureError, QemuError
from harness.vm.qmp import QmpEvent

BUGCHECK_NAMES = {  # bugcheckcodes.h; the ones that test drivers meet most
    0x0A: "IRQL_NOT_LESS_OR_EQUAL",
    0x1E: "KMODE_EXCEPTION_NOT_HANDLED",
    0x3B: "SYSTEM_SERVICE_EXCEPTION",
    0x50: "PAGE_FAULT_IN_NONPAGED_AREA",
    0x7E: "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED",
    0x7F: "UNEXPECTED_KERNEL_MODE_TRAP",
    0x80: "NMI_HARDWARE_FAILURE",
    0xC4: "DRIVER_VERIFIER_DETECTED_VIOLATION",
    0xC9: "DRIVER_VERIFIER_IOMANAGER_VIOLATION",
    0xCE: "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS",
    0xD1: "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
    0xE2: "MANUALLY_INITIATED_CRASH",
}


def fault(event: QmpEvent, *, reboots: bool = False) -> HalpmcError | None:
    """The error that this event stands for, or None when it is harmless.

    With `reboots` the guest may reset itself. STOP is not judged here: it follows other events, and the
    host's own commands (see `stopped`).
    """
    data = event.data
    match event.name:
        case "GUEST_PANICKED":
            return GuestPanicked(f"the guest's kernel panicked{_panic_details(data.get('info'))}")
        case "GUEST_CRASHLOADED":
            return GuestPanicked("the guest's kernel panicked and loaded its crash kernel")
        case "RESET" if data.get("guest") and not reboots:
            return GuestError(f"the guest reset itself ({data.get('reason', 'no reason given')})")
        case "SHUTDOWN" if data.get("guest"):
            what = "reset itself" if data.get("reason") == "guest-reset" else "shut itself down"
            return GuestError(f"the guest {what} ({data.get('reason', 'no reason given')})")
        case "SHUTDOWN" if data.get("reason") == "host-signal":
            return QemuError("something on the host told QEMU to end (SIGTERM, SIGINT or SIGHUP)")
    return None


def stopped(status: str) -> HalpmcError:
    """The error for a machine that stands still unasked; `status` is what query-status says."""
    remedies = {
        "io-error": "the disk's files could not be read or written: look for a full disk on the host",
        "internal-error": "the accelerator gave up on the guest: see QEMU's messages and the host's dmesg",
        "paused": "something outside the harness paused it, or the host could not run it",
    }
    remedy = remedies.get(status, "see QEMU's messages")
    return InfrastructureError(f"QEMU stopped the guest: {status}", remedy=remedy)


def _panic_details(info: Any) -> str:
    """For the message: the bugcheck told through Hyper-V crash registers (QAPI GuestPanicInformation)."""
    if not isinstance(info, dict):
        return ""
    if info.get("type") == "hyper-v":
        code = int(info.get("arg1", 0)) & 0xFFFFFFFF
        name = BUGCHECK_NAMES.get(code)
        parameters = ", ".join(f"0x{int(info.get(f'arg{n}', 0)):x}" for n in range(2, 6))
        return f": bugcheck 0x{code:X}{f' {name}' if name else ''} ({parameters})"
    return f": {json.dumps(info)}"
