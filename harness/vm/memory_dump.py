"""The guest's memory written to a file by QEMU, within a time, a size, and the disk's free space."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from harness.deadlines import Deadline, wait_for
from harness.errors import DeadlineExceeded, NoSpace, QemuError
from harness.vm.machine import Machine
from harness.vm.qmp import Qmp

MIB = 1 << 20
#: Free space that a dump must leave on the disk.
RESERVE_MIB = 256
WINDOWS, COMPRESSED, PLAIN = "win-dmp", "kdump-zlib", "elf"
NAMES = {WINDOWS: "memory.dmp", COMPRESSED: "vmcore.kdump", PLAIN: "vmcore.elf"}


def dump_memory(qmp: Qmp, machine: Machine, folder: Path, *, limit_mib: int, timeout_s: float) -> Path:
    """Dump the guest's memory into `folder` and return the file; the guest stands still meanwhile.

    The first of these that works: Windows' own format (it needs a vmcoreinfo device and its driver in the guest),
    the compressed kdump format, a plain ELF core. A dump that grows past `limit_mib` or takes longer than
    `timeout_s` is given up: its file is deleted, and QEMU, which cannot be told to stop, writes on into nothing
    until the machine is closed.

    Raises NoSpace, DeadlineExceeded, QemuError.
    """
    deadline = Deadline("dump of the guest's memory", timeout_s)
    _check_space(folder, min(machine.memory_mib, limit_mib))
    offered = qmp.execute("query-dump-guest-memory-capability", timeout_s=deadline.remaining_unscaled())[
        "formats"
    ]
    refusals = []
    for kind in _kinds(machine, offered, limit_mib):
        path = folder / NAMES[kind]
        try:
            _dump(qmp, path, kind, limit_mib, deadline)
        except DeadlineExceeded:
            raise
        except QemuError as error:
            refusals.append(f"{kind}: {error.message}")
        else:
            return path
    raise QemuError(f"QEMU cannot dump this guest: {'; '.join(refusals) or 'no usable format'}")


def _kinds(machine: Machine, offered: list[str], limit_mib: int) -> list[str]:
    """The formats to try, best first. The uncompressed ones are as large as the memory."""
    fits = machine.memory_mib <= limit_mib
    wanted = {
        WINDOWS: fits and any(device.split(",")[0] == "vmcoreinfo" for device in machine.devices),
        COMPRESSED: True,
        PLAIN: fits,
    }
    return [kind for kind, useful in wanted.items() if useful and kind in offered]


def _check_space(folder: Path, needed_mib: int) -> None:
    free = shutil.disk_usage(folder).free // MIB
    if free < needed_mib + RESERVE_MIB:
        raise NoSpace(
            f"no dump: it may take {needed_mib} MiB, and {folder} has {free} MiB free",
            remedy=f"free some space ({RESERVE_MIB} MiB are kept back)",
        )


def _dump(qmp: Qmp, path: Path, kind: str, limit_mib: int, deadline: Deadline) -> None:
    arguments: dict[str, Any] = {"paging": False, "protocol": f"file:{path.absolute()}", "format": kind}

    def finished(wait: Deadline) -> bool | None:
        try:
            answer = qmp.execute("query-dump", timeout_s=deadline.remaining_unscaled())
        except DeadlineExceeded:
            raise wait.error() from None
        wait.last_seen = f"{answer.get('completed', 0) // MIB} of {answer.get('total', 0) // MIB} MiB"
        if path.exists() and path.stat().st_size > limit_mib * MIB:
            raise NoSpace(f"no dump: it grew past the limit of {limit_mib} MiB")
        if answer["status"] == "failed":
            raise QemuError(_why(qmp))
        return True if answer["status"] == "completed" else None

    try:
        qmp.execute("dump-guest-memory", timeout_s=deadline.remaining_unscaled(), detach=True, **arguments)
        wait_for(deadline.name, deadline.remaining_unscaled(), finished)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _why(qmp: Qmp) -> str:
    errors = [event.data.get("error") for event in qmp.events if event.name == "DUMP_COMPLETED"]
    return str(errors[-1] or "no reason given") if errors else "no reason given"
