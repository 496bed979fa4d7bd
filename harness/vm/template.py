"""Templates: a machine's ready state, saved once, from which clones start in a blink.

The RAM is a file that the machine writes while it is shared, and that its clones map privately (copy-on-write); the
migration stream leaves it out (`x-ignore-shared`) and holds the device state alone, some 400 KB. The disk is an
overlay that is never written again. Same machine, CPU string and QEMU build on both sides, or nothing is promised.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.deadlines import Deadline, timeout_factor, wait_for
from harness.errors import QemuError
from harness.host.tools import qemu_version, require_tool
from harness.vm.machine import Machine, RamFile
from harness.vm.state import save_state
from harness.vm.vm import Vm

QUIET_S = 30.0
CREATE_S = 30.0


@dataclass(frozen=True)
class Template:
    """A saved state in its folder."""

    folder: Path

    @property
    def ram(self) -> Path:
        """The RAM, as large as the machine's memory, with holes where the guest wrote nothing."""
        return self.folder / "ram"

    @property
    def state(self) -> Path:
        """The device state: a migration stream without the RAM."""
        return self.folder / "state"

    @property
    def disk(self) -> Path:
        """The frozen overlay over the image's disk."""
        return self.folder / "disk.qcow2"

    def clone_of(self, machine: Machine) -> Machine:
        """The machine to start a clone with: `Vm(clone, folder, state=template.state)`."""
        return machine.model_copy(
            update={
                "disk": self.disk,
                "disk_format": "qcow2",
                "disk_snapshot": True,
                "ram_file": RamFile(path=self.ram, shared=False),
            }
        )


def template_digest(machine: Machine, *, image: str, boot_id: str = "") -> str:
    """Names a template by all that its state depends on: machine, image, QEMU build, and `boot_id` under KVM.

    A state saved under KVM depends on the host's CPU and kernel: it is not kept beyond a boot of the host.
    """
    parts = machine.model_dump(mode="json", exclude={"disk", "disk_snapshot", "serial_log", "ram_file"})
    serial = machine.serial_log is not None
    text = json.dumps([parts, serial, image, qemu_version(machine.arch), boot_id], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_template(machine: Machine, folder: Path, ready: Callable[[Vm], None]) -> None:
    """Boot the machine, have it made `ready`, and save its state in `folder`.

    `ready` must have closed its connections when it returns. Raises what booting and `ready` raise, QemuError when
    QEMU cannot save, DeadlineExceeded.
    """
    template = Template(folder)
    if machine.disk is None:
        raise QemuError("a machine without a disk is no template")
    _overlay(machine.disk, machine.disk_format, template.disk)
    original = machine.model_copy(
        update={
            "disk": template.disk,
            "disk_format": "qcow2",
            "disk_snapshot": False,
            "serial_log": folder / "serial.log" if machine.serial_log else None,
            "ram_file": RamFile(path=template.ram, shared=True),
        }
    )
    with template.state.open("xb") as state, Vm(original, folder) as vm:
        ready(vm)
        _wait_until_quiet(vm)
        vm.pause()
        save_state(vm.qmp, state.fileno())


def _overlay(base: Path, base_format: str, path: Path) -> None:
    command: list[str | Path] = [
        require_tool("qemu-img"),
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        base_format,
        "-b",
        base.absolute(),
        path,
    ]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CREATE_S * timeout_factor(),
        check=False,
    )
    if done.returncode != 0:
        raise QemuError(f"no overlay over {base}: {' '.join(done.stderr.split())}")


def _wait_until_quiet(vm: Vm) -> None:
    """Wait until no TCP connection is open: a clone must not wake up in the middle of somebody's session."""

    def closed(deadline: Deadline) -> bool | None:
        vm.check()
        table = vm.qmp.monitor("info usernet")
        busy = [line for line in table.splitlines() if "TCP[" in line and "HOST_FORWARD" not in line]
        deadline.last_seen = "; ".join(busy)
        return None if busy else True

    wait_for("the guest's connections to close", QUIET_S, closed)
