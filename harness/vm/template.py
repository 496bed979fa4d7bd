"""Templates: a machine's ready state, saved once, from which clones start in a blink.

Same machine, CPU string and QEMU build on both sides, or nothing is promised: they are all part of a template's name. A
template is never written again; before use it is compared with what its manifest says.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from harness.config.models import Accel, Model
from harness.deadlines import Deadline, timeout_factor, wait_for
from harness.errors import InfrastructureError, QemuError
from harness.host.tools import qemu_version, require_tool
from harness.vm.command_line import Control, argv
from harness.vm.firmware import identity
from harness.vm.machine import Machine, RamFile
from harness.vm.overlay import fd_path
from harness.vm.state import (
    Mechanism,
    SavedState,
    copy_sparse,
    require_saveable,
    save_snapshot,
    save_stream,
    whole_ram,
)
from harness.vm.vm import Vm

QUIET_S = 30.0
CREATE_S = 30.0
MANIFEST = "template.json"
BLOCK = 512  # what st_blocks counts (stat(2))
RAM, STREAM, DISK, OVERLAY, VARIABLES = "ram", "state", "disk.qcow2", "overlay.qcow2", "variables.qcow2"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StoredFile(Model):
    """What a file of a template was like when it was made. `sha256` of small ones only; time in nanoseconds."""

    bytes: int
    mtime_ns: int
    sha256: str = ""


class TemplateManifest(Model):
    """What a template is made of."""

    mechanism: Mechanism
    files: dict[str, StoredFile]


class Template:
    """A saved state in its folder, which stays there until `release`, or as long as this object lives.

    Raises InfrastructureError when the folder is not what was saved there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._hold = weakref.finalize(self, os.close, _locked(folder, fcntl.LOCK_SH))
            manifest = TemplateManifest.model_validate_json((folder / MANIFEST).read_bytes())
            for name, stored in manifest.files.items():
                if _stored(folder / name, hashed=bool(stored.sha256)) != stored:
                    raise InfrastructureError(f"{folder / name} was changed after it was saved")
        except (OSError, ValidationError) as error:
            raise InfrastructureError(f"the template in {folder} cannot be used: {error}") from None
        self.mechanism = manifest.mechanism
        self._variables = folder / VARIABLES if VARIABLES in manifest.files else None
        os.utime(folder)  # its last use

    @property
    def saved(self) -> SavedState:
        """What a clone goes on from."""
        if self.mechanism is Mechanism.SNAPSHOT:
            return SavedState(self.mechanism, self.folder / DISK, None, self._variables)
        return SavedState(self.mechanism, self.folder / OVERLAY, self.folder / STREAM, self._variables)

    def clone_of(self, machine: Machine) -> Machine:
        """The machine to start a clone with: `Vm(template.clone_of(machine), folder, saved=template.saved)`."""
        if self.mechanism is Mechanism.SNAPSHOT:  # the copy of its disk lies over the image's own
            return machine
        return machine.model_copy(
            update={
                "disk": self.folder / DISK,
                "disk_format": "qcow2",
                "ram_file": RamFile(path=self.folder / RAM, shared=False),
            }
        )

    def release(self) -> None:
        """No clone will be started any more: whoever needs the room may have it. Idempotent."""
        self._hold()

    def discard(self) -> None:
        """Throw it away, so that it is made anew. Clones that run go on: their files live until they end."""
        self.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def template_digest(machine: Machine, contents: Mapping[str, str]) -> str:
    """Names a template by all that its state depends on: the machine, QEMU's build, and its `contents`.

    A state saved under KVM depends on the host's CPU and kernel: it is not kept beyond a boot of the host.
    """
    placed = machine.model_copy(
        update={"disk": Path("disk"), "serial_log": Path("serial") if machine.serial_log else None}
    )
    if machine.uefi is not None:
        files = {"code": Path("code"), "variables": Path("variables")}
        placed = placed.model_copy(update={"uefi": machine.uefi.model_copy(update=files)})
        contents = {**contents, "firmware": identity(machine.uefi)}
    boot_id = BOOT_ID.read_text().strip() if machine.accel is Accel.KVM else ""
    parts = [argv(placed, Control(())), qemu_version(machine.arch), boot_id, dict(contents)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def make_template(
    machine: Machine, folder: Path, ready: Callable[[Vm], None], mechanism: Mechanism = Mechanism.RAM_FILE
) -> None:
    """Boot the machine, have it made `ready`, and save its state in `folder`.

    `ready` must have closed its connections when it returns. Raises what booting and `ready` raise, QemuError when
    QEMU cannot save, DeadlineExceeded.
    """
    if machine.disk is None:
        raise QemuError("a machine without a disk is no template")
    if machine.media:
        raise QemuError("a machine with media in its drives is no template: nobody knows whether they change")
    _overlay(machine.disk, machine.disk_format, folder / DISK)
    uefi = machine.uefi
    if uefi is not None:
        _overlay(uefi.variables, uefi.variables_format, folder / VARIABLES)
        uefi = uefi.model_copy(update={"variables": folder / VARIABLES, "variables_format": "qcow2"})
    in_file = mechanism is Mechanism.RAM_FILE
    original = machine.model_copy(
        update={
            "disk": folder / DISK,
            "disk_format": "qcow2",
            "disk_snapshot": False,
            "serial_log": folder / "serial.log" if machine.serial_log else None,
            "ram_file": RamFile(path=folder / RAM, shared=True) if in_file else None,
            "uefi": uefi,
        }
    )
    with Vm(original, folder) as vm:
        require_saveable(vm.qmp)
        ready(vm)
        _wait_until_quiet(vm)
        vm.pause()
        if in_file:
            save_stream(vm.qmp, folder / STREAM)
        else:
            save_snapshot(vm.qmp)
    if in_file:
        _overlay(folder / DISK, "qcow2", folder / OVERLAY)
    small: tuple[str, ...]
    large: tuple[str, ...]
    small, large = ((STREAM, OVERLAY), (RAM, DISK)) if in_file else ((), (DISK,))
    large += (VARIABLES,) if uefi is not None else ()
    files = {name: _stored(folder / name, hashed=True) for name in small}
    files |= {name: _stored(folder / name, hashed=False) for name in large}
    manifest = TemplateManifest(mechanism=mechanism, files=files)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")


def save_running(vm: Vm, path: Path) -> SavedState:
    """Pause a running machine and put its state, with its RAM and what it wrote to its disk, into a new file.

    Another `Vm` of the same machine goes on from there. Raises QemuError where it cannot be saved.
    """
    if vm.ends.overlay_fd is None:
        raise QemuError("it has no disk that could hold its state")
    if vm.machine.uefi is not None:
        raise QemuError("what its firmware remembers is a second disk, which would not be saved with it")
    vm.pause()
    whole_ram(vm.qmp)
    save_snapshot(vm.qmp)
    with path.open("xb") as file:
        copy_sparse(Path(fd_path(vm.ends.overlay_fd)), file.fileno())
    return SavedState(Mechanism.SNAPSHOT, path, None)


def prune(templates: Path, limit_bytes: int) -> list[Path]:
    """Remove the templates that were used least recently until the rest fits the limit; returns the removed ones.

    One that somebody holds stays, however much room it takes: a cell starts clones from it until it ends. Somebody who
    is about to take one of the others finds it changed, and makes it anew.
    """
    complete = (path for path in templates.glob("[!.]*") if (path / MANIFEST).is_file())
    by_use = sorted(((path.stat().st_mtime_ns, path) for path in complete), reverse=True)
    removed, total = [], 0
    for _, path in by_use:
        total += sum(file.stat().st_blocks * BLOCK for file in path.iterdir())
        if total > limit_bytes and _remove_unheld(path):
            removed.append(path)
    return removed


def _locked(folder: Path, operation: int) -> int:
    """A descriptor of the folder with a lock on it (flock(2)), which ends with the descriptor."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, operation)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _remove_unheld(folder: Path) -> bool:
    """Remove a template that nobody holds; False when somebody does."""
    try:
        fd = _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        return False
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(fd)
    return True


def _stored(path: Path, *, hashed: bool) -> StoredFile:
    status = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if hashed else ""
    return StoredFile(bytes=status.st_size, mtime_ns=status.st_mtime_ns, sha256=digest)


def _overlay(base: Path, base_format: str, path: Path) -> None:
    # Relative to the overlay where they lie together: the folder is renamed when it is complete.
    backing = base.name if base.parent == path.parent else base.absolute()
    command: list[str | Path] = [require_tool("qemu-img"), "create", "-q", "-f", "qcow2"]
    done = subprocess.run(
        [*command, "-F", base_format, "-b", backing, path],
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
