"""A machine's saved state, and the two ways of keeping and taking up one.

`ram-file`: the RAM is a file of its own, which the machine writes while it is shared and clones map privately
(copy-on-write); the migration stream leaves it out (`x-ignore-shared`) and holds the device state alone, some 400 KB.
`snapshot`: an internal snapshot of the qcow2 disk (savevm, loadvm) with RAM and devices in it: slower, and works
wherever QEMU can save a machine at all.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.deadlines import Deadline, wait_for
from harness.errors import QemuError
from harness.vm.qmp import Qmp

STATE_S = 60.0
#: copy_file_range(2) cannot copy between these two file systems, such as a disk and a folder in memory.
NO_SHARING = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS)
FILE = "state"
SNAPSHOT = "ready"
#: RAM that is a shared file is left out of the stream.
CAPABILITIES = [{"capability": "x-ignore-shared", "state": True}]


class Mechanism(StrEnum):
    """How a state is kept; see the module's text."""

    RAM_FILE = "ram-file"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class SavedState:
    """What a VM needs to go on from a state.

    `overlay` is a qcow2 file that the VM takes a copy of, to write into: an empty one over the state's disk, or, with
    an internal snapshot, that disk itself. `stream` is the device state; None with an internal snapshot. `variables` is
    what UEFI firmware had written by then, a qcow2 file that the VM takes a copy of, too.
    """

    mechanism: Mechanism
    overlay: Path
    stream: Path | None
    variables: Path | None = None


def require_saveable(qmp: Qmp) -> None:
    """Raise QemuError where QEMU knows already that it could not save this machine: before a guest boots for nothing.

    Devices, and features of its CPU (invtsc, hv-passthrough), may be such.
    """
    reasons = qmp.execute("query-migrate").get("blocked-reasons", ())
    if reasons:
        raise QemuError(f"QEMU cannot save this machine: {'; '.join(map(str, reasons))}")


def save_stream(qmp: Qmp, path: Path) -> None:
    """Write the device state of a paused machine to a new file. Raises QemuError, DeadlineExceeded."""
    with path.open("xb") as file:
        qmp.execute("migrate-set-capabilities", capabilities=CAPABILITIES)
        qmp.pass_file(file.fileno(), FILE)
        qmp.execute("migrate", uri=f"fd:{FILE}")

        def saved(deadline: Deadline) -> bool | None:
            answer = qmp.execute("query-migrate")
            deadline.last_seen = str(answer.get("status"))
            if answer.get("status") == "failed":
                raise QemuError(f"QEMU cannot save its state: {answer.get('error-desc', 'no reason given')}")
            return True if answer.get("status") == "completed" else None

        wait_for("saving the machine's state", STATE_S, saved, interval=0.005)


def load_stream(qmp: Qmp, path: Path) -> None:
    """Have a machine that waits for a state load its devices. Raises QemuError, DeadlineExceeded, OSError."""
    with path.open("rb") as file:
        qmp.execute("migrate-set-capabilities", capabilities=CAPABILITIES)
        qmp.pass_file(file.fileno(), FILE)
        qmp.execute("migrate-incoming", uri=f"fd:{FILE}")

        def loaded(deadline: Deadline) -> bool | None:
            status = str(qmp.execute("query-status")["status"])
            deadline.last_seen = status
            return None if status == "inmigrate" else True

        wait_for("loading the machine's state", STATE_S, loaded, interval=0.001)


def whole_ram(qmp: Qmp) -> None:
    """Have a clone save its RAM, too: what it was restored with left that out."""
    qmp.execute("migrate-set-capabilities", capabilities=[{**CAPABILITIES[0], "state": False}])


def save_snapshot(qmp: Qmp) -> None:
    """Put the state of a paused machine into its disk. Raises QemuError with QEMU's words."""
    _monitor(qmp, f"savevm {SNAPSHOT}")


def load_snapshot(qmp: Qmp) -> None:
    """Go back to the state in the machine's disk. Raises QemuError with QEMU's words."""
    _monitor(qmp, f"loadvm {SNAPSHOT}")


def _monitor(qmp: Qmp, line: str) -> None:
    """A command of the human monitor that says nothing when it worked."""
    said = " ".join(qmp.monitor(line, timeout_s=STATE_S).split())
    if said:
        raise QemuError(f"QEMU's {line.split(maxsplit=1)[0]}: {said}")


def copy_sparse(source: Path, target: int) -> None:
    """Copy a file into an open one, holes as holes: the blocks are shared where the file system can."""
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        os.truncate(target, size)
        at = 0
        while at < size:
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole behind here
                break
            end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            _copy_range(file.fileno(), target, begin, end)
            at = end


def _copy_range(source: int, target: int, begin: int, end: int) -> None:
    while begin < end:
        copied = _copy_some(source, target, begin, end - begin)
        if copied == 0:
            raise QemuError("a saved state became shorter while it was copied")
        begin += copied


def _copy_some(source: int, target: int, at: int, size: int) -> int:
    """Copy up to `size` bytes from `at` to the same place; the number of bytes that were copied."""
    try:
        return os.copy_file_range(source, target, size, at, at)
    except OSError as error:
        if error.errno not in NO_SHARING:
            raise
    os.lseek(target, at, os.SEEK_SET)
    return os.sendfile(target, source, at, size)
