"""What an event of QEMU means: nothing, or the end of the cell, and whose fault it is. Pure.

Meanings: QEMU's QMP reference (run-state.json, block-core.json).
"""

from __future__ import annotations

import json
from typing import Any

from harness.dumps.bugchecks import Bugcheck, bugcheck
from harness.errors import GuestError, GuestPanicked, HalpmcError, InfrastructureError, QemuError
from harness.vm.qmp import QmpEvent

AWAKE = "switch sleep off in the guest"
DISK_FULL = "the disk's files could not be read or written: look for a full disk on the host"
STOP_REMEDIES = {
    "io-error": DISK_FULL,
    "internal-error": "the accelerator gave up on the guest: see QEMU's messages and the host's dmesg",
    "paused": "something outside the harness paused it, or the host could not run it",
}
GUEST_STOPS = {
    "guest-panicked": GuestPanicked("the guest's kernel panicked"),
    "shutdown": GuestError("the guest shut itself down"),
    "suspended": GuestError("the guest went to sleep", remedy=AWAKE),
    "watchdog": GuestError("the guest's watchdog expired: it hangs"),
}
RESETS = {"guest-reset": "reset itself", "guest-panic": "panicked and was ended"}


def fault(event: QmpEvent, *, reboots: bool = False) -> HalpmcError | None:
    """The error that this event stands for, or None when it is harmless.

    With `reboots` the guest may reset itself. STOP is not judged here: it follows other events, and the
    host's own commands (see `stopped`).
    """
    if event.name == "SHUTDOWN":
        return _shutdown(event.data)
    return _guest_fault(event, reboots) or _host_fault(event)


def _guest_fault(event: QmpEvent, reboots: bool) -> GuestError | None:
    data = event.data
    match event.name:
        case "GUEST_PANICKED":
            return GuestPanicked(f"the guest's kernel panicked{_panic_details(event)}")
        case "GUEST_CRASHLOADED":
            return GuestPanicked("the guest's kernel panicked and loaded its crash kernel")
        case "RESET" if data.get("guest") and not reboots:
            return GuestError(f"the guest reset itself ({_reason(data)})")
        case "SUSPEND":
            return GuestError("the guest went to sleep", remedy=AWAKE)
        case "WATCHDOG":
            return GuestError(f"the guest's watchdog expired: it hangs (action {data.get('action', '?')})")
    return None


def _host_fault(event: QmpEvent) -> InfrastructureError | None:
    data = event.data
    if data.get("action") == "ignore":
        return None
    match event.name:
        case "BLOCK_IO_ERROR":
            why = "the disk is full" if data.get("nospace") else _reason(data)
            what = f"the host could not {data.get('operation', 'serve')} the guest's disk: {why}"
            return InfrastructureError(what, remedy=DISK_FULL)
        case "MEMORY_FAILURE":
            what = f"the host's memory failed under the guest (action {data.get('action', '?')})"
            return InfrastructureError(what, remedy="see the host's dmesg")
    return None


def _shutdown(data: dict[str, Any]) -> HalpmcError | None:
    reason = _reason(data)
    if data.get("guest"):
        return GuestError(f"the guest {RESETS.get(reason, 'shut itself down')} ({reason})")
    if reason == "host-signal":
        return QemuError("something on the host told QEMU to end (SIGTERM, SIGINT or SIGHUP)")
    if reason == "host-error":
        return QemuError("QEMU gave up on the guest (host-error)", remedy="see QEMU's messages")
    return None


def stopped(status: str) -> HalpmcError:
    """The error for a machine that stands still unasked; `status` is what query-status says."""
    if status in GUEST_STOPS:
        known = GUEST_STOPS[status]
        return type(known)(known.message, remedy=known.remedy)  # a new one: errors collect evidence
    remedy = STOP_REMEDIES.get(status, "see QEMU's messages")
    return InfrastructureError(f"QEMU stopped the guest: {status}", remedy=remedy)


def bugcheck_of(event: QmpEvent) -> Bugcheck | None:
    """The bug check that Windows told through Hyper-V's crash registers (QAPI GuestPanicInformationHyperV)."""
    info = event.data.get("info")
    if event.name != "GUEST_PANICKED" or not isinstance(info, dict) or info.get("type") != "hyper-v":
        return None
    code, *parameters = (int(info.get(f"arg{n}", 0)) & 0xFFFF_FFFF_FFFF_FFFF for n in range(1, 6))
    first, second, third, fourth = parameters
    return bugcheck(code & 0xFFFF_FFFF, (first, second, third, fourth))


def _panic_details(event: QmpEvent) -> str:
    if seen := bugcheck_of(event):
        return f": {seen}"
    info = event.data.get("info")
    return f": {json.dumps(info)}" if info else ""


def _reason(data: dict[str, Any]) -> str:
    return str(data.get("reason", "no reason given"))
